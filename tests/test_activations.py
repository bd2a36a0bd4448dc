"""The activations against scalar formulas written out here, and against their own bounds."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from rnncheck.equations import activations
from rnncheck.equations.activations import ACTIVATIONS, KERAS2_ACTIVATIONS, activate
from rnncheck.equations.normalization import rsqrt
from rnncheck.network import Activation
from rnncheck.rounding.accuracy import ACCURACY
from rnncheck.rounding.precision import PRECISIONS
from rnncheck.rounding.products import Matrix
from rnncheck.rounding.rounded import Bounds, Elementary, Rounded

FLOAT32 = PRECISIONS["float32"]
SCAN = Path(__file__).parents[1] / "experiments" / "results" / "activations.json"

# `threshold` has no defaults.
PARAMETERS = {"threshold": {"threshold": 0.25, "default_value": -0.5}}


@pytest.mark.parametrize("largest", [1e-300, 1e-8, 0.01, 0.3, 1.0, 3.0, 19.0])
def test_tanh_and_sigmoid_are_right_to_four_units_of_roundoff(rng, largest):
    """Against 80-bit arithmetic; the replay's own error is part of what c allows for, 10.4 u and 4.2 u."""
    x = rng.uniform(-largest, largest, 200_000)
    wide = x.astype(np.longdouble)

    for function, exact in ((activations.tanh, np.tanh(wide)), (activations.sigmoid, 1 / (1 + np.exp(-wide)))):
        error = np.abs((function(x) - exact) / exact)
        assert error.max() < 4.0 * 2.0**-53


def test_tanh_and_sigmoid_of_what_is_very_large_small_or_no_number():
    x = np.array([-np.inf, -1e300, -800.0, -1e-320, 0.0, 1e-320, 800.0, 1e300, np.inf, np.nan])

    assert activations.tanh(x).tolist()[:-1] == [-1.0, -1.0, -1.0, -1e-320, 0.0, 1e-320, 1.0, 1.0, 1.0]
    np.testing.assert_allclose(activations.sigmoid(x)[:-1], [0, 0, 0, 0.5, 0.5, 0.5, 1, 1, 1], atol=1e-307)
    assert np.isnan([activations.tanh(x)[-1], activations.sigmoid(x)[-1]]).all()


@pytest.mark.parametrize("shape", [(), (0,), (3, 4), (2, 3, 4)])
def test_tanh_keeps_the_shape_of_any_array(rng, shape):
    x = rng.normal(size=(*shape, 2))[..., 0]

    assert activations.tanh(x).shape == activations.sigmoid(x).shape == shape


def sigmoid(x):
    return 1.0 / (1.0 + math.exp(-x)) if x > -700.0 else 0.0


def log1p_exp(x):
    return x + math.log1p(math.exp(-x)) if x > 0.0 else math.log1p(math.exp(x))


def elu(x, alpha=1.0):
    return x if x > 0.0 else alpha * math.expm1(x)


def celu(x, alpha=1.0):
    return max(x, 0.0) + min(0.0, alpha * math.expm1(min(x, 0.0) / alpha))


def gelu(x, *, approximate=False):
    if approximate:
        return 0.5 * x * (1.0 + math.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1.0 + math.erf(x / math.sqrt(2.0)))


def hard_shrink(x, threshold=0.5):
    return x if abs(x) > threshold else 0.0


def hard_sigmoid(x):
    return min(max(x / 6.0 + 0.5, 0.0), 1.0)


def leaky_relu(x, negative_slope=0.2):
    return x if x >= 0.0 else negative_slope * x


def selu(x):
    scale, alpha = 1.05070098735548049342, 1.67326324235437728482
    return scale * x if x > 0.0 else scale * alpha * math.expm1(x)


def soft_shrink(x, threshold=0.5):
    return math.copysign(max(abs(x) - threshold, 0.0), x)


def sparse_plus(x):
    if x <= -1.0:
        return 0.0
    return x if x >= 1.0 else (x + 1.0) ** 2 / 4.0


def squareplus(x, b=4.0):
    return (x + math.hypot(x, math.sqrt(b))) / 2.0


def tanh(x):
    falling = math.expm1(-2.0 * abs(x))
    return math.copysign(falling / (falling + 2.0), x)


def threshold(x, threshold, default_value):
    return x if x > threshold else default_value


SCALAR = {
    "celu": celu,
    "elu": elu,
    "exponential": math.exp,
    "gelu": gelu,
    "hard_shrink": hard_shrink,
    "hard_sigmoid": hard_sigmoid,
    "hard_silu": lambda x: x * hard_sigmoid(x),
    "hard_tanh": lambda x: max(-1.0, min(1.0, x)),
    "leaky_relu": leaky_relu,
    "linear": lambda x: x,
    "log_sigmoid": lambda x: -log1p_exp(-x),
    "mish": lambda x: x * math.tanh(log1p_exp(x)),
    "relu": lambda x: max(x, 0.0),
    "relu6": lambda x: min(max(x, 0.0), 6.0),
    "selu": selu,
    "sigmoid": sigmoid,
    "silu": lambda x: x * sigmoid(x),
    "soft_shrink": soft_shrink,
    "softplus": log1p_exp,
    "softsign": lambda x: x / (1.0 + abs(x)),
    "sparse_plus": sparse_plus,
    "sparse_sigmoid": lambda x: min(max((x + 1.0) / 2.0, 0.0), 1.0),
    "squareplus": squareplus,
    "tanh": tanh,
    "tanh_shrink": lambda x: x - math.tanh(x),
    "threshold": threshold,
}


def softmax(row):
    powers = [math.exp(x - max(row)) for x in row]
    return [power / math.fsum(powers) for power in powers]


def log_softmax(row):
    return [x - max(row) - math.log(math.fsum(math.exp(y - max(row)) for y in row)) for x in row]


def glu(row):
    half = len(row) // 2
    return [a * sigmoid(b) for a, b in zip(row[:half], row[half:], strict=True)]


def sparsemax(row):
    """By its definition: max(x - τ, 0) with the τ that makes the sum 1, found by halving, exactly."""
    numbers = [Fraction(x) for x in row]
    low, high = min(numbers) - 1, max(numbers)
    for _ in range(100):
        tau = (low + high) / 2
        if sum(max(x - tau, 0) for x in numbers) > 1:
            low = tau
        else:
            high = tau
    return [float(max(x - high, 0)) for x in numbers]


ROWWISE = {"glu": glu, "log_softmax": log_softmax, "softmax": softmax, "sparsemax": sparsemax}

# Zero, both signs, tiny and large, and every place at which one of the functions bends or jumps.
BREAKS = (-3.0, -1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 3.0, 6.0)
ARGUMENTS = sorted(
    {*BREAKS, *(x + side for x in BREAKS for side in (-1e-9, 1e-9))}
    | {sign * x for sign in (-1, 1) for x in (1e-30, 1e-9, 1e-3, 0.1, 0.7, 1.3, 2.5, 4.0, 9.0, 20.0, 88.0, 700.0)}
)
ROWS = {
    "mixed": [0.3, -1.2, 2.0, 0.9],
    "negative": [-3.0, -0.25, -7.5, -1.0],
    "equal": [0.5, 0.5, 0.5, 0.5],
    "far_apart": [40.0, -40.0, 0.0, 39.5],
    "large": [700.0, 699.0, -700.0, 698.5],
    "zeros": [0.0, 0.0, 0.0, 0.0],
    "two_tied": [1.0, 1.0, 0.2, -0.3],
    "at_the_edge_of_the_support": [1.0, 0.0, 0.0, 0.5],
}


def in_float64(name, x, **parameters):
    with np.errstate(over="ignore"):
        return activate(Activation(name, PARAMETERS.get(name, {}) | parameters), np.asarray(x, np.float64))


def test_every_activation_has_a_formula_here():
    assert set(SCALAR) | set(ROWWISE) == set(ACTIVATIONS)


@pytest.mark.parametrize("name", SCALAR)
def test_activation_is_its_formula_for_every_number(name):
    function = partial(SCALAR[name], **PARAMETERS.get(name, {}))

    result = in_float64(name, ARGUMENTS)

    # x - tanh(x) cancels, on both sides.
    expected = [function(x) for x in ARGUMENTS]
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=3e-16)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("celu", {"alpha": 0.3}),
        ("celu", {"alpha": 2.0}),
        ("elu", {"alpha": 0.3}),
        ("gelu", {"approximate": True}),
        ("hard_shrink", {"threshold": 0.7}),
        ("leaky_relu", {"negative_slope": 0.01}),
        ("soft_shrink", {"threshold": 0.7}),
        ("squareplus", {"b": 1.5}),
        ("threshold", {"threshold": 0.7, "default_value": 3.0}),
    ],
    ids=lambda part: part if isinstance(part, str) else "-".join(f"{k}={v}" for k, v in part.items()),
)
def test_activation_with_parameters_is_its_formula(name, parameters):
    result = in_float64(name, ARGUMENTS, **parameters)

    expected = [SCALAR[name](x, **parameters) for x in ARGUMENTS]
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=3e-16)


@pytest.mark.parametrize("x", [-9.0, -2.5, -2.4, 0.0, 0.7, 2.4, 2.5, 9.0])
def test_hard_sigmoid_of_keras_2_is_its_formula(x):
    (result,) = in_float64("hard_sigmoid_keras2", [x])

    assert result == pytest.approx(min(max(0.2 * x + 0.5, 0.0), 1.0), abs=1e-15)
    assert set(KERAS2_ACTIVATIONS) == {"hard_sigmoid_keras2"}


def test_hard_sigmoid_of_keras_2_lies_within_its_bound_in_float32(rng):
    x = rng.uniform(-4.0, 4.0, (2000, 4)).astype(np.float32)
    argument = Rounded(x.astype(np.float64), np.zeros(x.shape), np.zeros(x.shape), FLOAT32)

    result = activate(Activation("hard_sigmoid_keras2"), argument)

    computed = np.clip(x * np.float32(0.2) + np.float32(0.5), np.float32(0), np.float32(1))
    assert_within(result, computed.astype(np.float64), FLOAT32)


@pytest.mark.parametrize("name", ROWWISE)
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_activation_over_the_units_is_its_formula_for_every_row(name, row):
    others = ROWS["mixed"]

    result = in_float64(name, [[row, others], [others, row]])

    expected, beside = ROWWISE[name](row), ROWWISE[name](others)
    np.testing.assert_allclose(result, [[expected, beside], [beside, expected]], rtol=1e-12, atol=3e-16)


@pytest.mark.parametrize("name", ["softmax", "sparsemax"])
def test_activation_that_is_a_distribution_sums_to_one(rng, name):
    x = rng.normal(size=(50, 7)) * np.exp2(rng.uniform(-4.0, 6.0, (50, 1)))

    result = in_float64(name, x)

    assert (result >= 0.0).all()
    np.testing.assert_allclose(result.sum(axis=-1), 1.0, rtol=1e-12)


def test_log_softmax_is_the_logarithm_of_softmax(rng):
    x = rng.normal(size=(50, 7))

    np.testing.assert_allclose(np.exp(in_float64("log_softmax", x)), in_float64("softmax", x), rtol=1e-12)


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_sparsemax_is_the_nearest_distribution(rng, row):
    others = rng.dirichlet(np.ones(4), size=500)

    result = in_float64("sparsemax", row)

    distance = np.linalg.norm(result - row)
    assert (distance <= np.linalg.norm(others - row, axis=-1) * (1.0 + 1e-12)).all()
    assert (distance <= np.linalg.norm(np.eye(4) - row, axis=-1) * (1.0 + 1e-12)).all()


def assert_within(result, actual, precision):
    keep = np.isfinite(actual) & (np.abs(result.value) < precision.largest)
    beyond = keep & ~(np.abs(actual - result.value) <= result.bound)
    assert keep.mean() > 0.5
    assert not beyond.any(), (actual[beyond][:5], result.value[beyond][:5])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_bound_of_an_activation_is_useful(rng, name):
    x = rng.normal(size=(200, 4))
    argument = Rounded(x, np.zeros(x.shape), np.full(x.shape, 1e-7), FLOAT32)

    result = activate(Activation(name, PARAMETERS.get(name, {})), argument)

    assert np.quantile(np.broadcast_to(result.bound, result.shape), 0.9) < 2e-5
    assert np.quantile(result.noise, 0.9) < 3e-6


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_value_of_an_activation_does_not_depend_on_what_is_carried(rng, name):
    x = rng.normal(size=(50, 4))
    activation = Activation(name, PARAMETERS.get(name, {}))
    bounded = x @ Matrix(np.eye(4), FLOAT32)
    unbounded = x @ Matrix(np.eye(4), FLOAT32, Bounds.FREE)

    with_bound, without = activate(activation, bounded), activate(activation, unbounded)

    plain = activate(activation, x)
    np.testing.assert_allclose(with_bound.value, plain, rtol=1e-15, atol=1e-15)
    np.testing.assert_array_equal(without.value, with_bound.value)
    assert with_bound.bound is not None
    assert without.bound is None
    assert without.noise.shape == plain.shape


def test_sparsemax_within_its_bound_for_every_float32_evaluation(rng):
    x = rng.normal(size=(300, 6)).astype(np.float32)
    argument = Rounded(x.astype(np.float64), np.zeros(x.shape), np.zeros(x.shape), FLOAT32)

    result = activations.sparsemax(argument)

    ordered = -np.sort(-x, axis=-1)
    counts = np.arange(1, 7, dtype=np.float32)
    tau = np.max((np.cumsum(ordered, axis=-1, dtype=np.float32) - np.float32(1)) / counts, axis=-1, keepdims=True)
    assert_within(result, np.maximum(x - tau, np.float32(0)).astype(np.float64), FLOAT32)


JUMPS = [
    pytest.param("threshold", {"threshold": 0.25, "default_value": -0.5}, 0.25, (-0.5, 0.25), id="threshold"),
    pytest.param("hard_shrink", {}, 0.5, (0.0, 0.5), id="hard_shrink_above"),
    pytest.param("hard_shrink", {}, -0.5, (-0.5, 0.0), id="hard_shrink_below"),
]


@pytest.mark.parametrize(("name", "parameters", "at", "sides"), JUMPS)
@pytest.mark.parametrize("offset", [-1.0, -0.5, 0.0, 0.5, 1.0])
def test_jump_within_the_arguments_bound_accepts_both_sides(name, parameters, at, sides, offset):
    error = 2.0**-20
    argument = Rounded(np.array([[at + offset * error]]), np.array([[error**2 / 3.0]]), np.array([[error]]), FLOAT32)

    result = activate(Activation(name, parameters), argument)

    for side in sides:
        assert abs(side - result.value[0, 0]) <= result.bound[0, 0]
        assert abs(side - result.value[0, 0]) <= 1.01 * result.noise[0, 0]


@pytest.mark.parametrize(("name", "parameters", "at", "sides"), JUMPS)
@pytest.mark.parametrize("offset", [-1.1, 1.1])
def test_jump_beyond_the_arguments_bound_accepts_one_side(name, parameters, at, sides, offset):
    error = 2.0**-20
    argument = Rounded(np.array([[at + offset * error]]), np.array([[error**2 / 3.0]]), np.array([[error]]), FLOAT32)

    result = activate(Activation(name, parameters), argument)

    accepted = [abs(side - result.value[0, 0]) <= result.bound[0, 0] + 2.0 * error for side in sides]
    assert accepted == [offset < 0.0, offset > 0.0]


@pytest.mark.parametrize("name", [name for name in SCALAR if name not in {"threshold", "hard_shrink"}])
def test_bend_does_not_widen_the_bound(name):
    error = 1e-6
    x = np.repeat(np.array(BREAKS)[:, np.newaxis], 4, axis=1)
    argument = Rounded(x, np.full(x.shape, error**2 / 3.0), np.full(x.shape, error), FLOAT32)

    result = activate(Activation(name), argument)

    slope = max(1.0, float(np.exp(6.0))) if name == "exponential" else 2.6
    assert (
        np.broadcast_to(result.bound, x.shape) <= slope * error * 2.0 + 12.0 * 2.0**-24 * (np.abs(x) + slope)
    ).all()


def test_bend_does_not_widen_the_noise():
    argument = Rounded(np.array([[-3e-6, -1e-7, 1e-7, 3e-6]]), np.full((1, 4), 1e-12), np.full((1, 4), 1e-5), FLOAT32)

    assert activate(Activation("relu"), argument).variance.tolist() == [[1e-12] * 4]


ELEMENTARY = {name: value for name, value in vars(activations).items() if type(value) is Elementary}
FUNCTIONS = {**ELEMENTARY, "rsqrt": rsqrt}  # which no activation needs
POSITIVE = ("log", "sqrt", "rsqrt")
every_elementary = pytest.mark.parametrize("name", ELEMENTARY)
every_function = pytest.mark.parametrize("name", FUNCTIONS)


def places(rng, name):
    """Arguments within the function's domain."""
    if name in POSITIVE:
        return np.exp2(rng.uniform(-10.0, 6.0, 400))
    return np.concatenate([rng.normal(size=300) * 2.0, rng.uniform(-12.0, 12.0, 100), [0.0]])


def derivative(function, v, step=1e-3):
    """f' by central differences, with the step and half of it, extrapolated; step relative where v is small."""

    def central(h):
        return (function.evaluate(v + h) - function.evaluate(v - h)) / (2.0 * h)

    h = np.minimum(step, np.abs(v) * step) if function.name in POSITIVE else np.full(v.shape, step)
    return (4.0 * central(h / 2.0) - central(h)) / 3.0


def test_elementary_functions_are_those_with_an_accuracy():
    assert {function.name for function in ELEMENTARY.values()} == set(ACCURACY)
    assert all(name == function.name for name, function in ELEMENTARY.items())
    assert all(ELEMENTARY[name].accuracy is ACCURACY[name] for name in ELEMENTARY)
    assert all(set(constants) == set(PRECISIONS) for constants in ACCURACY.values())


@every_function
def test_elementary_function_is_that_of_the_math_module(rng, name):
    own = {"sigmoid": sigmoid, "softplus": log1p_exp, "rsqrt": lambda x: 1.0 / math.sqrt(x)}
    function = own.get(name) or getattr(math, name)
    v = places(rng, name)

    result = FUNCTIONS[name].evaluate(v)

    np.testing.assert_allclose(result, [function(x) for x in v], rtol=1e-14)


@every_function
def test_slope_is_the_derivative(rng, name):
    function, v = FUNCTIONS[name], places(rng, name)

    slope = function.slope(v, function.evaluate(v))

    np.testing.assert_allclose(slope, derivative(function, v), rtol=1e-8, atol=1e-10)


@every_function
@pytest.mark.parametrize("size", [0.0, 1e-6, 0.01, 0.3, 3.0])
def test_steepest_is_at_least_every_slope_within_the_error(rng, name, size):
    function, v = FUNCTIONS[name], places(rng, name)
    e = size * rng.uniform(0.5, 1.0, v.shape)
    if name in POSITIVE:
        e = np.minimum(e, 0.999 * v)

    limit = function.steepest(v, function.slope(v, function.evaluate(v)), e)

    for share in np.linspace(-1.0, 1.0, 201):
        near = v + share * e
        slope = np.abs(function.slope(near, function.evaluate(near)))
        assert (slope <= limit * (1.0 + 1e-9) + 1e-15).all()


@every_function
def test_steepest_without_an_error_is_the_slope(rng, name):
    function, v = FUNCTIONS[name], places(rng, name)
    slope = function.slope(v, function.evaluate(v))

    limit = function.steepest(v, slope, np.zeros(v.shape))

    np.testing.assert_allclose(limit, np.abs(slope), rtol=1e-12, atol=1e-300)


@every_function
def test_steepest_is_hardly_above_the_slopes_within_a_small_error(rng, name):
    function, v = FUNCTIONS[name], places(rng, name)
    e = 1e-3 * (v if name in POSITIVE else np.ones(v.shape))
    slope = function.slope(v, function.evaluate(v))

    limit = function.steepest(v, slope, e)

    # The curvature of each of them is at most 1.01 wherever its slope is not larger.
    assert (limit <= np.abs(slope) * 1.002 + 1.01e-3).all()


@pytest.mark.parametrize(
    ("name", "largest"), [("tanh", 1.0), ("sigmoid", 0.25), ("softplus", 1.0), ("erf", 2.0 / math.sqrt(math.pi))]
)
def test_steepest_is_never_above_the_largest_slope_of_all(rng, name, largest):
    function, v = FUNCTIONS[name], places(rng, name)

    limit = function.steepest(v, function.slope(v, function.evaluate(v)), np.full(v.shape, 1e6))

    np.testing.assert_allclose(limit, largest, rtol=1e-12)


@pytest.mark.parametrize("name", POSITIVE)
def test_steepest_is_infinite_where_the_error_reaches_zero(name):
    function, v = FUNCTIONS[name], np.array([0.5])

    with np.errstate(divide="ignore"):
        limit = function.steepest(v, function.slope(v, function.evaluate(v)), np.array([0.5]))

    assert np.isinf(limit).all()


def scanned():
    """Every function, format and implementation that was scanned, with what was seen."""
    result = json.loads(SCAN.read_text())["elementary"]
    return {
        (name, precision): list(implementations.values())
        for name, precisions in result.items()
        for precision, implementations in precisions.items()
    }


def test_every_accuracy_was_scanned():
    assert set(scanned()) == {(name, precision) for name in ACCURACY for precision in PRECISIONS}


@pytest.mark.parametrize("precision", PRECISIONS)
@every_elementary
def test_accuracy_covers_what_the_scan_saw(name, precision):
    worst, typical = ACCURACY[name][precision]

    seen = scanned()[name, precision]

    assert worst >= max(implementation["worst"] for implementation in seen)
    assert typical >= max(implementation["typical"] for implementation in seen)
    assert worst >= typical >= 0.57


@pytest.mark.parametrize("precision", PRECISIONS)
@every_elementary
def test_accuracy_is_hardly_looser_than_what_the_scan_saw(name, precision):
    worst, typical = ACCURACY[name][precision]

    seen = scanned()[name, precision]

    assert worst <= 1.4 * max(implementation["worst"] for implementation in seen) + 0.1
    assert typical <= max(0.59, 1.05 * max(implementation["typical"] for implementation in seen))


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "softplus"])
def test_steepest_slope_nearby_is_not_much_above_the_true_one(name):
    """Somewhere the limit of a smooth function's slope is tight: where the slope changes most."""
    function, e = getattr(activations, name), 1e-3
    v = np.linspace(-4.0, 4.0, 8001)
    slope = np.abs(function.slope(v, function.evaluate(v)))
    around = v + np.linspace(-e, e, 41)[:, np.newaxis]
    largest = np.abs(function.slope(around, function.evaluate(around))).max(axis=0)
    changes = largest - slope > 0.01 * e

    excess = (function.steepest(v, slope, e) - slope)[changes] / (largest - slope)[changes]

    assert 0.99 < excess.min() < 1.01
