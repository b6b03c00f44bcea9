"""Evaluation reports: results.json, tables, the HTML page and model cards."""
