"""Laws of Growth: Pr selects coordinates by label, unit and name; embed is its right inverse."""

import itertools
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from strategies import Case, growths, normal_parameters, seeds

from skantidistill.blueprint import Blueprint
from skantidistill.growth import Growth
from skantidistill.starts import uniform, zero

# Logits are sums of at most a few dozen products of order 1; the order of summation may differ.
SAME_FUNCTION = {"rtol": 1e-12, "atol": 1e-12}


def assert_same_parameters(got, expected):
    for g, e in zip(got, expected, strict=True):
        assert_array_equal(g, e)


def flat(params):
    return np.concatenate([np.ravel(p) for p in params])


def student_of(case, params):
    return Blueprint(params[::2], params[1::2], case.teacher.activation, case.classes)


def plain_teacher(hidden=(3, 2), classes=(7, 2), n_features=2, names=None, seed=0):
    params = normal_parameters((n_features, *hidden, len(classes)), np.random.default_rng(seed))
    return Blueprint(params[::2], params[1::2], "relu", np.array(classes), names)


def slow_projection(case, params):
    """Pr by plain loops over units, labels and columns."""
    teacher, grown_labels = case.teacher, case.classes.tolist()
    known = [label for label in teacher.classes.tolist() if label in grown_labels]
    held, hidden = teacher.hidden_layer_sizes, case.growth.layer_sizes[1:-1]
    holder = len(held)
    while holder < len(hidden) and held and hidden[holder] >= held[-1]:
        holder += 1  # an inserted layer that the teacher's last hidden layer passes through
    projected = []
    for number, (weight, bias) in enumerate(zip(teacher.weights, teacher.biases, strict=True)):
        layer, rows, columns = number, range(len(bias)), range(weight.shape[1])
        if number == 0 and case.names is not None:
            columns = [case.names.tolist().index(name) for name in teacher.feature_names]
        if number == len(held):
            layer = holder
            rows = [grown_labels.index(label) for label in known]
            if holder < len(hidden):
                rows = [k * (2 if teacher.activation == "relu" else 1) for k in range(len(known))]
        grown_weight, grown_bias = params[2 * layer], params[2 * layer + 1]
        projected.append(np.array([[grown_weight[row, column] for column in columns] for row in rows]))
        projected.append(np.array([grown_bias[row] for row in rows]))
    return projected


@given(growths())
def test_projection_of_an_embedding_is_the_teacher_bit_for_bit(case: Case):
    u = case.growth.teacher.parameters
    embedded = case.growth.embed(u, case.fill)
    assert_same_parameters(case.growth.project(embedded), u)
    assert not np.array_equal(flat(case.growth.project(case.fill)), flat(u))  # the fill is another network


@given(growths(absent=True))
def test_projection_of_an_embedding_is_the_teacher_also_when_classes_are_dropped(case: Case):
    u = case.growth.teacher.parameters
    assert_same_parameters(case.growth.project(case.growth.embed(u, case.fill)), u)
    assert len(case.growth.teacher.classes) < len(case.teacher.classes)


@given(growths(), st.sampled_from([2.0, -0.5, 3.7]))
def test_projection_is_linear(case: Case, factor):
    other = normal_parameters(case.growth.layer_sizes, case.rng)
    combined = [factor * f + o for f, o in zip(case.fill, other, strict=True)]
    parts = zip(case.growth.project(case.fill), case.growth.project(other), strict=True)
    # Bit for bit: a selection commutes with anything that is done coordinate by coordinate.
    assert_same_parameters(case.growth.project(combined), [factor * f + o for f, o in parts])
    assert np.any(flat(case.growth.project(case.fill)))


@given(growths())
def test_projection_selects_every_coordinate_at_most_once(case: Case):
    shapes = [f.shape for f in case.fill]
    ends = np.cumsum([f.size for f in case.fill])
    numbered = [
        np.arange(end - np.prod(shape), end).reshape(shape) for shape, end in zip(shapes, ends, strict=True)
    ]
    selected = flat(case.growth.project(numbered))
    assert len(np.unique(selected)) == len(selected) == flat(case.growth.teacher.parameters).size


@given(st.one_of(growths(), growths(absent=True)))
def test_projection_matches_units_by_position_and_outputs_by_label(case: Case):
    assert_same_parameters(case.growth.project(case.fill), slow_projection(case, case.fill))
    assert case.classes[case.growth.outputs].tolist() == case.growth.teacher.classes.tolist()


@given(growths())
def test_projection_is_a_contraction(case: Case):
    # The norm of a part; summation in another order may add a few units in the last place.
    assert np.linalg.norm(flat(case.growth.project(case.fill))) <= np.linalg.norm(flat(case.fill)) * (
        1 + 1e-14
    )


@given(growths())
def test_embedding_the_projection_is_idempotent(case: Case):
    blank = [np.zeros_like(f) for f in case.fill]
    once = case.growth.embed(case.growth.project(case.fill), blank)
    twice = case.growth.embed(case.growth.project(once), blank)
    assert_same_parameters(twice, once)
    grew = flat(case.fill).size > flat(case.growth.teacher.parameters).size
    assert grew == (not np.array_equal(flat(once), flat(case.fill)))  # what the teacher lacks is blanked


@given(growths())
def test_embedding_the_projection_into_itself_changes_nothing(case: Case):
    assert_same_parameters(case.growth.embed(case.growth.project(case.fill), case.fill), case.fill)


@given(growths())
def test_embed_writes_to_no_argument(case: Case):
    before = [f.copy() for f in case.fill]
    embedded = case.growth.embed(case.growth.teacher.parameters, case.fill)
    for array in embedded:
        array += 1
    assert_same_parameters(case.fill, before)


@given(growths())
def test_projection_of_tensors_is_that_of_arrays(case: Case):
    projected = case.growth.project([torch.from_numpy(f) for f in case.fill])
    assert all(isinstance(p, torch.Tensor) for p in projected)
    assert_same_parameters([p.numpy() for p in projected], case.growth.project(case.fill))


@pytest.mark.parametrize("labels", [(2, 7), (7, 2)], ids=str)
def test_units_that_lead_are_projected_without_a_copy(labels):
    growth = Growth(plain_teacher((3,), labels), 4, (5,), np.array([2, 7, 9]))
    params = normal_parameters(growth.layer_sizes, np.random.default_rng(0))
    hidden_weight, hidden_bias, weight, bias = growth.project(params)
    assert np.shares_memory(hidden_weight, params[0])
    assert np.shares_memory(hidden_bias, params[1])
    in_order = labels == (2, 7)
    assert np.shares_memory(weight, params[2]) == np.shares_memory(bias, params[3]) == in_order


@given(growths())
def test_zero_padded_growth_keeps_the_logits_of_the_teachers_classes(case: Case):
    student = student_of(case, zero(case.growth))
    expected = case.teacher_logits
    assert_allclose(student.logits(case.X)[:, case.growth.outputs], expected, **SAME_FUNCTION)
    assert np.ptp(expected) > 0
    # Sibling: other numbers beside the teacher's block make another function.
    disturbed = student_of(case, case.growth.embed(case.teacher.parameters, case.fill))
    grew = case.growth.layer_sizes[:-1] != case.teacher.layer_sizes[:-1]
    if not grew:
        assert_allclose(disturbed.logits(case.X)[:, case.growth.outputs], expected, **SAME_FUNCTION)
    elif case.teacher.activation != "relu":  # relu units may all be silent
        assert not np.allclose(disturbed.logits(case.X)[:, case.growth.outputs], expected)


@given(growths(absent=True))
def test_dropped_classes_leave_the_logits_of_the_others(case: Case):
    student = student_of(case, zero(case.growth))
    kept = np.isin(case.teacher.classes, case.classes)
    expected = case.teacher_logits[:, kept]
    assert_allclose(student.logits(case.X)[:, case.growth.outputs], expected, **SAME_FUNCTION)
    assert not kept.all()
    assert_array_equal(case.growth.teacher.classes, case.teacher.classes[kept])


def permuted_hidden_units(blueprint, rng):
    """Return the same function with the units of every hidden layer in another order."""
    params = [p.copy() for p in blueprint.parameters]
    for layer, n_units in enumerate(blueprint.hidden_layer_sizes):
        order = np.roll(rng.permutation(n_units), 1)
        params[2 * layer] = params[2 * layer][order]
        params[2 * layer + 1] = params[2 * layer + 1][order]
        params[2 * layer + 2] = params[2 * layer + 2][:, order]
    return blueprint.with_parameters(tuple(params))


@given(growths())
def test_order_of_the_teachers_hidden_units_changes_nothing_in_a_zero_start(case: Case):
    permuted = permuted_hidden_units(case.teacher, case.rng)
    growth = case.regrow(permuted)
    straight, shuffled = zero(case.growth), zero(growth)
    assert_allclose(
        student_of(case, shuffled).logits(case.X), student_of(case, straight).logits(case.X), **SAME_FUNCTION
    )


def test_order_of_the_teachers_hidden_units_is_kept_by_the_embedding():
    teacher = plain_teacher(hidden=(3, 2))
    permuted = permuted_hidden_units(teacher, np.random.default_rng(1))
    one, other = (zero(Growth(t, 2, (4, 4), np.array([2, 7]))) for t in (teacher, permuted))
    assert not np.array_equal(one[0], other[0])


@given(growths(), seeds)
def test_order_of_the_teachers_outputs_changes_nothing_in_the_embedding(case: Case, seed):
    order = np.roll(np.arange(len(case.teacher.classes)), 1)
    rolled = case.teacher.select_classes(order)
    growth = case.regrow(rolled)
    if growth.layers[-1] < len(growth.layer_sizes) - 2:  # the units that hold the outputs are in their order
        one, other = (student_of(case, zero(g)).logits(case.X) for g in (growth, case.growth))
        assert_allclose(one, other, **SAME_FUNCTION)
        return
    for start in (zero, uniform):
        straight = start(case.growth, np.random.RandomState(seed))
        assert_same_parameters(start(growth, np.random.RandomState(seed)), straight)
    # Sibling: rows in another order under the old labels are another network.
    swapped = case.regrow(replace(rolled, classes=case.teacher.classes))
    assert not np.array_equal(flat(zero(swapped)), flat(zero(case.growth)))


@given(growths(deeper=False), st.data())
def test_growing_in_two_steps_embeds_like_growing_in_one(case: Case, data):
    teacher, (n_features, *hidden, _) = case.teacher, case.growth.layer_sizes
    between = [data.draw(st.integers(*ends)) for ends in zip(teacher.hidden_layer_sizes, hidden, strict=True)]
    classes = case.classes[
        np.isin(case.classes, teacher.classes) | (case.rng.random(len(case.classes)) < 0.5)
    ]
    n_between = data.draw(st.integers(teacher.layer_sizes[0], n_features))
    names = case.names
    if names is not None:
        new = [name for name in names if name not in teacher.feature_names]
        names = case.rng.permutation([*teacher.feature_names, *new][:n_between])
    if hidden and teacher.activation in ("relu", "identity"):
        hidden += [between[-1] + extra for extra in data.draw(st.lists(st.integers(0, 4), max_size=2))]
    first = zero(Growth(teacher, n_between, between, classes, names))
    halfway = Blueprint(first[::2], first[1::2], teacher.activation, classes, names)
    twice = Growth(halfway, n_features, hidden, case.classes, case.names)
    direct = Growth(teacher, n_features, hidden, case.classes, case.names)
    assert_same_parameters(zero(twice), zero(direct))
    assert np.any(flat(zero(direct)))


@pytest.mark.parametrize("names", list(itertools.permutations(["width", "depth", "age"])))
def test_features_are_matched_by_name_in_any_order(names):
    teacher = plain_teacher((2,), n_features=3, names=np.array(["age", "depth", "width"], dtype=object))
    growth = Growth(teacher, 3, (4,), np.array([2, 5, 7]), np.array(names, dtype=object))
    params = zero(growth)
    X = np.random.default_rng(3).normal(size=(6, 3))
    in_order_of_teacher = X[:, [names.index(name) for name in teacher.feature_names]]
    student = Blueprint(params[::2], params[1::2], "relu", np.array([2, 5, 7]))
    expected = teacher.logits(in_order_of_teacher)
    assert_allclose(student.logits(X)[:, growth.outputs], expected, **SAME_FUNCTION)
    assert_same_parameters(growth.project(params), teacher.parameters)
    same_order = list(names) == teacher.feature_names.tolist()
    assert same_order == np.allclose(teacher.logits(X), expected)


def test_features_are_matched_by_position_with_a_warning_where_one_side_has_no_names():
    named = plain_teacher((2,), n_features=3, names=np.array(["age", "depth", "width"], dtype=object))
    bare = replace(named, feature_names=None)
    names = np.array(["width", "new", "age", "depth"], dtype=object)
    classes = np.array([2, 7])
    by_position = zero(Growth(bare, 4, (2,), classes))
    told = (
        "feature names, but {} has none: the teacher's 3 features are taken for the first 3 columns of X, in"
    )
    with pytest.warns(UserWarning, match="^The teacher has " + told.format("X")):
        assert_same_parameters(zero(Growth(named, 4, (2,), classes)), by_position)
    with pytest.warns(UserWarning, match="^X has " + told.format("the teacher")):
        assert_same_parameters(zero(Growth(bare, 4, (2,), classes, names)), by_position)
    by_name = zero(Growth(named, 4, (2,), classes, names))
    assert not np.array_equal(by_name[0], by_position[0])
    assert_array_equal(Growth(named, 4, (2,), classes, names).new_features, [1])
    assert_array_equal(Growth(bare, 4, (2,), classes).new_features, [3])


def test_a_growth_shows_both_sizes_and_how_many_classes_are_new():
    growth = Growth(plain_teacher((3, 2)), 4, (6, 2, 4), np.array([2, 5, 7, 8, 9]))
    assert repr(growth) == "Growth((2, 3, 2, 2) -> (4, 6, 2, 4, 5), 3 new classes)"


def test_layer_sizes_are_the_students():
    growth = Growth(plain_teacher((3, 2)), 2, (5, 2), np.array([2, 5, 7]))
    assert growth.layer_sizes == (2, 5, 2, 3)


@pytest.mark.parametrize(
    ("hidden", "message"),
    [
        (
            (3,),
            "hidden_layer_sizes=(3,) has fewer layers than the teacher's (3, 2); give at least 2 layers.",
        ),
        (
            (3, 2, 1),
            "hidden_layer_sizes=(3, 2, 1): layer 3 of 1 units cannot carry the teacher's 2 classes; use at "
            "least 4 (2 a class for 'relu'), or 2 in every layer after the teacher's.",
        ),
        (
            (2, 2),
            "hidden_layer_sizes=(2, 2) cannot hold the teacher's hidden layer 1 of 3 units; use at least 3.",
        ),
        (
            (3, 1),
            "hidden_layer_sizes=(3, 1) cannot hold the teacher's hidden layer 2 of 2 units; use at least 2.",
        ),
    ],
)
def test_hidden_layers_that_cannot_hold_the_teachers_are_refused(hidden, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Growth(plain_teacher((3, 2)), 2, hidden, np.array([2, 7]))
    with pytest.raises(ValueError, match=re.escape("or 2 in every layer after the teacher's.")):
        Growth(plain_teacher((3, 4, 2)), 2, (3, 4, 2, 1), np.array([2, 7]))
    with pytest.raises(ValueError, match=re.escape("than the teacher's (3,); give at least 1 layer.")):
        Growth(plain_teacher((3,)), 2, (), np.array([2, 7]))


@pytest.mark.parametrize(("activation", "needed"), [("relu", 6), ("identity", 3), ("tanh", 3)])
def test_a_first_layer_too_narrow_for_a_linear_teacher_is_refused(activation, needed):
    linear = replace(plain_teacher((), classes=(7, 2, 5)), activation=activation)
    classes = np.array([2, 5, 7])
    message = (
        f"layer 1 of {needed - 1} units cannot carry the teacher's 3 classes; use at least {needed} "
        f"({needed // 3} a class for {activation!r})."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        Growth(linear, 2, (needed - 1,), classes)
    with pytest.raises(ValueError, match=re.escape(f"layer 2 of {needed - 1} units cannot carry")):
        Growth(linear, 2, (needed, needed - 1), classes)
    assert Growth(linear, 2, (needed,), classes).layers == [0]


def test_fewer_features_than_the_teachers_are_refused():
    message = (
        "X has 1 features, but the teacher was fitted on 2; give X the teacher's 2 columns, and new ones "
        "beside them."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        Growth(plain_teacher(), 1, (3, 2), np.array([2, 7]))


@pytest.mark.parametrize("activation", ["tanh", "logistic"])
@pytest.mark.parametrize(
    ("hidden", "exact"),
    [((), "activation='relu'"), ((4,), "1 hidden layer"), ((4, 3), "2 hidden layers")],
)
def test_smooth_activations_carry_a_teacher_through_inserted_layers_nearly_and_warn(
    activation, hidden, exact
):
    # Small parameters, so that the units work near the middle of their range.
    params = [p / 20 for p in normal_parameters((3, *hidden, 2), np.random.default_rng(0))]
    classes = np.array([2, 7])
    teacher = Blueprint(tuple(params[::2]), tuple(params[1::2]), activation, classes)
    growth = Growth(teacher, 3, (*hidden, 6, 5), classes)
    message = (
        f"hidden_layer_sizes={(*hidden, 6, 5)} inserts layers after the teacher's {hidden}, which "
        f"{activation!r} can't carry exactly: the start is near the teacher's function only. For an exact "
        f"one give {exact}."
    )
    with pytest.warns(UserWarning, match=re.escape(message) + "$"):
        start = zero(growth)
    X = np.random.default_rng(1).normal(size=(50, 3))
    student = Blueprint(start[::2], start[1::2], activation, classes)
    expected = teacher.logits(X)
    error = np.abs(student.logits(X) - expected).max()
    # The error is of third order in what a unit sees, which is below 0.7 here; measured: at most 0.06.
    assert 0 < error < 0.2 * np.ptp(expected)
    if not hidden:  # one monotone function of every logit: each prediction stays
        assert_array_equal(student.logits(X).argmax(axis=1), expected.argmax(axis=1))


def test_a_layer_too_narrow_for_the_teachers_last_one_holds_its_outputs_instead():
    teacher = plain_teacher((6, 5), n_features=3)
    X = np.random.default_rng(1).normal(size=(50, 3))
    growth = Growth(teacher, 3, (6, 7, 5, 4, 9), np.array([2, 4, 7]))
    assert growth.layers == [0, 1, 3]  # 5 units pass the last hidden layer on, 4 units hold two classes
    params = zero(growth)
    logits = Blueprint(params[::2], params[1::2], "relu", np.array([2, 4, 7])).logits(X)
    assert_allclose(logits[:, growth.outputs], teacher.logits(X), **SAME_FUNCTION)
    assert_same_parameters(growth.project(params), teacher.parameters)


@pytest.mark.parametrize(
    ("missing", "told"),
    [("b", "'b'"), ("bcdef", "'b', 'c', 'd', 'e', 'f'"), ("bcdefg", "'b', 'c', 'd', 'e', 'f', ...")],
)
def test_missing_column_names_are_refused_and_five_of_them_told(missing, told):
    names = np.array(["a", *missing], dtype=object)
    teacher = plain_teacher(n_features=len(names), names=names)
    message = (
        f"X lacks {len(missing)} of the {len(names)} columns that the teacher was fitted on: {told}; add "
        "them, under these names."
    )
    others = np.array(["a", *missing.upper()], dtype=object)
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        Growth(teacher, len(names), (3, 2), np.array([2, 7]), others)
