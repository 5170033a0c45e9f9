"""The objectives of a stack's members as one."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skantidistill.backward import Strength
from skantidistill.draws import stacked_normal, stacked_rademacher, stacked_uniform
from skantidistill.network import Batch, Parameters, select_outputs
from skantidistill.objective import Draws, Objective, is_on
from skantidistill.row_traces import n_signs

__all__ = ["StackedObjective"]


@dataclass(frozen=True)
class StackedObjective(Objective):
    """The objectives of a stack's members: strengths and half-widths are tensors of one a member.

    ``places`` and ``targets``: where the teacher's parameters are in the student's (1, elsewhere 0), and what
    they are; shaped as the parameters.
    """

    noise_std: Tensor | None = None
    places: Parameters = field(default=())
    targets: Parameters = field(default=())

    @classmethod
    def of(cls, objectives: Sequence[Objective], params: Parameters) -> "StackedObjective":
        """Stack objectives that have in common what :func:`stack_key` says."""
        first, like = objectives[0], params[0]

        def stacked(name: str) -> Tensor:
            values = [torch.as_tensor(getattr(o, name), dtype=like.dtype) for o in objectives]
            return torch.stack(values)

        def by_column(values: Sequence[Any]) -> Tensor:
            tensors = [torch.as_tensor(value, dtype=like.dtype) for value in values]
            return torch.stack(tensors).view(len(values), 1, -1)

        def strength(name: str) -> Strength:
            return stacked(name) if is_on(getattr(first, name)) else 0.0

        places, targets = _teachers(objectives, params)
        return cls(
            activation=first.activation,
            lambda_ce=stacked("lambda_ce"),
            lambda_teacher=strength("lambda_teacher"),
            lambda_noise=strength("lambda_noise"),
            lambda_trace=strength("lambda_trace"),
            alpha=strength("alpha"),
            delta=by_column([o.delta for o in objectives]),
            neighborhood=first.neighborhood,
            parameter_noise_std=float(bool(first.parameter_noise_std)),
            noise_std=stacked("parameter_noise_std"),
            trace=first.trace,
            bounds=None
            if first.bounds is None
            else (
                by_column([o.bounds[0] for o in objectives if o.bounds]),
                by_column([o.bounds[1] for o in objectives if o.bounds]),
            ),
            outputs=first.outputs,
            places=places,
            targets=targets,
        )

    @property
    def has_teacher(self) -> bool:
        """Whether there are parameters of teachers to be close to."""
        return bool(self.places)

    def keep(self, members: Tensor) -> "StackedObjective":
        """Return the objective of some of the members."""

        def kept(value: Any) -> Any:
            if isinstance(value, tuple):
                return tuple(map(kept, value))
            return value[members] if isinstance(value, Tensor) else value

        changed = {f.name: kept(getattr(self, f.name)) for f in fields(self) if f.name != "outputs"}
        return StackedObjective(**changed, outputs=self.outputs)

    def draw_for(
        self,
        params: Parameters,
        batch: Batch,
        n_rows: Sequence[int],
        generators: Sequence[torch.Generator],
    ) -> Draws:
        """Draw what one step needs: for every member what :meth:`Objective.draw` draws, in its order."""
        X = batch.X
        offsets = signs = X.new_empty(0)
        noise: Parameters = ()
        probes: Parameters = ()
        shapes = [p.shape[1:] for p in params]
        if is_on(self.lambda_noise):
            draw = stacked_normal if self.neighborhood == "normal" else stacked_uniform
            offsets = draw(tuple(X.shape[1:]), n_rows, X, generators)
            if self.noise_std is not None and self.parameter_noise_std:
                sizes = [shape.numel() for shape in shapes]
                flat = stacked_normal((sum(sizes),), None, X, generators) * self.noise_std[:, None]
                parts = flat.split(sizes, dim=1)
                noise = tuple(part.view(-1, *shape) for part, shape in zip(parts, shapes, strict=True))
        if is_on(self.lambda_trace) and self.trace == "sampled":
            needed = n_signs(select_outputs(params, self.outputs), self.activation)
            signs = stacked_rademacher((X.shape[1], needed), n_rows, X, generators)
        elif is_on(self.lambda_trace) and self.trace == "hutchinson":
            probes = tuple(stacked_rademacher(tuple(shape), None, X, generators) for shape in shapes)
        return Draws(offsets, noise, signs, probes)

    def _teacher_gradient(
        self, params: Parameters, batch: Batch, draws: Draws
    ) -> tuple[Tensor, list[Tensor]]:
        gaps = [(p - u) * place for p, u, place in zip(params, self.targets, self.places, strict=True)]
        squares = [gap.square().flatten(1).sum(dim=1) for gap in gaps]
        return torch.stack(squares).sum(dim=0), [gap.mul_(2) for gap in gaps]


def _teachers(objectives: Sequence[Objective], params: Parameters) -> tuple[Parameters, Parameters]:
    """Return where the teachers' parameters are in the students', and what they are there."""
    if not is_on(objectives[0].lambda_teacher) or not objectives[0].has_teacher:
        return (), ()
    places = tuple(torch.zeros_like(p) for p in params)
    targets = tuple(torch.zeros_like(p) for p in params)
    for index, objective in enumerate(objectives):
        assert objective.growth is not None
        ones = [np.ones(u.shape, dtype=u.numpy().dtype) for u in objective.teacher]
        objective.growth.place(ones, [p[index].numpy() for p in places])
        objective.growth.place([u.numpy() for u in objective.teacher], [t[index].numpy() for t in targets])
    return places, targets
