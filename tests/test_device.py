import pytest
import torch

from musicssl.errors import ConfigError
from musicssl.inference import device

CPU = torch.device("cpu")


def test_auto_is_fp32_on_a_cpu_and_fp16_on_a_gpu() -> None:
    assert device.pick_dtype("auto", CPU) is torch.float32
    assert device.pick_dtype("auto", torch.device("cuda")) is torch.float16
    assert device.pick_dtype("auto", torch.device("mps")) is torch.float32


def test_fp16_on_a_cpu_becomes_fp32_and_says_so() -> None:
    device._warned.clear()
    with pytest.warns(RuntimeWarning, match="fp16 arithmetic on a CPU"):
        assert device.pick_dtype("fp16", CPU) is torch.float32


def test_bf16_without_instructions_becomes_fp32_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device._warned.clear()
    monkeypatch.setattr(device, "cpu_has_bf16", lambda: False)
    with pytest.warns(RuntimeWarning, match="no bf16 instructions"):
        assert device.pick_dtype("bf16", CPU) is torch.float32
    monkeypatch.setattr(device, "cpu_has_bf16", lambda: True)
    assert device.pick_dtype("bf16", CPU) is torch.bfloat16


def test_unknown_dtype() -> None:
    assert device.pick_dtype(torch.float32, CPU) is device.pick_dtype("float32", CPU)
    with pytest.raises(ConfigError, match="Did you mean 'float32'"):
        device.pick_dtype("float", CPU)
    with pytest.raises(ConfigError, match="'float64' is unknown"):
        device.pick_dtype(torch.float64, CPU)


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device.pick_device("cpu") == CPU
    with pytest.raises(ConfigError, match="'gpu' is unknown; choose auto"):
        device.pick_device("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert device.pick_device() == CPU
    for name in ("cuda", "mps"):
        with pytest.raises(ConfigError, match=f"'{name}' was asked for, but"):
            device.pick_device(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert device.pick_device() == torch.device("cuda")
    with pytest.raises(ConfigError, match="this machine has 1 GPU"):
        device.pick_device("cuda:3")
