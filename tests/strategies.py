"""What the property tests draw: networks, labels, growths and rows, all from a few small numbers.

Every strategy draws sizes, an activation and a seed; arrays come from the seed. Labels are never
0, 1, 2, ..., which would hide a mix-up of labels and positions.
"""

import itertools
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from skantidistill import AntiDistilledMLPClassifier
from skantidistill.blueprint import Blueprint
from skantidistill.growth import Growth

PIECEWISE_LINEAR = ["relu", "identity"]
SMOOTH = ["identity", "tanh", "logistic"]
ACTIVATIONS = ["relu", "identity", "tanh", "logistic"]

#: Kind of labels: the labels themselves, and dtypes in which a teacher may hold the very same ones.
LABELS = {
    "integers": (np.array([-3, 2, 7, 11, 40, 41, 99]), ["int64", "int8", "float64", "object"]),
    "floats": (np.array([-1.5, 0.25, 2.0, 3.0, 8.5]), ["float64", "float32", "object"]),
    "strings": (np.array(["ant", "bee", "cat", "dolphin", "eel"]), ["<U7", "<U20", "object"]),
    "objects": (np.array(["ant", "bee", "cat", "dolphin"], dtype=object), ["<U7", "object"]),
    "booleans": (np.array([False, True]), ["bool", "object"]),
}

seeds = st.integers(0, 2**20)
activations = st.sampled_from(ACTIVATIONS)


def normal_parameters(layer_sizes, rng, std=1.0):
    """Draw a flat tuple (W_1, b_1, ..., W_L, b_L) of float64 arrays in general position."""
    params = []
    for n_in, n_out in itertools.pairwise(layer_sizes):
        params += [rng.normal(0, std, (n_out, n_in)), rng.normal(0, std, n_out)]
    return tuple(params)


def tensors(params, dtype=torch.float64):
    """Turn arrays into tensors."""
    return tuple(torch.tensor(p, dtype=dtype) for p in params)


@st.composite
def generators(draw):
    """Draw a seeded torch generator."""
    return torch.Generator().manual_seed(draw(seeds))


@dataclass(frozen=True, eq=False)
class Network:
    """A perceptron, rows for it, and the generator that both came from."""

    sizes: tuple[int, ...]
    activation: str
    params: tuple[torch.Tensor, ...]
    X: torch.Tensor
    y: torch.Tensor
    weight: torch.Tensor
    generator: torch.Generator

    @property
    def n_params(self):
        return sum(p.numel() for p in self.params)


def make_network(sizes, activation, seed, n_rows=3, dtype=torch.float64):
    """Draw parameters, inputs, labels and unequal row weights from a seed."""
    generator = torch.Generator().manual_seed(seed)
    params = []
    for n_in, n_out in itertools.pairwise(sizes):
        for shape in [(n_out, n_in), (n_out,)]:
            params.append(torch.randn(shape, generator=generator, dtype=dtype))
    X = torch.randn((n_rows, sizes[0]), generator=generator, dtype=dtype)
    y = torch.randint(sizes[-1], (n_rows,), generator=generator)
    weight = 0.1 + 3 * torch.rand(n_rows, generator=generator, dtype=dtype)
    return Network(tuple(sizes), activation, tuple(params), X, y, weight, generator)


@st.composite
def networks(draw, kinds=activations, max_hidden=3, max_width=4, max_classes=4):
    """Draw a network of 0 to ``max_hidden`` hidden layers with a few rows."""
    widths = st.integers(1, max_width)
    hidden = draw(st.lists(widths, min_size=0, max_size=max_hidden))
    sizes = (draw(widths), *hidden, draw(st.integers(2, max_classes)))
    return make_network(sizes, draw(kinds), draw(seeds), n_rows=draw(st.integers(1, 4)))


@dataclass(frozen=True, eq=False)
class Case:
    """A teacher, the student that it grows into, and arrays to try them on; X has the student's columns."""

    teacher: Blueprint
    growth: Growth
    classes: np.ndarray
    names: np.ndarray | None
    fill: tuple[np.ndarray, ...]
    X: np.ndarray
    rng: np.random.Generator

    @property
    def teacher_logits(self):
        """The teacher's logits on its own columns of X, in the order of its outputs."""
        columns = range(self.teacher.layer_sizes[0])
        if self.names is not None:
            columns = [self.names.tolist().index(name) for name in self.teacher.feature_names]
        return self.teacher.logits(self.X[:, columns])

    def regrow(self, teacher):
        """Grow another teacher in the same way."""
        sizes = self.growth.layer_sizes
        return Growth(teacher, sizes[0], sizes[1:-1], self.classes, self.names)


def draw_inserted(draw, hidden, n_classes, activation, max_inserted=2):
    """Draw widths of inserted layers: wide enough for the last hidden layer, or at least for every class."""
    needed = n_classes * (2 if activation == "relu" else 1)
    inserted, narrow = [], not hidden
    for _ in range(draw(st.integers(0, max_inserted))):
        width = draw(st.integers(1, 4)) + draw(st.sampled_from([0, *hidden[-1:], needed]))
        narrow = narrow or width < hidden[-1]
        if narrow:
            width = max(width, needed)
            narrow = not hidden or width < hidden[-1]
        inserted.append(width)
    return inserted


@st.composite
def growths(draw, max_hidden=3, absent=False, deeper=True):
    """Draw a teacher whose labels are a shuffled subset of the student's, and its growth in any direction.

    With ``absent`` the teacher has labels, too, that the student has not. Layers are inserted where the
    activation carries them exactly, and only if ``deeper``.
    """
    pool, dtypes = LABELS[draw(st.sampled_from(sorted(LABELS)[1:] if absent else sorted(LABELS)))]
    rng = np.random.default_rng(draw(seeds))
    n_known = draw(st.integers(2, len(pool) - absent))
    n_classes = draw(st.integers(n_known, len(pool) - absent))
    chosen = rng.permutation(len(pool))
    classes = pool[np.sort(chosen[:n_classes])]
    known = chosen[:n_known]
    if absent:
        known = rng.permutation(np.concatenate([known, chosen[n_classes:]]))
    n_features = draw(st.integers(1, 4))
    names = np.array([f"feature {i}" for i in range(n_features + draw(st.integers(0, 2)))], dtype=object)
    student_names = rng.permutation(names) if draw(st.booleans()) else None
    hidden = draw(st.lists(st.integers(1, 4), min_size=0, max_size=max_hidden))
    activation = draw(activations)
    grown = [n + draw(st.integers(0, 3)) for n in hidden]
    if deeper and activation in PIECEWISE_LINEAR:
        grown += draw_inserted(draw, hidden, n_known, activation)
    params = normal_parameters((n_features, *hidden, len(known)), rng)
    teacher = Blueprint(
        params[::2],
        params[1::2],
        activation,
        pool[known].astype(draw(st.sampled_from(dtypes))),
        None if student_names is None else names[:n_features],
    )
    growth = Growth(teacher, len(names), grown, classes, student_names)
    fill = normal_parameters(growth.layer_sizes, rng)
    return Case(teacher, growth, classes, student_names, fill, rng.normal(size=(5, len(names))), rng)


def module_of(net):
    """Return a network as a torch module, which every score of the package reads."""
    kinds = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh, "logistic": torch.nn.Sigmoid}
    modules = []
    for weight, bias in zip(net.params[::2], net.params[1::2], strict=True):
        layer = torch.nn.Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype)
        layer.weight.data, layer.bias.data = weight.clone(), bias.clone()
        modules += [layer, kinds.get(net.activation, torch.nn.Identity)()]
    return torch.nn.Sequential(*modules[:-1])


#: Kinds of labels that scikit-learn takes for classes: floats must be whole numbers.
CLASS_LABELS = {
    **{kind: labels for kind, (labels, _) in LABELS.items() if kind != "floats"},
    "floats": np.array([-2.0, 0.0, 3.0, 8.0], dtype=np.float32),
}


@st.composite
def blueprints(draw, max_hidden=3):
    """Draw a network with sorted labels, with or without names and a scaling, in either precision."""
    pool = CLASS_LABELS[draw(st.sampled_from(sorted(CLASS_LABELS)))]
    rng = np.random.default_rng(draw(seeds))
    n_features, n_classes = draw(st.integers(1, 4)), draw(st.integers(2, len(pool)))
    hidden = draw(st.lists(st.integers(1, 4), min_size=0, max_size=max_hidden))
    params = normal_parameters((n_features, *hidden, n_classes), rng)
    names = np.array([f"feature {i}" for i in range(n_features)], dtype=object)
    scaling = draw(st.sampled_from(["none", "scale", "scale and shift"]))
    scale = None if scaling == "none" else rng.uniform(0.5, 2, n_features)
    shift = None if scale is None else rng.normal(size=n_features) * (scaling == "scale and shift")
    return Blueprint(
        params[::2],
        params[1::2],
        draw(activations),
        pool[np.sort(rng.permutation(len(pool))[:n_classes])],
        names if draw(st.booleans()) else None,
        scale,
        shift,
    ).astype(draw(st.sampled_from([np.float64, np.float32])))


def draw_settings(draw, n_features, classes):
    """Draw parameters of a student, of every kind that a parameter has."""
    settings = {
        "delta": draw(st.sampled_from([0.1, np.linspace(0.1, 0.2, n_features)])),
        "bounds": draw(st.sampled_from([None, (-9, 9.5), [np.full(n_features, -9.0), 9.0]])),
        "class_weight": draw(st.sampled_from([None, {classes[0]: 2, classes.tolist()[1]: 0.5}])),
        "n_iter_no_change": draw(st.sampled_from([3, np.inf])),
        "ema_decay": draw(st.sampled_from([0.0, 0.99])),
        "early_stopping": draw(st.booleans()),
        "validation_fraction": draw(st.sampled_from([0.3, 0.5])),
        "freeze_iter": draw(st.sampled_from([0, 1, 5])),
        "alpha": draw(st.sampled_from([1e-4, np.float32(0.1)])),
        "phi_max_iter": draw(st.integers(0, 2)),
        "max_iter": draw(st.integers(1, 3)),
        "random_state": draw(seeds),
    }
    always = {"max_iter", "validation_fraction"}  # the default fraction of 40 rows is fewer than 7 classes
    return {name: value for name, value in settings.items() if name in always or draw(st.booleans())}


def draw_teacher(draw, X, y):
    """Draw a fitted teacher of some rows, or None."""
    kind = draw(st.sampled_from(["none", "linear", "network", "scaled"]))
    if kind == "none":
        return None
    mlp = MLPClassifier((3,), activation=draw(activations), max_iter=5, random_state=draw(seeds))
    teachers = {"linear": LogisticRegression(), "network": mlp, "scaled": make_pipeline(MinMaxScaler(), mlp)}
    return teachers[kind].fit(X, y)


@dataclass(frozen=True, eq=False)
class Fitted:
    """A fitted student and the rows that it was fitted on."""

    student: AntiDistilledMLPClassifier
    X: Any
    y: np.ndarray


@st.composite
def fitted_students(draw):
    """Draw a student after ``fit``, of every kind of teacher, labels, inputs and parameters."""
    pool = CLASS_LABELS[draw(st.sampled_from(sorted(CLASS_LABELS)))]
    n_features, n_classes = draw(st.integers(1, 3)), draw(st.integers(2, len(pool)))
    codes, rng = np.arange(40) % n_classes, np.random.default_rng(draw(seeds))
    X = np.clip(rng.normal(size=(40, n_features)) + codes[:, None], -9, 9)  # inside all bounds
    X = X.astype(draw(st.sampled_from([np.float64, np.float32])))
    y = pool[np.sort(rng.permutation(len(pool))[:n_classes])][codes]
    if draw(st.booleans()):
        X = pd.DataFrame(X, columns=[f"column {i}" for i in range(n_features)])
    known, n_old = codes < draw(st.integers(2, n_classes)), draw(st.integers(1, n_features))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what so short a training warns of
        teacher = draw_teacher(
            draw, X.iloc[known, :n_old] if hasattr(X, "iloc") else X[known, :n_old], y[known]
        )
        settings = draw_settings(draw, n_features, np.unique(y))
        if teacher is None or isinstance(teacher, LogisticRegression):
            settings["hidden_layer_sizes"] = draw(st.sampled_from([(14, 15), [16], 17, np.array([14])]))
        return Fitted(AntiDistilledMLPClassifier(teacher, **settings).fit(X, y), X, y)
