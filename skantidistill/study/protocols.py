"""What a study is about: data, teacher, student and criteria, all of them plain values."""

import hashlib
import json
import math
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sklearn.model_selection import train_test_split

import skantidistill.classifier
from skantidistill.classifier import AntiDistilledMLPClassifier
from skantidistill.datasets import Dataset, fetch_fashion_mnist, load_digits
from skantidistill.study.files import load_table
from skantidistill.study.methods import TABLES, Group, make_methods, n_steps
from skantidistill.study.tuning import Tuning, load_tuning

__all__ = [
    "LOADERS",
    "PROTOCOLS",
    "TUNINGS",
    "Protocol",
    "n_steps",
    "steps_an_epoch",
    "student_parameters",
    "tables_of",
]

VALIDATION = 0.2  # share of the training rows

_SAME_BUDGET = {row for group in TABLES["equal training"] for row in group.rows}

LOADERS: dict[str, Callable[[int], Dataset]] = {
    "digits": lambda seed: load_digits(random_state=seed),
    "fashion-mnist": lambda seed: fetch_fashion_mnist(),
}


@dataclass(frozen=True)
class Protocol:
    """Data, teacher, student and criteria of a study.

    Parameters
    ----------
    title : str
        Name of the data, for readers.
    data : str
        A key of ``LOADERS``, or the path of a file.
    teacher_classes : tuple
        The teacher's labels; D1 is the training rows that have them.
    teacher : mapping
        Parameters of the teacher, a scikit-learn ``MLPClassifier`` that Adam trains.
    teacher_phases : tuple of (int, float)
        Epochs and step sizes of its training, one after the other.
    student : mapping
        Parameters that all students share.
    fgsm_epsilon, noise_epsilon : float
        Strength of attacks in the units of X, and of the noise in the parameters.
    n_steps_few_rows : int
        Gradient steps on D2 where ``rows`` is given.
    teacher_features : tuple of str, float or None, default=None
        Names of the columns that the teacher knows, or their share, drawn by the seed; None: all.
    rows : int or None, default=None
        Rows of D2, a stratified sample of the training rows; None: all. D1 is always whole.
    target, digest : str or None, default=None
        Of a file: the column of labels, and the SHA-256 of the content.
    best : mapping, default={}
        AD's setting, where it differs from the estimator's defaults.
    on_validation : bool, default=False
        Leave the test rows alone: train on four fifths of the training rows, and measure on the others.
    n_draws : int, default=10
        Draws of parameter noise that are averaged.
    n_threads : int or None, default=1
        Threads to compute with; None: as many as the libraries take. One gives the same bits on every
        machine, and where others compute too, it is much faster: nobody waits for a thread that waits.
    """

    title: str
    data: str
    teacher_classes: tuple[Any, ...]
    teacher: Mapping[str, Any]
    teacher_phases: tuple[tuple[int, float], ...]
    student: Mapping[str, Any]
    fgsm_epsilon: float
    noise_epsilon: float
    n_steps_few_rows: int
    teacher_features: tuple[str, ...] | float | None = None
    rows: int | None = None
    target: str | None = None
    digest: str | None = None
    best: Mapping[str, Any] = field(default_factory=dict)
    on_validation: bool = False
    n_draws: int = 10
    n_threads: int | None = 1

    @property
    def certified_epsilon(self) -> float:
        """Strength of the certificate: interval bounds prove nothing about an ordinary network at FGSM's."""
        return self.fgsm_epsilon / 10

    @property
    def methods(self) -> dict[str, dict[str, Any]]:
        """Parameters of every row, by its name."""
        return make_methods(self.best)

    def load(self, seed: int) -> Dataset:
        """Return the training rows of a seed, and those to measure on.

        Parameters
        ----------
        seed : int
            Of the split.

        Returns
        -------
        data : Dataset
            With ``on_validation`` a part of the training rows only.
        """
        data = self.load_all(seed)
        if not self.on_validation:
            return data
        X, X_validation, y, y_validation = train_test_split(
            data.X_train, data.y_train, test_size=VALIDATION, stratify=data.y_train, random_state=seed
        )
        return replace(data, X_train=X, y_train=y, X_test=X_validation, y_test=y_validation)

    def load_all(self, seed: int) -> Dataset:
        """Return all training rows of a seed, and its test rows.

        Parameters
        ----------
        seed : int
            Of the split.

        Returns
        -------
        data : Dataset
            As it is loaded.
        """
        if self.digest is None:
            return LOADERS[self.data](seed)
        return load_table(self.data, self.target, self.digest, seed)

    def settings(self) -> dict[str, Any]:
        """Return all that a row of the study depends on, besides its method and seed.

        Two studies whose settings differ do not share rows. Neither where a file lies nor its title counts:
        its content does.

        Returns
        -------
        settings : dict
            Plain values, as JSON has them.
        """
        own = asdict(self)
        del own["best"]  # is in the methods
        if self.digest is not None:
            del own["data"], own["title"]
        methods = {name: _plain(AntiDistilledMLPClassifier(**given)) for name, given in self.methods.items()}
        return json.loads(json.dumps({**own, "methods": methods, "versions": versions()}, default=str))

    @property
    def key(self) -> str:
        """A short name of the settings."""
        return hashlib.sha256(json.dumps(self.settings(), sort_keys=True).encode()).hexdigest()[:12]

    def __hash__(self) -> int:
        return hash((self.data, self.digest, self.teacher_classes, self.rows))


def _plain(student: AntiDistilledMLPClassifier) -> dict[str, Any]:
    return {name: value for name, value in student.get_params(deep=False).items() if name != "callbacks"}


@cache
def versions() -> dict[str, str]:
    """Return the versions that numbers depend on; of this package also a digest of its source."""
    found = {"Python": platform.python_version()}
    found |= {name: version(name) for name in ("skantidistill", "scikit-learn", "torch", "numpy")}
    root = Path(skantidistill.classifier.__file__).parent
    measured = [
        root / "study" / name for name in ("files.py", "measure.py", "problem.py", "protocols.py", "task.py")
    ]
    own = [
        path
        for path in sorted(root.glob("*.py"))
        if path.name not in ("__init__.py", "__main__.py", "displays.py")
    ]
    source = b"".join(path.read_bytes() for path in [*own, *measured])
    return {**found, "source": hashlib.sha256(source).hexdigest()[:12]}


#: Where AD's settings come from: ``skantidistill tune``. Elsewhere they are the estimator's defaults.
TUNINGS: dict[str, Tuning] = {"fashion-mnist": load_tuning(Path(__file__).with_name("fashion_mnist.json"))}

#: "fashion-mnist" is the protocol of the paper but for AD's setting.
PROTOCOLS = {
    # 1/16 is one grey level of these pictures; noise of 0.15 costs a plain student about a third of its
    # accuracy.
    "digits": Protocol(
        title="Digits",
        data="digits",
        teacher_classes=(0, 1, 2, 3, 4),
        teacher={"hidden_layer_sizes": (32, 16), "batch_size": 64},
        teacher_phases=((40, 1e-3),),
        student={
            "hidden_layer_sizes": (64, 32),
            "batch_size": 64,
            "learning_rate_init": 1e-3,
            "max_iter": 40,
            "tol": 0.0,
            "n_iter_no_change": math.inf,
        },
        fgsm_epsilon=0.0625,
        noise_epsilon=0.15,
        n_steps_few_rows=760,
    ),
    "fashion-mnist": Protocol(
        title="Fashion-MNIST",
        data="fashion-mnist",
        teacher_classes=(0, 1, 2, 3, 4),
        teacher={"hidden_layer_sizes": (128, 64, 32), "batch_size": 256},
        teacher_phases=((10, 1e-2), (20, 1e-3)),
        student={
            "hidden_layer_sizes": (256, 128, 64),
            "batch_size": 256,
            "learning_rate_init": 1e-3,
            "max_iter": 10,
            "tol": 0.0,
            "n_iter_no_change": math.inf,
        },
        fgsm_epsilon=0.018,
        noise_epsilon=0.09,
        n_steps_few_rows=1500,
        best=TUNINGS["fashion-mnist"].best,
    ),
}


def tables_of(protocol: Protocol) -> dict[str, tuple[Group, ...]]:
    """Return the tables of a protocol: D1 is rehearsed only where it is not a part of D2 anyway.

    Parameters
    ----------
    protocol : Protocol
        What is studied.

    Returns
    -------
    tables : dict
        Title of a table to its groups of rows.
    """
    if protocol.rows is not None:
        return TABLES
    return {name: groups[:1] for name, groups in TABLES.items()}


def student_parameters(protocol: Protocol, method: str, n_old: int, n_rows: int) -> dict[str, Any]:
    """Return a row's parameters of ``AntiDistilledMLPClassifier``, all but teacher and seed.

    A row of "equal training" makes at least AD's gradient steps, those of phi counted: what it has fewer of
    phi it has more of D2, rounded up in its favour. Where D2 is small, epochs are as many as hold the
    protocol's steps.

    Parameters
    ----------
    protocol : Protocol
        What is studied.
    method : str
        Name of the row, a key of ``METHODS``.
    n_old, n_rows : int
        Number of rows of D1 and of D2.

    Returns
    -------
    parameters : dict
        For ``AntiDistilledMLPClassifier(**parameters)``; holds ``teacher`` only where it is None.

    Examples
    --------
    >>> from skantidistill.study import PROTOCOLS, student_parameters
    >>> student_parameters(PROTOCOLS["digits"], "Zero", n_old=600, n_rows=1198)["start"]
    'zero'
    """
    methods = protocol.methods
    parameters = {**protocol.student, **methods[method]}
    batch_size = parameters["batch_size"]
    steps = parameters["max_iter"] * n_steps(n_rows, batch_size)
    if protocol.rows is not None:
        steps = protocol.n_steps_few_rows
    if method in _SAME_BUDGET:
        saved = _phi_epochs(methods["AD"]) - _phi_epochs(methods[method])
        steps += saved * n_steps(n_old, batch_size)
    parameters["max_iter"] = math.ceil(steps / steps_an_epoch(parameters, n_rows))
    return parameters


def steps_an_epoch(parameters: dict[str, Any], n_rows: int) -> int:
    """Return the steps of an epoch on D2; rehearsed rows take some of every minibatch."""
    batch_size = min(parameters["batch_size"], n_rows)
    rehearsed = min(round(parameters.get("rehearse", 0) * batch_size), batch_size - 1)
    return n_steps(n_rows, batch_size - rehearsed)


def _phi_epochs(parameters: dict[str, Any]) -> int:
    return AntiDistilledMLPClassifier(**parameters).phi_max_iter
