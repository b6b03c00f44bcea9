"""Layouts of audio files: where the sound begins and ends, whatever the headers say."""

from musicssl.audio.layout.base import Layout
from musicssl.audio.layout.find import SEARCHED, find_beginning, find_layout
from musicssl.audio.layout.tags import TAGS, is_padding, leaves_something

__all__ = [
    "SEARCHED",
    "TAGS",
    "Layout",
    "find_beginning",
    "find_layout",
    "is_padding",
    "leaves_something",
]
