"""The command line: ``skantidistill study`` runs the study and prints its tables.

``python -m skantidistill`` is the same command; where it is given no subcommand, it is ``study``.
"""

import argparse
import contextlib
import shlex
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import NoReturn

from skantidistill.datasets import DatasetError
from skantidistill.study import (
    METHODS,
    Memory,
    Protocol,
    Run,
    Store,
    Studied,
    StudyError,
    as_text,
    make_protocol,
    methods_of,
    run_study,
    write_report,
)
from skantidistill.study.html import NO_FIGURES
from skantidistill.study.progress import Progress
from skantidistill.study.store import DATABASE

__all__ = ["main"]

USAGE_ERROR, INTERRUPTED = 2, 130
COMMANDS = ("study",)
DEFAULT_SEEDS = {"fashion-mnist": (0, 1, 2)}
SEEDS, PAPER_SEEDS = tuple(range(5)), tuple(range(10))
MOST_SEEDS = 1000


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, default=None
        Arguments behind the program's name; None: those of this process.

    Returns
    -------
    status : int
        0, or 2 where the study can't be done, or 130 after Ctrl-C. Wrong arguments exit with 2.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] not in (*COMMANDS, "-h", "--help", "--version"):
        arguments.insert(0, "study")
    options = _parser().parse_args(arguments)
    options.data = options.data or ("fashion-mnist" if options.paper else "digits")
    try:
        return _study(options)
    except (DatasetError, StudyError) as error:
        print(f"skantidistill: error: {' '.join(str(error).split())}", file=sys.stderr)
    except OSError as error:  # of the tables on stdout
        print(f"skantidistill: error: the tables can't be written ({error.strerror})", file=sys.stderr)
    return USAGE_ERROR


def _study(options: argparse.Namespace) -> int:
    """Run a study a number of rows, and print each as it is finished."""
    studies = []
    with _results(options.out) as results:
        try:
            for n_rows in options.rows or (None,):
                studies.append(_one_study(options, n_rows, results))
                print(as_text(*studies[-1]), flush=True)
            if isinstance(results, Store):
                _write(results, studies)
        except KeyboardInterrupt:
            print(f"skantidistill: interrupted; {_how_to_resume(results)}", file=sys.stderr)
            return INTERRUPTED
    return 0


def _write(store: Store, studies: Sequence[Studied]) -> None:
    """Write the table and the report of a command's studies, and say where they are."""
    table, report = store.write_table(), write_report(store.folder, studies)
    hint = "" if report.figures else f"\n{NO_FIGURES}"
    print(f"\nThe report: {report.page}{hint}\nThe rows of these tables: {table}")
    print(f"To resume or extend: {store.folder / DATABASE}", flush=True)


def _one_study(options: argparse.Namespace, n_rows: int | None, results: Store | Memory) -> Studied:
    protocol = _protocol(options, n_rows)
    seeds = _default_seeds(options)
    methods = options.methods or methods_of(protocol)
    unknown = [method for method in methods if method not in methods_of(protocol)]
    if unknown:
        raise StudyError(f"--methods: {', '.join(unknown)} needs --rows, or D1 is a part of D2.")
    runs = [Run(seed, method) for seed in seeds for method in methods]
    with Progress(runs, options.quiet) as progress:
        rows = run_study(protocol, seeds, methods, results=results, n_jobs=options.jobs, watcher=progress)
    return Studied(rows, protocol, _command(options, n_rows, seeds))


def _protocol(options: argparse.Namespace, n_rows: int | None) -> Protocol:
    changed = (options.target, options.teacher_classes, options.teacher_features, n_rows, options.hidden)
    if options.paper and (options.data != "fashion-mnist" or any(value is not None for value in changed)):
        raise StudyError(
            "--paper is the published protocol; it goes with --seeds, --methods, --jobs and --out only."
        )
    return make_protocol(
        options.data,
        target=options.target,
        teacher_classes=options.teacher_classes,
        teacher_features=options.teacher_features,
        rows=n_rows,
        hidden=options.hidden,
    )


def _default_seeds(options: argparse.Namespace) -> tuple[int, ...]:
    default = PAPER_SEEDS if options.paper else DEFAULT_SEEDS.get(options.data, SEEDS)
    return options.seeds or default


@contextlib.contextmanager
def _results(folder: str | None) -> Iterator[Store | Memory]:
    """Give what keeps the runs: the folder, or else the memory."""
    if folder is None:
        yield Memory()
        return
    with Store(folder) as store:
        yield store


def _how_to_resume(results: Store | Memory) -> str:
    if isinstance(results, Memory):
        return "nothing is kept, run the command again (with --out DIR, finished runs are kept)."
    return f"{results.count()} finished runs are kept in {results.folder}; to go on, run the same command."


def _command(options: argparse.Namespace, n_rows: int | None, seeds: Sequence[int]) -> str:
    """Return the command that prints one study's tables again."""
    # The comma behind a single seed tells it from a count.
    words = ["--data", options.data, "--seeds", ",".join(map(str, seeds)) + "," * (len(seeds) == 1)]
    if options.paper:
        words[:2] = ["--paper"]
    features = options.teacher_features
    given = {
        "--target": options.target,
        "--teacher-classes": options.teacher_classes and ",".join(options.teacher_classes),
        "--teacher-features": f"{features:g}"
        if isinstance(features, float)
        else features and ",".join(features),
        "--rows": n_rows,
        "--hidden": options.hidden and ",".join(map(str, options.hidden)),
        "--methods": options.methods and ",".join(options.methods),
    }
    for name, value in given.items():
        if value is not None:
            words += [name, str(value)]
    return "python -m skantidistill study " + shlex.join(words)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE_ERROR, f"skantidistill: error: {message} (see skantidistill study --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="skantidistill",
        description="Grow a fitted classifier into a larger, more robust one. Without a command: study.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('skantidistill')}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    study = commands.add_parser(
        "study",
        help="do students that grow out of a teacher do better than others? (study --help: its options)",
        description="Does a student that grows out of a teacher do better than one that does not? Prints "
        "accuracy, firmness under attack and under noise, forgetting and costs in two tables: as published, "
        "and with equal training for all.",
    )
    _add_study_options(study)
    return parser


def _add_study_options(parser: argparse.ArgumentParser) -> None:
    data = parser.add_argument_group("what is studied")
    data.add_argument(
        "--data",
        default=None,
        metavar="DATA",
        help="digits (scikit-learn's; about a minute and a half), fashion-mnist (the paper's; an hour), or a "
        "file .csv, .parquet or .npz; a third of its rows is held out; default: digits",
    )
    data.add_argument("--target", metavar="COLUMN", help="the column of a file that holds the labels")
    data.add_argument(
        "--paper",
        action="store_true",
        help="the published protocol: fashion-mnist with all its settings, and 10 seeds",
    )
    data.add_argument(
        "--teacher-classes",
        type=_names,
        metavar="A,B",
        help="the labels that the teacher knows; default: the lower half of them",
    )
    data.add_argument(
        "--teacher-features",
        type=_features,
        metavar="A,B",
        help="the columns that the teacher knows, by name or (digits, fashion-mnist) by number from 0, or "
        "their share, such as 0.5, drawn by the seed; the teacher then knows all classes",
    )
    data.add_argument(
        "--rows",
        type=_counts,
        metavar="N",
        help="rows that the students learn from, while the teacher's data are whole; several numbers with "
        "commas between them are one study each",
    )
    data.add_argument(
        "--hidden", type=_counts, metavar="N,N", help="hidden layers of the students; the teacher's are half"
    )
    runs = parser.add_argument_group("what is run")
    runs.add_argument(
        "--seeds",
        type=_seeds,
        metavar="N",
        help="how many seeds, or which, with commas between them (0,1,2); default: 5, of fashion-mnist 3",
    )
    runs.add_argument(
        "--methods",
        type=_methods,
        metavar="A,B",
        help=f"rows of the tables; default: all of {', '.join(METHODS)}",
    )
    runs.add_argument(
        "--out",
        metavar="DIR",
        help="keep every finished run in this folder, with table.csv, report.html and figures; with the "
        "same command a study goes on where it was ended",
    )
    runs.add_argument(
        "--jobs", type=_jobs, default=1, metavar="N", help="runs at a time; -1: one a core; default: 1"
    )
    runs.add_argument(
        "--quiet", action="store_true", help="no progress bar (there is none anyway outside a terminal)"
    )


def _names(text: str) -> tuple[str, ...]:
    """Return names with commas between them."""
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise argparse.ArgumentTypeError(f"{text!r} has an empty name; give for example 0,1,2")
    return names


def _features(text: str) -> tuple[str, ...] | float:
    """Return the columns' names, or their share."""
    with contextlib.suppress(ValueError):
        if 0 < float(text) < 1:
            return float(text)
    return _names(text)


def _methods(text: str) -> tuple[str, ...]:
    """Return methods, whose names may be written in small letters."""
    known = {name.lower(): name for name in METHODS}
    names = dict.fromkeys(name.lower() for name in _names(text))
    unknown = [name for name in names if name not in known]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is unknown; there are {', '.join(METHODS)}")
    return tuple(name for key, name in known.items() if key in names)


def _counts(text: str) -> tuple[int, ...]:
    """Return positive integers."""
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of positive integers, such as 64,32")
    return numbers


def _jobs(text: str) -> int:
    """Return a number of jobs."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1 and number != -1:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a positive integer nor -1")
    return number


def _seeds(text: str) -> tuple[int, ...]:
    """Return the seeds that a count, or a list with commas, stands for."""
    error = argparse.ArgumentTypeError(
        f"{text!r} is neither a count, up to {MOST_SEEDS}, nor a list of different seeds; give for example "
        "3, or 0,1,2"
    )
    try:
        numbers = tuple(int(part) for part in text.removesuffix(",").split(","))
    except ValueError:
        raise error from None
    if "," not in text:
        numbers = tuple(range(numbers[0])) if numbers[0] <= MOST_SEEDS else ()
    if not numbers or min(numbers) < 0 or max(numbers) >= 2**32 or len(set(numbers)) < len(numbers):
        raise error
    return numbers


if __name__ == "__main__":
    sys.exit(main())
