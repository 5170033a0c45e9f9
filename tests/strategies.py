"""What the property tests draw: networks, labels, growths and rows, all from a few small numbers.

Every strategy draws sizes, an activation and a seed; arrays come from the seed. Labels are never
0, 1, 2, ..., which would hide a mix-up of labels and positions.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import strategies as st

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
    """A teacher, the student that it grows into, and arrays to try them on."""

    teacher: Blueprint
    growth: Growth
    classes: np.ndarray
    fill: tuple[np.ndarray, ...]
    X: np.ndarray
    rng: np.random.Generator


@st.composite
def growths(draw, max_hidden=3, absent=False):
    """Draw a teacher whose labels are a shuffled subset of the student's, and its growth.

    With ``absent`` the teacher has labels, too, that the student has not.
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
    hidden = draw(st.lists(st.integers(1, 4), min_size=0, max_size=max_hidden))
    grown = [n + draw(st.integers(0, 3)) for n in hidden]
    params = normal_parameters((n_features, *hidden, len(known)), rng)
    teacher = Blueprint(
        params[::2],
        params[1::2],
        draw(activations),
        pool[known].astype(draw(st.sampled_from(dtypes))),
    )
    growth = Growth(teacher, n_features, grown, classes)
    fill = normal_parameters(growth.layer_sizes, rng)
    return Case(teacher, growth, classes, fill, rng.normal(size=(5, n_features)), rng)
