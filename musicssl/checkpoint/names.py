"""Names of a checkpoint's files."""

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
CARD = "README.md"
TRAINING_INFO = "training.json"  # how it was trained; never read to embed
