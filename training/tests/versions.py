"""What tests of rendered scores share."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from musicssl_training.midi.arrange import Version

FONT = Path("/usr/share/sounds/sf2/TimGM6mb.sf2")
needs_fluidsynth = pytest.mark.skipif(
    not FONT.is_file() or not shutil.which("fluidsynth"), reason="needs fluidsynth and TimGM6mb"
)


def a_version(**changes: Any) -> Version:
    """Thirty seconds as written, but for `changes`."""
    plain = {"start": 0.0, "seconds": 30.0, "tempo": 1.0, "shift": 0, "programs": {}}
    rest = {"volumes": {}, "font": "", "gain": 0.5, "reverb": False}
    return Version(**(plain | rest | changes))  # type: ignore[arg-type]
