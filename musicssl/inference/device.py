"""Choice of device and precision, by what the machine has at run time."""

import contextlib
import warnings

import torch

from musicssl import forking
from musicssl.errors import ConfigError, pick, shown

DTYPES: dict[str, torch.dtype] = {
    "fp32": torch.float32,
    "float32": torch.float32,
    "bf16": torch.bfloat16,
    "bfloat16": torch.bfloat16,
    "fp16": torch.float16,
    "float16": torch.float16,
}
KINDS = ("cpu", "cuda", "mps")
_warned: set[str] = set()


def warn_once(message: str) -> None:
    """Issue a `RuntimeWarning`, the first time that this message comes up in the process."""
    if message not in _warned:
        _warned.add(message)
        warnings.warn(message, RuntimeWarning, stacklevel=3)


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """Return the device to use; "auto" is CUDA if there is one, then MPS, then the CPU.

    Raises
    ------
    ConfigError
        If the name means nothing or this machine or build of torch has no such device.
    """
    if not isinstance(device, (str, torch.device)):
        raise ConfigError(
            f"device must be a name or a torch.device, got {shown(device, kind=True)}; "
            "'auto' takes a GPU if there is one."
        )
    if device == "auto":
        kind = "mps" if torch.backends.mps.is_available() else "cpu"
        return _unlost(torch.device("cuda" if torch.cuda.is_available() else kind))
    chosen = _parse(device)
    if chosen.type != "cuda" and chosen.index:
        raise ConfigError(f"device {str(device)!r}: there is only one; say {chosen.type!r}.")
    if chosen.type == "cuda" and not torch.cuda.is_available():
        built = torch.version.cuda
        why = "no usable GPU was found" if built else "this build of torch is for the CPU only"
        raise ConfigError(f"device {device!r} was asked for, but {why}; use 'auto' or 'cpu'.")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device {device!r}: this machine has {torch.cuda.device_count()} GPU.")
    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device 'mps' was asked for, but this machine has none; use 'auto'.")
    return _unlost(chosen) if chosen.type == "cuda" else torch.device(chosen.type)


def _parse(device: str | torch.device) -> torch.device:
    with contextlib.suppress(Exception):  # mostly RuntimeError
        chosen = torch.device(device)
        if chosen.type in KINDS:
            return chosen
    raise ConfigError(
        f"device {shown(str(device))} is unknown; choose auto, cpu, cuda, cuda:N or mps."
    )


def _unlost(device: torch.device) -> torch.device:
    """Refuse a GPU that was lost in a fork."""
    if device.type == "cuda" and forking.cuda_is_lost():
        raise ConfigError(
            "a forked process cannot use the GPU that its parent has used; "
            "start it with multiprocessing's 'spawn' or 'forkserver'."
        )
    return device


def pick_dtype(dtype: str | torch.dtype, device: torch.device) -> torch.dtype:
    """Return the precision of the encoder's arithmetic on `device`.

    "auto" is fp16 on a GPU and fp32 elsewhere. Half precision that the processor can only
    emulate is tens to hundreds of times slower than fp32: fp16 on any CPU, bf16 on one without
    the instructions. Then fp32 is used, with a warning.

    Raises
    ------
    ConfigError
        If it is not "auto" or one of `DTYPES`.
    """
    if not isinstance(dtype, (str, torch.dtype)):
        raise ConfigError(
            f"dtype must be 'auto', {', '.join(map(repr, DTYPES))} or a torch.dtype, "
            f"got {shown(dtype, kind=True)}."
        )
    if dtype == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    name = str(dtype).removeprefix("torch.")
    chosen = pick(DTYPES | {"auto": torch.float32}, name, "dtype")
    if device.type == "cpu" and chosen is torch.float16:
        warn_once("fp16 arithmetic on a CPU is hundreds of times slower than fp32; using fp32.")
        return torch.float32
    if device.type == "cpu" and chosen is torch.bfloat16 and not cpu_has_bf16():
        warn_once("this processor has no bf16 instructions and would crawl; using fp32.")
        return torch.float32
    return chosen


def cpu_has_bf16() -> bool:
    """Tell whether the processor multiplies bf16 in hardware, as far as torch can say."""
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        ask = getattr(torch.cpu, name, None)
        if ask is not None and ask():
            return True
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("bf16") or capabilities.get("avx512_bf16"))
