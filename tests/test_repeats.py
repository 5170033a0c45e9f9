"""What is the same to the last bit is done once."""

import copy
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from skantidistill.blueprint import Blueprint
from skantidistill.repeats import answer_once, identical
from skantidistill.teachers import read_teacher
from skantidistill.together import Answer
from tests.problems import fitted_teacher


@dataclass
class Wish:
    number: int
    name: str = ""
    repeated: bool = False

    def repeat(self, first, value):
        self.repeated = True
        return [value, "again"]


@given(st.lists(st.integers(0, 3), max_size=8))
def test_every_distinct_wish_is_answered_once_and_its_seconds_are_shared(numbers):
    asked = []

    def answer(requests):
        asked.extend(request.number for request in requests)
        return [Answer(request.number, 6.0) for request in requests]

    wishes = [Wish(number) for number in numbers]
    answers = answer_once(wishes, answer)
    assert asked == list(dict.fromkeys(numbers))
    for position, (wish, (value, seconds)) in enumerate(zip(wishes, answers, strict=True)):
        again = wish.number in numbers[:position]
        assert wish.repeated == again
        assert value == ([wish.number, "again"] if again else wish.number)
        assert seconds == 6.0 / numbers.count(wish.number)


def test_everyone_has_an_error_of_its_own():
    answers = answer_once([Wish(1), Wish(1)], lambda requests: [Answer(ValueError("no"), 1.0)])
    errors = [answer.value for answer in answers]
    assert [(type(error), str(error)) for error in errors] == [(ValueError, "no")] * 2
    assert errors[0] is not errors[1]


def generator(seed):
    return torch.Generator().manual_seed(seed)


BLUEPRINT = read_teacher(fitted_teacher())
THINGS = [
    1,
    1.0,
    True,
    np.int64(1),
    np.float32(1),
    "1",
    None,
    (1, 2),
    [1, 2],
    (1, (2, 3)),
    np.array([1, 2]),
    np.array([1.0, 2.0]),
    np.array([1.0, 2.5]),
    torch.tensor([1, 2]),
    torch.tensor([1.0, 2.0]),
    torch.tensor([[1.0, 2.0]]),
    generator(0),
    generator(1),
    Wish(1),
    Wish(2),
    BLUEPRINT,
    BLUEPRINT.with_parameters(tuple(p + 1e-15 for p in BLUEPRINT.parameters)),
    BLUEPRINT.scaled,
]


@pytest.mark.parametrize("a", range(len(THINGS)))
@pytest.mark.parametrize("b", range(len(THINGS)))
def test_things_are_identical_to_their_copies_and_to_nothing_else(a, b):
    assert identical(THINGS[a], THINGS[b]) == (a == b)


@pytest.mark.parametrize("thing", THINGS, ids=lambda thing: type(thing).__name__)
def test_a_copy_is_identical(thing):
    if isinstance(thing, torch.Generator):
        copied = torch.Generator()
        copied.set_state(thing.get_state())
    else:
        copied = copy.deepcopy(thing)
    assert identical(thing, copied)


def test_what_nobody_knows_is_identical_only_to_itself():
    thing = object()
    assert identical(thing, thing)
    assert not identical(np.array([thing]), np.array([thing]))
    assert not identical(object(), object())
    assert isinstance(BLUEPRINT, Blueprint)
