"""The rows of a stack's members, handed out in minibatches of all of them."""

from collections.abc import Iterator, Sequence
from mmap import mmap
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skantidistill.network import Batch
from skantidistill.repeats import identical
from skantidistill.rows import Rows

__all__ = ["StackedRows", "is_mapped"]


class StackedRows:
    """Rows of many members, of which those that are the same are kept once.

    A member may have fewer rows than others, in as many minibatches: it is given rows of weight 0.

    Parameters
    ----------
    rows : sequence of Rows
        Dense, and of the same dtype; one a member.
    batch_size : int
        Rows of a minibatch of one member.
    """

    def __init__(self, rows: Sequence[Rows], batch_size: int) -> None:
        self.batch_size, self.n_rows = batch_size, [len(r) for r in rows]
        whole: list[Tensor] = []
        which: list[int] = []
        for number, r in enumerate(rows):
            known = (which[k] for k in range(number) if _have_same_inputs(rows[k], r))
            which.append(next(known, len(whole)))
            if which[-1] == len(whole):
                whole.append(r.batch(np.arange(len(r))).X)
        begins = torch.tensor([0, *(len(X) for X in whole)]).cumsum(0)
        self.X = whole[0] if len(whole) == 1 else torch.cat(whole)
        self.begin = begins[torch.tensor(which)][:, None]
        # One column more than rows: it has weight 0.
        shape = len(rows), max(self.n_rows) + 1
        self.y, self.weight = torch.zeros(shape, dtype=torch.int64), self.X.new_zeros(shape)
        for number, r in enumerate(rows):
            self.y[number, : len(r)], self.weight[number, : len(r)] = r.labels(r.index)

    def batches(self, orders: Sequence[Tensor]) -> Iterator[tuple[Batch, list[int]]]:
        """Yield minibatches in these orders of the members' rows, and how many rows of each they have."""
        longest = max(self.n_rows)
        order = torch.full((len(orders), longest), longest)
        for number, own in enumerate(orders):
            order[number, : len(own)] = own
        y, weight = self.y.gather(1, order), self.weight.gather(1, order)
        rows = torch.where(order == longest, 0, order) + self.begin
        for begin in range(0, longest, self.batch_size):
            part = slice(begin, begin + self.batch_size)
            index = rows[:, part]
            X = self.X.index_select(0, index.reshape(-1)).view(*index.shape, -1)
            n_rows = [max(0, min(self.batch_size, n - begin)) for n in self.n_rows]
            yield Batch(X, y[:, part].contiguous(), weight[:, part].contiguous()), n_rows

    def keep(self, members: Tensor) -> "StackedRows":
        """Return the rows of some of the members."""
        kept = object.__new__(StackedRows)
        kept.batch_size, kept.X = self.batch_size, self.X
        kept.n_rows = [self.n_rows[member] for member in members.tolist()]
        width = max(kept.n_rows) + 1
        kept.begin = self.begin[members]
        kept.y, kept.weight = self.y[members, :width], self.weight[members, :width]
        return kept


def _have_same_inputs(rows: Rows, others: Rows) -> bool:
    return all(
        identical(getattr(rows, name), getattr(others, name)) for name in ("index", "scaled", "inputs")
    )


def is_mapped(array: Any) -> bool:
    """Say whether an array is a part of a file."""
    while array is not None and not isinstance(array, (np.memmap, mmap)):
        array = getattr(array, "base", None)
    return array is not None
