"""Scores: parsed from MIDI, arranged, rendered to audio, or synthetic."""
