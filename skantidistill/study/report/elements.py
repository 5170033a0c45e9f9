"""Elements of a page: tables, figures, lists and code, with everything escaped that they are given."""

import re
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files

from skantidistill.study.report.pictures import Picture, as_svg
from skantidistill.study.report.styles import COLORS

__all__ = [
    "cell",
    "code",
    "definitions",
    "emphasise",
    "figure",
    "items",
    "page",
    "paragraph",
    "table",
    "verdict_cell",
]

#: Nothing is fetched and nothing runs, whoever looks at the page.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_TINT = ("#f6f4f1", "#1e2228")


def page(title: str, body: str) -> str:
    """Return a whole page, which needs no other file."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_palette()}\n{_sheet()}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def paragraph(text: str, kind: str = "") -> str:
    """Return a paragraph."""
    return f"<p{_class(kind)}>{escape(text)}</p>"


def items(texts: Iterable[str], kind: str) -> str:
    """Return a list."""
    return f"<ul{_class(kind)}>\n" + "\n".join(f"<li>{escape(text)}</li>" for text in texts) + "\n</ul>"


def code(text: str, kind: str = "") -> str:
    """Return lines to copy."""
    return f'<pre{_class(kind)} tabindex="0"><code>{escape(text)}</code></pre>'


def cell(text: str, best: bool = False) -> str:
    """Return a cell that holds a number and its spread; the best of a column is bold and underlined."""
    number, gap, spread = escape(text).partition(" ±")
    if best:
        number = f"<strong>{number}</strong>"
    return f"<td>{number}" + (f" <i>±{spread}</i></td>" if gap else "</td>")


def verdict_cell(verdict: str) -> str:
    """Return a cell that says "wins", "ties" or "loses", with a mark."""
    return f"<td{_class(verdict.replace('1 seed', 'one-seed'))}>{escape(verdict)}</td>"


def table(
    caption: str,
    remark: str,
    headings: Sequence[tuple[str, str]],
    bodies: Sequence[Sequence[tuple[str, str]]],
) -> str:
    """Return a table in a container that scrolls.

    Parameters
    ----------
    caption, remark : str
        Its title, and what is said behind it.
    headings : sequence of (str, str)
        Of the columns, the rows' names included, each with what is smaller below it.
    bodies : sequence of sequences of (str, str)
        Parts of lines; a line is its name, and its cells as elements.
    """
    head = "".join(
        f'<th scope="col">{escape(text)}' + (f"<small>{escape(small)}</small></th>" if small else "</th>")
        for text, small in headings
    )
    parts = []
    for lines in bodies:
        rows = (
            f"<tr{_class('subject' * (name.split(' on ')[0] == 'AD'))}>"
            f'<th scope="row">{escape(name)}</th>{cells}</tr>'
            for name, cells in lines
        )
        parts.append("<tbody>\n" + "\n".join(rows) + "\n</tbody>")
    named = f"<caption>{escape(caption)} <small>{escape(remark)}</small></caption>"
    content = "\n".join([named, f"<thead>\n<tr>{head}</tr>\n</thead>", *parts])
    return _scrolling(caption, f"<table>\n{content}\n</table>")


def definitions(caption: str, pairs: Iterable[tuple[str, str]]) -> str:
    """Return a table of names and what they are."""
    rows = "\n".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(text)}</td></tr>' for name, text in pairs
    )
    content = f"<caption>{escape(caption)}</caption>\n<tbody>\n{rows}\n</tbody>"
    return _scrolling(caption, f'<table class="plain">\n{content}\n</table>')


def figure(picture: Picture, key: str, file: str) -> str:
    """Return a figure whose panels stand side by side where there is room; the key tells it from others."""
    panels = "\n".join(as_svg(panel, f"{key}-{n}") for n, panel in enumerate(picture.panels))
    named = f"{picture.title}. {'; '.join(panel.title for panel in picture.panels)}"
    said = f"<strong>{escape(picture.title)}.</strong> {escape(picture.caption)} File: {escape(file)}"
    return (
        f'<figure id="{escape(key)}">\n<div class="panels" role="img" aria-label="{escape(named)}">\n'
        f"{panels}\n</div>\n<figcaption>{said}</figcaption>\n</figure>"
    )


def emphasise(text: str) -> str:
    """Return a sentence, escaped, with its verdicts in bold; a number and its spread stay on one line."""
    text = re.sub(r"\b(wins|ties|loses) in (?!nothing)", r'<strong class="\1">\1</strong> in ', escape(text))
    text = text.replace(" ±", "\N{NO-BREAK SPACE}±")
    return text.replace("wins in nothing", "<strong>wins in nothing</strong>")


def _scrolling(name: str, element: str) -> str:
    """Return an element in a container that scrolls, so that the page does not; keys reach it, too."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(name)}">\n{element}\n</div>'


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""


def _palette() -> str:
    """Return the two colour schemes; print has the light one."""
    light, dark = (
        " ".join(f"--{role}: {both[n]};" for role, both in [*COLORS.items(), ("tint", _TINT)]) for n in (0, 1)
    )
    return f":root {{ {light} }}\n@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}"


def _sheet() -> str:
    return files("skantidistill.study.report").joinpath("page.css").read_text("utf-8")
