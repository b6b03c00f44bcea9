"""Messages about a checkpoint or a hub: the fault, and what to do."""

from collections.abc import Iterable

from musicssl.checkpoint.hub.download import LOGIN, endpoint
from musicssl.checkpoint.names import WEIGHTS
from musicssl.checkpoint.untrusted import printable

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


def say_lacking(where: str, file: str, present: Iterable[str]) -> str:
    """Say that a folder or repository has no `file`."""
    names = sorted(printable(name) for name in present)
    pickles = [name for name in names if name.endswith(PICKLES)]
    if pickles and WEIGHTS not in names:
        return (
            f"{where} has no {WEIGHTS}, only {', '.join(pickles[:3])}: a pickle can run any code, "
            "so musicssl opens none. Ask its owner for safetensors."
        )
    few = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    has = f"; it has {few}" if names else ""
    return f"{where} has no {file}, so it is not a musicssl checkpoint{has}."


def explain_status(status: int, at: str) -> str:
    """Say what an HTTP status means here and what to do."""
    hub = endpoint()
    if status >= 500:
        return f"{at}: {hub} is out of order ({status}); try again later."
    statuses = {
        401: f"{at}: {hub} asks for a valid token (401): {LOGIN}.",
        403: f"{at}: {hub} forbids this (403): {LOGIN}, of an account that may.",
        429: f"{at}: {hub} counts too many requests (429); wait, or {LOGIN}.",
    }
    return statuses.get(status) or (
        f"{at} cannot be reached: {hub} answers {status}. Check the network, the proxy and "
        "HF_ENDPOINT, then try again."
    )
