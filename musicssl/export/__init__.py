"""Models for other runtimes: ONNX files with the front end inside."""

from musicssl.export.onnx import TOLERANCE, Exported, export_onnx

__all__ = ["TOLERANCE", "Exported", "export_onnx"]
