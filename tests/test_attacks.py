"""Laws of the climb that keeps the worst point of every row."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import make_network, networks

from skantidistill import attacks
from skantidistill.attacks import climb, worst_margin
from skantidistill.network import forward, logits_and_margin_gradient, margin_gradient
from skantidistill.perturbations import BALLS, pgd

norms = st.sampled_from(sorted(BALLS))


def margins_of(net, X):
    return worst_margin(forward(net.params, X, net.activation)[1], net.y)


def iterates(net, norm, epsilon, n_steps, step_size):
    """The start and all iterates of a plain climb."""

    def gradient(X):
        return margin_gradient(net.params, X, net.y, net.activation)

    steps = {"step_size": step_size, "norm": norm}
    return [pgd(gradient, net.X, epsilon, n_steps=n, **steps) for n in range(n_steps + 1)]


def climbed(net, norm, epsilon, n_steps, step_size, until_broken):
    ball = BALLS[norm].around(net.X, epsilon)
    step = {"step_size": step_size, "n_steps": n_steps, "until_broken": until_broken}
    return climb(net.params, net.activation, ball, net.X, net.y, **step)


@given(networks())
def test_the_worst_margin_is_above_zero_where_another_label_wins(net):
    logits = forward(net.params, net.X, net.activation)[1]
    for row, label, margin in zip(
        logits.tolist(), net.y.tolist(), margins_of(net, net.X).tolist(), strict=True
    ):
        assert margin == max(z for c, z in enumerate(row) if c != label) - row[label]


@given(networks(), norms, st.sampled_from([0.1, 1.0]), st.integers(0, 6), st.floats(0.1, 2))
def test_the_climb_keeps_the_iterate_of_largest_margin(net, norm, epsilon, n_steps, share):
    size = torch.tensor(share * epsilon, dtype=torch.float64)
    kept = climbed(net, norm, epsilon, n_steps, size, until_broken=False)
    path = torch.stack([margins_of(net, X) for X in iterates(net, norm, epsilon, n_steps, size)])
    assert torch.equal(margins_of(net, kept), path.amax(dim=0))


@given(networks(), norms, st.sampled_from([0.1, 1.0]), st.integers(0, 6), st.floats(0.1, 2))
def test_stopping_at_the_first_broken_iterate_breaks_the_same_rows(net, norm, epsilon, n_steps, share):
    size = torch.tensor(share * epsilon, dtype=torch.float64)
    best = margins_of(net, climbed(net, norm, epsilon, n_steps, size, until_broken=False))
    first = margins_of(net, climbed(net, norm, epsilon, n_steps, size, until_broken=True))
    # Rows leave the batch, whose products are then rounded otherwise: margins of 1e-14 are no margins.
    clear = best.abs() > 1e-12
    logits = forward(net.params, net.X, net.activation)[1].abs().amax(dim=1)
    clear &= (best < 0) | (best > attacks.FIRM * (1 + 100 * logits))
    assert torch.equal(first[clear] > 0, best[clear] > 0)


def test_the_last_iterate_is_not_always_the_worst():
    # Steps as long as the box: the climb jumps over the top and back.
    size = torch.tensor(1.0, dtype=torch.float64)
    fallen = 0
    for seed in range(20):
        net = make_network((2, 4, 3), "tanh", seed, n_rows=20)
        kept = margins_of(net, climbed(net, "linf", 1.0, 3, size, until_broken=False))
        last = margins_of(net, iterates(net, "linf", 1.0, 3, size)[-1])
        fallen += int((kept > last + 1e-3).sum())
    assert fallen > 0


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_rows_that_are_broken_are_dropped(offset, monkeypatch):
    net = make_network((4, 8, 3), "relu", 0, n_rows=200)
    net.params[-1].add_(offset)  # which all logits have in common
    sizes = []

    def counted(params, X, y, activation):
        sizes.append(len(X))
        return logits_and_margin_gradient(params, X, y, activation)

    monkeypatch.setattr(attacks, "logits_and_margin_gradient", counted)
    size = torch.tensor(0.1, dtype=torch.float64)
    climbed(net, "linf", 0.5, 5, size, until_broken=True)
    assert sizes[0] == 200
    assert sizes[-1] < 150
    sizes.clear()
    climbed(net, "linf", 0.5, 5, size, until_broken=False)
    assert sizes == [200] * 5


def test_the_climb_writes_to_no_argument():
    net = make_network((2, 3, 3), "relu", seed=0)
    before = net.X.clone()
    for until_broken in (False, True):
        climbed(net, "l2", 0.5, 3, torch.tensor(0.5, dtype=torch.float64), until_broken)
    assert torch.equal(net.X, before)
