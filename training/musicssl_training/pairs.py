"""NAME=FOLDER and the like, as options and settings give it."""

from musicssl.errors import ConfigError


def split_pair(text: str, where: str, form: str, *, last: bool = False) -> tuple[str, str]:
    """Return the two sides of a pair.

    Parameters
    ----------
    text
        Such as ``gtzan=/data/gtzan``.
    where
        Option or setting that it stands in.
    form
        Of such pairs, such as NAME=FOLDER.
    last
        Whether the last of several signs parts it, not the first.

    Raises
    ------
    ConfigError
        If a side or the sign is missing.
    """
    left, sign, right = text.rpartition("=") if last else text.partition("=")
    if not (left and sign and right):
        raise ConfigError(f"{where} {text!r} is not {form}.")
    return left, right
