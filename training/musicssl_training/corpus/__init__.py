"""Where the music comes from."""

from musicssl_training.corpus.packed import Pack, Read, decode, write_pack
from musicssl_training.corpus.sampling import Drawn, Sampler, Source, open_sources
from musicssl_training.corpus.score import Score

__all__ = [
    "Drawn",
    "Pack",
    "Read",
    "Sampler",
    "Score",
    "Source",
    "decode",
    "open_sources",
    "write_pack",
]
