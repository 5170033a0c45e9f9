"""Rehearsal: old rows in every minibatch, classes in the proportions of the new rows."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st

from skantidistill.rehearsal import RehearsedRows
from skantidistill.rows import Minibatches, Rows
from tests.problems import digits, fitted_teacher, named, named_teacher, old_rows, quick, same_parameters
from tests.strategies import seeds

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def make_rows(seed, classes, n, kind=np.asarray, offset=0):
    """Return rows whose first feature is their own number, and whose others tell nothing."""
    rng = np.random.default_rng(seed)
    X = np.column_stack([offset + np.arange(n), rng.normal(size=(n, 2))])
    return Rows(kind(X), rng.permutation(np.resize(classes, n)), 0.5 + rng.random(n))


@given(seeds, st.integers(1, 6), st.integers(1, 6), st.sampled_from([np.asarray, sp.csr_matrix]))
def test_every_new_row_comes_once_an_epoch_and_old_ones_in_their_share(seed, n_new, n_old, kind):
    new, old = make_rows(seed, [0, 2, 3], 13, kind, offset=1), make_rows(seed, [0, 1], 40, kind, offset=1001)
    rehearsed = RehearsedRows(new, old, n_new, n_old, seed)
    assert len(rehearsed) == 13
    numbers, shuffler = [], torch.Generator().manual_seed(seed)
    for batch in Minibatches(rehearsed, n_new, shuffle=True, generator=shuffler):
        number = batch.X[:, 0].numpy()
        n_here = np.count_nonzero(number < 1000)
        assert len(number) - n_here == round(n_old * n_here / n_new)
        numbers.append(number[:n_here])
        assert np.all(number[n_here:] > 1000)  # old rows come last
        known = [
            *new.targets[number[:n_here].astype(int) - 1],
            *old.targets[number[n_here:].astype(int) - 1001],
        ]
        assert batch.y.tolist() == known
    assert sorted(np.concatenate(numbers).tolist()) == list(range(1, 14))


@pytest.mark.parametrize("in_both", [[0], [0, 1], []])
def test_classes_weigh_what_they_weigh_among_the_new_rows(in_both):
    """Over many minibatches the weight of a class is its share of the new rows, or the average of these."""
    new_classes, old_classes = np.array([*in_both, 2, 3, 3, 3]), np.array([0, 1])
    new, old = make_rows(0, new_classes, 60 * len(new_classes)), make_rows(1, old_classes, 50)
    mass = np.bincount(new.targets, weights=new.weight, minlength=4)
    expected = np.where(mass > 0, mass, mass[mass > 0].mean())
    n_new, n_old = 30, 20
    rehearsed, total = RehearsedRows(new, old, n_new, n_old, 0), np.zeros(4)
    for _ in range(200):
        for batch in Minibatches(rehearsed, n_new):
            total += np.bincount(batch.y.numpy(), weights=batch.weight.numpy(), minlength=4)
    # 200 epochs of at least 80 draws: the shares of the old classes vary by less than 1 %.
    np.testing.assert_allclose(total / total.sum(), expected / expected.sum(), rtol=0.02)
    plain = np.bincount(old.targets, minlength=4) + np.bincount(new.targets, minlength=4)
    assert not np.allclose(plain / plain.sum(), expected / expected.sum(), rtol=0.1)


def test_weights_of_old_rows_count_within_their_class():
    new, old = make_rows(0, [0, 1], 20), make_rows(1, [0, 1], 6)
    old.weight[:] = np.where(old.targets == 0, 7.0, np.arange(1, 7))
    rehearsed = RehearsedRows(new, old, 4, 4, 0)
    ratio = rehearsed.old_weight / old.weight
    for code in (0, 1):
        assert np.ptp(ratio[old.targets == code]) < 1e-12
        mean = rehearsed.old_weight[old.targets == code].mean()
        assert mean == pytest.approx(new.weight.mean())


def test_rehearsal_keeps_what_training_on_new_classes_alone_forgets():
    X, y = digits()
    rows = old_rows()
    old = X[rows], y[rows]

    def fit(**params):
        student = quick(fitted_teacher(), max_iter=40, **params)
        return student.fit(X[~rows], y[~rows], teacher_data=old)

    with pytest.warns(UserWarning, match="are in teacher_data but not in y: .* set rehearse, say to 0.5"):
        forgetting = fit()
    rehearsing = fit(rehearse=0.5)
    assert forgetting.score(*old) < 0.8
    assert rehearsing.score(*old) > 0.95
    assert rehearsing.score(X[~rows], y[~rows]) > forgetting.score(X[~rows], y[~rows]) - 0.1
    assert same_parameters(rehearsing, fit(rehearse=0.5))
    assert not same_parameters(rehearsing, fit(rehearse=0.4))


def test_rehearsal_without_teacher_data_changes_nothing():
    X, y = digits()
    plain = quick(fitted_teacher()).fit(X, y)
    assert same_parameters(plain, quick(fitted_teacher(), rehearse=0.5).fit(X, y))
    assert same_parameters(
        quick(fitted_teacher()).fit(X, y, teacher_rows=old_rows()),
        quick(fitted_teacher(), rehearse=0.5).fit(X, y, teacher_rows=old_rows()),
    )


def test_rehearsed_rows_may_have_the_teachers_columns_only_and_be_sparse():
    X, y = digits()
    rows, frame = old_rows(), named(X)
    student = quick(named_teacher(40), rehearse=0.3, early_stopping=True)
    student.fit(frame.iloc[:, ::-1], y, teacher_data=(frame.iloc[rows, :40], y[rows]))
    sparse = quick(fitted_teacher(), rehearse=0.3, new_outputs="start", lambda_noise=0, lambda_trace=0)
    S = sp.csr_matrix(X)
    one = sparse.fit(S, y, teacher_data=(S[rows], y[rows])).decision_function(X)
    other = sparse.fit(X, y, teacher_data=(X[rows], y[rows])).decision_function(X)
    np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)  # the same sums over fewer terms
