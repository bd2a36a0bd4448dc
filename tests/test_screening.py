"""The first look against `Rounded`: the same values and noise, and a bound that is at least the exact one."""

import numpy as np
import pytest

from rnncheck.equations.activations import exp, log, sigmoid, softplus, sqrt, tanh
from rnncheck.rounding.estimates import Screened, ScreeningMatrix
from rnncheck.rounding.precision import PRECISIONS
from rnncheck.rounding.products import Matrix
from rnncheck.rounding.rounded import Rounded

FORMATS = [PRECISIONS[name] for name in ("float32", "float16", "bfloat16")]
every_format = pytest.mark.parametrize("precision", FORMATS, ids=lambda precision: precision.name)

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
    "stack": lambda x, y: Rounded.stack([x, y.value, y]),
    "getitem": lambda x, y: x[2:, ::2],
    "getitem_of_a_sum": lambda x, y: (x + y)[..., 1:3],
    "reshape": lambda x, y: (x + y).reshape((5, 7)),
    "swapaxes": lambda x, y: x.swapaxes(0, 1),
    "to_finer": lambda x, y: x.to(PRECISIONS["float64"]),
    "to_coarser": lambda x, y: x.to(PRECISIONS["bfloat16"]),
}

# How near a bend or a jump is depends on the bound, and so does what may be there.
NEAR = (OPERATIONS["bend"], OPERATIONS["jump"])


def pair(rng, precision, *, disturbed=True):
    """The same numbers for both arithmetics."""
    value = rng.normal(size=(7, 5))
    error = rng.uniform(0.1, 1.0, value.shape) * precision.unit if disturbed else np.zeros(value.shape)
    variance = np.square(error) / 3.0
    full = Rounded(value, variance, error, precision)
    return full, Screened(value, variance.astype(np.float32), float(error.max()), precision)


def variances(*results):
    return [np.broadcast_to(each.variance, each.shape) for each in results]


@every_format
@pytest.mark.parametrize("disturbed", [True, False], ids=["disturbed", "exact"])
@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_operation_gives_what_rounded_gives_with_one_bound_for_all(rng, operation, disturbed, precision):
    x, screened_x = pair(rng, precision, disturbed=disturbed)
    y, screened_y = pair(rng, precision, disturbed=disturbed)

    with np.errstate(invalid="ignore"):
        screened, full = operation(screened_x, screened_y), operation(x, y)

    assert screened.shape == full.shape
    np.testing.assert_allclose(screened.value, full.value, rtol=1e-13, atol=1e-15)
    assert np.all(screened.bound >= full.bound)
    if operation in NEAR:
        assert np.greater_equal(*variances(1.0001 * screened, full)).all()
    else:
        np.testing.assert_allclose(*variances(screened, full), rtol=1e-4, atol=1e-30)
    if isinstance(screened, Screened):
        assert np.ndim(screened.bound) == 0


@pytest.mark.parametrize("distance", [0.5, 2.0])
def test_bend_is_near_when_the_one_bound_reaches_it(distance):
    precision = PRECISIONS["float32"]
    value, variance = np.array([[distance * 1e-3, 5.0]]), np.array([[1e-8, 1e-8]])

    bent = Screened(value, variance.astype(np.float32), 1e-3, precision).branch(0.0, 0.0, 1.0, jumps=True)

    assert bent.value.tolist() == [[1.0, 1.0]]
    assert (bent.bound >= 1.0) == (distance < 1.0)
    assert bent.variance.tolist() == [[1.0 if distance < 1.0 else 0.0, 0.0]]


# --- sums of products ---

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
# What is not linear in the noise has another mean.
ROUGH = [SUMS[name] for name in SUMS if name in {"applied", "times"} or name.startswith("inexact")]


@every_format
@pytest.mark.parametrize("build", SUMS.values(), ids=SUMS)
def test_sum_of_products_has_the_value_the_mean_noise_and_at_least_the_bound_of_rounded(rng, build, precision):
    x, h, b = rng.normal(size=(50, 3)), rng.normal(size=(50, 40)), rng.normal(size=6)
    w, u = rng.normal(size=(3, 6)), 0.2 * rng.normal(size=(40, 6))

    screened, full = (
        build(x, h, *(kind(k, precision, bounded=True) for k in (w, u)), b) for kind in (ScreeningMatrix, Matrix)
    )

    assert screened.shape == full.shape
    assert screened.roundings == full.roundings
    np.testing.assert_allclose(screened.value, full.value, rtol=1e-12, atol=1e-14)
    assert np.all(screened.bound >= full.bound)
    means = (each.variance.mean(axis=0) for each in (screened, full))
    np.testing.assert_allclose(*means, rtol=0.3 if build in ROUGH else 1e-4)


@every_format
def test_sum_of_one_term_has_the_exact_noise_of_each_number(rng, precision):
    x, w, b = rng.normal(size=(50, 1)), rng.normal(size=(1, 6)), rng.normal(size=6)

    screened, full = (x @ kind(w, precision, bounded=True) + b for kind in (ScreeningMatrix, Matrix))

    np.testing.assert_allclose(screened.variance, full.variance, rtol=1e-4)


@pytest.mark.parametrize("share", [1.0 + 1e-7, 1.0 - 1e-4, 1.5, 1e-3])
def test_bias_that_cancels_a_product_leaves_the_noise_of_the_product(share):
    precision = PRECISIONS["float32"]
    x, w = np.full((5, 1), 3.0), np.array([[2.0]])

    screened, full = (x @ kind(w, precision, bounded=True) - 6.0 * share for kind in (ScreeningMatrix, Matrix))
    added, full_added = (
        x @ kind(w, precision, bounded=True) + np.array([-6.0 * share]) for kind in (ScreeningMatrix, Matrix)
    )

    np.testing.assert_allclose(screened.variance, full.variance, rtol=1e-4)
    np.testing.assert_allclose(added.variance, full_added.variance, rtol=1e-4)


def test_rows_of_zeros_beside_large_ones_have_no_noise_of_their_own():
    precision = PRECISIONS["float32"]
    x = np.array([[0.0, 0.0], [100.0, 50.0]])

    result = x @ ScreeningMatrix(np.ones((2, 3)), precision, bounded=True)

    assert (result.variance[0] == 0.0).all()
    assert (result.variance[1] > 0.0).all()


def test_sum_is_computed_once(rng):
    total = rng.normal(size=(5, 3)) @ ScreeningMatrix(rng.normal(size=(3, 2)), PRECISIONS["float32"], bounded=True)

    assert total.value is total.value
    assert total.closed is total.closed


def test_unknown_bound_stays_unknown_in_a_product_with_zero():
    precision = PRECISIONS["float32"]
    nothing = Screened(np.zeros((2, 3)), 0.0, 0.0, precision)
    unknown = Screened(np.ones((2, 3)), np.ones((2, 3), np.float32), np.inf, precision)

    assert np.isinf((nothing * unknown).bound)
    assert np.isinf((unknown * nothing).bound)
    assert np.isinf(Screened(np.ones(2), 0.0, np.nan, precision).bound)


@pytest.mark.parametrize("function", [tanh, sigmoid, exp], ids=lambda function: function.name)
def test_slope_as_a_polynomial_of_the_value_is_the_slope(function):
    v = np.linspace(-6.0, 6.0, 25)
    f = function.evaluate(v)

    polynomial = np.polynomial.polynomial.polyval(f, function.slope_by_value)

    np.testing.assert_allclose(polynomial, function.slope(v, f), rtol=1e-12, atol=1e-15)
    assert (np.abs(f) <= function.largest).all()
