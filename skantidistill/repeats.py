"""What is asked for twice is done once."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from types import MethodType
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from skantidistill.together import Answer

__all__ = ["Request", "answer_once", "identical"]


class Request(Protocol):
    """What may be asked for twice."""

    def repeat(self, first: Any, value: Any) -> Any:
        """Return the answer, that of ``first``, which was the same; and leave behind what doing it would."""


def answer_once(requests: Sequence[Request], answer: Callable[[Sequence[Any]], list[Answer]]) -> list[Answer]:
    """Answer requests, those that are identical by doing one of them, whose seconds they share."""
    firsts: list[Request] = []
    which = []
    for request in requests:
        same = (k for k, first in enumerate(firsts) if identical(first, request))
        which.append(next(same, len(firsts)))
        if which[-1] == len(firsts):
            firsts.append(request)
    answers = answer(firsts)
    counts = np.bincount(which, minlength=len(firsts))
    shared = []
    for request, k in zip(requests, which, strict=True):
        value, seconds = answers[k]
        if request is not firsts[k]:
            is_error = isinstance(value, BaseException)
            value = copy.copy(value) if is_error else request.repeat(firsts[k], value)
        shared.append(Answer(value, seconds / counts[k]))
    return shared


def identical(a: Any, b: Any) -> bool:
    """Say whether two things are of the same kind and equal, as far down as they have parts."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.dtype != object and np.array_equal(a, b)
    if isinstance(a, Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, torch.Generator):
        return torch.equal(a.get_state(), b.get_state())
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(map(identical, a, b))
    if isinstance(a, (bool, int, float, str, slice, np.generic)):
        return bool(a == b)
    if isinstance(a, MethodType):
        return a.__func__ is b.__func__ and identical(a.__self__, b.__self__)
    if is_dataclass(a):
        return all(identical(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if type(a).__module__.startswith("skantidistill."):
        return vars(a).keys() == vars(b).keys() and all(map(identical, vars(a).values(), vars(b).values()))
    return False
