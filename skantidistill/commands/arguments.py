"""What the commands take: options that they share, and the types of their arguments."""

import argparse
import contextlib
import re
from collections.abc import Sequence
from typing import Any

from skantidistill.study import METHODS, Protocol, make_protocol

__all__ = [
    "add_data_options",
    "address",
    "count",
    "counts",
    "data_words",
    "features",
    "jobs",
    "methods",
    "names",
    "protocol_of",
    "seeds",
    "seeds_word",
    "share",
    "words_of",
]

MOST_SEEDS = 1000
JOBS = "runs at a time; -1: one a core; default: 1"
QUIET = "no progress bar (there is none anyway outside a terminal)"


def add_data_options(parser: argparse.ArgumentParser, rows: Any) -> Any:
    """Add the options that say what is studied, and return their group; ``rows`` is the type of --rows."""
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
        "--teacher-classes",
        type=names,
        metavar="A,B",
        help="the labels that the teacher knows; default: the first half of them in sorted order, but of two "
        "labels both, and half of the features",
    )
    data.add_argument(
        "--teacher-features",
        type=features,
        metavar="A,B",
        help="the columns that the teacher knows, by name or (digits, fashion-mnist) by number from 0, or "
        "their share, such as 0.5, drawn by the seed; the teacher then knows all classes",
    )
    data.add_argument(
        "--rows",
        type=rows,
        metavar="N",
        help="rows that the students learn from, while the teacher's data are whole"
        + ("; several numbers with commas between them are one study each" if rows is counts else ""),
    )
    data.add_argument(
        "--hidden", type=counts, metavar="N,N", help="hidden layers of the students; the teacher's are half"
    )
    return data


def protocol_of(options: argparse.Namespace, n_rows: int | None) -> Protocol:
    """Return the protocol that the options ask for."""
    return make_protocol(
        options.data,
        target=options.target,
        teacher_classes=options.teacher_classes,
        teacher_features=options.teacher_features,
        rows=n_rows,
        hidden=options.hidden,
    )


def data_words(options: argparse.Namespace, n_rows: int | None) -> dict[str, Any]:
    """Return the options, besides --data, that ask for the same protocol again."""
    features = options.teacher_features
    return {
        "--target": options.target,
        "--teacher-classes": options.teacher_classes,
        "--teacher-features": f"{features:g}" if isinstance(features, float) else features,
        "--rows": n_rows,
        "--hidden": options.hidden,
    }


def words_of(given: dict[str, Any]) -> list[str]:
    """Return options as words of a command line; those that are None are left out."""
    words = []
    for name, value in given.items():
        if value is not None:
            word = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            # A label may be -1, which by itself would pass for an option.
            words += [f"{name}={word}"] if word.startswith("-") else [name, word]
    return words


def seeds_word(seeds: Sequence[int]) -> str:
    """Return seeds as a list, which the comma behind a single one tells from a count."""
    return ",".join(map(str, seeds)) + "," * (len(seeds) == 1)


def names(text: str) -> tuple[str, ...]:
    """Return names with commas between them."""
    found = tuple(name.strip() for name in text.split(","))
    if not all(found):
        raise argparse.ArgumentTypeError(f"{text!r} has an empty name; give for example 0,1,2")
    return found


def features(text: str) -> tuple[str, ...] | float:
    """Return the columns' names, or their share."""
    with contextlib.suppress(ValueError):
        if 0 < float(text) < 1:
            return float(text)
    return names(text)


def methods(text: str) -> tuple[str, ...]:
    """Return methods, whose names may be written in small letters."""
    known = {name.lower(): name for name in METHODS}
    wanted = dict.fromkeys(name.lower() for name in names(text))
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is unknown; there are {', '.join(METHODS)}")
    return tuple(name for key, name in known.items() if key in wanted)


def counts(text: str) -> tuple[int, ...]:
    """Return positive integers."""
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of positive integers, such as 64,32")
    return numbers


def jobs(text: str) -> int:
    """Return a number of jobs."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1 and number != -1:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a positive integer nor -1")
    return number


def address(text: str) -> str:
    """Return the address of a Dask scheduler."""
    found = re.fullmatch(r"(tcp|tls)://([\w.-]+|\[[0-9a-fA-F:.]+\]):(\d{1,5})", text)
    if found is None or not 0 < int(found[3]) < 2**16:
        raise argparse.ArgumentTypeError(f"{text!r} is no address such as tcp://10.0.0.1:8786, or tls://...")
    return text


def seeds(text: str) -> tuple[int, ...]:
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


def share(text: str) -> float:
    """Return a number from 0 to 1."""
    with contextlib.suppress(ValueError):
        if 0 <= float(text) <= 1:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to 1")


def count(text: str) -> int:
    """Return a positive integer."""
    with contextlib.suppress(ValueError):
        if int(text) > 0:
            return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no positive integer")
