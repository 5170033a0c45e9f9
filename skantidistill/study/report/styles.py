"""How methods look in the figures of a study: one colour, marker and dash each, the same in all of them.

Colours are written as those of the light scheme, and no two roles share one: a page that has a dark scheme
puts its own in their place.
"""

from typing import Any, NamedTuple

__all__ = ["BACK", "COLORS", "GRID", "INK", "MUTED", "Style", "style_of"]

INK, MUTED, GRID, BACK = "#1c2127", "#6a7079", "#dfe3e8", "#fefefe"

#: Role -> (light, dark). AD is the one that stands out; the others differ in lightness, too, for all eyes.
COLORS = {
    "ink": (INK, "#e8eaed"),
    "muted": (MUTED, "#a0a7b1"),
    "grid": (GRID, "#343a43"),
    "back": (BACK, "#15181d"),
    "ad": ("#cd3f08", "#ff8552"),
    "ad-part": ("#b05a22", "#d99a76"),
    "ad-phi": ("#94644a", "#b98a6c"),
    "xavier": ("#3f3a9b", "#9d9cf5"),
    "zero": ("#6e7683", "#8d97a5"),
    "uniform": ("#17804a", "#4fc486"),
    "transfer": ("#9c3f93", "#dd8ad4"),
    "net2net": ("#1c7cae", "#63bdeb"),
    "noise": ("#7f6f0f", "#cbb84a"),
}


class Style(NamedTuple):
    """How one method is drawn."""

    role: str
    marker: str
    dashes: Any  # matplotlib's linestyle

    @property
    def color(self) -> str:
        """The colour, of the light scheme."""
        return COLORS[self.role][0]


_STYLES = {
    "Xavier": Style("xavier", "s", (0, (5, 1.5))),
    "Zero": Style("zero", "v", (0, (1, 1.2))),
    "Uniform": Style("uniform", "D", (0, (6, 1.5, 1.2, 1.5))),
    "Transfer": Style("transfer", "^", (0, (3, 1.5))),
    "Net2Net": Style("net2net", "P", (0, (7, 2))),
    "Data noise": Style("noise", "X", (0, (2, 1, 1, 1))),
    "AD phi only": Style("ad-phi", "<", (0, (1.5, 1.5))),
    "AD l4=0": Style("ad-part", ">", (0, (4, 1.5))),
    "AD": Style("ad", "o", "-"),
}
_UNKNOWN = Style("muted", "h", "-")


def style_of(method: str) -> Style:
    """Return how a method is drawn: as its start, whatever it is trained by."""
    for suffix in (" + kept terms", " on D1+D2"):
        method = method.removesuffix(suffix)
    return _STYLES.get(method, _UNKNOWN)
