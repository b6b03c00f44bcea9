"""The front matter of a model card."""

from pathlib import Path

from musicssl.checkpoint.names import CARD


def stated_license(folder: Path) -> str | None:
    """Return the licence of the weights that a checkpoint's card states; None if it states none.

    It is in the Hub's words, such as "cc-by-sa-4.0" or "other".
    """
    from huggingface_hub import metadata_load
    from yaml import YAMLError

    card = folder / CARD
    try:
        found = metadata_load(card) if card.is_file() else None
    except (OSError, ValueError, YAMLError):
        return None
    license = (found or {}).get("license")
    return license if isinstance(license, str) and license.strip() else None
