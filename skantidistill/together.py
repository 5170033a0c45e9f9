"""Functions that come to the same point each, where one answer serves them all.

A function runs in a thread of its own, one at a time; where it asks for something it stands still until all
the others ask, too, or have ended. So they stay as they are, and what they ask for can be computed at once.
"""

import contextvars
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from joblib import parallel_config
from joblib.parallel import get_active_backend
from sklearn import config_context, get_config

from skantidistill.faults import ctrl_c_waits

__all__ = ["Answer", "ask", "ask_all", "claim", "paused", "run_together"]


class Answer(NamedTuple):
    """What is answered, or an exception to be raised where it was asked for; and the seconds it has cost."""

    value: Any
    seconds: float


#: Who runs in this thread; nobody where a function runs by itself.
_thread = threading.local()


def ask(request: Any, alone: Callable[[Any], Any]) -> Any:
    """Return the answer to a request; where nobody else runs, that is ``alone(request)``."""
    member = getattr(_thread, "member", None)
    if member is None:
        return alone(request)
    ((value, _),) = member.ask([request])
    if isinstance(value, BaseException):
        raise value
    return value


def ask_all(requests: Sequence[Any], answer: Callable[[Sequence[Any]], list[Answer]]) -> list[Answer]:
    """Return the answers to several requests; where nobody else runs, those of ``answer``."""
    member = getattr(_thread, "member", None)
    return answer(requests) if member is None else member.ask(list(requests))


def paused() -> float:
    """Return for how many seconds beyond its share this thread's function stood still."""
    return float(_thread.member.paused)


def claim(n_bytes: int) -> None:
    """Say how much memory this thread's function takes until it ends; the most that it has said counts."""
    member = getattr(_thread, "member", None)
    if member is not None:
        member.claimed = max(member.claimed, n_bytes)


def run_together(
    functions: Sequence[Callable[[], Any]],
    answer: Callable[[Sequence[Any]], list[Answer]],
    has_room: Callable[[Sequence[int]], bool] = lambda claims: True,
) -> list[Any]:
    """Return what functions return that ask on their way.

    Parameters
    ----------
    functions : sequence of callables
        Each is called without arguments, in a thread of its own, while all others stand still.
    answer : callable, sequence of requests -> list of Answer
        Called in this thread with the requests of all that stand still.
    has_room : callable, sequence of int -> bool
        Whether another function may begin beside those that stand still, which take so many bytes each.

    Returns
    -------
    results : list
        In the order of the functions.

    Raises
    ------
    BaseException
        What the first function has raised that did; the others are ended where they stand. So they are by
        Ctrl-C, which waits for the one that runs until it asks or ends.
    """
    members = [_Member(function) for function in functions]
    to_come, waiting = deque(members), list[_Member]()
    try:
        while to_come or waiting:
            while to_come and (not waiting or has_room([member.claimed for member in waiting])):
                member = to_come.popleft()
                member.go_on()
                if not member.ended:
                    waiting.append(member)
            if not waiting:
                continue
            answers = iter(answer([request for member in waiting for request in member.requests]))
            for member in waiting:
                member.answers = [next(answers) for _ in member.requests]
                member.go_on()
            waiting = [member for member in waiting if not member.ended]
        return [member.result for member in members]
    finally:
        with ctrl_c_waits():
            for member in members:
                member.abandon()


class _Abandoned(BaseException):
    """Ends a function that stands still, and whose result nobody wants any more."""


class _Member:
    """A function, its thread, and what it asks for; ``claimed``: the memory that it says it takes."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function: Callable[[], Any] | None = function
        self.settings = get_config(), *get_active_backend()
        self.begun = self.ended = self.abandoned = False
        self.result: Any = None
        self.error: BaseException | None = None
        self.requests: list[Any] = []
        self.answers: list[Answer] = []
        self.claimed, self.paused = 0, 0.0
        self.its_turn, self.stands = threading.Semaphore(0), threading.Semaphore(0)
        run = contextvars.copy_context().run
        self.thread = threading.Thread(target=run, args=(self._run,), daemon=True)

    def go_on(self) -> None:
        """Let the function run until it asks or ends; raise what it has raised."""
        with warnings.catch_warnings():  # not even the filters of a thread are its own
            if self.begun:
                self.its_turn.release()
            else:
                with ctrl_c_waits():
                    self.thread.start()
                    self.begun = True
            self.stands.acquire()
        if self.error is not None:
            raise self.error

    def abandon(self) -> None:
        """End the function where it stands, or where it will stand next."""
        self.abandoned = True
        if self.begun:
            self.its_turn.release()
            with warnings.catch_warnings():
                self.thread.join()

    def ask(self, requests: list[Any]) -> list[Answer]:
        """Stand still until there are answers."""
        if self.abandoned:
            raise _Abandoned
        begun = time.perf_counter()
        self.requests = requests
        with warnings.catch_warnings():  # as in go_on
            self.stands.release()
            self.its_turn.acquire()
        self.requests = []
        if self.abandoned:
            raise _Abandoned
        self.paused += time.perf_counter() - begun - sum(answer.seconds for answer in self.answers)
        return self.answers

    def _run(self) -> None:
        _thread.member = self
        function, self.function = self.function, None  # what it holds ends with it
        assert function is not None
        config, backend, n_jobs = self.settings
        try:
            with config_context(**config), parallel_config(backend=backend, n_jobs=n_jobs):
                self.result = function()
        except _Abandoned:
            pass
        except BaseException as error:
            self.error = error
        finally:
            self.ended = True
            self.stands.release()
