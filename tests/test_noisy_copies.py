"""A stack of noisy networks says what its members say, one by one."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix
from strategies import make_network, networks, seeds

from skantidistill.network import forward
from skantidistill.noisy_copies import NoisyCopies, draw_noise


def drawn(net, n_draws, seed):
    return draw_noise(net.params, n_draws, torch.Generator().manual_seed(seed))


def member(net, noise, draw, epsilon, relative):
    scales = [p.square().mean().sqrt() if relative else 1.0 for p in net.params]
    noisy = tuple(
        p + epsilon * s * n[draw].double() for p, n, s in zip(net.params, noise, scales, strict=True)
    )
    return forward(noisy, net.X, net.activation)[1].numpy()


@given(networks(), st.integers(1, 4), seeds, st.booleans())
def test_a_stack_equals_its_members(net, n_draws, seed, relative):
    noise = drawn(net, n_draws, seed)
    copies = NoisyCopies(net.params, noise, net.activation, relative)
    for epsilon, stack in zip([0.0, 0.3], copies.logits(net.X.numpy(), [0.0, 0.3]), strict=True):
        assert stack.shape == (n_draws, len(net.X), net.sizes[-1])
        for draw, logits in enumerate(stack):
            expected = member(net, noise, draw, epsilon, relative)
            # The noise's own product is in single precision: 1e-7 of it, grown by the layers above.
            assert_allclose(
                logits, expected, rtol=0, atol=(1e-5 if epsilon else 1e-13) * (1 + abs(expected).max())
            )


def test_every_draw_has_its_own_noise():
    net = make_network((3, 5, 3), "relu", 0)
    (stack,) = NoisyCopies(net.params, drawn(net, 3, 0), "relu", False).logits(net.X.numpy(), [0.3])
    for one, other in [(0, 1), (1, 2), (0, 2)]:
        assert abs(stack[one] - stack[other]).max() > 0.1


def test_a_draw_is_the_same_alone_and_among_others():
    net = make_network((30, 7, 3), "relu", 0)
    together, generator = drawn(net, 5, 9), torch.Generator().manual_seed(9)
    for draw in range(5):
        for alone, stack in zip(draw_noise(net.params, 1, generator), together, strict=True):
            assert torch.equal(alone[0], stack[draw])


def test_noise_is_standard_normal():
    net = make_network((40, 50, 3), "relu", 0)
    noise = drawn(net, 20, 0)
    assert [n.shape[1:] for n in noise] == [p.shape for p in net.params]
    values = torch.cat([n.flatten() for n in noise]).double()
    n = len(values)  # 44,060: mean and variance within 4 of their standard errors
    assert abs(values.mean()) < 4 / n**0.5
    assert abs(values.var() - 1) < 4 * (2 / n) ** 0.5


def test_sparse_rows_give_what_dense_ones_give():
    net = make_network((6, 5, 3), "tanh", 0, n_rows=4)
    X = net.X.numpy() * (np.arange(24).reshape(4, 6) % 3 == 0)
    copies = NoisyCopies(net.params, drawn(net, 3, 0), "tanh", False)
    (dense,), (sparse,) = copies.logits(X, [0.2]), copies.logits(csr_matrix(X), [0.2])
    assert_allclose(sparse, dense, rtol=0, atol=1e-5)  # single precision, added up in another order


@pytest.mark.parametrize("relative", [False, True])
def test_relative_noise_does_not_see_how_a_relu_network_shares_its_scale(relative):
    net = make_network((4, 6, 3), "relu", 0)
    w1, b1, w2, b2 = net.params
    # By a power of two, so that nothing is rounded.
    other = (8 * w1, 8 * b1, w2 / 8, b2)
    assert torch.equal(forward(other, net.X, "relu")[1], forward(net.params, net.X, "relu")[1])
    noise = drawn(net, 3, 0)
    (one,), (two,) = (
        NoisyCopies(params, noise, "relu", relative).logits(net.X.numpy(), [0.3])
        for params in (net.params, other)
    )
    if relative:
        assert_array_equal(one, two)
    else:
        assert abs(one - two).max() > 0.1


LAYOUTS = {
    "reversed rows": lambda X: X[::-1].copy()[::-1],
    "reversed columns": lambda X: X[:, ::-1].copy()[:, ::-1],
    "Fortran order": np.asfortranarray,
    "every second": lambda X: np.repeat(X, 2, axis=0)[::2],
}


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_rows_may_lie_in_memory_in_any_order_and_be_read_only(layout):
    net = make_network((3, 5, 3), "relu", 0, n_rows=6)
    copies = NoisyCopies(net.params, drawn(net, 3, 0), "relu", False)
    X = LAYOUTS[layout](net.X.numpy())
    assert X.strides != net.X.numpy().strides
    X.setflags(write=False)
    (got,), (expected,) = copies.logits(X, [0.3]), copies.logits(net.X.numpy(), [0.3])
    assert_array_equal(got, expected)
