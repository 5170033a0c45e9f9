"""Print the accuracies of the published study, as its command does, from the rows beside this file."""

import ast
import csv
import re
from pathlib import Path
from typing import Any

from skantidistill.study import PROTOCOLS, as_text

TABLE = Path(__file__).with_name("table.csv")


def value_of(cell: str) -> Any:
    """Return what a cell says: a number, also "inf" and "nan", or text."""
    try:
        return float(cell) if re.fullmatch(r"inf|nan|-?[\d.]+(e-?\d+)?", cell) else ast.literal_eval(cell)
    except (SyntaxError, ValueError):
        return cell


def read_rows() -> list[dict[str, Any]]:
    """Return the rows; their curves, which the file leaves out, are the final accuracies."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = [{name: value_of(cell) for name, cell in row.items() if cell} for row in csv.DictReader(file)]
    for row in rows:
        row |= {"seed": int(row["seed"]), "curve_accuracy": [row["accuracy"]]}
        row |= {"curve_epochs": [0], "curve_seconds": [row["seconds"]]}
    return rows


def read_tables() -> list[str]:
    """Return the tables of accuracies, without costs and footnotes."""
    blocks = as_text(read_rows(), PROTOCOLS["fashion-mnist"], "").split("\n\n")
    return [block for block in blocks if "AD - best other  " in block]


if __name__ == "__main__":
    print("\n\n".join(read_tables()))
