"""The figures of a study show its rows, and nothing else; they need no display and touch no global state."""

import math
import struct
from types import SimpleNamespace
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from scipy import stats
from study_rows import DIGITS, make_rows, make_study

from skantidistill.study import METHODS, TABLES
from skantidistill.study.measure import CRITERIA, N_STRENGTHS
from skantidistill.study.report.curves import FIRMNESS, draw_epochs, draw_rows, draw_strengths, mean_curve
from skantidistill.study.report.figures import draw_costs, draw_differences, draw_front, pictures_of
from skantidistill.study.report.pictures import as_figure, as_png, as_svg, spread_out
from skantidistill.study.report.styles import COLORS, style_of
from skantidistill.study.statistics import best_of

STUDY = make_study()
PUBLISHED, EQUAL = (groups[0].rows for groups in TABLES.values())
FEW = [make_study(rows=n) for n in (300, 100)]


def axes_of(picture, n):
    return as_figure([picture.panels[n]], 1).axes[0]


def lines_of(ax):
    return {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}


def values_of(rows, method, column):
    return np.array([row[column] for row in rows if row["method"] == method])


def bands_of(ax):
    """Lowest and highest point of every band at its last x, in the order of the lines."""
    ends = []
    for band in ax.collections:
        x, y = band.get_paths()[0].vertices.T
        last = y[np.isclose(x, x.max())]
        ends.append((last.min(), last.max()))
    return ends


@pytest.mark.parametrize(
    ("picture", "x", "y"),
    [
        (draw_epochs(STUDY), "curve_epochs", "curve_accuracy"),
        (draw_strengths(STUDY, CRITERIA[1]), np.linspace(0, DIGITS.fgsm_epsilon, N_STRENGTHS), "fgsm_curve"),
        (
            draw_strengths(STUDY, CRITERIA[-1]),
            np.linspace(0, DIGITS.noise_epsilon, N_STRENGTHS),
            "parameter_noise_curve",
        ),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_curves_are_means_over_seeds_with_a_standard_deviation_around(picture, x, y):
    assert len(picture.panels) == 2
    for n, methods in enumerate((PUBLISHED, EQUAL)):
        ax = axes_of(picture, n)
        lines = lines_of(ax)
        assert tuple(lines) == methods
        for method, (low, high) in zip(methods, bands_of(ax), strict=True):
            ys = values_of(STUDY.rows, method, y)
            xs = values_of(STUDY.rows, method, x).mean(axis=0) if isinstance(x, str) else x
            assert lines[method].get_xdata() == pytest.approx(xs)
            assert lines[method].get_ydata() == pytest.approx(ys.mean(axis=0))
            assert ys[:, -1].mean() - low == pytest.approx(ys[:, -1].std(ddof=1))
            assert high - ys[:, -1].mean() == pytest.approx(ys[:, -1].std(ddof=1))
        assert {text.get_text() for text in ax.texts} == {m.removesuffix(" + kept terms") for m in methods}


def test_a_seed_with_more_points_is_read_off_its_line():
    rows = [
        {"method": "AD", "seed": 0, "x": [0, 1, 2], "y": [0.0, 0.5, 0.9]},
        {"method": "AD", "seed": 1, "x": [0, 0.5, 1.5, 2], "y": [0.0, 0.2, 0.4, 0.6]},
    ]
    curve = mean_curve(rows, "AD", "x", "y")
    assert curve.x == pytest.approx([0, 1, 2])
    assert curve.mean == pytest.approx([0, (0.5 + 0.3) / 2, (0.9 + 0.6) / 2])


def test_one_seed_has_no_band_and_no_interval():
    study = make_study(make_rows(n_seeds=1))
    assert len(axes_of(draw_epochs(study), 0).collections) == 0
    ax = axes_of(draw_differences(study), 0)
    assert not [line for line in ax.lines if line.get_marker() == "|"]
    assert "1 seed" in {text.get_text() for text in ax.texts}


@pytest.mark.parametrize(("n", "criterion"), list(enumerate(FIRMNESS)), ids=["accuracy", "fgsm", "noise"])
def test_criteria_are_shown_by_rows_in_their_order(n, criterion):
    picture = draw_rows(FEW)
    assert len(picture.panels) == 3 * 3  # groups, the last is of those on D1+D2
    ax = axes_of(picture, n)
    assert ax.get_xscale() == "log"
    for method, line in lines_of(ax).items():
        means = [values_of(study.rows, method, criterion.column).mean() for study in reversed(FEW)]
        assert line.get_xdata() == pytest.approx([100, 300])
        assert line.get_ydata() == pytest.approx(means)


@pytest.mark.parametrize("n", range(3))
def test_every_row_of_the_tables_is_a_point_of_cost_and_gain(n):
    lines = lines_of(axes_of(draw_costs(STUDY), n))
    assert set(lines) == {*PUBLISHED, *EQUAL}
    for method, line in lines.items():
        assert line.get_xdata() == pytest.approx([values_of(STUDY.rows, method, "seconds").mean()])
        assert line.get_ydata() == pytest.approx([values_of(STUDY.rows, method, FIRMNESS[n].column).mean()])
        plain = mpl.colors.to_hex(line.get_markerfacecolor()) == COLORS["back"][0]
        assert plain == (METHODS[method].get("lambda_noise") == 0 or method in ("Data noise", "AD phi only"))


def crowded(seconds):
    rows = make_rows(n_seeds=2)
    for row in rows:
        row |= dict.fromkeys(("accuracy", "fgsm", "parameter_noise"), 0.5 + row["seed"] / 100)
        row["seconds"] = seconds[row["method"] in PUBLISHED]
    return make_study(rows)


@pytest.mark.parametrize("study", [STUDY, crowded((1.0, 1.0)), crowded((1.0, 0.3))], ids=["", "all", "two"])
def test_labels_overlap_neither_each_other_nor_the_edge(study):
    for picture in (draw_costs(study), draw_strengths(study, CRITERIA[1]), draw_differences(study)):
        for panel in picture.panels:
            figure = as_figure([panel], 1)
            canvas = FigureCanvasAgg(figure)
            canvas.draw()  # places the labels of the axes
            renderer = canvas.get_renderer()
            ax = figure.axes[0]
            low, high = sorted(ax.get_ylim())
            ticks = [label for label in ax.get_yticklabels() if low <= label.get_position()[1] <= high]
            texts = [*ax.texts, ax.yaxis.label, ax.xaxis.label, *ticks]
            boxes = [text.get_window_extent(renderer) for text in texts if text.get_text()]
            # A hair: boxes hold what is above and below the letters, too.
            boxes = [box.shrunk(1, 0.8).translated(0, 0.1 * box.height) for box in boxes]
            own = boxes[: len(ax.texts)]
            assert len(own) > 4
            for k, box in enumerate(own):
                assert not any(box.overlaps(other) for other in own[k + 1 :]), ax.texts[k].get_text()
            outer = figure.bbox
            for box in boxes:
                assert outer.x0 <= box.x0
                assert box.x1 <= outer.x1
                assert outer.y0 <= box.y0
                assert box.y1 <= outer.y1


@pytest.mark.parametrize(("n", "methods"), [(0, PUBLISHED), (1, EQUAL)])
def test_differences_are_paired_with_their_interval_and_every_seed(n, methods):
    ax = axes_of(draw_differences(STUDY), n)
    rivals = [method for method in methods if not method.startswith("AD")]
    criteria = [criterion.column for criterion in CRITERIA] + ["old_classes"]
    for k, column in enumerate(criteria):
        other = best_of(STUDY.rows, column, rivals)
        found = stats.ttest_rel(values_of(STUDY.rows, "AD", column), values_of(STUDY.rows, other, column))
        here = [line for line in ax.lines if set(line.get_ydata()) in ({k}, {k + 0.3})]
        seeds, interval, mean = (line.get_xdata() for line in here)
        differences = values_of(STUDY.rows, "AD", column) - values_of(STUDY.rows, other, column)
        assert seeds == pytest.approx(differences)
        assert interval == pytest.approx(found.confidence_interval(0.95))
        assert mean == pytest.approx([differences.mean()])
        verdict = "wins" if interval[0] > 0 else "loses" if interval[1] < 0 else "ties"
        assert here[-1].get_marker() == {"wins": "^", "loses": "v", "ties": "o"}[verdict]
        assert ax.get_xlim()[0] < min(interval)
        assert max(interval) < ax.get_xlim()[1]


def make_tuning(chosen=2):
    values = [(0.9, 0.5, 0.5), (0.8, 0.4, 0.5), (0.92, 0.7, 0.6), (0.7, 0.9, 0.4)]
    trials = tuple(
        SimpleNamespace(number=n, parameters={"delta": 0.01 * n} if n else {}, values=triple)
        for n, triple in enumerate(values)
    )
    return SimpleNamespace(
        command="python -m skantidistill tune",
        title="Digits: <tuning>",
        versions={"optuna": "4.0"},
        columns=("accuracy", "fgsm", "parameter_noise"),
        trials=trials,
        chosen=chosen,
        front=(2, 3),
    )


def test_the_front_is_told_from_what_it_dominates():
    picture = draw_front(make_tuning())
    assert len(picture.panels) == 3
    for n, pair in enumerate([(0, 1), (0, 2), (1, 2)]):
        ax = axes_of(picture, n)
        lines = lines_of(ax)
        for label, numbers in (("front", (2, 3)), ("dominated", (0, 1))):
            points = [tuple(make_tuning().trials[k].values[i] for i in pair) for k in numbers]
            assert list(zip(*lines[label].get_data(), strict=True)) == points
        assert [text.get_text() for text in ax.texts] == ["defaults", "chosen"]
        rings = [line.get_xdata()[0] for line in ax.lines if line.get_markersize() == 11]
        assert rings == [make_tuning().trials[k].values[pair[0]] for k in (0, 2)]
    ax = axes_of(draw_front(make_tuning(chosen=0)), 0)
    assert [text.get_text() for text in ax.texts] == ["chosen, defaults"]
    tuning = make_tuning()
    tuning.trials = tuning.trials[1:]  # the defaults failed
    assert [text.get_text() for text in axes_of(draw_front(tuning), 0).texts] == ["chosen"]


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("n_seeds", [1, 2])
def test_rows_that_are_all_alike_are_drawn_without_a_warning(value, n_seeds):
    rows = make_rows(methods=["Xavier", "AD"], n_seeds=n_seeds)
    for row in rows:
        row |= dict.fromkeys(("accuracy", "fgsm", "parameter_noise"), value) | {"seconds": 1.0}
        row |= {name: [value] * len(row[name]) for name in row if name.endswith(("_curve", "curve_accuracy"))}
    for picture in pictures_of(make_study(rows)):
        assert as_svg(picture.panels[0], "a").count("<text") > 4
        for ax in as_figure(picture.panels, 2).axes:
            assert all(np.isfinite([*ax.get_xlim(), *ax.get_ylim()]))


def test_a_study_without_a_comparison_has_the_other_figures():
    names = [picture.name for picture in pictures_of(make_study(make_rows(methods=["Zero"])))]
    assert names == ["accuracy-by-epoch", "accuracy-by-fgsm", "accuracy-by-parameter-noise",
                     "cost-against-gain"]  # fmt: skip
    assert len(pictures_of(STUDY)) == len(names) + 1


def test_one_method_has_one_look_in_all_figures():
    looks = {}
    for picture in (draw_epochs(STUDY), draw_strengths(STUDY, CRITERIA[1]), draw_costs(STUDY)):
        for n in range(2):
            for method, line in lines_of(axes_of(picture, n)).items():
                looks.setdefault(method.removesuffix(" + kept terms"), set()).add(line.get_color())
    assert all(len(colors) == 1 for colors in looks.values())
    assert len(set.union(*looks.values())) == len(looks)
    styles = {style_of(method) for method in METHODS}
    for one in ("color", "marker", "dashes"):
        assert len({getattr(style, one) for style in styles}) == len(styles) == 9


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_every_colour_can_be_seen_on_its_background(scheme):
    """By the contrast that WCAG asks for text, since labels have the colours of their lines."""

    def luminance(color):
        c = np.array(mpl.colors.to_rgb(color))
        return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]

    back = luminance(COLORS["back"][scheme])
    for role, both in COLORS.items():
        light, dark = sorted([luminance(both[scheme]), back], reverse=True)
        needed = {"back": 1, "grid": 1, "ink": 10}.get(role, 4.5)
        assert (light + 0.05) / (dark + 0.05) >= needed, role


@settings(max_examples=30)
@given(st.lists(st.floats(-50, 150), min_size=1, max_size=12), st.floats(1, 20))
def test_labels_are_spread_out_in_order_and_no_more_than_needed(wanted, gap):
    wanted = np.array(wanted)
    found = spread_out(wanted, gap, 0, 100)
    fits = min(gap, 100 / max(len(wanted) - 1, 1))
    order = np.argsort(wanted, kind="stable")
    assert np.all(np.diff(found[order]) >= fits - 1e-9)
    assert found.min() >= -1e-9
    assert found.max() <= 100 + 1e-9
    if np.all(np.diff(wanted[order]) >= gap) and wanted.min() >= 0 and wanted.max() <= 100:
        assert found == pytest.approx(wanted)
    assert spread_out(np.array([50.0, 50.0]), 10, 0, 100) == pytest.approx([45, 55])


def test_a_picture_is_the_same_whatever_the_users_style_and_leaves_it_alone():
    picture = draw_strengths(make_study(make_rows(methods=["AD", "Zero"])), CRITERIA[1])
    content, svg = as_png(picture), as_svg(picture.panels[0], "a")
    with mpl.rc_context({"lines.linewidth": 9, "axes.grid": False, "font.size": 20, "axes.prop_cycle":
                         mpl.cycler(color=["k"]), "svg.fonttype": "path"}):  # fmt: skip
        before = dict(mpl.rcParams)
        assert as_png(picture) == content
        assert as_svg(picture.panels[0], "a") == svg
        assert dict(mpl.rcParams) == before
    assert as_figure(picture.panels, 2).canvas.manager is None  # no window, nothing of pyplot
    assert content.startswith(b"\x89PNG")
    assert struct.unpack(">I", content[16:20])[0] == math.floor(4.4 * 170)


def test_a_panel_in_a_page_has_text_and_the_colours_of_the_page():
    picture = draw_epochs(STUDY)
    one, other = (as_svg(picture.panels[0], key) for key in ("one", "other"))
    root = ElementTree.fromstring(one)
    texts = {element.text for element in root.iter("text")}
    assert {"AD phi only", "accuracy", "As published"} <= texts
    assert not [light for light, _ in COLORS.values() if light in one]
    assert "var(--ad)" in one
    assert "currentColor" in one
    assert "<style" not in one
    ids = [{e.get("id") for e in ElementTree.fromstring(svg).iter() if e.get("id")} for svg in (one, other)]
    assert ids[0]
    assert not ids[0] & ids[1]
