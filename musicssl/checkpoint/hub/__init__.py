"""Sources of checkpoints: a bundled name, a folder or a Hugging Face repository.

`huggingface_hub` is imported only where it is needed: a bundled model or a folder needs neither it
nor a network.
"""

from musicssl.checkpoint.hub.find import Checkpoint, find_checkpoint
from musicssl.checkpoint.hub.push import Patterns, PushKeywords, check_push, push_folder

__all__ = [
    "Checkpoint",
    "Patterns",
    "PushKeywords",
    "check_push",
    "find_checkpoint",
    "push_folder",
]
