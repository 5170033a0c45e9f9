"""Numbers hold: gradients of drawn networks, large logits, either precision, and what is rare, many or long.

A trial of a limit is marked ``slow``, tells its figure to pytest's summary, and has a smaller sibling that
runs always.
"""

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import joblib
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from skantidistill import AntiDistilledMLPClassifier
from skantidistill.measures import KINDS
from skantidistill.network import ACTIVATIONS, Batch, forward, select_outputs
from skantidistill.objective import (
    Draws,
    Objective,
    _moved,
    data_term,
    noise_term,
    teacher_term,
    trace_term,
)
from tests.campaigns import campaign, case, outcomes
from tests.problems import digits, fitted_teacher, old_rows, quick, same_parameters
from tests.strategies import growths, seeds, tensors

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

# --- gradients of drawn networks -----------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Problem:
    """A student of drawn sizes, an objective with every term, and a direction in its parameters."""

    objective: Objective
    params: tuple[torch.Tensor, ...]
    batch: Batch
    draws: Draws
    direction: tuple[torch.Tensor, ...]

    def moved(self, length):
        """The parameters that far along the direction, of norm 1."""
        return tuple(torch.add(p, v, alpha=length) for p, v in zip(self.params, self.direction, strict=True))


@st.composite
def problems(draw):
    """Draw a growth, and any setting of the objective for its student."""
    grown, generator = draw(growths()), torch.Generator().manual_seed(draw(seeds))
    growth = grown.growth
    masked, bounded, by_feature = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
    n_features, n_outputs = grown.X.shape[1], len(growth.outputs) if masked else len(grown.classes)
    width = torch.linspace(0.1, 0.4, n_features, dtype=torch.float64) if by_feature else 0.3
    objective = Objective(
        growth.teacher.activation,
        lambda_ce=0.7,
        lambda_teacher=0.2,
        lambda_noise=0.9,
        lambda_trace=0.4,
        alpha=0.3,
        delta=width,
        neighborhood=draw(st.sampled_from(["uniform", "normal", "adversarial"])),
        parameter_noise_std=draw(st.sampled_from([0.0, 0.3])),
        trace=draw(st.sampled_from(["exact", "sampled", "hutchinson"])),
        bounds=(-1.0, 1.5) if bounded else None,
        outputs=torch.from_numpy(growth.outputs) if masked else None,
        growth=growth,
        teacher=tensors(growth.shared),
    )
    X = torch.from_numpy(np.clip(grown.X, -1, 1.5) if bounded else grown.X)
    y = torch.randint(n_outputs, (len(X),), generator=generator)
    batch = Batch(X, y, 0.1 + torch.rand(len(X), generator=generator, dtype=torch.float64))
    params = tensors(grown.fill)
    direction = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in params]
    norm = torch.sqrt(sum(v.square().sum() for v in direction))
    draws = objective.draw(params, batch, generator)
    return Problem(objective, params, batch, draws, tuple(v / norm for v in direction))


def signs_on_the_way(problem, length):
    """What jumps: the signs of relu units, clean and moved, and the points that an attack has chosen."""
    objective, batch, params = problem.objective, problem.batch, problem.moved(length)
    selected = select_outputs(params, objective.outputs)
    noisy, X = _moved(selected, batch, problem.draws, objective)
    units = [
        a > 0
        for network, rows in ((selected, batch.X), (noisy, X))
        for a in forward(network, rows, objective.activation)[0][1:]
    ]
    return [X, *(units if objective.activation == "relu" else [])]


def slope(function, problem, step):
    """The derivative along the direction, by differences of the fourth order."""
    near, far = (
        (function(problem.moved(h)) - function(problem.moved(-h))) / (2 * h) for h in (step, 2 * step)
    )
    return (4 * near - far) / 3


#: Steps of the differences: their error is of order step^4 and 1e-16 / step, in units of the terms.
STEP = 1e-4
TERMS = {"data": data_term, "teacher": teacher_term, "noise": noise_term, "trace": trace_term}


@campaign(4000)
@given(problems())
def test_every_gradient_of_a_drawn_network_is_that_of_finite_differences(problem):
    """Of every term by itself, and of the weighted sum as a step of training takes it.

    Where a relu unit or a sign of an attack changes within the step the loss has a kink or a jump, and no
    derivative: such a case is drawn again.
    """
    with case():
        here = signs_on_the_way(problem, 0.0)
        for length in np.linspace(-2 * STEP, 2 * STEP, 9):
            there = signs_on_the_way(problem, float(length))
            assume(all(torch.equal(a, b) for a, b in zip(here, there, strict=True)))
        functions = {
            name: lambda params, term=term: term(params, problem.batch, problem.draws, problem.objective)
            for name, term in TERMS.items()
        }
        gradients = {}
        for name, function in functions.items():
            free = tuple(p.clone().requires_grad_() for p in problem.params)
            gradients[name] = torch.autograd.grad(function(free), free, materialize_grads=True)
        functions["sum"] = lambda params: problem.objective(params, problem.batch, problem.draws)[0]
        free = tuple(p.clone().requires_grad_() for p in problem.params)
        problem.objective.descend(free, problem.batch, problem.draws)
        gradients["sum"] = tuple(p.grad for p in free)
        for name, function in functions.items():
            expected = slope(function, problem, STEP).item()
            got = sum((g * v).sum() for g, v in zip(gradients[name], problem.direction, strict=True)).item()
            size = 1 + abs(function(problem.params).item()) + abs(expected)
            assert abs(got - expected) < 1e-6 * size, (name, got, expected)
        assert sum(g.square().sum() for g in gradients["sum"]) > 1e-6
        outcomes[f"{problem.objective.activation}, {problem.objective.neighborhood}"] += 1


# --- large logits, and either precision ----------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_student_of_logits_of_ten_thousand_trains_predicts_and_is_scored(activation, dtype):
    """Half of its labels are wrong, where the cross-entropy is ten thousand as well."""
    X, y = digits()
    X, taught = X.astype(dtype), np.roll(np.unique(y), 1)[np.unique(y, return_inverse=True)[1]]
    taught[::2] = y[::2]
    teacher = MLPClassifier((8,), activation=activation, max_iter=300, random_state=0).fit(X, y)
    scale = 1e4 / np.abs(teacher.coefs_[-1]).sum(axis=0).max()
    teacher.coefs_[-1], teacher.intercepts_[-1] = scale * teacher.coefs_[-1], scale * teacher.intercepts_[-1]
    student = quick(teacher, max_iter=2, new_outputs="start", n_iter_no_change=np.inf).fit(X, taught)
    logits = student.decision_function(X)
    largest = np.abs(logits).max()
    assert 1e3 < largest < 1e5
    assert all(np.isfinite(row["train_loss"]) for row in (*student.phi_history_, *student.history_))
    assert max(row["ce"] for row in student.phi_history_) > 100
    probabilities = student.predict_proba(X)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=0, atol=8 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(student.predict(X), student.classes_[logits.argmax(axis=1)])
    assert np.isfinite(probabilities).all()
    for kind in KINDS:
        clean, moved = (student.robustness_score(X, y, kind, e, random_state=0) for e in (0.0, 0.3))
        assert 0 <= moved <= clean + 0.05
        assert moved != clean
        assert clean == (pytest.approx(student.score(X, y), abs=0.01) if kind != "certified" else clean)
    moved = student.adversarial_examples(X, y, "pgd", 0.1, random_state=0)
    assert np.isfinite(moved).all()


@pytest.mark.parametrize("n_epochs", [3, pytest.param(200, marks=pytest.mark.slow)])
def test_float32_ends_where_float64_does(n_epochs, record_property):
    """The start and every draw are the same but for rounding; a long training magnifies what that leaves."""
    X, y = load_digits(return_X_y=True)
    X, known = X / 16, y < 5
    if n_epochs == 3:
        X, y, known = X[:400], y[:400], known[:400]
    teacher = MLPClassifier((16,), max_iter=200, random_state=0).fit(X[known], y[known])
    settings = {"max_iter": n_epochs, "n_iter_no_change": np.inf, "phi_max_iter": 5}
    gaps, labels, scores = [], [], []
    for seed in range(2 if n_epochs == 3 else 5):
        students = [quick(teacher, random_state=seed, **settings).fit(X.astype(d), y) for d in ("f4", "f8")]
        assert [student.blueprint_.dtype for student in students] == [np.float32, np.float64]
        narrow, wide = (student.predict_proba(X.astype(student.blueprint_.dtype)) for student in students)
        attacked = [student.robustness_score(X, y, epsilon=0.05) for student in students]
        gaps.append(abs(narrow - wide).max())
        labels.append(np.mean(narrow.argmax(axis=1) != wide.argmax(axis=1)))
        scores.append(abs(attacked[0] - attacked[1]))
    record_property(
        "limit",
        f"float32 beside float64, {len(gaps)} seeds, {n_epochs} epochs: probabilities {max(gaps):.1e} apart, "
        f"labels of {max(labels):.2%} differ, accuracies under FGSM by {max(scores):.2%}",
    )
    # A step errs by some 6e-8. What relu and signs make of it in 200 epochs was at most 6e-3 on these rows.
    assert 0 < max(gaps) < (1e-4 if n_epochs == 3 else 0.05)
    assert max(labels) <= 0.005
    assert max(scores) <= 0.01


# --- rare, few, many -----------------------------------------------------------------------------------


def imbalanced(n_common, n_rare, seed):
    """Rows of two common classes and a rare one near one of them, which overlaps with it."""
    rng = np.random.default_rng(seed)
    y = np.repeat(["common", "other", "rare"], [n_common, n_common, n_rare])
    centres = {"common": (0, 0, 0), "other": (2, 0, 0), "rare": (0, 1.2, 0)}
    return (np.array([centres[label] for label in y]) + 0.4 * rng.normal(size=(len(y), 3))).astype("f4"), y


@pytest.mark.parametrize("n_common", [2_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_a_class_of_ten_rows_is_learned_with_balanced_weights(n_common, record_property):
    """In minibatches that mostly have one of them: each is a weighted mean by itself."""
    X, y = imbalanced(n_common, 10, seed=0)
    X_test, y_test = imbalanced(500, 500, seed=1)
    teacher = LogisticRegression().fit(X[y != "rare"][::50], y[y != "rare"][::50])
    recalls = []
    for class_weight in (None, "balanced"):
        student = AntiDistilledMLPClassifier(
            teacher,
            hidden_layer_sizes=(12,),
            class_weight=class_weight,
            batch_size=max(1000, n_common // 5),
            learning_rate_init=1e-2,
            max_iter=10,
            random_state=0,
        ).fit(X, y)
        assert np.isfinite(student.loss_curve_).all()
        right = student.predict(X_test) == y_test
        recalls.append(right[y_test == "rare"].mean())
        assert right[y_test != "rare"].mean() > 0.8
    told = (
        f"10 rows beside {n_common:,}: recall {recalls[0]:.2f}, with class_weight='balanced' {recalls[1]:.2f}"
    )
    record_property("limit", told)
    assert recalls[1] > 0.8
    assert recalls[0] < 0.2


@pytest.mark.parametrize("how", ["teacher_data", "teacher_rows"])
def test_one_row_of_old_data_is_enough(how):
    X, y = digits()
    one = np.flatnonzero(old_rows())[0]
    named = {"teacher_data": (X[[one]], y[[one]]), "teacher_rows": np.arange(len(y)) == one}
    student = quick(fitted_teacher(), max_iter=20).fit(X, y, **{how: named[how]})
    assert len(student.phi_history_) == 2
    assert np.isfinite(student.predict_proba(X)).all()
    assert student.score(X, y) > 0.8
    other = quick(fitted_teacher(), max_iter=20).fit(X, y)
    assert not same_parameters(student, other)


def many_classes(n_classes, rows_a_class, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(n_classes, 64))
    y = np.repeat(np.arange(n_classes), rows_a_class)
    return (centres[y] + 0.3 * rng.normal(size=(len(y), 64))).astype("f4"), y + 7


@pytest.mark.parametrize("n_classes", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_thousand_classes_grow_out_of_half_of_them(n_classes, record_property):
    X, y = many_classes(n_classes, 10)
    old, began = y < 7 + n_classes // 2, time.perf_counter()
    teacher = MLPClassifier((32,), max_iter=60, random_state=0).fit(X[old], y[old])
    student = quick(teacher, hidden_layer_sizes=(64,), max_iter=20).fit(X, y)
    score = student.score(X, y)
    attacked = student.robustness_score(X[::10], y[::10], "pgd", 0.5, n_steps=5, random_state=0)
    took = time.perf_counter() - began
    record_property("limit", f"{n_classes} classes: accuracy {score:.3f}, PGD {attacked:.3f}, {took:.0f} s")
    assert student.growth_.new_outputs.tolist() == list(range(n_classes // 2, n_classes))
    assert 0 < attacked < score
    assert score > 0.9
    assert np.isfinite(student.predict_proba(X)).all()


@pytest.mark.parametrize("n_features", [5_000, pytest.param(100_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["sparse", "dense"])
def test_a_hundred_thousand_features(kind, n_features, record_property):
    """Of a row fifty are not 0; the teacher knows the first half of the columns."""
    n_rows, rng = (300, 100)[kind == "dense"], np.random.default_rng(0)
    y = np.arange(n_rows) % 4
    columns = rng.integers(n_features // 4, size=(n_rows, 50)) * 4 + y[:, None]
    X = sp.csr_array(
        (np.ones(columns.size, "f4"), columns.ravel(), np.arange(0, columns.size + 1, 50)),
        shape=(n_rows, n_features),
    )
    X.sum_duplicates()
    X = X if kind == "sparse" else X.toarray()
    old, began = y < 2, time.perf_counter()
    teacher = LogisticRegression(max_iter=50).fit(X[old][:, : n_features // 2], y[old])
    settings = {"hidden_layer_sizes": (8,), "max_iter": 30, "learning_rate_init": 1e-2, "delta": 0.01}
    student = quick(teacher, **settings).fit(X, y)
    score = student.score(X, y)
    attacked = student.robustness_score(X, y, "fgsm", 0.001)
    took = time.perf_counter() - began
    record_property("limit", f"{n_features:,} {kind} features: accuracy {score:.2f}, {took:.0f} s")
    assert len(student.growth_.new_features) == n_features // 2
    assert score > 0.9
    assert 0 <= attacked <= score


#: Fits, predicts and scores from a memory map in a process of its own, and tells its memory in MiB.
MAPPED = """
import json, re, sys
import numpy as np, torch
from skorch.callbacks import Callback
from sklearn.linear_model import LogisticRegression
from skantidistill import AntiDistilledMLPClassifier

def mebibytes(*names):
    status = open("/proc/self/status").read()
    return [int(re.search(f"{name}:\\s+(\\d+) kB", status)[1]) / 1024 for name in names]

own = []
class Watch(Callback):
    def on_batch_end(self, net, **kwargs):
        self.n = getattr(self, "n", 0) + 1
        if self.n % 50 == 1:
            own.append(mebibytes("RssAnon", "RssFile"))

torch.set_num_threads(1)
path, n_rows, n_columns = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
X = np.memmap(path, np.float32, "r", shape=(n_rows, n_columns))
y = np.arange(n_rows) % 4
teacher = LogisticRegression().fit(X[:2000][y[:2000] < 2], y[:2000][y[:2000] < 2])
(before,) = mebibytes("VmHWM")
student = AntiDistilledMLPClassifier(
    teacher, hidden_layer_sizes=(16,), batch_size=2000, max_iter=1, phi_max_iter=1, random_state=0,
    callbacks=[Watch()],
).fit(X, y)
score = student.score(X, y)
own.append(mebibytes("RssAnon", "RssFile"))
(peak,) = mebibytes("VmHWM")  # not ru_maxrss, which a process takes over from the one that starts it
anonymous, mapped = np.max(own, axis=0)
print(json.dumps({"score": score, "before": before, "peak": peak, "anonymous": anonymous, "mapped": mapped}))
"""


def write_rows(path, n_rows, n_columns):
    """Write rows of four classes that differ in their first columns, block by block."""
    X, rng = np.memmap(path, np.float32, "w+", shape=(n_rows, n_columns)), np.random.default_rng(0)
    block = rng.random((10_000, n_columns), dtype=np.float32)
    block[np.arange(10_000), np.arange(10_000) % 4] += 1
    for first in range(0, n_rows, len(block)):
        X[first : first + len(block)] = block[: n_rows - first]
    X.flush()
    return X.nbytes


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_two_million_mapped_rows_take_less_than_three_gibibytes(tmp_path, record_property):
    """The peak of resident memory counts the pages of the file that are in memory, too.

    They are the system's to take back, so that of a file larger than memory fewer stay; what the process
    itself holds is the rest.
    """
    n_bytes, began = write_rows(tmp_path / "X", 2_000_000, 128), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MAPPED, str(tmp_path / "X"), "2000000", "128"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    took = time.perf_counter() - began
    record_property(
        "limit",
        f"2,000,000 x 128 mapped rows, {n_bytes / 2**20:.0f} MiB: peak {told['peak']:.0f} MiB; "
        f"{told['before']:.0f} MiB before the fit; at most {told['anonymous']:.0f} MiB the process's own and "
        f"{told['mapped']:.0f} MiB pages of files; {took:.0f} s",
    )
    assert told["peak"] < 3 * 1024
    assert told["anonymous"] < n_bytes / 2**20  # the rows are not copied
    assert told["score"] > 0.9


# --- threads -------------------------------------------------------------------------------------------

#: Students of as different settings as eight are.
EIGHT = [
    {"random_state": 0},
    {"random_state": 0, "trace": "exact", "neighborhood": "normal"},
    {"random_state": 2, "trace": "hutchinson", "phi_max_iter": 1},
    {"random_state": 3, "start": "net2net", "lambda_teacher": 0.0},
    {"random_state": 4, "early_stopping": True},
    {"random_state": 5, "class_weight": "balanced", "freeze_iter": 1},
    {"random_state": 6, "hidden_layer_sizes": (20, 18), "ema_decay": 0.0},
    {"random_state": 7, "lambda_noise": 0.0, "batch_size": 50},
]


def fitted_and_used(settings):
    """Fit a student, and return it with predictions and scores of every kind."""
    X, y = digits()
    student = quick(fitted_teacher(), max_iter=4, **settings).fit(X, y)
    scores = [student.robustness_score(X[:90], y[:90], kind, 0.1, random_state=1) for kind in KINDS]
    return student, student.predict_proba(X), scores


def assert_same_results(some, others):
    for (one, p, scores), (other, q, again) in zip(some, others, strict=True):
        assert same_parameters(one, other)
        np.testing.assert_array_equal(p, q)
        assert scores == again


def test_eight_students_in_threads_are_those_of_one_after_the_other():
    fitted_teacher()
    one_by_one = [fitted_and_used(settings) for settings in EIGHT]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(fitted_and_used, EIGHT))
    assert_same_results(together, one_by_one)
    assert not any(same_parameters(one_by_one[0][0], other) for other, *_ in one_by_one[1:6])


def test_threads_may_share_one_student_and_one_cache_of_phi(tmp_path):
    X, y = digits()
    memory = joblib.Memory(tmp_path, verbose=0)
    settings = {"memory": memory, "random_state": 3}
    alone = quick(fitted_teacher(), random_state=3).fit(X, y)
    with ThreadPoolExecutor(8) as pool:
        students = list(pool.map(lambda _: quick(fitted_teacher(), **settings).fit(X, y), range(8)))
        scores = list(
            pool.map(lambda kind: alone.robustness_score(X, y, kind, 0.1, random_state=0), [*KINDS] * 2)
        )
        answers = list(pool.map(lambda _: alone.predict_proba(X), range(8)))
    assert all(same_parameters(alone, student) for student in students)
    assert scores == [alone.robustness_score(X, y, kind, 0.1, random_state=0) for kind in KINDS] * 2
    assert all(np.array_equal(answer, alone.predict_proba(X)) for answer in answers)
    assert len(set(scores)) > 3
