"""Campaigns of bad input to ``fit`` and ``partial_fit``: taken or refused, and nothing in between."""

import contextlib
import copy
import io
import math
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skantidistill import AntiDistilledMLPClassifier
from tests.campaigns import campaign, case, outcomes
from tests.hostile import (
    BAD,
    GOOD,
    LABELS,
    ODD,
    PARAMETERS,
    Part,
    classes,
    labels,
    masks,
    matrices,
    old_data,
    parameters,
    points,
    teachers,
    weights,
)
from tests.lawful import attempt, fingerprint, listing

DOCUMENTED = (TypeError, ValueError)
#: What errors say of parts, if not their names; ``_checks.told_of`` names X and y in those of scikit-learn.
SAID_OF = {
    "y": r"\by\b|one class only|labels that the teacher doesn't know",
    "classes": r"\bclasses\b|one class only|no output for",
    "teacher": r"\bteacher\b|can't be read|do not make one network"
    r"|of LogisticRegression must be|Cannot center sparse",  # what an unfitted one says itself
    "early_stopping": r"early_stopping|validation_fraction",
}
#: Odd ones among these may be so large that training diverges.
MAGNITUDES = {
    *("X", "sample_weight", "teacher_data", "delta", "bounds", "lambda_ce", "lambda_teacher", "lambda_noise"),
    *("lambda_trace", "alpha", "parameter_noise_std", "learning_rate_init", "phi_learning_rate_init"),
}
BASE = {"hidden_layer_sizes": (7,), "max_iter": 2, "phi_max_iter": 1, "batch_size": 9, "random_state": 0}


@pytest.fixture(scope="module", autouse=True)
def elsewhere(tmp_path_factory):
    """Run in an empty folder, to see what is written there."""
    before, folder = Path.cwd(), tmp_path_factory.mktemp("elsewhere")
    os.chdir(folder)
    yield folder
    os.chdir(before)
    assert listing(folder) == {}


def blame(parts):
    """Return the expression of what an error may be about: the parts that are not good."""
    wrong = [name for name, part in parts.items() if part.verdict != GOOD]
    words = [SAID_OF.get(name, rf"\b{name}\b") for name in wrong]
    words += ["^Training diverged"] * any(name in MAGNITUDES and parts[name].verdict == ODD for name in wrong)
    said = "|".join(words) or "(?!)"
    # "X: " begins what scikit-learn says without a name: of y it has one.
    return said if "X" in wrong else rf"^(?!X: )(?s:.*)(?:{said})"


def state(student):
    return {name: fingerprint(value) for name, value in vars(student).items()}


def attempt_to_fit(student, method, parts, *inputs, **keywords):
    """Call a method that fits, hold the law, and count how it ended."""
    before, wrong = state(student), blame(parts)
    with case(60), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        ended = attempt(
            lambda: getattr(student, method)(*inputs, **keywords), DOCUMENTED, wrong, *inputs, keywords
        )
    verdicts = {part.verdict for part in parts.values()}
    if ended.error is None:
        assert BAD not in verdicts, {name: part.value for name, part in parts.items() if part.verdict == BAD}
        assert ended.value is student
        assert_sound(student)
    else:
        assert verdicts != {GOOD}, ended.error
        after = state(student)
        assert after.keys() == before.keys()
        assert [name for name in after if after[name] != before[name]] == []
    outcomes[ended.how] += 1


def assert_sound(student):
    """Check that a student which was fitted means something."""
    for parameter in student.blueprint_.parameters:
        assert np.isfinite(parameter).all()
    assert math.isfinite(student.loss_)
    assert all(map(math.isfinite, student.loss_curve_))
    assert 1 <= student.n_iter_ <= student.max_iter
    X = points()[0][:, [i % 3 for i in range(student.n_features_in_)]]
    if hasattr(student, "feature_names_in_"):
        X = pd.DataFrame(X, columns=student.feature_names_in_)
    assert np.isin(student.predict(X), student.classes_).all()
    p = student.predict_proba(X)
    assert p.shape == (len(X), len(student.classes_))
    # The softmax is computed in the wider precision of X and the parameters.
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=0, atol=1e-5)


def given_before(draw, student, kind):
    """Fit a student of three before it is fitted again."""
    if not draw(st.sampled_from([False, False, True])):
        return False
    already = fitted_once(kind)
    for name, value in vars(already).items():
        if name.endswith("_") or name.startswith("_"):
            setattr(student, name, copy.deepcopy(value))
    return True


CACHE = {}


def fitted_once(kind):
    if kind not in CACHE:
        X, codes = points()
        CACHE[kind] = (
            AntiDistilledMLPClassifier(**BASE).set_params(tol=1e3, max_iter=20).fit(X, LABELS[kind][codes])
        )
    return CACHE[kind]


@campaign(5000, done=0.2, refused=0.2)
@given(st.data())
def test_fit_takes_or_refuses_any_data(data):
    draw = data.draw
    kind = draw(st.sampled_from(sorted(LABELS)))
    X, codes = points()
    parts = {
        "X": Part(X, GOOD),
        "y": Part(LABELS[kind][codes], GOOD),
        "sample_weight": Part(None, GOOD),
        "teacher_data": Part(None, GOOD),
        "teacher_rows": Part(None, GOOD),
        "teacher": draw(teachers(kind, (6, 1, 1))),
    }
    drawn = {
        "X": matrices(),
        "y": labels(kind),
        "sample_weight": weights(),
        "teacher_data": old_data(kind),
        "teacher_rows": masks(),
    }
    for name in draw(st.lists(st.sampled_from(sorted(drawn)), min_size=1, max_size=3, unique=True)):
        parts[name] = draw(drawn[name])
    settings = dict(BASE)
    fit(draw, kind, parts, settings)


def student_of(kind, teacher, settings):
    """Make a student; the outputs of a good torch teacher are named where the settings name none."""
    student = AntiDistilledMLPClassifier(**{**settings, "teacher": teacher.value})
    is_torch = type(teacher.value).__name__ == "Sequential"
    if is_torch and teacher.verdict == GOOD and student.teacher_classes is None:
        student.teacher_classes = LABELS[kind][:2]
    return student


def fit(draw, kind, parts, settings):
    """Fit a student of these parts; what is odd about a combination of good ones is entered."""
    teacher = parts["teacher"]
    student = student_of(kind, teacher, settings)
    already = given_before(draw, student, kind)
    if already and parts.get("warm_start", Part(False, GOOD)).value:
        parts = {name: part._replace(verdict=ODD) for name, part in parts.items()}
    given_parts = dict(parts)
    if teacher.value is None and "teacher_classes" in parts:  # then they are not looked at
        given_parts["teacher_classes"] = given_parts["teacher_classes"]._replace(verdict=ODD)
    if parts["teacher_data"].value is not None and parts["teacher_rows"].value is not None:
        given_parts["teacher_data"] = Part(None, BAD)
    arguments = {name: parts[name].value for name in ("sample_weight", "teacher_data", "teacher_rows")}
    attempt_to_fit(student, "fit", given_parts, parts["X"].value, parts["y"].value, **arguments)


@campaign(5000, done=0.2, refused=0.2)
@given(st.data())
def test_fit_takes_or_refuses_any_parameters(data):
    draw = data.draw
    kind = draw(st.sampled_from(sorted(LABELS)))
    X, codes = points()
    parts = {
        "X": Part(X, GOOD),
        "y": Part(LABELS[kind][codes], GOOD),
        "sample_weight": Part(None, GOOD),
        "teacher_data": Part(None, GOOD),
        "teacher_rows": draw(st.sampled_from([Part(None, GOOD), Part(points()[1] < 2, GOOD)])),
        "teacher": draw(teachers(kind, (6, 1, 1))),
        **draw(parameters()),
    }
    fit(
        draw,
        kind,
        parts,
        {**BASE, **{name: part.value for name, part in parts.items() if name in PARAMETERS}},
    )


@campaign(2000, done=0.2, refused=0.2)
@given(st.data())
def test_partial_fit_takes_or_refuses_anything(data):
    draw = data.draw
    kind = draw(st.sampled_from(sorted(LABELS)))
    X, codes = points()
    all_labels = LABELS[kind]
    parts = {
        "X": Part(X, GOOD),
        "y": Part(all_labels[codes], GOOD),
        "sample_weight": Part(None, GOOD),
        "classes": Part(all_labels, GOOD),
        "teacher": draw(teachers(kind, (6, 1, 1))),
    }
    drawn = {
        "X": matrices(),
        "y": labels(kind),
        "sample_weight": weights(),
        "classes": classes(kind),
        "parameters": parameters(most=3),
    }
    settings = dict(BASE)
    for name in draw(st.lists(st.sampled_from(sorted(drawn)), min_size=1, max_size=3, unique=True)):
        value = draw(drawn[name])
        if name == "parameters":
            parts |= value
            for key in ("early_stopping", "class_weight"):
                if key in value and value[key].value in (True, "balanced"):
                    parts[key] = value[key]._replace(verdict=BAD)
            settings |= {key: part.value for key, part in value.items()}
        else:
            parts[name] = value
    if parts["y"].name == "one class":  # the others may come
        parts["y"] = parts["y"]._replace(verdict=ODD)
    student = student_of(kind, parts["teacher"], settings)
    if student.teacher is None and "teacher_classes" in parts:  # then they are not looked at
        parts["teacher_classes"] = parts["teacher_classes"]._replace(verdict=ODD)
    if given_before(draw, student, kind):
        parts["teacher"] = Part(None, GOOD)  # which is not looked at again
        if parts["classes"].value is None:
            parts["classes"] = Part(None, GOOD)
        if "teacher_classes" in parts:
            parts["teacher_classes"] = parts["teacher_classes"]._replace(verdict=ODD)
    keywords = {name: parts[name].value for name in ("classes", "sample_weight")}
    attempt_to_fit(student, "partial_fit", parts, parts["X"].value, parts["y"].value, **keywords)
