"""Laws of the study's runs: fair rows, equal budgets, figures that a user can measure again."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.neural_network import MLPClassifier

from skantidistill import AntiDistilledMLPClassifier
from skantidistill.curvature import exact_trace
from skantidistill.study import (
    METHODS,
    PROTOCOLS,
    TABLES,
    StudyError,
    methods_of,
    run_study,
    student_parameters,
    tables_of,
)
from skantidistill.study import run as run_module
from skantidistill.study import task as task_module
from skantidistill.study.measure import CRITERIA, MOST_POINTS, N_STRENGTHS, LearningCurve
from skantidistill.study.methods import n_steps
from skantidistill.study.problem import pose
from skantidistill.study.protocols import LOADERS, steps_an_epoch
from skantidistill.study.store import Run
from skantidistill.study.task import fit_teacher, run_method

DIGITS = PROTOCOLS["digits"]
SHORT = replace(
    DIGITS,
    teacher_phases=((15, 1e-2),),
    student={**DIGITS.student, "max_iter": 3},
    n_draws=2,
    n_steps_few_rows=40,
)
FEW = replace(SHORT, rows=100)
PAPER = ("Xavier", "Zero", "Uniform", "Transfer", "Net2Net", "Data noise", "AD l4=0", "AD")
PLAIN = ("Xavier", "Zero", "Uniform", "Transfer", "Net2Net")
KEPT = tuple(f"{name} + kept terms" for name in PLAIN)
JOINT = ("Xavier on D1+D2", "Uniform on D1+D2", "AD on D1+D2")
SECONDS = ("seconds", "curve_seconds")


def without_seconds(rows):
    return [{k: v for k, v in row.items() if k not in SECONDS} for row in rows]


def same(one, other):
    """Whether tidy rows are equal but for seconds; NaN equals NaN."""
    return repr(without_seconds(one)) == repr(without_seconds(other))


def fit_quietly(protocol, data, seed):
    with pytest.warns(match="Maximum iterations"):
        return fit_teacher(protocol, data, seed)


def fitted(protocol, method, seed=1):
    """The student that a user of the row's parameters gets."""
    data = protocol.load(seed)
    problem, teacher = pose(protocol, data, seed), fit_quietly(protocol, data, seed)
    parameters = student_parameters(protocol, method, len(problem.y_old), len(problem.y))
    student = AntiDistilledMLPClassifier(**{"teacher": teacher, **parameters}, random_state=seed)
    named = problem.fit_parameters if student.teacher is not None else {}
    with pytest.warns(match="Maximum iterations"):
        return student.fit(problem.X, problem.y, **named), problem, teacher


@pytest.fixture(scope="module")
def rows():
    """The rows of two seeds."""
    return run_study(SHORT, [0, 1])


@pytest.fixture(scope="module")
def few_rows():
    """The rows of one seed where D2 is small."""
    return run_study(FEW, [1])


def find(rows, method, seed=1):
    (row,) = [row for row in rows if (row["method"], row["seed"]) == (method, seed)]
    return row


def test_every_row_of_the_paper_and_every_start_with_kept_terms_is_there():
    published, equal = TABLES["as published"], TABLES["equal training"]
    assert set(published[0].rows) == {*PAPER, "AD phi only"}
    assert set(equal[0].rows) == {*KEPT, "AD"}
    assert set(equal[1].rows) == set(JOINT)
    assert {row for groups in TABLES.values() for group in groups for row in group.rows} == set(METHODS)


def test_d1_is_rehearsed_only_where_it_is_not_in_d2():
    assert set(methods_of(FEW)) - set(methods_of(SHORT)) == set(JOINT)
    assert [len(groups) for groups in tables_of(SHORT).values()] == [1, 1]


def test_variants_of_ad_are_no_rivals_of_ad():
    assert set(TABLES["as published"][0].rivals) == {*PLAIN, "Data noise"}
    assert set(TABLES["equal training"][0].rivals) == set(KEPT)
    assert set(TABLES["equal training"][1].rivals) == {"Xavier on D1+D2", "Uniform on D1+D2"}


def test_the_paper_s_rows_are_what_the_paper_says():
    settings = {
        name: AntiDistilledMLPClassifier(**student_parameters(DIGITS, name, 600, 1198)).get_params()
        for name in PAPER
    }
    for name in PLAIN:
        assert settings[name]["phi_max_iter"] == 0
        assert (settings[name]["lambda_noise"], settings[name]["lambda_trace"]) == (0, 0)
        assert settings[name]["new_outputs"] == "start"
    starts = {name: settings[name]["start"] for name in PLAIN}
    assert starts == dict(zip(PLAIN, ("xavier", "zero", "uniform", "transfer", "net2net_equal"), strict=True))
    assert settings["Transfer"]["freeze_iter"] == 3
    assert settings["Transfer"]["hidden_layer_sizes"] == "auto"  # the teacher's, of this start
    assert settings["Net2Net"]["lambda_teacher"] == 0
    noise = settings["Data noise"]
    assert (noise["start"], noise["regularize"], noise["phi_max_iter"]) == ("xavier", "phi", 15)
    assert [noise[f"lambda_{term}"] for term in ("ce", "teacher", "noise", "trace")] == [1, 0, 1, 0]
    assert settings["AD l4=0"] == settings["AD"] | {"lambda_trace": 0.0}
    assert METHODS["AD"] == {}
    assert METHODS["AD phi only"] == {"regularize": "phi"}


def test_rows_of_equal_training_differ_in_their_start_alone():
    ad = AntiDistilledMLPClassifier(**student_parameters(DIGITS, "AD", 600, 1198)).get_params()
    for method in KEPT:
        other = AntiDistilledMLPClassifier(**student_parameters(DIGITS, method, 600, 1198)).get_params()
        changed = {name for name in ad if ad[name] != other[name]}
        own = {"start", "freeze_iter", "hidden_layer_sizes", "lambda_teacher"}  # the last acts in phi only
        assert {"phi_max_iter", "max_iter"} <= changed <= {"phi_max_iter", "max_iter"} | own
        assert other["phi_max_iter"] == 0
        assert other["lambda_noise"] > 0


@given(
    st.integers(1, 70_000),
    st.integers(0, 70_000),
    st.integers(1, 300),
    st.sampled_from(KEPT + JOINT),
    st.booleans(),
)
def test_a_row_of_equal_training_has_at_least_ads_steps_and_less_than_an_epoch_more(
    n_old, n_new, batch, method, few
):
    n_rows = max(1, n_new // 100) if few else n_old + n_new
    protocol = replace(DIGITS, student={**DIGITS.student, "batch_size": batch}, rows=n_rows if few else None)
    ad, other = (student_parameters(protocol, m, n_old, n_rows) for m in ("AD", method))

    def steps(parameters):
        phi = AntiDistilledMLPClassifier(**parameters).phi_max_iter
        return phi * math.ceil(n_old / batch) + parameters["max_iter"] * steps_an_epoch(parameters, n_rows)

    asked = 760 if few else 40 * n_steps(n_rows, batch)
    budget = AntiDistilledMLPClassifier(**ad).phi_max_iter * math.ceil(n_old / batch) + asked
    assert budget > asked
    assert budget <= steps(other) < budget + steps_an_epoch(other, n_rows)
    assert budget <= steps(ad) < budget + steps_an_epoch(ad, n_rows)


@given(st.integers(1, 500), st.integers(2, 300), st.floats(0, 0.99))
def test_the_steps_of_an_epoch_are_those_that_fit_makes(n_rows, batch, share):
    found = steps_an_epoch({"batch_size": batch, "rehearse": share}, n_rows)
    size = min(batch, n_rows)
    new = size - min(round(share * size), size - 1)
    assert found == math.ceil(n_rows / new)
    assert steps_an_epoch({"batch_size": batch}, n_rows) <= found


def test_every_method_has_one_row_a_seed(rows):
    assert [(row["seed"], row["method"]) for row in rows] == [
        (s, m) for s in (0, 1) for m in methods_of(SHORT)
    ]


def test_a_seed_has_one_split_and_one_teacher_for_all_its_rows(monkeypatch):
    loaded = []
    monkeypatch.setitem(LOADERS, "digits", lambda seed: loaded.append(seed) or LOAD(seed))
    task_module._prepared.clear()
    rows = run_study(replace(SHORT, n_draws=1), [5, 6], methods=["Zero", "Uniform"])
    assert loaded == [5, 6]
    for seed in (5, 6):
        assert len({row["teacher_accuracy"] for row in rows if row["seed"] == seed}) == 1


LOAD = LOADERS["digits"]


def test_zero_and_net2net_start_with_their_teachers_answers_and_xavier_with_none(rows):
    for row in rows:
        if row["method"].startswith(("Zero", "Net2Net")):
            assert row["phi_accuracy"] == pytest.approx(row["teacher_accuracy"], abs=0.004)
            assert row["teacher_accuracy"] > 0.9
        assert math.isnan(row["phi_accuracy"]) == row["method"].startswith("Xavier")


def test_a_row_does_not_depend_on_the_other_rows_and_comes_out_again(rows):
    alone = run_study(SHORT, [1], methods=["AD"])
    assert same(alone, [find(rows, "AD", 1)])
    assert not same(alone, [{**find(rows, "AD", 0), "seed": 1}])


def test_runs_in_two_processes_are_those_of_one(rows):
    methods = ["Zero", "AD", "Net2Net + kept terms"]
    two = run_study(SHORT, [0, 1], methods=methods, n_jobs=2)
    assert [row["method"] for row in two] == methods * 2
    assert same(two, [find(rows, method, seed) for seed in (0, 1) for method in methods])


@pytest.mark.parametrize("method", ["Zero", "Xavier + kept terms", "Transfer + kept terms", "AD"])
def test_figures_are_what_a_user_of_the_rows_parameters_measures(rows, method):
    student, problem, teacher = fitted(SHORT, method)
    row, X, y = find(rows, method), problem.X_test, problem.y_test
    noise = student.robustness_score(X, y, "parameter_noise", 0.15, n_draws=2, random_state=1)
    assert row["accuracy"] == row["curve_accuracy"][-1] == student.score(X, y)
    assert row["fgsm"] == student.robustness_score(X, y, "fgsm", 0.0625)
    assert row["pgd"] == student.robustness_score(X, y, "pgd", 0.0625, n_steps=20, random_state=1)
    assert row["certified"] == student.robustness_score(X, y, "certified", 0.00625) > 0
    assert row["parameter_noise"] == noise
    assert row["old_classes"] == student.score(X[y < 5], y[y < 5]) != row["accuracy"]
    assert row["teacher_accuracy"] == teacher.score(X[y < 5], y[y < 5])
    sample = np.random.RandomState(1).permutation(len(X))[:500]
    assert row["trace"] == float(exact_trace(student.blueprint_, X[sample])) > 0
    assert row["phi_steps"] == len(student.phi_history_) * math.ceil(len(problem.y_old) / 64)
    assert row["steps"] == student.n_iter_ * math.ceil(len(problem.y) / 64)


@pytest.mark.parametrize("method", ["AD", "AD on D1+D2", "Xavier on D1+D2"])
def test_where_d2_is_small_d1_is_passed_whole(few_rows, method):
    student, problem, _ = fitted(FEW, method)
    row = find(few_rows, method)
    assert row["accuracy"] == student.score(problem.X_test, problem.y_test)
    assert (row["n_rows"], row["n_old"]) == (100, len(problem.y_old))
    assert row["n_old"] > 500


def test_rehearsed_rows_are_not_the_rows_on_d2(few_rows):
    for joint, alone in zip(JOINT, ("Xavier + kept terms", "Uniform + kept terms", "AD"), strict=True):
        assert find(few_rows, joint)["curve_accuracy"][1:] != find(few_rows, alone)["curve_accuracy"][1:]


@pytest.mark.filterwarnings("ignore:.*Maximum iterations")
@pytest.mark.parametrize(
    ("method", "independent"),
    [
        ("Xavier", True),
        ("Xavier + kept terms", True),
        ("Xavier on D1+D2", True),
        ("Uniform", False),
        ("Uniform on D1+D2", False),
    ],
)
def test_xavier_has_nothing_of_the_teacher_and_uniform_has(monkeypatch, method, independent):
    def accuracy(seed):
        problem = pose(FEW, FEW.load(1), 1)
        teacher = fit_teacher(FEW, FEW.load(1), seed)
        monkeypatch.setattr(task_module, "_prepare", lambda protocol, seed, data: (problem, teacher))
        row = run_method(FEW, method, 1)
        return row["accuracy"], row["trace"]

    assert (accuracy(1) == accuracy(2)) == independent


def test_the_curve_begins_before_the_first_step_and_phi_is_counted(rows):
    ad, kept = find(rows, "AD"), find(rows, "Uniform + kept terms")
    epoch = n_steps(ad["n_rows"], 64)
    assert ad["curve_epochs"] == [(ad["phi_steps"] + n * epoch) / epoch for n in range(4)]
    assert kept["curve_epochs"][:2] == [0, 1]
    for row in rows:
        assert row["curve_seconds"] == sorted(row["curve_seconds"])
        assert row["curve_seconds"][-1] <= row["seconds"]
        assert row["curve_epochs"][-1] == (row["phi_steps"] + row["steps"]) / epoch
    assert ad["curve_seconds"][0] > kept["curve_seconds"][0]


def test_the_clock_stands_still_while_accuracy_is_measured(monkeypatch):
    """By a clock that goes on by 1 at every look, and by 100 in every forward pass."""
    now = [0.0]

    def clock():
        now[0] += 1
        return now[0]

    monkeypatch.setattr("time.perf_counter", clock)
    problem = pose(SHORT, SHORT.load(0), 0)
    curve = LearningCurve(problem, n_epochs=3)

    class Slow(torch.nn.Module):
        def forward(self, X):
            now[0] += 100
            return torch.eye(10)[:1].expand(len(X), 10)

    for epoch in range(4):
        curve.add(Slow(), epoch)
    assert now[0] > 400
    assert curve.seconds == [1, 2, 3, 4]
    assert curve.total() == 5
    assert curve.accuracies == [float(np.mean(problem.y_test == 0))] * 4


@given(st.integers(1, 5000))
def test_long_curves_are_measured_at_some_epochs_and_always_at_the_last(n_epochs):
    problem = pose(SHORT, TINY, 0)
    curve = LearningCurve(problem, n_epochs)
    module = torch.nn.Linear(problem.X_test.shape[1], 10)
    for epoch in range(n_epochs + 1):
        curve.add(module, epoch)
    assert curve.epochs[0] == 0
    assert curve.epochs[-1] == n_epochs
    assert len(curve.epochs) <= MOST_POINTS + 2
    assert len(curve.epochs) == n_epochs + 1 or n_epochs > MOST_POINTS


TINY = replace(LOAD(0), X_test=LOAD(0).X_test[:3], y_test=LOAD(0).y_test[:3])


def test_each_phase_of_the_teacher_has_its_own_step_size():
    data = SHORT.load(1)

    def weights(*phases):
        return fit_quietly(replace(SHORT, teacher_phases=phases), data, 0).coefs_[0]

    one_phase = weights((2, 1e-2))
    assert_array_equal(weights((2, 1e-2), (2, 1e-30)), one_phase)
    assert not np.array_equal(weights((2, 1e-2), (2, 1e-3)), one_phase)


def test_a_watcher_is_told_of_every_run_and_of_the_order():
    told = []
    run_study(SHORT, [0], methods=["Zero", "Uniform"], watcher=lambda *args: told.append(args))
    runs = [Run(0, "Zero"), Run(0, "Uniform")]
    assert sorted(told) == sorted((run, what) for run in runs for what in ("began", "ended"))
    for run in runs:
        assert told.index((run, "began")) < told.index((run, "ended"))


def test_an_unknown_method_is_told_before_anything_runs(monkeypatch):
    monkeypatch.setattr(run_module, "run_method", lambda *args: pytest.fail("it ran"))
    with pytest.raises(KeyError, match="Glorot"):
        run_study(SHORT, [0], methods=["Zero", "Glorot"])


@pytest.mark.filterwarnings("ignore")
def test_a_student_that_cannot_be_fitted_is_named():
    """By a step size that diverges."""
    wild = replace(SHORT, student={**SHORT.student, "learning_rate_init": 1e30})
    with pytest.raises(StudyError, match="seed 0, Uniform: Training diverged"):
        run_study(wild, [0], methods=["Uniform"])


def test_ctrl_c_in_the_teachers_training_ends_the_study(monkeypatch):
    backprop, calls = MLPClassifier._backprop, []

    def pressed(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return backprop(self, *args, **kwargs)

    monkeypatch.setattr(MLPClassifier, "_backprop", pressed)
    task_module._prepared.clear()
    with pytest.raises(KeyboardInterrupt):
        run_study(SHORT, [0], methods=["Zero"])
    assert len(calls) == 7


def test_ctrl_c_between_two_epochs_of_a_student_ends_the_study(monkeypatch):
    epochs = []

    def pressed(self, module, epoch):
        epochs.append(epoch)
        if epoch == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(LearningCurve, "add", pressed)
    with pytest.raises(KeyboardInterrupt):
        run_study(SHORT, [0], methods=["Zero", "Uniform"])
    assert epochs == [0, 1]


def test_the_paper_s_protocol():
    protocol = PROTOCOLS["fashion-mnist"]
    assert protocol.teacher_phases == ((10, 1e-2), (20, 1e-3))
    assert (protocol.teacher["hidden_layer_sizes"], protocol.teacher["batch_size"]) == ((128, 64, 32), 256)
    assert protocol.student.items() >= {
        "hidden_layer_sizes": (256, 128, 64), "batch_size": 256, "max_iter": 10, "learning_rate_init": 1e-3
    }.items()  # fmt: skip
    assert (protocol.fgsm_epsilon, protocol.noise_epsilon, protocol.n_draws) == (0.018, 0.09, 10)


def test_protocols_name_no_term_of_the_objective():
    shared = set(DIGITS.student) | set(PROTOCOLS["fashion-mnist"].student)
    terms = ("lambda_", "delta", "neighborhood", "phi_", "start", "regularize", "trace", "parameter_noise")
    assert not [name for name in shared if name.startswith(terms)]


@pytest.mark.parametrize(
    "change",
    [
        {"rows": 100},
        {"teacher_classes": (0, 1)},
        {"teacher_features": 0.5},
        {"fgsm_epsilon": 0.1},
        {"student": {**DIGITS.student, "max_iter": 41}},
        {"n_draws": 9},
    ],
    ids=str,
)
def test_changed_settings_have_another_key(change):
    assert replace(DIGITS, **change).key != DIGITS.key
    assert replace(DIGITS).key == DIGITS.key


def test_changed_methods_and_versions_have_another_key_and_the_place_of_a_file_has_not(monkeypatch):
    key = DIGITS.key
    changed = replace(DIGITS, best={"lambda_noise": 0.7}).key
    monkeypatch.setattr("skantidistill.study.protocols.versions", lambda: {"torch": "1"})
    assert len({key, changed, DIGITS.key}) == 3
    file = replace(DIGITS, data="a.csv", digest="00")
    assert replace(file, data="b/c.csv", title="c").key == file.key != replace(file, digest="01").key


def test_a_setting_reaches_the_rows_of_anti_distillation_and_their_controls_only():
    plain, changed = DIGITS, replace(DIGITS, best={"delta": 0.5, "lambda_trace": 0.5, "phi_max_iter": 2})

    def settings(protocol, method):
        return student_parameters(protocol, method, n_old=600, n_rows=1198)

    reached = {method for method in METHODS if settings(plain, method) != settings(changed, method)}
    assert reached == {m for m in METHODS if m.startswith("AD") or m.endswith(("kept terms", "D1+D2"))}
    assert settings(changed, "AD")["phi_max_iter"] == 2
    assert settings(changed, "Uniform + kept terms")["phi_max_iter"] == 0
    assert settings(changed, "Uniform + kept terms")["delta"] == settings(changed, "AD")["delta"] == 0.5
    # The defaults' five epochs of phi are two now: so much less of D2 have those that have no phi.
    epochs = {p: settings(p, "Uniform + kept terms")["max_iter"] for p in (plain, changed)}
    assert epochs[plain] > epochs[changed]


def test_on_validation_no_test_row_is_seen_and_every_training_row_is_used_once():
    whole, inner = DIGITS.load(3), replace(DIGITS, on_validation=True).load(3)
    both = np.concatenate([inner.X_train, inner.X_test])
    assert_array_equal(np.sort(both, axis=0), np.sort(whole.X_train, axis=0))
    assert len(inner.y_test) == round(0.2 * len(whole.y_train))
    shares = [np.bincount(y) / len(y) for y in (inner.y_train, inner.y_test)]
    assert_allclose(*shares, atol=0.01)
    assert replace(DIGITS, on_validation=True).key != DIGITS.key
    again = replace(DIGITS, on_validation=True).load(3)
    assert_array_equal(again.X_test, inner.X_test)


def test_stronger_perturbations_leave_less(rows, few_rows):
    for row in (*rows, *few_rows):
        assert row["pgd"] <= row["fgsm"] < row["fgsm_curve"][0] == row["accuracy"]
        assert row["certified"] <= row["accuracy"]
        assert row["parameter_noise_curve"][0] == pytest.approx(row["accuracy"])
        for column in ("fgsm", "parameter_noise"):
            assert len(row[f"{column}_curve"]) == 10
            assert row[f"{column}_curve"][-1] == row[column]
    assert np.mean([row["parameter_noise"] for row in rows]) < np.mean([row["accuracy"] for row in rows])


def test_curves_are_at_the_strengths_of_the_paper():
    assert_allclose(np.linspace(0, 0.018, N_STRENGTHS), np.arange(10) * 0.002)
    assert_allclose(np.linspace(0, 0.09, N_STRENGTHS), np.arange(10) * 0.01)


def test_criteria_have_columns_of_their_own():
    assert len({criterion.column for criterion in CRITERIA}) == len(CRITERIA)
    assert CRITERIA[0].kind is None
