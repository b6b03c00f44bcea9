"""Pre-training: settings, state, loop, metrics and plots."""
