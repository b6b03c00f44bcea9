"""Where the music comes from."""

from musicssl_training.data.pack import Pack, Read, decode, write_pack
from musicssl_training.data.sampler import Drawn, Sampler, Source, open_sources

__all__ = [
    "Drawn",
    "Pack",
    "Read",
    "Sampler",
    "Source",
    "decode",
    "open_sources",
    "write_pack",
]
