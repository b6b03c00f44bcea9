"""The list of models, as both commands print it."""

import json
from dataclasses import asdict

from musicssl.cli.stdout import print_lines


def print_models(*, as_json: bool) -> int:
    """Print the models there are."""
    from musicssl.checkpoint.bundled import list_models

    models = list_models()
    if as_json:
        return print_lines([json.dumps([asdict(model) for model in models], indent=2)])
    rows = [("name", "MB", "dim", "layers", "frames/s", "code", "weights", "data")]
    for m in models:
        licences = (m.code_licence, m.weights_licence, m.data_licences)
        numbers = (f"{m.megabytes:.1f}", str(m.dim), str(m.layers), f"{m.frame_rate:g}")
        rows.append((m.name, *numbers, *licences))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    cells = ([cell.ljust(w) for cell, w in zip(row, widths, strict=True)] for row in rows)
    return print_lines(["  ".join(row).rstrip() for row in cells])
