"""`musicssl export`: a model as an ONNX file."""

import argparse

from musicssl.cli.stdout import DONE
from musicssl.cli.terminal import printable, say
from musicssl.export import TOLERANCE, export_onnx
from musicssl.model import load_model


def export(args: argparse.Namespace) -> int:
    """Write the file and say where it is."""
    model = load_model(args.model, revision=args.revision, device="cpu")
    say("musicssl export: writing; this takes some ten seconds")
    done = export_onnx(
        model,
        args.out,
        layer=args.layer,
        pooling=args.pooling,
        dtype=args.dtype,
        check=args.check,
        license=args.license,
    )
    if done.difference is None:
        checked = "not checked; onnxruntime would"
    else:
        checked = f"within {done.difference:.0e} of torch in onnxruntime, {TOLERANCE:g} is allowed"
    size = f"{done.size / 1e6:.1f} MB"
    say(f"musicssl export: {model.model_id} is in {printable(str(done.path))}: {size}, {checked}")
    return DONE
