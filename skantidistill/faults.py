"""What may end a computation at any moment: Ctrl-C, and a lack of memory; both under their usual names."""

import functools
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch

__all__ = ["Interrupted", "OutOfMemoryError", "ctrl_c_waits", "ended_by_ctrl_c", "memory_told"]

Function = TypeVar("Function", bound=Callable)


class Interrupted(BaseException):
    """Ctrl-C, under a name that no library takes for its own; whoever pressed it gets a KeyboardInterrupt."""


#: Whether a thread computes in a function that Ctrl-C ends.
_thread = threading.local()


class _Pressed:
    """A handler that asks the one before it; a KeyboardInterrupt of this one it remembers and renames.

    It stays until all is unwound: Ctrl-C may be pressed again, and what it raises may be swallowed. Whether
    torch keeps a graph is put back in the end: ``torch.no_grad()`` interrupted as it begins never ends.
    """

    before: Any = None
    pressed = False

    def __init__(self) -> None:
        self.keeps_graph = torch.is_grad_enabled()

    def __call__(self, number: int, frame: Any) -> None:
        try:
            self.before(number, frame)
        except KeyboardInterrupt:
            self.pressed = True
            raise Interrupted from None
        finally:
            if signal.getsignal(number) is signal.default_int_handler:  # which it wants for the next press
                self.before = signal.default_int_handler
                signal.signal(number, self)

    def begin(self) -> None:
        """Hear Ctrl-C, unless it is ignored or reaches another thread."""
        _thread.computes = True
        self.before = signal.getsignal(signal.SIGINT)
        if callable(self.before) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self)

    def end(self) -> None:
        """Leave Ctrl-C to the handler before, unless somebody has named another."""
        _thread.computes = False
        torch.set_grad_enabled(self.keeps_graph)
        is_ours = signal.getsignal(signal.SIGINT) is self
        if is_ours:
            signal.signal(signal.SIGINT, self.before)


def ended_by_ctrl_c(function: Function) -> Function:
    """Let Ctrl-C end a function by a KeyboardInterrupt, whatever computes in it.

    skorch takes a KeyboardInterrupt for a callback's wish to stop training, and scikit-learn's MLPClassifier
    keeps what it has trained by then: so inside the function Ctrl-C raises another exception, up to the
    outermost function of the kind. What is raised as KeyboardInterrupt without Ctrl-C, as by such a callback,
    stays one.
    """

    @functools.wraps(function)
    def ended(*args: Any, **kwargs: Any) -> Any:
        if getattr(_thread, "computes", False):
            return function(*args, **kwargs)
        handler = _Pressed()
        try:
            try:
                handler.begin()
                return function(*args, **kwargs)
            finally:
                handler.end()
                if handler.pressed:  # also where somebody has swallowed it
                    raise Interrupted
        except Interrupted:
            handler.end()  # Ctrl-C may have come in it
            raise KeyboardInterrupt from None

    return cast(Function, ended)


@contextmanager
def ctrl_c_waits() -> Iterator[None]:
    """Let Ctrl-C wait for something that must not be done by half."""
    before = signal.getsignal(signal.SIGINT)
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield
        return
    frames: list[Any] = []
    signal.signal(signal.SIGINT, lambda number, frame: frames.append(frame))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if frames:
            before(signal.SIGINT, frames[0])


class OutOfMemoryError(MemoryError, RuntimeError):
    """A lack of memory: numpy's kind of error for it, and torch's, which its users catch."""


def memory_told(function: Function) -> Function:
    """Let a function raise a MemoryError, as numpy does, where torch raises a RuntimeError for want of it.

    CUDA's own error is left as it is: torch's users know its class.
    """

    @functools.wraps(function)
    def told(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except RuntimeError as error:
            _, is_told, reason = str(error).partition("DefaultCPUAllocator: ")
            if not is_told:
                raise
            raise OutOfMemoryError(
                f"There is not enough memory ({reason.split('. ')[0]}); smaller layers, smaller minibatches "
                "and float32 inputs need less."
            ) from error

    return cast(Function, told)
