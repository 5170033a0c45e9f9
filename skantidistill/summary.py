"""What a fitted student says of itself, in a terminal and in a notebook: what it grew from, and how."""

import html
from collections.abc import Sequence
from numbers import Real
from typing import Any

from sklearn.utils.validation import check_is_fitted

from skantidistill._checks import is_fitted

__all__ = ["DOCUMENTATION", "TERMS", "TellsItsGrowth"]

DOCUMENTATION = "https://skantidistill.readthedocs.io/en/stable"

#: Name of a term in the histories -> how it is called, and the parameter that weighs it.
TERMS = {
    "ce": ("cross-entropy", "lambda_ce"),
    "teacher": ("distance to the teacher", "lambda_teacher"),
    "noise": ("cross-entropy in the neighbourhood", "lambda_noise"),
    "trace": ("trace of the Hessian", "lambda_trace"),
}
_MANY = 8
_STYLE = (
    "margin:.5em 0;padding:.4em .8em;width:fit-content;max-width:100%;box-sizing:border-box;overflow-x:auto;"
    "border:1px solid;border-color:color-mix(in srgb,currentColor 30%,transparent);border-radius:.25em;"
    "font-family:monospace;font-size:.9em;line-height:1.5"
)


class TellsItsGrowth:
    """The half of an estimator that says how it was grown, and where its documentation is."""

    _doc_link_module = "skantidistill"
    _doc_link_template = f"{DOCUMENTATION}/generated/skantidistill.{{estimator_name}}.html"

    def summary(self) -> str:
        """Return in a few lines what the student grew from, what it gained, and how phi's terms went.

        Returns
        -------
        text : str
            Lines to print. The terms are unweighted, at phi's first and last epoch.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the student is not fitted.
        """
        check_is_fitted(self)
        facts, terms = _facts(self), _terms(self)
        width = max(len(name) for name, _ in facts)
        lines = [f"{name:{width}}  {text}" for name, text in facts]
        if terms:
            widths = [max(len(cell) for cell in column) for column in zip(*terms, strict=True)]
            lines += ["", *(_aligned(row, widths) for row in terms)]
        return "\n".join(lines)

    def _repr_html_inner(self) -> str:
        return super()._repr_html_inner() + _block(self)  # type: ignore[misc]

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        bundle = super()._repr_mimebundle_(**kwargs)  # type: ignore[misc]
        if "text/html" in bundle:
            bundle["text/html"] += _block(self)
        return bundle


def _facts(student: Any) -> list[tuple[str, str]]:
    """Return pairs (name, text) about a fitted student."""
    blueprint, growth = student.blueprint_, student.growth_
    network = f"{_arrows(blueprint.layer_sizes)}, {blueprint.activation}"
    facts = [("network", f"{network}, {_count(blueprint)} parameters")]
    if growth is None:
        facts.append(("grown from", "nothing: trained from scratch"))
    else:
        teacher = growth.teacher
        kind = type(student.teacher_).__name__
        facts += [
            ("grown from", f"{kind} {_arrows(teacher.layer_sizes)}, {_count(teacher)} parameters"),
            ("gained", _gained(student)),
        ]
        history = student.phi_history_
        facts.append(("phi", _stage(len(history), history[-1]["train_loss"]) if history else "none"))
    scores = student.validation_scores_
    best = f", best validation score {max(scores):.4g}" if scores else ""
    facts.append(("training", _stage(student.n_iter_, student.loss_) + best))
    return facts


def _gained(student: Any) -> str:
    """Say which classes, and how many features and hidden units, the teacher has not."""
    growth = student.growth_
    n_units = sum(student.blueprint_.hidden_layer_sizes) - sum(growth.teacher.hidden_layer_sizes)
    new = student.classes_[growth.new_outputs].tolist()
    parts = [_plural(len(new), "class", "classes") + f" ({_some(new)})"] if new else []
    counts = {"feature": len(growth.new_features), "hidden unit": n_units}
    parts += [_plural(n, kind) for kind, n in counts.items() if n]
    return ", ".join(parts) or "nothing"


def _terms(student: Any) -> list[Sequence[str]]:
    """Return rows (term, weight, value at phi's first epoch, at its last), with a heading; [] without phi."""
    history = student.phi_history_
    rows: list[Sequence[str]] = [
        (name, _weight(getattr(student, weight)), f"{history[0][term]:.4g}", f"{history[-1][term]:.4g}")
        for term, (name, weight) in TERMS.items()
        if history and term in history[0]
    ]
    return [("phi's terms", "weight", "first epoch", "last epoch"), *rows] if rows else []


def _block(student: Any) -> str:
    """Return the summary as HTML that needs no style sheet; nothing before ``fit``."""
    if not is_fitted(student):
        return ""
    facts, terms = _facts(student), _terms(student)
    tables = [[_row("th", [name]) + _row("td", [text]) for name, text in facts]]
    if terms:
        tags = ["th", *["td"] * (len(terms) - 1)]
        tables.append(
            [_row(tag, row[:1]) + _row(tag, row[1:], "right") for tag, row in zip(tags, terms, strict=True)]
        )
    body = "".join(
        '<table style="border:none;border-collapse:collapse;margin:.5em 0">'
        + "".join(f'<tr style="background:none">{row}</tr>' for row in table)
        + "</table>"
        for table in tables
    )
    return f'<div class="skantidistill-growth" style="{_STYLE}">{body}</div>'


def _row(tag: str, cells: Sequence[str], align: str = "left") -> str:
    style = f"text-align:{align};border:none;padding:0 1.2em 0 0;vertical-align:top"
    return "".join(f'<{tag} style="{style}">{html.escape(cell)}</{tag}>' for cell in cells)


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True)]
    return "  ".join([f"{row[0]:{widths[0]}}", *cells])


def _arrows(sizes: Sequence[int]) -> str:
    return " -> ".join(str(n) for n in sizes)


def _count(blueprint: Any) -> str:
    return f"{sum(p.size for p in blueprint.parameters):,}"


def _weight(value: Any) -> str:
    return f"{value:g}" if isinstance(value, Real) else str(value)  # set_params takes anything


def _stage(n_epochs: int, loss: float) -> str:
    return f"{_plural(n_epochs, 'epoch')}, loss {loss:.4g}"


def _plural(n: int, one: str, many: str | None = None) -> str:
    return f"{n} {one if n == 1 else many or one + 's'}"


def _some(labels: Sequence[Any]) -> str:
    shown = [str(label) for label in labels[:_MANY]]
    left = len(labels) - len(shown)
    return ", ".join(shown) + (f" and {left} more" if left else "")
