"""Device for the constants of front ends."""

import torch


def constant_device() -> torch.device:
    """Return the default device, or the CPU where that holds shapes only.

    A model that is laid out on "meta", to be compared with a checkpoint, has real constants.
    """
    device = torch.empty(0).device
    return torch.device("cpu") if device.type == "meta" else device
