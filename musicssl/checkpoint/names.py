"""Names of a checkpoint's files, and of the model that is loaded by default."""

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
CARD = "README.md"
TRAINING_INFO = "training.json"  # how it was trained; never read to embed
DEFAULT_MODEL = "musicssl-small"  # one of those in ../checkpoints
