"""Put the rows of a study into words and tables, as text for a terminal."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from skantidistill.study.measure import CRITERIA
from skantidistill.study.protocols import Protocol, versions
from skantidistill.study.report.tables import COSTS, Comparison, Table, short_name, tables_in, with_spread
from skantidistill.study.report.words import as_keywords, columns, notes, scenario, setting
from skantidistill.study.tuning import Tuning

__all__ = ["as_text", "tuning_as_text"]

Row = Mapping[str, Any]
Line = list[str]

WIDTH = 106


def as_text(rows: Sequence[Row], protocol: Protocol, command: str) -> str:
    """Return the study as text: its setting, its tables with footnotes, and how to rerun it.

    Parameters
    ----------
    rows : sequence of dict
        A tidy table, as :func:`~skantidistill.study.run_study` returns; methods that it lacks are left
        out of the tables.
    protocol : Protocol
        What was studied.
    command : str
        The command that prints this text again.

    Returns
    -------
    text : str
        Lines of at most 106 characters.
    """
    blocks = [_wrap(setting(rows, protocol)), _wrap(columns(rows, protocol))]
    for table in tables_in(rows, protocol):
        blocks.append("\n".join(_accuracies(table)))
        costs = [[row, *cells] for row, cells in table.costs.items()]
        blocks.append("\n".join(_aligned([[["", *COSTS]], costs])))
        blocks.append("\n".join(_wrap(note, "  ") for note in notes(table.title, rows, protocol)))
    blocks.append(f"{command}\n" + _wrap(_listed(versions())))
    return "\n\n".join(blocks)


def tuning_as_text(tuning: Tuning, protocol: Protocol, give_up: float) -> str:
    """Return a tuning as text: its front as a table, and the chosen setting."""
    seeds = ", ".join(map(str, tuning.seeds))
    known = {criterion.column: criterion for criterion in CRITERIA}
    found = [known[column] for column in tuning.columns]
    strengths = [f"{getattr(protocol, c.strength):g}" if c.kind else "" for c in found]
    shown = [trial for trial in tuning.trials if trial.number in {0, tuning.chosen, *tuning.front}]
    shown.sort(key=lambda trial: -trial.values[0])
    names = {0: "the defaults", tuning.chosen: "chosen"}
    if not tuning.chosen:
        names = {0: "the defaults, chosen"}
    lines = [
        [str(t.number), *(with_spread(value, math.nan) for value in t.values), names.get(t.number, "")]
        for t in shown
    ]
    about = (
        f"{tuning.title}, {scenario(protocol)}: {len(tuning.trials)} settings of AD, fitted on four fifths "
        f"of the training rows and measured on the others (seeds {seeds}); their test rows are not looked "
        f"at. Shown are the defaults and the {len(tuning.front)} that no other beats, the most accurate "
        "first. Chosen is the firmest, by the mean of FGSM and noise, of those within "
        f"{give_up:g} of the highest accuracy."
    )
    table = [[["trial", *(c.heading for c in found), ""], ["", *strengths, ""]], lines]
    chosen = ",\n".join(f"    {name}={value!r}" for name, value in tuning.best.items())
    return "\n\n".join(
        [
            _wrap(about),
            "\n".join(_aligned(table)),
            _wrap(f"Chosen, for students with {as_keywords(protocol.student)}:"),
            f"AntiDistilledMLPClassifier(\n    teacher,\n{chosen},\n)",
            f"{tuning.command}\n" + _wrap(_listed(tuning.versions)),
        ]
    )


def _listed(found: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in found.items())


def _accuracies(table: Table) -> list[str]:
    """Return the lines of the accuracies and of their paired differences."""
    headings = (criterion.heading for criterion in table.criteria)
    parts = [[[table.title.capitalize(), *headings], ["", *table.strengths]]]
    for block in table.blocks:
        parts.append([[row, *(with_spread(*cell) for cell in cells)] for row, cells in block.cells.items()])
        if block.comparison:
            parts.append(_differences(block.comparison))
    return _aligned(parts)


def _differences(comparison: Comparison) -> list[Line]:
    """Return the lines that compare a subject with the best other row, column by column."""
    found = comparison.differences
    return [
        [f"{comparison.subject} - best other", *(with_spread(d.mean, d.half_width, "+") for d in found)],
        ["", *(difference.verdict for difference in found)],
        ["best other", *map(short_name, comparison.others)],
    ]


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
