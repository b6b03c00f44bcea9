"""Maps: a collection of music as one page to look at and listen to."""

from musicssl.maps.page import write_map
from musicssl.maps.projection import PROJECTIONS

__all__ = ["PROJECTIONS", "write_map"]
