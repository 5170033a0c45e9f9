"""The command line: ``python -m skantidistill`` runs the study and prints its tables."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from tqdm import tqdm

from skantidistill.datasets import DatasetError
from skantidistill.study import METHODS, PROTOCOLS, as_text, run_study
from skantidistill.study.run import Notify

__all__ = ["main"]

USAGE_ERROR, INTERRUPTED = 2, 130
DEFAULT_SEEDS = {"digits": (0, 1, 2, 3, 4), "fashion-mnist": (0, 1, 2)}
MOST_SEEDS = 1000
BAR = "{percentage:3.0f}% |{bar:24}| {desc} [{elapsed} so far, {remaining} left]"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, default=None
        Arguments behind the program's name; None: those of this process.

    Returns
    -------
    status : int
        0, or 2 where the data can't be had, or 130 after Ctrl-C. Wrong arguments exit with 2.
    """
    options = _parser().parse_args(argv)
    try:
        print(_study(options.data, options.seeds or DEFAULT_SEEDS[options.data], options.quiet))
    except DatasetError as error:
        print(f"skantidistill: error: {error}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        print("skantidistill: interrupted; nothing is kept, run the command again.", file=sys.stderr)
        return INTERRUPTED
    return 0


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE_ERROR, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="skantidistill",
        description="Does a student that grows out of a teacher do better than one that does not? A teacher "
        "learns the classes 0-4, students grow to all ten; prints accuracy, accuracy under FGSM and accuracy "
        "under parameter noise in two tables, as published and with equal training.",
    )
    _add_study_options(parser)
    return parser


def _add_study_options(parser: argparse.ArgumentParser) -> None:
    """Add what a study takes; apart from the parser, so that a subcommand can take the same."""
    parser.add_argument(
        "--data",
        choices=tuple(PROTOCOLS),
        default="digits",
        help="digits (scikit-learn's; about a minute) or fashion-mnist (the paper's protocol; about "
        "a quarter of an hour); default: digits",
    )
    parser.add_argument(
        "--seeds",
        type=_seeds,
        metavar="N",
        help="how many seeds, or which, with commas between them (0,1,2); default: 5 for digits, 3 for "
        "fashion-mnist",
    )
    parser.add_argument(
        "--quiet", action="store_true", help="no progress bar (there is none anyway outside a terminal)"
    )


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


@contextmanager
def _progress(total: int, quiet: bool) -> Iterator[Notify]:
    """Give a function that moves a progress bar on stderr; outside a terminal it prints a line a seed."""
    told = set()
    with tqdm(total=total, bar_format=BAR, leave=False, disable=True if quiet else None) as bar:

        def notify(doing: str, share: float) -> None:
            if bar.disable:
                # Nothing before the data are there: what goes wrong until then is told in one line.
                if doing.endswith("teacher") and not (quiet or doing in told):
                    told.add(doing)
                    print(f"{doing}, then {len(METHODS)} students", file=sys.stderr, flush=True)
                return
            if doing != bar.desc:
                bar.set_description_str(doing)
            # Shares are rounded, and tqdm warns of more than all of it.
            bar.update(min(share, total - bar.n))

        yield notify


def _study(data: str, seeds: Sequence[int], quiet: bool) -> str:
    protocol = PROTOCOLS[data]
    with _progress(len(seeds) * (1 + len(METHODS)), quiet) as notify:
        rows = run_study(protocol, seeds, notify=notify)
    # The comma behind a single seed tells it from a count.
    given = ",".join(map(str, seeds)) + "," * (len(seeds) == 1)
    command = f"python -m skantidistill --data {data} --seeds {given}"
    return as_text(rows, protocol, command)


if __name__ == "__main__":
    sys.exit(main())
