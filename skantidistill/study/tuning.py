"""What tuning found: its trials, those that no other beats, and the one that is chosen; as a file, too."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from skantidistill.study.errors import StudyError
from skantidistill.writing import write_whole

__all__ = [
    "COLUMNS",
    "GIVE_UP",
    "PARAMETERS",
    "Trial",
    "Tuning",
    "choose",
    "load_tuning",
    "pareto_front",
    "save_tuning",
]

#: The criteria of a trial: columns of the study's tidy table. The first is the accuracy.
COLUMNS = ("accuracy", "fgsm", "parameter_noise")
#: What is tuned: the weights of the terms, their noise, and phi's schedule. All are numbers.
PARAMETERS = (
    "lambda_ce",
    "lambda_teacher",
    "lambda_noise",
    "lambda_trace",
    "delta",
    "parameter_noise_std",
    "phi_max_iter",
    "phi_learning_rate_init",
    "phi_learning_rate_decay",
)
GIVE_UP = 0.005
FORMAT = 1


@dataclass(frozen=True)
class Trial:
    """A setting of anti-distillation, and what a student reached with it.

    Parameters
    ----------
    number : int
        Its number among the trials; 0 is that of the estimator's defaults.
    parameters : mapping
        Of ``AntiDistilledMLPClassifier``.
    values : tuple of float
        Accuracies by :data:`COLUMNS` on the validation rows, means over seeds.
    """

    number: int
    parameters: Mapping[str, Any]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Tuning:
    """The trials of a tuning, and the chosen one.

    Parameters
    ----------
    title : str
        Name of the data, for readers.
    command : str
        What made the trials.
    versions : mapping
        Versions that they depend on.
    seeds : tuple of int
        Every trial is the mean over these.
    trials : tuple of Trial
        In the order of their numbers.
    chosen : int
        Number of the chosen trial; see :func:`choose`.
    """

    title: str
    command: str
    versions: Mapping[str, str]
    seeds: tuple[int, ...]
    trials: tuple[Trial, ...]
    chosen: int
    columns: tuple[str, ...] = COLUMNS

    @property
    def best(self) -> dict[str, Any]:
        """Parameters of the chosen trial."""
        return dict(next(trial.parameters for trial in self.trials if trial.number == self.chosen))

    @property
    def front(self) -> tuple[int, ...]:
        """Numbers of the trials that no other beats."""
        return pareto_front(self.trials)


def pareto_front(trials: Sequence[Trial]) -> tuple[int, ...]:
    """Return the numbers of the trials that no other beats: none is as good in all values and better in one.

    Examples
    --------
    >>> from skantidistill.study.tuning import Trial, pareto_front
    >>> pareto_front([Trial(0, {}, (0.9, 0.5)), Trial(1, {}, (0.8, 0.5)), Trial(2, {}, (0.8, 0.6))])
    (0, 2)
    """

    def is_beaten(trial: Trial, other: Trial) -> bool:
        pairs = list(zip(trial.values, other.values, strict=True))
        return all(own <= others for own, others in pairs) and trial.values != other.values

    return tuple(t.number for t in trials if not any(is_beaten(t, other) for other in trials))


def choose(trials: Sequence[Trial], give_up: float = GIVE_UP) -> int:
    """Return the number of the firmest trial that is nearly as accurate as any.

    Parameters
    ----------
    trials : sequence of Trial
        At least one.
    give_up : float, default=0.005
        How much of the greatest accuracy may be given up. Of the trials within it, that with the greatest
        mean of the other values is chosen, of several the first.

    Returns
    -------
    number : int

    Examples
    --------
    >>> from skantidistill.study.tuning import Trial, choose
    >>> trials = [Trial(0, {}, (0.90, 0.5)), Trial(1, {}, (0.895, 0.6)), Trial(2, {}, (0.80, 0.9))]
    >>> choose(trials), choose(trials, give_up=0), choose(trials, give_up=0.1)
    (1, 0, 2)
    """
    floor = max(trial.values[0] for trial in trials) - give_up
    near = [trial for trial in trials if trial.values[0] >= floor]
    return max(near, key=lambda trial: (sum(trial.values[1:]), -trial.number)).number


def save_tuning(tuning: Tuning, path: Path) -> None:
    """Write a tuning as JSON, at once or not at all."""
    text = json.dumps({"format": FORMAT, **asdict(tuning)}, indent=1)
    write_whole(path, f"{text}\n".encode())


def load_tuning(path: str | Path) -> Tuning:
    """Read a tuning that :func:`save_tuning` wrote.

    Raises
    ------
    StudyError
        If the file can't be read, or holds something else.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise StudyError(f"{path} can't be read ({reason}); give a tuning.json as tune writes it.") from error
    try:
        return _tuning_of(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        reason = f" ({error})" if isinstance(error, ValueError) else ""
        raise StudyError(
            f"{path} holds no tuning of this version{reason}; give one that tune wrote."
        ) from error


def _tuning_of(found: dict[str, Any]) -> Tuning:
    """Return the tuning that a JSON object holds; a ValueError, TypeError or KeyError where it holds none."""
    if found["format"] != FORMAT:
        raise ValueError("another format")
    trials = tuple(
        Trial(int(t["number"]), dict(t["parameters"]), tuple(map(float, t["values"])))
        for t in found["trials"]
    )
    tuning = Tuning(
        title=str(found["title"]),
        command=str(found["command"]),
        versions={str(name): str(number) for name, number in found["versions"].items()},
        seeds=tuple(map(int, found["seeds"])),
        trials=trials,
        chosen=found["chosen"],
        columns=tuple(found["columns"]),
    )
    if tuning.chosen not in {trial.number for trial in trials}:
        raise ValueError("its chosen trial is missing")
    if tuning.columns != COLUMNS or any(len(trial.values) != len(COLUMNS) for trial in trials):
        raise ValueError("other criteria")
    for trial in trials:
        for name in trial.parameters:
            if name not in PARAMETERS:
                raise ValueError(f"{name!r} is not tuned")
        if not all(map(math.isfinite, [*trial.values, *trial.parameters.values()])):
            raise ValueError(f"trial {trial.number} has numbers that are not finite")
    return tuning
