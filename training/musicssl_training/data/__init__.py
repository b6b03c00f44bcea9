"""Music to train on: packs, folders with a manifest, and random excerpts of them."""

from musicssl_training.data.decode import IncompleteError, decode, decode_complete
from musicssl_training.data.pack import Pack, Read, write_pack
from musicssl_training.data.packed import LeftOut, Packed
from musicssl_training.data.sampler import Drawn, Sampler, Source, open_sources

__all__ = [
    "Drawn",
    "IncompleteError",
    "LeftOut",
    "Pack",
    "Packed",
    "Read",
    "Sampler",
    "Source",
    "decode",
    "decode_complete",
    "open_sources",
    "write_pack",
]
