"""A torch Sequential, and a skorch net of one, are read as what they compute in evaluation mode."""

import pickle
import re
import warnings
from copy import deepcopy
from functools import cache
from itertools import pairwise
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, softmax
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetBinaryClassifier, NeuralNetClassifier, NeuralNetRegressor
from torch import nn

from skantidistill import robustness_score
from skantidistill._checks import is_fitted
from skantidistill.teachers import check_readable, read_teacher, scalers
from tests.problems import digits, quick, same_parameters

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "logistic": nn.Sigmoid, "identity": nn.Identity}
# float64 modules; batch normalisation is folded into the weights, which reorders sums of up to 5 terms of
# size up to 1e3 or so.
SAME = {"rtol": 1e-9, "atol": 1e-9}
MODULES = (
    "Sequential, Linear, BatchNorm1d, ReLU, Tanh, Sigmoid, Softmax, LogSoftmax, Identity, Flatten, Dropout, "
    "Dropout1d, Dropout2d, Dropout3d, AlphaDropout, FeatureAlphaDropout"
)


def rows(n_features, n_rows=7, seed=0):
    return np.random.default_rng(seed).normal(size=(n_rows, n_features))


def evaluated(module, X):
    """Return what a module computes in evaluation mode, leaving its own mode alone."""
    with torch.no_grad():
        return deepcopy(module).eval()(torch.tensor(X, dtype=next(module.parameters()).dtype)).numpy()


def randomised(module, seed=0):
    """Give every parameter and running statistic a value in general position."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if tensor.is_floating_point():
                tensor.copy_(torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype))
                if name.endswith("running_var"):
                    tensor.abs_().add_(0.05)
    return module


@st.composite
def sequentials(draw):
    """Draw a Sequential with batch normalisation and layers that do nothing in any place, nested or flat."""
    widths = draw(st.lists(st.integers(2, 5), min_size=1, max_size=4))
    n_outputs = draw(st.integers(1, 4))
    activation = draw(st.sampled_from(sorted(ACTIVATIONS)))

    def extras(width):
        found = draw(
            st.lists(st.sampled_from([nn.Dropout, nn.AlphaDropout, nn.Identity, nn.Flatten]), max_size=1)
        )
        found = [kind() for kind in found]
        for _ in range(draw(st.integers(0, 2))):
            found.append(
                nn.BatchNorm1d(width, affine=draw(st.booleans()), eps=draw(st.sampled_from([1e-5, 0.1])))
            )
        return found

    modules = extras(widths[0])
    for n_in, n_out in pairwise(widths):
        modules += [nn.Linear(n_in, n_out, bias=draw(st.booleans())), *extras(n_out)]
        modules += [ACTIVATIONS[activation](), *extras(n_out)]
    modules += [nn.Linear(widths[-1], n_outputs, bias=draw(st.booleans())), *extras(n_outputs)]
    ending = nn.Sigmoid() if n_outputs == 1 else nn.Softmax(draw(st.sampled_from([1, -1])))
    ended = draw(st.booleans())
    modules += [ending] if ended else []
    if draw(st.booleans()):
        middle = draw(st.integers(0, len(modules)))
        modules = [nn.Sequential(*modules[:middle]), nn.Sequential(nn.Sequential(*modules[middle:]))]
    module = randomised(nn.Sequential(*modules).double(), draw(st.integers(0, 2**20)))
    return module.train(draw(st.booleans())), activation, (*widths, n_outputs), ended


@given(sequentials())
def test_a_sequential_is_read_as_what_it_computes_in_evaluation_mode(case):
    module, activation, sizes, ended = case
    training = module.training
    blueprint, X = read_teacher(module), rows(sizes[0])
    got, expected = blueprint.logits(X), evaluated(module, X)
    if sizes[-1] == 1:
        assert_array_equal(got[:, 0], -got[:, 1])
        got = got[:, 1:] - got[:, :1]
        got = expit(got) if ended else got
    elif ended:
        got = softmax(got, axis=1)
    assert_allclose(got, expected, **SAME)
    assert blueprint.logits(X).any() or activation == "relu"  # relus may all be off
    assert blueprint.layer_sizes == (*sizes[:-1], max(sizes[-1], 2))
    assert blueprint.activation == (activation if len(sizes) > 2 else "identity")
    assert_array_equal(blueprint.classes, np.arange(max(sizes[-1], 2)))
    assert blueprint.weights[0].dtype == np.float64
    assert module.training == training


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("affine", [True, False])
def test_batch_normalisation_counts_in_every_place(place, affine):
    modules = [nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3)]
    modules.insert(place, nn.BatchNorm1d(3 if place in (0, 3) else 4, affine=affine))
    module = randomised(nn.Sequential(*modules).double())
    without = nn.Sequential(*[m for m in modules if not isinstance(m, nn.BatchNorm1d)])
    got = read_teacher(module).logits(rows(3))
    assert_allclose(got, evaluated(module, rows(3)), **SAME)
    assert np.abs(got - evaluated(without, rows(3))).max() > 0.1


@pytest.mark.parametrize(
    "ending", [nn.Softmax(1), nn.Softmax(-1), nn.LogSoftmax(1), nn.LogSoftmax(-1)], ids=repr
)
def test_a_last_softmax_is_read_over(ending):
    body = [nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 5)]
    module = randomised(nn.Sequential(*body, ending).double())
    logits = read_teacher(module).logits(rows(3))
    assert_allclose(logits, evaluated(nn.Sequential(*body), rows(3)), **SAME)
    expected = evaluated(module, rows(3))
    expected = np.exp(expected) if isinstance(ending, nn.LogSoftmax) else expected
    assert_allclose(softmax(logits, axis=1), expected, **SAME)
    assert np.ptp(expected) > 0.5


def test_a_module_that_comes_twice_is_read_twice():
    middle, relu = nn.Linear(4, 4), nn.ReLU()
    module = randomised(
        nn.Sequential(nn.Linear(3, 4), relu, middle, relu, middle, relu, nn.Linear(4, 2)).double()
    )
    blueprint = read_teacher(module)
    assert blueprint.layer_sizes == (3, 4, 4, 4, 2)
    assert_allclose(blueprint.logits(rows(3)), evaluated(module, rows(3)), **SAME)


def test_a_linear_layer_straight_after_another_has_the_identity_between():
    module = randomised(
        nn.Sequential(nn.Linear(3, 4), nn.Dropout(), nn.Linear(4, 5), nn.Linear(5, 3)).double()
    )
    blueprint = read_teacher(module)
    assert (blueprint.activation, blueprint.layer_sizes) == ("identity", (3, 4, 5, 3))
    assert_allclose(blueprint.logits(rows(3)), evaluated(module, rows(3)), **SAME)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_arrays_have_at_least_single_precision_and_share_no_memory(dtype):
    module = randomised(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3)).to(dtype))
    blueprint = read_teacher(module)
    kept = [p.copy() for p in blueprint.parameters]
    for array, tensor in zip(blueprint.parameters, module.parameters(), strict=True):
        assert array.dtype == (np.float64 if dtype == torch.float64 else np.float32)
        assert_array_equal(array, tensor.detach().double().numpy())  # float16 and bfloat16 fit into float32
        array += 1
    for array, tensor in zip(kept, module.parameters(), strict=True):
        assert_array_equal(array, tensor.detach().double().numpy())
        assert tensor.requires_grad


def test_parametrised_and_initialised_lazy_layers_are_read():
    lazy = nn.Sequential(nn.LazyLinear(4), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(3))
    lazy(torch.zeros(2, 5))
    module = nn.Sequential(*lazy[:-1], nn.utils.parametrizations.weight_norm(lazy[-1])).double()
    randomised(module)
    assert_allclose(read_teacher(module).logits(rows(5)), evaluated(module, rows(5)), **SAME)


def test_teacher_classes_name_the_outputs():
    module = randomised(nn.Sequential(nn.Linear(3, 1)).double())
    blueprint = read_teacher(module, ["no", "yes"])
    assert blueprint.classes.tolist() == ["no", "yes"]
    positive = evaluated(module, rows(3))[:, 0] > 0
    assert_array_equal(blueprint.logits(rows(3)).argmax(axis=1) == 1, positive)
    assert 0 < positive.mean() < 1


# --- what is refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "register",
    [
        lambda module: module.register_forward_hook(lambda _, inputs, output: 3 * output),
        lambda module: module[0].register_forward_hook(lambda _, inputs, output: 3 * output),
        lambda module: module[2].register_forward_pre_hook(lambda _, inputs: (-inputs[0],)),
        lambda module: setattr(module[1], "forward", torch.tanh),
    ],
)
def test_modules_whose_forward_is_changed_from_outside_are_refused(register):
    module = randomised(nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2)))
    before = evaluated(module, rows(3))
    assert_allclose(read_teacher(module).logits(rows(3)), before, rtol=1e-5, atol=1e-6)
    register(module)
    assert not np.allclose(evaluated(module, rows(3)), before)
    with pytest.raises(ValueError, match=r"whose forward is changed, by a hook .* remove it first"):
        read_teacher(module)


def test_parametrized_layers_are_read_as_they_compute():
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
    with torch.no_grad():
        layer.parametrizations.weight.original0.mul_(3)
    module = nn.Sequential(layer, nn.ReLU(), nn.Linear(2, 2))
    assert_allclose(read_teacher(module).logits(rows(3)), evaluated(module, rows(3)), rtol=1e-5, atol=1e-6)


class Doubling(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


class Residual(nn.Sequential):
    def forward(self, x):
        return x + super().forward(x)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (nn.Sequential(nn.Conv1d(1, 2, 3), nn.Flatten(), nn.Linear(4, 2)), "Conv1d"),
        (nn.Sequential(nn.Linear(3, 2), nn.LeakyReLU(), nn.Linear(2, 2)), "LeakyReLU"),
        (nn.Sequential(nn.Linear(3, 2), nn.ReLU6(), nn.Linear(2, 2)), "ReLU6"),
        (nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2), nn.Linear(2, 2)), "LayerNorm"),
        (nn.Sequential(nn.Linear(3, 2), nn.LazyBatchNorm1d()), "LazyBatchNorm1d"),
        (nn.Sequential(nn.BatchNorm2d(3), nn.Linear(3, 2)), "BatchNorm2d"),
        (nn.Sequential(nn.Bilinear(3, 3, 2)), "Bilinear"),
        (nn.Sequential(Doubling(3, 2)), "Doubling"),
        (nn.Sequential(Residual(nn.Linear(2, 2)), nn.Linear(2, 2)), "Residual"),
        (Residual(nn.Linear(2, 2)), "Residual"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_module_that_cannot_be_read_is_refused_by_name(module, name):
    message = f"The teacher, a Sequential, has a {name}, which can't be read; these modules can: {MODULES}."
    with pytest.raises(TypeError, match=re.escape(message)):
        read_teacher(module)


L, R = nn.Linear, nn.ReLU
HIDDEN = "they must all have the same of identity, logistic, relu, tanh."


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        (
            [L(3, 2), R()],
            "The teacher's output layer of 2 units is followed by relu; its outputs must be logits",
        ),
        ([L(3, 2), nn.Sigmoid()], "The teacher's output layer of 2 units is followed by logistic"),
        ([L(3, 1), nn.Softmax(1)], "The teacher's output layer of 1 units is followed by softmax"),
        ([L(3, 1), nn.Tanh()], "The teacher's output layer of 1 units is followed by tanh"),
        ([L(3, 2), nn.Softmax(0)], "The teacher has a Softmax with dim=0; use dim=1, the classes."),
        ([L(3, 2), nn.LogSoftmax(2)], "The teacher has a LogSoftmax with dim=2; use dim=1, the classes."),
        (
            [L(3, 2), nn.Softmax(1), nn.LogSoftmax(1)],
            "The teacher has a LogSoftmax that does not follow a Linear.",
        ),
        ([L(3, 2), R(), R(), L(2, 2)], "The teacher has a ReLU that does not follow a Linear."),
        ([R(), L(2, 2)], "The teacher has a ReLU that does not follow a Linear."),
        ([nn.BatchNorm1d(3), R(), L(3, 2)], "The teacher has a ReLU that does not follow a Linear."),
        ([L(3, 3), R(), nn.BatchNorm1d(3), R(), L(3, 2)], "The teacher has a ReLU that does not follow"),
        ([L(3, 4), R(), L(4, 4), nn.Tanh(), L(4, 2)], f"have the activations ['relu', 'tanh']; {HIDDEN}"),
        ([L(3, 4), R(), L(4, 4), L(4, 2)], f"have the activations ['relu', 'identity']; {HIDDEN}"),
        ([L(3, 4), nn.Softmax(1), L(4, 2)], f"have the activations ['softmax']; {HIDDEN}"),
        ([], "The teacher, a Sequential, must have a Linear as its output layer."),
        ([nn.Dropout(), nn.Identity()], "The teacher, a Sequential, must have a Linear as its output layer."),
        (
            [L(3, 3), R(), nn.BatchNorm1d(3)],
            "The teacher, a Sequential, must have a Linear as its output layer.",
        ),
        (
            [nn.Flatten(0), L(3, 2)],
            "The teacher has a Flatten(start_dim=0, end_dim=-1), which mixes rows; use Flatten().",
        ),
        (
            [L(3, 3), nn.BatchNorm1d(3, track_running_stats=False)],
            "The teacher has a BatchNorm1d with track_running_stats=False, whose output depends on the whole "
            "batch; only one with running statistics can be read.",
        ),
        ([nn.BatchNorm1d(1), L(3, 2)], "The teacher has a BatchNorm1d of 1 features beside a layer of 3"),
        ([L(3, 2), nn.BatchNorm1d(1)], "The teacher has a BatchNorm1d of 1 features beside a layer of 2"),
        ([nn.LazyLinear(2)], "The teacher's LazyLinear is not initialized; pass it a batch of inputs first."),
        ([L(3, 4), L(5, 2)], "do not make one network"),
    ],
)
def test_a_sequential_that_is_no_plain_classifier_is_refused(modules, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        read_teacher(nn.Sequential(*modules))


def test_a_module_of_another_kind_is_refused_with_what_to_give():
    remedy = "Give a torch.nn.Sequential, a NeuralNetClassifier or a NeuralNetBinaryClassifier of one."
    for teacher in [nn.Linear(3, 2), nn.ModuleList(), NeuralNetRegressor(nn.Linear(3, 2))]:
        message = (
            f"{type(teacher).__name__} can't be read as a network; an estimator of one of these kinds can:"
        )
        with pytest.raises(TypeError, match=re.escape(message)) as caught:
            check_readable(teacher)
        assert str(caught.value).endswith(f"Sequential. {remedy}")
    with pytest.raises(TypeError, match=r"Load a state dict into a torch\.nn\.Sequential of its layers, and"):
        check_readable(nn.Linear(3, 2).state_dict())


def test_parameters_that_are_not_finite_are_refused():
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    with torch.no_grad():
        module[1].running_mean[0] = torch.nan
    with pytest.raises(ValueError, match="The teacher, Sequential, has parameters that are NaN or infinite"):
        read_teacher(module)


# --- skorch ---------------------------------------------------------------------------------------------


@cache
def old_digits():
    """Return the digits 0, 1 and 2, as skorch wants them."""
    X, y = load_digits(return_X_y=True)
    return (X[y < 3] / 16).astype(np.float32), y[y < 3]


def make_net(ending=None, **params):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 3))
    module = module if ending is None else nn.Sequential(module, ending)
    criterion = {} if isinstance(ending, nn.Softmax) else {"criterion": nn.CrossEntropyLoss}
    return NeuralNetClassifier(
        module, **{"max_epochs": 8, "lr": 0.2, "verbose": 0, "train_split": None, **criterion, **params}
    )


@cache
def fitted_net(ending=None):
    return make_net(ending).fit(*old_digits())


@pytest.mark.parametrize("ending", [None, nn.Softmax(dim=-1)], ids=repr)
def test_a_skorch_net_is_read_by_its_module(ending):
    net, (X, y) = fitted_net(ending), old_digits()
    blueprint = read_teacher(net)
    # float32: 24 bits of sums of 64 terms.
    assert_allclose(softmax(blueprint.logits(X), axis=1), net.predict_proba(X), rtol=0, atol=1e-5)
    assert_array_equal(blueprint.classes, [0, 1, 2])
    assert net.score(X, y) > 0.9


def test_a_skorch_nets_labels_are_indices_whatever_it_saw():
    X, y = old_digits()
    net = fitted_net()
    assert read_teacher(net, ["zero", "one", "two"]).classes.tolist() == ["zero", "one", "two"]
    partly = make_net().fit(X[y > 0], y[y > 0])
    assert partly.classes_.tolist() == [1, 2]
    assert_array_equal(read_teacher(partly).classes, [0, 1, 2])
    got = read_teacher(partly).logits(X).argmax(axis=1)
    assert_array_equal(got, partly.predict(X))
    assert len(np.unique(got)) > 1


def binary_net(**params):
    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X).astype(np.float32)
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(30, 4), nn.Tanh(), nn.Linear(4, 1))
    net = NeuralNetBinaryClassifier(module, max_epochs=5, lr=0.1, verbose=0, train_split=None, **params)
    return net.fit(X, y.astype(np.float32)), X, y


def test_a_binary_skorch_net_is_read_as_two_logits():
    net, X, y = binary_net()
    blueprint = read_teacher(net)
    assert_allclose(softmax(blueprint.logits(X), axis=1), net.predict_proba(X), rtol=0, atol=1e-5)
    assert_array_equal(blueprint.classes, [0, 1])
    assert net.score(X, y) > 0.9


def test_a_binary_skorch_net_of_another_threshold_is_refused():
    net, _, _ = binary_net(threshold=0.3)
    message = (
        "The teacher, a NeuralNetBinaryClassifier, has threshold=0.3; only 0.5, the more probable of two "
        "labels, can be read."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        read_teacher(net)


NOT_INITIALIZED = (
    "The teacher, a NeuralNetClassifier of skorch, is not initialized, and is never fitted here, because "
    "skorch wants labels 0, 1, 2, ... and inputs of its module's dtype: fit it first."
)


def test_a_skorch_net_that_is_not_initialised_is_refused_wherever_it_is():
    X, y = digits()
    teachers = [make_net(), FrozenEstimator(make_net()), make_pipeline(StandardScaler(), make_net())]
    for teacher in [*teachers, GridSearchCV(make_net(), {})]:
        assert not is_fitted(teacher)
        for read in [check_readable, read_teacher]:
            with pytest.raises(NotFittedError, match=re.escape(NOT_INITIALIZED)):
                read(teacher)
        with pytest.raises(NotFittedError, match=re.escape(NOT_INITIALIZED)):
            quick(teacher).fit(X, y, teacher_rows=np.ones(len(y), dtype=bool))


def test_a_skorch_net_of_another_module_is_refused_by_the_modules_name():
    net = NeuralNetClassifier(nn.Linear(3, 2)).initialize()
    message = (
        "The teacher's module, Linear, can't be read as a network; give a NeuralNetClassifier whose module "
        "is a torch.nn.Sequential."
    )
    with pytest.raises(TypeError, match=re.escape(message)):
        read_teacher(net)


# --- as teachers --------------------------------------------------------------------------------------------


def test_torch_modules_are_always_fitted_and_skorch_nets_once_they_are_initialised(tmp_path):
    module = nn.Sequential(nn.Linear(3, 2))
    assert is_fitted(module)
    assert is_fitted(FrozenEstimator(module))
    net = make_net()
    assert not is_fitted(net)
    fitted_net().save_params(f_params=tmp_path / "net.pt")
    net.initialize()
    assert is_fitted(net)
    net.load_params(f_params=tmp_path / "net.pt")
    for got, expected in zip(
        read_teacher(net).parameters, read_teacher(fitted_net()).parameters, strict=True
    ):
        assert_array_equal(got, expected)
    assert not is_fitted(clone(net))


def sequential():
    return fitted_net().module_


@pytest.mark.parametrize("make", [sequential, fitted_net])
@pytest.mark.parametrize("frozen", [False, True])
def test_a_torch_teacher_survives_cloning_setting_parameters_and_pickling(make, frozen):
    teacher = FrozenEstimator(make()) if frozen else make()
    before = read_teacher(teacher)
    student = quick(teacher)
    assert clone(student).teacher is teacher
    assert not any(name.startswith("teacher__") for name in student.get_params())
    student.set_params(max_iter=2, **{k: v for k, v in student.get_params().items() if k != "max_iter"})
    assert student.teacher is teacher
    X, y = old_digits()
    student.fit(X, y)
    assert student.teacher_ is teacher
    try:
        pickle.loads(pickle.dumps(make()))
    except pickle.UnpicklingError:
        pytest.skip("this skorch can't load its own pickles with this torch")
    again = pickle.loads(pickle.dumps(clone(student))).fit(X, y)
    assert same_parameters(student, again)
    for got, expected in zip(read_teacher(teacher).parameters, before.parameters, strict=True):
        assert_array_equal(got, expected)


@pytest.mark.parametrize("make", [sequential, fitted_net])
def test_a_torch_teacher_survives_a_grid_search(make):
    X, y = old_digits()
    teacher = make()
    search = GridSearchCV(quick(teacher, max_iter=1), {"phi_max_iter": [0, 1]}, cv=2, error_score="raise")
    search.fit(X, y)
    assert search.best_estimator_.teacher_ is teacher
    # The start is the teacher's own network, so that one epoch is enough.
    assert search.best_score_ > 0.8


def test_a_grid_of_torch_teachers_is_searched():
    X, y = old_digits()
    modules = [sequential(), randomised(deepcopy(sequential()))]
    grid = {"teacher": modules}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the second teacher knows nothing
        search = GridSearchCV(quick(max_iter=1), grid, cv=2, error_score="raise").fit(X, y)
    assert search.best_index_ == 0
    assert np.ptp(search.cv_results_["mean_test_score"]) > 0.02


def test_a_student_grows_a_sequential_into_new_classes_by_name():
    X, y = digits("strings")
    student = quick(sequential(), teacher_classes=["zero", "one", "two"], start="zero", phi_max_iter=0)
    student.fit(X, y)
    assert student.classes_.tolist() == sorted(set(y))
    outputs = np.searchsorted(student.classes_, ["zero", "one", "two"])
    logits = student.phi_blueprint_.logits(X)[:, outputs]
    # The teacher is float32, the student float64 as X is.
    assert_allclose(logits, read_teacher(sequential()).logits(X), rtol=1e-5, atol=1e-5)


def test_no_torch_teacher_is_written_to_or_fitted():
    X, y = old_digits()
    with mock.patch.object(NeuralNetClassifier, "fit", side_effect=AssertionError("fitted")):
        quick(fitted_net()).fit(X, y, teacher_rows=np.arange(len(y)) % 2 == 0)
    module = sequential().train()
    quick(module).fit(X, y)
    assert module.training


@pytest.mark.parametrize("make", [sequential, fitted_net, lambda: FrozenEstimator(sequential())])
def test_robustness_of_torch_networks(make):
    X, y = old_digits()
    accuracy = fitted_net().score(X, y)
    assert robustness_score(make(), X, y, epsilon=0.0) == pytest.approx(accuracy, abs=1e-9)
    attacked = robustness_score(make(), X, y, epsilon=0.2)
    assert attacked < accuracy - 0.05
    # An independent attack: the gradient of torch's own module.
    module, inputs = deepcopy(sequential()).eval(), torch.tensor(X, requires_grad=True)
    nn.functional.cross_entropy(module(inputs), torch.tensor(y), reduction="sum").backward()
    moved = X + 0.2 * np.sign(inputs.grad.numpy())
    # Gradients of exactly 0 but for rounding decide by their sign: a few rows in float32.
    assert attacked == pytest.approx(fitted_net().score(moved, y), abs=0.01)
    assert robustness_score(make(), X, y, "parameter_noise", 1.0, random_state=0) < accuracy - 0.05
    name = type(make()).__name__
    with pytest.raises(
        ValueError, match=re.escape(f"X has 63 features, but {name} is expecting 64 features")
    ):
        robustness_score(make(), X[:, :63], y)
    with pytest.raises(ValueError, match="y has labels that the estimator doesn't know"):
        robustness_score(make(), X, y + 1)


def test_a_pipeline_ending_in_a_skorch_net_is_read():
    X, y = old_digits()
    pipeline = make_pipeline(StandardScaler(), make_net()).fit(X, y)
    blueprint = read_teacher(pipeline)
    assert_allclose(softmax(blueprint.logits(X), axis=1), pipeline.predict_proba(X), rtol=0, atol=1e-4)
    assert pipeline.score(X, y) > 0.9
    assert scalers(pipeline) == [pipeline[0]]
    assert clone(quick(pipeline)).teacher is pipeline
    attacked = robustness_score(pipeline, X, y, epsilon=0.2)
    assert attacked < robustness_score(pipeline, X, y, epsilon=0.0) - 0.05
