"""Multi-task self-supervised pre-training of musicssl encoders."""
