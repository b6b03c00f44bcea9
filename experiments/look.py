"""Look at a report: an HTML page to pictures, by a real browser without a window.

    python experiments/look.py report/index.html -o pictures

One picture each of the page in light and dark and on a narrow screen, as it opens, and of the page
with all its folded parts unfolded; long ones in pieces. Ends with an error where the browser finds
something to complain about, the page is wider than the screen, or wants anything from outside.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PIECE = 2000  # pixels, of a picture's height at most
VIEWS = {  # name: width, dark, unfolded
    "light": (1280, False, False),
    "dark": (1280, True, False),
    "narrow": (520, False, False),
    "unfolded": (1280, False, True),
}
MEASURE = """<script>addEventListener("load", () => {
const root = document.documentElement;
document.title = "size " + root.scrollWidth + " " + root.scrollHeight + " " + root.clientWidth;
});</script>"""
OUTSIDE = re.compile(r"""(?:src|href|url)\s*[=(]\s*["']?(?!#|data:)[^"')\s>]+""")


def find_browser(name: str = "") -> str:
    """Return the path of a browser of the Chromium family."""
    for candidate in (name,) if name else BROWSERS:
        found = shutil.which(candidate)
        if found:
            return found
    sys.exit(
        f"none of {', '.join((name,) if name else BROWSERS)} is installed here. Install one "
        "(Debian: apt-get install chromium), or name it with --browser."
    )


def run(browser: str, arguments: list[str], page: Path, width: int, height: int, dark: bool) -> str:
    """Run the browser on a page and return what it prints; its complaints end the program."""
    with tempfile.TemporaryDirectory() as profile:
        command = [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *("--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--v=0"),
            *(f"--user-data-dir={profile}", f"--window-size={width},{height}"),
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            *(*arguments, page.as_uri()),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    complaints = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    if done.returncode or complaints:
        sys.exit(f"{browser} ended with {done.returncode}: {complaints or done.stderr[-2000:]}")
    return done.stdout


def look(browser: str, html: str, out: Path, name: str, folder: Path) -> None:
    """Write the pictures of one view."""
    width, dark, unfolded = VIEWS[name]
    if unfolded:
        html = html.replace("<details>", "<details open>")
    copy = folder / f"{name}.html"
    copy.write_text(html.replace("</head>", f"{MEASURE}</head>"), "utf-8")
    printed = run(browser, ["--dump-dom"], copy, width, 900, dark)
    size = re.search(r"<title>size (\d+) (\d+) (\d+)</title>", printed)
    if size is None:
        sys.exit(f"{name}: the browser gave no size of the page.")
    wide, high, screen = map(int, size.groups())
    if wide > screen:
        sys.exit(f"{name}: the page is {wide} pixels wide on a screen of {screen}.")
    for number, top in enumerate(range(0, high, PIECE)):
        piece = min(PIECE, high - top)
        style = f"<style>html {{ margin-top: -{top}px }}</style></head>"
        copy.write_text(html.replace("</head>", style), "utf-8")
        picture = out / f"{name}-{number}.png"
        run(browser, [f"--screenshot={picture}"], copy, width, max(piece, 100), dark)
        if not picture.is_file():
            sys.exit(f"{picture} was not written.")
        print(picture)


def main() -> None:
    """Write the pictures of all views."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=Path, metavar="PAGE.html")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--browser", default="", help=f"default: {', '.join(BROWSERS)}")
    args = parser.parse_args()
    browser = find_browser(args.browser)
    html = args.page.read_text("utf-8")
    outside = OUTSIDE.search(html)
    if outside:
        sys.exit(f"{args.page} wants something from outside: {outside[0]}")
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in VIEWS:
            look(browser, html, args.out.resolve(), name, Path(folder))


if __name__ == "__main__":
    main()
