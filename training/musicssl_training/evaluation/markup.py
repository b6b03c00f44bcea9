"""HTML and SVG elements as text."""

from html import escape


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def tag(name: str, *content: str, **attributes: object) -> Markup:
    """Return an element; content that is no `Markup` is escaped.

    Underscores in the names of attributes become hyphens, one at their end vanishes.

    Examples
    --------
    >>> tag("p", "1 < 2", class_="small")
    '<p class="small">1 &lt; 2</p>'
    """
    named = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
    )
    inner = "".join(part if isinstance(part, Markup) else escape(part) for part in content)
    return Markup(f"<{name}{named}>{inner}</{name}>")


def join(parts: list[Markup]) -> Markup:
    """Return elements one after the other."""
    return Markup("\n".join(parts))
