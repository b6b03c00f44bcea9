"""Models for other runtimes: ONNX files with the front end inside."""

from musicssl.export.exportable import Exportable
from musicssl.export.onnx import TOLERANCE, Exported, export_onnx, need_packages

__all__ = ["TOLERANCE", "Exportable", "Exported", "export_onnx", "need_packages"]
