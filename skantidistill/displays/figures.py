"""What every display does: get axes to draw on, and make them plain."""

from typing import Any

from skantidistill._checks import import_optional

__all__ = ["find_axes", "make_plain"]


def find_axes(ax: Any, user: str, **settings: Any) -> Any:
    """Return the given axes, or those of a new figure."""
    pyplot = import_optional("matplotlib.pyplot", "matplotlib", user)
    return pyplot.subplots(layout="constrained", **settings)[1] if ax is None else ax


def make_plain(ax: Any) -> None:
    """Leave a light grid and the two axes that are read."""
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
