"""What is said of a study in sentences, every rendering the same."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skantidistill.classifier import AntiDistilledMLPClassifier
from skantidistill.study.measure import PGD_STEPS, TRACE_ROWS
from skantidistill.study.protocols import Protocol
from skantidistill.study.report.tables import (
    Comparison,
    Table,
    knows_every_class,
    short_name,
    tables_in,
    with_spread,
)
from skantidistill.study.statistics import Difference, summarise

__all__ = ["as_keywords", "columns", "notes", "scenario", "setting", "verdict"]

Row = Mapping[str, Any]

_SPREAD = "mean ± standard deviation over seeds"
_NO_SPREAD = "of one seed only, so that chance can't be told from effect"
#: Data whose test rows are the same for all seeds.
_ONE_SPLIT = ("fashion-mnist",)
_EQUALLY = "With equal training, where all rows have AD's terms"
_DIFFERENCES = (
    "AD - best other, in all tables: mean paired difference by seed, ± half of its 95 % interval (Student's "
    "t), to the row that is best in that column, variants of AD aside; AD wins or loses where the interval "
    "excludes 0, else it ties, and so it does where all seeds differ by the same. That row was chosen after "
    "the fact, which favours it. Intervals are for other seeds on these data, not for other data, and none "
    "is widened for the number of comparisons."
)


def scenario(protocol: Protocol) -> str:
    """Return in words what is new to the student."""
    new = [] if protocol.teacher_features is None else ["new features"]
    if protocol.rows is not None:
        new.append(f"few rows ({protocol.rows})")
    return " and ".join(new) or "new classes"


def setting(rows: Sequence[Row], protocol: Protocol) -> str:
    """Return in a paragraph what was studied."""
    seeds = ", ".join(map(str, sorted({row["seed"] for row in rows})))
    known = f"the classes {', '.join(map(str, protocol.teacher_classes))}"
    if knows_every_class(rows):
        known = "all classes"
    if isinstance(protocol.teacher_features, float):
        known += f" by {protocol.teacher_features:.0%} of the features"
    elif protocol.teacher_features is not None:
        known += f" by the features {', '.join(protocol.teacher_features)}"
    new = "all rows" if protocol.rows is None else f"{protocol.rows} rows"
    accuracy = f"{np.mean([row['teacher_accuracy'] for row in rows]):.3f}"
    after_phi = summarise(rows, "phi_accuracy").get("AD")
    phi = f", and AD after phi alone, masked to them, {after_phi[0]:.3f}" if after_phi else ""
    return (
        f"{protocol.title}, {scenario(protocol)}: a teacher with hidden layers "
        f"{protocol.teacher['hidden_layer_sizes']} knows {known} (D1); students with hidden layers "
        f"{protocol.student['hidden_layer_sizes']} learn all classes by all features from {new} (D2). "
        f"Seeds {seeds}; every row has the same data, teachers and seeds. On its own classes the teacher has "
        f"an accuracy of {accuracy}{phi}. {_setting_of_ad(protocol)}"
    )


def _setting_of_ad(protocol: Protocol) -> str:
    if not protocol.best:
        return "AD's setting is the estimator's defaults."
    told = f"AD's setting is a tuned one: {as_keywords(protocol.best)}."
    if protocol.data in _ONE_SPLIT:
        return told
    return (
        f"{told} Every seed splits the rows anew, so that a tuning on these data has seen test rows of seeds "
        "other than its own, which favours AD."
    )


def as_keywords(parameters: Mapping[str, Any]) -> str:
    """Return parameters as they are written in a call, with three digits."""
    return ", ".join(
        f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value!r}"
        for name, value in parameters.items()
    )


def columns(rows: Sequence[Row], protocol: Protocol) -> str:
    """Return in a paragraph what the columns of the tables are."""
    several = len({row["seed"] for row in rows}) > 1
    fgsm, noise = f"{protocol.fgsm_epsilon:g}", f"{protocol.noise_epsilon:g}"
    certified = f"{protocol.certified_epsilon:g}"
    return (
        f"Accuracies are those on held-out rows, {_SPREAD if several else _NO_SPREAD}. FGSM: after a step "
        f"of {fgsm} against the student in every feature (not clipped); PGD: after {PGD_STEPS} smaller ones. "
        f"Certified: right, and provably so wherever features move by up to {certified}. Param. noise: "
        f"with {noise} N(0, 1) added to every weight and bias, mean of {protocol.n_draws} draws. Old "
        "classes: clean, of the rows whose class the teacher knows. To Xavier's: epochs on D2 (phi's steps "
        "counted) and seconds (phi's, too) until the accuracy is reached that the table's first row ends "
        "with; (k/n): in k of n seeds. Trace: of the Hessian of the cross-entropy in the parameters, on up "
        f"to {TRACE_ROWS} test rows."
    )


def notes(title: str, rows: Sequence[Row], protocol: Protocol) -> list[str]:
    """Return what a table shows and what it does not, by the table's title."""
    return _notes_as_published() if title == "as published" else _notes_equal_training(rows, protocol)


def _notes_as_published() -> list[str]:
    return [
        "Shows what AD gives in place of the usual training of such a network: every other row but AD's own "
        "variants is trained on D2 by cross-entropy alone. Data noise begins with the paper's phi, AD phi "
        "only with AD's.",
        "Does not show that growing helps: AD keeps the noise and the trace term while it trains on D2, "
        "which any start may do (next table), has steps of phi besides, and its steps cost more (seconds).",
        _DIFFERENCES,
    ]


def _notes_equal_training(rows: Sequence[Row], protocol: Protocol) -> list[str]:
    ad = AntiDistilledMLPClassifier(**protocol.methods["AD"])
    joint = (
        "The rows on D1+D2 draw half of every minibatch from D1, its classes in equal shares; Xavier on "
        "D1+D2 is the network that is trained from scratch on all there is."
        if protocol.rows is not None
        else "From scratch on D1 and D2 together is the row Xavier + kept terms: D2 contains the rows of D1."
    )
    return [
        f"Every row has AD's terms on D2 (lambda_noise={ad.lambda_noise:g}, delta={ad.delta:g}, "
        f"parameter_noise_std={ad.parameter_noise_std:g}, lambda_trace={ad.lambda_trace:g}) and at least "
        "AD's steps, those of phi counted: without phi it has more on D2, rounded up in its favour. Xavier + "
        f"kept terms has no teacher. {joint}",
        "Shows what start and phi are worth: AD - Xavier is the worth of the teacher, AD - Uniform that of "
        "phi.",
        "Does not show the best that a row can reach: all have AD's weights of the terms (docs/defaults.md), "
        "which favours AD. The teacher's own training is counted for no row.",
    ]


#: How a criterion is called in a sentence, where that is not its heading.
_SPOKEN = {"certified": "certified accuracy", "parameter_noise": "parameter noise"}


def verdict(rows: Sequence[Row], protocol: Protocol) -> list[str]:
    """Return in sentences what AD wins and what it does not, table by table, with the numbers.

    Parameters
    ----------
    rows : sequence of dict
        A tidy table.
    protocol : Protocol
        What was studied.

    Returns
    -------
    sentences : list of str
        Nothing is said that has no interval: where there is one seed, it says so.
    """
    said = {table.title: _verdicts(table) for table in tables_in(rows, protocol)}
    parts = []
    for title, opening in (("as published", "As published"), ("equal training", _EQUALLY)):
        sentences = said.get(title) or [
            "nothing is compared: AD or all rows to compare it with were not run."
        ]
        parts += [f"{opening}, {sentences[0]}", *sentences[1:]]
    if not any(said.values()):
        return parts
    n_seeds = len({row["seed"] for row in rows})
    spread = f" over {n_seeds} seeds, ± half of its 95 % interval" if n_seeds > 1 else " of the one seed"
    bracket = (
        f"In brackets: the mean paired difference{spread}, to the best other row of that criterion that was "
        "run."
    )
    return [*parts, bracket]


def _verdicts(table: Table) -> list[str]:
    """Return a sentence for every comparison of a table."""
    return [_sentence(table, block.comparison) for block in table.blocks if block.comparison]


def _sentence(table: Table, comparison: Comparison) -> str:
    found: dict[str, list[str]] = {}
    link = {
        "wins": "over",
        "ties": "against",
        "loses": "to",
        "ahead": "over",
        "behind": "to",
        "level": "with",
    }
    for criterion, other, difference in zip(
        table.criteria, comparison.others, comparison.differences, strict=True
    ):
        word = _word(difference)
        name = _SPOKEN.get(criterion.column, criterion.heading)
        number = with_spread(difference.mean, difference.half_width, "+")
        found.setdefault(word, []).append(f"{name} ({number} {link[word]} {short_name(other)})")
    subject = comparison.subject
    if any(math.isnan(difference.half_width) for difference in comparison.differences):
        places = "; ".join(f"{word} in {_listed(found[word])}" for word in link if word in found)
        return (
            f"{subject} wins nothing and loses nothing, since one seed can't tell chance from effect; in "
            f"this seed it is {places}."
        )
    places = "; ".join(f"{word} in {_listed(found.get(word, []))}" for word in ("wins", "ties", "loses"))
    return f"{subject} {places}."


def _word(difference: Difference) -> str:
    if not math.isnan(difference.half_width):
        return difference.verdict
    if not difference.mean:
        return "level"
    return "ahead" if difference.mean > 0 else "behind"


def _listed(names: Sequence[str]) -> str:
    if len(names) < 2:
        return names[0] if names else "nothing"
    return f"{', '.join(names[:-1])} and {names[-1]}"
