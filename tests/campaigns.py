"""Campaigns: property tests of thousands of cases, of which an ordinary run tries one in a hundred.

``CAMPAIGN`` in the environment is the share that is tried: 0.1 in ``.ci/run``, 1 in ``.ci/slow``. A
campaign counts how its cases ended, and pytest's summary tells.
"""

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, settings

SHARE = float(os.environ.get("CAMPAIGN", "0.01"))

#: How the cases of the running test ended: see ``tests/conftest.py``.
outcomes: Counter[str] = Counter()


#: Cases from which on the least shares of a campaign's ends are held; of a shorter campaign, most of its own.
ENOUGH = 500


def campaign(n_cases: int, **least: float) -> Callable:
    """Turn a property test into a campaign of so many cases.

    ``least`` are shares that ends must have, so that a campaign can't become trivial: ``done=0.2``.
    """

    def mark(test: Callable) -> Callable:
        drawn = settings(
            max_examples=max(1, round(SHARE * n_cases)),
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        )
        return pytest.mark.campaign(min(ENOUGH, n_cases * 3 // 4), **least)(drawn(test))

    return mark


def check_shares(enough: int, least: dict[str, float]) -> None:
    """Fail a campaign that was too seldom of an end, if it had cases enough to tell."""
    total = sum(outcomes.values())
    for end, share in least.items():
        if total >= enough and outcomes[end] < share * total:
            pytest.fail(f"Only {outcomes[end]} of {total} cases are {end!r}, fewer than {share:.0%}.")


@contextmanager
def case(seconds: int = 60) -> Iterator[None]:
    """Fail a case that takes longer: a campaign finds what hangs, too."""

    def give_up(number: int, frame: object) -> None:
        pytest.fail(f"This case ran for more than {seconds} seconds.")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
