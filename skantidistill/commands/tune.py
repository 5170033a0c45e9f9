"""``skantidistill tune``: choose anti-distillation's setting, and print the front of what was tried."""

import argparse
import contextlib
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tqdm import tqdm

from skantidistill.commands import INTERRUPTED, arguments
from skantidistill.study import StudyError
from skantidistill.study.errors import errors_told
from skantidistill.study.protocols import versions
from skantidistill.study.report.figures import draw_front
from skantidistill.study.report.page import NO_FIGURES
from skantidistill.study.report.pictures import as_png
from skantidistill.study.report.text import tuning_as_text
from skantidistill.study.tuning import GIVE_UP, Tuning, choose, load_tuning, save_tuning
from skantidistill.writing import write_whole

__all__ = ["ABOUT", "HELP", "add_options", "run"]

HELP = "choose the weights of the terms, their noise and phi's schedule (tune --help: its options)"
ABOUT = (
    "Tries settings of anti-distillation by Optuna on a fifth of the training rows, and leaves the test rows "
    "of its seeds alone. Prints those that no other beats in accuracy, under attack and under noise, and "
    "chooses the firmest of those that are nearly as accurate as any."
)
BAR = "{percentage:3.0f}% |{bar:20}| {n_fmt} of {total_fmt} trials [{elapsed} so far, {remaining} left]"
DATABASE, TUNING, FRONT = "tuning.sqlite", "tuning.json", "front.png"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    arguments.add_data_options(parser, arguments.count)
    runs = parser.add_argument_group("what is run")
    runs.add_argument(
        "--trials",
        type=arguments.count,
        default=50,
        metavar="N",
        help="settings in all, those that are kept already among them; default: 50",
    )
    runs.add_argument(
        "--seeds",
        type=arguments.seeds,
        default=(0,),
        metavar="N",
        help="how many seeds, or which (0,1,2), every trial is the mean of; default: 1",
    )
    runs.add_argument(
        "--give-up",
        type=arguments.share,
        default=GIVE_UP,
        metavar="X",
        help=f"how much of the highest accuracy the chosen setting may give up; default: {GIVE_UP}",
    )
    runs.add_argument(
        "--out",
        metavar="DIR",
        help=f"keep the trials in this folder, with {TUNING} and {FRONT}; with the same command a tuning "
        "goes on where it was ended",
    )
    runs.add_argument(
        "--storage",
        metavar="URL",
        help="keep the trials in this database instead, as Optuna takes it, such as "
        "postgresql+psycopg://user@host/name: any number of machines may run the command on it",
    )
    runs.add_argument("--jobs", type=arguments.jobs, default=1, metavar="N", help=arguments.JOBS)
    runs.add_argument("--quiet", action="store_true", help=arguments.QUIET)


def run(options: argparse.Namespace) -> int:
    """Tune, print what was found, and write it."""
    try:
        from skantidistill.study.tune import file_url, tune
    except ImportError as error:
        raise StudyError('Tuning needs another package: pip install "skantidistill[study,tune]"') from error
    protocol = arguments.protocol_of(options, options.rows)
    folder = _folder(options)
    storage: str | None = options.storage
    if storage is None and folder is not None:
        storage = file_url(folder / DATABASE)
    try:
        with _watcher(options) as watcher:
            trials = tune(
                protocol,
                options.trials,
                seeds=options.seeds,
                storage=storage,
                n_jobs=options.jobs,
                watcher=watcher,
            )
    except KeyboardInterrupt:
        kept = "finished trials are kept; to go on, run the same command." if storage else "nothing is kept."
        print(f"skantidistill: interrupted; {kept}", file=sys.stderr)
        return INTERRUPTED
    tuning = Tuning(
        title=protocol.title,
        command=_command(options),
        versions=versions(),
        seeds=options.seeds,
        trials=trials,
        chosen=choose(trials, options.give_up),
    )
    print(tuning_as_text(tuning, protocol, options.give_up), flush=True)
    if folder is not None:
        _write(tuning, folder)
    return 0


def _write(tuning: Tuning, folder: Path) -> None:
    """Write the trials, and the figure of their front, and say where they are."""
    with errors_told(folder):
        save_tuning(tuning, folder / TUNING)
    print(f"\nTo study the chosen setting: add --setting {shlex.quote(str(folder / TUNING))}", flush=True)
    try:
        figure = as_png(draw_front(tuning))
    except ImportError:
        print(NO_FIGURES, flush=True)
        return
    with errors_told(folder):
        write_whole(folder / FRONT, figure)
    print(f"What is given up for what: {folder / FRONT}", flush=True)


@contextlib.contextmanager
def _watcher(options: argparse.Namespace) -> Iterator[Callable[[int], None]]:
    """Give what moves a bar to a number of finished trials."""
    quiet = options.quiet or not sys.stderr.isatty()
    with tqdm(total=options.trials, bar_format=BAR, leave=False, disable=quiet) as bar:

        def watcher(n_finished: int) -> None:
            if not bar.n:  # what was kept says nothing of how long the others take
                bar.initial = n_finished
            bar.n = min(n_finished, options.trials)
            bar.refresh()

        yield watcher


def _folder(options: argparse.Namespace) -> Path | None:
    """Return the folder of --out, made if there is none; what is in it that is not this tuning's stays."""
    if options.out is None:
        return None
    folder = Path(options.out)
    with errors_told(folder, "give --out a folder that can be made and written to."):
        folder.mkdir(parents=True, exist_ok=True)
        others = sorted(path.name for path in folder.iterdir())
    if others and not {DATABASE, TUNING} & set(others):
        raise StudyError(f"{folder} holds no tuning but {others[0]}; give --out a folder of its own.")
    if TUNING in others:
        kept, own = load_tuning(folder / TUNING).command, _command(options)
        if kept.partition(" --trials ")[0] != own.partition(" --trials ")[0]:
            raise StudyError(f"{folder} holds the tuning of {kept}; give --out a folder of its own.")
    return folder


def _command(options: argparse.Namespace) -> str:
    """Return the command that makes the same trials, without where they are kept."""
    given = {
        "--data": options.data,
        **arguments.data_words(options, options.rows),
        "--trials": options.trials,
        "--seeds": arguments.seeds_word(options.seeds),
        "--give-up": options.give_up,
        "--jobs": options.jobs if options.jobs != 1 else None,
    }
    return "python -m skantidistill tune " + shlex.join(arguments.words_of(given))
