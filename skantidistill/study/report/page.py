"""The report of a study as a page of its own, with its figures; the content is that of the printed text."""

import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from skantidistill._checks import import_optional
from skantidistill.classifier import AntiDistilledMLPClassifier
from skantidistill.study.errors import errors_told
from skantidistill.study.measure import CRITERIA
from skantidistill.study.protocols import Protocol, student_parameters, versions
from skantidistill.study.report import elements as e
from skantidistill.study.report.figures import draw_front, draw_rows, pictures_of
from skantidistill.study.report.pictures import USER, Picture, as_png
from skantidistill.study.report.tables import COSTS, Block, Studied, Table, short_name, tables_in, with_spread
from skantidistill.study.report.words import columns, notes, scenario, setting, verdict
from skantidistill.writing import write_whole

__all__ = ["FIGURES", "NO_FIGURES", "PAGE", "Report", "as_html", "write_report"]

PAGE, FIGURES = "report.html", "figures"
_OURS = re.compile(
    r"((rows|study)-\d+-)?(differences|accuracy-by-[a-z-]+|cost-against-gain|criteria-by-rows|pareto-front)\.png"
)
#: Parameters of a student that say nothing about what it becomes.
_ASIDE = ("teacher", "callbacks", "memory", "random_state", "verbose", "warm_start")
NO_FIGURES = "There are no figures, since matplotlib can't be imported: pip install matplotlib"


class Report(NamedTuple):
    """Where a report is; without matplotlib it has no figures."""

    page: Path
    figures: tuple[Path, ...]


def write_report(folder: Any, studies: Sequence[Studied], tuning: Any = None) -> Report:
    """Write ``report.html`` and PNG figures into a folder; figures of an earlier report there are removed.

    Parameters
    ----------
    folder : str or path-like
        Exists already.
    studies : sequence of Studied
        Those of one command, which may differ in their ``rows``.
    tuning : Tuning, default=None
        Whose front is to be shown, too.

    Returns
    -------
    report : Report
        The paths of the page and of the figures.

    Raises
    ------
    StudyError
        If the folder can't be written to; what was there before stays whole.
    """
    folder = Path(folder)
    drawn = _drawn(studies, tuning) if _can_draw() else None
    content = as_html(studies, tuning, drawn)
    pngs = {f"{key}.png": as_png(picture) for found in drawn or [] for key, picture in found}
    shown = folder / FIGURES
    with errors_told(folder):
        if pngs:
            shown.mkdir(exist_ok=True)
        for name, png in pngs.items():
            write_whole(shown / name, png)
        write_whole(folder / PAGE, content.encode(errors="backslashreplace"))
        for path in shown.glob("*.png"):
            if _OURS.fullmatch(path.name) and path.name not in pngs:
                path.unlink(missing_ok=True)  # another process may have been here
    return Report(folder / PAGE, tuple(shown / name for name in pngs))


def as_html(
    studies: Sequence[Studied], tuning: Any = None, drawn: list[list[tuple[str, Picture]]] | None = None
) -> str:
    """Return the report as a page that needs no other file, no network and no scripts.

    Parameters
    ----------
    studies : sequence of Studied
        Those of one command, which may differ in their ``rows``.
    tuning : Tuning, default=None
        Whose front is to be shown, too.
    drawn : list of list of (str, Picture), default=None
        Figures with their names: of all studies together, of each, and of the tuning; None: no figures.
    """
    empty: list[list[str]] = [[] for _ in range(len(studies) + 2)]
    figures = empty if drawn is None else [[_figure(*named) for named in found] for found in drawn]
    several = len(studies) > 1
    title = _title(studies, tuning)
    parts = [e.paragraph("A study by skantidistill", "kind"), f"<h1>{escape(title)}</h1>"]
    parts += [_said(study, several) for study in studies]
    parts += figures[0]
    parts += [] if drawn is not None else [e.paragraph(NO_FIGURES, "aside")]
    for n, study in enumerate(studies):
        if several:
            parts.append(f'<h2 id="study-{n}">{escape(_name(study.protocol))}</h2>')
        parts += _study(study, figures[1 + n], "h3" if several else "h2")
    if tuning is not None:
        parts += _tuning(tuning, figures[-1])
    return e.page(title, "\n".join(parts))


def _can_draw() -> bool:
    try:
        import_optional("matplotlib.figure", "matplotlib", USER)
    except ImportError:
        return False
    return True


def _drawn(studies: Sequence[Studied], tuning: Any) -> list[list[tuple[str, Picture]]]:
    """Return the figures with their names: of all studies together, of each, and of the tuning."""
    numbers = [study.protocol.rows for study in studies]
    differ = len(set(numbers)) == len(numbers) > 1
    together = [draw_rows(studies)] if differ else []
    prefixes = [f"rows-{number}-" if differ else f"study-{n}-" for n, number in enumerate(numbers)]
    own = [
        [((len(studies) > 1) * prefix + picture.name, picture) for picture in pictures_of(study)]
        for prefix, study in zip(prefixes, studies, strict=True)
    ]
    front = [] if tuning is None else [draw_front(tuning)]
    return [[(p.name, p) for p in together], *own, [(p.name, p) for p in front]]


def _figure(key: str, picture: Picture) -> str:
    return e.figure(picture, key, f"{FIGURES}/{key}.png")


def _title(studies: Sequence[Studied], tuning: Any) -> str:
    names: dict[str, list[str]] = {}
    for study in studies:
        names.setdefault(study.protocol.title, []).append(scenario(study.protocol))
    titles = [f"{title}, {' and '.join(dict.fromkeys(what))}" for title, what in names.items()]
    return "; ".join(titles) or tuning.title


def _name(protocol: Protocol) -> str:
    return f"{protocol.title}, {scenario(protocol)}"


def _said(study: Studied, several: bool) -> str:
    """Return the first paragraph: what AD wins, and what it does not."""
    sentences = verdict(study.rows, study.protocol)
    spans = [f"<span><strong>{escape(_name(study.protocol))}.</strong></span>"] * several
    for sentence in sentences:
        kind = ' class="aside"' * sentence.startswith("In brackets")
        spans.append(f"<span{kind}>{e.emphasise(sentence)}</span>")
    return '<p class="lead">' + " ".join(spans) + "</p>"


def _study(study: Studied, figures: list[str], heading: str) -> list[str]:
    """Return the elements of one study; the differences stand with what is said of them, before the rest."""
    rows, protocol, _ = study

    def titled(text: str) -> str:
        return f"<{heading}>{escape(text)}</{heading}>"

    tables = tables_in(rows, protocol)
    n_first = int(any(block.comparison for table in tables for block in table.blocks))
    parts = [*figures[:n_first], titled("What was studied"), e.paragraph(setting(rows, protocol))]
    parts.append(e.paragraph(columns(rows, protocol)))
    for table in tables:
        parts += [titled(table.title.capitalize()), _accuracies(table), _costs(table)]
        parts.append(e.items(notes(table.title, rows, protocol), "notes"))
    if figures[n_first:]:
        parts += [titled("Figures"), *figures[n_first:]]
    return [*parts, titled("To do it again"), *_again(study)]


def _accuracies(table: Table) -> str:
    headings = [("", ""), *((c.heading, s) for c, s in zip(table.criteria, table.strengths, strict=True))]
    bodies = []
    for block in table.blocks:
        bodies.append(_rows(block))
        if block.comparison:
            subject, found = block.comparison.subject, block.comparison.differences
            bodies.append(
                [
                    (
                        f"{subject} - best other",
                        "".join(e.cell(with_spread(d.mean, d.half_width, "+")) for d in found),
                    ),
                    ("verdict", "".join(e.verdict_cell(d.verdict) for d in found)),
                    ("best other", "".join(e.cell(short_name(other)) for other in block.comparison.others)),
                ]
            )
    caption = f"{table.title.capitalize()}: accuracies"
    return e.table(caption, "Bold and underlined: the highest mean of its rows.", headings, bodies)


def _rows(block: Block) -> list[tuple[str, str]]:
    """Return a block's lines, with the highest means marked; of equal ones all."""
    tops = [max(mean for mean, _ in column) for column in zip(*block.cells.values(), strict=True)]
    several = len(block.cells) > 1
    return [
        (
            row,
            "".join(
                e.cell(with_spread(*found), best=several and found[0] == top)
                for found, top in zip(cells, tops, strict=True)
            ),
        )
        for row, cells in block.cells.items()
    ]


def _costs(table: Table) -> str:
    lines = [(row, "".join(map(e.cell, cells))) for row, cells in table.costs.items()]
    headings = [("", ""), *((heading, "") for heading in COSTS)]
    return e.table(f"{table.title.capitalize()}: costs", "Means over seeds.", headings, [lines])


def _again(study: Studied) -> list[str]:
    """Return the foot: command, seeds, versions, settings, and AD's parameters to paste."""
    rows, protocol, command = study
    settings = {
        "seeds": ", ".join(map(str, sorted({row["seed"] for row in rows}))),
        "teacher's classes": ", ".join(map(str, protocol.teacher_classes)),
        "teacher": _keywords(protocol.teacher),
        "its epochs and step sizes": ", ".join(f"{n} of {size:g}" for n, size in protocol.teacher_phases),
        "students": _keywords(protocol.student),
        "epsilon of FGSM and PGD": f"{protocol.fgsm_epsilon:g}",
        "epsilon of the certificate": f"{protocol.certified_epsilon:g}",
        "epsilon of parameter noise": f"{protocol.noise_epsilon:g}, {protocol.n_draws} draws",
        "measured on": "validation rows" if protocol.on_validation else "test rows",
        "data": protocol.data,
    }
    if protocol.digest is not None:
        settings |= {"target": protocol.target or "y", "SHA-256 of the data": protocol.digest}
    return [
        e.code(command, "command"),
        e.definitions("Settings", settings.items()),
        e.definitions("Versions", versions().items()),
        e.paragraph("AD, to paste; it takes a fitted teacher, and random_state is the seed:"),
        e.code(_ad(rows, protocol)),
    ]


def _ad(rows: Sequence[Any], protocol: Protocol) -> str:
    """Return the call that makes the student of the row AD, every parameter named."""
    row = next((row for row in rows if row["method"] == "AD"), rows[0])
    parameters = student_parameters(protocol, "AD", row["n_old"], row["n_rows"])
    given = AntiDistilledMLPClassifier(**parameters).get_params(deep=False)
    lines = [f"    {name}={_literal(value)}," for name, value in given.items() if name not in _ASIDE]
    body = "\n".join(["    teacher=teacher,", *lines, f"    random_state={row['seed']},"])
    return f"AntiDistilledMLPClassifier(\n{body}\n)"


def _keywords(parameters: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={_literal(value)}" for name, value in parameters.items())


def _literal(value: Any) -> str:
    return 'float("inf")' if value == math.inf else repr(value)


def _tuning(tuning: Any, figures: list[str]) -> list[str]:
    """Return the elements of a tuning: its front as figure and table, and how to do it again."""
    names = {criterion.column: criterion.heading for criterion in CRITERIA}
    trials = [trial for trial in tuning.trials if trial.number in (*tuning.front, tuning.chosen, 0)]
    varied = list(dict.fromkeys(name for trial in trials for name in trial.parameters))
    headings = [("trial", ""), *((names.get(column, column), "") for column in tuning.columns)]
    lines = []
    for trial in trials:
        what = [
            w
            for w, is_it in (("defaults", not trial.number), ("chosen", trial.number == tuning.chosen))
            if is_it
        ]
        name = f"{trial.number}" + f" ({', '.join(what)})" * bool(what)
        cells = [e.cell(with_spread(value, math.nan)) for value in trial.values]
        cells += [e.cell(_short(trial.parameters.get(name, ""))) for name in varied]
        lines.append((name, "".join(cells)))
    remark = "The Pareto front, the estimator's defaults (trial 0), and what was chosen."
    return [
        f"<h2>How AD's setting was tuned: {escape(tuning.title)}</h2>",
        *figures,
        e.table("Trials", remark, [*headings, *((name, "") for name in varied)], [lines]),
        e.code(tuning.command, "command"),
        e.definitions("Versions of the tuning", tuning.versions.items()),
    ]


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
