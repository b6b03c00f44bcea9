"""Parts of files: one at a time, and lists of them."""

from musicssl.segments.reading import read_segments
from musicssl.segments.segment import Segment

__all__ = ["Segment", "read_segments"]
