"""Random numbers: their distributions, and that generators determine them."""

import math

import pytest
import torch
from scipy import stats

from skantidistill.draws import normal, uniform


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("dtype", "n_rows"), [(torch.float32, 10_001), (torch.float64, 7)])
def test_uniform_numbers_are_the_middles_of_equal_parts(dtype, n_rows):
    like = torch.zeros((n_rows, 3), dtype=dtype)  # 3 x 7 is no multiple of the 4 that are drawn at a time
    drawn = uniform(like, seeded(3))
    assert (drawn.shape, drawn.dtype) == (like.shape, dtype)
    cells = (drawn.double() + 1) * 2**15 - 0.5
    assert torch.equal(cells, cells.round())
    assert 0 <= cells.min() <= cells.max() < 2**16


def test_uniform_numbers_are_uniform():
    drawn = uniform(torch.zeros(100_000, dtype=torch.float64), seeded(3))
    assert stats.kstest(drawn.numpy(), stats.uniform(-1, 2).cdf).pvalue > 0.01


def test_normal_numbers_are_normal():
    (drawn,) = normal([(100_000,)], torch.zeros(1, dtype=torch.float64), seeded(3))
    assert stats.kstest(drawn.numpy(), stats.norm.cdf).pvalue > 0.01
    # Standard errors of mean and variance: 1 / sqrt(n) and sqrt(2 / n).
    assert abs(drawn.mean()) < 4 / math.sqrt(100_000)
    assert abs(drawn.var() - 1) < 4 * math.sqrt(2 / 100_000)
    assert 4 < drawn.abs().max() < 4.34


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normal_numbers_of_several_shapes_are_those_of_one(dtype):
    like = torch.zeros(1, dtype=dtype)
    parts = normal([(3, 5), (2,), ()], like, seeded(3))
    assert [p.shape for p in parts] == [(3, 5), (2,), ()]
    assert all(p.dtype == dtype for p in parts)
    assert torch.equal(torch.cat([p.flatten() for p in parts]), normal([(18,)], like, seeded(3))[0])


def uniform_flat(seed):
    return uniform(torch.zeros(100_000), seeded(seed))


def normal_flat(seed):
    return normal([(100_000,)], torch.zeros(1), seeded(seed))[0]


@pytest.mark.parametrize("draw", [uniform_flat, normal_flat])
def test_draws_are_the_generators_and_uncorrelated(draw):
    drawn = draw(3)
    assert torch.equal(draw(3), drawn)
    assert not torch.equal(draw(4), drawn)
    centred = (drawn - drawn.mean()) / drawn.std()
    # The standard error of an autocorrelation is 1 / sqrt(n); four numbers come from one integer.
    for lag in (1, 2, 3, 4, 5):
        assert abs((centred[lag:] * centred[:-lag]).mean()) < 4 / math.sqrt(100_000)
