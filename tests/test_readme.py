"""The code in README and docs runs as it stands and prints what it says; tables have whole rows."""

import os
import re
import subprocess
import sys
from unittest import mock

import pytest

from skantidistill.starts import STARTS
from tests.pages import PAGES, ROOT, name_of

NUMBER = r"\d+\.\d+"


def blocks_of(page):
    """Return the Python blocks of a page, each with the text that it prints, if any."""
    text = page.read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", text, re.DOTALL)


#: A page that registers readers and kinds, which other tests must not meet: in a process of its own.
REGISTERS = ROOT / "docs" / "developing.md"
WITH_CODE = [page for page in PAGES if blocks_of(page) and page != REGISTERS]


def check_printed(output, printed):
    assert re.sub(NUMBER, "#", output) == re.sub(NUMBER, "#", printed)
    # Another number of threads adds up in another order: training then ends a few test rows apart.
    assert [float(n) for n in re.findall(NUMBER, output)] == pytest.approx(
        [float(n) for n in re.findall(NUMBER, printed)], abs=0.03
    )


# foolbox, on import, takes gaussian_filter from where scipy no longer wants it to be.
@pytest.mark.filterwarnings("ignore:Please import `gaussian_filter`:DeprecationWarning")
@pytest.mark.parametrize("page", WITH_CODE, ids=name_of)
def test_every_code_block_runs_and_prints_the_text_below_it(page, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a page may save a picture
    monkeypatch.setenv("MPLBACKEND", "agg")
    names = {}
    for code, printed in blocks_of(page):
        with mock.patch.dict(STARTS):  # a page may register a start
            exec(compile(code, page.name, "exec"), names)
        check_printed(capsys.readouterr().out, printed)


def test_the_developer_s_code_blocks_run_and_print_the_text_below_them(tmp_path):
    blocks = blocks_of(REGISTERS)
    assert len(blocks) >= 3
    script = "import torch\ntorch.set_num_threads(1)\n" + "".join(code for code, _ in blocks)
    command = [sys.executable, "-W", "error", "-c", script]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert run.stderr == ""
    check_printed(run.stdout, "".join(printed for _, printed in blocks))


def test_the_pages_that_promise_code_have_it():
    found = {name_of(page): len(blocks_of(page)) for page in WITH_CODE}
    assert found["README.md"] >= 3
    assert found["docs/guide/robustness.md"] >= 6
    assert {"from_mlpclassifier", "study"} <= {page.stem for page in WITH_CODE}
    assert {"growing", "phi", "searching"} <= {page.stem for page in WITH_CODE}


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


@pytest.mark.parametrize("page", PAGES, ids=name_of)
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
