"""A stack equals its members: every student is the one that ``fit`` gives by itself."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import EpochTimer

from skantidistill import AntiDistilledMLPClassifier
from skantidistill.draws import (
    normal,
    rademacher,
    stacked_normal,
    stacked_rademacher,
    stacked_uniform,
    uniform,
)
from skantidistill.rows import Rows
from skantidistill.stacked_rows import StackedRows
from skantidistill.stacks import Room, answer_all, stack_key, train_stack, why_alone
from skantidistill.together import Answer, run_together
from skantidistill.training import Training
from tests.problems import digits, fitted_teacher, quick, same_parameters
from tests.strategies import ACTIVATIONS, seeds

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = digits()


def fit_together(students, parts, X=X):
    """Fit students side by side, each on its part of the rows; return the sizes of their last stacks."""
    sizes = []

    def answer(requests):
        keys = [stack_key(r) for r in requests if isinstance(r, Training) and not why_alone(r)]
        sizes[:] = [keys.count(key) for key in keys] or sizes
        return answer_all(requests)

    run_together([lambda s=s, p=p: s.fit(X[p], Y[p]) for s, p in zip(students, parts, strict=True)], answer)
    return sizes


def without_seconds(history):
    return [{name: value for name, value in row.items() if name != "dur"} for row in history]


def assert_same_student(student, expected, tolerance):
    """Check parameters, epochs and histories, and what a later fit goes on from."""
    assert student.n_iter_ == expected.n_iter_
    for got, wanted in zip(student.blueprint_.parameters, expected.blueprint_.parameters, strict=True):
        assert got.dtype == wanted.dtype
        assert_allclose(got, wanted, rtol=0, atol=tolerance)
    for name in ("phi_history_", "history_"):
        got, wanted = without_seconds(getattr(student, name)), without_seconds(getattr(expected, name))
        assert [list(row) for row in got] == [list(row) for row in wanted]
        for row, other in zip(got, wanted, strict=True):
            assert_allclose(list(row.values()), list(other.values()), rtol=100 * tolerance, atol=tolerance)
    for got, wanted in zip(student._generator_states, expected._generator_states, strict=True):
        assert torch.equal(got, wanted)


@st.composite
def problems(draw):
    """Draw what a stack has in common, what its members have of their own, and the rows of each."""
    activation = draw(st.sampled_from(ACTIVATIONS))
    common = {
        "hidden_layer_sizes": draw(st.sampled_from([(9,), (9, 6), (9, 7, 5)])),
        "neighborhood": draw(st.sampled_from(["adversarial", "uniform", "normal"])),
        "trace": draw(st.sampled_from(["auto", "exact", "hutchinson"])),
        "batch_size": draw(st.sampled_from(["auto", 64])),
        "ema_decay": draw(st.sampled_from([0.0, 0.9])),
        "start": draw(st.sampled_from(["uniform", "xavier", "zero"])),
        "new_outputs": draw(st.sampled_from(["fit", "start"])),
        "regularize": draw(st.sampled_from(["fit", "phi"])),
        "early_stopping": draw(st.booleans()),
        "bounds": draw(st.sampled_from([None, (0, 1), (np.zeros(64), np.full(64, 1.5))])),
        "parameter_noise_std": 0.0,
    }
    for name in ("lambda_ce", "lambda_teacher", "lambda_noise", "lambda_trace", "alpha"):
        common[name] = draw(st.sampled_from([0.0, 1.0]))  # whether it counts
    if common["lambda_noise"]:
        common["parameter_noise_std"] = draw(st.sampled_from([0.0, 0.1]))
    members = []
    for _ in range(draw(st.integers(2, 4))):
        own = {
            "random_state": draw(st.integers(0, 3)),
            "learning_rate_init": draw(st.sampled_from([0.001, 0.003])),
            "phi_learning_rate_init": draw(st.sampled_from([0.001, 0.002])),
            "phi_learning_rate_decay": draw(st.sampled_from([1.0, 0.5])),
            "max_iter": draw(st.integers(1, 4)),
            "phi_max_iter": draw(st.integers(1, 3)),
            "n_iter_no_change": draw(st.integers(1, 3)),
            "tol": draw(st.sampled_from([0.0, 0.05])),
            "shuffle": draw(st.booleans()),
            "delta": draw(st.sampled_from([0.01, 0.05])),
        }
        for name, size in (("lambda_teacher", 0.01), ("lambda_trace", 0.01), ("alpha", 0.001)):
            own[name] = common[name] * size * draw(st.sampled_from([1, 3]))
        own["parameter_noise_std"] = common["parameter_noise_std"] * draw(st.sampled_from([1, 2]))
        members.append(own)
    teacher = fitted_teacher(activation=activation, hidden=(8, 6, 4)[: len(common["hidden_layer_sizes"])])
    students = [AntiDistilledMLPClassifier(teacher, **{**common, **own}) for own in members]
    folds = np.random.RandomState(draw(seeds)).randint(0, 5, size=len(X))
    parts = [np.flatnonzero(folds != draw(st.integers(0, 4))) for _ in members]
    if draw(st.booleans()):
        for student in students:
            student.set_params(class_weight=draw(st.sampled_from(["balanced", {"one": 0.3, "five": 1.7}])))
    return students, parts


@settings(max_examples=40)
@given(problems())
def test_in_double_precision_every_student_is_the_one_that_fit_alone_gives(problem):
    students, parts = problem
    expected = [clone(student).fit(X[part], Y[part]) for student, part in zip(students, parts, strict=True)]
    fit_together(students, parts)
    for student, wanted in zip(students, expected, strict=True):
        assert_same_student(student, wanted, 1e-8)


@settings(max_examples=20)
@given(problems())
def test_in_single_precision_every_tensor_is_near_that_of_fit_alone_after_five_epochs(problem):
    students, parts = problem
    single = X.astype(np.float32)
    for student in students:
        # Where a gradient is zero but for rounding, as of units that start at zero, or of a student without a
        # loss, Adam divides rounding errors by rounding errors. (In float64 these are far below its epsilon.)
        student.set_params(early_stopping=False, max_iter=5, tol=0.0, lambda_ce=1.0, start="uniform")
    expected = [clone(s).fit(single[part], Y[part]) for s, part in zip(students, parts, strict=True)]
    fit_together(students, parts, single)
    for student, wanted in zip(students, expected, strict=True):
        for got, p in zip(student.blueprint_.parameters, wanted.blueprint_.parameters, strict=True):
            assert got.dtype == np.float32
            assert np.linalg.norm(got - p) <= 1e-5 * np.linalg.norm(p)
        assert abs(student.score(X, Y) - wanted.score(X, Y)) * len(X) <= 2.01


def test_members_are_in_one_stack_whatever_is_their_own():
    own = [
        {"delta": 0.02, "alpha": 0.1},
        {"lambda_trace": 0.01, "learning_rate_init": 0.01},
        {"random_state": 5, "shuffle": False, "max_iter": 2, "tol": 0.1},
        {"phi_learning_rate_decay": 0.5, "n_iter_no_change": 2, "lambda_noise": 0.5},
    ]
    students = [quick(fitted_teacher(), **params) for params in own]
    parts = [np.arange(480), np.arange(3, 480), np.arange(440), np.arange(10, 460)]
    assert fit_together(students, parts) == [4, 4, 4, 4]


@pytest.mark.parametrize(
    "own",
    [
        {"hidden_layer_sizes": (20,)},
        {"batch_size": 50},
        {"neighborhood": "uniform"},
        {"trace": "exact"},
        {"lambda_noise": 0.0},
        {"ema_decay": 0.5},
        {"early_stopping": True},
        {"bounds": (0, 1)},
        {"parameter_noise_std": 0.0},
    ],
    ids=lambda own: next(iter(own)),
)
def test_what_must_be_the_same_makes_stacks_of_their_own(own):
    students = [quick(fitted_teacher()), quick(fitted_teacher(), alpha=0.1), quick(fitted_teacher(), **own)]
    expected = [clone(student).fit(X, Y) for student in students]
    assert max(fit_together(students, [np.arange(480)] * 3)) == 2
    for student, wanted in zip(students, expected, strict=True):
        assert_same_student(student, wanted, 1e-8)


@pytest.mark.parametrize("hidden", [(), (9, 6)])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_students_without_a_teacher_stack_too(hidden, early_stopping):
    params = {"hidden_layer_sizes": hidden, "max_iter": 20, "early_stopping": early_stopping}
    students = [quick(None, **params, random_state=seed, delta=0.01 * seed) for seed in range(1, 4)]
    expected = [clone(student).fit(X, Y) for student in students]
    assert fit_together(students, [np.arange(480)] * 3) == [3, 3, 3]
    for student, wanted in zip(students, expected, strict=True):
        assert_same_student(student, wanted, 1e-8)


@pytest.mark.parametrize("ema_decay", [0.0, 0.99])
def test_a_student_of_a_stack_trains_on_as_one_that_was_alone(ema_decay):
    students = [quick(fitted_teacher(), random_state=seed, ema_decay=ema_decay) for seed in range(3)]
    expected = [clone(student).fit(X, Y) for student in students]
    fit_together(students, [np.arange(480)] * 3)
    for student, wanted in zip(students, expected, strict=True):
        for fitted in (student, wanted):
            fitted.partial_fit(X, Y).set_params(warm_start=True, max_iter=2).fit(X, Y)
        assert_same_student(student, wanted, 1e-8)


def test_what_is_asked_for_twice_is_trained_once_and_goes_on_the_same(monkeypatch):
    """phi does not depend on alpha."""
    trained = []

    def counting(trainings):
        trained.append(len(trainings))
        return train_stack(trainings)

    monkeypatch.setattr("skantidistill.stacks.train_stack", counting)
    students = [quick(fitted_teacher(), alpha=alpha) for alpha in (0.0001, 0.1, 10.0)]
    expected = [clone(student).fit(X, Y) for student in students]
    fit_together(students, [np.arange(480)] * 3)
    assert trained == [1, 3]
    for student, wanted in zip(students, expected, strict=True):
        assert_same_student(student, wanted, 1e-8)
    students[0].phi_history_[0]["ce"] = None
    assert students[1].phi_history_[0]["ce"] is not None


def test_a_member_that_diverges_says_so_and_the_others_go_on():
    students = [
        quick(fitted_teacher(), learning_rate_init=rate, ema_decay=0.0, max_iter=4)
        for rate in (0.001, 1e200, 0.002)
    ]
    expected = [clone(student).fit(X, Y) for student in students[::2]]
    with pytest.raises(ValueError, match="diverged") as alone:
        clone(students[1]).fit(X, Y)
    told = []

    def fit(student):
        try:
            student.fit(X, Y)
        except ValueError as error:
            told.append(str(error))

    with np.errstate(all="ignore"):
        run_together([lambda s=s: fit(s) for s in students], answer_all)
    assert told == [str(alone.value)]
    assert not hasattr(students[1], "blueprint_")
    for student, wanted in zip(students[::2], expected, strict=True):
        assert_same_student(student, wanted, 1e-8)


ALONE = {
    "callbacks": {"callbacks": [EpochTimer()]},
    "the size of the network": {"hidden_layer_sizes": (2000, 500)},
    "verbose": {"verbose": True},
    "freeze_iter": {"freeze_iter": 1},
    "rehearse": {"rehearse": 0.3},
}


@pytest.mark.parametrize("reason", [*ALONE, "warm_start", "sparse rows"])
def test_what_can_t_be_stacked_is_trained_alone_and_says_why(reason, capsys):
    import scipy.sparse

    rows = scipy.sparse.csr_array(X) if reason == "sparse rows" else X
    student = quick(fitted_teacher(), **{"max_iter": 1, **ALONE.get(reason, {})})
    keywords = {"teacher_data": digits_of_the_teacher()} if reason == "rehearse" else {}
    if reason == "warm_start":
        student.set_params(warm_start=True).fit(X, Y)
    reasons = []

    def answer(requests):
        reasons.extend(why_alone(request) for request in requests if isinstance(request, Training))
        return answer_all(requests)

    expected = clone(student).fit(rows, Y, **keywords)
    if reason == "warm_start":
        expected.fit(rows, Y)
    run_together([lambda s=s: s.fit(rows, Y, **keywords) for s in (student, clone(student))], answer)
    assert reason in reasons
    assert same_parameters(student, expected)
    capsys.readouterr()


def digits_of_the_teacher():
    rows = np.isin(Y, fitted_teacher().classes_)
    return X[rows][:50], Y[rows][:50]


# --- the parts -------------------------------------------------------------------------------------------


@given(st.data(), st.sampled_from([torch.float32, torch.float64]))
def test_stacked_draws_are_those_of_every_generator_by_itself(data, dtype):
    shape = data.draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    n_members = data.draw(st.integers(1, 4))
    n_rows = [data.draw(st.integers(1, shape[0])) for _ in range(n_members)]
    like = torch.empty(0, dtype=dtype)
    for one, many in (
        (lambda s, g: rademacher(s, like, g), stacked_rademacher),
        (lambda s, g: uniform(torch.empty(s, dtype=dtype), g), stacked_uniform),
        (lambda s, g: normal([s], like, g)[0], stacked_normal),
    ):
        some, others = ([torch.Generator().manual_seed(k) for k in range(n_members)] for _ in range(2))
        stacked = many(shape, n_rows, like, some)
        assert stacked.shape == (n_members, *shape)
        assert stacked.dtype == dtype
        for k, n in enumerate(n_rows):
            assert torch.equal(stacked[k, :n], one((n, shape[1]), others[k]))
            assert torch.equal(some[k].get_state(), others[k].get_state())


@given(st.lists(st.integers(9, 12), min_size=1, max_size=4), st.integers(1, 12), seeds)
def test_stacked_rows_are_those_of_every_member_and_the_rest_weighs_nothing(sizes, batch_size, seed):
    assume(len({-(-n // batch_size) for n in sizes}) == 1)
    rng = np.random.RandomState(seed)
    wholes = [rng.normal(size=(20, 3)) for _ in range(2)]
    rows = [
        Rows(wholes[k % 2], rng.randint(4, size=20), rng.rand(20) + 0.1, rng.permutation(20)[:n])
        for k, n in enumerate(sizes)
    ]
    stacked = StackedRows(rows, batch_size)
    orders = [torch.from_numpy(rng.permutation(n)) for n in sizes]
    for members in (list(range(len(rows))), [0], list(range(len(rows)))[::-1]):
        kept = stacked.keep(torch.tensor(members))
        begin = 0
        for batch, n_rows in kept.batches([orders[m] for m in members]):
            for k, m in enumerate(members):
                wanted = rows[m].batch(orders[m].numpy()[begin : begin + batch_size])
                assert n_rows[k] == len(wanted.y)
                for got, part in zip(batch, wanted, strict=True):
                    assert torch.equal(got[k, : n_rows[k]], part)
                assert not batch.weight[k, n_rows[k] :].any()
            begin += batch_size
        assert begin >= max(sizes[m] for m in members)


def test_rows_that_are_the_same_are_kept_once():
    rows = [Rows(part.copy(), np.zeros(20, int), np.ones(20)) for part in (X[:20], X[20:40], X[:20])]
    assert len(StackedRows(rows, 10).X) == 40


def trainings(student):
    """Return what a student asks for while it is fitted."""
    asked = []

    def answer(requests):
        asked.extend(request for request in requests if isinstance(request, Training))
        return answer_all(requests)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        run_together([lambda: student.fit(X, Y)], answer)
    return asked


def test_there_is_room_for_one_more_until_the_memory_is_taken():
    for n_members in (1, 2, 5):
        assert Room((n_members + 1) * 7)([7] * n_members)
        assert not Room((n_members + 1) * 7 - 1)([7] * n_members)
    most = max(4, 128 // torch.get_num_threads())
    assert Room(np.inf)([7] * (most - 1))
    assert not Room(np.inf)([7] * most)


@pytest.mark.parametrize("params", [{}, {"phi_max_iter": 0}, {"n_restarts": 2, "early_stopping": True}])
def test_no_more_fits_stand_side_by_side_than_their_rows_have_room_for(params):
    """Whatever they ask for, be it little."""
    students = [quick(fitted_teacher(), **params, random_state=seed) for seed in range(5)]
    n_parameters = 64 * 16 + 16 + 16 * 6 + 6
    n_bytes = 6 * X.nbytes + (0 if "n_restarts" in params else 12 * 8 * n_parameters)
    beside = []

    def answer(requests):
        beside.append(len(requests))
        return answer_all(requests)

    run_together([lambda s=s: s.fit(X, Y) for s in students], answer, Room(2 * n_bytes))
    assert max(beside) == 2 * params.get("n_restarts", 1)


def test_a_stack_that_has_no_memory_is_trained_in_halves(monkeypatch):
    from skantidistill import stacks

    sizes, epoch = [], stacks._Stack._run_epoch

    def scarce(self):
        sizes.append(len(self.members))
        if len(self.members) > 2:
            epoch(self)  # which has drawn random numbers by then
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return epoch(self)

    monkeypatch.setattr(stacks._Stack, "_run_epoch", scarce)
    students = [quick(fitted_teacher(), random_state=seed, max_iter=2, phi_max_iter=1) for seed in range(5)]
    expected = [clone(student).fit(X, Y) for student in students]
    fit_together(students, [np.arange(480)] * 5)
    assert 5 in sizes
    assert 2 in sizes
    for student, wanted in zip(students, expected, strict=True):
        assert_same_student(student, wanted, 1e-8)


def test_rows_on_a_disk_are_not_read_as_a_whole(tmp_path):
    rows = np.memmap(tmp_path / "rows", dtype=X.dtype, mode="w+", shape=X.shape)
    rows[:] = X
    reasons = set()

    def answer(requests):
        reasons.update(why_alone(request) for request in requests if isinstance(request, Training))
        return answer_all(requests)

    students = [quick(fitted_teacher(), random_state=seed) for seed in range(2)]
    run_together([lambda s=s: s.fit(rows, Y) for s in students], answer)
    assert reasons == {"rows on a disk"}


def test_a_training_with_a_loss_of_another_kind_is_alone():
    training = trainings(quick(fitted_teacher()))[-1]

    class Other(type(training.objective)):
        pass

    assert why_alone(training) == ""
    assert why_alone(replace(training, objective=Other("relu"))) == "an objective of its own"
    assert why_alone(replace(training, state={})) == "warm_start"


def test_without_the_fused_step_of_torch_everyone_is_alone(monkeypatch):
    monkeypatch.setattr("skantidistill.steps._FUSED_ADAM", None)
    students = [quick(fitted_teacher(), random_state=seed) for seed in range(2)]
    expected = [clone(student).fit(X, Y) for student in students]
    assert fit_together(students, [np.arange(480)] * 2) == []
    for student, wanted in zip(students, expected, strict=True):
        assert_same_student(student, wanted, 0)


def test_the_seconds_of_a_stack_are_shared():
    asked = [trainings(quick(fitted_teacher(), random_state=seed))[-1] for seed in range(3)]
    answers = answer_all(asked)
    assert all(isinstance(answer, Answer) and answer.seconds > 0 for answer in answers)
    assert len({answer.seconds for answer in answers}) == 1
