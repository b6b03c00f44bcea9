"""What can go wrong in an evaluation beside what can go wrong everywhere."""

from musicssl.errors import MusicSSLError


class DataError(MusicSSLError):
    """Labelled data is missing or broken; the message names the item and where to get it."""


class LeakError(MusicSSLError):
    """What trains a probe and what tests it have something in common."""
