"""Displays: what is drawn is what was measured, and matplotlib comes only when something is drawn."""

import copy
import re
import subprocess
import sys

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from skantidistill import (
    AdversarialExamplesDisplay,
    AntiDistilledMLPClassifier,
    ObjectiveDisplay,
    RobustnessCurveDisplay,
    TrainingCurveDisplay,
    adversarial_examples,
    robustness_curve,
)

mpl.use("agg")
EPSILONS = [0.0, 0.02, 0.05]
unfinished = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X / 16, y


@pytest.fixture(scope="module")
def linear(digits):
    X, y = digits
    return LogisticRegression(max_iter=500).fit(X[:1000], y[:1000])


@pytest.fixture(scope="module")
def student(digits):
    X, y = digits
    teacher = LogisticRegression(max_iter=500).fit(X[y < 5], y[y < 5])
    settings = {"tol": 0.05, "random_state": 0, "early_stopping": True}
    return AntiDistilledMLPClassifier(teacher, **settings).fit(X, y)


def polygon(band):
    """Return the lowest and the highest y of a filled area at every x."""
    points = band.get_paths()[0].vertices
    at = {x: points[points[:, 0] == x, 1] for x in np.unique(points[:, 0])}
    return np.array([[ys.min(), ys.max()] for ys in at.values()]).T


def test_a_line_is_the_curve(linear, digits):
    X, y = digits
    display = RobustnessCurveDisplay.from_estimator(linear, X, y, "fgsm", EPSILONS)
    expected = robustness_curve(linear, X, y, "fgsm", EPSILONS)
    (line,) = display.lines_
    assert_array_equal(line.get_xdata(), EPSILONS)
    assert_array_equal(line.get_ydata(), expected.scores)
    assert expected.scores[0] - expected.scores[-1] > 0.1
    assert line.get_label() == "LogisticRegression"
    assert display.bands_ == [None]
    assert display.certificates_ == [None]
    assert display.figure_ is display.ax_.figure
    assert display.ax_.get_ylabel() == "Accuracy"


def test_a_band_is_the_deviation_over_draws(linear, digits):
    X, y = digits
    settings = {"n_draws": 5, "random_state": 0}
    display = RobustnessCurveDisplay.from_estimator(linear, X, y, "parameter_noise", [0.1, 0.5], **settings)
    draws = robustness_curve(linear, X, y, "parameter_noise", [0.1, 0.5], **settings).draws
    low, high = polygon(display.bands_[0])
    assert_allclose((low + high) / 2, draws.mean(axis=1), rtol=1e-12)
    assert_allclose((high - low) / 2, draws.std(axis=1, ddof=1), rtol=1e-9)
    assert (high > low).all()


def test_curves_of_several_seeds_are_drawn_as_mean_and_deviation(digits):
    X, y = digits
    models = [LogisticRegression(C=C, max_iter=500).fit(X[:500], y[:500]) for C in (0.01, 1, 100)]
    display = RobustnessCurveDisplay.from_estimator(
        {"three": models, "one": models[0]}, X, y, "fgsm", EPSILONS
    )
    scores = np.array([robustness_curve(m, X, y, "fgsm", EPSILONS).scores for m in models])
    three, one = display.lines_
    assert_allclose(three.get_ydata(), scores.mean(axis=0), rtol=1e-12)
    assert_array_equal(one.get_ydata(), scores[0])
    low, high = polygon(display.bands_[0])
    assert_allclose((high - low) / 2, scores.std(axis=0, ddof=1), rtol=1e-9)
    assert display.bands_[1] is None
    assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == ["three", "one"]
    assert three.get_color() != one.get_color()


def test_the_certificate_is_shaded_below_the_attack(linear, digits):
    X, y = digits
    display = RobustnessCurveDisplay.from_estimator(
        linear, X, y, "pgd", EPSILONS, certificate=True, n_steps=3, random_state=0
    )
    low, high = polygon(display.certificates_[0])
    certified = robustness_curve(linear, X, y, "certified", EPSILONS).scores
    assert_array_equal(low, np.zeros(3))
    assert_allclose(high, certified, rtol=1e-12)
    assert (high <= display.lines_[0].get_ydata()).all()
    assert certified[1] > 0.1


def test_epsilons_are_drawn_in_order(linear, digits):
    X, y = digits
    display = RobustnessCurveDisplay.from_estimator(linear, X, y, "fgsm", EPSILONS[::-1])
    assert_array_equal(display.lines_[0].get_xdata(), EPSILONS)
    forward = RobustnessCurveDisplay.from_estimator(linear, X, y, "fgsm", EPSILONS)
    assert_array_equal(display.lines_[0].get_ydata(), forward.lines_[0].get_ydata())


def test_a_measured_curve_is_drawn_on_given_axes(linear, digits):
    X, y = digits
    curve = robustness_curve(linear, X, y, "fgsm", EPSILONS)
    first = RobustnessCurveDisplay.from_curve(curve)
    second = RobustnessCurveDisplay.from_curve({"again": [curve]}, ax=first.ax_)
    assert second.ax_ is first.ax_
    assert len(first.ax_.lines) == 2
    assert first.lines_[0].get_label() == "fgsm"
    assert second.plot().ax_ is not first.ax_


def test_one_epsilon_can_be_drawn(linear, digits):
    assert len(RobustnessCurveDisplay.from_estimator(linear, *digits, epsilons=[0.1]).lines_) == 1


def test_the_score_is_named_by_scoring(linear, digits):
    X, y = digits
    display = RobustnessCurveDisplay.from_estimator(linear, X, y, epsilons=EPSILONS, scoring="neg_log_loss")
    assert display.ax_.get_ylabel() == "neg_log_loss"
    assert display.lines_[0].get_ydata().max() < 0


@pytest.mark.parametrize(
    ("curves", "message"),
    [
        (lambda fgsm, pgd, wide: {}, "curves is empty; give at least one name with one curve."),
        (
            lambda fgsm, pgd, wide: {"a": fgsm, "b": pgd},
            "curves are of the kinds ['fgsm', 'pgd'], which one axis",
        ),
        (
            lambda fgsm, pgd, wide: {"a": wide},
            "epsilons with one value a feature can't be drawn along one axis",
        ),
    ],
)
def test_what_one_axis_cannot_have_is_refused(linear, digits, curves, message):
    X, y = digits[0][:20], digits[1][:20]
    fgsm, pgd = (robustness_curve(linear, X, y, kind, [0, 0.1], random_state=0) for kind in ("fgsm", "pgd"))
    wide = robustness_curve(linear, X, y, "fgsm", [np.full(64, 0.1)])
    with pytest.raises(ValueError, match=re.escape(message)):
        RobustnessCurveDisplay.from_curve(curves(fgsm, pgd, wide))


def test_curves_of_other_epsilons_or_names_are_refused(linear, digits):
    X, y = digits[0][:20], digits[1][:20]
    one, other = (robustness_curve(linear, X, y, "fgsm", e) for e in ([0, 0.1], [0, 0.2]))
    with pytest.raises(
        ValueError, match=re.escape("All curves and certificates must have the same epsilons.")
    ):
        RobustnessCurveDisplay.from_curve({"a": one, "b": other})
    with pytest.raises(
        ValueError, match=re.escape("certificates have the names ['b'], curves ['a']; give one")
    ):
        RobustnessCurveDisplay.from_curve({"a": one}, certificate={"b": one})


@pytest.mark.parametrize("settings", [{"kind": "parameter_noise"}, {"kind": "pgd", "norm": "l2"}])
def test_a_certificate_is_refused_where_there_is_none(linear, digits, settings):
    with pytest.raises(
        ValueError, match=re.escape("certificate=True is for attacks within norm='linf', not for")
    ):
        RobustnessCurveDisplay.from_estimator(linear, *digits, certificate=True, **settings)


def test_a_certificate_of_another_score_is_refused(linear, digits):
    message = "certificate=True certifies accuracy, not scoring='neg_log_loss'; leave one of them out."
    with pytest.raises(ValueError, match=re.escape(message)):
        RobustnessCurveDisplay.from_estimator(linear, *digits, certificate=True, scoring="neg_log_loss")


def test_a_student_is_measured_within_its_own_bounds(student, digits):
    X, y = digits
    bounded = copy.copy(student).set_params(bounds=(0, 1))
    display = RobustnessCurveDisplay.from_estimator(bounded, X, y, "fgsm", [0, 0.3])
    assert_array_equal(display.lines_[0].get_ydata(), bounded.robustness_curve(X, y, "fgsm", [0, 0.3]).scores)
    free = robustness_curve(bounded, X, y, "fgsm", [0, 0.3])
    assert display.lines_[0].get_ydata()[1] > free.scores[1]
    pictures = AdversarialExamplesDisplay.from_estimator(bounded, X[:3], y[:3], epsilon=0.3)
    assert 0 <= pictures.X_adversarial.min() <= pictures.X_adversarial.max() <= 1


def test_axes_show_all_that_is_drawn_on_them(linear, digits):
    first = RobustnessCurveDisplay.from_estimator(linear, *digits, epsilons=[0, 0.2, 0.8])
    RobustnessCurveDisplay.from_estimator(linear, *digits, epsilons=[0, 0.1], ax=first.ax_)
    assert first.ax_.get_xlim() == (0, 0.8)


# --- losses ----------------------------------------------------------------------------------------


def test_the_terms_of_phi_add_up_to_the_sum(student):
    display = ObjectiveDisplay.from_estimator(student)
    assert set(display.lines_) == {"sum", "ce", "teacher", "noise", "trace"}
    lines = {name: line.get_ydata() for name, line in display.lines_.items()}
    total = lines.pop("sum")
    assert_array_equal(total, [row["train_loss"] for row in student.phi_history_])
    assert_allclose(np.sum(list(lines.values()), axis=0), total, rtol=1e-9)
    assert_allclose(lines["trace"], [2e-3 * row["trace"] for row in student.phi_history_], rtol=1e-12)
    assert min(line.max() for line in lines.values()) > 0


def test_without_phi_there_is_nothing_to_draw(digits):
    X, y = digits
    plain = AntiDistilledMLPClassifier(tol=0.1, random_state=0).fit(X, y)
    with pytest.raises(
        ValueError, match=re.escape("phi did not run (phi_max_iter=0, no teacher, or no rows")
    ):
        ObjectiveDisplay.from_estimator(plain)
    with pytest.raises(
        TypeError, match=re.escape("LogisticRegression has no phi; give a fitted AntiDistilled")
    ):
        ObjectiveDisplay.from_estimator(LogisticRegression())


def test_losses_and_validation_scores_are_drawn_by_epoch(student):
    display = TrainingCurveDisplay.from_estimator(student, name="grown")
    assert_array_equal(display.line_.get_ydata(), student.loss_curve_)
    assert_array_equal(display.line_.get_xdata(), np.arange(1, student.n_iter_ + 1))
    assert_array_equal(display.validation_line_.get_ydata(), student.validation_scores_)
    assert display.ax_.get_legend().get_texts()[0].get_text() == "grown"


@unfinished
def test_scikit_learns_network_is_drawn_beside_ours(student, digits):
    mlp = MLPClassifier(max_iter=3, random_state=0).fit(*digits)
    first = TrainingCurveDisplay.from_estimator(student)
    second = TrainingCurveDisplay.from_estimator(mlp, ax=first.ax_)
    assert_array_equal(second.line_.get_ydata(), mlp.loss_curve_)
    assert second.validation_line_ is None
    assert len(first.ax_.lines) == 2
    with pytest.raises(TypeError, match=re.escape("LogisticRegression has no loss_curve_; give a fitted")):
        TrainingCurveDisplay.from_estimator(LogisticRegression().fit(*digits))


def test_changed_weights_are_noticed(student):
    changed = copy.copy(student).set_params(lambda_trace=0.5)
    with pytest.raises(
        ValueError, match=re.escape("do not add up to phi's loss: one of lambda_ce, lambda_t")
    ):
        ObjectiveDisplay.from_estimator(changed)


@unfinished
def test_two_displays_share_the_axes_of_the_accuracy(digits):
    X, y = digits
    networks = [
        MLPClassifier((n,), max_iter=3, early_stopping=True, random_state=0).fit(X, y) for n in (4, 60)
    ]
    first = TrainingCurveDisplay.from_estimator(networks[0])
    second = TrainingCurveDisplay.from_estimator(networks[1], ax=first.ax_)
    assert second.validation_ax_ is first.validation_ax_
    assert len(first.figure_.axes) == 2
    low, high = first.validation_ax_.get_ylim()
    assert low < min(networks[0].validation_scores_) < max(networks[1].validation_scores_) < high


# --- adversarial examples --------------------------------------------------------------------------


def test_the_pictures_are_the_rows_the_change_and_the_attacked_rows(student, digits):
    X, y = digits[0][:4], digits[1][:4]
    display = AdversarialExamplesDisplay.from_estimator(student, X, y, epsilon=0.2)
    moved = adversarial_examples(student, X, y, epsilon=0.2)
    assert display.axes_.shape == (3, 4)
    for column in range(4):
        clean, change, attacked = (ax.images[0].get_array() for ax in display.axes_[:, column])
        assert_array_equal(clean, X[column].reshape(8, 8))
        assert_array_equal(attacked, moved[column].reshape(8, 8))
        assert_allclose(change, attacked - clean, rtol=0, atol=1e-12)
    titles = [ax.get_title() for ax in display.axes_[2]]
    assert titles == [str(label) for label in student.predict(moved)]
    assert not np.array_equal(student.predict(moved), y)


def test_pictures_need_a_shape_that_holds_the_features(student, digits):
    X, y = digits[0][:2], digits[1][:2]
    assert AdversarialExamplesDisplay.from_estimator(student, X, y, image_shape=(4, 16)).axes_.shape == (3, 2)
    with pytest.raises(
        ValueError, match=re.escape("image_shape=(8, 9) has 72 pixels, but X has 64 features")
    ):
        AdversarialExamplesDisplay.from_estimator(student, X, y, image_shape=(8, 9))
    iris = LogisticRegression().fit(np.arange(10.0).reshape(5, 2), [0, 0, 1, 1, 1])
    with pytest.raises(
        ValueError, match=re.escape("X has 2 features, which are no square; give image_shape=")
    ):
        AdversarialExamplesDisplay.from_estimator(iris, [[1.0, 2.0]], [0])


def test_more_rows_than_pictures_can_be_seen_are_refused(linear, digits):
    with pytest.raises(
        ValueError, match=re.escape("X has 41 rows, and each becomes a column of pictures; give")
    ):
        AdversarialExamplesDisplay.from_estimator(linear, digits[0][:41], digits[1][:41])


@pytest.mark.parametrize("shape", [("a", "b"), (-8, -8), (8.0, 8.0)])
def test_pictures_have_whole_positive_sides(linear, digits, shape):
    message = f"image_shape={shape} must be a pair (height, width) of positive integers, such as (1, 64)."
    with pytest.raises(ValueError, match=re.escape(message)):
        AdversarialExamplesDisplay.from_estimator(linear, digits[0][:2], digits[1][:2], image_shape=shape)


def test_images_must_come_as_rows(linear, digits):
    X, y = digits[0][:2], digits[1][:2]
    for some, shape in [(X.reshape(2, 8, 8), "(2, 8, 8)"), (X[0], "(64,)"), (None, "()")]:
        with pytest.raises(ValueError, match=re.escape(f"X has shape {shape}; give rows, of shape (n_")):
            AdversarialExamplesDisplay.from_estimator(linear, some, y)


def test_curves_come_in_a_dict_of_lists(linear, digits):
    curve = robustness_curve(linear, *digits, epsilons=EPSILONS)
    for curves in (curve, [curve], {"linear": curve}):
        with pytest.raises(TypeError, match=r"^curves=.* must be a dict of names and lists of curves"):
            RobustnessCurveDisplay(curves).plot()
    with pytest.raises(TypeError, match=r"^certificates=.* must be a dict of names and lists of curves"):
        RobustnessCurveDisplay({"linear": [curve]}, certificates={"linear": curve}).plot()


def test_pictures_of_sparse_rows_are_drawn(student, digits):
    X, y = digits[0][:2], digits[1][:2]
    sparse = AdversarialExamplesDisplay.from_estimator(student, csr_matrix(X), y)
    assert_array_equal(sparse.X, X)
    assert_array_equal(
        sparse.X_adversarial, AdversarialExamplesDisplay.from_estimator(student, X, y).X_adversarial
    )
    with pytest.raises(
        ValueError, match=re.escape("image_shape=4 must be a pair (height, width) of positive")
    ):
        AdversarialExamplesDisplay.from_estimator(student, X, y, image_shape=4)


def test_matplotlib_is_imported_when_something_is_drawn():
    code = "import sys, skantidistill; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_matplotlib_the_remedy_is_said(monkeypatch, linear, digits):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(
        ImportError, match=re.escape("RobustnessCurveDisplay needs matplotlib, which can't be")
    ):
        RobustnessCurveDisplay.from_estimator(linear, *digits, epsilons=EPSILONS)
