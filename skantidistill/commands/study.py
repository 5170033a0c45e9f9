"""``skantidistill study``: run a study, print its tables, and keep them."""

import argparse
import contextlib
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace

from skantidistill.commands import INTERRUPTED, arguments
from skantidistill.study import (
    METHODS,
    Cluster,
    Memory,
    Protocol,
    Run,
    Store,
    Studied,
    StudyError,
    as_text,
    methods_of,
    run_study,
    write_report,
)
from skantidistill.study.progress import Progress
from skantidistill.study.protocols import TUNINGS
from skantidistill.study.report.page import NO_FIGURES
from skantidistill.study.store import DATABASE
from skantidistill.study.tuning import Tuning, load_tuning

__all__ = ["ABOUT", "HELP", "add_options", "run"]

HELP = "do students that grow out of a teacher do better than others? (study --help: its options)"
ABOUT = (
    "Does a student that grows out of a teacher do better than one that does not? Prints accuracy, firmness "
    "under attack and under noise, forgetting and costs in two tables: as published, and with equal training "
    "for all."
)
DEFAULT_SEEDS = {"fashion-mnist": (0, 1, 2)}
SEEDS, PAPER_SEEDS = tuple(range(5)), tuple(range(10))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    data = arguments.add_data_options(parser, arguments.counts)
    data.add_argument(
        "--paper",
        action="store_true",
        help="the published protocol: fashion-mnist with all its settings, and 10 seeds",
    )
    data.add_argument(
        "--setting",
        metavar="FILE",
        help="anti-distillation's setting: a tuning.json of skantidistill tune; default: of fashion-mnist "
        "the one that was tuned for it, else the estimator's defaults",
    )
    runs = parser.add_argument_group("what is run")
    runs.add_argument(
        "--seeds",
        type=arguments.seeds,
        metavar="N",
        help="how many seeds, or which, with commas between them (0,1,2); default: 5, of fashion-mnist 3",
    )
    runs.add_argument(
        "--methods",
        type=arguments.methods,
        metavar="A,B",
        help=f"rows of the tables; default: all of {', '.join(METHODS)}",
    )
    runs.add_argument(
        "--out",
        metavar="DIR",
        help="keep every finished run in this folder, with table.csv, report.html and figures; with the "
        "same command a study goes on where it was ended",
    )
    runs.add_argument("--jobs", type=arguments.jobs, metavar="N", help=arguments.JOBS)
    runs.add_argument(
        "--scheduler",
        type=arguments.address,
        metavar="ADDRESS",
        help="make the runs on a Dask cluster, one at a time in each of its workers: the address of its "
        "scheduler, such as tcp://10.0.0.1:8786; the workers get the data from here; instead of --jobs",
    )
    runs.add_argument("--quiet", action="store_true", help=arguments.QUIET)


def run(options: argparse.Namespace) -> int:
    """Run a study a number of rows, print each as it is finished, and write the report of all."""
    studies = []
    options.tuning = load_tuning(options.setting) if options.setting else None
    with _results(options.out) as results:
        try:
            with _cluster(options) as cluster:
                for n_rows in options.rows or (None,):
                    studies.append(_one_study(options, n_rows, results, cluster))
                    print(as_text(*studies[-1]), flush=True)
            if isinstance(results, Store):
                _write(results, studies, options.tuning or TUNINGS.get(options.data))
        except KeyboardInterrupt:
            print(f"skantidistill: interrupted; {_how_to_resume(results)}", file=sys.stderr)
            return INTERRUPTED
    return 0


def _write(store: Store, studies: Sequence[Studied], tuning: Tuning | None) -> None:
    """Write the table and the report of a command's studies, and say where they are."""
    table, report = store.write_table(), write_report(store.folder, studies, tuning)
    hint = "" if report.figures else f"\n{NO_FIGURES}"
    print(f"\nThe report: {report.page}{hint}\nThe rows of these tables: {table}")
    print(f"To resume or extend: {store.folder / DATABASE}", flush=True)


def _one_study(
    options: argparse.Namespace, n_rows: int | None, results: Store | Memory, cluster: Cluster | None
) -> Studied:
    protocol = _protocol(options, n_rows)
    seeds = _default_seeds(options)
    methods = options.methods or methods_of(protocol)
    unknown = [method for method in methods if method not in methods_of(protocol)]
    if unknown:
        raise StudyError(f"--methods: {', '.join(unknown)} needs --rows, or D1 is a part of D2.")
    runs = [Run(seed, method) for seed in seeds for method in methods]
    with Progress(runs, options.quiet) as progress:
        rows = run_study(
            protocol,
            seeds,
            methods,
            results=results,
            n_jobs=options.jobs or 1,
            watcher=progress,
            cluster=cluster,
        )
    return Studied(rows, protocol, _command(options, n_rows, seeds))


def _protocol(options: argparse.Namespace, n_rows: int | None) -> Protocol:
    changed = (options.target, options.teacher_classes, options.teacher_features, n_rows, options.hidden)
    if options.paper and (options.data != "fashion-mnist" or any(value is not None for value in changed)):
        raise StudyError(
            "--paper is the published protocol; it goes without other options of what is studied, but for "
            "--setting."
        )
    protocol = arguments.protocol_of(options, n_rows)
    return protocol if options.tuning is None else replace(protocol, best=options.tuning.best)


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


def _cluster(options: argparse.Namespace) -> contextlib.AbstractContextManager[Cluster | None]:
    """Give what makes the runs: a cluster, or else this machine."""
    if options.scheduler is None:
        return contextlib.nullcontext()
    if options.jobs is not None:
        raise StudyError("--jobs is for this machine; with --scheduler there are as many runs as workers.")
    return Cluster(options.scheduler)


def _how_to_resume(results: Store | Memory) -> str:
    if isinstance(results, Memory):
        return "nothing is kept, run the command again (with --out DIR, finished runs are kept)."
    return f"{results.count()} finished runs are kept in {results.folder}; to go on, run the same command."


def _command(options: argparse.Namespace, n_rows: int | None, seeds: Sequence[int]) -> str:
    """Return the command that prints one study's tables again."""
    what = {} if options.paper else {"--data": options.data}
    given = {
        **what,
        "--seeds": arguments.seeds_word(seeds),
        **arguments.data_words(options, n_rows),
        "--setting": options.setting,
        "--methods": options.methods,
    }
    words = ["--paper"] * options.paper + arguments.words_of(given)
    return "python -m skantidistill study " + shlex.join(words)
