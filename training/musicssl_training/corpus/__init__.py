"""Where the music comes from."""

from musicssl_training.corpus.packed import Pack, Sampler, decode, write_pack

__all__ = ["Pack", "Sampler", "decode", "write_pack"]
