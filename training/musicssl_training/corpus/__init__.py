"""Corpora from recipes: recordings obtained, checked, compared, listed and packed."""

from musicssl_training.corpus.build import BuildConfig, build_corpus
from musicssl_training.corpus.obtain import Places
from musicssl_training.corpus.recipe import Recipe, read_recipe
from musicssl_training.corpus.summary import Summary

__all__ = ["BuildConfig", "Places", "Recipe", "Summary", "build_corpus", "read_recipe"]
