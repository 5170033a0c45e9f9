"""Sparse matrices and memory maps: the same students as from plain arrays, and never a whole copy."""

import tracemalloc
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, StandardScaler

from skantidistill import fitting, robustness_score
from skantidistill.growth import Growth
from skantidistill.network import SparseBatch
from skantidistill.objective import Objective
from skantidistill.old_data import OldData
from skantidistill.rows import Minibatches, Rows
from skantidistill.teachers import read_teacher
from tests.problems import digits, fitted_teacher, old_rows, quick, same_parameters
from tests.strategies import make_network, seeds

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

#: Without noise a sparse matrix and its dense double give the same student.
NOISELESS = {"lambda_noise": 0.0, "lambda_trace": 1e-3, "trace": "exact", "new_outputs": "start"}


@pytest.mark.parametrize("kind", [sp.csr_matrix, sp.csr_array, sp.csc_matrix, sp.coo_matrix])
def test_sparse_and_dense_input_give_the_same_student(kind):
    X, y = digits()
    assert 0.4 < np.mean(X == 0) < 0.6
    dense, sparse = (quick(fitted_teacher(), **NOISELESS).fit(A, y) for A in (X, kind(X)))
    for a, b in zip(dense.blueprint_.parameters, sparse.blueprint_.parameters, strict=True):
        # The same sums over fewer terms, through three epochs of Adam in float64.
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(dense.predict_proba(kind(X)), dense.predict_proba(X), rtol=1e-10, atol=1e-12)
    assert sparse.score(kind(X), y) == dense.score(X, y)
    assert not same_parameters(dense, quick(fitted_teacher()).fit(X, y))


@pytest.mark.parametrize("scaled", [False, True])
def test_zeros_that_are_stored_are_zeros(scaled):
    X, y = digits()
    X = X * (np.arange(64) < 50)  # so that no minibatch has a value in the others
    S = sp.csr_matrix(X)
    rows, columns = np.nonzero(np.random.default_rng(0).random(X.shape) < 0.3)
    filled = sp.csr_matrix(
        (
            np.append(S.data, np.zeros(len(rows))),
            (np.append(S.nonzero()[0], rows), np.append(S.nonzero()[1], columns)),
        ),
        shape=X.shape,
    )
    assert filled.nnz > S.nnz
    old = old_rows()
    teacher = MLPClassifier((8,), max_iter=500, random_state=0)
    if scaled:
        teacher = make_pipeline(StandardScaler(), teacher)
    teacher.fit(X[old], y[old])
    assert same_parameters(quick(teacher).fit(S, y), quick(teacher).fit(filled, y))


def test_a_scaler_that_only_divides_leaves_sparse_rows_sparse():
    X, y = digits()
    S, old = sp.csr_matrix(16 * X), old_rows()
    teacher = MLPClassifier((8,), max_iter=500, random_state=0)
    teacher = make_pipeline(MaxAbsScaler(), teacher).fit(S[old], y[old])
    dense, sparse = (quick(teacher, **NOISELESS).fit(A, y) for A in (S.toarray(), S))
    for a, b in zip(dense.blueprint_.parameters, sparse.blueprint_.parameters, strict=True):
        # As without a scaler: the same sums over fewer terms.
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)
    rows, index = np.arange(3), np.zeros(len(y), dtype=int)
    batch = fitting.build_rows(sparse, sparse.blueprint_, S, index, np.ones(len(y)), rows).batch(rows)
    assert isinstance(batch, SparseBatch)
    assert 0 < len(batch.columns) < 64
    expected = sparse.blueprint_.scaled(S[:3].toarray())[:, batch.columns]
    np.testing.assert_allclose(batch.X, expected, rtol=1e-15)
    assert batch.X.max() == 1


def test_scaling_new_columns_copies_these_columns_only():
    random_state = np.random.RandomState(0)
    X, y = random_state.randn(4000, 300), np.arange(4000) % 3
    known = y < 2
    teacher = make_pipeline(StandardScaler(), LogisticRegression()).fit(X[known, :299], y[known])
    blueprint = read_teacher(teacher)
    student = SimpleNamespace(teacher_=teacher)
    growth = Growth(replace(blueprint, activation="relu"), 300, (6,), np.arange(3))
    data = OldData(X, y, np.ones(4000), np.flatnonzero(known), "y")
    tracemalloc.start()
    scale, shift = fitting._input_scaling(student, growth, data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < X.nbytes / 10
    np.testing.assert_allclose(
        (X * scale + shift)[known, 299],
        StandardScaler().fit_transform(X[known, 299:])[:, 0],
        rtol=1e-10,
        atol=1e-12,
    )
    np.testing.assert_array_equal(scale[:299], blueprint.input_scale)


def test_every_way_to_fit_takes_sparse_input():
    X, y = digits()
    S, rows = sp.csr_matrix(X), old_rows()
    quick(fitted_teacher(), early_stopping=True).fit(S, y, teacher_rows=rows)
    given_data = quick(fitted_teacher(), **NOISELESS).fit(S, y, teacher_data=(S[rows], y[rows]))
    dense_data = quick(fitted_teacher(), **NOISELESS).fit(S, y, teacher_data=(X[rows], y[rows]))
    assert same_parameters(given_data, dense_data)
    few = MLPClassifier((8,), max_iter=500, random_state=0).fit(S[rows][:, :40], y[rows])
    grown = quick(few, bounds=(0, 1)).fit(S, y, teacher_data=(S[rows][:, :40], y[rows]))
    assert grown.growth_.new_features.tolist() == list(range(40, 64))
    with pytest.raises(ValueError, match="X has a value outside bounds"):
        quick(few, bounds=(0, 0.5)).fit(S, y)
    student = quick(fitted_teacher()).partial_fit(S, y, classes=np.unique(y)).partial_fit(S, y)
    assert student.robustness_score(S, y, "fgsm", 0.05) == student.robustness_score(X, y, "fgsm", 0.05)
    score = robustness_score(few, S[rows][:, :40], y[rows], "parameter_noise", 0.0)
    assert score == pytest.approx(few.score(X[rows][:, :40], y[rows]))
    unfitted = quick(LogisticRegression(max_iter=300)).fit(S, y, teacher_rows=rows)
    assert unfitted.teacher_.n_features_in_ == 64


@pytest.mark.parametrize("draws_of_parameters", [False, True])
@pytest.mark.parametrize("per_feature", [False, True])
@pytest.mark.parametrize("neighborhood", ["uniform", "normal", "adversarial"])
def test_a_sparse_batch_is_the_dense_one_with_noise_on_stored_values_only(
    neighborhood, per_feature, draws_of_parameters
):
    """The oracle is a dense batch whose half-width is 0 where the sparse one stores nothing."""
    net = make_network((9, 5, 4, 3), "relu", seed=3, n_rows=3)
    X = np.zeros((3, 9))
    X[[0, 0, 0, 1, 2], [1, 4, 7, 4, 8]] = [0.5, -2.0, 1.5, 1.0, -0.7]
    y, weight = np.array([2, 0, 1]), np.array([1.0, 2.0, 0.5])
    batch = Rows(sp.csr_matrix(X), y, weight).batch(np.arange(3))
    assert isinstance(batch, SparseBatch)
    assert batch.columns.tolist() == [1, 4, 7, 8]
    delta = torch.linspace(0.1, 0.4, 9, dtype=torch.float64) if per_feature else torch.tensor(0.3).double()
    bounds = (torch.full((9,), -2.1).double(), torch.full((9,), 1.6).double())
    terms = {
        "lambda_noise": 0.7,
        "lambda_trace": 0.1,
        "neighborhood": neighborhood,
        "bounds": bounds,
        "alpha": 0.1,
    }
    if draws_of_parameters:
        terms |= {"parameter_noise_std": 0.2, "trace": "hutchinson"}
    sparse = Objective("relu", delta=delta, **terms)
    dense = Objective("relu", delta=delta * torch.from_numpy(X != 0), **terms)
    draws = sparse.draw(net.params, batch, net.generator)

    def widened(narrow):
        """Draws for all columns, 0 where there is no value."""
        wide = torch.zeros(len(narrow), 9, dtype=torch.float64)
        wide[:, batch.columns] = narrow
        return wide

    wide = draws._replace(offsets=widened(draws.offsets))
    if draws_of_parameters:
        noise, probes = ((widened(drawn[0]), *drawn[1:]) for drawn in (draws.noise, draws.probes))
        wide = wide._replace(noise=noise, probes=probes)
    whole = Rows(X, y, weight).batch(np.arange(3))
    loss, parts, logits = sparse(net.params, batch, draws)
    expected, dense_parts, dense_logits = dense(net.params, whole, wide)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(logits, dense_logits, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(sparse.logits(net.params, batch), dense_logits, rtol=1e-12, atol=1e-12)
    assert abs(float(parts["noise"] - parts["ce"])) > 1e-3
    torch.testing.assert_close(parts["trace"], dense_parts["trace"], rtol=1e-12, atol=1e-12)


@given(seeds, st.integers(1, 4), st.sampled_from([0.0, 0.3]))
def test_minibatches_of_sparse_rows_are_those_of_dense_rows(seed, batch_size, density):
    rng = np.random.default_rng(seed)
    X = sp.random(5, 6, density, "csr", random_state=rng)
    y, weight = rng.integers(3, size=5), rng.random(5)
    batches = [
        list(Minibatches(Rows(A, y, weight), batch_size, True, torch.Generator().manual_seed(seed)))
        for A in (X, X.toarray())
    ]
    for sparse, dense in zip(*batches, strict=True):
        whole = torch.zeros_like(dense.X)
        whole[:, sparse.columns] = sparse.X
        assert torch.equal(whole, dense.X)
        assert torch.equal(sparse.stored, sparse.X != 0)
        assert torch.equal(sparse.y, dense.y)
        assert torch.equal(sparse.weight, dense.weight)


def peak_of(function):
    """Return the most bytes that numpy held at once in a call."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_memory_map_is_never_held_whole(tmp_path):
    X, y = digits()
    n = 60_000
    mapped = np.memmap(tmp_path / "X", np.float32, "w+", shape=(n, 64))
    mapped[:] = np.resize(X, mapped.shape)
    mapped.flush()
    readable = np.memmap(tmp_path / "X", np.float32, "r", shape=(n, 64))
    labels = np.resize(y, n)
    params = {"max_iter": 1, "phi_max_iter": 1, "batch_size": 500, "bounds": (0, 1)}
    student = quick(fitted_teacher(), **params)
    assert peak_of(lambda: student.fit(readable, labels)) < mapped.nbytes / 2
    assert peak_of(lambda: student.predict(readable)) < mapped.nbytes / 2
    assert peak_of(lambda: student.robustness_score(readable, labels, epsilon=0.01)) < mapped.nbytes
    assert same_parameters(student, quick(fitted_teacher(), **params).fit(np.array(mapped), labels))
    assert peak_of(lambda: np.array(readable)) >= mapped.nbytes  # what a copy would show
