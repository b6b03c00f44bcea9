"""What turns gradients into steps: AdamW alone, or with Muon for the encoder's matrices."""

from typing import Any

import torch
from torch import distributed, nn

from musicssl.errors import ConfigError
from musicssl_training.config import OptimConfig

BETAS = (0.9, 0.98)
SCALE = "match_rms_adamw"  # steps of about AdamW's size, so that one learning rate serves both


def make_optimizer(
    encoder: nn.Module, workers: nn.Module, config: OptimConfig
) -> torch.optim.Optimizer:
    """Return AdamW with weight decay on matrices and filters alone, or with Muon beside it.

    Muon [1]_ [2]_ makes every step of a matrix orthogonal. It gets the encoder's matrices; AdamW
    keeps the filters, norms and biases, and the workers.

    References
    ----------
    .. [1] Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024.
    .. [2] Liu et al., "Muon is scalable for LLM training", 2025.

    Raises
    ------
    ConfigError
        For Muon, if this torch has none.
    """
    matrices = [p for p in encoder.parameters() if p.ndim == 2 and config.name == "muon"]
    taken = {id(p) for p in matrices}
    rest = [p for part in (encoder, workers) for p in part.parameters() if id(p) not in taken]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=config.learning_rate, betas=BETAS)
    if not matrices:
        return adamw
    if not hasattr(torch.optim, "Muon"):
        raise ConfigError(
            f"optim.name 'muon' needs torch 2.9 or newer; this is {torch.__version__}."
        )
    return Both(Muon(matrices, config), adamw)


class Muon:
    """torch's Muon; of several processes each computes the steps of its share of the matrices."""

    def __init__(self, matrices: list[nn.Parameter], config: OptimConfig) -> None:
        self.matrices = matrices
        self.whole = torch.optim.Muon(
            matrices,
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            adjust_lr_fn=SCALE,
        )
        self.alone = not (distributed.is_available() and distributed.is_initialized())
        self.rank = 0 if self.alone else distributed.get_rank()
        self.processes = 1 if self.alone else distributed.get_world_size()

    def step(self) -> None:
        """Move the matrices."""
        for i, matrix in enumerate(self.matrices):
            if i % self.processes != self.rank:
                matrix.grad = None  # leaves it where it is
        self.whole.step()  # type: ignore[no-untyped-call]
        if not self.alone:
            for i, matrix in enumerate(self.matrices):
                distributed.broadcast(matrix.data, i % self.processes)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of all processes; all have to call this."""
        state: dict[str, Any] = self.whole.state_dict()
        if self.alone:
            return state
        parts: list[Any] = [None] * self.processes
        distributed.all_gather_object(parts, state["state"])
        owned = {
            i: parts[i % self.processes][i]
            for i in range(len(self.matrices))
            if i in parts[i % self.processes]
        }
        return state | {"state": owned}


class Both(torch.optim.Optimizer):
    """Muon and AdamW as one optimiser."""

    def __init__(self, muon: Muon, adamw: torch.optim.AdamW) -> None:
        self.muon, self.adamw = muon, adamw

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """Groups of both; changing them, as a schedule does, changes theirs."""
        return [*self.muon.whole.param_groups, *self.adamw.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for optimizer in (self.muon.whole, self.adamw):
            optimizer.zero_grad(set_to_none)

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move all parameters."""
        self.muon.step()
        self.adamw.step()

    def state_dict(self) -> dict[str, Any]:
        """Return both states; all processes have to call this."""
        return {"muon": self.muon.state_dict(), "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over both states."""
        self.muon.whole.load_state_dict(state_dict["muon"])
        self.adamw.load_state_dict(state_dict["adamw"])
