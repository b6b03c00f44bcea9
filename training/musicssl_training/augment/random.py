"""Random choices for each excerpt."""

import math

import torch
from torch import Tensor


class Draw:
    """Random choices, made on the CPU so that the same are made for every device.

    Parameters
    ----------
    batch
        Excerpts.
    random
        A generator on the CPU.
    device
        Where the values go.
    clean
        Share of excerpts that are never chosen.
    """

    def __init__(
        self, batch: int, random: torch.Generator, device: torch.device, clean: float = 0.0
    ) -> None:
        self.random, self.device = random, device
        self.touched = torch.rand(batch, generator=random) >= clean  # (batch,), on the CPU

    def rows(self, share: float) -> Tensor:
        """Choose a share of the excerpts that are not clean: (batch,) bool, on the CPU."""
        return (torch.rand(len(self.touched), generator=self.random) < share) & self.touched

    def mark(self, share: float) -> Tensor:
        """Choose likewise: (batch,), 1 for the chosen and 0 for the others."""
        return self.rows(share).to(self.device, torch.float32)

    def uniform(self, limits: tuple[float, ...], *size: int) -> Tensor:
        """Return values between two limits."""
        low, high = limits
        return (torch.rand(size, generator=self.random) * (high - low) + low).to(self.device)

    def log_uniform(self, limits: tuple[float, ...], *size: int) -> Tensor:
        """Return values between two positive limits, equally likely in every octave."""
        low, high = map(math.log, limits)
        values = torch.rand(size, generator=self.random, dtype=torch.float64) * (high - low) + low
        return values.exp().float().to(self.device)

    def normal(self, *size: int) -> Tensor:
        """Return values of mean 0 and standard deviation 1."""
        return torch.randn(size, generator=self.random).to(self.device)

    def spans(self, limits: tuple[float, ...], samples: int, size: tuple[int, ...]) -> Tensor:
        """Place random stretches.

        Parameters
        ----------
        limits
            Shortest and longest stretch, in samples; equally likely in every octave.
        samples
            In which they lie: longer ones are cut down to these.
        size
            How many.

        Returns
        -------
        Tensor
            First sample and the one after the last, (..., 2), int64, on the CPU.
        """
        low, high = (math.log(max(limit, 1)) for limit in limits)
        shares = torch.rand(*size, 2, generator=self.random, dtype=torch.float64)
        width = (shares[..., 0] * (high - low) + low).exp().round().long().clamp(1, samples)
        first = (shares[..., 1] * (samples - width + 1)).long()
        return torch.stack([first, first + width], dim=-1)

    def another(self, recordings: Tensor) -> tuple[Tensor, Tensor]:
        """Choose for each excerpt one of another recording.

        Parameters
        ----------
        recordings
            Shape (batch,): excerpts of one recording share a number.

        Returns
        -------
        tuple of Tensor
            The chosen rows, (batch,) int64, and whether there is any, (batch,) bool.
        """
        recordings = recordings.to(self.device)
        other = recordings[:, None] != recordings
        order = self.uniform((0.0, 1.0), *other.shape)
        return torch.where(other, order, -1.0).argmax(dim=1), other.any(dim=1)
