"""The four terms against slow oracles, their gradients, their draws, and stacks of students.

The student has labels ant, bee, cat, dolphin; its teacher knows dolphin, ant, cat, in this order.
"""

from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from skantidistill import objective as objective_module
from skantidistill.blueprint import Blueprint
from skantidistill.curvature import exact_trace
from skantidistill.draws import normal
from skantidistill.growth import Growth
from skantidistill.network import ACTIVATIONS, Batch, forward, select_outputs
from skantidistill.objective import (
    Draws,
    Objective,
    data_term,
    noise_term,
    teacher_term,
    trace_term,
)

CLASSES = np.array(["ant", "bee", "cat", "dolphin"])
SIZES = (2, 4, 3, 4)
TEACHER_SIZES = (2, 3, 2, 3)
TEACHER_CLASSES = np.array(["dolphin", "ant", "cat"])
NEW_ROW = 1  # bee

# Float64 sums of a few dozen terms of order 1.
SAME = {"rtol": 1e-10, "atol": 1e-12}

#: Every setting of the noise term: neighbourhood, parameter noise, and bounds with one delta a feature.
NOISE = list(product(["uniform", "normal", "adversarial"], [0.0, 0.3], [False, True]))
#: Every setting of the trace term.
TRACES = list(product(["exact", "sampled", "hutchinson"], ["relu", "identity", "tanh", "logistic"]))


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def make_params(seed, sizes=SIZES):
    generator, params = seeded(seed), []
    for n_in, n_out in pairwise(sizes):
        params += [
            torch.randn(s, generator=generator, dtype=torch.float64) for s in [(n_out, n_in), (n_out,)]
        ]
    return tuple(params)


def make_batch(seed, n_outputs=3, n_rows=5):
    generator = seeded(100 + seed)
    X = torch.randn((n_rows, SIZES[0]), generator=generator, dtype=torch.float64)
    y = torch.randint(n_outputs, (n_rows,), generator=generator)
    return Batch(X, y, 0.1 + 3 * torch.rand(n_rows, generator=generator, dtype=torch.float64))


def make_growth():
    teacher = [p.numpy() for p in make_params(50, TEACHER_SIZES)]
    blueprint = Blueprint(tuple(teacher[::2]), tuple(teacher[1::2]), "relu", TEACHER_CLASSES)
    return Growth(blueprint, SIZES[0], SIZES[1:-1], CLASSES)


def make_objective(activation="tanh", masked=True, bounded=False, **settings):
    growth = make_growth()
    settings = {
        "lambda_ce": 0.7,
        "lambda_teacher": 0.2,
        "lambda_noise": 0.9,
        "lambda_trace": 0.4,
        "delta": 0.3,
        "trace": "hutchinson",
    } | settings
    if bounded:
        settings["delta"] = torch.tensor([0.3, 0.05], dtype=torch.float64)
        settings["bounds"] = (-0.6, torch.tensor([0.5, 0.6], dtype=torch.float64))
    return Objective(
        activation,
        outputs=torch.from_numpy(growth.outputs) if masked else None,
        growth=growth,
        teacher=tuple(torch.from_numpy(p) for p in growth.teacher.parameters),
        **settings,
    )


def noise_objective(neighborhood, parameter_noise_std, bounded, **settings):
    return make_objective(
        neighborhood=neighborhood, parameter_noise_std=parameter_noise_std, bounded=bounded, **settings
    )


def trace_objective(trace, activation, **settings):
    return make_objective(activation, trace=trace, **settings)


def inside_bounds(batch, objective):
    """Rows that a bounded objective allows."""
    if objective.bounds is None:
        return batch
    return batch._replace(X=torch.clamp(batch.X, -0.6, 0.5))


def make_case(objective, seed=0, **more):
    n_outputs = len(CLASSES) if objective.outputs is None else len(objective.outputs)
    params = make_params(seed)
    batch = inside_bounds(make_batch(seed, n_outputs, **more), objective)
    return params, batch, objective.draw(params, batch, seeded(200 + seed))


# --- slow oracles: plain loops over rows, units and classes ---------------------------------------

HIDDEN = {
    "relu": lambda z: max(z, 0.0),
    "identity": lambda z: z,
    "tanh": np.tanh,
    "logistic": lambda z: 1 / (1 + np.exp(-z)),
}


def arrays(params):
    return [p.detach().numpy() for p in params]


def slow_logits(params, x, activation):
    a = list(x)
    n_layers = len(params) // 2
    for layer in range(n_layers):
        weight, bias = params[2 * layer], params[2 * layer + 1]
        z = [sum(w * v for w, v in zip(row, a, strict=True)) + b for row, b in zip(weight, bias, strict=True)]
        a = z if layer == n_layers - 1 else [HIDDEN[activation](value) for value in z]
    return a


def slow_cross_entropy(params, x, label, objective):
    """-log of the label's probability among the outputs of the teacher's classes only."""
    logits = slow_logits(params, x, objective.activation)
    if objective.outputs is not None:
        logits = [logits[k] for k in objective.outputs.tolist()]
    top = max(logits)
    return top + np.log(sum(np.exp(z - top) for z in logits)) - logits[label]


def slow_mean(values, weight):
    return sum(w * v for w, v in zip(weight, values, strict=True)) / sum(weight)


def slow_data_term(params, batch, objective):
    params, (X, y, weight) = arrays(params), arrays(batch)
    losses = [slow_cross_entropy(params, x, label, objective) for x, label in zip(X, y, strict=True)]
    return slow_mean(losses, weight)


def slow_teacher_term(params, objective):
    params, teacher = arrays(params), arrays(objective.teacher)
    total = 0.0
    for layer in range(3):
        for i, row in enumerate(teacher[2 * layer]):
            unit = i if layer < 2 else CLASSES.tolist().index(TEACHER_CLASSES[i])
            total += (teacher[2 * layer + 1][i] - params[2 * layer + 1][unit]) ** 2
            for j, u in enumerate(row):
                total += (u - params[2 * layer][unit, j]) ** 2
    return total


def slow_noise_term(params, batch, draws, objective):
    params, (X, y, weight) = arrays(params), arrays(batch)
    if objective.parameter_noise_std:
        noise = arrays(draws.noise)
        params = [p + objective.parameter_noise_std * n for p, n in zip(params, noise, strict=True)]
    delta = np.broadcast_to(np.asarray(objective.delta), X.shape[1])
    bounds = objective.bounds or (-np.inf, np.inf)
    low, high = (np.broadcast_to(np.asarray(b), X.shape[1]) for b in bounds)
    losses = []
    for x, offset, label in zip(X, draws.offsets.numpy(), y, strict=True):
        moved = [
            min(max(v + d * o, lo), hi) for v, d, o, lo, hi in zip(x, delta, offset, low, high, strict=True)
        ]
        if objective.neighborhood == "adversarial":
            slopes = slow_slopes(params, moved, label, objective)
            moved = [m + d * np.sign(s) for m, d, s in zip(moved, delta, slopes, strict=True)]
            moved = [min(max(m, v - d), v + d) for m, v, d in zip(moved, x, delta, strict=True)]
            moved = [min(max(m, lo), hi) for m, lo, hi in zip(moved, low, high, strict=True)]
        losses.append(slow_cross_entropy(params, moved, label, objective))
    return slow_mean(losses, weight)


def slow_slopes(params, x, label, objective, step=1e-5):
    """Central differences of one row's loss in its inputs; only their signs are used."""
    slopes = []
    for j in range(len(x)):
        ends = [[v + s * (i == j) for i, v in enumerate(x)] for s in (step, -step)]
        up, down = (slow_cross_entropy(params, end, label, objective) for end in ends)
        slopes.append((up - down) / (2 * step))
    # A central difference errs by about step^2 and 1e-16 / step, both below 1e-9; where all units are silent
    # it is exactly 0, as the slope is.
    assert all(abs(s) > 1e-6 or s == 0 for s in slopes)
    return slopes


def flatten(params):
    return torch.cat([p.flatten() for p in params])


def slow_hessian(params, batch, objective):
    """The Hessian of the weighted mean loss in the parameters of the selected network."""
    selected = select_outputs(params, objective.outputs)

    def loss(flat):
        parts = flat.split([p.numel() for p in selected])
        shaped = tuple(part.view(p.shape) for part, p in zip(parts, selected, strict=True))
        log_p = forward(shaped, batch.X, objective.activation)[1].log_softmax(1)
        rows = -log_p[torch.arange(len(batch.y)), batch.y]
        return (rows * batch.weight).sum() / batch.weight.sum()

    return torch.autograd.functional.hessian(loss, flatten(selected))


def slow_sampled_trace(params, batch, draws, objective):
    """Row by row, with J_l and K_ml the Jacobians of the logits and of z_m in the biases of layer l:

    sum_l c_l ||J_l^T v||^2 + sum_m sigma''(z_m) g_m . (c_m + (sum_{l < m} sqrt(c_l) K_ml s_l)^2),
    c_l = 1 + ||a_{l-1}||^2.
    """
    selected = select_outputs(params, objective.outputs)
    function = ACTIVATIONS[objective.activation].function
    second = torch.func.vmap(torch.func.grad(torch.func.grad(function)))
    n_layers, n_outputs = len(selected) // 2, len(selected[-1])
    rows = []
    for x, label, signs in zip(batch.X, batch.y, draws.signs, strict=True):

        def before(layer, *biases, x=x):
            """The values z of a layer, as a function of all biases."""
            mixed = [t for pair in zip(selected[::2], biases, strict=True) for t in pair]
            return forward(tuple(mixed[: 2 * layer]), x[None], objective.activation)[1][0]

        def loss(a, layer, label=label):
            """The loss as a function of the input of the layer after this one."""
            logits = forward(selected[2 * layer :], a[None], objective.activation)[1]
            return -logits.log_softmax(1)[0, label]

        biases = tuple(selected[1::2])
        inputs = forward(selected, x[None], objective.activation)[0]
        sizes = [1 + a[0] @ a[0] for a in inputs]
        p = before(n_layers, *biases).softmax(0)
        v = p.sqrt() * signs[:n_outputs] - p * (p.sqrt() @ signs[:n_outputs])
        jacobians = torch.autograd.functional.jacobian(lambda *b: before(n_layers, *b), biases)
        total = sum(size * (J.T @ v).square().sum() for size, J in zip(sizes, jacobians, strict=True))
        units = signs[n_outputs:].split([len(b) for b in biases[:-2]]) if len(signs) > n_outputs else []
        for m in range(1, n_layers):
            gradient = torch.func.grad(loss)(inputs[m][0], m)
            K = torch.autograd.functional.jacobian(lambda *b, m=m: before(m, *b), biases)
            moved = [s**0.5 * k @ e for s, k, e in zip(sizes, K[: m - 1], units[: m - 1], strict=False)]
            squares = sizes[m - 1] + sum(moved, torch.zeros_like(gradient)).square()
            total = total + (second(before(m, *biases)) * gradient * squares).sum()
        rows.append(total.item())
    return slow_mean(rows, batch.weight.tolist())


# --- values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("activation", ["relu", "identity", "tanh", "logistic"])
def test_data_term_is_the_weighted_mean_cross_entropy(activation, masked):
    objective = make_objective(activation, masked=masked)
    params, batch, draws = make_case(objective)
    value = data_term(params, batch, draws, objective)
    assert_close(value.item(), slow_data_term(params, batch, objective), **SAME)
    even = batch._replace(weight=torch.ones_like(batch.weight))
    assert not torch.isclose(data_term(params, even, draws, objective), value, rtol=1e-3)


def test_data_term_of_the_teachers_classes_is_not_that_of_all():
    params, batch, draws = make_case(make_objective(masked=True))
    values = [data_term(params, batch, draws, make_objective(masked=masked)) for masked in (True, False)]
    assert not torch.isclose(*values, rtol=1e-2)


def test_data_term_vanishes_where_every_label_is_certain():
    params, batch, draws = make_case(make_objective(masked=False))
    certain = torch.zeros(4, dtype=torch.float64)
    certain[2] = 1e3
    params = (*params[:-2], torch.zeros_like(params[-2]), certain)
    batch = batch._replace(y=torch.full_like(batch.y, 2))
    assert data_term(params, batch, draws, make_objective(masked=False)) == 0


def test_teacher_term_is_the_squared_distance_of_matching_parameters():
    objective = make_objective()
    params, batch, draws = make_case(objective)
    value = teacher_term(params, batch, draws, objective)
    assert_close(value.item(), slow_teacher_term(params, objective), **SAME)
    # Sibling: matching outputs by position instead of label is another distance.
    by_position = sum(
        (u - w[tuple(slice(n) for n in u.shape)]).square().sum()
        for u, w in zip(objective.teacher, params, strict=True)
    )
    assert not torch.isclose(value, by_position, rtol=1e-3)


def test_teacher_term_is_a_plain_sum_whatever_the_batch():
    objective = make_objective()
    params, batch, draws = make_case(objective)
    other = make_batch(9, n_rows=8)
    value = teacher_term(params, batch, draws, objective)
    assert torch.equal(teacher_term(params, other, draws, objective), value)


def test_a_teacher_without_its_output_layer_is_no_teacher_of_a_growth_that_selects_it():
    objective = make_objective()
    params, batch, draws = make_case(objective)
    with pytest.raises(ValueError, match="zip"):
        teacher_term(params, batch, draws, replace(objective, teacher=objective.teacher[:-2]))


def test_teacher_term_vanishes_at_an_embedding_and_nowhere_else():
    objective = make_objective()
    params, batch, draws = make_case(objective)
    growth = objective.growth
    embedded = growth.embed(growth.teacher.parameters, arrays(params))
    at_embedding = tuple(torch.from_numpy(p) for p in embedded)
    assert teacher_term(at_embedding, batch, draws, objective) == 0
    assert teacher_term(params, batch, draws, objective) > 1


@pytest.mark.parametrize(("neighborhood", "noise_std", "bounded"), NOISE)
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_noise_term_is_the_mean_loss_at_moved_rows_of_a_moved_network(
    activation, neighborhood, noise_std, bounded
):
    objective = noise_objective(neighborhood, noise_std, bounded, activation=activation)
    params, batch, draws = make_case(objective)
    value = noise_term(params, batch, draws, objective)
    assert_close(value.item(), slow_noise_term(params, batch, draws, objective), **SAME)
    assert not torch.isclose(value, data_term(params, batch, draws, objective), rtol=1e-4)
    even = batch._replace(weight=torch.ones_like(batch.weight))
    assert not torch.isclose(noise_term(params, even, draws, objective), value, rtol=1e-4)


@pytest.mark.parametrize("change", ["neighborhood", "parameter_noise_std", "delta", "bounds", "outputs"])
def test_every_setting_of_the_noise_term_matters(change):
    objective = noise_objective("adversarial", 0.3, bounded=True)
    params, batch, draws = make_case(objective)
    neutral = {
        "neighborhood": "uniform",
        "parameter_noise_std": 0.1,
        "delta": objective.delta.flip(0),
        "bounds": (-0.7, 0.9),
        "outputs": objective.outputs.flip(0),
    }
    changed = replace(objective, **{change: neutral[change]})
    value = noise_term(params, batch, draws, objective)
    assert not torch.isclose(noise_term(params, batch, draws, changed), value, rtol=1e-4)


@pytest.mark.parametrize("neighborhood", ["uniform", "normal", "adversarial"])
def test_noise_term_without_noise_is_the_data_term(neighborhood):
    objective = noise_objective(neighborhood, 0.0, bounded=False, delta=0.0)
    params, batch, draws = make_case(objective)
    expected = data_term(params, batch, draws, objective)
    assert torch.equal(noise_term(params, batch, draws, objective), expected)


def test_adversarial_rows_are_worse_than_random_ones():
    uniform = noise_objective("uniform", 0.0, bounded=False, delta=0.05)
    params, batch, draws = make_case(uniform)
    random = noise_term(params, batch, draws, uniform)
    worst = noise_term(params, batch, draws, replace(uniform, neighborhood="adversarial"))
    assert worst > 1.01 * max(random, data_term(params, batch, draws, uniform))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_exact_trace_term_is_the_trace_of_the_selected_networks_hessian(activation, masked):
    objective = trace_objective("exact", activation, masked=masked)
    params, batch, draws = make_case(objective)
    value = trace_term(params, batch, draws, objective)
    assert_close(value, slow_hessian(params, batch, objective).trace(), **SAME)
    selected = select_outputs(params, objective.outputs)
    unweighted = exact_trace(selected, batch.X, y=batch.y, activation=activation)
    assert not torch.isclose(unweighted, value, rtol=1e-3)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_sampled_trace_term_pulls_and_pushes_one_vector_a_row(activation, masked):
    objective = trace_objective("sampled", activation, masked=masked)
    params, batch, draws = make_case(objective)
    value = trace_term(params, batch, draws, objective)
    assert_close(value.item(), slow_sampled_trace(params, batch, draws, objective), **SAME)
    exact = trace_term(params, batch, draws, replace(objective, trace="exact"))
    assert not torch.isclose(value, exact, rtol=1e-3)
    flipped = draws._replace(signs=torch.cat([draws.signs[:, :-1], -draws.signs[:, -1:]], dim=1))
    assert not torch.isclose(trace_term(params, batch, flipped, objective), value, rtol=1e-4)


@pytest.mark.parametrize("hidden", [(), (3,), (3, 2, 3), (2, 3, 2, 2)], ids=len)
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_sampled_trace_term_pulls_and_pushes_through_every_number_of_layers(activation, hidden):
    objective = Objective(activation, lambda_trace=1.0, trace="sampled")
    params, batch = make_params(0, (2, *hidden, 3)), make_batch(0)
    draws = objective.draw(params, batch, seeded(3))
    value = trace_term(params, batch, draws, objective)
    assert_close(value.item(), slow_sampled_trace(params, batch, draws, objective), **SAME)
    assert abs(value) > 0.1


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic"])
def test_hutchinson_trace_term_is_a_quadratic_form_of_the_selected_networks_hessian(activation, masked):
    objective = trace_objective("hutchinson", activation, masked=masked)
    params, batch, draws = make_case(objective)
    hessian, probe = (
        slow_hessian(params, batch, objective),
        flatten(select_outputs(draws.probes, objective.outputs)),
    )
    assert_close(trace_term(params, batch, draws, objective), probe @ hessian @ probe, **SAME)
    assert not torch.isclose(probe @ hessian @ probe, hessian.trace(), rtol=1e-2)


@pytest.mark.parametrize(("trace", "activation"), TRACES)
def test_trace_term_may_reuse_a_forward_pass(trace, activation):
    objective = trace_objective(trace, activation)
    params, batch, draws = make_case(objective)
    passed = forward(select_outputs(params, objective.outputs), batch.X, activation)
    value = trace_term(params, batch, draws, objective)
    assert torch.equal(trace_term(params, batch, draws, objective, passed=passed), value)


# --- gradients -------------------------------------------------------------------------------------

TERMS = [
    ("data", data_term, make_objective),
    ("teacher", teacher_term, make_objective),
    *(
        (
            f"noise-{n}-{s}-{'bounded' if b else 'free'}",
            noise_term,
            lambda n=n, s=s, b=b: noise_objective(n, s, b),
        )
        for n, s, b in NOISE
    ),
    *((f"trace-{t}-{a}", trace_term, lambda t=t, a=a: trace_objective(t, a)) for t, a in TRACES),
    ("trace-hutchinson-unmasked", trace_term, lambda: trace_objective("hutchinson", "tanh", masked=False)),
    ("data-unmasked", data_term, lambda: make_objective(masked=False)),
]
every_term = pytest.mark.parametrize(("term", "build"), [t[1:] for t in TERMS], ids=[t[0] for t in TERMS])


def gradient(function, params):
    params = tuple(p.clone().requires_grad_() for p in params)
    return torch.autograd.grad(function(params), params, allow_unused=True, materialize_grads=True)


@every_term
def test_gradient_is_that_of_finite_differences(term, build):
    # relu units and the signs of an attack stay what they are within gradcheck's steps of 1e-6: with these
    # seeds none is near its kink, else the two would differ by order 1.
    objective = build()
    params, batch, draws = make_case(objective)
    free = tuple(p.requires_grad_() for p in params)
    assert torch.autograd.gradcheck(lambda *p: term(p, batch, draws, objective), free)
    assert max(g.abs().max() for g in gradient(lambda p: term(p, batch, draws, objective), params)) > 0.01


@every_term
def test_rows_of_new_classes_get_no_gradient_from_any_term(term, build):
    objective = build()
    if objective.outputs is None:
        objective = replace(objective, outputs=torch.from_numpy(objective.growth.outputs))
    params, batch, _ = make_case(objective)
    draws = objective.draw(params, batch, seeded(7))
    weight, bias = gradient(lambda p: term(p, batch, draws, objective), params)[-2:]
    assert torch.equal(weight[NEW_ROW], torch.zeros_like(weight[NEW_ROW]))
    assert bias[NEW_ROW] == 0
    known = [k for k in range(len(CLASSES)) if k != NEW_ROW]
    assert (weight[known].abs().amax(1) > 1e-6).all()
    assert (bias[known].abs() > 1e-9).all()


def test_rows_of_new_classes_get_gradient_where_the_softmax_runs_over_all():
    objective = make_objective(masked=False)
    params, batch, draws = make_case(objective)
    weight = gradient(lambda p: data_term(p, batch, draws, objective), params)[-2]
    assert weight[NEW_ROW].abs().max() > 0.01


# --- stacks of students ----------------------------------------------------------------------------


def stacked(items):
    """Stack tensors, or tuples of them, along a new first dimension."""
    if isinstance(items[0], torch.Tensor):
        return torch.stack(items)
    parts = [stacked(part) for part in zip(*items, strict=True)]
    kind = type(items[0])
    return kind(*parts) if kind in (Batch, Draws) else tuple(parts)


def assert_stack_equals_members(function, objective):
    cases = [make_case(objective, seed) for seed in range(3)]
    params, batches, draws = (stacked(part) for part in zip(*cases, strict=True))
    together = torch.func.vmap(torch.func.grad(function))(params, batches, draws)
    alone = [gradient(lambda p, c=case: function(p, *c[1:]), case[0]) for case in cases]
    for got, expected in zip(together, stacked(alone), strict=True):
        # Batched matrix products may sum in another order.
        assert_close(got, expected, **SAME)
    flat = [flatten(g) for g in alone]
    assert not any(torch.allclose(flat[i], flat[j], rtol=1e-2) for i, j in [(0, 1), (0, 2), (1, 2)])


@every_term
def test_a_stack_of_students_has_the_gradients_of_its_members(term, build):
    objective = build()
    assert_stack_equals_members(lambda p, b, d: term(p, b, d, objective), objective)


@pytest.mark.parametrize(("trace", "activation"), TRACES)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("neighborhood", "noise_std"), [("uniform", 0.3), ("adversarial", 0.0)])
def test_a_stack_has_the_gradients_of_its_members_of_the_weighted_sum(
    trace, activation, masked, neighborhood, noise_std
):
    objective = make_objective(
        activation,
        masked=masked,
        neighborhood=neighborhood,
        parameter_noise_std=noise_std,
        trace=trace,
        alpha=0.3,
    )
    assert_stack_equals_members(lambda p, b, d: objective(p, b, d)[0], objective)


# --- the weighted sum ------------------------------------------------------------------------------


@pytest.mark.parametrize("masked", [False, True])
def test_the_loss_is_the_weighted_sum_of_its_parts_and_these_are_the_terms(masked):
    objective = noise_objective("adversarial", 0.3, True, masked=masked, alpha=0.6)
    params, batch, draws = make_case(objective)
    loss, parts, logits = objective(params, batch, draws)
    assert list(parts) == ["ce", "teacher", "noise", "trace", "penalty"]
    expected = 0.7 * parts["ce"] + 0.2 * parts["teacher"] + 0.9 * parts["noise"] + 0.4 * parts["trace"]
    assert_close(loss, expected + 0.6 * parts["penalty"], **SAME)
    for name, term in [
        ("ce", data_term),
        ("teacher", teacher_term),
        ("noise", noise_term),
        ("trace", trace_term),
    ]:
        assert_close(parts[name], term(params, batch, draws, objective), **SAME)
        assert parts[name].abs() > 0.01
    assert_close(logits, forward(select_outputs(params, objective.outputs), batch.X, "tanh")[1], **SAME)


@pytest.mark.parametrize("trace", ["exact", "sampled"])
def test_cross_entropy_and_trace_share_a_forward_pass(trace, monkeypatch):
    passes = []

    def counted(*args):
        passes.append(forward(*args))
        return passes[-1]

    monkeypatch.setattr(objective_module, "forward", counted)
    objective = make_objective(trace=trace, lambda_noise=0.0)
    objective(*make_case(objective))
    assert len(passes) == 1


def test_penalty_is_scikit_learns():
    objective = Objective("tanh", alpha=0.6)
    params, batch, draws = make_case(objective)
    parts = objective(params, batch, draws)[1]
    norm = sum(np.sum(w**2) for w in arrays(params)[::2])
    assert_close(parts["penalty"].item(), 0.5 * norm / batch.weight.sum().item(), **SAME)


@pytest.mark.parametrize("dropped", ["lambda_teacher", "lambda_noise", "lambda_trace", "alpha"])
def test_a_term_of_weight_zero_is_left_out(dropped):
    name = {"alpha": "penalty"}.get(dropped, dropped.removeprefix("lambda_"))
    objective = make_objective(alpha=0.6)
    params, batch, draws = make_case(objective)
    loss, parts, _ = objective(params, batch, draws)
    less, remaining, _ = replace(objective, **{dropped: 0.0})(params, batch, draws)
    assert_close(loss - less, getattr(objective, dropped) * parts[name], **SAME)
    assert set(parts) - set(remaining) == {name}


def test_cross_entropy_is_reported_even_at_weight_zero_but_does_not_count():
    objective = make_objective(lambda_ce=0.0, lambda_noise=0.0, lambda_trace=0.0)
    params, batch, draws = make_case(objective)
    loss, parts, _ = objective(params, batch, draws)
    assert_close(loss, 0.2 * parts["teacher"], **SAME)
    assert parts["ce"] > 0.1


# --- draws -----------------------------------------------------------------------------------------


def assert_same_draws(one, other):
    for a, b in zip(one, other, strict=True):
        pairs = [(a, b)] if isinstance(a, torch.Tensor) else zip(a, b, strict=True)
        assert all(torch.equal(s, t) for s, t in pairs)


DESCENTS = [
    {"lambda_noise": 0.0, "lambda_trace": 0.0, "lambda_teacher": 0.0},
    {"lambda_noise": 0.0, "lambda_trace": 0.0, "lambda_teacher": 0.0, "alpha": 0.6},
    {"lambda_trace": 0.0, "lambda_teacher": 0.0},
    {"lambda_trace": 0.0, "lambda_teacher": 0.0, "neighborhood": "adversarial", "parameter_noise_std": 0.3},
    {"lambda_trace": 0.0, "alpha": 0.6},
    {"lambda_noise": 0.0, "alpha": 0.6},
    {"alpha": 0.6, "neighborhood": "adversarial"},
    {"masked": True},
    {"masked": True, "lambda_noise": 0.0, "lambda_trace": 0.0, "lambda_teacher": 0.0, "alpha": 0.6},
    {"trace": "sampled", "lambda_noise": 0.0, "lambda_teacher": 0.0},
    {"trace": "sampled", "masked": True, "alpha": 0.6, "parameter_noise_std": 0.3},
    {"trace": "hutchinson", "masked": True},
    {"trace": "exact", "masked": True},
    {"trace": "exact", "lambda_noise": 0.0, "lambda_teacher": 0.0, "lambda_ce": 0.0},
]


@pytest.mark.parametrize("activation", ["relu", "identity", "tanh", "logistic"])
@pytest.mark.parametrize("settings", DESCENTS, ids=str)
def test_a_descent_leaves_the_gradient_of_the_call(settings, activation):
    objective = make_objective(activation, **{"masked": False} | settings)
    params = tuple(p.requires_grad_() for p in make_params(0))
    batch = make_batch(0)
    draws = objective.draw(params, batch, seeded(3))
    loss, parts, logits = objective(params, batch, draws)
    expected = torch.autograd.grad(loss, params, allow_unused=True)
    for p in params:
        p.grad = torch.ones_like(p)  # what an earlier step has left
    got, got_parts, got_logits = objective.descend(params, batch, draws)
    assert_close(got, loss.detach(), **SAME)
    assert_close(got_logits, logits.detach(), **SAME)
    assert set(got_parts) == set(parts)
    for name, part in parts.items():
        assert_close(got_parts[name], part.detach(), **SAME)
    for p, gradient in zip(params, expected, strict=True):
        assert_close(p.grad, gradient, **SAME)
    assert not got.requires_grad
    assert max(g.abs().max() for g in expected) > 0.1


def test_a_descent_leaves_the_gradient_of_the_call_where_the_teacher_term_sees_some_layers_only():
    weight, bias = (p.numpy() for p in make_params(50, (2, 3)))
    growth = Growth(Blueprint((weight,), (bias,), "relu", TEACHER_CLASSES), 2, (6, 7), CLASSES)
    assert growth.layers == [0]
    objective = Objective(
        "relu", lambda_teacher=0.2, growth=growth, teacher=tuple(map(torch.from_numpy, growth.shared))
    )
    params = tuple(p.requires_grad_() for p in make_params(0, growth.layer_sizes))
    batch = make_batch(0)
    draws = objective.draw(params, batch, seeded(3))
    loss, parts, _ = objective(params, batch, draws)
    expected = torch.autograd.grad(loss, params)
    assert_close(objective.descend(params, batch, draws)[0], loss.detach(), **SAME)
    assert_close([p.grad for p in params], list(expected), **SAME)
    assert parts["teacher"] > 0.1


def test_a_descent_leaves_frozen_parameters_without_gradient():
    objective, params, batch = make_objective(masked=False), make_params(0), make_batch(0)
    for p in params[-2:]:
        p.requires_grad_()
    draws = objective.draw(params, batch, seeded(3))
    expected = torch.autograd.grad(objective(params, batch, draws)[0], params[-2:])
    objective.descend(params, batch, draws)
    assert [p.grad is None for p in params] == [True] * 4 + [False] * 2
    assert_close([p.grad for p in params[-2:]], list(expected), **SAME)


@pytest.mark.parametrize("trace", ["exact", "sampled", "hutchinson"])
@pytest.mark.parametrize("neighborhood", ["uniform", "normal", "adversarial"])
def test_the_generator_determines_the_draws(neighborhood, trace):
    objective = make_objective(neighborhood=neighborhood, trace=trace, parameter_noise_std=0.1)
    params, batch = make_params(0), make_batch(0)
    one, same, other = (objective.draw(params, batch, seeded(seed)) for seed in (3, 3, 4))
    assert_same_draws(one, same)
    assert not torch.equal(one.offsets, other.offsets)
    generator = seeded(3)
    assert_same_draws(objective.draw(params, batch, generator), one)
    assert not torch.equal(objective.draw(params, batch, generator).offsets, one.offsets)


@pytest.mark.parametrize("neighborhood", ["uniform", "normal", "adversarial"])
def test_draws_come_in_the_order_offsets_noise_signs_or_probes(neighborhood):
    params, batch = make_params(0), make_batch(0)
    full = make_objective(neighborhood=neighborhood, trace="sampled", parameter_noise_std=0.1)
    draws, generator = full.draw(params, batch, seeded(3)), seeded(3)
    for field, objective in [
        ("offsets", replace(full, parameter_noise_std=0.0, lambda_trace=0.0)),
        ("noise", None),
        ("signs", replace(full, lambda_noise=0.0)),
    ]:
        if objective is not None:
            part = getattr(objective.draw(params, batch, generator), field)
            assert torch.equal(part, getattr(draws, field))
        else:
            flat = torch.cat([noise.flatten() for noise in draws.noise])  # all are drawn at once
            assert torch.equal(flat, normal([flat.shape], flat, generator)[0])


def test_draws_have_the_shapes_and_ranges_that_the_terms_take():
    params, batch = make_params(0), make_batch(0, n_rows=400)
    objective = make_objective(neighborhood="uniform", trace="sampled", parameter_noise_std=0.1)
    offsets, noise, signs, probes = objective.draw(params, batch, seeded(3))
    assert offsets.shape == batch.X.shape
    assert offsets.dtype == batch.X.dtype
    assert 0.98 < offsets.max() <= 1  # 800 uniform draws
    assert -1 <= offsets.min() < -0.98
    assert [n.shape for n in noise] == [p.shape for p in params]
    assert signs.shape == (400, 3 + SIZES[1])  # tanh: and one a unit of the first hidden layer
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    assert probes == ()
    unmasked = replace(objective, outputs=None).draw(params, batch, seeded(3))
    assert unmasked.signs.shape == (400, 4 + SIZES[1])
    for activation in ("relu", "identity"):
        linear = replace(objective, activation=activation).draw(params, batch, seeded(3))
        assert linear.signs.shape == (400, 3)
    adversarial = replace(objective, neighborhood="adversarial").draw(params, batch, seeded(3))
    assert torch.equal(adversarial.offsets, offsets)
    normal = replace(objective, neighborhood="normal").draw(params, batch, seeded(3)).offsets
    assert abs(normal.std() - 1) < 0.1  # four standard deviations of the estimate from 800 draws
    assert normal.abs().max() > 2
    probes = replace(objective, trace="hutchinson").draw(params, batch, seeded(3)).probes
    assert [p.shape for p in probes] == [p.shape for p in params]
    assert set(flatten(probes).unique().tolist()) == {-1.0, 1.0}


@pytest.mark.parametrize(
    "settings",
    [
        {"lambda_noise": 0.0, "lambda_trace": 0.0},
        {"lambda_noise": 0.0, "lambda_trace": 0.0, "parameter_noise_std": 0.3, "neighborhood": "normal"},
        {"lambda_noise": 0.0, "trace": "exact", "activation": "relu"},
    ],
)
def test_terms_of_weight_zero_and_the_exact_trace_draw_nothing(settings):
    objective = make_objective(**settings)
    params, batch, generator = make_params(0), make_batch(0), seeded(3)
    before = generator.get_state()
    offsets, noise, signs, probes = objective.draw(params, batch, generator)
    assert torch.equal(generator.get_state(), before)
    assert (offsets.numel(), noise, signs.numel(), probes) == (0, (), 0, ())
    assert torch.isfinite(objective(params, batch, Draws(offsets, noise, signs, probes))[0])


def test_other_terms_do_draw():
    for settings in ({"lambda_noise": 0.0}, {"lambda_trace": 0.0}):
        generator = seeded(3)
        before = generator.get_state()
        make_objective(**settings).draw(make_params(0), make_batch(0), generator)
        assert not torch.equal(generator.get_state(), before)
