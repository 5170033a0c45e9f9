"""What all tests share: a bounded hypothesis profile, one torch thread, a summary of campaigns and limits."""

import os

import hypothesis
import pytest
import torch
from hypothesis import Phase

from tests.campaigns import check_shares, outcomes

hypothesis.settings.register_profile(
    "bounded",
    deadline=None,  # times vary on shared machines
    max_examples=50,
    derandomize=bool(os.environ.get("CI")),
    print_blob=True,
)
# For mutants: the same cases every time, and of one that fails no simpler one.
hypothesis.settings.register_profile(
    "mutants",
    hypothesis.settings.get_profile("bounded"),
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
)
hypothesis.settings.load_profile("bounded")

# The networks are tiny: more threads only wait for each other.
torch.set_num_threads(1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Hand on how the cases of a campaign ended, from whichever process has run them."""
    outcomes.clear()
    try:
        result = yield
        for mark in item.iter_markers("campaign"):
            check_shares(*mark.args, mark.kwargs)
        return result
    finally:
        if outcomes:
            item.user_properties.append(("campaign", dict(outcomes)))


def pytest_terminal_summary(terminalreporter):
    """Tell how the cases of every campaign ended, and the figures of slow trials of limits."""
    campaigns, limits = _told(terminalreporter, "campaign"), _told(terminalreporter, "limit", "slow")
    if campaigns:
        terminalreporter.section("campaigns")
        for name, ends in campaigns:
            shares = ", ".join(f"{n} {end}" for end, n in sorted(ends.items()))
            terminalreporter.line(f"{name}: {sum(ends.values())} cases: {shares}")
        terminalreporter.line(f"{sum(sum(ends.values()) for _, ends in campaigns)} cases in all")
    if limits:
        terminalreporter.section("limits")
        for name, figure in limits:
            terminalreporter.line(f"{name}: {figure}")


def _told(terminalreporter, wanted, marker=""):
    """Return what tests with a marker have recorded under a name, each with the test's own."""
    reports = [
        report
        for kind in ("passed", "failed")
        for report in terminalreporter.stats.get(kind, [])
        if not marker or marker in report.keywords
    ]
    return sorted((r.nodeid, told) for r in reports for name, told in r.user_properties if name == wanted)
