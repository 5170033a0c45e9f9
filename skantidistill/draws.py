"""Random numbers from explicit generators: what the terms take as arguments.

Uniform and normal numbers come in 65,536 equally likely values, because 16 bits a number are drawn in a third
of the time that torch takes.
"""

import math
from functools import cache

import torch
from torch import Tensor

__all__ = ["normal", "rademacher", "uniform"]

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
    return bits.to(like).mul_(2).sub_(1)


def uniform(like: Tensor, generator: torch.Generator) -> Tensor:
    """Draw uniform numbers, shaped as ``like``: the middles of 65,536 equal parts of [-1, 1]."""
    codes = _codes(like.numel(), like.device, generator).view(like.shape).to(like.dtype)
    return codes.add_(0.5).mul_(2 / _VALUES)


def normal(shapes: list[tuple[int, ...]], like: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Draw standard normal numbers of these shapes at once, of the dtype and device of ``like``.

    They are its quantiles at the middles of 65,536 equal parts, none beyond 4.33, scaled to variance 1.
    """
    sizes = [math.prod(shape) for shape in shapes]
    codes = _codes(sum(sizes), like.device, generator).to(torch.int32).add_(_VALUES // 2)
    flat = _quantiles(like.dtype, like.device).index_select(0, codes)
    return tuple(part.view(shape) for part, shape in zip(flat.split(sizes), shapes, strict=True))


@cache
def _quantiles(dtype: torch.dtype, device: torch.device) -> Tensor:
    middles = (torch.arange(_VALUES, dtype=torch.float64) + 0.5) / _VALUES
    quantiles = torch.special.ndtri(middles)
    return (quantiles / quantiles.square().mean().sqrt()).to(dtype=dtype, device=device)


def _codes(n: int, device: torch.device, generator: torch.Generator) -> Tensor:
    """Draw integers of 16 bits, four at a time."""
    bits = torch.empty(-(-n // 4), dtype=torch.int64, device=device)
    return bits.random_(-(2**63), None, generator=generator).view(torch.int16)[:n]
