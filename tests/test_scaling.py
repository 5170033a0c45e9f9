"""Every affine scaler that is read transforms as scikit-learn's own ``transform`` does."""

import inspect
import re
from unittest import mock

import numpy as np
import pytest
import sklearn
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array, csr_matrix
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    RobustScaler,
    StandardScaler,
)

from skantidistill import scaling
from skantidistill.scaling import bare_scalers, check_scalers, compose, read_scaler, scale_like

SCALERS = [
    StandardScaler(),
    StandardScaler(with_mean=False),
    StandardScaler(with_std=False),
    StandardScaler(with_mean=False, with_std=False),
    MinMaxScaler(),
    MinMaxScaler((-3, 5)),
    MaxAbsScaler(),
    RobustScaler(),
    RobustScaler(with_centering=False, quantile_range=(10, 80)),
    RobustScaler(with_scaling=False),
    RobustScaler(with_centering=False, with_scaling=False),
    RobustScaler(unit_variance=True),
]
NOTHING = [SCALERS[3], SCALERS[10]]
# scikit-learn subtracts before it divides: the two ways round differently, by a few units in the last place
# of numbers that are up to about 30 (wine's means over its standard deviations).
ROUNDING = {"rtol": 1e-12, "atol": 1e-12}
WINE = load_wine().data
REMEDY = "Give the pipeline's last step as teacher, and X as its other steps transform it."


def fitted(scaler, X=WINE, **keywords):
    return sklearn.clone(scaler).fit(X, **keywords)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("scaler", SCALERS, ids=repr)
def test_a_scaler_is_read_as_what_it_does(scaler, dtype):
    scaler = fitted(scaler, WINE[::2].astype(dtype))
    scale, shift = read_scaler(scaler)
    assert scale.dtype == shift.dtype == np.float64
    assert scale.shape == shift.shape == (13,)
    got, expected = WINE[1::2] * scale + shift, scaler.transform(WINE[1::2])
    # Statistics in float32 still make one affine map, which here is applied in float64 by both.
    assert_allclose(got, expected, **ROUNDING)
    does_nothing = any(repr(scaler) == repr(other) for other in NOTHING)
    assert np.array_equal(expected, WINE[1::2]) == does_nothing


def test_a_constant_column_is_read_as_it_is_transformed():
    X = np.column_stack([np.full(20, 7.0), np.zeros(20), np.arange(20.0)])
    for scaler in SCALERS:
        model = fitted(scaler, X)
        scale, shift = read_scaler(model)
        assert_allclose((X + 1) * scale + shift, model.transform(X + 1), **ROUNDING)
        assert np.isfinite([scale, shift]).all()


def test_frozen_and_nested_scalers_are_read_through():
    frozen = FrozenEstimator(fitted(MinMaxScaler()))
    nested = Pipeline(
        [
            ("a", frozen),
            ("b", "passthrough"),
            ("c", make_pipeline(RobustScaler(), None, StandardScaler())),
            ("d", None),
        ]
    ).fit(WINE)
    for transformer in [frozen, nested]:
        scale, shift = read_scaler(transformer)
        assert_allclose(WINE * scale + shift, transformer.transform(WINE), **ROUNDING)
        assert np.abs(WINE * scale + shift - WINE).max() > 1
    kinds = [type(scaler) for scaler in bare_scalers(nested.steps)]
    assert kinds == [MinMaxScaler, RobustScaler, StandardScaler]


@given(st.lists(st.sampled_from(SCALERS), min_size=1, max_size=4), st.integers(0, 2**20))
def test_the_composition_of_maps_applies_the_first_one_first(scalers, seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(rng.normal(0, 3, 4), rng.uniform(0.5, 5, 4), size=(30, 4))
    pipeline = make_pipeline(*map(sklearn.clone, scalers)).fit(X)
    scale, shift = compose([read_scaler(scaler) for _, scaler in pipeline.steps])
    assert_allclose(X * scale + shift, pipeline.transform(X), rtol=1e-10, atol=1e-10)
    assert_array_equal(read_scaler(pipeline), (scale, shift))


def test_the_order_of_maps_matters():
    first, second = read_scaler(fitted(StandardScaler())), read_scaler(fitted(MinMaxScaler()))
    assert not np.allclose(compose([first, second])[1], compose([second, first])[1])


@pytest.mark.parametrize("transformer", [PCA(2), Normalizer(), FunctionTransformer(np.log1p), "scale"])
def test_a_transformer_that_is_no_affine_scaler_is_refused_with_its_step(transformer):
    message = (
        f"{type(transformer).__name__} can't be read as a scaler; a transformer of one of these kinds can: "
        "FrozenEstimator, MaxAbsScaler, MinMaxScaler, Pipeline, RobustScaler, StandardScaler. " + REMEDY
    )
    with pytest.raises(TypeError, match="^" + re.escape(message)):
        read_scaler(transformer)
    inner = Pipeline([("fine", StandardScaler()), ("strange", FrozenEstimator(transformer))])
    where = f"The step 'outer__strange' is a {type(transformer).__name__}, which can't be read as a scaler"
    with pytest.raises(TypeError, match=re.escape(where)):
        check_scalers([("outer", inner)])


CLIPPING = [MinMaxScaler(clip=True)]
if "clip" in inspect.signature(MaxAbsScaler).parameters:
    CLIPPING.append(MaxAbsScaler(clip=True))


@pytest.mark.parametrize("scaler", CLIPPING, ids=repr)
def test_a_scaler_that_clips_is_refused(scaler):
    message = f"A {type(scaler).__name__} with clip=True is not affine; set clip=False. Or: {REMEDY}"
    with pytest.raises(ValueError, match=re.escape(message)):
        read_scaler(fitted(scaler))
    with pytest.raises(ValueError, match=re.escape(message)):
        check_scalers([("clip", scaler)])


@pytest.mark.parametrize("scaler", SCALERS, ids=repr)
def test_an_unfitted_scaler_is_readable_in_kind_but_not_yet(scaler):
    check_scalers([("a", scaler), ("b", make_pipeline(scaler)), ("c", "passthrough")])
    with pytest.raises(NotFittedError, match=type(scaler).__name__):
        read_scaler(sklearn.clone(scaler))


@pytest.mark.parametrize("kind", [np.asarray, csr_matrix, csr_array])
@pytest.mark.parametrize("block_size", [2**22, 3 * len(WINE)])
@pytest.mark.parametrize("scaler", SCALERS, ids=repr)
def test_new_columns_are_scaled_as_by_the_same_scaler_fitted_on_them(scaler, block_size, kind):
    teacher = fitted(scaler, WINE[:, :3])
    new = WINE[:, 3:] * (WINE[:, 3:] > 0.5)  # with zeros, which sparse arrays don't hold
    chain = [teacher, fitted(MinMaxScaler((0, 9)), WINE[:, :3])]
    with mock.patch.object(scaling, "BLOCK_SIZE", block_size):
        scale, shift = scale_like(chain, kind(new))
    expected = make_pipeline(sklearn.clone(scaler), MinMaxScaler((0, 9))).fit_transform(new)
    assert_allclose(new * scale + shift, expected, **ROUNDING)
    assert np.ptp(expected, axis=0).min() > 1
    # The teacher's scaler is left as it was, and its own columns are scaled otherwise.
    assert teacher.n_features_in_ == 3


def test_row_weights_reach_the_scalers_that_take_them():
    weight = np.arange(len(WINE)) % 4.0
    repeated = WINE.repeat(weight.astype(int), axis=0)
    scale, shift = scale_like([StandardScaler()], WINE, weight)
    assert_allclose((scale, shift), read_scaler(fitted(StandardScaler(), repeated)), rtol=1e-10)
    assert not np.allclose(scale, scale_like([StandardScaler()], WINE)[0], rtol=1e-3)


@pytest.mark.parametrize("scaler", [MinMaxScaler(), MaxAbsScaler(), RobustScaler()], ids=repr)
def test_a_new_row_of_weight_0_counts_as_absent(scaler):
    X = np.vstack([WINE, 1e6 * WINE[:50]])
    weight = np.repeat([1.0, 0.0], [len(WINE), 50])
    assert_array_equal(scale_like([scaler], X, weight), scale_like([scaler], WINE))
    assert not np.allclose(scale_like([scaler], X)[0], scale_like([scaler], WINE)[0], rtol=1e-3)


def test_a_scaler_that_puts_out_frames_scales_new_columns_too():
    framing = fitted(StandardScaler()).set_output(transform="pandas")
    with sklearn.config_context(transform_output="pandas"):
        got = scale_like([framing, MaxAbsScaler()], WINE)
    assert_array_equal(got, scale_like([StandardScaler(), MaxAbsScaler()], WINE))


def test_without_scalers_or_without_new_columns_nothing_is_scaled():
    scale, shift = scale_like([], WINE)
    assert_array_equal((scale, shift), (np.ones(13), np.zeros(13)))
    scale, shift = scale_like([StandardScaler()], WINE[:, :0])
    assert scale.shape == shift.shape == (0,)
