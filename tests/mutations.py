"""Ways to damage bytes and JSON, each a function of the content and a numpy generator."""

import contextlib
import copy
import struct

import numpy as np

from tests.hostile import TEXTS

__all__ = ["BYTES", "JSON"]

# --- Bytes ----------------------------------------------------------------------------------------------


def header(content):
    """Return the length of what stands before the tensors of a safetensors file; of others, of all."""
    return min(8 + int.from_bytes(content[:8], "little"), len(content))


def flip(content, rng):
    """Flip up to a hundred bits, half of the time in the header."""
    changed, most = bytearray(content), header(content) if rng.random() < 0.5 else len(content)
    for bit in rng.integers(8 * max(1, min(most, len(content))), size=rng.choice([1, 2, 8, 100])):
        if changed:
            changed[bit // 8 % len(changed)] ^= 1 << (bit % 8)
    return bytes(changed)


def cut(content, rng):
    begin, end = np.sort(rng.integers(len(content) + 1, size=2))
    return content[:begin] + content[end:]


def truncate(content, rng):
    return content[: rng.integers(len(content) + 1)]


def repeat(content, rng):
    begin, end = np.sort(rng.integers(len(content) + 1, size=2))
    return content[:end] + content[begin:]


def insert(content, rng):
    place = rng.integers(len(content) + 1)
    return content[:place] + rng.bytes(rng.integers(1, 20)) + content[place:]


def overwrite(content, rng):
    """Overwrite some values with zeros, ones, or NaN and infinities."""
    place = header(content) + 8 * rng.integers(max(1, (len(content) - header(content)) // 8))
    value = struct.pack("<d", rng.choice([0, 1e300, np.nan, -np.inf, 5e-324])) * rng.integers(1, 9)
    return content[:place] + value + content[place + len(value) :]


def swap_halves(content, rng):
    place = rng.integers(header(content), len(content) + 1) if header(content) <= len(content) else 0
    return content[: header(content)] + content[place:] + content[header(content) : place]


def lengthen(content, rng):
    """Say that the header is of another length."""
    length = int(rng.choice([0, 1, 2**31, 2**63, 2**64 - 1, len(content), header(content) - 7]))
    return struct.pack("<Q", length % 2**64) + content[8:]


BYTES = [flip, cut, truncate, repeat, insert, overwrite, swap_halves, lengthen]

# --- JSON -----------------------------------------------------------------------------------------------

VALUES = [
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        2,
        10**30,
        1.5,
        float("nan"),
        float("inf"),
        1e300,
        [],
        {},
        [[]],
        "auto",
        "relu",
    ),
    *(
        {"array": "network.0.bias"},
        {"list": [1]},
        {"tuple": [{"list": []}]},
        {"dict": [["a", 1]]},
        {"array": 1},
    ),
    *(
        ["a", "b"],
        [1, 2, 3],
        {"dtype": "<i8", "values": [1, 2]},
        {"dtype": "<U9", "values": ["a"]},
        *TEXTS[:11],
    ),
]


def places(content, path=()):
    """Return the paths of all values in nested lists and dicts."""
    inner = content.items() if isinstance(content, dict) else enumerate(content)
    found = []
    for key, value in list(inner):
        found.append((*path, key))
        if isinstance(value, dict | list):
            found += places(value, (*path, key))
    return found


def at(content, path):
    for key in path[:-1]:
        content = content[key]
    return content, path[-1]


def pick(content, rng):
    """Choose a value, those near the top as often as the many below."""
    found = places(content)
    if not found:
        return None
    depth = rng.integers(1, max(map(len, found)) + 1)
    near = [path for path in found if len(path) <= depth]
    return at(content, near[rng.integers(len(near))])


def replace_value(content, rng):
    if place := pick(content, rng):
        place[0][place[1]] = copy.deepcopy(VALUES[rng.integers(len(VALUES))])


def delete_value(content, rng):
    if place := pick(content, rng):
        del place[0][place[1]]


def change_number(content, rng):
    for _ in range(50):
        place = pick(content, rng)
        if place and isinstance(place[0][place[1]], int | float):
            place[0][place[1]] = [-1, 0, 2, 10**9, -1e9, 1e-320, True, 0.5][rng.integers(8)]
            return


def swap_values(content, rng):
    one, other = pick(content, rng), pick(content, rng)
    if one and other:
        a, b = copy.deepcopy(one[0][one[1]]), copy.deepcopy(other[0][other[1]])
        one[0][one[1]] = b
        with contextlib.suppress(KeyError, IndexError, TypeError):  # it was below the first
            other[0][other[1]] = a


def add_key(content, rng):
    place = pick(content, rng)
    inner = place[0][place[1]] if place else content
    inner = inner if isinstance(inner, dict) else content
    inner[TEXTS[rng.integers(11)]] = VALUES[rng.integers(len(VALUES))]


def repeat_items(content, rng):
    for _ in range(50):
        place = pick(content, rng)
        if place and isinstance(place[0][place[1]], list):
            place[0][place[1]] *= int(rng.choice([0, 2, 3]))
            return


def nest(content, rng):
    if place := pick(content, rng):
        for _ in range(rng.choice([1, 4, 300])):
            place[0][place[1]] = [{"list": [place[0][place[1]]]}, [place[0][place[1]]]][rng.integers(2)]


JSON = [replace_value, delete_value, change_number, swap_values, add_key, repeat_items, nest]
