"""How a step changes the parameters: torch's fused Adam, and the moving average of what it reaches."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["Adam", "Average", "clones", "fused_adam", "has_fused_adam", "moving_decay"]

# What torch.optim.Adam(fused=True) calls. A torch that has it no more is only slower.
_FUSED_ADAM: Any = getattr(torch, "_fused_adam_", None)


class Adam(torch.optim.Adam):
    """torch's fused Adam, whose own ``step`` prepares a small network's step for longer than it makes it."""

    begun = False

    def advance(self) -> None:
        """Make a step: by ``step`` the first one, and those of parameters that move for the first time."""
        (group,) = self.param_groups
        params = [p for p in group["params"] if p.grad is not None]
        states = [self.state[p] for p in params]
        if not (self.begun and all(states) and _FUSED_ADAM):
            self.begun = True
            self.step()
            return
        steps = [state["step"] for state in states]
        torch._foreach_add_(steps, 1)
        fused_adam(
            params,
            [p.grad for p in params],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            steps,
            group,
        )

    @classmethod
    def state_after(cls, n_steps: int, *moments: list[Tensor], learning_rate: float) -> dict[str, Any]:
        """Return the ``state_dict`` of an optimizer that has made these steps, and has these moments."""
        state = cls(moments[0], lr=learning_rate, fused=True).state_dict()
        state["state"] = {
            number: {"step": torch.tensor(float(n_steps)), "exp_avg": first, "exp_avg_sq": second}
            for number, (first, second) in enumerate(zip(*moments, strict=True))
        }
        return state


def fused_adam(
    params: Sequence[Tensor],
    gradient: Sequence[Tensor | None],
    means: Sequence[Tensor],
    squares: Sequence[Tensor],
    steps: Sequence[Tensor],
    group: dict[str, Any],
) -> None:
    """Change parameters and moments by a step, whose number ``steps`` has for every parameter."""
    _FUSED_ADAM(
        params,
        gradient,
        means,
        squares,
        [],
        steps,
        amsgrad=False,
        beta1=group["betas"][0],
        beta2=group["betas"][1],
        lr=group["lr"],
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        maximize=False,
    )


def has_fused_adam() -> bool:
    """Say whether this torch has what :func:`fused_adam` calls."""
    return _FUSED_ADAM is not None


class Average:
    """The exponential moving average of a module's parameters, which forgets faster in the first steps.

    After t steps the decay is ``min(decay, (1 + t) / (10 + t))``, as in TensorFlow's moving averages. The
    module holds the average between epochs, so that callbacks see it there, and steps within them. What
    a callback writes into the module between epochs is both the average and the last step from then on.
    """

    def __init__(self, module: torch.nn.Module, decay: float, state: dict[str, Any] | None) -> None:
        state = state or {}
        self.inside = [p.detach() for p in module.parameters()]
        self.n_steps = state.get("n_steps", 0)
        self.decay = decay
        self.left = clones(self.inside)
        self.steps = state.get("stepped") or clones(self.inside)

    def begin_epoch(self) -> None:
        """Take the average out of the module, and go on from the last step."""
        if not same(self.inside, self.left):
            self.steps = clones(self.inside)
        self.average = clones(self.inside)
        torch._foreach_copy_(self.inside, self.steps)

    def update(self) -> None:
        """Take a step in."""
        self.n_steps += 1
        torch._foreach_lerp_(self.average, self.inside, 1 - moving_decay(self.decay, self.n_steps))

    def end_epoch(self) -> None:
        """Keep the last step, and leave the average in the module."""
        self.steps, self.left = clones(self.inside), self.average
        torch._foreach_copy_(self.inside, self.left)

    def state(self, final: Sequence[Tensor]) -> dict[str, Any]:
        """Return what a later run goes on from: the last step, or what else the run ended in."""
        return {"n_steps": self.n_steps, "stepped": self.steps if same(final, self.left) else None}


def moving_decay(decay: float, n_steps: int) -> float:
    """Return the decay of an average at this step."""
    return min(decay, (1 + n_steps) / (10 + n_steps))


def clones(params: Sequence[Tensor]) -> list[Tensor]:
    """Return copies that no gradient goes through."""
    return [p.detach().clone() for p in params]


def same(params: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    return all(torch.equal(p, q) for p, q in zip(params, others, strict=True))
