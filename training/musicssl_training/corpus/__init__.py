"""Where the music comes from."""

from musicssl_training.corpus.packed import Pack, Sampler, pack_files

__all__ = ["Pack", "Sampler", "pack_files"]
