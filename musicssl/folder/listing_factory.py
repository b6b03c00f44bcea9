"""`listing_of`: what callers of `embed_folder` give, as a `Listing`."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

from musicssl import arguments
from musicssl.errors import ConfigError, shown
from musicssl.folder.listing import Listing, Shard
from musicssl.folder.remote import RemoteListing
from musicssl.folder.segments import SegmentListing
from musicssl.segments.segment import Segment
from musicssl.source_names import is_url


def dotted(extension: str) -> str:
    """Return an extension as names end with it: with a dot, as all of wav, WAV and .wav mean."""
    return f".{extension.strip().lstrip('.')}".lower()


def listing_of(paths: Any, extensions: Any, shard: Any) -> Listing:
    """Check what is to be embedded and list it.

    Raises
    ------
    ConfigError
        If these are not paths, extensions, and a part of the work.
    """
    several = [paths] if isinstance(paths, (str, os.PathLike, Segment)) else paths
    if isinstance(several, (bytes, Mapping)) or not isinstance(several, Iterable):
        raise ConfigError(f"paths must be a path or several, got {shown(paths, kind=True)}.")
    several = list(several)
    urls = [one for one in several if isinstance(one, str) and is_url(one)]
    if urls and len(urls) < len(several):
        raise ConfigError("paths mixes URLs and others; give either.")
    segments = [one for one in several if isinstance(one, Segment)]
    if segments and len(segments) < len(several):
        raise ConfigError("paths mixes files and segments; give either.")
    files = [
        arguments.path(one, f"paths[{i}]")
        for i, one in enumerate(several)
        if not segments and not urls
    ]
    if isinstance(extensions, (str, bytes)) or not isinstance(extensions, Iterable):
        raise ConfigError(
            f"extensions must be a list such as ['.wav'], got {shown(extensions, kind=True)}."
        )
    kinds = {dotted(arguments.text(one, "extensions")) for one in extensions}
    part = None
    if shard is not None:
        numbers = arguments.integers(shard, "shard")
        if len(numbers) != 2:
            raise ConfigError(f"shard must be two numbers such as (1, 4), got {shown(shard)}.")
        part = Shard(*numbers)
    if segments:
        return SegmentListing(segments, shard=part)
    if urls:
        return RemoteListing(urls, extensions=kinds, shard=part)
    return Listing(files, extensions=kinds, shard=part)
