"""The README's code runs as it stands and prints what it says."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
NUMBER = r"\d+\.\d+"


def test_every_code_block_runs_and_prints_the_text_below_it(capsys):
    text = README.read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", text, re.DOTALL)
    assert len(blocks) >= 4
    assert sum(bool(printed) for _, printed in blocks) >= 2
    names = {}
    for code, printed in blocks:
        exec(compile(code, str(README), "exec"), names)
        output = capsys.readouterr().out
        assert re.sub(NUMBER, "#", output) == re.sub(NUMBER, "#", printed)
        # Another number of threads adds up in another order: training then ends a few test rows apart.
        assert [float(n) for n in re.findall(NUMBER, output)] == pytest.approx(
            [float(n) for n in re.findall(NUMBER, printed)], abs=0.03
        )
