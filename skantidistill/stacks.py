"""Train many networks of one architecture at once, as one stack: every step is one batched step of all.

A member goes the way that :func:`skantidistill.training.train` goes with it: its own rows in the order of its
own generator, its own draws, steps, averages and its own end.
"""

import time
from collections.abc import Sequence
from functools import cache
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skantidistill.epochs import Rule
from skantidistill.objective import Objective, is_on
from skantidistill.repeats import answer_once
from skantidistill.rows import Rows
from skantidistill.stacked_objective import StackedObjective
from skantidistill.stacked_rows import StackedRows, is_mapped
from skantidistill.steps import Adam, fused_adam, has_fused_adam, moving_decay
from skantidistill.together import Answer
from skantidistill.training import (
    Trained,
    Training,
    check_finite,
    divergence,
    epoch_columns,
    means,
    validation_values,
)

__all__ = ["Room", "answer_all", "stack_key", "train_all", "train_stack", "why_alone"]

#: Threads that all fits side by side have at most: more of them save nothing.
MOST = 128
#: Bytes of what a step of a stack touches: more do not stay near the processor.
STEP_BYTES = 2**23


def why_alone(training: Training) -> str:
    """Return why a training can't be part of a stack, or an empty string."""
    schedule, rows = training.schedule, training.rows
    reasons = {
        "callbacks": bool(schedule.callbacks or schedule.monitor),
        "verbose": bool(schedule.verbose),
        "freeze_iter": bool(schedule.freeze_iter),
        "warm_start": training.state is not None,
        "rehearse": type(rows) is not Rows,
        "sparse rows": not isinstance(rows.inputs, np.ndarray),
        "rows on a disk": is_mapped(rows.inputs),
        f"device={rows.device}": rows.device != "cpu",
        "an objective of its own": type(training.objective) is not Objective,
        "a torch without the fused step": not has_fused_adam(),
        "the size of the network": _width(training) == 1,
    }
    return ", ".join(reason for reason, holds in reasons.items() if holds)


def stack_key(training: Training) -> tuple:
    """Return what the members of a stack must have in common."""
    objective: Any = training.objective
    rows, schedule = training.rows, training.schedule
    strengths = (objective.lambda_noise, objective.lambda_trace, objective.lambda_teacher, objective.alpha)
    bounds = objective.bounds or ()
    n_batches = [-(-len(r) // schedule.batch_size) for r in (rows, training.valid_rows) if r is not None]
    return (
        training.activation,
        tuple(p.shape for p in training.params),
        str(rows.dtype),
        tuple(n_batches),
        max(n_batches) > 1 and schedule.batch_size,
        schedule.ema_decay,
        schedule.unit,
        tuple(map(is_on, strengths)),
        is_on(objective.lambda_teacher) and objective.has_teacher,
        objective.neighborhood if is_on(objective.lambda_noise) else None,
        bool(objective.parameter_noise_std),
        objective.trace if is_on(objective.lambda_trace) else None,
        tuple(torch.as_tensor(value).ndim for value in (objective.delta, *bounds)),
        None if objective.outputs is None else tuple(objective.outputs.tolist()),
    )


class Room:
    """Says whether one more fit may begin beside others, by the bytes that these take."""

    def __init__(self, max_memory: float) -> None:
        self.max_memory = max_memory
        # Every thread of a fit has threads of torch's.
        self.most = max(4, MOST // torch.get_num_threads())

    def __call__(self, claims: Sequence[int]) -> bool:
        """Say whether one more like the last one has room."""
        return len(claims) < self.most and sum(claims) + claims[-1] <= self.max_memory


def answer_all(requests: Sequence[Any]) -> list[Answer]:
    """Answer what fits ask for that run side by side, alike requests by one computation."""
    return answer_once(requests, _answer_each)


def _answer_each(requests: Sequence[Any]) -> list[Answer]:
    trainings = [request for request in requests if isinstance(request, Training)]
    trained = iter(train_all(trainings))
    return [next(trained) if isinstance(r, Training) else _answer_alone(r) for r in requests]


def _answer_alone(request: Any) -> Answer:
    begun = time.perf_counter()
    try:
        value = request.alone()
    except Exception as error:
        value = error
    return Answer(value, time.perf_counter() - begun)


def train_all(trainings: Sequence[Training]) -> list[Answer]:
    """Return what ``alone`` gives for every training, in stacks where that can be; errors are answers."""
    answers: list[Answer | None] = [None] * len(trainings)
    groups: dict[Any, list[int]] = {}
    for index, training in enumerate(trainings):
        groups.setdefault(index if why_alone(training) else stack_key(training), []).append(index)
    for group in groups.values():
        n_parts = -(-len(group) // _width(trainings[group[0]]))
        for part in np.array_split(group, n_parts):
            begun = time.perf_counter()
            values = train_stack([trainings[index] for index in part])
            seconds = (time.perf_counter() - begun) / len(part)
            for index, value in zip(part, values, strict=True):
                answers[index] = Answer(value, seconds)
    return [answer for answer in answers if answer is not None]


def train_stack(trainings: Sequence[Training]) -> list[Trained | Exception]:
    """Train one stack; where that fails, as for want of memory, each half of it."""
    if len(trainings) == 1:
        return [_answer_alone(trainings[0]).value]
    _keep_memory()
    generators = [g for t in trainings for g in (t.shuffle_generator, t.draw_generator)]
    states = [generator.get_state() for generator in generators]
    try:
        with torch.no_grad():
            return _Stack(trainings).train()
    except (MemoryError, RuntimeError):
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
    half = len(trainings) // 2
    return train_stack(trainings[:half]) + train_stack(trainings[half:])


@cache
def _keep_memory() -> None:
    """Let the C library keep what is freed, by freeing what is large: else it fetches every array anew.

    glibc keeps up to twice the largest block that was freed, of those below 32 MiB.
    """
    torch.empty(31 * 2**20, dtype=torch.uint8)


def _width(training: Training) -> int:
    """Return how many members' steps stay near the processor together."""
    n_rows, sizes = training.schedule.batch_size, [p.shape for p in training.params[::2]]
    n_numbers = 6 * sum(np.prod(size) for size in sizes)
    n_numbers += 3 * n_rows * (sizes[0][1] + sum(size[0] for size in sizes))
    return max(1, int(STEP_BYTES // (n_numbers * training.rows.dtype.itemsize)))


class _Member:
    """What a member has that is no tensor: when it ends, and what its history says."""

    def __init__(self, index: int, training: Training) -> None:
        self.index, self.training = index, training
        self.learning_rate = training.schedule.learning_rate_init
        schedule = training.schedule
        self.rule = Rule(schedule.tol, schedule.n_iter_no_change, training.valid_rows is not None)
        self.history: list[dict[str, Any]] = []
        self.gains: dict[str, float] = {}
        self.best_params: list[Tensor] = []

    @property
    def has_ended(self) -> bool:
        return self.rule.converged or len(self.history) == self.training.schedule.max_iter


class _Stack:
    """The members that still train, as rows of common tensors."""

    def __init__(self, trainings: Sequence[Training]) -> None:
        first = trainings[0]
        members = [_Member(index, training) for index, training in enumerate(trainings)]
        # Those of one learning rate side by side: they make their steps in one call.
        self.members = sorted(members, key=lambda m: (m.learning_rate, m.training.schedule.decay))
        ordered = [member.training for member in self.members]
        self.params = [
            torch.from_numpy(np.stack(p))
            for p in zip(*(training.params for training in ordered), strict=True)
        ]
        objectives = [t.objective for t in ordered if isinstance(t.objective, Objective)]
        self.objective = StackedObjective.of(objectives, tuple(self.params))
        size = max(t.schedule.batch_size for t in ordered)  # they differ where it is that of all rows
        self.rows = StackedRows([t.rows for t in ordered], size)
        self.valid_rows: StackedRows | None = None
        if first.valid_rows is not None:
            self.valid_rows = StackedRows([t.valid_rows for t in ordered if t.valid_rows is not None], size)
        self.moments = [[torch.zeros_like(p) for p in self.params] for _ in range(2)]
        self.adam = Adam.state_after(0, *self.moments, learning_rate=0.0)["param_groups"][0]
        self.ema_decay, self.n_steps = first.schedule.ema_decay, 0
        self.averages = [p.clone() for p in self.params] if self.ema_decay else self.params
        self.results: list[Trained | Exception | None] = [None] * len(trainings)

    def train(self) -> list[Trained | Exception]:
        """Train all of them to their ends."""
        while self.members:
            begun = time.perf_counter()
            names, values, weights = self._run_epoch()
            valid = None if self.valid_rows is None else self._validate(self.valid_rows)
            self._end_epoch(names, values, weights, valid, begun)
            for member in self.members:
                member.learning_rate *= member.training.schedule.decay
        return self.results  # type: ignore[return-value]

    def _run_epoch(self) -> tuple[list[str], Tensor, Tensor]:
        trainings = [member.training for member in self.members]
        generators = [training.draw_generator for training in trainings]
        orders = [
            torch.randperm(n, generator=t.shuffle_generator) if t.schedule.shuffle else torch.arange(n)
            for n, t in zip(self.rows.n_rows, trainings, strict=True)
        ]
        values, weights, names = [], [], []
        for batch, n_rows in self.rows.batches(orders):
            params = tuple(self.params)
            draws = self.objective.draw_for(params, batch, n_rows, generators)
            loss, parts, _, gradient = self.objective.gradient(params, batch, draws)
            self._step(gradient)
            values += [loss, *parts.values()]
            weights.append(batch.weight.sum(dim=-1))
            names = list(parts)
        return names, *_table(values, weights)

    def _step(self, gradient: list[Tensor]) -> None:
        self.n_steps += 1
        step, begin = torch.tensor(float(self.n_steps)), 0
        for rate, group in groupby(self.members, key=lambda member: member.learning_rate):
            end = begin + len(list(group))
            params, slopes, means, squares = (
                [p[begin:end] for p in ps] for ps in (self.params, gradient, *self.moments)
            )
            fused_adam(params, slopes, means, squares, [step] * len(params), {**self.adam, "lr": rate})
            begin = end
        if self.ema_decay:
            torch._foreach_lerp_(self.averages, self.params, 1 - moving_decay(self.ema_decay, self.n_steps))

    def _validate(self, rows: StackedRows) -> tuple[Tensor, Tensor]:
        values, weights = [], []
        for batch, _ in rows.batches([torch.arange(n) for n in rows.n_rows]):
            values += validation_values(self.objective.logits(tuple(self.averages), batch), batch)
            weights.append(batch.weight.sum(dim=-1))
        return _table(values, weights)

    def _end_epoch(
        self,
        names: list[str],
        values: Tensor,
        weights: Tensor,
        valid: tuple[Tensor, Tensor] | None,
        begun: float,
    ) -> None:
        """Write histories, and let those go that have ended."""
        mean = means(values, weights)
        valid_mean = None if valid is None else means(*valid).T.tolist()
        tables = [values, mean] if valid is None else [values, mean, valid[0]]
        all_finite = all(bool(torch.isfinite(table).all()) for table in tables)
        seconds = (time.perf_counter() - begun) / len(self.members)
        stays = []
        for position, (member, numbers) in enumerate(zip(self.members, mean.T.tolist(), strict=True)):
            epoch = len(member.history) + 1
            if not all_finite:
                unit = member.training.schedule.unit
                try:
                    table = torch.vstack([values[..., position], mean[:, position]])
                    check_finite(table, names, unit, epoch)
                    if valid is not None:
                        check_finite(valid[0][..., position], ["valid_acc"], unit, epoch)
                except ValueError as error:
                    self.results[member.index] = error
                    continue
            row: dict[str, Any] = {"epoch": epoch}
            row |= epoch_columns("train_loss", names, numbers, member.gains)
            if valid_mean is not None:
                row |= epoch_columns("valid_loss", ["valid_acc"], valid_mean[position], member.gains)
            row["dur"] = seconds
            if member.training.schedule.decay != 1:
                row["event_lr"] = member.learning_rate  # as skorch's scheduler writes it
            member.history.append(row)
            if member.rule.is_best(row) and valid_mean is not None:
                member.best_params = [p[position].clone() for p in self.averages]
            if member.has_ended:
                self.results[member.index] = self._result(member, position)
            else:
                stays.append(position)
        if 0 < len(stays) < len(self.members):
            self._keep(stays)
        elif not stays:
            self.members = []

    def _result(self, member: _Member, position: int) -> Trained | Exception:
        final = member.best_params or [p[position].clone() for p in self.averages]
        if not all(torch.isfinite(p).all() for p in final):
            unit = member.training.schedule.unit
            return ValueError(divergence(unit, len(member.history), "parameters"))
        moments = [[m[position].clone() for m in ms] for ms in self.moments]
        optimizer = Adam.state_after(self.n_steps, *moments, learning_rate=member.learning_rate)
        state: dict[str, Any] = {"optimizer": optimizer}
        if self.ema_decay:
            left = all(torch.equal(f, p[position]) for f, p in zip(final, self.averages, strict=True))
            stepped = [p[position].clone() for p in self.params] if left else None
            state |= {"n_steps": self.n_steps, "stepped": stepped}
        return Trained(tuple(p.numpy() for p in final), member.history, state, member.rule.converged)

    def _keep(self, positions: list[int]) -> None:
        """Go on with these members only."""
        self.members = [self.members[position] for position in positions]
        index = torch.tensor(positions, dtype=torch.int64)
        is_average = self.averages is not self.params
        self.params = [p[index] for p in self.params]
        self.averages = [p[index] for p in self.averages] if is_average else self.params
        self.moments = [[m[index] for m in ms] for ms in self.moments]
        self.objective = self.objective.keep(index)
        self.rows = self.rows.keep(index)
        if self.valid_rows is not None:
            self.valid_rows = self.valid_rows.keep(index)


def _table(values: list[Tensor], weights: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Return values of shape (n_batches, n_names, n_members), and weights of shape (n_batches, n_members)."""
    weight = torch.stack(weights).double()
    return torch.stack(values).double().view(len(weights), -1, weight.shape[-1]), weight
