"""`Exportable`: networks that write themselves as ONNX files."""

from pathlib import Path

from musicssl.export.onnx import export_onnx
from musicssl.inference.keywords import ClipPooling
from musicssl.network import Layer, Network


class Exportable(Network):
    """A network that can be written for other runtimes."""

    def export_onnx(
        self,
        path: str | Path,
        *,
        layer: Layer = None,
        pooling: ClipPooling = None,
        dtype: str = "fp32",
        check: bool | None = None,
        license: str | None = None,
    ) -> Path:
        """Write the model as one ONNX file that takes audio of any length, in any number.

        Its input is `audio`, (batch, samples), mono at `sample_rate`, in [-1, 1]; its outputs are
        `frames`, (batch, frames, values), and `clip`, (batch, values). Its metadata names model,
        embedding space, sample rate, hop, context, layers, pooling and licence.

        Parameters
        ----------
        path
            The file; an earlier export there is replaced, anything else is left alone.
        layer, pooling
            As in `embed`; one of both for good.
        dtype
            Of the weights in the file: "fp32" or "fp16", which is half as large. Arithmetic is in
            fp32 either way.
        check
            Run the file in onnxruntime beside this model, and write nothing where they differ by
            more than 1e-4. None: if onnxruntime is installed.
        license
            Of the weights; None for what is known of the bundled models.

        Returns
        -------
        Path
            `path`.

        Raises
        ------
        ConfigError
            If there is no such layer, pooling or dtype.
        DependencyError
            If a package of ``musicssl[onnx]`` is missing.
        ModelError
            If the file would not give what the model gives.
        OutputError
            If the file cannot be written, or something else is in its place.
        """
        return export_onnx(
            self,
            path,
            layer=layer,
            pooling=pooling,
            dtype=dtype,
            check=check,
            license=license,
        ).path
