"""Every example runs, holds its claim (it asserts it), and stays an example."""

import runpy
from pathlib import Path

import matplotlib
import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("plot_*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_holds_its_claim_and_shows_one_labelled_figure(path, monkeypatch):
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(plt.gcf()))
    runpy.run_path(str(path), run_name="__main__")
    assert len(shown) == 1
    for axes in shown[0].axes:
        assert axes.get_xlabel()
        assert axes.get_ylabel()
    plt.close("all")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_is_short(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 80
    assert lines.count("# %%") >= 2


def test_there_are_examples():
    assert EXAMPLES
