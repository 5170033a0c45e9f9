"""The same seed gives the same bits, wherever they are computed; what other threads add up ends close by.

Clones, copies, pickles and files have their tests in ``test_classifier.py`` and ``test_saving.py``, searches
in other processes in ``test_sklearn_tools.py``.
"""

import hashlib
import warnings
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from joblib.externals.loky import ProcessPoolExecutor
from sklearn import datasets
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from skantidistill import adversarial_examples, robustness_curve
from skantidistill.blueprint import Blueprint
from skantidistill.datasets import load_digits
from skantidistill.draws import normal, rademacher, uniform
from skantidistill.measures import KINDS
from skantidistill.new_outputs import fit_new_outputs
from skantidistill.old_data import OldData
from skantidistill.starts import STARTS
from skantidistill.study import PROTOCOLS, run_study
from skantidistill.study.task import _threads
from tests.problems import digits, old_rows, quick
from tests.strategies import normal_parameters

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def digest(value):
    """Return a hash of every bit of arrays, tensors, numbers and strings, however they are nested."""
    found = hashlib.sha256()

    def take(part):
        if isinstance(part, dict):
            for name, inner in part.items():
                found.update(repr(name).encode())
                take(inner)
        elif isinstance(part, (list, tuple)):
            found.update(str(len(part)).encode())
            for inner in part:
                take(inner)
        elif part is None or isinstance(part, (str, bool, int, float)):
            found.update(repr(part).encode())
        else:
            array = np.ascontiguousarray(part)
            found.update(f"{array.dtype}{array.shape}".encode())
            found.update(array.tobytes())

    take(value)
    return found.hexdigest()


def learned(student):
    """Return all that a fit has computed, but for seconds."""
    return {
        "phi": student.phi_blueprint_.parameters,
        "network": student.blueprint_.parameters,
        "histories": [
            {name: value for name, value in row.items() if name != "dur"}
            for row in (*student.phi_history_, *student.history_)
        ],
        "validation": student.validation_scores_,
        "generators": student._generator_states,
    }


def centroids():
    """Return a teacher of three digits that no BLAS has a part in."""
    X, y = digits()
    teacher = LogisticRegression()
    teacher.classes_, teacher.n_features_in_ = np.unique(y[old_rows()]), 64
    means = np.array([X[y == label].mean(axis=0) for label in teacher.classes_])
    teacher.coef_, teacher.intercept_ = 2 * means, -(means**2).sum(axis=1)
    return teacher


def fits(seed):
    """Yield a name and what was learned, for every way to fit."""
    X, y = digits()
    first = quick(
        centroids(),
        early_stopping=True,
        class_weight={"zero": 2.0, "five": 0.5},
        new_outputs="fit",
        random_state=seed,
    ).fit(X, y)
    yield "fit", learned(first)
    yield "a student's student", learned(quick(first, random_state=seed).fit(X.astype(np.float32), y))
    settings = {"trace": "hutchinson", "neighborhood": "normal", "start": "net2net", "lambda_teacher": 0.0}
    yield "sparse", learned(quick(centroids(), random_state=seed, **settings).fit(sp.csr_matrix(X), y))
    student = quick(centroids(), activation="logistic", hidden_layer_sizes=(9, 8), random_state=seed)
    for half in (slice(0, 240), slice(240, None)):
        student.partial_fit(X[half], y[half], classes=np.unique(y))
    yield "partial_fit", learned(student)
    unfitted = quick(LogisticRegression(max_iter=20), random_state=seed)
    yield "an unfitted teacher", learned(unfitted.fit(X[:99], y[:99], teacher_rows=old_rows()[:99]))


def measurements(seed):
    """Yield a name and the scores of every kind and setting of a perturbation, and the attacked rows."""
    X, y = (part[old_rows()][:60] for part in digits())
    variants = {
        "pgd": [{"norm": "l2", "n_steps": 3, "n_restarts": 2}, {"scoring": "neg_log_loss", "n_steps": 3}],
        "fgsm": [{"norm": "l2"}],
        "input_noise": [{"distribution": "normal"}],
        "parameter_noise": [{"relative": True}],
    }
    for kind in KINDS:
        for settings in [{}, *variants.get(kind, [])]:
            curve = robustness_curve(centroids(), X, y, kind, [0.0, 0.2, 0.5], random_state=seed, **settings)
            yield f"{kind} {settings}", curve.draws
    for kind in ("fgsm", "pgd"):
        for norm in ("linf", "l2"):
            moved = adversarial_examples(centroids(), X, y, kind, 0.3, norm=norm, random_state=seed)
            yield f"examples of {kind} {norm}", moved


def draws(seed):
    """Yield a name and random numbers, of every source of them."""
    data = load_digits(random_state=seed)
    yield "load_digits", [data.X_train, data.y_train, data.X_test, data.y_test]
    like, generator = torch.zeros(3, 5), torch.Generator().manual_seed(seed)
    yield "draws", [rademacher((7, 2), like, generator), uniform(like, generator)]
    yield "normal", normal([(4, 3), (2,)], like, generator)
    growth = quick(centroids(), hidden_layer_sizes=(6,), max_iter=1, phi_max_iter=0, random_state=0)
    growth = growth.fit(*digits()).growth_
    for name, start in STARTS.items():
        if name != "transfer":  # of a teacher without hidden layers it is xavier
            yield f"start {name}", start(growth, np.random.RandomState(seed))


def answers(seed=0):
    """Return a hash of everything random that the package computes, by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.set_num_threads(1)
        return {name: digest(v) for part in (fits, measurements, draws) for name, v in part(seed)}


@pytest.fixture(scope="module")
def here():
    return answers()


def differing(one, other):
    assert one.keys() == other.keys()
    return sorted(name for name in one if one[name] != other[name])


#: What takes a seed and does not depend on it.
CERTAIN = {
    "certified {}",
    "fgsm {}",
    "fgsm {'norm': 'l2'}",
    "examples of fgsm linf",
    "examples of fgsm l2",
    "start zero",
}


def test_another_seed_gives_other_bits(here):
    same = here.keys() - set(differing(here, answers(seed=1)))
    # A score of 60 rows is often the same, so that a kind is told by its other settings or its points.
    scores = {name for name in here if name.split()[0] in KINDS}
    assert CERTAIN - scores <= same <= CERTAIN | scores
    assert len(scores - same) >= 3


def test_a_fresh_process_of_another_hash_seed_gives_the_same_bits(here):
    """It is one of joblib's, in which searches fit."""
    environment = {"PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "1"}
    with ProcessPoolExecutor(1, env=environment) as executor:
        assert executor.submit(hash, "a").result() != hash("a")
        assert differing(here, executor.submit(answers).result()) == []


@pytest.mark.parametrize("n_features", [8, 784])
def test_numpys_threads_which_are_not_torchs_change_no_student(n_features):
    """Of so many rows, or columns, NumPy's BLAS does share the sums of a product among its threads."""
    rng = np.random.default_rng(0)
    params = normal_parameters((n_features, 64, 10), rng, std=3 / np.sqrt(n_features))
    network = Blueprint(params[::2], params[1::2], "tanh", np.arange(10))
    X, y = rng.normal(size=(2900, n_features)), rng.integers(10, size=2900)
    data, fitted = OldData(X, y, np.ones(2900), np.arange(2900), "y"), []
    for n in (1, 2):
        with threadpool_limits(n, user_api="blas"):
            fitted.append(fit_new_outputs(network, np.array([1, 2]), data, None, np.random.RandomState(0)))
    np.testing.assert_array_equal(fitted[0].weights[-1], fitted[1].weights[-1])
    assert abs(fitted[0].weights[-1] - network.weights[-1]).max() > 0.1


def gap(one, other):
    """The largest relative norm of a difference of parameters, over all weights and biases."""
    pairs = zip(one.parameters, other.parameters, strict=True)
    return max(np.linalg.norm(p.astype(float) - q) / np.linalg.norm(p.astype(float)) for p, q in pairs)


@pytest.fixture
def threads():
    """A function that sets the number of torch's threads."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


#: Settings of a student that turns no last bit into a step.
SMOOTH = {"activation": "tanh", "neighborhood": "uniform", "start": "xavier"}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("columns", "hidden", "batch_size"), [(1, (16,), 200), (5, (64, 32), 480)])
def test_another_number_of_threads_ends_within_rounding(columns, hidden, batch_size, dtype, threads):
    X, y = digits()
    X = np.tile(X, columns).astype(dtype)
    teacher = centroids()
    teacher.coef_, teacher.n_features_in_ = np.tile(teacher.coef_ / columns, columns), 64 * columns
    settings = {"hidden_layer_sizes": hidden, "batch_size": batch_size, "max_iter": 2} | SMOOTH
    students = []
    for n in (1, 2):
        threads(n)
        students.append(quick(teacher, **settings).fit(X, y))
    one, two = students
    assert max(gap(one.phi_blueprint_, two.phi_blueprint_), gap(one.blueprint_, two.blueprint_)) < 1e-5
    assert gap(one.blueprint_, quick(teacher, random_state=1, **settings).fit(X, y).blueprint_) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("smooth", [False, True])
def test_a_long_training_with_other_threads_ends_in_the_same_labels(smooth, dtype, threads, record_property):
    """The parameters are not: relu and the signs of attacks turn the last bit of a float32 into a step."""
    X, y = datasets.load_digits(return_X_y=True)
    teacher = LogisticRegression().fit(X[y < 5] / 16, y[y < 5])
    X, gaps, phi_gaps, apart, others = (X / 16).astype(dtype), [], [], [], []
    settings = {"max_iter": 200, "n_iter_no_change": np.inf, "phi_max_iter": 5}
    settings |= SMOOTH if smooth else {"start": "xavier"}
    for seed in range(2):
        students = []
        for n in (1, 2):
            threads(n)
            students.append(quick(teacher, hidden_layer_sizes=(64,), random_state=seed, **settings).fit(X, y))
        one, two = students
        phi_gaps.append(gap(one.phi_blueprint_, two.phi_blueprint_))
        gaps.append(gap(one.blueprint_, two.blueprint_))
        apart.append(abs(one.predict_proba(X) - two.predict_proba(X)).max())
        others.append(np.mean(one.predict(X) != two.predict(X)))
    record_property(
        "limit",
        f"two threads beside one, 2 seeds, 200 epochs: parameters {max(gaps):.1e} apart (after phi "
        f"{max(phi_gaps):.1e}), probabilities {max(apart):.1e}, labels of {max(others):.2%} differ",
    )
    assert max(phi_gaps) < 1e-5
    assert max(others) <= 0.005
    assert max(gaps) < (1e-5 if smooth or dtype == np.float64 else 1)


def test_a_study_computes_with_its_own_number_of_threads(threads):
    """Its digits are in float32, where the bits of one thread are not those of two."""
    digits = PROTOCOLS["digits"]
    brief = {"teacher_phases": ((5, 1e-2),), "student": {**digits.student, "max_iter": 3}, "n_draws": 1}
    rows = []
    for n in (1, 2):
        threads(n)
        rows += run_study(replace(digits, **brief, title=f"run {n}"), [0], ["AD"])
        assert torch.get_num_threads() == n
    assert rows[0]["trace"] == rows[1]["trace"]


@pytest.mark.parametrize(("n", "told"), [(None, []), (2, []), (1, [1, 2])])
def test_a_study_tells_torch_its_number_of_threads_only_where_it_is_another(n, told, threads, monkeypatch):
    """From then on threadpoolctl does not reach torch, in the caller's process."""
    threads(2)
    calls, tell = [], torch.set_num_threads
    monkeypatch.setattr(torch, "set_num_threads", lambda n: (calls.append(n), tell(n)))
    with _threads(n):
        assert torch.get_num_threads() == (n or 2)
    assert torch.get_num_threads() == 2
    assert calls == told
