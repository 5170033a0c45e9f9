"""Robustness as a scorer of scikit-learn's tools: the same number in searches, processes and routing."""

import pickle
import re

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skantidistill import make_robustness_scorer, robustness_score
from tests.test_robustness import fit_mlp, make_rows

CV = KFold(3)
NOISE = make_robustness_scorer("parameter_noise", 0.5, n_draws=3, random_state=7)


def model(**params):
    return LogisticRegression(max_iter=1000, **params)


def test_a_scorer_is_the_score():
    mlp, (X, y) = fit_mlp(), make_rows()
    weight = np.linspace(0.1, 2, len(y))
    settings = {"n_steps": 3, "n_restarts": 2, "norm": "l2", "mutable": [True, False, True, True]}
    settings |= {"scoring": "balanced_accuracy", "bounds": (-20, 20), "random_state": 4}
    scorer = make_robustness_scorer("pgd", 0.5, **settings)
    assert scorer(mlp, X, y) == robustness_score(mlp, X, y, "pgd", 0.5, **settings)
    weighted = scorer(mlp, X, y, sample_weight=weight)
    assert weighted == robustness_score(mlp, X, y, "pgd", 0.5, sample_weight=weight, **settings)
    assert len({scorer(mlp, X, y), weighted, make_robustness_scorer()(mlp, X, y)}) == 3


def test_a_scorer_says_the_same_every_time_after_pickling_and_cloning():
    mlp, (X, y) = fit_mlp(), make_rows()
    expected = NOISE(mlp, X, y)
    for scorer in (NOISE, pickle.loads(pickle.dumps(NOISE)), clone(NOISE)):
        assert scorer(mlp, X, y) == expected
    assert make_robustness_scorer("parameter_noise", 0.5, n_draws=3, random_state=8)(mlp, X, y) != expected
    assert make_robustness_scorer("input_noise", 1.0)(mlp, X, y) == make_robustness_scorer(
        "input_noise", 1.0
    )(mlp, X, y)
    assert repr(NOISE) == ("RobustnessScorer(epsilon=0.5, kind='parameter_noise', n_draws=3, random_state=7)")


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_several_scorers_in_a_search_and_in_other_processes(n_jobs):
    X, y = make_rows()
    scoring = {"accuracy": "accuracy", "attacked": make_robustness_scorer("fgsm", 0.3), "noise": NOISE}
    search = GridSearchCV(model(), {"C": [1e-3, 1]}, scoring=scoring, refit="attacked", cv=CV, n_jobs=n_jobs)
    search.fit(X, y)
    for index, C in enumerate([1e-3, 1]):
        for fold, (train, test) in enumerate(CV.split(X)):
            fitted = model(C=C).fit(X[train], y[train])
            for name in ("attacked", "noise"):
                got = search.cv_results_[f"split{fold}_test_{name}"][index]
                assert got == scoring[name](fitted, X[test], y[test])
    attacked = search.cv_results_["mean_test_attacked"]
    assert search.best_index_ == attacked.argmax()
    assert np.ptp(attacked) > 0
    assert search.score(X, y) == scoring["attacked"](search.best_estimator_, X, y)
    assert (attacked < search.cv_results_["mean_test_accuracy"]).all()
    assert clone(search).scoring["noise"].random_state == 7


def test_pipelines_are_attacked_in_raw_units():
    X, y = make_rows()
    X = X * [1, 100, 1, 1]
    pipeline = make_pipeline(StandardScaler(), model())
    got = cross_val_score(pipeline, X, y, scoring=make_robustness_scorer("fgsm", [0.3, 30, 0.3, 0.3]), cv=CV)
    same = cross_val_score(
        pipeline, X / [1, 100, 1, 1], y, scoring=make_robustness_scorer("fgsm", 0.3), cv=CV
    )
    assert_array_equal(got, same)


def test_weights_are_routed_to_a_scorer_that_asks():
    X, y = make_rows()
    weight = np.linspace(0.1, 5, len(y))
    with config_context(enable_metadata_routing=True):
        asking = make_robustness_scorer("fgsm", 0.3).set_score_request(sample_weight=True)
        ignoring = make_robustness_scorer("fgsm", 0.3).set_score_request(sample_weight=False)
        results = cross_validate(
            model().set_fit_request(sample_weight=False),
            *(X, y),
            scoring={"asking": asking, "ignoring": ignoring, "cloned": clone(asking)},
            cv=CV,
            params={"sample_weight": weight},
        )
        undecided = make_robustness_scorer("fgsm", 0.3)
        with pytest.raises(ValueError, match="not explicitly set as requested or not"):
            cross_validate(
                model().set_fit_request(sample_weight=False),
                *(X, y),
                scoring=undecided,
                cv=CV,
                params={"sample_weight": weight},
                error_score="raise",
            )
    for fold, (train, test) in enumerate(CV.split(X)):
        fitted = model().fit(X[train], y[train])
        plain = robustness_score(fitted, X[test], y[test], "fgsm", 0.3)
        weighted = robustness_score(fitted, X[test], y[test], "fgsm", 0.3, sample_weight=weight[test])
        assert results["test_asking"][fold] == results["test_cloned"][fold] == weighted
        assert results["test_ignoring"][fold] == plain
        assert weighted != plain


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            {"kind": "fog"},
            "kind='fog' is unknown; use one of ['certified', 'fgsm', 'input_noise', 'parameter_noise', ",
        ),
        ({"kind": "fgsm", "n_steps": 3}, "n_steps=3 is no parameter of kind='fgsm', but of ['pgd']"),
        ({"kind": "pgd", "n_draws": 0}, "n_draws=0 must be an integer of at least 1."),
        ({"scoring": "niceness"}, "scoring='niceness' is unknown; use a name in"),
        ({"kind": "pgd", "epsilon": -1}, "epsilon=-1 must be finite and not negative."),
        ({"epsilon": np.nan}, "epsilon=nan must be finite and not negative."),
        ({"epsilon": [0.1, -2.0]}, "epsilon is -2.0 for feature 1; it must be finite and not negative."),
        ({"kind": "pgd", "step_size": -1}, "step_size=-1 must be finite and not negative."),
        ({"kind": "pgd", "step_size": 0}, "step_size=0 has a step of length 0"),
        ({"bounds": 3}, "bounds=3 is not a pair (low, high) of numbers"),
        ({"bounds": (1, 0)}, "bounds=(1, 0) must have low < high for every feature."),
    ],
)
def test_bad_values_are_refused_when_the_scorer_is_made(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make_robustness_scorer(**call)


def test_strengths_by_feature_are_checked_with_the_data():
    X, y = make_rows()
    assert 0 < make_robustness_scorer("fgsm", [0.1, 0, 0, 0])(fit_mlp(), X, y) < 1
    short = make_robustness_scorer("fgsm", [0.1, 0])
    with pytest.raises(ValueError, match=re.escape("epsilon has shape (2,), but X has 4 features; give")):
        short(fit_mlp(), X, y)
    with pytest.raises(TypeError, match=re.escape("epsilon='much' is no number; give a number >= 0")):
        make_robustness_scorer("fgsm", "much")


@pytest.mark.skipif(
    not hasattr(GridSearchCV, "_check_scorers_accept_sample_weight"),
    reason="this release of scikit-learn hands on no weights without routing",
)
def test_searches_hand_on_weights_without_routing():
    X, y = make_rows()
    weight = np.linspace(0.1, 5, len(y))
    attacked = make_robustness_scorer("fgsm", 0.3)
    for scoring, name in ((attacked, "score"), ({"attacked": attacked, "accuracy": "accuracy"}, "attacked")):
        search = GridSearchCV(model(), {"C": [1]}, scoring=scoring, refit=name != "score" and name, cv=CV)
        search.fit(X, y, sample_weight=weight)
        for fold, (train, test) in enumerate(CV.split(X)):
            fitted = model(C=1).fit(X[train], y[train], sample_weight=weight[train])
            got = search.cv_results_[f"split{fold}_test_{name}"][0]
            assert got == attacked(fitted, X[test], y[test], weight[test])
            assert got != attacked(fitted, X[test], y[test])
