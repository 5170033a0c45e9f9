"""The code in README and docs runs as it stands and prints what it says."""

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
    [("README.md", 4, 2), ("docs/growing.md", 2, 1), ("docs/robustness.md", 6, 5)],
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
