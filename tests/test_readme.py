"""The README's code runs as it stands and prints what it says."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
NUMBER = r"\d+\.\d+"


def test_every_code_block_runs_and_the_first_prints_the_text_below_it(capsys):
    text = README.read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    printed = re.search(r"```text\n(.*?)```", text, re.DOTALL).group(1)
    assert len(blocks) >= 3
    names = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
        if block is blocks[0]:
            output = capsys.readouterr().out
    assert re.sub(NUMBER, "#", output) == re.sub(NUMBER, "#", printed)
    # Another number of threads adds up in another order: training then ends a few test rows apart.
    assert [float(n) for n in re.findall(NUMBER, output)] == pytest.approx(
        [float(n) for n in re.findall(NUMBER, printed)], abs=0.03
    )
