"""Panels of figures, and how they become an image file or a part of a page; no display is needed."""

import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.isotonic import isotonic_regression

from skantidistill._checks import import_optional
from skantidistill.study.report.styles import BACK, COLORS, GRID, INK, MUTED

__all__ = ["USER", "Label", "Panel", "Picture", "as_figure", "as_png", "as_svg", "label_beside", "spread_out"]

USER = "A figure of the study"
DPI = 170
WIDTH, HEIGHT = 4.4, 3.4  # inches of a panel
TOP, BOTTOM = 0.36, 0.52  # inches around the axes, for title and ticks
FONT = 9.0  # points; nearly CSS pixels where a panel is as wide as a telephone
LINE = 1.2 * FONT


@dataclass(frozen=True)
class Panel:
    """One pair of axes: a function draws on it; left and right are the inches beside it."""

    title: str
    draw: Callable[[Any], None]
    left: float = 0.66
    right: float = 0.98
    height: float = HEIGHT


@dataclass(frozen=True)
class Picture:
    """A figure of one or more panels, with the name of its file and what is said of it."""

    name: str
    title: str
    caption: str
    panels: tuple[Panel, ...]
    n_columns: int = 2


@dataclass(frozen=True)
class Label:
    """A text beside the axes at the height of a point (in data), to which a line may lead."""

    x: float
    y: float
    text: str
    color: str
    bold: bool = False


def as_figure(panels: Sequence[Panel], n_columns: int) -> Any:
    """Return a matplotlib Figure of panels, line by line; all sizes are in inches, and so known at once."""
    figure_module = import_optional("matplotlib.figure", "matplotlib", USER)
    n_columns = min(n_columns, len(panels))
    lines = [panels[n : n + n_columns] for n in range(0, len(panels), n_columns)]
    heights = [max(panel.height for panel in line) for line in lines]
    width, height = WIDTH * n_columns, sum(heights)
    with _style():
        figure = figure_module.Figure(figsize=(width, height), dpi=DPI)
        top = height
        for line, high in zip(lines, heights, strict=True):
            for column, panel in enumerate(line):
                left, bottom = column * WIDTH + panel.left, top - panel.height + BOTTOM
                box = (WIDTH - panel.left - panel.right, panel.height - TOP - BOTTOM)
                ax = figure.add_axes((left / width, bottom / height, box[0] / width, box[1] / height))
                ax.set_title(panel.title, loc="left")
                panel.draw(ax)
            top -= high
    return figure


def as_png(picture: Picture) -> bytes:
    """Return a picture as the content of a PNG file."""
    figure = as_figure(picture.panels, picture.n_columns)
    content = io.BytesIO()
    with _style():
        figure.savefig(content, format="png")
    return content.getvalue()


def as_svg(panel: Panel, key: str) -> str:
    """Return a panel as an ``<svg>`` element to put into a page.

    Text stays text, and colours are the page's: variables named ``--`` and the role, and its own for ink.
    Identifiers begin with the key, so that those of several panels differ.
    """
    figure = as_figure([panel], 1)
    content = io.StringIO()
    with _style():
        figure.savefig(content, format="svg", transparent=True)
    svg = content.getvalue()
    svg = svg[svg.index("<svg") :]
    # The style would be the whole page's, which has the same of its own.
    svg = re.sub(r"<metadata>.*?</metadata>\s*|<style.*?</style>\s*", "", svg, flags=re.S)
    svg = re.sub(
        r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', svg, count=1
    )
    svg = re.sub(r'\bid="', f'id="{key}-', svg)
    svg = re.sub(r'xlink:href="#', f'href="#{key}-', svg)
    svg = svg.replace("url(#", f"url(#{key}-")
    for role, (light, _) in COLORS.items():
        svg = svg.replace(light, "currentColor" if role == "ink" else f"var(--{role})")
    # Hundredths of a point are enough; only in tags, since numbers between them are labels.
    svg = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\.\d\d)\d+", r"\1", tag[0]), svg)
    return re.sub(r"\n\s*", "\n", svg).strip()


def label_beside(ax: Any, labels: Sequence[Label], side: str = "right", edge: float = 1.0) -> None:
    """Write labels beside an edge, as near to their points as they can be without touching each other.

    Limits and scales of the axes have to be final.

    Parameters
    ----------
    ax : matplotlib Axes
        Where to write.
    labels : sequence of Label
        What to write.
    side : {"right", "left"}, default="right"
        On which side of the edge.
    edge : float, default=1.0
        The edge, in shares of the axes' width; a thin line leads to it from every point.
    """
    scale = 72 / ax.figure.dpi
    box = ax.get_window_extent()
    width, height = box.width * scale, box.height * scale
    points = [ax.transAxes.inverted().transform(ax.transData.transform((la.x, la.y))) for la in labels]
    wanted = np.array([point[1] * height for point in points])
    heights = spread_out(wanted, LINE, 0.3 * LINE, height + 0.2 * LINE)
    elbow = 6 / width if side == "right" else -6 / width
    for label, (x, y), found in zip(labels, points, heights / height, strict=True):
        line = {"color": label.color, "lw": 0.6, "alpha": 0.7, "clip_on": False, "zorder": 1}
        ax.plot([x, edge, edge + elbow], [y, found, found], transform=ax.transAxes, **line)
        ax.text(
            edge + 1.4 * elbow,
            found,
            label.text,
            color=label.color,
            weight="bold" if label.bold else "normal",
            ha="left" if side == "right" else "right",
            va="center",
            transform=ax.transAxes,
        )


def spread_out(wanted: np.ndarray, gap: float, low: float, high: float) -> np.ndarray:
    """Return positions at least a gap apart within [low, high], the nearest to those wanted (least squares).

    Where they can't be, the gap is smaller.

    Examples
    --------
    >>> import numpy as np
    >>> from skantidistill.study.report.pictures import spread_out
    >>> spread_out(np.array([50.0, 10.0, 50.0]), gap=8, low=0, high=100).tolist()
    [46.0, 10.0, 54.0]
    """
    if len(wanted) == 0:
        return wanted
    order = np.argsort(wanted, kind="stable")
    steps = min(gap, (high - low) / max(len(wanted) - 1, 1)) * np.arange(len(wanted))
    found = np.empty(len(wanted))
    found[order] = np.clip(isotonic_regression(wanted[order] - steps), low, high - steps[-1]) + steps
    return found


@contextmanager
def _style() -> Iterator[None]:
    """Draw in a style of our own, whatever the user's is; theirs is as before behind it."""
    style = import_optional("matplotlib.style", "matplotlib", USER)
    small = {f"{name}.labelsize": FONT for name in ("xtick", "ytick")}
    with style.context(
        {
            **small,
            "font.size": FONT,
            "font.family": "DejaVu Sans",  # comes with matplotlib
            "axes.labelsize": FONT,
            "axes.titlesize": FONT + 0.5,
            "axes.titleweight": "bold",
            "axes.edgecolor": MUTED,
            "axes.linewidth": 0.7,
            "axes.facecolor": BACK,
            "figure.facecolor": BACK,
            "text.color": INK,
            "axes.labelcolor": INK,
            "xtick.color": MUTED,
            "ytick.color": MUTED,
            "xtick.labelcolor": INK,
            "ytick.labelcolor": INK,
            "grid.color": GRID,
            "grid.linewidth": 0.7,
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "svg.fonttype": "none",
            "svg.hashsalt": "study",  # the same figure is the same text
        },
        after_reset=True,
    ):
        yield
