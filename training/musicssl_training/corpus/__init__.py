"""Where the music comes from."""

from musicssl_training.corpus.packed import Pack, Read, Sampler, decode, write_pack

__all__ = ["Pack", "Read", "Sampler", "decode", "write_pack"]
