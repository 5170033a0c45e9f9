"""What a student says of itself is what it is, in a terminal and in a notebook."""

import html
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from sklearn import config_context
from sklearn.exceptions import NotFittedError
from sklearn.neural_network import MLPClassifier

from skantidistill.summary import DOCUMENTATION
from tests.problems import digits, fitted_teacher, named, named_teacher, quick

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def lines(student):
    """Return the facts of a summary by name, and its table of terms by term."""
    facts, _, terms = student.summary().partition("\n\n")
    return (
        dict(re.split(r"\s{2,}", line, maxsplit=1) for line in facts.splitlines()),
        {name: values for name, *values in (re.split(r"\s{2,}", line) for line in terms.splitlines())},
    )


def test_a_summary_tells_what_was_gained_and_how_the_terms_went():
    X, y = digits()
    student = quick(fitted_teacher(), lambda_trace=0.004).fit(X, y)
    facts, terms = lines(student)
    n_parameters = sum(p.size for p in (*student.coefs_, *student.intercepts_))
    assert facts["network"] == f"64 -> 16 -> 6, relu, {n_parameters:,} parameters"
    assert facts["grown from"] == "MLPClassifier 64 -> 8 -> 3, 547 parameters"
    assert facts["gained"] == "3 classes (five, three, zero), 8 hidden units"
    assert facts["phi"] == f"2 epochs, loss {student.phi_history_[-1]['train_loss']:.4g}"
    assert facts["training"] == f"3 epochs, loss {student.loss_:.4g}"
    first, last = student.phi_history_[0], student.phi_history_[-1]
    assert terms["trace of the Hessian"] == ["0.004", f"{first['trace']:.4g}", f"{last['trace']:.4g}"]
    assert len(terms) == 1 + 4


def test_new_features_and_validation_are_told():
    X, y = digits()
    student = quick(named_teacher(32), hidden_layer_sizes=(8,), early_stopping=True).fit(named(X), y)
    facts, _ = lines(student)
    assert facts["gained"] == "3 classes (five, three, zero), 32 features"
    assert facts["training"].endswith(f"best validation score {max(student.validation_scores_):.4g}")


@pytest.mark.filterwarnings("ignore:The teacher's balanced accuracy")  # the labels mean nothing
def test_many_classes_are_counted_and_some_named():
    X, _ = digits()
    y = np.arange(len(X)) % 12
    teacher = MLPClassifier((4,), max_iter=1, random_state=0).fit(X[y < 2], y[y < 2])
    student = quick(teacher, phi_max_iter=0).fit(X, y)
    facts, terms = lines(student)
    assert facts["gained"].startswith("10 classes (2, 3, 4, 5, 6, 7, 8, 9 and 2 more)")
    assert facts["phi"] == "none"
    assert not terms


def test_a_student_without_a_teacher_and_one_that_gained_nothing_say_so():
    X, y = digits()
    assert lines(quick(hidden_layer_sizes=(4,)).fit(X, y))[0]["grown from"] == "nothing: trained from scratch"
    teacher = quick(hidden_layer_sizes=(8,), max_iter=40).fit(X, y)
    assert lines(quick(teacher, hidden_layer_sizes=(8,)).fit(X, y))[0]["gained"] == "nothing"


def test_a_term_without_weight_is_not_told():
    student = quick(fitted_teacher(), lambda_teacher=0, lambda_trace=0).fit(*digits())
    _, terms = lines(student)
    assert list(terms) == ["phi's terms", "cross-entropy", "cross-entropy in the neighbourhood"]


def test_what_is_set_after_the_fit_does_not_break_a_summary():
    student = quick(fitted_teacher()).fit(*digits()).set_params(lambda_ce="none", lambda_trace=None)
    _, terms = lines(student)
    assert (terms["cross-entropy"][0], terms["trace of the Hessian"][0]) == ("none", "None")
    assert "skantidistill-growth" in student._repr_html_()


def test_an_unfitted_student_has_no_summary():
    with pytest.raises(NotFittedError):
        quick(fitted_teacher()).summary()


def test_a_notebook_shows_the_same_below_scikit_learns_diagram():
    X, y = digits()
    student = quick(fitted_teacher())
    assert "skantidistill-growth" not in student._repr_html_()
    student.fit(X, y)
    page = student._repr_html_()
    block = page[page.index('<div class="skantidistill-growth"') :]
    facts, terms = lines(student)
    cells = [html.unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", block)]
    told = [cell for fact in facts.items() for cell in fact]
    table = [cell for name, values in terms.items() for cell in (name, *values)]
    assert cells == told + table
    assert "skantidistill-growth" in student._repr_mimebundle_()["text/html"]
    with config_context(display="text"):
        assert set(student._repr_mimebundle_()) == {"text/plain"}


def test_a_label_cannot_write_html():
    X, y = digits()
    y = np.where(y == "zero", "<script>alert(1)</script>", y)
    page = quick(fitted_teacher()).fit(X, y)._repr_html_()
    block = page[page.index("skantidistill-growth") :]
    assert "<script" not in block
    assert html.escape("<script>alert(1)</script>") in block


def test_the_diagram_links_to_the_documentation_that_the_package_names():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["urls"]["Documentation"] == DOCUMENTATION
    link = f"{DOCUMENTATION}/generated/skantidistill.AntiDistilledMLPClassifier.html"
    assert f'href="{link}"' in quick()._repr_html_()
