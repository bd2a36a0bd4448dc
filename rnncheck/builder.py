"""From a Case to a Keras model and its inputs.

Weights and inputs follow one rule: whatever could be zero, equal or constant is not, so that a fault has
something to show itself in. The one exception is `weights="keras"`, the notebook's own initialisers.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncheck.case import POLICIES, Case
from rnncheck.network import Array

# `threshold` has no defaults in Keras, so that its name alone cannot be called.
THRESHOLD = {"threshold": 0.25, "default_value": -0.5}

# Activations that do not limit the state: a smaller recurrent kernel keeps it moderate.
_UNBOUNDED = {
    "celu", "elu", "gelu", "hard_shrink", "hard_silu", "leaky_relu", "linear", "log_sigmoid", "mish", "relu", "relu6",
    "selu", "silu", "soft_shrink", "softplus", "sparse_plus", "squareplus", "swish", "hard_swish", "tanh_shrink",
    "threshold",
}  # fmt: skip
_STEEP = {"exponential", "log_softmax"}


@dataclass(frozen=True)
class Built:
    """A model and what to feed it.

    Attributes:
        case: what was asked for.
        model: the Keras model.
        calls: the inputs of one call, or of several in a row for a stateful model.
    """

    case: Case
    model: Any
    calls: tuple[tuple[Array, ...], ...]


def build(case: Case) -> Built:
    """Build the Keras model of a case, set its weights and make its inputs.

    Args:
        case: what to build.

    Returns:
        The model, its inputs `(N, T, D)`, then the initial state `(N, M)` and the mask `(N, T)` where the case
        has them.
    """
    rng = np.random.default_rng(case.seed)
    model = _model(case)
    if case.weights == "random":
        _set_random_weights(model, case, rng)
    calls = tuple(_inputs(case, rng) for _ in range(2 if case.stateful else 1))
    return Built(case, model, calls)


def _model(case: Case) -> Any:
    import keras

    keras.utils.set_random_seed(case.seed)
    batch = case.N if case.stateful else None
    floats = POLICIES[case.dtype] if not case.dtype.startswith("mixed") else "float32"
    x = keras.Input(batch_shape=(batch, case.T, case.D), dtype=floats, name="inputs")
    inputs, call = [x], {}
    if case.initial_state:
        call["initial_state"] = keras.Input(batch_shape=(batch, case.M), dtype=floats, name="h0")
        inputs.append(call["initial_state"])
    if case.mask != "none":
        call["mask"] = keras.Input(batch_shape=(batch, case.T), dtype="bool", name="mask")
        inputs.append(call["mask"])
    result = _recurrent_layer(case)(x, **call)
    h, *states = result if case.return_state else (result,)
    if case.flatten:
        h = keras.layers.Flatten(name="flatten", dtype=case.dtype)(_without_mask(h))
    dense = keras.layers.Dense(
        case.K,
        activation=_activation(case.dense_activation),
        use_bias=case.use_bias,
        dtype=case.dtype,
        name="dense",
    )
    return keras.Model(inputs, [dense(h), *states], name="rnncheck_case")


def _without_mask(tensor: Any) -> Any:
    """Drop the mask that Flatten would warn about losing."""
    tensor._keras_mask = None
    return tensor


def _recurrent_layer(case: Case) -> Any:
    import keras

    orthogonal = "orthogonal" if case.weights == "keras" else "zeros"  # there is none in bfloat16
    return keras.layers.SimpleRNN(
        case.M,
        activation=_activation(case.activation),
        use_bias=case.use_bias,
        recurrent_initializer=orthogonal,
        return_sequences=case.return_sequences,
        return_state=case.return_state,
        go_backwards=case.go_backwards,
        stateful=case.stateful,
        unroll=case.unroll,
        dropout=case.dropout,
        recurrent_dropout=case.recurrent_dropout,
        zero_output_for_mask=case.zero_output_for_mask,
        dtype=case.dtype,
        name=case.layer,
    )


def _activation(name: str) -> Any:
    import keras

    function = keras.activations.get(name)
    return functools.partial(function, **THRESHOLD) if name == "threshold" else function


def _set_random_weights(model: Any, case: Case, rng: np.random.Generator) -> None:
    """Set every weight: pre-activations of order 1, biases of order 0.3, a recurrent kernel of a given norm."""
    recurrent_scale, input_scale = _scales(case)
    for weight in model.weights:
        name, shape = weight.path.rsplit("/", 1)[-1], tuple(weight.shape)
        if name == "recurrent_kernel":
            value = recurrent_scale * np.linalg.qr(rng.normal(size=shape))[0]
        elif name == "kernel":
            value = input_scale * rng.normal(size=shape) / np.sqrt(shape[0])
        elif name == "bias":
            value = input_scale * rng.uniform(0.1, 0.5, size=shape) * rng.choice([-1.0, 1.0], size=shape)
        else:  # the states that a stateful layer keeps
            continue
        weight.assign(value.astype(np.float32))


def _scales(case: Case) -> tuple[float, float]:
    """Return the norm of the recurrent kernel and the size of everything else."""
    if case.activation in _STEEP:
        recurrent, other = 0.2 / np.sqrt(case.M), 0.3
    elif case.activation in _UNBOUNDED:
        recurrent, other = 0.6, 1.0
    else:
        recurrent, other = 0.9, 1.0
    return (recurrent if case.recurrent_scale is None else case.recurrent_scale), other


def _inputs(case: Case, rng: np.random.Generator) -> tuple[Array, ...]:
    arrays: list[Array] = [rng.normal(size=(case.N, case.T, case.D)).astype(np.float32)]
    if case.initial_state:
        arrays.append(rng.normal(size=(case.N, case.M)).astype(np.float32) * np.float32(0.5))
    if case.mask != "none":
        arrays.append(make_mask(case.mask, case.N, case.T, rng))
    return tuple(arrays)


def make_mask(kind: str, n: int, t_steps: int, rng: np.random.Generator) -> Array:
    """Return which steps count, (N, T) booleans, of one of the kinds in `case.MASKS`."""
    steps = np.arange(t_steps)
    starts, ends = np.zeros((n, 1), int), np.full((n, 1), t_steps)
    if kind in ("left", "both", "mixed"):
        starts = _lengths(n, t_steps, rng)
    if kind in ("right", "both", "mixed"):
        ends = t_steps - _lengths(n, t_steps, rng)
    counts = (steps >= starts) & (steps < ends)
    if kind in ("holes", "mixed"):
        counts &= rng.random((n, t_steps)) > 0.3
        counts[0, min(starts[0, 0], t_steps - 1)] = True  # so that there is something to check
    if kind == "mixed" and n > 1:
        counts[n // 2] = False
    return counts


def _lengths(n: int, t_steps: int, rng: np.random.Generator) -> Array:
    """Return lengths of padding from 1 to a third of the steps, (N, 1), neighbours different where possible."""
    longest = max(1, t_steps // 3)
    return 1 + (rng.integers(longest) + np.arange(n)[:, np.newaxis]) % longest
