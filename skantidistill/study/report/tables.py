"""What the tables of a study hold, as values: every rendering says the same."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from skantidistill.study.measure import CRITERIA, Criterion
from skantidistill.study.methods import Group
from skantidistill.study.protocols import Protocol, tables_of
from skantidistill.study.statistics import Difference, best_of, compare, summarise, time_to_reach

__all__ = [
    "COSTS",
    "Block",
    "Comparison",
    "Studied",
    "Table",
    "criteria_of",
    "groups_made",
    "knows_every_class",
    "short_name",
    "tables_in",
    "with_spread",
]

Row = Mapping[str, Any]

OLD_CLASSES = Criterion("old_classes", "old classes")
#: Headings of the costs.
COSTS = ("steps, phi + D2", "seconds", "epochs to Xavier's", "seconds to Xavier's", "trace")


class Studied(NamedTuple):
    """The rows of a study, what was studied, and the command that does it again.

    Parameters
    ----------
    rows : sequence of dict
        A tidy table, as :func:`~skantidistill.study.run_study` returns.
    protocol : Protocol
        What was studied.
    command : str
        The command that makes these rows again.
    """

    rows: Sequence[Row]
    protocol: Protocol
    command: str


@dataclass(frozen=True)
class Comparison:
    """A subject against the row that is best in a column, variants of AD aside: one of each a criterion."""

    subject: str
    others: tuple[str, ...]
    differences: tuple[Difference, ...]


@dataclass(frozen=True)
class Block:
    """Rows that are compared with each other: of each the (mean, spread) of every criterion."""

    cells: dict[str, tuple[tuple[float, float], ...]]
    comparison: Comparison | None


@dataclass(frozen=True)
class Table:
    """One of the tables: accuracies in blocks, and what every row costs, in the order of ``COSTS``."""

    title: str
    criteria: tuple[Criterion, ...]
    strengths: tuple[str, ...]
    blocks: tuple[Block, ...]
    costs: dict[str, tuple[str, ...]]


def tables_in(rows: Sequence[Row], protocol: Protocol) -> list[Table]:
    """Return the tables of a study, without methods that it lacks, and without a table of nothing new."""
    criteria = criteria_of(rows)
    strengths = tuple(f"{getattr(protocol, c.strength):g}" if c.kind else "" for c in criteria)
    tables = []
    for title, groups in groups_made(rows, protocol).items():
        blocks = tuple(_block(rows, criteria, group) for group in groups)
        tables.append(Table(title, criteria, strengths, blocks, _costs(rows, groups)))
    return tables


def groups_made(rows: Sequence[Row], protocol: Protocol) -> dict[str, list[Group]]:
    """Return the groups of every table, of those methods that the rows have."""
    made, told = {row["method"] for row in rows}, set[str]()
    found = {}
    for title, groups in tables_of(protocol).items():
        shown = [Group(group.subject, tuple(r for r in group.rows if r in made)) for group in groups]
        shown = [group for group in shown if group.rows]
        here = {row for group in shown for row in group.rows}
        if not here <= told:
            found[title] = shown
        told |= here
    return found


def criteria_of(rows: Sequence[Row]) -> tuple[Criterion, ...]:
    """Return the columns of accuracies: forgetting is one where there is something to forget."""
    return CRITERIA if knows_every_class(rows) else (*CRITERIA, OLD_CLASSES)


def knows_every_class(rows: Sequence[Row]) -> bool:
    """Say whether the teacher knows the class of every test row."""
    return all(row["n_test_old"] == row["n_test"] for row in rows)


def short_name(row: str) -> str:
    """Return a row's name without what all rows of its group have."""
    return row.removesuffix(" + kept terms").removesuffix(" on D1+D2")


def with_spread(mean: float, spread: float, sign: str = "") -> str:
    """Return a number and its spread, which is left out where it is NaN.

    Examples
    --------
    >>> from skantidistill.study.report.tables import with_spread
    >>> with_spread(0.8821, 0.0034), with_spread(-0.01, float("nan"), "+")
    ('.882 ±.003', '-.010')
    """
    text = f"{mean:{sign}.3f}".replace("0.", ".", 1) if abs(mean) < 0.9995 else f"{mean:{sign}.3f}"
    return text + ("" if math.isnan(spread) else f" ±{spread:.3f}".replace("±0.", "±."))


def _block(rows: Sequence[Row], criteria: Sequence[Criterion], group: Group) -> Block:
    means = [summarise(rows, c.column) for c in criteria]
    cells = {row: tuple(mean[row] for mean in means) for row in group.rows}
    if group.subject not in group.rows or not group.rivals:
        return Block(cells, None)
    best = tuple(best_of(rows, c.column, group.rivals) for c in criteria)
    found = (compare(rows, c.column, group.subject, b) for c, b in zip(criteria, best, strict=True))
    return Block(cells, Comparison(group.subject, best, tuple(found)))


def _costs(rows: Sequence[Row], groups: list[Group]) -> dict[str, tuple[str, ...]]:
    reference = groups[0].rows[0]
    soon = {clock: _by_method(rows, time_to_reach(rows, reference, clock)) for clock in ("epochs", "seconds")}
    columns = {name: summarise(rows, name) for name in ("phi_steps", "steps", "seconds", "trace")}
    costs = {}
    for row in [row for group in groups for row in group.rows]:
        steps = " + ".join(f"{columns[name][row][0]:.0f}" for name in ("phi_steps", "steps"))
        when = [_when(soon[clock][row]) if reference.startswith("Xavier") else "" for clock in soon]
        taken, trace = columns["seconds"][row][0], columns["trace"][row][0]
        costs[row] = (steps, f"{taken:.1f}", *when, f"{trace:.4g}")
    return costs


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
