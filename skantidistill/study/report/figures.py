"""Figures of a study that are points: AD's differences, cost against gain, and the front of a tuning."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from skantidistill.study.measure import CRITERIA, Criterion
from skantidistill.study.report.curves import (
    FIRMNESS,
    SPOKEN,
    draw_epochs,
    draw_rows,
    draw_strengths,
    few_ticks,
)
from skantidistill.study.report.pictures import Label, Panel, Picture, label_beside
from skantidistill.study.report.styles import BACK, INK, MUTED, style_of
from skantidistill.study.report.tables import Comparison, Studied, Table, short_name, tables_in, with_spread
from skantidistill.study.statistics import paired, summarise

__all__ = ["draw_costs", "draw_differences", "draw_front", "draw_rows", "pictures_of"]

Row = Mapping[str, Any]

VERDICT_MARKERS = {"wins": "^", "ties": "o", "loses": "v", "1 seed": "d"}
ROW_HEIGHT = 0.36  # inches


def pictures_of(studied: Studied) -> list[Picture]:
    """Return the figures of one study, in the order of their importance; those that it has rows for."""
    pictures = [draw_differences(studied), draw_epochs(studied)]
    pictures += [draw_strengths(studied, criterion) for criterion in CRITERIA if criterion.by_strength]
    pictures.append(draw_costs(studied))
    return [picture for picture in pictures if picture.panels]


def draw_differences(studied: Studied) -> Picture:
    """Return AD's paired differences to the best other row, with their intervals, a panel a comparison."""
    rows, protocol, _ = studied
    tables = tables_in(rows, protocol)
    compared = [(table, block.comparison) for table in tables for block in table.blocks if block.comparison]
    limits = _limits(rows, compared)

    def panel(table: Table, comparison: Comparison) -> Panel:
        def draw(ax: Any) -> None:
            _draw_forest(ax, rows, table, comparison)
            ax.set_xlim(limits)

        title = f"{table.title.capitalize()}: {comparison.subject}"
        return Panel(title, draw, 1.12, 1.05, 1.0 + ROW_HEIGHT * len(table.criteria))

    return Picture(
        "differences",
        "What AD wins, and what it does not",
        "AD minus the best other row of each criterion: its mean, the 95 % interval (Student's t), and below "
        "it every seed. Right of 0 AD is better. Triangles up win, circles tie, triangles down lose. No "
        "interval is widened for the number of comparisons; the other row was chosen after the fact.",
        tuple(panel(*pair) for pair in compared),
    )


def _limits(rows: Sequence[Row], compared: Sequence[tuple[Table, Comparison]]) -> tuple[float, float]:
    """Return limits that all panels share, so that a small difference looks small in each."""
    ends = [0.0]
    for table, comparison in compared:
        for criterion, other, found in zip(
            table.criteria, comparison.others, comparison.differences, strict=True
        ):
            width = 0.0 if math.isnan(found.half_width) else found.half_width
            ends += [found.mean - width, found.mean + width]
            ends += paired(rows, criterion.column, comparison.subject, other)
    margin = 0.05 * (max(ends) - min(ends)) or 0.01
    return min(ends) - margin, max(ends) + margin


def _draw_forest(ax: Any, rows: Sequence[Row], table: Table, comparison: Comparison) -> None:
    ax.axvline(0, color=INK, lw=0.9, zorder=2)
    compared = zip(table.criteria, comparison.others, comparison.differences, strict=True)
    for n, (criterion, other, found) in enumerate(compared):
        verdict = found.verdict
        color = style_of("AD").color if verdict == "wins" else INK if verdict == "loses" else MUTED
        differences = paired(rows, criterion.column, comparison.subject, other)
        ax.plot(differences, [n + 0.3] * len(differences), "o", ms=2.8, mew=0, color=MUTED, zorder=3)
        if not math.isnan(found.half_width):
            ends = [found.mean - found.half_width, found.mean + found.half_width]
            ax.plot(ends, [n, n], "-|", color=color, lw=1.8, ms=6, mew=1.8, zorder=4)
        face = color if verdict in ("wins", "loses") else BACK
        ax.plot([found.mean], [n], VERDICT_MARKERS[verdict], ms=7, color=color, mfc=face, mew=1.4, zorder=5)
        _write_lines(ax, -0.03, n, (criterion.heading, f"vs {short_name(other)}"), "right", INK)
        number = with_spread(found.mean, found.half_width, "+")
        _write_lines(ax, 1.03, n, (number, verdict), "left", color)
    n = len(table.criteria)
    ax.set(ylim=(n - 0.5, -0.6), yticks=range(n), yticklabels=[], xlabel="difference of accuracies")
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", visible=False)
    ax.xaxis.set_major_locator(few_ticks(4))
    ax.xaxis.set_major_formatter(lambda x, _: f"{x:+.2f}" if abs(x) > 1e-9 else "0")


def _write_lines(ax: Any, x: float, y: float, lines: tuple[str, str], side: str, color: str) -> None:
    """Write two lines, each a text of its own: only so it stays aligned in the font of a page."""
    for line, va in zip(lines, ("bottom", "top"), strict=True):
        ax.text(x, y, line, color=color, ha=side, va=va, transform=ax.get_yaxis_transform())


def draw_costs(studied: Studied) -> Picture:
    """Return the seconds of fit against the paper's criteria: a panel a criterion, a point a row."""
    rows, protocol, _ = studied
    methods = dict.fromkeys(m for table in tables_in(rows, protocol) for m in table.costs)

    def panel(criterion: Criterion) -> Panel:
        return Panel(criterion.heading, lambda ax: _draw_cost(ax, rows, list(methods), criterion), right=1.28)

    return Picture(
        "cost-against-gain",
        "Cost against gain",
        "Seconds of fit, phi's too (log scale), against the criterion; means over seeds, vertical bars one "
        "standard deviation. Filled: trained with AD's terms; open: by cross-entropy alone. Further up and "
        "to the left is better.",
        tuple(map(panel, FIRMNESS)),
        n_columns=3,
    )


def _draw_cost(ax: Any, rows: Sequence[Row], methods: list[str], criterion: Criterion) -> None:
    seconds, gains = summarise(rows, "seconds"), summarise(rows, criterion.column)
    middle = np.median([seconds[m][0] for m in methods])
    sides: dict[str, list[Label]] = {"left": [], "right": []}
    ax.set_xscale("log")
    for method in methods:
        style, first = style_of(method), method == "AD"
        (x, _), (y, spread) = seconds[method], gains[method]
        face = style.color if _has_kept_terms(method) else BACK
        if not math.isnan(spread):
            ax.plot([x, x], [y - spread, y + spread], color=style.color, lw=0.8, alpha=0.6, zorder=2)
        size = 8 if first else 5.5
        ax.plot([x], [y], style.marker, ms=size, color=style.color, mfc=face, zorder=4 + first, label=method)
        name = method.replace(" + kept terms", " + kept")
        side = "left" if x < middle else "right"
        sides[side].append(Label(x, y, name, style.color, first))
    inside = 0.46 if sides["left"] else 0.0
    _make_room(ax, [seconds[method][0] for method in methods], inside)
    ax.set(ylim=ax.get_ylim(), xlabel="seconds of fit", ylabel=SPOKEN[criterion.column])
    ax.yaxis.set_major_locator(few_ticks())
    label_beside(ax, sides["left"], "left", inside)
    label_beside(ax, sides["right"])


def _make_room(ax: Any, seconds: Sequence[float], inside: float) -> None:
    """Let the points begin behind a share of the axes, where labels stand."""
    low, high = math.log10(min(seconds)) - 0.06, math.log10(max(seconds)) + 0.06
    ax.set_xlim(10 ** (high - (high - low) / (1 - inside)), 10**high)
    ticks = [tick for tick in _seconds_ticks(*ax.get_xlim()) if tick >= 0.9 * min(seconds)]
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()


def _has_kept_terms(method: str) -> bool:
    return method in ("AD", "AD l4=0") or method != short_name(method)


def draw_front(tuning: Any) -> Picture:
    """Return the trials of a tuning: a panel a pair of criteria; what no trial beats in all is the front.

    Parameters
    ----------
    tuning : Tuning
        With ``columns``, ``trials`` (of ``number`` and ``values``), ``chosen`` and ``front`` (numbers).
    """
    names = {c.column: c.heading for c in CRITERIA}

    def panel(one: int, other: int) -> Panel:
        def draw(ax: Any) -> None:
            _draw_trials(ax, tuning, one, other)
            ax.set(xlabel=names.get(tuning.columns[one], tuning.columns[one]))
            ax.set(ylabel=names.get(tuning.columns[other], tuning.columns[other]))

        return Panel(" by ".join(names.get(tuning.columns[n], tuning.columns[n]) for n in (other, one)), draw)

    return Picture(
        "pareto-front",
        "The Pareto front of the tuning",
        "Every point is a setting of AD, by its criteria on validation rows. Filled: the front, which no "
        "setting beats in one criterion without losing in another, all criteria counted; crosses: the "
        "others. Up and to the right is better.",
        tuple(panel(one, other) for one, other in combinations(range(len(tuning.columns)), 2)),
        n_columns=3,
    )


def _draw_trials(ax: Any, tuning: Any, one: int, other: int) -> None:
    front, color = set(tuning.front), style_of("AD").color
    points = {t.number: (t.values[one], t.values[other]) for t in tuning.trials}
    behind = [point for number, point in points.items() if number not in front]
    if behind:
        ax.plot(*zip(*behind, strict=True), "x", ms=4.5, color=MUTED, alpha=0.8, label="dominated")
    ax.plot(*zip(*(points[n] for n in sorted(front)), strict=True), "o", ms=5, color=color, label="front")
    told = {0: "defaults", tuning.chosen: "chosen"}
    if tuning.chosen == 0:
        told = {0: "chosen, defaults"}
    labels = []
    for number, text in told.items():
        if number not in points:  # the defaults may have failed
            continue
        chosen = number == tuning.chosen
        ax.plot(*zip(points[number], strict=True), "o", ms=11, color=INK, mfc="none", mew=1.4, zorder=6)
        labels.append(Label(*points[number], text, INK, chosen))
    ax.xaxis.set_major_locator(few_ticks())
    ax.yaxis.set_major_locator(few_ticks())
    ax.set(xlim=ax.get_xlim(), ylim=ax.get_ylim())
    label_beside(ax, labels)


def _seconds_ticks(low: float, high: float) -> list[float]:
    """Return 1, 2, 3 and 5 times powers of ten between two limits."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [n * 10.0**p for p in powers for n in (1, 2, 3, 5) if low <= n * 10.0**p <= high]
