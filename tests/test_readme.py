"""The code in README and docs runs as it stands and prints what it says; tables have whole rows."""

import re
from pathlib import Path
from unittest import mock

import pytest

from skantidistill.starts import STARTS

ROOT = Path(__file__).parents[1]
NUMBER = r"\d+\.\d+"


# foolbox, on import, takes gaussian_filter from where scipy no longer wants it to be.
@pytest.mark.filterwarnings("ignore:Please import `gaussian_filter`:DeprecationWarning")
@pytest.mark.parametrize(
    ("name", "n_blocks", "n_outputs"),
    [("README.md", 4, 2), ("docs/growing.md", 2, 1), ("docs/robustness.md", 6, 5), ("docs/study.md", 1, 1)],
)
def test_every_code_block_runs_and_prints_the_text_below_it(
    name, n_blocks, n_outputs, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)  # a page may save a picture
    monkeypatch.setenv("MPLBACKEND", "agg")
    text = (ROOT / name).read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", text, re.DOTALL)
    assert len(blocks) >= n_blocks
    assert sum(bool(printed) for _, printed in blocks) >= n_outputs
    names = {}
    for code, printed in blocks:
        with mock.patch.dict(STARTS):  # a page may register a start
            exec(compile(code, name, "exec"), names)
        output = capsys.readouterr().out
        assert re.sub(NUMBER, "#", output) == re.sub(NUMBER, "#", printed)
        # Another number of threads adds up in another order: training then ends a few test rows apart.
        assert [float(n) for n in re.findall(NUMBER, output)] == pytest.approx(
            [float(n) for n in re.findall(NUMBER, printed)], abs=0.03
        )


def cells(row):
    """The cells of a row of a markdown table; an escaped pipe, and only that, is part of one."""
    return re.split(r"(?<!\\)\|", row.strip().removeprefix("|").removesuffix("|"))


def tables(text):
    """Yield the tables of a page, each a list of rows, outside of fenced code."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    for table in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE):
        yield table.splitlines()


def test_cells_are_split_at_pipes_that_are_not_escaped():
    assert cells(r"| a \| b | `c` |  |") == [r" a \| b ", " `c` ", "  "]
    page = "| a |\n|---|\n| b |\n\ntext\n```\n| no table |\n```\n| c |\n|---|\n"
    assert list(tables(page)) == [["| a |", "|---|", "| b |"], ["| c |", "|---|"]]


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_row_of_a_table_has_as_many_cells_as_its_header(page):
    text = page.read_text(encoding="utf-8")
    found = list(tables(text))
    # A rule under a header is where a table is, whether it is found above or not.
    assert len(found) == len(re.findall(r"^\|[ :|-]+\|$", text, re.MULTILINE))
    for header, rule, *rows in found:
        assert re.fullmatch(r"\|(\s*:?-+:?\s*\|)+", rule), header
        for row in (rule, *rows):
            assert len(cells(row)) == len(cells(header)), row


def test_there_are_tables():
    assert sum(len(list(tables(page.read_text(encoding="utf-8")))) for page in PAGES) >= 3
