"""Laws of training: what a minibatch is, what a step does, when it stops, what callbacks see."""

import ast
import inspect
import re
import warnings
from itertools import pairwise
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from skorch.callbacks import (
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    GradientNormClipping,
    LRScheduler,
)
from strategies import seeds

from skantidistill import AntiDistilledMLPClassifier, steps, training
from skantidistill.epochs import Stopping
from skantidistill.network import ACTIVATIONS
from skantidistill.objective import Objective
from skantidistill.rows import Minibatches, Rows
from skantidistill.training import Schedule, train

LABELS = np.array(["ant", "bee", "cat"])
unfinished = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def make_rows(n_rows=60, seed=0):
    """Three overlapping clouds with unequal row weights."""
    rng = np.random.default_rng(seed)
    codes = rng.permutation(np.arange(n_rows) % 3)
    X = rng.normal(size=(n_rows, 4)) + 1.5 * np.eye(4)[codes]
    return X, codes, 0.5 + rng.random(n_rows)


def make_params(sizes=(4, 5, 3), seed=1):
    rng, params = np.random.default_rng(seed), []
    for n_in, n_out in pairwise(sizes):
        params += [rng.normal(0, 0.5, (n_out, n_in)), rng.normal(0, 0.5, n_out)]
    return tuple(params)


def run(
    params=None,
    rows=None,
    objective=None,
    activation="relu",
    seed=0,
    state=None,
    valid=None,
    **schedule,
):
    """Call ``train`` on small rows, plainly unless told otherwise."""
    schedule = {"max_iter": 4, "batch_size": 16, "learning_rate_init": 0.01} | schedule
    return train(
        make_params() if params is None else params,
        activation,
        Rows(*make_rows()) if rows is None else rows,
        objective or Objective(activation),
        Schedule(**schedule),
        shuffle_generator=torch.Generator().manual_seed(seed),
        draw_generator=torch.Generator().manual_seed(seed + 1),
        valid_rows=valid,
        state=state,
    )


def all_equal(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def student(**params):
    params = {"hidden_layer_sizes": (5,), "batch_size": 16, "max_iter": 4, "random_state": 0} | params
    return AntiDistilledMLPClassifier(**params)


def labelled_rows(**more):
    X, codes, _ = make_rows(**more)
    return X, LABELS[codes]


class Recorder(Callback):
    """Keep the batches of every epoch, and parameters and step size at its end."""

    def on_train_begin(self, net, **kwargs):
        self.batches, self.params, self.rates = [], [], []

    def on_epoch_begin(self, net, **kwargs):
        self.batches.append([])

    def on_batch_begin(self, net, batch, training, **kwargs):
        if training:
            self.batches[-1].append(tuple(t.clone() for t in batch))

    def on_epoch_end(self, net, **kwargs):
        self.params.append([p.detach().clone().numpy() for p in net.module_.parameters()])
        self.rates.append(net.optimizer_.param_groups[0]["lr"])


# --- minibatches -----------------------------------------------------------------------------------


@given(st.integers(1, 40), st.integers(1, 50), st.booleans(), seeds)
def test_minibatches_cover_every_row_once_an_epoch(n_rows, batch_size, shuffle, seed):
    X = np.arange(n_rows, dtype=np.float64)[:, None]
    rows = Rows(X, np.arange(n_rows) % 3, np.ones(n_rows))
    batches = Minibatches(rows, batch_size, shuffle, torch.Generator().manual_seed(seed))
    for _ in range(2):
        sizes = [len(batch.y) for batch in batches]
        assert len(sizes) == len(batches)
        assert all(size == batch_size for size in sizes[:-1])
        seen = torch.cat([batch.X[:, 0] for batch in batches])
        assert sorted(seen.tolist()) == list(range(n_rows))
        assert shuffle or seen.tolist() == list(range(n_rows))


def test_shuffled_minibatches_come_in_a_new_order_every_epoch_that_the_generator_determines():
    rows = Rows(*make_rows())

    def two_epochs(seed):
        batches = Minibatches(rows, 16, True, torch.Generator().manual_seed(seed))
        return [torch.cat([batch.X for batch in batches]) for _ in range(2)]

    first, second = two_epochs(0)
    assert not torch.equal(first, second)
    assert all(torch.equal(a, b) for a, b in zip(two_epochs(0), (first, second), strict=True))
    assert not torch.equal(two_epochs(1)[0], first)


def test_a_minibatch_keeps_inputs_labels_and_weights_together():
    X, codes, weight = make_rows()
    for batch in Minibatches(Rows(X, codes, weight), 7, True, torch.Generator().manual_seed(0)):
        for x, y, w in zip(*(t.numpy() for t in batch), strict=True):
            (row,) = np.flatnonzero((x == X).all(axis=1))
            assert (y, w) == (codes[row], weight[row])


def test_rows_of_weight_zero_are_absent():
    X, codes, weight = make_rows()
    weight[::3] = 0
    rows = Rows(X, codes, weight)
    assert len(rows) == 40
    assert_array_equal(rows.index, np.flatnonzero(np.arange(60) % 3))
    kept = weight > 0
    without = run(rows=Rows(X[kept], codes[kept], weight[kept]))
    assert all_equal(run(rows=rows).params, without.params)


def test_rows_have_the_precision_that_they_are_asked_for():
    X, codes, weight = make_rows()
    batch = Rows(X, codes, weight, dtype=np.float32).batch(np.arange(5))
    assert (batch.X.dtype, batch.y.dtype, batch.weight.dtype) == (torch.float32, torch.int64, torch.float32)
    x, y = Rows(X, codes, weight, np.array([7, 3]))[1]
    assert_array_equal(x, X[3])
    assert y == codes[3]


def read_only(X):
    X = X.copy()
    X.setflags(write=False)
    return X


LAYOUTS = {
    "read-only": read_only,
    "negative strides": lambda X: X[::-1, ::-1].copy()[::-1, ::-1],
    "Fortran": np.asfortranarray,
    "every other": lambda X: np.repeat(np.repeat(X, 2, 0), 2, 1)[::2, ::2],
    "big-endian": lambda X: X.astype(">f8"),
    "list": lambda X: X.tolist(),
}


@unfinished
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_the_layout_of_the_input_does_not_matter(layout):
    X, y = labelled_rows()
    laid, weight = layout(X), np.linspace(0.5, 2, len(y))
    assert np.array_equal(laid, X)
    got, expected = (student().fit(rows, y, sample_weight=weight).blueprint_ for rows in (laid, X))
    # The gathered minibatches are in C order whatever X is, so even the bits are the same.
    assert all_equal(got.parameters, expected.parameters)


def test_layouts_are_what_they_are_called():
    X, _ = labelled_rows()
    assert not read_only(X).flags.writeable
    assert LAYOUTS["negative strides"](X).strides[0] < 0
    assert LAYOUTS["Fortran"](X).flags.f_contiguous
    assert not LAYOUTS["every other"](X).flags.forc
    assert not LAYOUTS["big-endian"](X).dtype.isnative


# --- steps -----------------------------------------------------------------------------------------


def plain_loop(params, activation, batches, alpha, learning_rate):
    """Train by torch's own modules, loss and Adam on given batches; return parameters and mean losses."""
    layers = []
    for weight, bias in zip(params[::2], params[1::2], strict=True):
        layer = torch.nn.Linear(weight.shape[1], weight.shape[0], dtype=torch.float64)
        layer.weight.data, layer.bias.data = torch.tensor(weight), torch.tensor(bias)
        layers += [layer, ACTIVATIONS[activation].module()]
    module = torch.nn.Sequential(*layers[:-1])
    optimizer = torch.optim.Adam(module.parameters(), lr=learning_rate)
    losses = []
    for epoch in batches:
        total = total_weight = 0.0
        for X, y, weight in epoch:
            optimizer.zero_grad()
            rows = torch.nn.CrossEntropyLoss(reduction="none")(module(X), y)
            squares = sum((layer.weight**2).sum() for layer in layers[::2])
            loss = (rows @ weight + alpha / 2 * squares) / weight.sum()
            loss.backward()
            optimizer.step()
            total += loss.item() * weight.sum().item()
            total_weight += weight.sum().item()
        losses.append(total / total_weight)
    return [p.detach().numpy() for p in module.parameters()], losses


@pytest.mark.parametrize("alpha", [0.0, 0.5])
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_plain_training_is_a_plain_torch_loop_over_the_same_batches(activation, alpha):
    X, codes, weight = make_rows()
    rows = Rows(X, codes, weight)
    trained = run(rows=rows, objective=Objective(activation, alpha=alpha), activation=activation)
    generator, batches = torch.Generator().manual_seed(0), []
    for _ in range(4):
        order = torch.randperm(60, generator=generator).numpy()
        parts = np.split(order, range(16, 60, 16))
        batches.append([tuple(map(torch.tensor, (X[i], codes[i], weight[i]))) for i in parts])
    params, losses = plain_loop(make_params(), activation, batches, alpha, 0.01)
    # 16 steps of fused and of plain Adam, whose roundings of 1e-16 grow a little on the way.
    for got, expected, start in zip(trained.params, params, make_params(), strict=True):
        assert_allclose(got, expected, rtol=0, atol=1e-10)
        assert np.abs(got - start).max() > 0.02
    assert_allclose([row["train_loss"] for row in trained.history], losses, rtol=1e-10)
    other = run(rows=rows, objective=Objective(activation, alpha=0.3), activation=activation)
    assert not all_equal(other.params, trained.params)


@unfinished
@pytest.mark.filterwarnings("ignore:The teacher's .*accuracy on the old rows:UserWarning")  # it had one epoch
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_plain_training_is_scikit_learns_from_the_same_start(activation):
    X, y = labelled_rows()
    settings = {"batch_size": 60, "shuffle": False, "learning_rate_init": 0.01, "alpha": 2.0, "max_iter": 30}
    mlp = MLPClassifier((5,), activation=activation, random_state=0)
    mlp.partial_fit(X, y, classes=LABELS)
    grown = AntiDistilledMLPClassifier(
        mlp,
        hidden_layer_sizes=(5,),
        start="zero",
        lambda_noise=0,
        lambda_trace=0,
        phi_max_iter=0,
        ema_decay=0,
        **settings,
    ).fit(X, y)
    mlp.set_params(warm_start=True, **settings).fit(X, y)
    # Adam's epsilon of 1e-8 stands at another place: it changes a step by 1e-8 over the root of the mean
    # squared gradient, which is about 1e-3 here.
    assert_allclose(grown.loss_curve_, mlp.loss_curve_[-30:], rtol=1e-4)
    for got, expected in zip(grown.coefs_, mlp.coefs_, strict=True):
        assert_allclose(got, expected, rtol=0, atol=1e-4)
    assert grown.loss_curve_[0] - grown.loss_curve_[-1] > 0.1


class Steps(Callback):
    """Keep the parameters after every step."""

    seen: ClassVar[list] = []

    def on_batch_end(self, net, training=False, **kwargs):
        if training:
            self.seen.append([p.detach().numpy().copy() for p in net.module_.parameters()])


@pytest.mark.parametrize("decay", [0.5, 0.99])
def test_the_result_is_the_moving_average_of_the_steps(decay):
    Steps.seen.clear()
    trained = run(ema_decay=decay, callbacks=[Steps()])
    average = [p.copy() for p in make_params()]
    for t, params in enumerate(Steps.seen, start=1):
        d = min(decay, (1 + t) / (10 + t))
        average = [d * a + (1 - d) * p for a, p in zip(average, params, strict=True)]
    assert len(Steps.seen) == 16
    for got, expected, last in zip(trained.params, average, Steps.seen[-1], strict=True):
        assert_allclose(got, expected, rtol=1e-12, atol=1e-14)
        assert np.abs(got - last).max() > 1e-3
    # The average follows the steps, and does not change them.
    assert all_equal(Steps.seen[-1], run().params)


def test_validation_watches_the_average_and_the_best_of_it_is_kept():
    X, codes, weight = make_rows()
    rows, valid_rows = (Rows(X, codes, weight, index) for index in (np.arange(40), np.arange(40, 60)))
    averages = []

    class Averages(Callback):
        def on_epoch_end(self, net, **kwargs):
            averages.append([p.detach().numpy().copy() for p in net.module_.parameters()])

    trained = run(rows=rows, valid=valid_rows, ema_decay=0.9, max_iter=6, callbacks=[Averages()])
    scores = [row["valid_acc"] for row in trained.history]
    for params, score in zip(averages, scores, strict=True):
        hidden = np.maximum(X[40:] @ params[0].T + params[1], 0)
        hit = (hidden @ params[2].T + params[3]).argmax(axis=1) == codes[40:]
        assert_allclose(np.average(hit, weights=weight[40:]), score, rtol=1e-12)
    assert all_equal(trained.params, averages[int(np.argmax(scores))])
    assert len(set(scores)) > 1


class Write(Callback):
    """Write into the module before an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def write(self, net):
        with torch.no_grad():
            for p in net.module_.parameters():
                p.fill_(0.25)

    def on_train_begin(self, net, **kwargs):
        if self.epoch == 0:
            self.write(net)

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == self.epoch:
            self.write(net)


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
@pytest.mark.parametrize("epoch", [0, 4])
def test_what_a_callback_writes_into_the_module_is_gone_on_from(epoch, ema_decay):
    settings = {"callbacks": [Write(epoch)], "ema_decay": ema_decay, "learning_rate_init": 1e-9}
    for p in run(**settings).params:
        assert_allclose(p, 0.25, rtol=0, atol=1e-6)
    other = run(ema_decay=ema_decay, learning_rate_init=1e-9)
    assert np.abs(other.params[0] - 0.25).max() > 0.1


@unfinished
@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_a_warm_start_goes_on_from_the_epoch_that_a_callback_has_loaded(ema_decay):
    X, y = labelled_rows()
    settings = {"learning_rate_init": 0.5, "max_iter": 30, "tol": 0.0, "n_iter_no_change": 1000}
    stop = EarlyStopping(monitor="train_loss", patience=4, load_best=True)
    fitted = student(ema_decay=ema_decay, callbacks=[stop], warm_start=True, **settings).fit(X, y)
    best = [p.copy() for p in fitted.blueprint_.parameters]
    last = student(ema_decay=ema_decay, **{**settings, "max_iter": fitted.n_iter_}).fit(X, y)
    assert not all_equal(best, last.blueprint_.parameters)
    fitted.set_params(learning_rate_init=1e-12, max_iter=1, callbacks=None).fit(X, y)
    for one, other in zip(fitted.blueprint_.parameters, best, strict=True):
        assert_allclose(one, other, rtol=0, atol=1e-8)


def test_without_torchs_inner_function_adams_steps_are_the_same(monkeypatch):
    trained = run(freeze_iter=2)
    monkeypatch.setattr(steps, "_FUSED_ADAM", None)
    assert all_equal(run(freeze_iter=2).params, trained.params)


def test_adams_steps_are_torchs_whatever_the_settings_of_its_group():
    """A callback may set them; skorch's own set the learning rate."""
    settings = {"lr": 0.02, "betas": (0.8, 0.99), "eps": 1e-3, "weight_decay": 0.3}
    start, gradients = make_params()[0], make_params()[:1] * 4
    reached = []
    for kind, step in [(steps.Adam, "advance"), (torch.optim.Adam, "step")]:
        p = torch.nn.Parameter(torch.tensor(start))
        optimizer = kind([p], fused=True)
        optimizer.param_groups[0].update(settings)
        for number, gradient in enumerate(gradients):
            p.grad = torch.tensor(gradient) * number
            getattr(optimizer, step)()
        reached.append(p.detach().numpy())
    assert_array_equal(*reached)
    assert not np.array_equal(reached[0], start)


def test_training_writes_to_no_argument_and_touches_no_global_random_state():
    params, (X, codes, weight) = make_params(), make_rows()
    before = [a.copy() for a in (*params, X, codes, weight)]
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()
    objective = Objective("relu", lambda_noise=1.0, delta=0.1, lambda_trace=0.1, trace="sampled")
    trained = run(params, Rows(X, codes, weight), objective)
    assert all_equal((*params, X, codes, weight), before)
    assert not all_equal(trained.params, params)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert_array_equal(np.random.get_state()[1], numpy_state[1])


def test_the_same_generators_give_the_same_bits():
    objective = Objective("relu", lambda_noise=1.0, delta=0.1, lambda_trace=0.1, trace="sampled")
    trained = run(objective=objective)
    assert all_equal(run(objective=objective).params, trained.params)
    assert not all_equal(run(objective=objective, seed=1).params, trained.params)
    assert not all_equal(run(objective=Objective("relu")).params, trained.params)


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_run_in_two_parts_is_the_run_in_one(shuffle, ema_decay):
    whole = run(max_iter=5, shuffle=shuffle, ema_decay=ema_decay)
    generators = {
        "shuffle_generator": torch.Generator().manual_seed(0),
        "draw_generator": torch.Generator().manual_seed(1),
    }
    params, state, history = make_params(), None, []
    for max_iter in (3, 2):
        schedule = Schedule(max_iter, 16, 0.01, shuffle=shuffle, ema_decay=ema_decay)
        part = train(
            params,
            "relu",
            Rows(*make_rows()),
            Objective("relu"),
            schedule,
            state=state,
            **generators,
        )
        params, state = part.params, part.state
        history += part.history
    assert all_equal(params, whole.params)
    assert [r["train_loss"] for r in history] == [r["train_loss"] for r in whole.history]
    assert not all_equal(run(max_iter=3, shuffle=shuffle, ema_decay=ema_decay).params, whole.params)


@pytest.mark.parametrize("scheduled", [False, True])
def test_a_resumed_run_takes_its_own_step_size(scheduled):
    halve = [LRScheduler(policy="LambdaLR", lr_lambda=lambda epoch: 0.5**epoch)] if scheduled else []
    first = run(callbacks=halve)
    recorder = Recorder()
    run(
        first.params,
        state=first.state,
        learning_rate_init=0.2,
        callbacks=[recorder, *halve],
    )
    assert_allclose(recorder.rates, [0.2, 0.1, 0.05, 0.025] if scheduled else [0.2] * 4, rtol=1e-15)


def test_decay_multiplies_the_step_size_after_every_epoch():
    recorder = Recorder()
    run(decay=0.5, callbacks=[recorder])
    # The recorder comes behind the scheduler, so it sees the step size of the next epoch.
    assert_allclose(recorder.rates, 0.01 * 0.5 ** np.arange(1, 5), rtol=1e-15)
    run(callbacks=[recorder])
    assert recorder.rates == [0.01] * 4


def test_history_has_the_loss_its_parts_and_the_time_of_every_epoch():
    objective = Objective("relu", lambda_ce=0.7, lambda_noise=0.9, delta=0.1, lambda_trace=0.2, alpha=0.3)
    history = run(objective=objective).history
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]
    for row in history:
        parts = 0.7 * row["ce"] + 0.9 * row["noise"] + 0.2 * row["trace"] + 0.3 * row["penalty"]
        # Means over batches of at most 60 rows, in another order.
        assert_allclose(row["train_loss"], parts, rtol=1e-12)
        assert row["dur"] > 0
        assert min(row["ce"], row["noise"], row["trace"], row["penalty"]) > 1e-3
        assert "batches" not in row
    losses = [row["train_loss"] for row in history]
    assert [row["train_loss_best"] for row in history] == [
        loss == min(losses[: i + 1]) for i, loss in enumerate(losses)
    ]


def test_hidden_layers_are_bit_identical_while_frozen_and_then_move():
    recorder = Recorder()
    run(make_params((4, 5, 4, 3)), freeze_iter=2, callbacks=[recorder])
    start = make_params((4, 5, 4, 3))
    for epoch, params in enumerate(recorder.params, start=1):
        for before, now in zip(start[:-2], params[:-2], strict=True):
            assert np.array_equal(before, now) == (epoch <= 2)
        assert not np.array_equal(start[-2], params[-2])
        assert not np.array_equal(start[-1], params[-1])


def test_freezing_a_network_without_hidden_layers_changes_nothing():
    params = make_params((4, 3))
    trained = run(params, freeze_iter=2)
    assert all_equal(trained.params, run(params).params)
    assert not all_equal(trained.params, params)


@unfinished
def test_a_student_frozen_to_the_end_trains_its_output_layer_only():
    fitted = student(freeze_iter=4).fit(*labelled_rows())
    for begun, now in zip(
        fitted.phi_blueprint_.parameters[:-2], fitted.blueprint_.parameters[:-2], strict=True
    ):
        assert_array_equal(now, begun)
    assert not np.array_equal(fitted.blueprint_.weights[-1], fitted.phi_blueprint_.weights[-1])
    free = student().fit(*labelled_rows())
    assert not np.array_equal(free.blueprint_.weights[0], free.phi_blueprint_.weights[0])


# --- stopping --------------------------------------------------------------------------------------


def epochs_by_scikit_learns_rule(scores, tol, patience):
    """The epoch after which more than ``patience`` in a row did not gain ``tol`` on the best before them."""
    best, waited = -np.inf, 0
    for epoch, score in enumerate(scores, start=1):
        waited = waited + 1 if score < best + tol else 0
        best = max(best, score)
        if waited > patience:
            return epoch
    return None


@pytest.mark.parametrize(("tol", "patience"), [(0.1, 2), (0.03, 2), (0.03, 1), (0.03, 5)])
def test_training_stops_by_scikit_learns_rule_on_the_loss(tol, patience):
    fitted = student(tol=tol, n_iter_no_change=patience, max_iter=200, learning_rate_init=0.02)
    fitted.fit(*labelled_rows())
    expected = epochs_by_scikit_learns_rule(-np.array(fitted.loss_curve_), tol, patience)
    assert fitted.n_iter_ == len(fitted.loss_curve_) == expected
    assert patience + 1 < expected < 200


def test_a_gain_of_just_tol_is_one_as_in_scikit_learn():
    net, rule = SimpleNamespace(), Stopping(tol=0.25, patience=1, validated=False, monitor=None)
    rule.on_train_begin(net)
    waited = []
    for loss in (1.0, 0.75, 0.5, 0.375, 0.125):  # sums of powers of 2: no rounding
        net.history = [{"train_loss": loss}]
        rule.on_epoch_end(net)
        waited.append(rule.rule.waited)
    assert waited == [0, 0, 0, 1, 0]


def test_tol_and_patience_move_the_end():
    ends = [
        student(tol=tol, n_iter_no_change=patience, max_iter=200, learning_rate_init=0.02)
        .fit(*labelled_rows())
        .n_iter_
        for tol, patience in [(0.1, 2), (0.03, 2), (0.03, 5)]
    ]
    assert ends[0] < ends[1] < ends[2]


def test_early_stopping_stops_by_scikit_learns_rule_on_the_validation_accuracy():
    fitted = student(early_stopping=True, validation_fraction=0.4, tol=0.01, n_iter_no_change=3, max_iter=200)
    fitted.set_params(learning_rate_init=0.02).fit(*labelled_rows())
    expected = epochs_by_scikit_learns_rule(np.array(fitted.validation_scores_), 0.01, 3)
    assert fitted.n_iter_ == len(fitted.validation_scores_) == expected
    assert 4 < expected < 200
    assert len(set(fitted.validation_scores_)) > 2


def test_early_stopping_returns_the_best_epoch_not_the_last():
    X, codes, weight = make_rows()
    train_rows = Rows(X, codes, weight, np.arange(40))
    valid_rows = Rows(X, codes, weight, np.arange(40, 60))
    recorder = Recorder()
    trained = run(
        rows=train_rows,
        valid=valid_rows,
        tol=0.0,
        n_iter_no_change=4,
        max_iter=100,
        learning_rate_init=0.1,
        callbacks=[recorder],
    )
    scores = [row["valid_acc"] for row in trained.history]
    best = int(np.argmax(scores))
    assert best < len(scores) - 1
    assert all_equal(trained.params, recorder.params[best])
    assert not all_equal(trained.params, recorder.params[-1])
    # The accuracy is the weighted one of the validation rows.
    W1, b1, W2, b2 = trained.params
    predicted = (np.maximum(X[40:] @ W1.T + b1, 0) @ W2.T + b2).argmax(axis=1)
    assert_allclose(scores[best], np.average(predicted == codes[40:], weights=weight[40:]), rtol=1e-12)


def test_a_run_that_reaches_max_iter_warns_and_one_that_stops_does_not():
    message = "Maximum iterations (4) reached and the optimization hasn't converged yet."
    with pytest.warns(ConvergenceWarning, match=re.escape(message)):
        student().fit(*labelled_rows())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        student(tol=10.0, n_iter_no_change=1).fit(*labelled_rows())


def test_tol_none_never_stops():
    assert len(run(tol=None, max_iter=25, learning_rate_init=1e-9, n_iter_no_change=1).history) == 25
    assert len(run(tol=1e-3, max_iter=25, learning_rate_init=1e-9, n_iter_no_change=1).history) == 3


# --- skorch's callbacks ----------------------------------------------------------------------------


def test_skorchs_early_stopping_ends_training_without_a_warning_of_max_iter():
    stop = EarlyStopping(
        monitor="train_loss", patience=3, threshold=0.5, threshold_mode="abs", sink=lambda _: None
    )
    fitted = student(callbacks=[stop], max_iter=50).fit(*labelled_rows())
    # No loss of at most 1.5 falls by 0.5 in three epochs of this step size.
    assert fitted.n_iter_ == 4
    assert stop.misses_ == 0  # fit works on clones


@unfinished
def test_skorchs_early_stopping_may_load_the_best_epoch():
    stop = EarlyStopping(monitor="train_loss", patience=2, load_best=True, sink=lambda _: None)
    fitted = student(callbacks=[stop], max_iter=60, learning_rate_init=0.3).fit(*labelled_rows())
    best = int(np.argmin(fitted.loss_curve_))
    assert best < fitted.n_iter_ - 1
    shorter = student(max_iter=best + 1, learning_rate_init=0.3).fit(*labelled_rows())
    assert all_equal(fitted.blueprint_.parameters, shorter.blueprint_.parameters)


@unfinished
def test_skorchs_learning_rate_scheduler_scales_the_steps():
    halve = LRScheduler(policy="StepLR", step_size=1, gamma=0.5)
    fitted = student(callbacks=[halve], learning_rate_init=0.02).fit(*labelled_rows())
    assert [row["event_lr"] for row in fitted.history_] == [0.02, 0.01, 0.005, 0.0025]
    plain = student(learning_rate_init=0.02).fit(*labelled_rows())
    assert fitted.loss_curve_[0] == plain.loss_curve_[0]
    assert not all_equal(fitted.blueprint_.parameters, plain.blueprint_.parameters)


def test_clones_keep_the_parameters_of_callbacks():
    copied = clone(
        student(callbacks=[LRScheduler(policy="StepLR", step_size=1, gamma=0.25), EarlyStopping(patience=9)])
    )
    scheduler, stop = copied.callbacks
    assert scheduler.kwargs == {"step_size": 1, "gamma": 0.25}
    assert stop.patience == 9


@unfinished
def test_a_cloned_students_scheduler_acts_with_its_own_gamma():
    rates = []
    for gamma in (0.25, 0.5):
        halve = LRScheduler(policy="StepLR", step_size=1, gamma=gamma)
        fitted = clone(student(callbacks=[halve], learning_rate_init=0.02)).fit(*labelled_rows())
        rates.append([row["event_lr"] for row in fitted.history_])
    assert rates[0] == [0.02, 0.005, 0.00125, 0.0003125]
    assert rates[0] != rates[1]


@unfinished
def test_skorchs_epoch_scoring_scores_training_rows():
    X, y = labelled_rows()
    hits = EpochScoring("accuracy", on_train=True, lower_is_better=False, name="hits")
    fitted = student(callbacks=[hits], batch_size=60, learning_rate_init=0.05).fit(X, y)
    scores = [row["hits"] for row in fitted.history_]
    # The predictions of the first, whole batch are made before its step.
    begun = fitted.phi_blueprint_
    assert scores[0] == np.mean(begun.classes[begun.logits(X).argmax(axis=1)] == y)
    assert len(scores) == 4
    assert len(set(scores)) > 1


@unfinished
def test_skorchs_epoch_scoring_scores_validation_rows():
    hits = EpochScoring("accuracy", lower_is_better=False, name="hits")
    fitted = student(callbacks=[hits], early_stopping=True, validation_fraction=0.4, max_iter=8)
    fitted.set_params(learning_rate_init=0.05).fit(*labelled_rows())
    # Here all rows weigh the same, which skorch's accuracy takes for granted.
    assert [row["hits"] for row in fitted.history_] == pytest.approx(fitted.validation_scores_, rel=1e-12)
    assert len(set(fitted.validation_scores_)) > 1


def test_callbacks_see_the_epoch_in_which_training_stops():
    hits = EpochScoring("accuracy", on_train=True, lower_is_better=False, name="hits")
    fitted = student(callbacks=[hits], max_iter=50, tol=10.0, n_iter_no_change=1).fit(*labelled_rows())
    assert fitted.n_iter_ == 3
    assert all("hits" in row for row in fitted.history_)


class StopAtOnce(Callback):
    def on_epoch_end(self, net, **kwargs):
        raise KeyboardInterrupt


@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_callback_that_stops_the_first_epoch_leaves_its_parameters(early_stopping):
    settings = {"early_stopping": early_stopping, "validation_fraction": 0.4}
    fitted = student(callbacks=[StopAtOnce()], max_iter=50, **settings).fit(*labelled_rows())
    assert fitted.n_iter_ == 1
    with pytest.warns(ConvergenceWarning):
        one_epoch = student(max_iter=1, **settings).fit(*labelled_rows())
    assert all_equal(fitted.blueprint_.parameters, one_epoch.blueprint_.parameters)


@unfinished
def test_skorchs_checkpoint_saves_the_best_epoch_of_a_student(tmp_path):
    keep = Checkpoint(monitor="train_loss_best", dirname=str(tmp_path))
    fitted = student(callbacks=[keep], learning_rate_init=0.01).fit(*labelled_rows())
    assert [row["train_loss_best"] for row in fitted.history_] == [True] * 4
    saved = torch.load(tmp_path / "params.pt", weights_only=True)
    assert all_equal([p.numpy() for p in saved.values()], fitted.blueprint_.parameters)
    assert {path.name for path in tmp_path.iterdir()} >= {"params.pt", "optimizer.pt", "history.json"}


def test_skorchs_checkpoint_watches_the_validation_loss_unless_told_otherwise(tmp_path):
    X, codes, weight = make_rows()
    recorder, keep = Recorder(), Checkpoint(dirname=str(tmp_path))
    rows, valid = (Rows(X, codes, weight, index) for index in (np.arange(40), np.arange(40, 60)))
    trained = run(rows=rows, valid=valid, max_iter=30, learning_rate_init=0.1, callbacks=[recorder, keep])
    losses = [row["valid_loss"] for row in trained.history]
    best = int(np.argmin(losses))
    saved = [p.numpy() for p in torch.load(tmp_path / "params.pt", weights_only=True).values()]
    assert best < 29
    assert all_equal(saved, recorder.params[best])
    assert not all_equal(saved, recorder.params[-1])


def counting(*moments):
    """Return a callback that counts how often these moments come."""

    def count(moment):
        return lambda self, *args, **kwargs: self.counts.update({moment: self.counts.get(moment, 0) + 1})

    methods = {"on_train_begin": lambda self, *args, **kwargs: setattr(self, "counts", {})}
    return type("Counting", (Callback,), methods | {moment: count(moment) for moment in moments})()


@pytest.mark.parametrize("moment", ["on_batch_begin", "on_grad_computed", "on_batch_end"])
def test_a_callback_that_listens_to_one_moment_of_a_batch_hears_it_every_time(moment):
    listening, deaf = counting(moment), counting()
    trained = run(callbacks=[listening, deaf])
    assert listening.counts == {moment: 4 * 4}
    assert deaf.counts == {}
    assert all_equal(trained.params, run().params)


def test_history_has_the_batches_of_an_epoch_for_callbacks_that_record_them():
    class Losses(Callback):
        def on_batch_end(self, net, loss, **kwargs):
            net.history.record_batch("loss", float(loss))

        def on_epoch_end(self, net, **kwargs):
            self.last = net.history[-1, "batches", :, "loss"]

    losses = Losses()
    trained = run(callbacks=[losses])
    assert len(losses.last) == 4
    assert min(losses.last) < trained.history[-1]["train_loss"] < max(losses.last)


def test_a_method_that_a_callback_was_given_later_is_heard():
    heard, callback = [], Callback()
    callback.on_batch_end = lambda net, **kwargs: heard.append(kwargs["training"])
    run(callbacks=[callback])
    assert heard == [True] * 16


@unfinished
def test_skorchs_gradient_clipping_shortens_the_steps():
    # Adam's steps hardly depend on the length of gradients, but they do on lengths that change with time.
    clipped = student(callbacks=[GradientNormClipping(1e-3)]).fit(*labelled_rows())
    plain = student().fit(*labelled_rows())
    assert not all_equal(clipped.blueprint_.parameters, plain.blueprint_.parameters)
    unclipped = student(callbacks=[GradientNormClipping(1e6)]).fit(*labelled_rows())
    assert all_equal(unclipped.blueprint_.parameters, plain.blueprint_.parameters)


# --- what goes wrong -------------------------------------------------------------------------------


def divergence(stage, what):
    return re.escape(
        f"Training diverged in {stage}: first {what} became infinite or NaN. Scale X (for example by "
        "StandardScaler), or lower learning_rate_init (in phi: phi_learning_rate_init) or the weight of that "
        "term (lambda_noise for 'noise' and so on, alpha for 'penalty')."
    )


@pytest.mark.parametrize(
    ("scale", "terms", "what"),
    [
        (1e170, {"lambda_trace": 0.1}, "'trace'"),  # a squared norm of 1e340 is infinite, the logits are not
        (1e170, {"lambda_noise": 1.0, "delta": 0.1, "lambda_trace": 0.1}, "'trace'"),
        (1.0, {"lambda_noise": 1.0, "delta": 1.7e308}, "'noise'"),  # the logits overflow
        (1.0, {"lambda_ce": 1e308, "lambda_noise": 1e308}, "the weighted sum"),
    ],
)
def test_divergence_names_the_term_that_went_first(scale, terms, what):
    X, codes, weight = make_rows()
    with pytest.raises(ValueError, match=divergence("Iteration 1", what)):
        run(rows=Rows(scale * X, codes, weight), objective=Objective("relu", **terms), max_iter=1)


def test_divergence_names_the_first_term_not_those_that_follow():
    objective = Objective("relu", lambda_trace=0.1)
    with pytest.raises(ValueError, match=divergence("Iteration 1", "'trace'")):
        run(rows=Rows(1e170 * make_rows()[0], *make_rows()[1:]), objective=objective)
    # After a step of 1e200 the next batch has all its terms infinite.
    with pytest.raises(ValueError, match=divergence("Iteration 1", "'ce' and 'trace'")):
        run(objective=objective, learning_rate_init=1e200)


def test_divergence_of_the_last_step_is_seen_in_the_parameters():
    with pytest.raises(ValueError, match=divergence("Iteration 1", "parameters")):
        run(learning_rate_init=np.inf, batch_size=60, max_iter=1)


def test_a_diverging_fit_leaves_the_student_as_it_was():
    X, y = labelled_rows()
    fresh = student(lambda_noise=0)
    with (
        pytest.warns(UserWarning, match="X has a root mean square of inf"),
        pytest.raises(ValueError, match=divergence("Iteration 1", "'trace'")),
    ):
        fresh.fit(1e170 * X, y)
    assert not [name for name in vars(fresh) if name.endswith("_")]


class Interrupt(Callback):
    """Press Ctrl-C in the second batch."""

    def on_train_begin(self, net, **kwargs):
        self.n_batches = 0

    def on_batch_end(self, net, **kwargs):
        self.n_batches += 1
        if self.n_batches == 2:
            raise KeyboardInterrupt


def test_an_interrupt_inside_an_epoch_propagates_and_leaves_an_unfitted_student_unfitted():
    fresh = student(callbacks=[Interrupt()])
    before = dict(vars(fresh))
    with pytest.raises(KeyboardInterrupt):
        fresh.fit(*labelled_rows())
    assert vars(fresh) == before


@unfinished
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_an_interrupt_inside_an_epoch_leaves_a_fitted_student_as_it_was(method):
    X, y = labelled_rows()
    fitted = student(warm_start=True).fit(X, y)
    before, expected = dict(vars(fitted)), fitted.predict_proba(X)
    fitted.callbacks = [Interrupt()]
    with pytest.raises(KeyboardInterrupt):
        getattr(fitted, method)(X, y)
    assert {k: v for k, v in vars(fitted).items() if k != "callbacks"} == {
        k: v for k, v in before.items() if k != "callbacks"
    }
    assert_array_equal(fitted.predict_proba(X), expected)
    fitted.callbacks = None
    assert not np.array_equal(getattr(fitted, method)(X, y).predict_proba(X), expected)


def test_an_interrupt_inside_phi_propagates_too(monkeypatch):
    X, y = labelled_rows()
    mlp = MLPClassifier((4,), random_state=0, learning_rate_init=0.05)
    for _ in range(20):
        mlp.partial_fit(X, y, classes=LABELS)

    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(Objective, "draw", interrupted)
    fresh = student(teacher=mlp)
    before = dict(vars(fresh))
    with pytest.raises(KeyboardInterrupt):
        fresh.fit(X, y)
    assert vars(fresh) == before


def test_an_interrupt_at_the_end_of_an_epoch_is_a_callbacks_wish_to_stop():
    class Enough(Callback):
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 2:
                raise KeyboardInterrupt

    assert len(run(callbacks=[Enough()]).history) == 2


# --- the only subclass of skorch's net -------------------------------------------------------------


def test_the_net_overrides_two_methods_of_skorch_in_at_most_sixty_lines():
    (body,) = ast.parse(inspect.getsource(training._Net)).body
    own = {node.name for node in ast.walk(body) if isinstance(node, ast.FunctionDef)}
    inherited = {name for name in own if hasattr(training._Net.__base__, name)}
    assert inherited == {"run_single_epoch", "train_step"}
    assert len(own - inherited) <= 1
    assert len(inspect.getsource(training._Net).splitlines()) <= 60
