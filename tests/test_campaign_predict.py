"""Campaigns of bad input to fitted students and other classifiers: answers, scores under attack, attacks."""

import warnings
from functools import cache

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import issparse
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.svm import SVC

from skantidistill import AntiDistilledMLPClassifier, adversarial_examples, robustness_curve, robustness_score
from skantidistill.measures import ATTACKS, KINDS
from tests.campaigns import campaign, case, outcomes
from tests.hostile import (
    BAD,
    GOOD,
    LABELS,
    ODD,
    PARAMETERS,
    TEXTS,
    Kind,
    Part,
    Refuses,
    choice,
    count,
    fitted,
    frame,
    labels,
    matrices,
    parameters,
    per_feature,
    points,
    weights,
)
from tests.lawful import attempt, fingerprint

DOCUMENTED = (TypeError, ValueError)
SAID_OF = {
    "y": r"\by\b|labels",
    "estimator": r"can't be read|not fitted",
}
ANSWERS = ["predict", "predict_proba", "predict_log_proba", "decision_function", "score"]


def blame(parts):
    """Return the expression of what an error may be about: the parts that are not good."""
    wrong = [name for name, part in parts.items() if part.verdict != GOOD]
    return "|".join(SAID_OF.get(name, rf"\b{name}\b") for name in wrong) or "(?!)"


def assert_fair(ended, parts):
    """Check that what is bad was refused and what is good was not."""
    verdicts = {part.verdict for part in parts.values()}
    if ended.error is None:
        assert BAD not in verdicts, {name: part for name, part in parts.items() if part.verdict == BAD}
    else:
        assert verdicts != {GOOD}, ended.error
    outcomes[ended.how] += 1


@cache
def student(kind, teacher, single=False, named=False, settings=()):
    """Return a fitted student of three classes."""
    X, codes = points()
    X = X.astype(np.float32) if single else X
    grown = AntiDistilledMLPClassifier(
        None if teacher == "none" else fitted(teacher, kind),
        teacher_classes=LABELS[kind][:2] if teacher == "torch" else None,
        **{"hidden_layer_sizes": (7,), "max_iter": 20, "tol": 1e3, "random_state": 0, **dict(settings)},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the teacher has no names
        return grown.fit(frame(X) if named else X, LABELS[kind][codes])


@st.composite
def students(draw, kind):
    teacher = draw(st.sampled_from(["none", "mlp", "pipeline"]))
    return student(kind, teacher, draw(st.booleans()), draw(st.sampled_from([False, False, True])))


@campaign(3000, done=0.2, refused=0.2)
@given(st.data())
def test_a_student_answers_or_refuses_anything(data):
    draw = data.draw
    kind = draw(st.sampled_from(sorted(LABELS)))
    model, answer = draw(students(kind)), draw(st.sampled_from(ANSWERS))
    parts = {"X": draw(matrices(shares=(2, 1, 2)))}
    if answer == "score":
        parts["X"] = draw(st.sampled_from([Part(points()[0], GOOD), parts["X"]]))
        parts |= {"y": draw(labels(kind, (1, 0, 1))), "sample_weight": draw(weights())}
        if parts["y"].name.startswith(
            ("missing", "infinity", "NaN")
        ):  # of which numpy warns within scikit-learn
            parts["y"] = Part(None, BAD)
        # scikit-learn's own accuracy takes what it takes, and does not always name it.
        parts["y"], parts["sample_weight"] = (
            parts[name]._replace(verdict=ODD) for name in ("y", "sample_weight")
        )
    elif parts["X"].name == "a row less":
        parts["X"] = parts["X"]._replace(verdict=GOOD)
    before, inputs = fingerprint(vars(model)), [part.value for part in parts.values()]
    wrong = "" if answer == "score" else blame(parts)
    with case(60):
        ended = attempt(lambda: getattr(model, answer)(*inputs), DOCUMENTED, wrong, *inputs)
    assert fingerprint(vars(model)) == before
    assert_fair(ended, parts)
    if ended.error is None:
        assert_answers(answer, ended.value, model, n_rows(inputs[0]))


def n_rows(X):
    return X.shape[0] if hasattr(X, "shape") else len(X)


def assert_answers(answer, found, model, n):
    n_classes = len(model.classes_)
    if answer == "score":
        assert 0 <= found <= 1
        return
    assert found.shape == {"predict": (n,)}.get(answer, (n, n_classes))
    if answer == "predict":
        assert np.isin(found, model.classes_).all()
        return
    assert not np.isnan(found).any()
    if answer == "predict_proba":
        # The softmax is computed in the wider precision of X and the parameters.
        np.testing.assert_allclose(found.sum(axis=1), 1, rtol=0, atol=1e-5)
        assert ((found >= 0) & (found <= 1)).all()
    if answer == "predict_log_proba":
        assert (found <= 0).all()
    if answer == "decision_function":
        assert np.isfinite(found).all()


# --- Under attack ---------------------------------------------------------------------------------------

EPSILON = per_feature(0, 0.0, 0.1, np.float32(0.1), 1)
SETTINGS = {
    "kind": choice("fgsm", "pgd", "input_noise", "certified", bad=["FGSM", None, ("fgsm",), np.str_("pgdd")]),
    "epsilon": EPSILON,
    "norm": choice(None, odd=["linf", "l2"], bad=["l1"]),
    "n_steps": count(None, 1, 2, np.int8(3), zero=False),
    "step_size": Kind([None], [0.1, *EPSILON.good, *EPSILON.odd], [v for v in EPSILON.bad if v is not None]),
    "n_restarts": count(None, 1, zero=False, odd=[2]),
    "random_start": Kind([None], [True, False, np.False_], ["yes", 1, [], np.nan, object(), TEXTS[5]]),
    "distribution": choice(None, odd=["uniform", "normal"]),
    "relative": Kind([None], [True, False, np.True_], ["yes", 1, [], np.nan]),
    "mutable": Kind(
        [None],
        [
            [True, False, True],
            np.array([True] * 3),
            pd.Series([True] * 3),
            pd.Series([True] * 3, index=["a", "b", "c"]),
        ],
        [
            [False] * 3,
            [True] * 2,
            [1, 0, 1],
            "abc",
            True,
            [[True] * 3],
            object(),
            [None] * 3,
            Refuses(),
            [[True], [1, 2]],
        ],
    ),
    "bounds": Kind(
        [None, (-99, 99), (-np.inf, np.inf), ([-99.0] * 3, 99)],
        [(0, 1), (-1e300, 1e300), (pd.Series([-99.0] * 3), 99)],
        [
            3,
            (1, 0),
            (0, 0),
            (0,),
            (0, 1, 2),
            "01",
            (None, 1),
            (np.nan, 1),
            ([0] * 4, 1),
            object(),
            {},
            (Refuses(), 1),
        ],
    ),
    "scoring": Kind(
        [None],
        ["accuracy", "balanced_accuracy", "roc_auc_ovr", "neg_log_loss"],
        ["AUC", 3, [], object(), np.nan, *TEXTS],
    ),
    "n_draws": count(1, 2, 3, zero=False),
    "random_state": PARAMETERS["random_state"],
}


@cache
def victim(kind, of):
    """Return a classifier that can be attacked, or that can't."""
    X, codes = points()
    y = LABELS[kind][codes]
    makers = {
        "linear": lambda: LogisticRegression().fit(X, y),
        "mlp": lambda: MLPClassifier((3,), solver="lbfgs", max_iter=200, random_state=0).fit(X, y),
        "single": lambda: student(kind, "none", single=True),
        "student": lambda: student(kind, "mlp"),
        "scaled": lambda: student(kind, "pipeline"),
        "bounded": lambda: student(kind, "linear", settings=(("bounds", (-50, 50)),)),
        "named": lambda: student(kind, "linear", named=True),
        "unfitted": LogisticRegression,
        "unfitted student": AntiDistilledMLPClassifier,
        "another kind": lambda: SVC().fit(X, y),
        "text": lambda: "estimator",
        "nothing": lambda: None,
    }
    return makers[of]()


GOOD_VICTIMS = ["linear", "mlp", "single", "student", "scaled", "bounded", "named"]
BAD_VICTIMS = ["unfitted", "unfitted student", "another kind", "text", "nothing"]
WAYS = ["score", "curve", "examples"]


@campaign(5000, done=0.2, refused=0.2)
@given(st.data())
def test_attacks_and_noise_measure_or_refuse_anything(data):
    draw = data.draw
    labels_of = draw(st.sampled_from(sorted(LABELS)))
    X, codes = points()
    verdict = draw(st.sampled_from([GOOD] * 9 + [BAD]))
    of = draw(st.sampled_from(GOOD_VICTIMS if verdict == GOOD else BAD_VICTIMS))
    parts = {
        "estimator": Part(victim(labels_of, of), verdict, of),
        "X": Part(X, GOOD),
        "y": Part(LABELS[labels_of][codes], GOOD),
    }
    drawn = {
        "X": matrices(),
        "y": labels(labels_of),
        "sample_weight": weights(),
        "settings": parameters(SETTINGS, most=5),
    }
    for name in draw(st.lists(st.sampled_from(sorted(drawn)), min_size=1, max_size=3, unique=True)):
        value = draw(drawn[name])
        parts |= value if name == "settings" else {name: value}
    way = draw(st.sampled_from(WAYS))
    call(draw, way, of, parts)


def call(draw, way, of, parts):
    """Attack, hold the law, and check what a success means."""
    function = {"score": robustness_score, "curve": robustness_curve, "examples": adversarial_examples}[way]
    left_out = {"examples": ["sample_weight", "scoring", "n_draws", "distribution", "relative"]}.get(way, [])
    parts = {name: part for name, part in parts.items() if name not in left_out}
    arguments = {name: part.value for name, part in parts.items()}
    if way == "curve" and "epsilon" in arguments:
        arguments["epsilons"] = [0, arguments.pop("epsilon")]
    if of in ("bounded", "named", "student") and draw(st.booleans()):
        function = getattr(arguments.pop("estimator"), function.__name__)
    judged = judge(parts, way)
    with case(60):
        ended = attempt(lambda: function(**arguments), DOCUMENTED, blame(judged), *arguments.values())
    assert_fair(ended, judged)
    if ended.error is None:
        X = parts["X"].value
        kind = arguments.get("kind", "fgsm")
        assert_measured(way, ended.value, X, kind, arguments)


def judge(parts, way):
    """Return the parts with the verdicts that they have together."""
    judged = dict(parts)
    kind = parts["kind"].value if "kind" in parts else "fgsm"
    if parts["X"].name == parts["y"].name == "a row less":
        judged |= {name: parts[name]._replace(verdict=GOOD) for name in ("X", "y")}
        judged["sample_weight"] = parts.get("sample_weight", parts["X"])._replace(verdict=ODD)
    if parts["y"].name == "one class":
        judged["y"] = parts["y"]._replace(verdict=GOOD)
    if way == "examples" and not (isinstance(kind, str) and kind in ATTACKS):
        judged["kind"] = parts["kind"]._replace(verdict=BAD)
    if not isinstance(kind, str) or kind not in KINDS:
        return judged
    for name in parts.keys() & set().union(*(known.defaults for known in KINDS.values())):
        if parts[name].value is not None and name not in KINDS[kind].defaults:
            judged[name] = parts[name]._replace(verdict=BAD)
    return judged


def assert_measured(way, found, X, kind, arguments):
    unscored = arguments.get("scoring") is None
    if way == "score":
        assert isinstance(found, float)
        assert 0 <= found <= 1 or not unscored
    elif way == "curve":
        assert found.scores.shape == (len(found.epsilons),)
        assert ((found.scores >= 0) & (found.scores <= 1)).all() or not unscored
        assert not np.isnan(found.draws).any() or not unscored
    else:
        X = np.asarray(X.toarray() if issparse(X) else X, dtype=float)
        assert found.shape == X.shape
        assert np.isfinite(found).all()
        assert (np.abs(found - X) <= budget(X, arguments) * (1 + 1e-5) + 1e-6 * np.abs(X) + 1e-6).all()


def budget(X, arguments):
    """Return how far a feature may move."""
    epsilon = arguments.get("epsilon", 0.1)
    return np.asarray(epsilon, dtype=float) * np.ones(X.shape[1])
