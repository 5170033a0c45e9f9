"""Laws of the study: fair rows, fixed budgets, figures that a user can measure again, honest tables."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn.neural_network import MLPClassifier

from skantidistill import AntiDistilledMLPClassifier
from skantidistill.study import METHODS, PROTOCOLS, TABLES, as_text, run_study, student_parameters, summarise
from skantidistill.study.protocols import n_steps
from skantidistill.study.run import fit_teacher, run_method

DIGITS = PROTOCOLS["digits"]
SHORT = replace(DIGITS, teacher_phases=((15, 1e-2),), student={**DIGITS.student, "max_iter": 3}, n_draws=2)
OTHERS = [method for method in METHODS if method != "AD"]
KEPT = [method for method in TABLES["equal training"] if method != "AD"]


def silent(doing, share):
    """Tell nobody."""


def without_seconds(rows):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def same(one, other):
    """Whether tidy rows are equal but for seconds; NaN equals NaN."""
    return repr(without_seconds(one)) == repr(without_seconds(other))


@pytest.fixture(scope="module")
def study():
    """The rows of two seeds, the seeds whose data were loaded, and what was told meanwhile."""
    loaded, told = [], []

    def load(seed):
        loaded.append(seed)
        return SHORT.load(seed)

    rows = run_study(replace(SHORT, load=load), [0, 1], notify=lambda *args: told.append(args))
    return rows, loaded, told


@pytest.fixture(scope="module")
def rows(study):
    return study[0]


@pytest.fixture(scope="module")
def seed_one():
    """Data and teacher of seed 1."""
    data = SHORT.load(1)
    return data, fit_quietly(SHORT, data, 1)


def fit_quietly(protocol, data, seed):
    with pytest.warns(match="Maximum iterations"):
        return fit_teacher(protocol, data, seed, silent)


def test_every_method_has_one_row_a_seed(rows):
    assert [(row["seed"], row["method"]) for row in rows] == [(s, m) for s in (0, 1) for m in METHODS]


def test_a_seed_has_one_split_and_one_teacher_for_all_its_rows(study):
    rows, loaded, _ = study
    assert loaded == [0, 1]
    for seed in (0, 1):
        assert len({row["teacher_accuracy"] for row in rows if row["seed"] == seed}) == 1


def test_zero_starts_with_its_teachers_answers_and_xavier_with_none(rows):
    for row in rows:
        if row["method"].startswith("Zero"):
            assert row["phi_accuracy"] == row["teacher_accuracy"] > 0.9
        assert math.isnan(row["phi_accuracy"]) == row["method"].startswith("Xavier")


def test_a_row_does_not_depend_on_the_other_rows_and_comes_out_again(rows):
    alone = run_study(SHORT, [1], methods=["AD"])
    assert same(alone, [row for row in rows if (row["method"], row["seed"]) == ("AD", 1)])
    assert not same(alone, [{**row, "seed": 1} for row in rows if (row["method"], row["seed"]) == ("AD", 0)])


@pytest.mark.parametrize("method", ["Zero", "Xavier + kept terms", "AD"])
def test_figures_are_what_a_user_of_the_rows_parameters_measures(rows, seed_one, method):
    data, teacher = seed_one
    known = data.y_train < 5
    parameters = student_parameters(SHORT, method, known.sum(), len(known))
    student = AntiDistilledMLPClassifier(**{"teacher": teacher, **parameters}, random_state=1)
    with pytest.warns(match="Maximum iterations"):
        student.fit(data.X_train, data.y_train)
    (row,) = [row for row in rows if (row["method"], row["seed"]) == (method, 1)]
    X, y = data.X_test, data.y_test
    noise = student.robustness_score(X, y, "parameter_noise", 0.15, n_draws=2, random_state=1)
    assert row["accuracy"] == student.score(X, y)
    assert row["fgsm"] == student.robustness_score(X, y, "fgsm", 0.0625)
    assert row["parameter_noise"] == noise
    assert row["phi_steps"] == len(student.phi_history_) * math.ceil(known.sum() / 64)
    assert row["steps"] == student.n_iter_ * math.ceil(len(known) / 64)


@pytest.mark.filterwarnings("ignore:Maximum iterations")
def test_xavier_has_nothing_of_the_teacher_and_uniform_has(seed_one):
    data, teacher = seed_one
    other = fit_quietly(SHORT, data, 2)
    for method, independent in (("Xavier", True), ("Xavier + kept terms", True), ("Uniform", False)):
        one, two = (run_method(SHORT, data, t, method, 1, silent)["accuracy"] for t in (teacher, other))
        assert (one == two) == independent


@given(st.integers(1, 70_000), st.integers(0, 70_000), st.integers(1, 300), st.sampled_from(KEPT))
def test_a_row_without_phi_has_at_least_ads_steps_and_less_than_an_epoch_more(n_old, n_new, batch, method):
    n_rows = n_old + n_new
    protocol = replace(DIGITS, student={**DIGITS.student, "batch_size": batch})
    ad, other = (student_parameters(protocol, m, n_old, n_rows) for m in ("AD", method))
    phi_epochs = AntiDistilledMLPClassifier(**ad).phi_max_iter
    epoch = n_steps(n_rows, batch)
    budget = phi_epochs * math.ceil(n_old / batch) + ad["max_iter"] * epoch
    assert phi_epochs > 0
    assert budget <= other["max_iter"] * epoch < budget + epoch


def test_rows_of_equal_training_have_ads_terms_and_rows_as_published_have_none():
    ad = AntiDistilledMLPClassifier(**student_parameters(DIGITS, "AD", 600, 1198)).get_params()
    for method in OTHERS:
        other = AntiDistilledMLPClassifier(**student_parameters(DIGITS, method, 600, 1198)).get_params()
        changed = {name for name in ad if ad[name] != other[name]} - {"start", "phi_max_iter"}
        assert other["phi_max_iter"] == 0
        plain = {"lambda_noise", "lambda_trace", "new_outputs"}
        assert changed == ({"max_iter"} if method in KEPT else plain)
        assert (other["lambda_noise"], other["lambda_trace"]) == (0, 0) or method in KEPT


def test_ad_is_the_estimator_with_its_defaults():
    assert METHODS["AD"] == {}
    shared = set(DIGITS.student) | set(PROTOCOLS["fashion-mnist"].student)
    terms = (
        "lambda_",
        "delta",
        "neighborhood",
        "phi_",
        "start",
        "regularize",
        "trace",
        "parameter_noise_std",
    )
    assert not [name for name in shared if name.startswith(terms)]


def test_each_phase_of_the_teacher_has_its_own_step_size(seed_one):
    data, _ = seed_one

    def weights(*phases):
        return fit_quietly(replace(SHORT, teacher_phases=phases), data, 0).coefs_[0]

    one_phase = weights((2, 1e-2))
    assert_array_equal(weights((2, 1e-2), (2, 1e-30)), one_phase)
    assert not np.array_equal(weights((2, 1e-2), (2, 1e-3)), one_phase)


def test_the_shares_that_are_told_add_up_and_name_every_run(study):
    told = study[2]
    assert sum(share for _, share in told) == pytest.approx(2 * (1 + len(METHODS)))
    doings = {doing for doing, _ in told}
    assert {f"seed {seed}: {method}" for seed in (0, 1) for method in ("teacher", *METHODS)} <= doings


def test_ctrl_c_in_the_teachers_training_ends_the_study(monkeypatch):
    backprop, calls = MLPClassifier._backprop, []

    def pressed(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return backprop(self, *args, **kwargs)

    monkeypatch.setattr(MLPClassifier, "_backprop", pressed)
    with pytest.raises(KeyboardInterrupt):
        run_study(SHORT, [0], methods=["Zero"])
    assert len(calls) == 7


def test_ctrl_c_between_two_epochs_of_a_student_ends_the_study():
    epochs = []

    def pressed(doing, share):
        if doing.endswith("Zero") and share:
            epochs.append(doing)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study(SHORT, [0], methods=["Zero", "Uniform"], notify=pressed)
    assert len(epochs) == 1


def test_the_paper_s_protocol():
    protocol = PROTOCOLS["fashion-mnist"]
    assert protocol.teacher_phases == ((10, 1e-2), (20, 1e-3))
    assert (protocol.teacher["hidden_layer_sizes"], protocol.teacher["batch_size"]) == ((128, 64, 32), 256)
    assert protocol.student.items() >= {
        "hidden_layer_sizes": (256, 128, 64), "batch_size": 256, "max_iter": 10, "learning_rate_init": 1e-3
    }.items()  # fmt: skip
    assert (protocol.fgsm_epsilon, protocol.noise_epsilon, protocol.n_draws) == (0.018, 0.09, 10)


def table_of(accuracies):
    """A tidy table whose criteria are all the given accuracies, method -> one a seed."""
    return [
        {
            "method": method,
            "seed": seed,
            "accuracy": accuracy,
            "fgsm": accuracy,
            "parameter_noise": accuracy,
            "phi_steps": 0,
            "steps": 10,
            "seconds": 1.0,
            "teacher_accuracy": 0.9,
            "phi_accuracy": 0.9,
        }
        for method, values in accuracies.items()
        for seed, accuracy in enumerate(values)
    ]


def all_alike(values):
    return dict.fromkeys(METHODS, values)


def test_summary_is_mean_and_sample_deviation():
    summary = summarise(table_of({"AD": [0.2, 0.4, 0.9], "Zero": [0.1]}), "fgsm")
    assert summary["AD"] == pytest.approx((0.5, math.sqrt((0.09 + 0.01 + 0.16) / 2)))
    assert summary["Zero"][0] == 0.1
    assert math.isnan(summary["Zero"][1])


def test_ad_is_compared_by_seed_with_the_best_other_row_of_the_same_table():
    accuracies = all_alike([0.1, 0.2]) | {"AD": [0.5, 0.9]}
    accuracies |= {"Zero": [0.3, 0.6], "Uniform + kept terms": [0.7, 0.8]}
    lines = as_text(table_of(accuracies), DIGITS, "").splitlines()
    published, equal = (line for line in lines if line.startswith("AD - best other"))
    # 0.2 and 0.3 against Zero, -0.2 and 0.1 against Uniform.
    assert re.findall(r"\S+ ± \S+", published) == ["+0.250 ± 0.071"] * 3
    assert re.findall(r"\S+ ± \S+", equal) == ["-0.050 ± 0.212"] * 3


def test_one_seed_has_no_spread_and_says_so():
    one, two = (as_text(table_of(all_alike(values)), DIGITS, "") for values in ([0.5], [0.5] * 2))
    assert "±" not in one
    assert "one seed only" in one
    assert two.count("±") > 24
    assert "one seed only" not in two


def test_both_tables_say_what_they_do_not_show():
    text = as_text(table_of(all_alike([0.5, 0.6])), DIGITS, "the command")
    published, equal = text.split("Equal training")
    assert published.count("Does not show") == equal.count("Does not show") == 1
    for table, part in (("as published", published), ("equal training", equal)):
        assert all(re.search(f"^{re.escape(method)}  ", part, re.M) for method in TABLES[table])
    assert "the command\nPython " in equal
    assert max(map(len, text.splitlines())) <= 100
