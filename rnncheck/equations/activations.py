"""The activations, in textbook form, over plain arrays and `Rounded` alike.

`ACTIVATIONS` holds every activation that Keras knows by name. Each is a function of the pre-activation x, whose
last axis is the units, and takes parameters by keyword. To add one, write and decorate it:

    @activation
    def relu(x): ...

Source: the definitions of Keras 3.15, keras.activations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rnncheck.equations.operands import X, max_over, piecewise, sum_over
from rnncheck.network import Activation, Array
from rnncheck.rounding.accuracy import ACCURACY, SATURATED
from rnncheck.rounding.rounded import Elementary, Rounded

# Source: Klambauer et al., Self-Normalizing Neural Networks, NIPS 2017: a fixed point at mean 0 and variance 1.
_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SCALE = 1.0507009873554804934193349852946


def _sigmoid(v: Array) -> Array:
    # 1/(1 + exp(-v)), in place. exp of more than 709.78 overflows; from 708 on the result is right to less than
    # `Precision.underflow` of float64 all the same.
    result: Array = np.negative(v, out=np.empty_like(v))
    np.minimum(result, 708.0, out=result)
    np.exp(result, out=result)
    result += 1.0
    np.reciprocal(result, out=result)
    return result


def _softplus(v: Array) -> Array:
    # log(1 + exp(v)), without overflow.
    return np.maximum(v, 0.0) + np.log1p(np.exp(-np.abs(v)))


def _within(largest: float, curvature: float) -> Callable[[Array, Any, Any], Any]:
    # The `steepest` of a function with |f'| <= largest and |f''| <= curvature everywhere.
    return lambda v, slope, e: np.minimum(np.maximum(slope + curvature * e, 0.0), largest)  # np.clip is slow


# NumPy has no erf.
_erf = np.frompyfunc(math.erf, 1, 1)


def _rule(name: str, **parts: Any) -> Elementary:
    # A function that implementations compute as one, with an error of its own.
    return Elementary(name, accuracy=ACCURACY[name], **parts)


tanh = _rule(
    "tanh",
    evaluate=np.tanh,
    slope=lambda v, f: np.subtract(1.0, square := np.square(f), out=square),
    steepest=_within(1.0, 4.0 / math.sqrt(27.0)),
    largest=1.0,
)

sigmoid = _rule(
    "sigmoid",
    evaluate=_sigmoid,
    slope=lambda v, f: np.multiply(rest := 1.0 - f, f, out=rest),
    steepest=_within(0.25, 1.0 / math.sqrt(108.0)),
    least=0.4,  # an implementation may compute (1 + tanh(x/2))/2
    largest=1.0,
)

# An implementation may compute softplus and expm1 as they stand, log(1 + exp(x)) and exp(x) - 1: hence their offset.
softplus = _rule(
    "softplus", evaluate=_softplus, slope=lambda v, f: _sigmoid(v), steepest=_within(1.0, 0.25), offset=1.0
)

erf = _rule(
    "erf",
    evaluate=lambda v: np.asarray(_erf(v), np.float64),
    slope=lambda v, f: 2.0 / math.sqrt(math.pi) * np.exp(-np.square(v)),
    steepest=_within(2.0 / math.sqrt(math.pi), math.sqrt(8.0 / (math.pi * math.e))),
)

# The slopes of these are largest at one end of [v - e, v + e].
exp = _rule("exp", evaluate=np.exp, slope=lambda v, f: f, steepest=lambda v, slope, e: np.exp(v + e))

expm1 = _rule(
    "expm1", evaluate=np.expm1, slope=lambda v, f: np.exp(v), steepest=lambda v, slope, e: np.exp(v + e), offset=1.0
)

log = _rule(
    "log", evaluate=np.log, slope=lambda v, f: 1.0 / v, steepest=lambda v, slope, e: 1.0 / np.maximum(v - e, 0.0)
)

sqrt = _rule(
    "sqrt",
    evaluate=np.sqrt,
    slope=lambda v, f: 0.5 / f,
    steepest=lambda v, slope, e: 0.5 / np.sqrt(np.maximum(v - e, 0.0)),
)

# By Keras' name, which is the function's.
ACTIVATIONS: dict[str, Callable[..., X]] = {each.name: each for each in (sigmoid, softplus, tanh)}


def activation(function: Callable[..., X]) -> Callable[..., X]:
    """Register a function as the activation of its name."""
    ACTIVATIONS[function.__name__] = function
    return function


def _clip(x: X, low: float, high: float) -> X:
    return piecewise(x, low, low, piecewise(x, high, x, high))


@activation
def relu(x: X) -> X:
    """max(x, 0)."""
    return piecewise(x, 0.0, 0.0, x)


@activation
def leaky_relu(x: X, *, negative_slope: float = 0.2) -> X:
    """x where x > 0, else negative_slope·x."""
    return piecewise(x, 0.0, x * negative_slope, x)


@activation
def relu6(x: X) -> X:
    """min(max(x, 0), 6)."""
    return _clip(x, 0.0, 6.0)


@activation
def elu(x: X, *, alpha: float = 1.0) -> X:
    """x where x > 0, else alpha·(exp(x) - 1)."""
    return piecewise(x, 0.0, expm1(x) * alpha, x)


@activation
def celu(x: X, *, alpha: float = 1.0) -> X:
    """max(x, 0) + alpha·(exp(min(x, 0)/alpha) - 1)."""
    return piecewise(x, 0.0, expm1(x / alpha) * alpha, x)


@activation
def selu(x: X) -> X:
    """scale·elu(x, alpha), with the two constants of self-normalising networks."""
    return piecewise(x, 0.0, expm1(x) * (_SELU_SCALE * _SELU_ALPHA), x * _SELU_SCALE)


@activation
def softsign(x: X) -> X:
    """x/(1 + |x|)."""
    return x / (piecewise(x, 0.0, -x, x) + 1.0)


@activation
def squareplus(x: X, *, b: float = 4.0) -> X:
    """(x + sqrt(x² + b))/2."""
    return (x + sqrt(x * x + b)) * 0.5


@activation
def soft_shrink(x: X, *, threshold: float = 0.5) -> X:
    """x - threshold above it, x + threshold below minus it, 0 between."""
    return piecewise(x, threshold, piecewise(x, -threshold, x + threshold, 0.0), x - threshold)


@activation
def hard_shrink(x: X, *, threshold: float = 0.5) -> X:
    """x where |x| > threshold, else 0; it jumps."""
    return piecewise(x, threshold, piecewise(-x, threshold, 0.0, x, jumps=True), x, jumps=True)


@activation
def tanh_shrink(x: X) -> X:
    """x - tanh(x)."""
    return x - tanh(x)


@activation
def threshold(x: X, *, threshold: float, default_value: float) -> X:
    """x where x > threshold, else default_value; it jumps."""
    return piecewise(x, threshold, default_value, x, jumps=True)


@activation
def sparse_plus(x: X) -> X:
    """0 up to -1, (x + 1)²/4 up to 1, x above."""
    return piecewise(x, 1.0, piecewise(x, -1.0, 0.0, (x + 1.0) * (x + 1.0) * 0.25), x)


@activation
def sparse_sigmoid(x: X) -> X:
    """0 up to -1, (x + 1)/2 up to 1, 1 above."""
    return piecewise(x, 1.0, piecewise(x, -1.0, 0.0, (x + 1.0) * 0.5), 1.0)


@activation
def hard_sigmoid(x: X) -> X:
    """min(max(x + 3, 0), 6)/6, the Keras 3 definition."""
    return _clip(x + 3.0, 0.0, 6.0) / 6.0


def hard_sigmoid_keras2(x: X) -> X:
    """min(max(0.2·x + 0.5, 0), 1), the Keras 2 definition.

    Source: Keras 2.15, keras.backend.hard_sigmoid.
    """
    return _clip(x * 0.2 + 0.5, 0.0, 1.0)


def hard_sigmoid_onnx(x: X, *, alpha: float, beta: float) -> X:
    """min(max(alpha·x + beta, 0), 1), the definition of ONNX."""
    return _clip(x * alpha + beta, 0.0, 1.0)


def thresholded_relu(x: X, *, threshold: float) -> X:
    """x where x > threshold, else 0, as ONNX has it; it jumps."""
    return piecewise(x, threshold, 0.0, x, jumps=True)


def affine(x: X, *, alpha: float, beta: float) -> X:
    """alpha·x + beta, as ONNX has it."""
    return x * alpha + beta


def scaled_tanh(x: X, *, alpha: float, beta: float) -> X:
    """alpha·tanh(beta·x), as ONNX has it, and ONNX Runtime computes it."""
    return tanh_by_sigmoid(x * beta) * alpha


def tanh_by_sigmoid(x: X) -> X:
    """2·sigmoid(2x) - 1, as which ONNX Runtime computes tanh in a simple RNN.

    Source: ONNX Runtime, rnn_activation_functors.h.
    """
    return sigmoid(x * 2.0) * 2.0 - 1.0


def softsign_by_reciprocal(x: X) -> X:
    """x·(1/(1 + |x|)), as which ONNX Runtime computes softsign outside of recurrent nodes."""
    return x * (1.0 / (piecewise(x, 0.0, -x, x) + 1.0))


def tanh_in_gru(x: X) -> X:
    """tanh(x), as exact as ONNX Runtime is in a GRU."""
    return _TANH_IN_GRU(x)


def sigmoid_in_gru(x: X) -> X:
    """1/(1 + exp(-x)), as exact as ONNX Runtime is in a GRU."""
    return _SIGMOID_IN_GRU(x)


class _HeldNearItsLimits(Elementary):
    """A function that stays at a number which it does not reach, from where it is so close to its limits on."""

    def size(self, value: Array) -> Array:
        """Return what errors are in proportion to, in place of the function's value."""
        held = is_held(self.name, value)  # before the value is overwritten
        return super().size(value) * np.where(held, SATURATED[self.name], 1.0)


def is_held(name: str, value: Array) -> Array:
    """Whether a function is so close to its limits that ONNX Runtime's GRU holds it, at 9 for tanh."""
    lower = -1.0 if name == "tanh" else 0.0
    held: Array = np.minimum(value - lower, 1.0 - value) < 3e-8
    return held


_TANH_IN_GRU, _SIGMOID_IN_GRU = (_HeldNearItsLimits(**vars(each)) for each in (tanh, sigmoid))


@activation
def hard_silu(x: X) -> X:
    """x·hard_sigmoid(x)."""
    return x * hard_sigmoid(x)


@activation
def hard_tanh(x: X) -> X:
    """min(max(x, -1), 1)."""
    return _clip(x, -1.0, 1.0)


@activation
def silu(x: X) -> X:
    """x·sigmoid(x)."""
    return x * sigmoid(x)


@activation
def gelu(x: X, *, approximate: bool = False) -> X:
    """x·(1 + erf(x/√2))/2, or its tanh approximation."""
    if approximate:
        return x * 0.5 * (tanh((x + x * x * x * 0.044715) * math.sqrt(2.0 / math.pi)) + 1.0)
    return x * 0.5 * (erf(x * math.sqrt(0.5)) + 1.0)


@activation
def glu(x: X) -> X:
    """a·sigmoid(b) for the first half a and the second half b of the units."""
    half = x.shape[-1] // 2
    return x[..., :half] * sigmoid(x[..., half:])


@activation
def mish(x: X) -> X:
    """x·tanh(softplus(x))."""
    return x * tanh(softplus(x))


@activation
def exponential(x: X) -> X:
    """exp(x)."""
    return exp(x)


@activation
def linear(x: X) -> X:
    """x."""
    return x


@activation
def log_sigmoid(x: X) -> X:
    """-softplus(-x)."""
    return -softplus(-x)


@activation
def softmax(x: X) -> X:
    """exp(x - max x)/Σ exp(x - max x), over the units."""
    powers = exp(x - max_over(x, -1))
    return powers / sum_over(powers, -1)


@activation
def log_softmax(x: X) -> X:
    """(x - max x) - log Σ exp(x - max x), over the units."""
    shifted = x - max_over(x, -1)
    return shifted - log(sum_over(exp(shifted), -1))


@activation
def sparsemax(x: X) -> X:
    """max(x - τ, 0), with τ the largest of ((sum of the k largest x) - 1)/k, over the units.

    Source: Martins and Astudillo, From Softmax to Sparsemax, ICML 2016, algorithm 1; the support is the k at which
    the quotient is largest.
    """
    sums = x.sorted_prefix_sums() if isinstance(x, Rounded) else np.cumsum(-np.sort(-x, axis=-1), axis=-1)
    counts = np.arange(1, x.shape[-1] + 1, dtype=np.float64)
    return relu(x - max_over((sums - 1.0) / counts, -1))


# Those that compute a unit's number from other units too.
ACROSS_UNITS = frozenset({"glu", "softmax", "log_softmax", "sparsemax"})

# What files of Keras 2 mean by a name that has another meaning today; the reader gives these names.
KERAS2_ACTIVATIONS: Mapping[str, Callable[..., X]] = {"hard_sigmoid_keras2": hard_sigmoid_keras2}

# Those of ONNX that Keras does not have.
#
# Source: ONNX, operators RNN-22, HardSigmoid-22 and ThresholdedRelu-22.
ONNX_ACTIVATIONS: Mapping[str, Callable[..., X]] = {
    each.__name__: each for each in (hard_sigmoid_onnx, thresholded_relu, affine, scaled_tanh)
}

KNOWN = {**ACTIVATIONS, **KERAS2_ACTIVATIONS, **ONNX_ACTIVATIONS}


def activate(activation: Activation, x: X) -> X:
    """Apply an activation by its name and parameters, shapes (..., M) -> (..., M)."""
    return (activation.function or KNOWN[activation.name])(x, **activation.parameters)
