"""Put the rows of a study into words and tables."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skantidistill.classifier import AntiDistilledMLPClassifier
from skantidistill.study.measure import CRITERIA, PGD_STEPS, TRACE_ROWS, Criterion
from skantidistill.study.methods import Group
from skantidistill.study.protocols import Protocol, tables_of, versions
from skantidistill.study.statistics import best_of, compare, summarise, time_to_reach

__all__ = ["as_text", "scenario"]

Row = Mapping[str, Any]
Line = list[str]

WIDTH = 106
OLD_CLASSES = Criterion("old_classes", "old classes")


def as_text(rows: Sequence[Row], protocol: Protocol, command: str) -> str:
    """Return the study as text: its setting, its tables with footnotes, and how to rerun it.

    Parameters
    ----------
    rows : sequence of dict
        A tidy table, as :func:`~skantidistill.study.run.run_study` returns; methods that it lacks are left
        out of the tables.
    protocol : Protocol
        What was studied.
    command : str
        The command that prints this text again.

    Returns
    -------
    text : str
    """
    blocks = [_wrap(_setting(rows, protocol)), _wrap(_columns(rows, protocol))]
    made, told = {row["method"] for row in rows}, set[str]()
    for title, groups in tables_of(protocol).items():
        shown = [Group(group.subject, tuple(r for r in group.rows if r in made)) for group in groups]
        shown = [group for group in shown if group.rows]
        here = {row for group in shown for row in group.rows}
        if here <= told:
            continue
        told |= here
        blocks.append("\n".join(_accuracies(rows, protocol, title, shown)))
        blocks.append("\n".join(_costs(rows, shown)))
        notes = _notes_as_published() if title == "as published" else _notes_equal_training(rows, protocol)
        blocks.append("\n".join(_wrap(note, "  ") for note in notes))
    blocks.append(
        f"{command}\n" + _wrap(", ".join(f"{name} {number}" for name, number in versions().items()))
    )
    return "\n\n".join(blocks)


def scenario(protocol: Protocol) -> str:
    """Return in words what is new to the student."""
    new = [] if protocol.teacher_features is None else ["new features"]
    if protocol.rows is not None:
        new.append(f"few rows ({protocol.rows})")
    return " and ".join(new) or "new classes"


def _setting(rows: Sequence[Row], protocol: Protocol) -> str:
    seeds = ", ".join(map(str, sorted({row["seed"] for row in rows})))
    known = f"the classes {', '.join(map(str, protocol.teacher_classes))}"
    if _knows_every_class(rows):
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
        f"an accuracy of {accuracy}{phi}."
    )


def _columns(rows: Sequence[Row], protocol: Protocol) -> str:
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
        "with; (2/3): in 2 of 3 seeds. Trace: of the Hessian of the cross-entropy in the parameters, on up "
        f"to {TRACE_ROWS} test rows."
    )


def _knows_every_class(rows: Sequence[Row]) -> bool:
    return all(row["n_test_old"] == row["n_test"] for row in rows)


def _accuracies(rows: Sequence[Row], protocol: Protocol, title: str, groups: list[Group]) -> list[str]:
    """Return the lines of the accuracies and of their paired differences."""
    criteria = [*CRITERIA, OLD_CLASSES]
    if _knows_every_class(rows):
        criteria = criteria[:-1]
    strengths = [f"{getattr(protocol, c.strength):g}" if c.kind else "" for c in criteria]
    parts = [[[title.capitalize(), *(c.heading for c in criteria)], ["", *strengths]]]
    for group in groups:
        means = [summarise(rows, c.column) for c in criteria]
        parts.append([[row, *(_with_spread(*mean[row]) for mean in means)] for row in group.rows])
        if group.subject in group.rows and group.rivals:
            parts.append(_differences(rows, criteria, group))
    return _aligned(parts)


def _differences(rows: Sequence[Row], criteria: Sequence[Criterion], group: Group) -> list[Line]:
    """Return the lines that compare a group's subject with the best other row, column by column."""
    best = [best_of(rows, c.column, group.rivals) for c in criteria]
    found = [compare(rows, c.column, group.subject, b) for c, b in zip(criteria, best, strict=True)]
    gains = [_with_spread(difference.mean, difference.half_width, "+") for difference in found]
    return [
        [f"{group.subject} - best other", *gains],
        ["", *(difference.verdict for difference in found)],
        ["best other", *(name.removesuffix(" + kept terms").removesuffix(" on D1+D2") for name in best)],
    ]


def _costs(rows: Sequence[Row], groups: list[Group]) -> list[str]:
    reference = groups[0].rows[0]
    header = ["", "steps, phi + D2", "seconds", "epochs to Xavier's", "seconds to Xavier's", "trace"]
    soon = {clock: _by_method(rows, time_to_reach(rows, reference, clock)) for clock in ("epochs", "seconds")}
    columns = {name: summarise(rows, name) for name in ("phi_steps", "steps", "seconds", "trace")}
    lines = []
    for row in [row for group in groups for row in group.rows]:
        steps = " + ".join(f"{columns[name][row][0]:.0f}" for name in ("phi_steps", "steps"))
        when = [_when(soon[clock][row]) if reference.startswith("Xavier") else "" for clock in soon]
        taken, trace = columns["seconds"][row][0], columns["trace"][row][0]
        lines.append([row, steps, f"{taken:.1f}", *when, f"{trace:.4g}"])
    return _aligned([[header], lines])


def _notes_as_published() -> list[str]:
    return [
        "Shows what AD gives in place of the usual training of such a network: every other row but AD's own "
        "variants is trained on D2 by cross-entropy alone. Data noise and AD phi only have the paper's phi "
        "and AD's.",
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


_SPREAD = "mean ± standard deviation over seeds"
_NO_SPREAD = "of one seed only, so that chance can't be told from effect"
_DIFFERENCES = (
    "AD - best other, in all tables: mean paired difference by seed, ± half of its 95 % interval (Student's "
    "t), to the row that is best in that column, variants of AD aside; AD wins or loses where the interval "
    "excludes 0, else it ties. That row was chosen after the fact, which favours it."
)


def _with_spread(mean: float, spread: float, sign: str = "") -> str:
    """Return for example ".882 ±.003"."""
    text = f"{mean:{sign}.3f}".replace("0.", ".", 1) if abs(mean) < 0.9995 else f"{mean:{sign}.3f}"
    return text + ("" if math.isnan(spread) else f" ±{spread:.3f}".replace("±0.", "±."))


def _by_method(rows: Sequence[Row], values: Sequence[float]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for row, value in zip(rows, values, strict=True):
        found.setdefault(row["method"], []).append(value)
    return found


def _when(times: Sequence[float]) -> str:
    reached = [time for time in times if math.isfinite(time)]
    if not reached:
        return "never"
    return f"{np.mean(reached):.1f}" + (
        f" ({len(reached)}/{len(times)})" if len(reached) < len(times) else ""
    )


def _aligned(parts: list[list[Line]]) -> list[str]:
    """Return lines in columns, with a rule between parts."""
    everything = [line for part in parts for line in part]
    widths = [max(map(len, column)) for column in zip(*everything, strict=True)]
    lines: list[str] = []
    for part in parts:
        lines += ["-" * (sum(widths) + 2 * len(widths) - 2)] * bool(lines)
        for first, *others in part:
            lines.append("  ".join([first.ljust(widths[0]), *map(str.rjust, others, widths[1:])]).rstrip())
    return lines


def _wrap(text: str, indent: str = "") -> str:
    hanging = indent + ("  " if indent else "")
    return textwrap.fill(text, WIDTH, initial_indent=indent + "* " * bool(indent), subsequent_indent=hanging)
