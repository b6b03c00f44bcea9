"""Settings of the documentation: ``sphinx-build -W docs docs/_build/html``.

Needs ``pip install -e '.[docs]' -e training``. No page is fetched from the network.
"""

import re
from pathlib import Path
from typing import Any

from sphinx.pycode import ModuleAnalyzer

import musicssl

ROOT = Path(__file__).parent.parent
# what stands beside its code rather than here, and the page that it becomes
ELSEWHERE = {
    "README.md": "index.md",
    "training/README.md": "more/training.md",
    "benchmarks/README.md": "more/benchmarks.md",
    "experiments/README.md": "more/experiments.md",
    "examples/music/README.md": "more/demo-music.md",
    "musicssl/checkpoints/musicssl-small/README.md": "more/musicssl-small.md",
    "musicssl/checkpoints/musicssl-nano/README.md": "more/musicssl-nano.md",
    "musicssl/checkpoints/musicssl-small-ssl/README.md": "more/musicssl-small-ssl.md",
    "CHANGELOG.md": "more/changelog.md",
    "CONTRIBUTING.md": "more/contributing.md",
    "SECURITY.md": "more/security.md",
    "CODE_OF_CONDUCT.md": "more/conduct.md",
}
LINK = re.compile(
    r"(?P<text>!?\[[^\]]*\])\((?P<target>(?!https?:|mailto:|#)[^)#\s]+)(?P<anchor>#[^)]*)?\)"
)
ROW = re.compile(r"^\|.*\|$", re.MULTILINE)  # of a table
INTERVAL = re.compile(r"\[(-?[\d.]+), (-?[\d.]+)\]")
JOINED, JOINED_LINE = re.compile(", "), re.compile(r"[a-z_0-9]+(, [a-z_0-9]+)+$")
FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)

project = "musicssl"
author = "The musicssl developers"
copyright = f"2026, {author}"
version = release = musicssl.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
templates_path = ["_templates"]
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
suppress_warnings = [
    "myst.header"
]  # a page may begin below the first level, as the model card's do

autosummary_generate = True
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"musicssl {release}"
html_static_path = ["_static"]
html_css_files = ["musicssl.css"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"top_of_page_buttons": []}
copybutton_exclude = ".linenos, .gp, .go"


def local_links(text: str, file: Path) -> str:
    """Lead the links of `file` to pages; what has no page keeps its text alone."""
    page = file.relative_to(ROOT).as_posix()
    here = (ROOT / "docs" / ELSEWHERE.get(page, "")).parent if page in ELSEWHERE else file.parent

    def lead(link: re.Match[str]) -> str:
        target = (file.parent / link["target"]).resolve()
        if not target.is_relative_to(ROOT):
            raise ValueError(f"{page}: the link to {link['target']} leaves the repository.")
        if not target.exists():
            raise FileNotFoundError(f"{page}: the link to {link['target']} leads nowhere.")
        path = target.relative_to(ROOT).as_posix()
        if path in ELSEWHERE:
            target = ROOT / "docs" / ELSEWHERE[path]
        elif not target.is_relative_to(ROOT / "docs"):
            return link["text"].strip("![]")
        return f"{link['text']}({_relative(target, here)}{link['anchor'] or ''})"

    return LINK.sub(lead, ROW.sub(_unbroken, text))


def _unbroken(row: re.Match[str]) -> str:
    """Return a table's row whose intervals stay on one line."""
    return INTERVAL.sub("[\\1,\N{NO-BREAK SPACE}\\2]", row[0])


def _relative(target: Path, folder: Path) -> str:
    up = 0
    while not target.is_relative_to(folder):
        folder, up = folder.parent, up + 1
    return "../" * up + target.relative_to(folder).as_posix()


def _bring_pages() -> None:
    """Write the pages of `ELSEWHERE`; the README's place is taken by the index."""
    for source, page in ELSEWHERE.items():
        if page != "index.md":
            text = FRONT_MATTER.sub("", (ROOT / source).read_text(encoding="utf-8"))
            out = ROOT / "docs" / page
            out.parent.mkdir(exist_ok=True)
            out.write_text(local_links(text, ROOT / source), encoding="utf-8")


def _on_read(app: Any, docname: str, source: list[str]) -> None:
    file = ROOT / "docs" / f"{docname}.md"
    if file.is_file() and not docname.startswith("more/"):
        source[0] = local_links(source[0], file)


def _join_attributes(
    app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Join attributes that are described together: Sphinx takes the first for the second's type."""
    lines[:] = [JOINED.sub("/", line) if JOINED_LINE.match(line) else line for line in lines]


def _hide_overloads() -> None:
    """Show a function's own signature: overloads are for type checkers, and leave out defaults."""
    analyze = ModuleAnalyzer.analyze

    def analyze_without(self: ModuleAnalyzer) -> None:
        analyze(self)
        self.overloads = {}

    ModuleAnalyzer.analyze = analyze_without  # type: ignore[method-assign]


def setup(app: Any) -> None:
    """Connect what this file adds to Sphinx."""
    _bring_pages()
    _hide_overloads()
    app.connect("autodoc-process-docstring", _join_attributes, priority=400)  # before napoleon
    app.connect("source-read", _on_read)
