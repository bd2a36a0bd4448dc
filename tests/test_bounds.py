"""Numbers whose bounds are left out: the same values and noise, in single precision."""

import numpy as np
import pytest

from rnncheck.equations.activations import exp, log, sigmoid, softplus, sqrt, tanh
from rnncheck.equations.replay import stack
from rnncheck.rounding.precision import PRECISIONS
from rnncheck.rounding.products import Matrix
from rnncheck.rounding.rounded import Bounds, Rounded

every_format = pytest.mark.parametrize("precision", PRECISIONS.values(), ids=PRECISIONS)

OPERATIONS = {
    "+": lambda x, y: x + y,
    "+exact": lambda x, y: x + y.value,
    "exact+": lambda x, y: y.value + x,
    "+row": lambda x, y: x + y.value[0],
    "+number": lambda x, y: x + 0.1,
    "sum_of_three": lambda x, y: x + y + x,
    "-": lambda x, y: x - y,
    "number-": lambda x, y: 1.0 - x,
    "neg": lambda x, y: -x,
    "neg_of_a_sum": lambda x, y: -(x + y),
    "*": lambda x, y: x * y,
    "*exact": lambda x, y: x * y.value,
    "exact*": lambda x, y: y.value * x,
    "*number": lambda x, y: x * 0.1,
    "*sum": lambda x, y: (x + y) * (x + 0.5),
    "/": lambda x, y: x / (y * y + 1.0),
    "/number": lambda x, y: x / 3.0,
    "number/": lambda x, y: 1.0 / (x * x + 1.0),
    "tanh": lambda x, y: tanh(x),
    "sigmoid": lambda x, y: sigmoid(x + y),
    "softplus": lambda x, y: softplus(x),
    "exp": lambda x, y: exp(x),
    "sqrt": lambda x, y: sqrt(x * x + 1.0),
    "log": lambda x, y: log(x * x + 2.0),
    "bend": lambda x, y: x.branch(0.0, 0.0, x),
    "jump": lambda x, y: x.branch(0.25, -1.0, 1.0, jumps=True),
    "sum": lambda x, y: x.sum(),
    "max": lambda x, y: x.max(),
    "sorted_prefix_sums": lambda x, y: x.sorted_prefix_sums(),
    "where": lambda x, y: Rounded.where(np.arange(7)[:, np.newaxis] > 2, x, y),
    "where_exact": lambda x, y: Rounded.where(np.arange(7)[:, np.newaxis] > 2, y.value, x),
    "stack": lambda x, y: stack([x, y.value, y]),
    "getitem": lambda x, y: x[2:, ::2],
    "getitem_of_a_sum": lambda x, y: (x + y)[..., 1:3],
    "reshape": lambda x, y: (x + y).reshape((5, 7)),
    "swapaxes": lambda x, y: x.swapaxes(0, 1),
    "to_finer": lambda x, y: x.to(PRECISIONS["float64"]),
    "to_coarser": lambda x, y: x.to(PRECISIONS["bfloat16"]),
}


def pair(rng, precision, *, disturbed):
    """The same numbers with bounds and without."""
    value = rng.normal(size=(7, 5))
    error = rng.uniform(0.1, 1.0, value.shape) * precision.unit if disturbed else np.zeros(value.shape)
    variance = np.square(error) / 3.0
    narrow = variance if precision.digits > 24 else variance.astype(np.float32)
    return (
        Rounded(value, variance, error, precision),
        Rounded(value, narrow, None, precision, bounds=Bounds.LEFT_OUT),
    )


def assert_same_noise(without, full):
    """The same values and noise, where single precision can tell: other variances are computed anew."""
    assert without.shape == full.shape
    assert without.bound is None
    np.testing.assert_array_equal(without.value, full.value)
    variance, known = (np.broadcast_to(each.variance, each.shape) for each in (without, full))
    told = np.isfinite(variance) & (variance >= 2.0**-100)
    np.testing.assert_allclose(variance[told], known[told], rtol=1e-5)
    assert ((known < 2.0**-99) | (known > 2.0**100))[~told].all()


@pytest.mark.few(152)
@every_format
@pytest.mark.parametrize("disturbed", [True, False], ids=["disturbed", "exact"])
@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_operation_gives_the_noise_that_it_gives_with_bounds(rng, operation, disturbed, precision):
    x, x_without = pair(rng, precision, disturbed=disturbed)
    y, y_without = pair(rng, precision, disturbed=disturbed)

    without, full = operation(x_without, y_without), operation(x, y)

    assert_same_noise(without, full)


SINGLE = [
    "+",
    "+exact",
    "+row",
    "+number",
    "number-",
    "*",
    "*exact",
    "*number",
    "tanh",
    "softplus",
    "bend",
    "to_coarser",
]


@pytest.mark.parametrize("operation", SINGLE)
def test_variances_stay_in_single_precision(rng, operation):
    _, x = pair(rng, PRECISIONS["float32"], disturbed=True)
    _, y = pair(rng, PRECISIONS["float32"], disturbed=True)

    assert OPERATIONS[operation](x, y).variance.dtype == np.float32


SUMS = {
    "product": lambda x, h, w, u, b: x @ w,
    "affine": lambda x, h, w, u, b: x @ w + b,
    "bias_first": lambda x, h, w, u, b: b + x @ w,
    "pre_activation": lambda x, h, w, u, b: (x @ w + b) + h @ u,
    "two_biases": lambda x, h, w, u, b: (x @ w + b) + (h @ u + 2.0 * b),
    "bias_last": lambda x, h, w, u, b: x @ w + h @ u + b,
    "one_bias_twice": lambda x, h, w, u, b: x @ w + b + b,
    "three_products": lambda x, h, w, u, b: x @ w + h @ u + x @ w,
    "plus_number": lambda x, h, w, u, b: x @ w + 1.0,
    "columns": lambda x, h, w, u, b: ((x @ w + b) + h @ u)[..., 2:4],
    "columns_of_each": lambda x, h, w, u, b: (x @ w + b)[..., 2:4] + (h @ u)[..., 2:4],
    "columns_of_the_matrix": lambda x, h, w, u, b: x @ w[:, 1:4] + b[1:4],
    "rows": lambda x, h, w, u, b: (x @ w + b)[:, np.newaxis],
    "reshaped": lambda x, h, w, u, b: (x @ w).reshape((50, 2, -1)) + b[:3],
    "applied": lambda x, h, w, u, b: tanh((x @ w + b) + h @ u),
    "times": lambda x, h, w, u, b: (x @ w + b) * (h @ u),
    "negated": lambda x, h, w, u, b: 1.0 - x @ w,
    "inexact_factor": lambda x, h, w, u, b: tanh(x @ w)[..., :3] @ w + b,
    "inexact_factor_later": lambda x, h, w, u, b: (x @ w + b) + tanh(x @ w)[..., :3] @ w,
    "inexact_factor_columns": lambda x, h, w, u, b: (tanh(x @ w)[..., :3] @ w[:, 1:5] + b[1:5])[..., 1:],
}


@pytest.mark.few(80)
@every_format
@pytest.mark.parametrize("scale", [1e-10, 1.0, 1e10])
@pytest.mark.parametrize("build", SUMS.values(), ids=SUMS)
def test_sum_of_products_has_the_noise_that_it_has_with_bounds(rng, build, scale, precision):
    if precision.name == "float16":  # beyond its range, bounds tell which infinities are sure
        scale = min(scale, 100.0)
    x, h, b = rng.normal(size=(50, 3)), rng.normal(size=(50, 40)), scale * rng.normal(size=6)
    w, u = scale * rng.normal(size=(3, 6)), 0.2 * scale * rng.normal(size=(40, 6))

    with np.errstate(all="ignore"):
        without, full = (
            build(x, h, Matrix(w, precision, bounds), Matrix(u, precision, bounds), b)
            for bounds in (Bounds.LEFT_OUT, Bounds.CARRIED)
        )

    assert_same_noise(without, full)


def test_noise_that_single_precision_does_not_hold_is_infinite_and_not_small():
    precision = PRECISIONS["float32"]
    x = Rounded(np.array([1e30]), np.array([1e20], np.float32), None, precision, bounds=Bounds.LEFT_OUT)

    with np.errstate(all="ignore"):
        assert np.isinf((x + 1.0).variance).all()
        assert not np.isfinite((x * x).variance).any()


def test_square_has_the_noise_of_factors_that_err_together(rng):
    x = Rounded(np.full(5, 3.0), np.full(5, 1e-8), np.full(5, 1e-3), PRECISIONS["float64"])

    actual = np.square(3.0 + 1e-4 * rng.normal(size=100_000)) - 9.0

    np.testing.assert_allclose((x * x).noise, np.std(actual), rtol=0.02)
    np.testing.assert_allclose((x * (x + 0.0)).noise, np.std(actual) / np.sqrt(2.0), rtol=0.02)
