"""What may end a computation at any moment: Ctrl-C, and a lack of memory; both under their usual names."""

import functools
import signal
import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch

__all__ = ["Interrupted", "ended_by_ctrl_c", "memory_told"]

Function = TypeVar("Function", bound=Callable)


class Interrupted(BaseException):
    """Ctrl-C, under a name that no library takes for its own; whoever pressed it gets a KeyboardInterrupt."""


class _Pressed:
    """A handler that asks the one before it, and renames the KeyboardInterrupt that this raises."""

    def __init__(self, before: Any) -> None:
        self.before = before

    def __call__(self, number: int, frame: Any) -> None:
        try:
            self.before(number, frame)
        except KeyboardInterrupt as interrupt:
            signal.signal(number, self.before)  # Ctrl-C may be pressed again while all is unwound
            raise Interrupted from interrupt


def ended_by_ctrl_c(function: Function) -> Function:
    """Let Ctrl-C end a function by a KeyboardInterrupt, whatever computes in it.

    skorch takes a KeyboardInterrupt for a callback's wish to stop training, and scikit-learn's MLPClassifier
    keeps what it has trained by then: so inside the function Ctrl-C raises another exception. What is raised
    as KeyboardInterrupt without Ctrl-C, as by such a callback, stays one.
    """

    @functools.wraps(function)
    def ended(*args: Any, **kwargs: Any) -> Any:
        before = signal.getsignal(signal.SIGINT)
        in_main_thread = threading.current_thread() is threading.main_thread()
        # Where Ctrl-C is ignored or reaches another thread, or this is called by a function of the kind.
        if not (callable(before) and in_main_thread) or isinstance(before, _Pressed):
            return function(*args, **kwargs)
        try:
            signal.signal(signal.SIGINT, _Pressed(before))
            return function(*args, **kwargs)
        except Interrupted:
            raise KeyboardInterrupt from None
        finally:
            signal.signal(signal.SIGINT, before)

    return cast(Function, ended)


def memory_told(function: Function) -> Function:
    """Let a function raise a MemoryError, as numpy does, where torch raises a RuntimeError for want of it."""

    @functools.wraps(function)
    def told(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except RuntimeError as error:
            text = str(error)
            if not (isinstance(error, torch.cuda.OutOfMemoryError) or "DefaultCPUAllocator" in text):
                raise
            reason = text.partition("DefaultCPUAllocator: ")[2] or text
            raise MemoryError(
                f"There is not enough memory ({reason.split('. ')[0]}); smaller layers, smaller minibatches "
                "and float32 inputs need less."
            ) from error

    return cast(Function, told)
