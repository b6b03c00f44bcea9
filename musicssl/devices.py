"""Which device and which precision to compute in, looked up on the machine at run time."""

import warnings

import torch

from musicssl.errors import ConfigError, pick

DTYPES: dict[str, torch.dtype] = {
    "fp32": torch.float32,
    "float32": torch.float32,
    "bf16": torch.bfloat16,
    "bfloat16": torch.bfloat16,
    "fp16": torch.float16,
    "float16": torch.float16,
}
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
    if str(device) == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise ConfigError(
            f"device {device!r} is unknown; choose auto, cpu, cuda, cuda:N or mps."
        ) from None
    if chosen.type == "cuda" and not torch.cuda.is_available():
        built = torch.version.cuda
        why = "no usable GPU was found" if built else "this build of torch is for the CPU only"
        raise ConfigError(f"device {device!r} was asked for, but {why}; use 'auto' or 'cpu'.")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device {device!r}: this machine has {torch.cuda.device_count()} GPU.")
    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device 'mps' was asked for, but this machine has none; use 'auto'.")
    return chosen


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
