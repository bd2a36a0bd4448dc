"""What Keras computes of an activation lies within the bound of the equations."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from keras.src.activations import ALL_OBJECTS_DICT
from test_activations import BREAKS, FLOAT32, PARAMETERS, assert_within

from rnncheck.cases.case import ALIASES
from rnncheck.equations.activations import ACTIVATIONS, activate
from rnncheck.network import Activation
from rnncheck.rounding.precision import PRECISIONS
from rnncheck.rounding.rounded import Rounded

# Keras computes another function: with two equal units, its sparsemax does not sum to one.
IN_KERAS = [name for name in ACTIVATIONS if name != "sparsemax"]
DTYPES = {name: tf.as_dtype(name).as_numpy_dtype for name in PRECISIONS}
# In float64, Keras takes leaky_relu's slope and gelu's 1/sqrt(2) through float32.
KERAS_COMPUTES = [
    pytest.param(name, precision, id=f"{name}-{precision}")
    for name in IN_KERAS
    for precision in PRECISIONS
    if (name, precision) not in {("leaky_relu", "float64"), ("gelu", "float64")}
]


def by_keras(name, x, **parameters):
    """What Keras makes of an array, eagerly, in the array's own dtype."""
    function = getattr(keras.activations, name)
    result = function(tf.constant(x), **(PARAMETERS.get(name, {}) | parameters))
    return keras.ops.convert_to_numpy(result).astype(np.float64)


def arguments(rng, precision):
    """Rows of four numbers of a format: of many sizes, every break, and its neighbours."""
    dtype = DTYPES[precision]
    sizes = rng.choice([-1.0, 1.0], 4000) * np.exp2(rng.uniform(-40.0, 6.7, 4000))
    ordinary = rng.normal(size=1000) * 3.0
    breaks = np.array(BREAKS).astype(dtype)
    around = [np.nextafter(breaks, dtype(side)) for side in (-100.0, 100.0)]
    every = np.concatenate([part.astype(dtype) for part in (sizes, ordinary, breaks, *around)])
    # TensorFlow takes subnormal numbers for zero, on the way in.
    every[np.abs(every) < ml_dtypes.finfo(dtype).smallest_normal] = 0
    return rng.permutation(every)[: every.size // 4 * 4].reshape(-1, 4)


@pytest.mark.parametrize(("name", "precision"), KERAS_COMPUTES)
def test_keras_lies_within_the_bound_at_exact_arguments(rng, name, precision):
    x = arguments(rng, precision)
    wide = x.astype(np.float64)

    with np.errstate(all="ignore"):
        argument = Rounded(wide, np.zeros(wide.shape), np.zeros(wide.shape), PRECISIONS[precision])
        result = activate(Activation(name, PARAMETERS.get(name, {})), argument)

        assert_within(result, by_keras(name, x), PRECISIONS[precision])


@pytest.mark.parametrize("size", [2.0**-20, 2.0**-8, 0.5], ids=["close", "far", "farther"])
@pytest.mark.parametrize("name", IN_KERAS)
def test_keras_lies_within_the_bound_at_arguments_as_far_off_as_their_bound(rng, name, size):
    x = np.clip(arguments(rng, "float32"), -40.0, 40.0)
    received = (x + size * rng.uniform(-1.0, 1.0, x.shape)).astype(np.float32)
    wide = x.astype(np.float64)
    argument = Rounded(wide, np.zeros(wide.shape), np.abs(received - wide), FLOAT32)

    with np.errstate(all="ignore"):
        result = activate(Activation(name, PARAMETERS.get(name, {})), argument)

        assert_within(result, by_keras(name, received), FLOAT32)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("celu", {"alpha": 0.1}),
        ("celu", {"alpha": 0.3}),
        ("elu", {"alpha": 0.3}),
        ("gelu", {"approximate": True}),
        ("hard_shrink", {"threshold": 0.3}),
        ("leaky_relu", {"negative_slope": 0.01}),
        ("soft_shrink", {"threshold": 0.3}),
        ("squareplus", {"b": 1.3}),
        ("threshold", {"threshold": 0.3, "default_value": 0.1}),
    ],
    ids=lambda part: part if isinstance(part, str) else "-".join(f"{k}={v}" for k, v in part.items()),
)
def test_keras_lies_within_the_bound_with_parameters_that_float32_cannot_hold(rng, name, parameters):
    x = arguments(rng, "float32")
    x[:2, :2] = [[0.3, -0.3], [np.nextafter(np.float32(0.3), np.float32(0)), -0.1]]
    argument = Rounded(x.astype(np.float64), np.zeros(x.shape), np.zeros(x.shape), FLOAT32)

    with np.errstate(all="ignore"):
        result = activate(Activation(name, parameters), argument)

        assert_within(result, by_keras(name, x, **parameters), FLOAT32)


def test_activations_are_those_that_keras_knows_by_name():
    assert set(ACTIVATIONS) == set(ALL_OBJECTS_DICT) - set(ALIASES)
    assert {alias: ALL_OBJECTS_DICT[alias].__name__ for alias in ALIASES} == dict(ALIASES)
