"""Put the rows of a study into words and tables, as text for a terminal."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from skantidistill.study.protocols import Protocol, versions
from skantidistill.study.tables import COSTS, Comparison, Table, short_name, tables_in, with_spread
from skantidistill.study.words import columns, notes, setting

__all__ = ["as_text"]

Row = Mapping[str, Any]
Line = list[str]

WIDTH = 106


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
    blocks = [_wrap(setting(rows, protocol)), _wrap(columns(rows, protocol))]
    for table in tables_in(rows, protocol):
        blocks.append("\n".join(_accuracies(table)))
        costs = [[row, *cells] for row, cells in table.costs.items()]
        blocks.append("\n".join(_aligned([[["", *COSTS]], costs])))
        blocks.append("\n".join(_wrap(note, "  ") for note in notes(table.title, rows, protocol)))
    blocks.append(
        f"{command}\n" + _wrap(", ".join(f"{name} {number}" for name, number in versions().items()))
    )
    return "\n\n".join(blocks)


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
