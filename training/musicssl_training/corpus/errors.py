"""Exceptions of the corpus builder."""

from musicssl.errors import MusicSSLError


class UnavailableError(MusicSSLError):
    """A source cannot be had here and now; the others are built without it."""


class ArchiveError(UnavailableError):
    """An archive or repository is damaged, too large, or not what the recipe says."""
