"""Random numbers from explicit generators: what the terms take as arguments.

Uniform and normal numbers come in 65,536 equally likely values, because 16 bits a number are drawn in a third
of the time that torch takes.
"""

import math
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

__all__ = [
    "normal",
    "rademacher",
    "stacked_normal",
    "stacked_rademacher",
    "stacked_uniform",
    "uniform",
]

_VALUES = 2**16


def rademacher(shape: torch.Size | tuple[int, ...], like: Tensor, generator: torch.Generator) -> Tensor:
    """Draw independent signs, -1 and +1 with equal odds.

    Parameters
    ----------
    shape : tuple of int
        Of the result.
    like : tensor
        Whose dtype and device the result has.
    generator : torch.Generator
        What draws.

    Returns
    -------
    signs : tensor
        Of this shape.
    """
    bits = torch.randint(2, shape, generator=generator, device=generator.device, dtype=torch.int8)
    return _signs(bits, like)


def _signs(bits: Tensor, like: Tensor) -> Tensor:
    return bits.to(like).mul_(2).sub_(1)


def uniform(like: Tensor, generator: torch.Generator) -> Tensor:
    """Draw uniform numbers, shaped as ``like``: the middles of 65,536 equal parts of [-1, 1]."""
    return _middles(_codes(like.numel(), like.device, generator).view(like.shape), like)


def _middles(codes: Tensor, like: Tensor) -> Tensor:
    return codes.to(like.dtype).add_(0.5).mul_(2 / _VALUES)


def normal(shapes: list[tuple[int, ...]], like: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Draw standard normal numbers of these shapes at once, of the dtype and device of ``like``.

    They are its quantiles at the middles of 65,536 equal parts, none beyond 4.33, scaled to variance 1.
    """
    sizes = [math.prod(shape) for shape in shapes]
    flat = _normal(_codes(sum(sizes), like.device, generator), like)
    return tuple(part.view(shape) for part, shape in zip(flat.split(sizes), shapes, strict=True))


def _normal(codes: Tensor, like: Tensor) -> Tensor:
    flat = codes.flatten().to(torch.int32).add_(_VALUES // 2)
    return _quantiles(like.dtype, like.device).index_select(0, flat).view(codes.shape)


@cache
def _quantiles(dtype: torch.dtype, device: torch.device) -> Tensor:
    middles = (torch.arange(_VALUES, dtype=torch.float64) + 0.5) / _VALUES
    quantiles = torch.special.ndtri(middles)
    return (quantiles / quantiles.square().mean().sqrt()).to(dtype=dtype, device=device)


def _codes(n: int, device: torch.device, generator: torch.Generator) -> Tensor:
    """Draw integers of 16 bits, four at a time."""
    bits = torch.empty(-(-n // 4), dtype=torch.int64, device=device)
    return bits.random_(-(2**63), None, generator=generator).view(torch.int16)[:n]


def stacked_rademacher(
    shape: tuple[int, ...], n_rows: Sequence[int] | None, like: Tensor, generators: Sequence[torch.Generator]
) -> Tensor:
    """Draw for every member what :func:`rademacher` draws from its generator; one after the other.

    The result has the shape (n_members, *shape). A member draws ``n_rows`` of its rows (None: all); in the
    others may be anything.
    """
    bits = torch.zeros(len(generators), math.prod(shape), dtype=torch.int8)
    for row, size, generator in zip(bits, _sizes(shape, n_rows, len(bits)), generators, strict=True):
        row[:size].random_(0, 2, generator=generator)
    return _signs(bits, like).view(-1, *shape)


def stacked_uniform(
    shape: tuple[int, ...], n_rows: Sequence[int], like: Tensor, generators: Sequence[torch.Generator]
) -> Tensor:
    """Draw for every member what :func:`uniform` draws; as :func:`stacked_rademacher`."""
    return _middles(_stacked_codes(shape, n_rows, generators), like).view(-1, *shape)


def stacked_normal(
    shape: tuple[int, ...], n_rows: Sequence[int] | None, like: Tensor, generators: Sequence[torch.Generator]
) -> Tensor:
    """Draw for every member what :func:`normal` draws of one shape; as :func:`stacked_rademacher`."""
    return _normal(_stacked_codes(shape, n_rows, generators), like).view(-1, *shape)


def _stacked_codes(
    shape: tuple[int, ...], n_rows: Sequence[int] | None, generators: Sequence[torch.Generator]
) -> Tensor:
    n = math.prod(shape)
    bits = torch.zeros(len(generators), -(-n // 4), dtype=torch.int64)
    for row, size, generator in zip(bits, _sizes(shape, n_rows, len(bits)), generators, strict=True):
        row[: -(-size // 4)].random_(-(2**63), None, generator=generator)
    return bits.view(torch.int16)[:, :n]


def _sizes(shape: tuple[int, ...], n_rows: Sequence[int] | None, n_members: int) -> list[int]:
    """Return how many numbers every member draws."""
    per_row = math.prod(shape[1:])
    return [math.prod(shape)] * n_members if n_rows is None else [n * per_row for n in n_rows]
