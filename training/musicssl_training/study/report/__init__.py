"""The report of a study: JSON, Markdown and one HTML page."""
