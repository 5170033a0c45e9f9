"""Functions that run side by side: what they get, what they raise, and what they leave behind."""

import contextlib
import signal
import threading
import time
import warnings
import weakref

import numpy as np
import pytest
import sklearn
import torch
from hypothesis import given
from hypothesis import strategies as st

from skantidistill.together import Answer, ask, ask_all, claim, paused, run_together


def doubled(requests):
    return [Answer(2 * request, 0.0) for request in requests]


def alone(request):
    raise AssertionError("nobody else runs")


@given(st.lists(st.lists(st.integers(), max_size=4), max_size=6))
def test_everyone_gets_the_answers_to_what_it_asked_in_its_own_order(wishes):
    rounds = []

    def answer(requests):
        rounds.append(list(requests))
        return doubled(requests)

    functions = [lambda own=own: [ask(request, alone) for request in own] for own in wishes]
    assert run_together(functions, answer) == [[2 * request for request in own] for own in wishes]
    # In every round all ask that still run, in the order of the functions.
    longest = max(map(len, wishes), default=0)
    assert rounds == [[own[k] for own in wishes if k < len(own)] for k in range(longest)]


def test_by_itself_a_function_answers_itself():
    assert ask(3, lambda request: request + 1) == 4
    assert ask_all([1, 2], doubled) == doubled([1, 2])


def test_functions_that_run_others_ask_for_all_of_them_at_once():
    rounds = []

    def answer(requests):
        rounds.append(list(requests))
        return doubled(requests)

    def outer(numbers):
        inner = [lambda number=number: ask(number, alone) for number in numbers]
        return run_together(inner, lambda requests: ask_all(requests, alone))

    functions = [lambda: outer([1, 2]), lambda: ask(3, alone), lambda: outer([4])]
    assert run_together(functions, answer) == [[2, 4], 6, [8]]
    assert rounds == [[1, 2, 3, 4]]


def test_an_answer_that_is_an_exception_is_raised_where_it_was_asked_for():
    def careful():
        with pytest.raises(ValueError, match="no such thing"):
            ask(1, alone)
        return ask(2, alone)

    def answer(requests):
        return [Answer(ValueError("no such thing") if r == 1 else r, 0.0) for r in requests]

    assert run_together([careful, lambda: ask(2, alone)], answer) == [2, 2]


class BreakError(Exception):
    pass


@pytest.mark.parametrize("where", ["before", "after", "in the answer"])
def test_what_breaks_ends_all_of_them_and_leaves_no_thread(where):
    ended = []

    def function(number):
        try:
            if where == "before" and number == 1:
                raise BreakError
            ask(number, alone)
            if where == "after" and number == 1:
                raise BreakError
        finally:
            ended.append(number)

    def answer(requests):
        if where == "in the answer":
            raise BreakError
        return doubled(requests)

    before = threading.active_count()
    with pytest.raises(BreakError):
        run_together([lambda n=n: function(n) for n in range(4)], answer)
    assert threading.active_count() == before
    assert set(ended) == ({0, 1} if where == "before" else {0, 1, 2, 3})


def test_ctrl_c_twice_ends_all_of_them_where_they_stand(monkeypatch):
    """Also as a thread begins."""
    start, threads = threading.Thread.start, threading.active_count()
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)

    def press_and_start(self):
        start(self)
        signal.raise_signal(signal.SIGINT)

    def answer(requests):
        signal.raise_signal(signal.SIGINT)

    def function():
        try:
            ask(1, alone)
        finally:
            ended.append(1)

    try:
        for pressed in ("answer", "start"):
            ended = []
            if pressed == "start":
                monkeypatch.setattr(threading.Thread, "start", press_and_start)
            with pytest.raises(KeyboardInterrupt):
                run_together([function] * 4, answer)
            assert len(ended) == (4 if pressed == "answer" else 1)
            assert threading.active_count() == threads
    finally:
        signal.signal(signal.SIGINT, handler)


def test_what_a_function_holds_ends_with_it():
    class Held:
        pass

    alive = []

    def hold():
        held = Held()
        alive.append(weakref.ref(held))

        def function():
            ask(1, alone)
            return held.__class__

        return function

    functions = [hold() for _ in range(2)]

    def answer(requests):
        functions.clear()
        return doubled(requests)

    def last():
        ask(1, alone)
        ask(1, alone)
        return [ref() for ref in alive]

    functions.append(last)
    assert run_together(functions, answer)[-1] == [None, None]


def test_who_is_ended_can_ask_no_more():
    def stubborn():
        for _ in range(3):
            with contextlib.suppress(BaseException):
                ask(1, alone)

    def answer(requests):
        raise BreakError

    with pytest.raises(BreakError):
        run_together([stubborn], answer)


@given(st.integers(1, 5), st.integers(1, 4))
def test_no_more_begin_than_there_is_room_for(n_functions, room):
    side_by_side = []

    def answer(requests):
        side_by_side.append(len(requests))
        return doubled(requests)

    def function(number):
        claim(5)
        claim(3)
        return ask(ask(number, alone), alone)

    functions = [lambda n=n: function(n) for n in range(n_functions)]
    result = run_together(
        functions, answer, lambda claims: claims == [5] * len(claims) and len(claims) < room
    )
    assert result == [4 * n for n in range(n_functions)]
    assert max(side_by_side) == min(room, n_functions)


def test_a_function_that_asks_for_nothing_makes_room_at_once():
    assert run_together([lambda: 1, lambda: 2], alone, lambda claims: False) == [1, 2]
    assert run_together([], alone) == []


def test_everyone_has_its_own_filters_of_warnings_and_leaves_those_of_the_caller():
    def strict():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            ask(1, alone)
            with pytest.raises(UserWarning):
                warnings.warn("strict", stacklevel=1)

    def lenient():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ask(2, alone)
            warnings.warn("lenient", stacklevel=1)

    def recording():
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            ask(3, alone)
            warnings.warn("told", stacklevel=1)
        return [str(warning.message) for warning in told]

    filters, show = list(warnings.filters), warnings.showwarning
    order = [strict, lenient, recording, strict, recording, lenient]
    results = run_together(order, doubled)
    assert results == [None, None, ["told"], None, ["told"], None]
    assert (warnings.filters, warnings.showwarning) == (filters, show)


def test_settings_of_the_caller_hold_in_the_functions():
    def settings():
        first = sklearn.get_config()["assume_finite"], np.geterr()["over"]
        ask(1, alone)
        return first, (sklearn.get_config()["assume_finite"], np.geterr()["over"])

    with sklearn.config_context(assume_finite=True):
        ((before, after),) = run_together([settings], doubled)
    assert before == after
    assert before[0]


def test_that_torch_keeps_no_graph_in_one_is_its_own():
    def without():
        with torch.no_grad():
            ask(1, alone)
            return torch.is_grad_enabled()

    def with_graph():
        ask(1, alone)
        return torch.is_grad_enabled()

    assert run_together([without, with_graph], doubled) == [False, True]
    assert torch.is_grad_enabled()


def test_pauses_are_the_time_that_others_took():
    def answer(requests):
        time.sleep(0.2)
        return [Answer(r, 0.05) for r in requests]

    def slow(seconds):
        ask(1, alone)
        time.sleep(seconds)
        ask("a", alone)
        return paused()

    quick, lazy = run_together([lambda: slow(0), lambda: slow(0.3)], answer)
    assert lazy > 2 * (0.2 - 0.05)  # both answers took 0.2, of which 0.05 were for this one
    assert quick > lazy + 0.1  # which waited for the other, too
