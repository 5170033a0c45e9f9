"""A Sequential, a Blueprint and a tuple of the same parameters are one network, with live gradients."""

import re
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from scipy.sparse import csr_array
from strategies import ACTIVATIONS, make_network, networks
from torch import nn
from torch.testing import assert_close

from skantidistill.blueprint import Blueprint
from skantidistill.curvature import exact_trace, hutchinson_trace, sampled_trace
from skantidistill.network import ACTIVATIONS as FUNCTIONS
from skantidistill.perceptron import read_problem

# Float64, the same operations but for where a scaling is applied.
SAME = {"rtol": 1e-12, "atol": 1e-13}
MODULES = {name: activation.module for name, activation in FUNCTIONS.items()}
LABELS = np.array(["bee", "ant", "eel", "cat"])


def sequential(net, *, between=()):
    """Return a Sequential that holds the very parameters of a network."""
    modules = []
    for weight, bias in zip(net.params[::2], net.params[1::2], strict=True):
        linear = nn.Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype)
        linear.weight, linear.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
        modules += [linear, MODULES[net.activation](), *between]
    return nn.Sequential(*modules[: -1 - len(between)])


def blueprint(net, **settings):
    arrays = [p.numpy() for p in net.params]
    return Blueprint(
        tuple(arrays[::2]), tuple(arrays[1::2]), net.activation, LABELS[: net.sizes[-1]], **settings
    )


def traces(model, X, y, weight, **settings):
    """Every trace, the random ones from a seed."""

    def seeded():
        return torch.Generator().manual_seed(3)

    return torch.stack(
        [
            exact_trace(model, X, weight=weight, y=y, **settings),
            sampled_trace(model, X, seeded(), weight=weight, y=y, **settings),
            hutchinson_trace(model, X, y, seeded(), weight=weight, **settings),
        ]
    )


@given(networks())
def test_all_kinds_of_one_network_have_the_same_traces(net):
    X, y, weight = net.X.numpy(), net.y.numpy(), net.weight.numpy()
    expected = traces(net.params, net.X, net.y, net.weight, activation=net.activation)
    assume(expected.abs().max() > 1e-6)  # a network may be sure of every row
    for model, labels in [
        (net.params, y),
        (list(net.params), y),
        (sequential(net), y),
        (sequential(net), net.y),
        (blueprint(net), LABELS[y]),
    ]:
        settings = {"activation": net.activation} if isinstance(model, tuple | list) else {}
        assert_close(traces(model, X, labels, weight, **settings).detach(), expected, **SAME)


@pytest.mark.parametrize("hidden", [(), (3,), (3, 2, 2)], ids=len)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_traces_of_a_sequential_differentiate_in_its_own_parameters(hidden, activation):
    # gradcheck steps by 1e-6, and no relu unit of these networks is that close to its kink.
    net = make_network((2, *hidden, 3), activation, seed=5)
    model = sequential(net)
    X = net.X.clone().requires_grad_()

    def function(X, *params):  # gradcheck moves them in place
        return traces(model, X, net.y, net.weight)

    assert torch.autograd.gradcheck(function, (X, *model.parameters()))
    exact_trace(model, net.X, y=net.y).backward()
    assert any(p.grad is not None and p.grad.abs().max() > 1e-2 for p in model.parameters())


def test_input_scaling_of_a_blueprint_is_applied():
    net = make_network((2, 3, 3), "tanh", seed=1)
    scale, shift = np.array([0.5, 3.0]), np.array([-1.0, 0.2])
    scaled = blueprint(net, input_scale=scale, input_shift=shift)
    labels = LABELS[net.y.numpy()]
    expected = exact_trace(
        net.params, net.X * torch.tensor(scale) + torch.tensor(shift), y=net.y, activation="tanh"
    )
    for X in (net.X, net.X.numpy(), net.X.numpy().tolist(), csr_array(net.X.numpy())):
        assert_close(exact_trace(scaled, X, y=labels), expected, **SAME)
    assert not torch.isclose(exact_trace(blueprint(net), net.X, y=labels), expected, rtol=1e-2)
    assert exact_trace(scaled, net.X.float(), y=labels).dtype == torch.float64


def test_arrays_take_the_precision_of_the_parameters():
    net = make_network((2, 3, 3), "relu", seed=1, dtype=torch.float32)
    X = net.X.numpy().astype(np.float64)
    assert exact_trace(sequential(net), X).dtype == torch.float32
    assert exact_trace(net.params, X, weight=np.ones(3)).dtype == torch.float32


def test_modules_that_do_nothing_to_logits_are_read_over():
    net = make_network((4, 3, 3), "tanh", seed=1)
    expected = exact_trace(net.params, net.X, y=net.y, activation="tanh")
    plain = sequential(net)
    dropout = sequential(net, between=[nn.Dropout(0.5), nn.Identity()]).eval()
    for model in (
        dropout,
        nn.Sequential(nn.Sequential(plain[0], plain[1]), nn.Sequential(plain[2])),
        nn.Sequential(nn.Flatten(), *plain),
        nn.Sequential(*plain, nn.LogSoftmax(dim=1)),
        nn.Sequential(*plain, nn.Softmax(-1)),
        sequential(net, between=[nn.Dropout(0.0)]),
    ):
        assert_close(exact_trace(model, net.X, y=net.y).detach(), expected, **SAME)
    images = net.X.reshape(len(net.X), 2, 2)
    value = exact_trace(nn.Sequential(nn.Flatten(), *plain), images, y=net.y)
    assert_close(value.detach(), expected, **SAME)


class Doubled(nn.Linear):
    def forward(self, X):
        return 2 * super().forward(X)


def linear(*sizes):
    return [nn.Linear(*pair) for pair in pairwise(sizes)]


@pytest.mark.parametrize(
    ("modules", "kind", "message"),
    [
        ([*linear(2, 3), nn.BatchNorm1d(3), nn.ReLU(), *linear(3, 2)], TypeError, "has a BatchNorm1d"),
        ([*linear(2, 3), nn.BatchNorm1d(3), nn.ReLU(), *linear(3, 2)], TypeError, "that read_teacher makes"),
        ([*linear(2, 3), nn.GELU(), *linear(3, 2)], TypeError, "has a GELU, which can't be read; these"),
        ([Doubled(2, 2)], TypeError, "has a Doubled"),
        ([*linear(2, 3), nn.Dropout(0.2), *linear(3, 2)], ValueError, "Dropout in training mode"),
        ([nn.Linear(2, 2, bias=False)], ValueError, "Linear without bias"),
        (
            [*linear(2, 3), nn.ReLU(), *linear(3, 2), nn.ReLU()],
            ValueError,
            "output layer is followed by relu",
        ),
        ([*linear(2, 3), nn.ReLU(), *linear(3, 3), nn.Tanh(), *linear(3, 2)], ValueError, "['relu', 'tanh']"),
        ([*linear(2, 3), nn.ReLU(), *linear(3, 3, 2)], ValueError, "['relu', 'identity']"),
        ([nn.ReLU(), *linear(2, 2)], ValueError, "ReLU that does not follow a Linear"),
        ([*linear(2, 3), nn.ReLU(), nn.ReLU(), *linear(3, 2)], ValueError, "does not follow a Linear"),
        ([*linear(2, 3), nn.Flatten(), *linear(3, 2)], ValueError, "only Flatten() before all layers"),
        ([*linear(2, 2), nn.Softmax(0)], ValueError, "use dim=1"),
        ([], ValueError, "has no Linear"),
    ],
)
def test_sequentials_that_are_no_plain_perceptron_are_refused(modules, kind, message):
    with pytest.raises(kind, match=re.escape(message)):
        exact_trace(nn.Sequential(*modules), torch.ones(3, 2))


def test_other_models_are_refused():
    for model in (nn.Linear(2, 2), "network", None):
        message = f"{type(model).__name__} can't be read as a network of live tensors; give the flat tuple"
        with pytest.raises(TypeError, match=re.escape(message)):
            exact_trace(model, torch.ones(3, 2))


def test_a_class_is_no_model():
    with pytest.raises(TypeError, match="The class Sequential can't be read as a network of live tensors"):
        exact_trace(nn.Sequential, torch.ones(3, 2))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda *p: (), ValueError, "Parameters of shapes [] do not make one network; give (W_1, b_1, ..."),
        (lambda *p: p[:3], ValueError, "Parameters of shapes [(3, 2), (3,), (3, 3)] do not make one network"),
        (
            lambda W, b, V, c: (W, b, V[:, :2], c),
            ValueError,
            "where every n_in is the n_out of the layer below",
        ),
        (lambda W, b, V, c: (W, b[:2], V, c), ValueError, "weights (n_out, n_in) and biases (n_out,)"),
        (lambda W, b, V, c: (W[0], b, V, c), ValueError, "Parameters of shapes [(2,), (3,), (3, 3), (3,)]"),
        (lambda W, *p: (W.numpy(), *p), TypeError, "A parameter of the network is of ndarray; give tensors"),
        (lambda W, *p: (W.long(), *p), TypeError, "is of torch.int64; give tensors of floats"),
    ],
)
def test_parameters_that_are_no_network_are_named(change, error, message):
    net = make_network((2, 3, 3), "relu", seed=1)
    assert read_problem(net.params, net.X).activation == "relu"
    with pytest.raises(error, match=re.escape(message)):
        read_problem(change(*(p.detach() for p in net.params)), net.X)


def test_inputs_that_are_no_numbers_of_the_parameters_precision_are_named():
    net = make_network((2, 3, 3), "relu", seed=1)
    message = "X is of torch.float32, the parameters are of torch.float64; give X.to(torch.float64)."
    with pytest.raises(TypeError, match=re.escape(message)):
        read_problem(net.params, net.X.float())
    assert read_problem(net.params, net.X.float().numpy()).X.dtype == torch.float64
    for name, words in {
        "X": {"X": [["a", "b"]]},
        "weight": {"X": net.X, "weight": ["a"] * len(net.X)},
    }.items():
        with pytest.raises(TypeError, match=f"{name} of dtype <U1 does not hold numbers"):
            read_problem(net.params, **words)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"X": torch.ones(3, 4)}, "X of shape (3, 4) does not fit a first layer of 2 inputs"),
        ({"X": np.ones(2)}, "X of shape (2,) does not fit"),
        ({"y": np.zeros(2, int)}, "y of shape (2,) does not fit X; give one value for each of its 3 rows"),
        ({"weight": torch.ones(3, 1)}, "weight of shape (3, 1) does not fit X"),
        ({"y": np.array([0, 1, 3])}, "integers from 0 to 2, got [0, 1, 3]"),
        ({"y": np.array([0, -1, 1])}, "integers from 0 to 2, got [-1, 0, 1]"),
        ({"y": np.array([0.0, 1.0, 1.0])}, "integers from 0 to 2"),
        ({"y": torch.tensor([0.0, 1.0, 1.0])}, "integers from 0 to 2, got [0.0, 1.0]"),
        ({"activation": "gelu"}, "activation='gelu' is unknown; use one of"),
    ],
)
def test_what_does_not_fit_a_tuple_of_parameters_is_named(settings, message):
    net = make_network((2, 3, 3), "relu", seed=1)
    with pytest.raises(ValueError, match=re.escape(message)):
        read_problem(net.params, **{"X": net.X, "activation": "relu"} | settings)


def test_what_contradicts_a_model_is_named():
    net = make_network((2, 3, 3), "relu", seed=1)
    for model in (sequential(net), blueprint(net)):
        with pytest.raises(
            ValueError, match=re.escape("activation='tanh' differs from the model's own, 'relu'")
        ):
            read_problem(model, net.X, activation="tanh")
    with pytest.raises(ValueError, match=re.escape("y has labels that the model doesn't know: ['dog']; it")):
        read_problem(blueprint(net), net.X, np.array(["ant", "dog", "bee"]))
    assert read_problem(net.params, net.X).activation == "relu"


def test_labels_of_a_blueprint_may_be_a_tensor():
    net = make_network((2, 3, 3), "tanh", seed=1)
    numbered = blueprint(net)
    numbered = Blueprint(numbered.weights, numbered.biases, "tanh", np.array([7, 2, 5]))
    y = torch.tensor([7, 2, 5])[net.y]
    assert torch.equal(read_problem(numbered, net.X, y).y, net.y)
