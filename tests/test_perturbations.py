"""Laws of what is done to inputs and parameters: how far it goes, where it stays, what it climbs."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import SMOOTH, make_network, networks, seeds
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from skantidistill.network import forward, margin_gradient
from skantidistill.perturbations import BALLS, fgsm, input_noise, parameter_noise, pgd

strengths = st.sampled_from([1e-6, 0.003, 0.1, 2.5])


def gradient_of(net):
    return lambda X: margin_gradient(net.params, X, net.y, net.activation)


def per_feature(net, epsilon):
    """One strength a feature, from half of epsilon to epsilon."""
    return epsilon * (0.5 + 0.5 * torch.rand(net.sizes[0], generator=net.generator, dtype=net.X.dtype))


def offsets_for(net):
    """Uniform numbers on [-1, 1], shaped as the rows."""
    return 2 * torch.rand(net.X.shape, generator=net.generator, dtype=net.X.dtype) - 1


def assert_within(moved, X, epsilon):
    # x + epsilon and x' - x are each rounded once: by half a unit in the last place of |x| + epsilon.
    ulp = torch.finfo(X.dtype).eps * (X.abs() + epsilon)
    assert ((moved - X).abs() <= epsilon + ulp).all()


@given(networks(), strengths, st.booleans())
def test_fgsm_stays_within_epsilon_and_uses_all_of_it(net, epsilon, by_feature):
    epsilon = per_feature(net, epsilon) if by_feature else torch.tensor(epsilon, dtype=torch.float64)
    moved = fgsm(gradient_of(net), net.X, epsilon)
    assert_within(moved, net.X, epsilon)
    has_slope = gradient_of(net)(net.X) != 0
    ulp = torch.finfo(torch.float64).eps * (net.X.abs() + epsilon)
    assert ((moved - net.X).abs() >= epsilon - ulp)[has_slope].all()
    assert torch.equal(moved[~has_slope], net.X[~has_slope])


@given(networks(), strengths, st.integers(1, 5), st.floats(0.1, 3))
def test_pgd_stays_within_epsilon_whatever_its_steps(net, epsilon, n_steps, share):
    start = input_noise(net.X, epsilon, offsets_for(net))
    moved = pgd(gradient_of(net), net.X, epsilon, step_size=share * epsilon, n_steps=n_steps, start=start)
    assert_within(moved, net.X, epsilon)


def test_pgd_without_projection_would_leave_the_cube():
    net = make_network((2, 3, 3), "tanh", seed=0)
    steps = {"step_size": 0.1, "n_steps": 5}
    free = pgd(gradient_of(net), net.X, 10.0, **steps)
    kept = pgd(gradient_of(net), net.X, 0.2, **steps)
    assert (free - net.X).abs().max() > 0.2 + 1e-6
    assert torch.isclose((kept - net.X).abs().max(), torch.tensor(0.2, dtype=torch.float64))


@given(networks())
def test_epsilon_zero_changes_nothing(net):
    gradient, offsets = gradient_of(net), offsets_for(net)
    assert torch.equal(fgsm(gradient, net.X, 0.0), net.X)
    assert torch.equal(pgd(gradient, net.X, 0.0, step_size=0.0, n_steps=3), net.X)
    assert torch.equal(pgd(gradient, net.X, 0.0, step_size=0.7, n_steps=3), net.X)
    assert torch.equal(input_noise(net.X, 0.0, offsets), net.X)
    for noisy, clean in zip(parameter_noise(net.params, 0.0, net.params), net.params, strict=True):
        assert torch.equal(noisy, clean)


def test_pgd_without_steps_is_its_start():
    net = make_network((2, 3, 3), "relu", seed=0)
    start = net.X + 0.05
    assert pgd(gradient_of(net), net.X, 0.1, step_size=0.1, n_steps=0, start=start) is start
    assert pgd(gradient_of(net), net.X, 0.1, step_size=0.1, n_steps=0) is net.X


@given(networks(), strengths)
def test_one_full_pgd_step_is_fgsm(net, epsilon):
    bounds = (-0.5, torch.full((net.sizes[0],), 0.6, dtype=torch.float64))
    X = net.X.clamp(-0.5, 0.6)
    one_step = pgd(gradient_of(net), X, epsilon, step_size=epsilon, n_steps=1, bounds=bounds)
    assert torch.equal(fgsm(gradient_of(net), X, epsilon, bounds=bounds), one_step)


def test_two_pgd_steps_are_not_fgsm_where_the_slope_turns():
    # The loss |x - 0.05| falls to 0.05 and rises behind it: the first step leaves the clean point's slope.
    X = torch.full((1, 1), 0.06, dtype=torch.float64)

    def gradient(x):
        return torch.sign(0.05 - x)

    one, two = (pgd(gradient, X, 0.1, step_size=0.04, n_steps=n) for n in (1, 2))
    assert_close(one, torch.full_like(X, 0.02))
    assert_close(two, X)


@given(networks(), strengths, st.booleans())
def test_bounds_are_kept_and_only_cut_what_crosses_them(net, epsilon, by_feature):
    low, high = -0.4, 0.3
    if by_feature:
        low, high = (torch.full((net.sizes[0],), b, dtype=torch.float64) for b in (low, high))
    X, offsets = net.X.clamp(-0.4, 0.3), offsets_for(net)
    steps = {"step_size": epsilon / 2, "n_steps": 1}
    for bounded, free in [
        (fgsm(gradient_of(net), X, epsilon, bounds=(low, high)), fgsm(gradient_of(net), X, epsilon)),
        (input_noise(X, epsilon, offsets, (low, high)), input_noise(X, epsilon, offsets)),
        (
            pgd(gradient_of(net), X, epsilon, bounds=(low, high), **steps),
            pgd(gradient_of(net), X, epsilon, **steps),
        ),
    ]:
        assert torch.equal(bounded, free.clamp(-0.4, 0.3))


def test_bounds_are_kept_between_the_steps_too():
    # Uphill to the right; behind the bound at 0.1 the slope would turn back.
    def gradient(x):
        return torch.sign(0.15 - x)

    X = torch.zeros(1, 1)
    steps = {"step_size": 0.2, "n_steps": 2}
    assert_close(pgd(gradient, X, 0.5, bounds=(-1.0, 0.1), **steps), torch.full_like(X, 0.1))
    assert_close(pgd(gradient, X, 0.5, **steps), X)


@given(seeds, strengths)
def test_fgsm_of_a_linear_binary_network_has_a_closed_form(seed, epsilon):
    net = make_network((3, 2), "relu", seed, n_rows=5)
    weight = net.params[0]
    # The loss of label y falls along w_y - w_other, whatever x is.
    uphill = torch.sign(weight[1 - net.y] - weight[net.y])
    moved = fgsm(gradient_of(net), net.X, epsilon)
    assert_close(moved, net.X + epsilon * uphill, rtol=0, atol=1e-15 * (4 + epsilon))
    # One step of pgd from anywhere in the cube ends in the same corner, if it is long enough.
    start = input_noise(net.X, epsilon, offsets_for(net))
    corner = pgd(gradient_of(net), net.X, epsilon, step_size=2.1 * epsilon, n_steps=1, start=start)
    assert_close(corner, moved, rtol=0, atol=1e-15 * (4 + epsilon))


@given(networks(st.sampled_from(SMOOTH)), st.sampled_from([1e-6, 1e-5]))
def test_fgsm_raises_the_loss_by_epsilon_times_the_sum_of_the_gradients_sizes(net, epsilon):
    def loss(X):
        return cross_entropy(forward(net.params, X, net.activation)[1], net.y, reduction="sum")

    first_order = epsilon * torch.func.grad(loss)(net.X).abs().sum()
    # The second derivatives of these networks of width 4 stay below 1e4, and a difference of losses below
    # 100 is rounded by 1e-13 at most.
    error = 1e4 * epsilon**2 + 1e-13
    assert abs(loss(fgsm(gradient_of(net), net.X, epsilon)) - loss(net.X) - first_order) <= error
    downhill = loss(fgsm(lambda X: -gradient_of(net)(X), net.X, epsilon)) - loss(net.X)
    assert abs(downhill + first_order) <= error


@given(networks(), strengths)
def test_input_noise_is_an_offset_scaled_by_delta(net, delta):
    offsets = torch.randn(net.X.shape, generator=net.generator, dtype=torch.float64)
    by_feature = per_feature(net, delta)
    # Product and sum may be rounded together, once.
    assert_close(
        input_noise(net.X, by_feature, offsets), net.X + by_feature * offsets, rtol=1e-15, atol=1e-15
    )
    assert not torch.equal(input_noise(net.X, delta, offsets), input_noise(net.X, delta, -offsets))


@given(networks(), strengths)
def test_parameter_noise_adds_to_every_weight_and_bias(net, noise_std):
    noise = tuple(torch.randn(p.shape, generator=net.generator, dtype=p.dtype) for p in net.params)
    noisy = parameter_noise(net.params, noise_std, noise)
    for got, clean, added in zip(noisy, net.params, noise, strict=True):
        assert_close(got, clean + noise_std * added, rtol=1e-15, atol=1e-15)  # rounded together, once
        assert not torch.equal(got, clean)


def test_noise_of_another_number_of_parameters_is_refused():
    net = make_network((2, 3, 3), "relu", seed=0)
    with pytest.raises(ValueError, match="zip"):
        parameter_noise(net.params, 0.1, net.params[:-1])


def test_perturbations_write_to_no_argument():
    net = make_network((2, 3, 3), "relu", seed=0)
    before = net.X.clone()
    fgsm(gradient_of(net), net.X, 0.1, bounds=(-0.1, 0.1))
    pgd(gradient_of(net), net.X, 0.1, step_size=0.1, n_steps=2)
    input_noise(net.X, 0.1, torch.ones_like(net.X), (-0.1, 0.1))
    assert torch.equal(net.X, before)


# --- norm l2 -----------------------------------------------------------------------------------------


def lengths(moved, X, axes):
    """How far every row has gone, in units of the ellipsoid's half-axes; a frozen feature that moved: inf."""
    away = (moved - X).abs()
    return torch.where(axes > 0, away / axes, torch.where(away > 0, torch.inf, 0.0)).norm(dim=1)


@given(networks(), strengths, st.booleans(), st.booleans())
def test_the_fast_gradient_step_has_length_epsilon_in_the_direction_of_the_gradient(net, epsilon, one, tiny):
    axes = torch.full((net.sizes[0],), epsilon, dtype=torch.float64) if one else per_feature(net, epsilon)
    slope = gradient_of(net)(net.X)
    # A gradient whose square underflows is as good as any.
    moved = fgsm(lambda _: 1e-200 * slope if tiny else slope, net.X, axes, norm="l2")
    has_slope = (slope != 0).any(dim=1)
    assert torch.equal(moved[~has_slope], net.X[~has_slope])
    # x' is rounded to a unit in the last place of x, which is as long as 1e-16 (|x| + epsilon) / axes.
    ulp = 4 * torch.finfo(torch.float64).eps * ((net.X.abs() + epsilon) / axes).amax(dim=1)
    assert ((lengths(moved, net.X, axes) - 1).abs() <= ulp + 1e-14)[has_slope].all()
    # Of all points of the ellipsoid, this one is highest on the plane of the slope: Cauchy and Schwarz.
    risen = ((moved - net.X) * slope).sum(dim=1)
    allowed = (ulp + 1e-13) * (axes * slope).norm(dim=1)
    assert ((risen - (axes * slope).norm(dim=1)).abs() <= allowed).all()


@given(networks(), strengths, st.integers(1, 5), st.floats(0.1, 3), st.booleans())
def test_pgd_stays_in_the_ellipsoid_and_the_bounds_and_leaves_frozen_features(
    net, epsilon, n_steps, share, random_start
):
    axes = per_feature(net, epsilon)
    frozen = torch.rand(net.sizes[0], generator=net.generator) < 0.4
    axes[frozen] = 0
    X, bounds = net.X.clamp(-0.4, 0.3), (-0.4, 0.3)
    offsets = offsets_for(net) / net.sizes[0] ** 0.5
    start = input_noise(X, axes, offsets, bounds) if random_start else None
    steps = {"step_size": share * epsilon, "n_steps": n_steps, "start": start}
    moved = pgd(gradient_of(net), X, axes, bounds=bounds, norm="l2", **steps)
    ulp = 4 * torch.finfo(torch.float64).eps * (0.4 + epsilon) / epsilon * 2
    assert (lengths(moved, X, axes) <= 1 + ulp + 1e-14).all()
    assert ((moved >= -0.4) & (moved <= 0.3)).all()
    assert torch.equal(moved[:, frozen], X[:, frozen])
    box = pgd(gradient_of(net), X, axes, bounds=bounds, **steps)
    assert torch.equal(box[:, frozen], X[:, frozen])


def test_a_corner_of_the_box_is_outside_the_ball():
    net = make_network((4, 3, 3), "tanh", seed=0)
    box, ball = (fgsm(gradient_of(net), net.X, 0.2, norm=norm) for norm in ("linf", "l2"))
    assert_close((box - net.X).norm(dim=1), torch.full((3,), 0.4, dtype=torch.float64))
    assert_close((ball - net.X).norm(dim=1), torch.full((3,), 0.2, dtype=torch.float64))


def test_pgd_goes_along_the_sphere_to_where_the_slope_points():
    # A plane that rises to the right; from the top of the circle, steps of a tenth end at its right.
    X = torch.zeros(1, 2, dtype=torch.float64)
    start = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    slope = torch.tensor([[3.0, 0.0]], dtype=torch.float64)
    climbed = [
        pgd(lambda _: slope, X, 1.0, step_size=0.1, n_steps=n, start=start, norm="l2") for n in (1, 300)
    ]
    assert_close(climbed[0], torch.tensor([[0.1, 1.0]], dtype=torch.float64) / 1.01**0.5)
    assert_close(climbed[1], torch.tensor([[1.0, 0.0]], dtype=torch.float64), rtol=0, atol=1e-7)


@given(networks(), strengths, st.floats(0.05, 0.95))
def test_a_step_inside_the_ball_is_as_long_as_its_size_and_points_uphill(net, epsilon, share):
    slope = gradient_of(net)(net.X)
    moved = pgd(lambda _: slope, net.X, epsilon, step_size=share * epsilon, n_steps=1, norm="l2")
    step, has_slope = moved - net.X, (slope != 0).any(dim=1)
    length, steepness = share * epsilon, slope.norm(dim=1)
    # x' is rounded to a unit in the last place of x; lengths and the step itself to some of their own.
    ulp = 4 * torch.finfo(torch.float64).eps * (net.X.abs().amax(dim=1) + epsilon)
    assert ((step.norm(dim=1) - length).abs() <= ulp + 1e-14 * epsilon)[has_slope].all()
    assert ((step * slope).sum(dim=1) >= (length - 4 * ulp - 1e-13 * epsilon) * steepness)[has_slope].all()


def test_what_the_bounds_cut_off_does_not_count_as_length():
    X, slope = torch.zeros(1, 2, dtype=torch.float64), torch.ones(1, 2, dtype=torch.float64)
    high = torch.tensor([0.1, 5.0], dtype=torch.float64)
    steps = {"step_size": 2.0, "n_steps": 1, "norm": "l2"}
    moved = pgd(lambda _: slope, X, 1.0, bounds=(-5.0, high), **steps)
    # The step ends at (0.1, sqrt(2)), which the ball brings back along the radius.
    expected = torch.tensor([[0.1, 2**0.5]], dtype=torch.float64) / (0.01 + 2) ** 0.5
    assert_close(moved, expected)
    assert not torch.isclose(moved[0, 1], pgd(lambda _: slope, X, 1.0, **steps)[0, 1], rtol=0.1)


@pytest.mark.parametrize("norm", sorted(BALLS))
def test_the_bounds_are_kept_to_the_last_bit(norm):
    X = torch.rand(1000, 2, generator=torch.Generator().manual_seed(0)) - 0.5
    high = 0.7
    assert (X + (high - X) > high).any()  # what rounding would do
    moved = pgd(torch.ones_like, X, 9.0, step_size=9.0, n_steps=1, bounds=(-0.6, high), norm=norm)
    assert (moved == torch.tensor(high)).all() if norm == "linf" else (moved <= torch.tensor(high)).all()
    assert (moved - X).amin() > 0.1


@pytest.mark.parametrize("norm", sorted(BALLS))
@given(net=networks(), epsilon=strengths)
def test_a_ball_of_some_rows_is_the_ball_of_all_for_these(norm, net, epsilon):
    X, slope = net.X.clamp(-0.4, 0.3), gradient_of(net)(net.X)
    ball = BALLS[norm].around(X, per_feature(net, epsilon), (-0.4, 0.3))
    rows = torch.arange(len(X)).flip(0)[: 1 + len(X) // 2]
    assert torch.equal(
        ball.rows(rows).step(X[rows], slope[rows], epsilon), ball.step(X, slope, epsilon)[rows]
    )


@pytest.mark.parametrize("norm", sorted(BALLS))
def test_a_number_is_as_precise_an_epsilon_as_a_tensor(norm):
    net = make_network((3, 4, 3), "tanh", seed=0)
    one, other = (
        fgsm(gradient_of(net), net.X, epsilon, norm=norm)
        for epsilon in (0.7, torch.tensor(0.7, dtype=torch.float64))
    )
    assert_close(one, other, rtol=0, atol=1e-15)  # 0.7 in single precision is 1.2e-8 less
