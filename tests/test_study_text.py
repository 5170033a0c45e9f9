"""What a study says of its rows: paired, with intervals, and no more than they show."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from skantidistill.study import METHODS, PROTOCOLS, TABLES, as_text, compare, methods_of, summarise
from skantidistill.study.measure import CRITERIA
from skantidistill.study.report.tables import tables_in
from skantidistill.study.report.words import columns, notes, setting
from skantidistill.study.statistics import Difference, best_of, time_to_reach

DIGITS = PROTOCOLS["digits"]
FEW = replace(DIGITS, rows=100)
COLUMNS = [criterion.column for criterion in CRITERIA]


def table_of(accuracies, n_test_old=50):
    """A tidy table whose criteria are all the given accuracies, method -> one a seed."""
    return [
        {
            "method": method,
            "seed": seed,
            **dict.fromkeys(COLUMNS, accuracy),
            "old_classes": accuracy,
            "n_test": 100,
            "n_test_old": n_test_old,
            "phi_steps": 0,
            "steps": 10,
            "seconds": 1.0,
            "trace": 5.0,
            "teacher_accuracy": 0.9,
            "phi_accuracy": 0.8,
            "curve_epochs": [0.0, 1.5, 2.5],
            "curve_seconds": [0.1, 0.4, 0.9],
            "curve_accuracy": [0.0, accuracy / 2, accuracy],
        }
        for method, values in accuracies.items()
        for seed, accuracy in enumerate(values)
    ]


def all_alike(values, protocol=DIGITS):
    return dict.fromkeys(methods_of(protocol), values)


def test_summary_is_mean_and_sample_deviation():
    summary = summarise(table_of({"AD": [0.2, 0.4, 0.9], "Zero": [0.1]}), "fgsm")
    assert summary["AD"] == pytest.approx((0.5, math.sqrt((0.09 + 0.01 + 0.16) / 2)))
    assert summary["Zero"][0] == 0.1
    assert math.isnan(summary["Zero"][1])


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=12))
def test_the_interval_is_that_of_the_paired_t_test(pairs):
    """By scipy's own interval of the differences."""
    one, two = zip(*pairs, strict=True)
    differences = np.subtract(one, two)
    found = compare(table_of({"AD": one, "Zero": two}), "fgsm", "AD", "Zero")
    assert found.mean == pytest.approx(differences.mean(), abs=1e-12)
    if np.ptp(differences) > 1e-6:
        low, high = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
        assert (found.mean - found.half_width, found.mean + found.half_width) == pytest.approx((low, high))
        p = stats.ttest_rel(one, two).pvalue
        assert (found.verdict == "ties") == (p >= 0.05) or p == pytest.approx(0.05)
    else:
        assert found.half_width == pytest.approx(0, abs=1e-5)


def test_what_two_rows_have_in_common_does_not_widen_the_interval():
    easy_and_hard, gains = [0.9, 0.5, 0.7], [0.010, 0.011, 0.009]
    better = [x + gain for x, gain in zip(easy_and_hard, gains, strict=True)]
    found = compare(table_of({"AD": better, "Zero": easy_and_hard}), "fgsm", "AD", "Zero")
    assert found.mean == pytest.approx(0.01)
    assert found.half_width == pytest.approx(stats.t.ppf(0.975, 2) * 0.001 / math.sqrt(3))
    assert found.verdict == "wins"


def test_seeds_that_all_differ_by_the_same_say_nothing_of_chance():
    """As where few test rows are: two of sixty in either seed."""
    found = compare(table_of({"AD": [0.9, 0.7, 0.5], "Zero": [0.6, 0.4, 0.2]}), "fgsm", "AD", "Zero")
    assert 0 < found.half_width < 1e-9  # of rounding
    assert found.verdict == "ties"


def test_seeds_that_one_row_lacks_do_not_count():
    rows = table_of({"AD": [0.5, 0.6, 0.9], "Zero": [0.4, 0.5]})
    assert compare(rows, "fgsm", "AD", "Zero").mean == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("mean", "half_width", "verdict"),
    [(0.2, 0.1, "wins"), (-0.2, 0.1, "loses"), (0.2, 0.3, "ties"), (0.1, 0.1, "ties"), (0.0, 0.0, "ties"),
     (0.1, 0.0, "ties"), (0.1, 1e-6, "wins"), (0.2, math.nan, "1 seed")],
)  # fmt: skip
def test_a_verdict_needs_an_interval_without_0(mean, half_width, verdict):
    assert Difference(mean, half_width).verdict == verdict


def test_the_best_is_the_one_with_the_highest_mean():
    rows = table_of({"AD": [0.9, 0.9], "Zero": [0.1, 0.8], "Uniform": [0.5, 0.5]})
    assert best_of(rows, "fgsm", ["Zero", "Uniform"]) == "Uniform"


def test_the_time_to_xavier_is_that_of_the_same_seed_and_of_the_first_point_as_good():
    rows = table_of({"Xavier": [0.4, 0.8], "AD": [0.8, 0.4]})
    assert time_to_reach(rows, "Xavier", "epochs") == [2.5, 2.5, 1.5, math.inf]
    assert time_to_reach(rows, "Xavier", "seconds") == [0.9, 0.9, 0.4, math.inf]
    assert all(math.isnan(time) for time in time_to_reach(rows, "Zero", "epochs"))


def test_ad_is_compared_by_seed_with_the_best_other_row_of_the_same_table():
    accuracies = all_alike([0.1, 0.2]) | {"AD": [0.5, 0.9], "AD l4=0": [0.9, 0.9]}
    accuracies |= {"Zero": [0.3, 0.6], "Uniform + kept terms": [0.7, 0.8]}
    lines = as_text(table_of(accuracies), DIGITS, "").splitlines()
    published, equal = (n for n, line in enumerate(lines) if line.startswith("AD - best other "))
    n = len(COLUMNS) + 1
    # 0.2 and 0.3 against Zero, -0.2 and 0.1 against Uniform; t of one degree of freedom is 12.706.
    assert re.findall(r"\S+ ±\S+", lines[published]) == ["+.250 ±.635"] * n
    assert re.findall(r"\S+ ±\S+", lines[equal]) == ["-.050 ±1.906"] * n
    assert lines[published + 1].split() == lines[equal + 1].split() == ["ties"] * n
    assert lines[published + 2].split() == ["best", "other", *["Zero"] * n]
    assert lines[equal + 2].split() == ["best", "other", *["Uniform"] * n]


def test_wins_and_losses_are_said():
    for ad, word in (([0.5, 0.601], "wins"), ([0.1, 0.201], "loses")):
        text = as_text(table_of(all_alike([0.3, 0.4]) | {"AD": ad}), DIGITS, "")
        assert len(re.findall(rf"\b{word}\b", text.replace("AD wins or loses", ""))) == 2 * (len(COLUMNS) + 1)


def test_where_d2_is_small_rehearsing_rows_are_compared_among_themselves():
    accuracies = all_alike([0.3, 0.4], FEW) | {"Xavier on D1+D2": [0.9, 0.9]}
    text = as_text(table_of(accuracies), FEW, "")
    (line,) = re.findall("^AD on D1\\+D2 - best other .*$", text, re.M)
    assert line.split()[-2:] == ["-.550", "±.635"]
    assert "few rows (100)" in text
    alone = next(line for line in text.splitlines()[40:] if line.startswith("AD - best other"))
    assert "+.000 ±.000" in alone
    assert "on D1+D2" not in as_text(table_of(all_alike([0.3, 0.4])), DIGITS, "")


def test_one_seed_has_no_spread_and_says_so():
    one, two = (as_text(table_of(all_alike(values)), DIGITS, "") for values in ([0.5], [0.5] * 2))
    assert "±" not in one.replace("± half of its 95 %", "")
    assert "one seed only" in one
    assert "1 seed" in one
    assert two.count("±") > 24
    assert "one seed only" not in two


def test_how_soon_is_told_with_the_seeds_that_never_were():
    accuracies = all_alike([0.6, 0.6]) | {"Zero": [0.6, 0.1], "Uniform": [0.1, 0.1]}
    text = as_text(table_of(accuracies), DIGITS, "")
    cells = {
        line.split("  ")[0]: re.split(r"  +", line)[3:5]
        for line in text.splitlines()
        if " + 10 " in line and "kept" not in line
    }
    assert cells["Xavier"] == ["2.5", "0.9"]
    assert cells["Zero"] == ["2.5 (1/2)", "0.9 (1/2)"]
    assert cells["Uniform"] == ["never", "never"]


def test_both_tables_say_what_they_do_not_show():
    text = as_text(table_of(all_alike([0.5, 0.6])), DIGITS, "the command")
    published, equal = text.split("Equal training")
    assert published.count("Does not show") == equal.count("Does not show") == 1
    for name, part in (("as published", published), ("equal training", equal)):
        for row in TABLES[name][0].rows:
            assert len(re.findall(f"^{re.escape(row)}  ", part, re.M)) == 2  # accuracies, costs
    assert "the command\nPython " in equal


def test_the_setting_names_what_the_teacher_knows_and_how_well_it_is_kept():
    text = setting(table_of(all_alike([0.5, 0.6])), replace(DIGITS, teacher_features=0.25))
    assert "by 25% of the features" in text
    assert "the teacher has an accuracy of 0.900, and AD after phi alone, masked to them, 0.800" in text
    assert "after phi" not in setting(table_of({"Zero": [0.5, 0.6]}), DIGITS)


def test_the_certificate_and_the_control_on_all_data_are_named():
    rows = table_of(all_alike([0.5, 0.6]))
    assert "wherever features move by up to 0.00625" in columns(rows, DIGITS)
    for protocol, told in ((DIGITS, "the row Xavier + kept terms"), (FEW, "Xavier on D1+D2 is the network")):
        assert told in " ".join(notes("equal training", rows, protocol))


def test_without_xavier_nobody_is_as_soon_as_good():
    costs = tables_in(table_of({"Zero": [0.5, 0.6], "AD": [0.7, 0.8]}), DIGITS)[0].costs
    assert {cells[2:4] for cells in costs.values()} == {("", "")}
    costs = tables_in(table_of({"Xavier": [0.5, 0.6], "AD": [0.7, 0.8]}), DIGITS)[0].costs
    assert costs["AD"][2:4] == ("2.5", "0.9")


def test_a_tuning_that_has_seen_test_rows_of_other_seeds_is_told():
    """Where the split is the seed's; the rows that Fashion-MNIST is tested on are always the same."""
    one, other, paper = DIGITS.load(0), DIGITS.load(1), PROTOCOLS["fashion-mnist"]
    tuned_on = {row.tobytes() for row in one.X_train}
    assert sum(row.tobytes() in tuned_on for row in other.X_test) > 100
    rows, best = table_of(all_alike([0.5, 0.6])), {"delta": 0.01}
    assert "a tuned one: delta=0.01. Every seed splits" in setting(rows, replace(DIGITS, best=best))
    assert "Every seed splits" in setting(rows, replace(DIGITS, best=best, data="a.csv", digest="ab"))
    assert "Every seed splits" not in setting(rows, DIGITS) + setting(rows, paper)


def test_lines_fit_a_terminal_of_110_columns():
    text = as_text(table_of(all_alike([0.123456, 1.0], FEW)), replace(FEW, teacher_features=0.5), "")
    assert max(map(len, text.splitlines())) <= 110


@pytest.mark.parametrize(("n_test_old", "shown"), [(50, True), (100, False)])
def test_forgetting_is_shown_where_there_is_something_to_forget(n_test_old, shown):
    text = as_text(table_of(all_alike([0.5, 0.6]), n_test_old), DIGITS, "")
    assert ("old classes\n" in text) == shown
    assert ("knows all classes" in text) != shown


def test_methods_that_were_not_run_are_left_out():
    text = as_text(table_of({"Zero": [0.5, 0.6], "AD": [0.7, 0.8]}), DIGITS, "")
    assert "Xavier  " not in text
    assert "Equal training" not in text  # it would hold AD alone, which the first table has
    assert "+.200 ±.000" in text
    assert as_text(table_of({"Zero": [0.5, 0.6]}), DIGITS, "").count("best other  ") == 0
    for method in METHODS:
        assert method in as_text(table_of({method: [0.5]}), FEW, "")
