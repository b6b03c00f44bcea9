"""Tables of text."""

from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return lines in columns as wide as needed; numbers stand to the right."""
    lines = [head, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    numbers = [all(_is_number(row[i]) for row in rows) for i in range(len(head))]
    texts = []
    for line in lines:
        cells = [
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(line, widths, numbers, strict=True)
        ]
        texts.append("  ".join(cells).rstrip())
    return "\n".join(texts)


def _is_number(text: str) -> bool:
    return text in ("", "?") or text.replace(".", "").replace(",", "").isdigit()
