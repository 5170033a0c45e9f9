"""The kinds of perturbation: how each one is measured, which settings it takes, and its usual strengths."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.utils import gen_batches
from torch import Tensor

from skantidistill.attacks import climb
from skantidistill.blueprint import Blueprint
from skantidistill.intervals import certified_margins
from skantidistill.network import Parameters, margin_gradient
from skantidistill.noisy_copies import NoisyCopies, draw_noise
from skantidistill.perturbations import BALLS, Bounds, fgsm, input_noise
from skantidistill.scoring import Points, Tally

__all__ = ["ATTACKS", "KINDS", "Kind", "Trial"]

BATCH_ROWS = 2048
BLOCK = 2**24  # numbers of a dense block
NOISY_ROWS = 256
NOISY_BLOCK = 2**22  # numbers of a layer of noisy copies, which should stay near the processor


@dataclass(frozen=True)
class Trial:
    """Checked data and settings of a measurement."""

    X: Any
    y: np.ndarray
    bounds: tuple[np.ndarray, np.ndarray] | None
    n_draws: int
    seed: int
    settings: dict[str, Any] = field(default_factory=dict)

    def batches(self, n_copies: int = 1) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Yield slices of rows with their dense X and y, small enough for this many copies of them."""
        size = max(1, min(BATCH_ROWS, BLOCK // (self.X.shape[1] * n_copies)))
        for rows in gen_batches(self.X.shape[0], size):
            X = self.X[rows]
            # A copy: X may be a memory map, or read-only, which torch does not take.
            yield rows, X.toarray() if issparse(X) else np.array(X), self.y[rows]

    def in_tensors(self, *values: Any) -> list[Tensor]:
        """Return arrays or numbers as tensors of the dtype of X."""
        dtype = torch.from_numpy(np.empty(0, self.X.dtype)).dtype
        return [torch.tensor(value, dtype=dtype) for value in values]

    @property
    def tensor_bounds(self) -> Bounds:
        """The bounds as tensors."""
        if self.bounds is None:
            return None
        low, high = self.in_tensors(*self.bounds)
        return low, high

    def reach(self, epsilon: Any) -> Any:
        """Return epsilon, with 0 for features that are not mutable."""
        mutable = self.settings["mutable"]
        return epsilon if mutable is None else np.where(mutable, epsilon, 0.0)


def measure_fgsm(blueprint: Blueprint, trial: Trial, strengths: list[Any], tally: Tally | Points) -> None:
    """Judge every row at the end of one full step; the gradient is the same for all strengths."""
    params = tuple(trial.in_tensors(*blueprint.folded().parameters))
    bounds, norm = trial.tensor_bounds, trial.settings["norm"]
    reaches = trial.in_tensors(*map(trial.reach, strengths))
    for rows, X, y in trial.batches():
        clean = torch.from_numpy(X)
        slope = margin_gradient(params, clean, torch.from_numpy(y), blueprint.activation)
        for index, epsilon in enumerate(reaches):
            moved = _full_step(clean, slope, epsilon, bounds, norm)
            tally.add(index, 0, rows, blueprint.logits(moved.numpy()), moved.numpy())


def measure_pgd(blueprint: Blueprint, trial: Trial, strengths: list[Any], tally: Tally | Points) -> None:
    """Judge every row at the worst of itself, the end of the full step, and the iterates from every start."""
    params = tuple(trial.in_tensors(*blueprint.folded().parameters))
    bounds, norm, n_restarts = trial.tensor_bounds, trial.settings["norm"], trial.settings["n_restarts"]
    reaches = trial.in_tensors(*map(trial.reach, strengths))
    seeds = np.random.RandomState(trial.seed).randint(2**31 - 1, size=n_restarts)
    streams = [np.random.RandomState(seed) for seed in seeds]
    for rows, X, y in trial.batches(n_copies=n_restarts):
        clean, codes = torch.from_numpy(X), torch.from_numpy(y)
        slope = margin_gradient(params, clean, codes, blueprint.activation)
        draws = [_draw_starts(trial, stream, X.shape) for stream in streams]
        for index, epsilon in enumerate(reaches):
            worst = _Worst(blueprint, clean, y)
            worst.offer(_full_step(clean, slope, epsilon, bounds, norm))
            for draw in draws if epsilon.any() else []:
                rest = worst.open_rows(tally.until_broken)
                if not len(rest):
                    break
                moved = climb(
                    params,
                    blueprint.activation,
                    BALLS[norm].around(clean[rest], epsilon, bounds),
                    clean[rest]
                    if draw is None
                    else input_noise(clean[rest], epsilon, draw.offsets(rest, epsilon), bounds),
                    codes[rest],
                    step_size=_step_size(trial, epsilon),
                    n_steps=trial.settings["n_steps"],
                    until_broken=tally.until_broken,
                )
                worst.offer(moved, rest.numpy())
            tally.add(index, 0, rows, worst.logits, worst.points)


def _full_step(X: Tensor, slope: Tensor, epsilon: Tensor, bounds: Bounds, norm: str) -> Tensor:
    """Return the fast gradient step by a gradient that is known already."""
    return fgsm(lambda _: slope, X, epsilon, bounds=bounds, norm=norm)


class _Worst:
    """The worst point of every row so far: one that breaks it before all, then that of the largest margin."""

    def __init__(self, blueprint: Blueprint, X: Tensor, y: np.ndarray) -> None:
        self._blueprint, self._y = blueprint, y
        self.points = X.numpy().copy()
        self.logits = blueprint.logits(self.points)
        self._broken, self._margin = self._judge(self.logits, y)

    def open_rows(self, until_broken: bool) -> Tensor:
        """Return the rows for which a stronger attack is of interest."""
        return torch.from_numpy(np.flatnonzero(~self._broken | (not until_broken)))

    def offer(self, moved: Tensor, rows: np.ndarray | None = None) -> None:
        """Take other points of some rows, or of all, where they are worse."""
        if rows is None:
            rows = np.arange(len(self._y))
        logits = self._blueprint.logits(moved.numpy())
        broken, margin = self._judge(logits, self._y[rows])
        worse = np.where(broken == self._broken[rows], margin > self._margin[rows], broken)
        taken = rows[worse]
        self.points[taken], self.logits[taken] = moved.numpy()[worse], logits[worse]
        self._broken[taken], self._margin[taken] = broken[worse], margin[worse]

    @staticmethod
    def _judge(logits: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        everyone = np.arange(len(y))
        others = logits.copy()
        others[everyone, y] = -np.inf
        return logits.argmax(axis=1) != y, others.max(axis=1) - logits[everyone, y]


class _Starts(NamedTuple):
    """What every strength makes uniform points of its unit ball of; ``radius`` is None for a cube."""

    direction: Tensor
    radius: Tensor | None

    def offsets(self, rows: Tensor, epsilon: Tensor) -> Tensor:
        """Return the points for some rows, in the coordinates that may move."""
        if self.radius is None:
            return self.direction[rows]
        moving = (epsilon > 0).expand(self.direction.shape[1])
        offsets = self.direction[rows] * moving
        # The radius of a uniform point of a ball of n dimensions is the n-th root of a uniform number.
        radius = self.radius[rows] ** (1 / int(moving.sum()))
        return (radius * offsets / offsets.norm(dim=1, keepdim=True)).to(epsilon.dtype)


def _draw_starts(trial: Trial, stream: np.random.RandomState, shape: tuple[int, ...]) -> _Starts | None:
    """Draw the starts of a climb from every row; None: it begins at the row itself."""
    if not trial.settings["random_start"]:
        return None
    if trial.settings["norm"] == "linf":
        return _Starts(trial.in_tensors(stream.uniform(-1, 1, size=shape))[0], None)
    return _Starts(
        torch.from_numpy(stream.standard_normal(shape)), torch.from_numpy(stream.uniform(size=(shape[0], 1)))
    )


def _step_size(trial: Trial, epsilon: Tensor) -> Tensor:
    """Return the given step, or one that crosses the ball in 0.8 of the steps; frozen features have none."""
    given = trial.settings["step_size"]
    if given is None:
        return epsilon * min(1.0, 2.5 / trial.settings["n_steps"])
    return trial.in_tensors(given)[0] * (epsilon > 0)


def measure_certified(blueprint: Blueprint, trial: Trial, strengths: list[Any], tally: Tally) -> None:
    """Count the rows whose label provably wins in the whole box, in the precision of X and the parameters."""
    unit = 2 * np.finfo(trial.X.dtype).eps
    for rows, X, y in trial.batches():
        centre = X.astype(np.float64)
        for index, epsilon in enumerate(map(trial.reach, strengths)):
            # An attack in the dtype of X ends up to two units in the last place further away.
            reach = (epsilon + unit * (np.abs(centre) + epsilon)) * (np.asarray(epsilon) > 0)
            low, high = centre - reach, centre + reach
            if trial.bounds is not None:
                low, high = (
                    np.clip(ends, *(b.astype(X.dtype).astype(np.float64) for b in trial.bounds))
                    for ends in (low, high)
                )
            with np.errstate(over="ignore", invalid="ignore"):  # what overflows is certified for nothing
                margins = certified_margins(blueprint, low, high, y, X.dtype)
            tally.add_hits(index, 0, rows, margins > 0)


def measure_input_noise(blueprint: Blueprint, trial: Trial, strengths: list[Any], tally: Tally) -> None:
    """Judge every row at a random point beside it; the points of a draw lie in the same directions."""
    bounds, stream = trial.tensor_bounds, np.random.RandomState(trial.seed)
    reaches = trial.in_tensors(*map(trial.reach, strengths))
    normal = trial.settings["distribution"] == "normal"
    for draw in range(trial.n_draws):
        for rows, X, _ in trial.batches():
            offsets = stream.standard_normal(X.shape) if normal else stream.uniform(-1, 1, size=X.shape)
            clean, directions = torch.from_numpy(X), trial.in_tensors(offsets)[0]
            for index, epsilon in enumerate(reaches):
                moved = input_noise(clean, epsilon, directions, bounds)
                tally.add(index, draw, rows, blueprint.logits(moved.numpy()))


def measure_parameter_noise(blueprint: Blueprint, trial: Trial, strengths: list[Any], tally: Tally) -> None:
    """Judge every row by noisy copies of the network, many draws at a time."""
    generator = torch.Generator().manual_seed(trial.seed)
    dtype = np.result_type(trial.X.dtype, blueprint.dtype)
    params: Parameters = tuple(torch.tensor(np.asarray(p, dtype)) for p in blueprint.parameters)
    is_dense = blueprint.input_scale is not None or not issparse(trial.X)
    width = max(*blueprint.layer_sizes[1:], 1)
    n_copies = max(1, min(trial.n_draws, BLOCK // sum(p.numel() for p in params)))
    n_rows = max(1, min(NOISY_ROWS, NOISY_BLOCK // (n_copies * width), BLOCK // trial.X.shape[1]))
    for draws in gen_batches(trial.n_draws, n_copies):
        noise = draw_noise(params, draws.stop - draws.start, generator)
        copies = NoisyCopies(params, noise, blueprint.activation, trial.settings["relative"])
        for rows in gen_batches(trial.X.shape[0], n_rows):
            X = trial.X[rows].toarray() if is_dense and issparse(trial.X) else trial.X[rows]
            for index, stack in enumerate(copies.logits(blueprint.scaled(X), strengths)):
                for draw, logits in zip(range(draws.start, draws.stop), stack, strict=True):
                    tally.add(index, draw, rows, logits)


@dataclass(frozen=True)
class Kind:
    """A kind of perturbation.

    Parameters
    ----------
    measure : callable
        ``measure(blueprint, trial, strengths, tally)`` adds every row's answers to the tally.
    epsilons : ndarray
        Strengths of a curve where none are given.
    defaults : dict
        The settings that it takes.
    random : bool
        Whether it is the mean of ``n_draws`` draws.
    by_feature : bool
        Whether epsilon may be one value a feature.
    """

    measure: Callable[[Blueprint, Trial, list[Any], Tally], None]
    epsilons: np.ndarray
    defaults: dict[str, Any]
    random: bool = False
    by_feature: bool = True


_ATTACK = {"norm": "linf", "mutable": None, "scoring": None}
_CLIMB = {"n_steps": 40, "step_size": None, "n_restarts": 1, "random_start": True}
_SMALL, _LARGE = np.arange(10) * 0.002, np.arange(10) * 0.01

#: Strengths of "fgsm" and "parameter_noise" are those of the published experiment.
KINDS: dict[str, Kind] = {
    "certified": Kind(measure_certified, _SMALL, {"norm": "linf", "mutable": None}),
    "fgsm": Kind(measure_fgsm, _SMALL, _ATTACK),
    "input_noise": Kind(
        measure_input_noise,
        _LARGE,
        {"distribution": "uniform", "mutable": None, "scoring": None},
        random=True,
    ),
    "parameter_noise": Kind(
        measure_parameter_noise,
        _LARGE,
        {"relative": False, "scoring": None},
        random=True,
        by_feature=False,
    ),
    "pgd": Kind(measure_pgd, _SMALL, _ATTACK | _CLIMB),
}

#: The kinds that move every row to one point.
ATTACKS = {"fgsm": measure_fgsm, "pgd": measure_pgd}
