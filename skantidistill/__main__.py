"""The command line: ``skantidistill study`` runs the study, ``skantidistill tune`` chooses AD's setting.

``python -m skantidistill`` is the same program; where it is given no command, it is ``study``.
"""

import argparse
import io
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, NoReturn

from skantidistill.commands import INTERRUPTED
from skantidistill.writing import can_be_named

__all__ = ["main"]

USAGE_ERROR = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, default=None
        Arguments behind the program's name; None: those of this process.

    Returns
    -------
    status : int
        0, or 2 where a command can't be done, or 130 after Ctrl-C. Wrong arguments exit with 2.
    """
    try:
        return _main(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:  # before anything is run, or behind it
        print("skantidistill: interrupted; to go on, run the same command.", file=sys.stderr)
        return INTERRUPTED


def _main(arguments: list[str]) -> int:
    # Not above: these take seconds, in which Ctrl-C may be pressed.
    from skantidistill.commands import study, tune
    from skantidistill.datasets import DatasetError
    from skantidistill.study import StudyError

    commands = {"study": study, "tune": tune}
    if not arguments or arguments[0] not in (*commands, "-h", "--help", "--version"):
        arguments.insert(0, "study")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name of a file may be no text, "±" no ASCII
    parser = _parser(commands)
    for word in arguments:
        if not can_be_named(word):
            parser.error(f"{word!r} has a character that words of a command line can't have")
    options = parser.parse_args(arguments)
    options.data = options.data or ("fashion-mnist" if getattr(options, "paper", False) else "digits")
    try:
        return commands[options.command].run(options)
    except (DatasetError, StudyError) as error:
        print(f"skantidistill: error: {' '.join(str(error).split())}", file=sys.stderr)
    except MemoryError as error:
        what = " ".join(str(error).split()).rstrip(".") or "there is not enough memory"
        print(
            f"skantidistill: error: {what}; what was finished is kept where --out was given.", file=sys.stderr
        )
    except OSError as error:  # of the tables on stdout, as a rule
        what = error.filename or "the tables"
        print(f"skantidistill: error: {what} can't be written or read ({error.strerror})", file=sys.stderr)
    return USAGE_ERROR


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        command = self.prog if " " in self.prog else f"{self.prog} study"
        line = " ".join(message.split())  # which may quote words of several lines
        self.exit(USAGE_ERROR, f"skantidistill: error: {line} (see {command} --help)\n")


def _parser(commands: dict[str, Any]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="skantidistill",
        description="Grow a fitted classifier into a larger, more robust one. Without a command: study.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('skantidistill')}")
    added = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    for name, command in commands.items():
        command.add_options(added.add_parser(name, help=command.HELP, description=command.ABOUT))
    return parser


if __name__ == "__main__":
    sys.exit(main())
