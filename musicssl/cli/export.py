"""`musicssl export`: a model as an ONNX file."""

import argparse
import os
from pathlib import Path

from musicssl.checkpoint.bundled import bundled_models
from musicssl.checkpoint.card import stated_license
from musicssl.cli.stdout import DONE
from musicssl.cli.terminal import printable, say
from musicssl.export import TOLERANCE, export_onnx
from musicssl.model import load_model


def export(args: argparse.Namespace) -> int:
    """Write the file and say where it is."""
    model = load_model(args.model, revision=args.revision, device="cpu")
    done = export_onnx(
        model,
        args.out,
        layer=args.layer,
        pooling=args.pooling,
        dtype=args.dtype,
        check=args.check,
        license=args.license or _license_of_card(args.model),
        on_start=lambda: say("musicssl export: writing; this may take a minute"),
    )
    if done.difference is None:
        checked = "not checked; onnxruntime would"
    else:
        checked = f"within {done.difference:.0e} of torch in onnxruntime, {TOLERANCE:g} is allowed"
    size = f"{done.size / 1e6:.1f} MB"
    say(f"musicssl export: {model.model_id} is in {printable(str(done.path))}: {size}, {checked}")
    return DONE


def _license_of_card(model: str | None) -> str | None:
    """Return what the card of a checkpoint folder says, if there is one that says it."""
    if model is None or model in bundled_models():
        return None
    return stated_license(Path(os.path.expanduser(model)))  # noqa: PTH111 - of nobody's home
