"""Exceptions of the evaluation."""

from musicssl.errors import MusicSSLError


class DataError(MusicSSLError):
    """Labeled data is missing or unusable; the message names the item and where to get it."""


class LeakError(MusicSSLError):
    """Training and test data have something in common."""
