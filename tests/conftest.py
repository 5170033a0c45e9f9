"""What all tests share: a bounded hypothesis profile, one torch thread, a summary of campaigns."""

import os

import hypothesis
import pytest
import torch
from hypothesis import Phase

from tests.campaigns import outcomes

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
        return (yield)
    finally:
        if outcomes:
            item.user_properties.append(("campaign", dict(outcomes)))


def pytest_terminal_summary(terminalreporter):
    """Tell how many cases every campaign has tried, and how they ended."""
    reports = [r for kind in ("passed", "failed") for r in terminalreporter.stats.get(kind, [])]
    told = sorted((r.nodeid, ends) for r in reports for name, ends in r.user_properties if name == "campaign")
    if not told:
        return
    terminalreporter.section("campaigns")
    for name, ends in told:
        shares = ", ".join(f"{n} {end}" for end, n in sorted(ends.items()))
        terminalreporter.line(f"{name}: {sum(ends.values())} cases: {shares}")
    total = sum(sum(ends.values()) for _, ends in told)
    terminalreporter.line(f"{total} cases in all")
