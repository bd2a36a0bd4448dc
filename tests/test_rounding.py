"""`Rounded` against exact arithmetic: fractions, and evaluations in every format, order and way of rounding."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from itertools import permutations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnncheck.equations.activations import sigmoid, tanh
from rnncheck.equations.replay import stack
from rnncheck.rounding.precision import PRECISIONS
from rnncheck.rounding.products import Matrix, OrderedMatrix
from rnncheck.rounding.rounded import REACH, Bounds, Elementary, Rounded

DTYPES = {
    "float64": np.dtype(np.float64),
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}
COARSE = ("float32", "float16", "bfloat16")
FLOAT32 = PRECISIONS["float32"]

every_format = pytest.mark.parametrize("name", DTYPES)
every_coarse_format = pytest.mark.parametrize("name", COARSE)
every_matrix = pytest.mark.parametrize("kind", [Matrix, OrderedMatrix])


# --- exact arithmetic ---


def fractions(array):
    """The exact values of an array's numbers."""
    return np.vectorize(Fraction, otypes=[object])(np.asarray(array, np.float64))


def round_once(number: Fraction, dtype: np.dtype) -> float:
    """Round a fraction to nearest, ties to even, by the definition: a whole number of quanta."""
    if number == 0:
        return 0.0
    limits = ml_dtypes.finfo(dtype)
    exponent = abs(number.numerator).bit_length() - number.denominator.bit_length()
    exponent -= abs(number) < Fraction(2) ** exponent
    quantum = Fraction(2) ** (max(exponent, limits.minexp) - limits.nmant)
    return float(round(number / quantum) * quantum)


# --- evaluations as an implementation may make them ---


@dataclass(frozen=True)
class Machine:
    """Arithmetic that rounds once per operation, and perhaps flushes results near zero to zero."""

    name: str
    flushing: bool = False

    @property
    def dtype(self):
        return DTYPES[self.name]

    @property
    def precision(self):
        return PRECISIONS[self.name]

    def keep(self, result):
        assert result.dtype == self.dtype
        if not self.flushing:
            return result
        tiny = np.abs(result) < ml_dtypes.finfo(self.dtype).smallest_normal
        return np.where(tiny, self.dtype.type(0), result)

    def add(self, a, b):
        return self.keep(a + b)

    def multiply(self, a, b):
        return self.keep(a * b)

    def divide(self, a, b):
        return self.keep(a / b)

    def fused(self, a, b, c):
        """a·b + c with one rounding."""
        sums = fractions(a) * fractions(b) + fractions(c)
        return self.keep(np.vectorize(round_once, otypes=[np.float64])(sums, self.dtype).astype(self.dtype))


@dataclass(frozen=True)
class Computed:
    """Numbers that a machine computes, spelled with the operators that `Rounded` has."""

    array: np.ndarray
    machine: Machine

    def _of(self, operand):
        return operand.array if isinstance(operand, Computed) else self.machine.dtype.type(operand)

    def __add__(self, other):
        return Computed(self.machine.add(self.array, self._of(other)), self.machine)

    def __sub__(self, other):
        return Computed(self.machine.add(self.array, -self._of(other)), self.machine)

    def __rsub__(self, other):
        return Computed(self.machine.add(-self.array, self._of(other)), self.machine)

    def __mul__(self, other):
        return Computed(self.machine.multiply(self.array, self._of(other)), self.machine)

    def __truediv__(self, other):
        return Computed(self.machine.divide(self.array, self._of(other)), self.machine)

    def __rtruediv__(self, other):
        return Computed(self.machine.divide(self._of(other), self.array), self.machine)

    def __neg__(self):
        return Computed(-self.array, self.machine)

    __radd__ = __add__
    __rmul__ = __mul__


def forward(machine, terms, rng):
    del rng
    return reduce(machine.add, terms)


def backward(machine, terms, rng):
    del rng
    return reduce(machine.add, terms[::-1])


def shuffled(machine, terms, rng):
    return reduce(machine.add, rng.permutation(terms, axis=0))


def pairwise(machine, terms, rng):
    half = len(terms) // 2
    if half == 0:
        return terms[0]
    return machine.add(pairwise(machine, terms[:half], rng), pairwise(machine, terms[half:], rng))


def blocked(machine, terms, rng):
    """As a vector unit does: four lanes, added up at the end."""
    del rng
    return reduce(machine.add, [reduce(machine.add, terms[lane::4]) for lane in range(min(4, len(terms)))])


def random_tree(machine, terms, rng):
    """Any two of what is left, until one is left."""
    left = list(terms)
    while len(left) > 1:
        a = left.pop(rng.integers(len(left)))
        b = left.pop(rng.integers(len(left)))
        left.append(machine.add(a, b))
    return left[0]


def rising(machine, terms, rng):
    order = np.argsort(np.abs(terms), axis=0)
    return forward(machine, np.take_along_axis(terms, order, axis=0), rng)


def falling(machine, terms, rng):
    order = np.argsort(np.abs(terms), axis=0)[::-1]
    return forward(machine, np.take_along_axis(terms, order, axis=0), rng)


def negative_first(machine, terms, rng):
    return forward(machine, np.sort(terms, axis=0), rng)


ORDERS = (forward, backward, shuffled, pairwise, blocked, random_tree, rising, falling, negative_first)
every_order = pytest.mark.parametrize("order", ORDERS, ids=lambda order: order.__name__)


def products(machine, a, w):
    """The terms of a @ w, (n, R, M)."""
    return machine.multiply(a.T[:, :, np.newaxis], w[:, np.newaxis, :])


def fused_dot(machine, a, w, start):
    """start + a @ w, each product added to what is there with one rounding."""
    result = start
    for column, row in zip(a.T, w, strict=True):
        result = machine.fused(column[:, np.newaxis], row[np.newaxis], result)
    return result


# --- numbers ---


def numbers(rng, name, shape, scale=1.0):
    """Numbers of a format, of both signs and of many sizes around `scale`."""
    sizes = np.exp2(rng.uniform(-3.0, 3.0, shape)) * scale
    return (rng.choice([-1.0, 1.0], shape) * sizes).astype(DTYPES[name])


def exact(array, name):
    value = np.asarray(array, np.float64)
    return Rounded(value, np.zeros(value.shape), np.zeros(value.shape), PRECISIONS[name])


def inexact(array, received, name):
    """The numbers of an array of which an implementation has received others: as far off as the bound says."""
    value = np.asarray(array, np.float64)
    error = np.abs(np.asarray(received, np.float64) - value)
    return Rounded(value, np.square(error) / 3.0, error, PRECISIONS[name])


def free(value, variance, precision):
    """Numbers whose errors run freely."""
    return Rounded(value, variance, None, precision, bounds=Bounds.FREE)


def disturb(rng, array, share):
    """The same numbers, each off by up to a share of itself."""
    wide = array.astype(np.float64)
    return (wide + wide * rng.uniform(-share, share, array.shape)).astype(array.dtype)


SHARES = {"exact": 0.0, "nearly_exact": 2.0**-6, "disturbed": 2.0**-3}
every_disturbance = pytest.mark.parametrize("share", SHARES.values(), ids=SHARES)


def assert_within(result, actual, reference=None):
    """|actual - value| and |actual - reference| are at most the bound, for each number, exactly."""
    bound = fractions(np.broadcast_to(result.bound, result.shape))
    actual = fractions(actual)
    assert actual.shape == result.shape
    assert (abs(actual - fractions(result.value)) <= bound).all()
    if reference is not None:
        assert (abs(actual - reference) <= bound).all()


def largest_use(result, actual):
    """The largest share of the bound that a difference takes."""
    return np.max(np.abs(np.asarray(actual, np.float64) - result.value) / result.bound)


def rms_score(result, actual):
    score = (np.asarray(actual, np.float64) - result.value) / result.noise
    return np.sqrt(np.mean(np.square(score)))


# --- the tests' own arithmetic ---


@pytest.mark.parametrize("name", ["float32", "float16", "bfloat16", "float64"])
def test_round_once_is_the_formats_own_rounding(rng, name):
    a, b = numbers(rng, name, 300), numbers(rng, name, 300)
    machine = Machine(name)

    fused = machine.fused(a, b, np.zeros_like(a))
    added = machine.fused(a, np.ones_like(a), b)

    np.testing.assert_array_equal(fused, a * b)
    np.testing.assert_array_equal(added, a + b)


# --- one rounding per operation: expressions ---

# x, y and the function that makes a constant; y stays away from zero.
EXPRESSIONS = {
    "x+y": lambda x, y, c: x + y,
    "x-y": lambda x, y, c: x - y,
    "-x": lambda x, y, c: -x,
    "-(x+y)": lambda x, y, c: -(x + y),
    "x*y": lambda x, y, c: x * y,
    "x/y": lambda x, y, c: x / y,
    "x+0.1": lambda x, y, c: x + c(0.1),
    "0.1+x": lambda x, y, c: c(0.1) + x,
    "x-0.1": lambda x, y, c: x - c(0.1),
    "0.1-x": lambda x, y, c: c(0.1) - x,
    "x*0.1": lambda x, y, c: x * c(0.1),
    "0.1*x": lambda x, y, c: c(0.1) * x,
    "x*3": lambda x, y, c: x * c(3),
    "x/0.1": lambda x, y, c: x / c(0.1),
    "x/6": lambda x, y, c: x / c(6),
    "0.1/y": lambda x, y, c: c(0.1) / y,
    "1/y": lambda x, y, c: c(1) / y,
    "(x+y)*x": lambda x, y, c: (x + y) * x,
    "(x+y)/y": lambda x, y, c: (x + y) / y,
    "x/(y*y+1)": lambda x, y, c: x / (y * y + c(1)),
    "(x+y)-(x*y)": lambda x, y, c: (x + y) - (x * y),
    "x*y-y*x": lambda x, y, c: x * y - y * x,
    "x*x*x*0.044715+x": lambda x, y, c: x * x * x * c(0.044715) + x,
    "((x-y)*0.3+y)/(y*y+2)-x": lambda x, y, c: ((x - y) * c(0.3) + y) / (y * y + c(2)) - x,
}


@pytest.mark.few(96)
@every_format
@every_disturbance
@pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_bound_holds_for_an_expression(rng, expression, share, name):
    x, y = numbers(rng, name, 60), numbers(rng, name, 60)
    received_x, received_y = disturb(rng, x, share), disturb(rng, y, share)
    machine = Machine(name)

    result = expression(inexact(x, received_x, name), inexact(y, received_y, name), lambda c: c)
    actual = expression(Computed(received_x, machine), Computed(received_y, machine), lambda c: c)
    reference = expression(fractions(x), fractions(y), Fraction)

    assert_within(result, actual.array, reference)
    assert_within(result, expression(Computed(x, machine), Computed(y, machine), lambda c: c).array, reference)


@every_format
@pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_noise_is_never_below_a_tenth_of_the_typical_difference(rng, expression, name):
    x, y = numbers(rng, name, 2000), numbers(rng, name, 2000)
    machine = Machine(name)

    result = expression(exact(x, name), exact(y, name), lambda c: c)
    actual = expression(Computed(x, machine), Computed(y, machine), lambda c: c)

    assert rms_score(result, actual.array) < 1.3


@every_format
@pytest.mark.parametrize("operation", ["x+y", "x-y", "x*y", "x/y", "1/y", "x*3"])
def test_bound_of_one_operation_on_exact_numbers_is_one_rounding(rng, operation, name):
    x, y = numbers(rng, name, 100), numbers(rng, name, 100)
    precision = PRECISIONS[name]

    result = EXPRESSIONS[operation](exact(x, name), exact(y, name), lambda c: c)

    np.testing.assert_allclose(
        result.bound, precision.unit * np.abs(result.value), rtol=1e-9, atol=precision.underflow
    )


@every_coarse_format
@pytest.mark.parametrize("operation", ["x+y", "x*y", "x/y"])
def test_bound_of_one_operation_is_nearly_attained(rng, operation, name):
    x, y = numbers(rng, name, 40000), numbers(rng, name, 40000)
    machine, evaluate = Machine(name), EXPRESSIONS[operation]

    result = evaluate(exact(x, name), exact(y, name), lambda c: c)
    result.error = np.maximum(result.bound - PRECISIONS[name].underflow, 1e-300)
    result.roundings = 0

    assert largest_use(result, evaluate(Computed(x, machine), Computed(y, machine), lambda c: c).array) > 0.95


@every_format
@pytest.mark.parametrize("operation", ["x+y", "x-y", "x*y", "x/y"])
@pytest.mark.parametrize("sign_x", [-1, 1], ids=["x_below", "x_above"])
@pytest.mark.parametrize("sign_y", [-1, 1], ids=["y_below", "y_above"])
def test_bound_reaches_every_corner_of_the_operands_errors(rng, operation, sign_x, sign_y, name):
    x, y = numbers(rng, name, 50), numbers(rng, name, 50)
    error_x, error_y = np.exp2(rng.uniform(-9, -3, (2, 50)))
    error_y *= np.abs(y.astype(np.float64))
    precision, evaluate = PRECISIONS[name], EXPRESSIONS[operation]

    a = Rounded(x.astype(np.float64), 0.0, error_x, precision)
    b = Rounded(y.astype(np.float64), 0.0, error_y, precision)
    result = evaluate(a, b, lambda c: c)
    corner = evaluate(
        fractions(x) + sign_x * fractions(error_x), fractions(y) + sign_y * fractions(error_y), Fraction
    )

    # The rounding of the corner itself: one more relative error of u.
    distance = abs(corner - fractions(result.value)) + abs(corner) * Fraction(1, 2**precision.digits)
    assert (distance <= fractions(result.bound)).all()


@every_format
@pytest.mark.parametrize("operation", ["x+y", "x-y", "x*y", "x/y"])
def test_bound_is_hardly_larger_than_the_worst_corner(rng, operation, name):
    x, y = numbers(rng, name, 50), numbers(rng, name, 50)
    error_x, error_y = np.exp2(rng.uniform(-6, -3, (2, 50)))
    error_y *= np.abs(y.astype(np.float64))
    precision, evaluate = PRECISIONS[name], EXPRESSIONS[operation]

    a = Rounded(x.astype(np.float64), 0.0, error_x, precision)
    b = Rounded(y.astype(np.float64), 0.0, error_y, precision)
    result = evaluate(a, b, lambda c: c)
    corners = [
        evaluate(x.astype(np.float64) + i * error_x, y.astype(np.float64) + j * error_y, float)
        for i in (-1, 1)
        for j in (-1, 1)
    ]

    worst = np.max(np.abs(np.array(corners) - result.value), axis=0)
    rounding = precision.unit * (np.abs(result.value) + worst) + precision.underflow
    assert (result.bound <= 1.001 * (worst + rounding)).all()


CONSTANTS = {
    "a_tenth": 0.1,
    "a_third": 1.0 / 3.0,
    "pi": 3.141592653589793,
    "just_below_a_tie": 1.0 + 0.999 * 2.0**-24,
    "just_above_a_tie": 1.0 + 1.001 * 2.0**-24,
    "just_below_a_tie_of_float16": 1.0 + 0.999 * 2.0**-11,
    "just_above_a_tie_of_bfloat16": 1.0 + 1.001 * 2.0**-8,
    "seven": 7,
    "forty_nine": 49.0,
    "minus_a_half": -0.5,
}
every_constant = pytest.mark.parametrize("constant", CONSTANTS.values(), ids=CONSTANTS)


@pytest.mark.few(40)
@every_format
@every_constant
@pytest.mark.parametrize("operation", ["+", "-", "*"])
def test_bound_covers_a_constant_that_the_format_cannot_hold(rng, operation, constant, name):
    x = numbers(rng, name, 400, scale=0.125 if operation != "*" else 1.0)
    machine = Machine(name)
    apply = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b}[operation]

    result = apply(exact(x, name), constant)

    assert_within(result, apply(Computed(x, machine), constant).array, apply(fractions(x), Fraction(constant)))


@pytest.mark.few(20)
@every_format
@every_constant
def test_bound_of_division_by_a_constant_covers_the_rounded_reciprocal(rng, constant, name):
    x = numbers(rng, name, 400)
    machine = Machine(name)

    result = exact(x, name) / constant

    reference = fractions(x) / Fraction(constant)
    assert_within(result, (Computed(x, machine) / constant).array, reference)
    assert_within(result, (Computed(x, machine) * (1.0 / constant)).array, reference)


@every_coarse_format
def test_constant_that_the_format_holds_is_exact(rng, name):
    x = numbers(rng, name, 50)

    result = exact(x, name) * 0.25

    np.testing.assert_allclose(
        result.bound,
        PRECISIONS[name].unit * np.abs(result.value),
        rtol=1e-9,
        atol=PRECISIONS[name].underflow,
    )


@every_coarse_format
def test_constant_array_is_exact(rng, name):
    x, weights = numbers(rng, name, (5, 3)), numbers(rng, name, 3)

    product = exact(x, name) * weights.astype(np.float64)
    mirrored = weights.astype(np.float64) * exact(x, name)
    total = weights.astype(np.float64) + exact(x, name)

    assert_within(product, x * weights, fractions(x) * fractions(weights))
    assert_within(total, x + weights, fractions(x) + fractions(weights))
    np.testing.assert_array_equal(product.bound, mirrored.bound)
    assert (product.bound <= 1.01 * PRECISIONS[name].unit * np.abs(product.value) + PRECISIONS[name].underflow).all()


@settings(derandomize=True, deadline=None, database=None, max_examples=400)
@given(
    a=st.floats(width=32, allow_nan=False, allow_infinity=False),
    b=st.floats(width=32, allow_nan=False, allow_infinity=False),
    operation=st.sampled_from(["x+y", "x-y", "x*y", "x/y"]),
)
def test_bound_holds_over_the_whole_range_of_float32(a, b, operation):
    b = b if operation != "x/y" or b else 1.0
    x, y = np.array([a], np.float32), np.array([b], np.float32)
    evaluate = EXPRESSIONS[operation]
    reference = evaluate(Fraction(a), Fraction(b), Fraction)

    with np.errstate(over="ignore", under="ignore"):
        actual = evaluate(Computed(x, Machine("float32")), Computed(y, Machine("float32")), lambda c: c).array

    result = evaluate(exact(x, "float32"), exact(y, "float32"), lambda c: c)
    if np.isfinite(actual).all():
        assert_within(result, actual, reference)
    else:
        assert abs(reference) + Fraction(float(result.bound[0])) > Fraction(FLOAT32.largest)


@every_format
@pytest.mark.parametrize("flushing", [False, True], ids=["gradual_underflow", "flushing_to_zero"])
@pytest.mark.parametrize("operation", ["x*y", "x/y"])
def test_bound_covers_underflow(rng, operation, flushing, name):
    smallest = float(ml_dtypes.finfo(DTYPES[name]).smallest_normal)
    x = numbers(rng, name, 300, scale=np.sqrt(smallest))
    y = numbers(rng, name, 300, scale=np.sqrt(smallest) if operation == "x*y" else 1.0 / np.sqrt(smallest))
    machine, evaluate = Machine(name, flushing=flushing), EXPRESSIONS[operation]

    with np.errstate(under="ignore", over="ignore"):
        result = evaluate(exact(x, name), exact(y, name), lambda c: c)
        actual = evaluate(Computed(x, machine), Computed(y, machine), lambda c: c).array

    assert (np.abs(result.value) < smallest).any()
    assert_within(result, actual, evaluate(fractions(x), fractions(y), Fraction))


# --- sums ---


def trees(items):
    """Every way to add items up by `+`, left to right in every order, and in pairs."""
    for order in permutations(items):
        yield reduce(lambda a, b: a + b, order)
        if len(order) == 4:
            yield (order[0] + order[1]) + (order[2] + order[3])
            yield order[0] + (order[1] + (order[2] + order[3]))


@pytest.mark.few(18)
@every_format
@every_disturbance
@pytest.mark.parametrize("terms", [2, 3, 4])
def test_bound_of_a_sum_holds_for_every_order_whatever_the_order_it_was_written_in(rng, terms, share, name):
    arrays = [numbers(rng, name, 6) for _ in range(terms)]
    received = [disturb(rng, array, share) for array in arrays]
    rounded = [inexact(array, seen, name) for array, seen in zip(arrays, received, strict=True)]
    reference = sum(fractions(array) for array in arrays)

    computed = [tree.array for tree in trees([Computed(array, Machine(name)) for array in received])]
    evaluations = np.unique(np.array(computed, np.float64), axis=0)

    for result in trees(rounded):
        for actual in evaluations:
            assert_within(result, actual, reference)


@every_format
@every_order
def test_bound_of_a_long_sum_holds_in_every_order(rng, order, name):
    arrays = np.stack([numbers(rng, name, 40) for _ in range(12)])

    result = reduce(lambda a, b: a + b, [exact(array, name) for array in arrays])

    assert_within(result, order(Machine(name), arrays, rng), fractions(arrays).sum(axis=0))


def absorbed(name, terms):
    """1, u, u, ...: added from the left, each u is a tie that goes back to 1."""
    return np.array([1.0] + [2.0 ** -PRECISIONS[name].digits] * (terms - 1)).astype(DTYPES[name])


@every_coarse_format
@pytest.mark.parametrize("terms", [2, 3, 4, 7])
def test_bound_of_a_sum_is_nearly_attained_when_small_terms_are_absorbed(rng, terms, name):
    numbers_ = absorbed(name, terms)[:, np.newaxis]

    result = reduce(lambda a, b: a + b, [exact(number, name) for number in numbers_])
    actual = forward(Machine(name), numbers_, rng)

    assert actual == 1.0
    assert_within(result, actual, fractions(numbers_).sum(axis=0))
    assert largest_use(result, actual) > 0.9


def rounded_up(name, terms):
    """1 and numbers just above u: added from the left, each one adds 2u."""
    unit = 2.0 ** -PRECISIONS[name].digits
    return np.array([1.0] + [1.02 * unit] * (terms - 1)).astype(DTYPES[name])


@every_coarse_format
@pytest.mark.parametrize("operation", ["+", "sum", "@"])
def test_bound_of_a_sum_of_nothing_but_errors_covers_their_rounding(rng, operation, name):
    received = rounded_up(name, 6)
    zeros = Rounded(np.zeros((1, 6)), np.zeros((1, 6)), received.astype(np.float64)[np.newaxis], PRECISIONS[name])

    result = {
        "+": lambda: reduce(lambda a, b: a + b, [zeros[:, i : i + 1] for i in range(6)]),
        "sum": zeros.sum,
        "@": lambda: zeros @ Matrix(np.ones((6, 1)), PRECISIONS[name]),
    }[operation]()
    actual = forward(Machine(name), received[:, np.newaxis, np.newaxis], rng)

    assert actual[0, 0].astype(np.float64) > received.astype(np.float64).sum()
    assert_within(result, actual)


@every_coarse_format
@pytest.mark.parametrize("left", [1, 2, 3])
def test_bound_of_two_open_sums_allows_any_order_across_them(rng, left, name):
    numbers_ = absorbed(name, 6)[:, np.newaxis]
    rounded = [exact(number, name) for number in numbers_]

    first, second = (reduce(lambda a, b: a + b, part) for part in (rounded[:left], rounded[left:]))

    actual = forward(Machine(name), numbers_, rng)
    assert_within(first + second, actual)
    assert_within(second + first, actual)


def test_sum_is_closed_by_what_is_not_a_sum(rng):
    x, y, z = (exact(numbers(rng, "float32", 5), "float32") for _ in range(3))

    opened = x + y + z
    closed = [-opened, opened * 1.0, opened.to(FLOAT32), opened / y]

    assert opened.roundings == 2
    assert all(result.roundings == 0 and result.magnitude is None for result in closed)
    np.testing.assert_array_equal((-opened).bound, opened.bound)


def test_sum_whose_numbers_are_moved_stays_open(rng):
    numbers_ = numbers(rng, "float32", (3, 5))
    x, y, z = (exact(terms, "float32") for terms in numbers_)

    moved = (x + y)[::-1] + z

    actual = numbers_[0, ::-1] + (numbers_[1, ::-1] + numbers_[2])
    assert moved.roundings == 2
    assert_within(moved, actual, fractions(numbers_[0, ::-1]) + fractions(numbers_[1, ::-1]) + fractions(numbers_[2]))


@every_format
@every_order
@pytest.mark.parametrize("axis", [0, 1, (0, 2), (0, 1, 2)], ids=str)
def test_bound_of_the_sum_over_any_axes_holds_in_every_order(rng, axis, order, name):
    x = numbers(rng, name, (3, 4, 5))
    received = disturb(rng, x, 2.0**-7)
    axes = (axis,) if isinstance(axis, int) else axis
    result = inexact(x, received, name).sum(axis)

    terms = np.moveaxis(received, axes, range(len(axes))).reshape(-1, *np.squeeze(result.value, axes).shape)
    actual = np.expand_dims(order(Machine(name), terms, rng), axes)

    assert_within(result, actual, fractions(x).sum(axis=axes, keepdims=True))


@every_coarse_format
def test_noise_of_the_sum_over_any_axes_is_typical(rng, name):
    x = numbers(rng, name, (12, 400, 7))

    result = exact(x, name).sum((0, 2))
    terms = np.moveaxis(x, 1, 2).reshape(-1, 400)
    actual = shuffled(Machine(name), terms, rng)[np.newaxis, :, np.newaxis]

    assert 0.5 < rms_score(result, actual) < 1.5


@pytest.mark.few(48)
@every_format
@pytest.mark.parametrize("n", [1, 2, 5, 13])
@every_order
def test_bound_of_the_sum_over_units_holds_in_every_order(rng, order, n, name):
    x = numbers(rng, name, (8, n))
    received = disturb(rng, x, 2.0**-7)

    actual = order(Machine(name), received.T, rng)[:, np.newaxis]
    undisturbed = order(Machine(name), x.T, rng)[:, np.newaxis]

    reference = fractions(x).sum(axis=-1, keepdims=True)
    assert_within(inexact(x, received, name).sum(), actual, reference)
    assert_within(exact(x, name).sum(), undisturbed, reference)


@every_coarse_format
@pytest.mark.parametrize("n", [2, 3, 8])
def test_bound_of_the_sum_over_units_is_nearly_attained(rng, n, name):
    x = absorbed(name, n)

    result = exact(x, name).sum()
    actual = forward(Machine(name), x[:, np.newaxis], rng)

    assert_within(result, actual)
    assert largest_use(result, actual) > 0.9


def test_sum_of_one_unit_rounds_nothing():
    result = exact(np.array([[0.5], [3.0]]), "float32").sum()

    assert result.bound.tolist() == [[0.0], [0.0]]
    assert np.broadcast_to(result.variance, (2, 1)).tolist() == [[0.0], [0.0]]


# --- dot products ---


@pytest.mark.few(48)
@every_matrix
@every_format
@pytest.mark.parametrize("flushing", [False, True], ids=["", "flushing"])
@every_order
def test_bound_of_a_dot_product_holds_in_every_order(rng, order, flushing, name, kind):
    machine = Machine(name, flushing=flushing)
    a, w = numbers(rng, name, (5, 9)), numbers(rng, name, (9, 4))

    result = a.astype(np.float64) @ kind(w.astype(np.float64), machine.precision)

    reference = fractions(a) @ fractions(w)
    for _ in range(3):
        assert_within(result, order(machine, products(machine, a, w), rng), reference)


@every_matrix
@every_format
@every_order
def test_bound_of_a_dot_product_of_inexact_numbers_holds_in_every_order(rng, order, name, kind):
    machine = Machine(name)
    a, w = numbers(rng, name, (5, 9)), numbers(rng, name, (9, 4))
    received = disturb(rng, a, 2.0**-5)

    result = inexact(a, received, name) @ kind(w.astype(np.float64), machine.precision)

    assert_within(result, order(machine, products(machine, received, w), rng), fractions(a) @ fractions(w))


@every_matrix
@every_format
@pytest.mark.parametrize("n", [1, 2, 6])
def test_bound_of_a_dot_product_holds_with_fused_multiply_add(rng, n, name, kind):
    machine = Machine(name)
    a, w = numbers(rng, name, (5, n)), numbers(rng, name, (n, 4))

    result = a.astype(np.float64) @ kind(w.astype(np.float64), machine.precision)

    reference = fractions(a) @ fractions(w)
    for order in (np.arange(n), np.arange(n)[::-1], rng.permutation(n)):
        start = np.zeros((5, 4), machine.dtype)
        assert_within(result, fused_dot(machine, a[:, order], w[order], start), reference)


def nearly_a_tie(rng, name):
    """Numbers a, w whose product lies just below 1 + u, and is rounded down to 1."""
    dtype, unit = DTYPES[name], 2.0 ** -PRECISIONS[name].digits
    a = rng.uniform(1.0, 2.0, 20000).astype(dtype)
    w = ((1.0 + unit) / a.astype(np.float64)).astype(dtype)
    lost = a.astype(np.float64) * w.astype(np.float64) - 1.0
    place = np.where(lost < unit, lost, 0.0).argmax()
    assert lost[place] > 0.5 * unit
    return a[place], w[place]


@every_coarse_format
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_bound_of_a_dot_product_is_nearly_attained(rng, n, name):
    machine = Machine(name)
    a, w = (np.concatenate([[first], np.ones(n - 1)]) for first in nearly_a_tie(rng, name))
    a[1:] = 2.0**-machine.precision.digits
    a, w = a.astype(machine.dtype)[np.newaxis], w.astype(machine.dtype)[:, np.newaxis]

    result = a.astype(np.float64) @ Matrix(w.astype(np.float64), machine.precision)
    actual = forward(machine, products(machine, a, w), rng)

    assert actual == 1.0
    assert_within(result, actual, fractions(a) @ fractions(w))
    # In float16 the bound has a share for underflow, in bfloat16 one for truncation, neither of which occurs here.
    share = n / (n + machine.precision.truncates_products)
    assert largest_use(result, actual) > (0.8 if name != "float16" else 0.5) * share


@every_matrix
@pytest.mark.parametrize("n", [1, 2, 9])
def test_bfloat16_product_whose_last_digits_are_cut_off_is_within_the_bound(rng, n, kind):
    """As TensorFlow computes it on processors without instructions for bfloat16: summed in float32, then cut off."""
    precision = PRECISIONS["bfloat16"]
    a, w = (precision.round(rng.normal(size=shape)) for shape in ((4000, n), (n, 5)))

    result = a @ kind(w, precision)
    cut_off = ((a @ w).astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)

    assert_within(result, cut_off.astype(np.float64))
    assert n > 1 or largest_use(result, cut_off.astype(np.float64)) > 0.9
    scores = np.abs(cut_off - result.value) / result.noise
    assert scores.max() < 5.0
    assert {1: 0.6, 2: 0.55, 9: 0.4}[n] < np.sqrt(np.mean(scores**2)) < 1.05  # noise 1.25 times too large fails


@every_matrix
@every_coarse_format
@pytest.mark.parametrize("flushing", [False, True], ids=["gradual_underflow", "flushing_to_zero"])
@every_order
def test_bound_of_a_dot_product_covers_underflow(rng, order, flushing, name, kind):
    machine = Machine(name, flushing=flushing)
    smallest = float(ml_dtypes.finfo(machine.dtype).smallest_normal)
    a, w = numbers(rng, name, (4, 6), scale=smallest / 4.0), numbers(rng, name, (6, 3))
    a = a * (np.abs(a) >= smallest)

    with np.errstate(under="ignore"):
        result = a.astype(np.float64) @ kind(w.astype(np.float64), machine.precision)
        actual = order(machine, products(machine, a, w), rng)

    assert_within(result, actual, fractions(a) @ fractions(w))


def pre_activation(x, h, w, u, b):
    """As the SimpleRNN's equation writes it."""
    return (x @ w + b) + h @ u


def affine_terms(machine, x, h, w, u, b):
    """The terms of x·w + h·u + b, those of both products in one list, (D + M + 1, R, M)."""
    bias = np.broadcast_to(b, (1, len(x), len(b)))
    return np.concatenate([products(machine, x, w), products(machine, h, u), bias])


@pytest.mark.few(48)
@every_matrix
@every_format
@pytest.mark.parametrize("flushing", [False, True], ids=["", "flushing"])
@every_order
def test_bound_of_a_pre_activation_holds_with_both_products_interleaved(rng, order, flushing, name, kind):
    machine = Machine(name, flushing=flushing)
    x, h, w, u, b = (numbers(rng, name, shape) for shape in ((6, 3), (6, 4), (3, 4), (4, 4), 4))
    kernel, recurrent = (kind(k.astype(np.float64), machine.precision) for k in (w, u))

    result = pre_activation(x.astype(np.float64), h.astype(np.float64), kernel, recurrent, b.astype(np.float64))
    terms = affine_terms(machine, x, h, w, u, b)

    reference = pre_activation(*map(fractions, (x, h, w, u, b)))
    for _ in range(4):
        assert_within(result, order(machine, terms, rng), reference)
        assert_within(result, order(machine, rng.permutation(terms), rng), reference)


@every_matrix
@every_format
def test_bound_of_a_pre_activation_holds_with_fused_multiply_add_across_both_products(rng, name, kind):
    machine = Machine(name)
    x, h, w, u, b = (numbers(rng, name, shape) for shape in ((3, 3), (3, 4), (3, 4), (4, 4), 4))
    kernel, recurrent = (kind(k.astype(np.float64), machine.precision) for k in (w, u))
    both, stacked = np.concatenate([x, h], axis=1), np.concatenate([w, u])

    result = pre_activation(x.astype(np.float64), h.astype(np.float64), kernel, recurrent, b.astype(np.float64))

    reference = pre_activation(*map(fractions, (x, h, w, u, b)))
    for _ in range(4):
        order = rng.permutation(7)
        actual = fused_dot(machine, both[:, order], stacked[order], np.broadcast_to(b, (3, 4)))
        assert_within(result, actual, reference)


@every_coarse_format
@pytest.mark.parametrize("place", [0, 3, 7], ids=["in_x", "in_h", "in_the_bias"])
def test_bound_of_a_pre_activation_covers_every_small_term_absorbed_by_one_of_another_product(rng, place, name):
    machine = Machine(name)
    unit = 2.0**-machine.precision.digits
    terms = np.full(8, unit)
    terms[place] = 1.0
    x, h, b = terms[np.newaxis, :3], terms[np.newaxis, 3:7], terms[7:]
    w, u = np.ones((3, 1)), np.ones((4, 1))

    kernel, recurrent = (Matrix(k, machine.precision) for k in (w, u))
    result = pre_activation(x, h, kernel, recurrent, b)
    actual = falling(machine, affine_terms(machine, *(k.astype(machine.dtype) for k in (x, h, w, u, b))), rng)

    assert actual.tolist() == [[1.0]]
    assert_within(result, actual)


@every_matrix
@every_format
def test_bound_of_a_dot_product_reaches_every_corner_of_the_operands_errors(rng, name, kind):
    precision = PRECISIONS[name]
    value, error = rng.normal(size=(6, 5)), np.exp2(rng.uniform(-8, -3, (6, 5)))
    w = rng.normal(size=(5, 3))

    result = Rounded(value, np.zeros(value.shape), error, precision) @ kind(w, precision)
    farthest = fractions(np.abs(error)) @ fractions(np.abs(w))

    for sign in (-1, 1):
        corner = fractions(value) @ fractions(w) + sign * farthest
        rounding = abs(corner) * Fraction(1, 2**precision.digits)
        assert (abs(corner - fractions(result.value)) + rounding <= fractions(result.bound)).all()


@every_format
@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_bound_of_a_dot_product_is_no_larger_than_higham_needs(rng, n, name):
    precision = PRECISIONS[name]
    value, error, w = rng.normal(size=(6, n)), np.full((6, n), 0.01), rng.normal(size=(n, 3))

    result = Rounded(value, np.zeros(value.shape), error, precision) @ Matrix(w, precision)

    gamma = precision.gamma(n + precision.truncates_products)
    needed = error @ np.abs(w) + gamma * (np.abs(value) + error) @ np.abs(w)
    assert (result.bound <= 1.001 * needed + 2 * n * precision.underflow).all()


@every_matrix
def test_matrix_of_exact_zeros_gives_zero_with_room_for_underflow_alone(kind):
    result = np.zeros((2, 3)) @ kind(np.ones((3, 2)), FLOAT32)

    assert result.value.tolist() == [[0.0, 0.0], [0.0, 0.0]]
    np.testing.assert_allclose(result.bound, 3 * FLOAT32.underflow, rtol=1e-5)
    assert not np.any(result.variance)


# --- products of two arrays ---


def stacked_products(machine, a, b):
    """The terms of a @ b for stacks of matrices, (n, ..., R, M)."""
    return machine.multiply(np.moveaxis(a, -1, 0)[..., np.newaxis], np.moveaxis(b, -2, 0)[..., np.newaxis, :])


@every_format
@every_disturbance
@every_order
def test_bound_of_a_product_of_two_arrays_holds_in_every_order(rng, order, share, name):
    a, b = numbers(rng, name, (2, 3, 5)), numbers(rng, name, (2, 5, 4))
    received_a, received_b = disturb(rng, a, share), disturb(rng, b, share)
    machine = Machine(name)

    result = inexact(a, received_a, name) @ inexact(b, received_b, name)

    reference = fractions(a) @ fractions(b)
    assert result.shape == (2, 3, 4)
    assert_within(result, order(machine, stacked_products(machine, received_a, received_b), rng), reference)
    assert_within(result, order(machine, stacked_products(machine, a, b), rng), reference)


@every_format
@pytest.mark.parametrize("sign", [-1, 1])
def test_bound_of_a_product_of_two_arrays_reaches_the_corner_of_both_errors(rng, sign, name):
    precision = PRECISIONS[name]
    a, b = rng.uniform(0.5, 2.0, (3, 4)), rng.uniform(0.5, 2.0, (4, 2))
    error_a, error_b = rng.uniform(0.0, 0.25, a.shape), rng.uniform(0.0, 0.25, b.shape)

    result = Rounded(a, 0.0, error_a, precision) @ Rounded(b, 0.0, error_b, precision)
    corner = (fractions(a) + sign * fractions(error_a)) @ (fractions(b) + sign * fractions(error_b))

    rounding = abs(corner) * Fraction(1, 2**precision.digits)
    assert (abs(corner - fractions(result.value)) + rounding <= fractions(result.bound)).all()


@pytest.mark.parametrize("side", ["left", "right"])
def test_product_with_a_plain_array_takes_it_as_exact(rng, side):
    a, b = numbers(rng, "float32", (3, 5)).astype(float), numbers(rng, "float32", (5, 4)).astype(float)

    product = a @ exact(b, "float32") if side == "left" else exact(a, "float32") @ b

    both = exact(a, "float32") @ exact(b, "float32")
    np.testing.assert_array_equal(product.value, a @ b)
    np.testing.assert_array_equal(product.bound, both.bound)
    np.testing.assert_array_equal(product.variance, both.variance)


@every_coarse_format
@pytest.mark.parametrize("noisy", ["neither", "left", "right", "both"])
def test_noise_of_a_product_of_two_arrays_is_typical(rng, noisy, name):
    a, b = numbers(rng, name, (40, 30, 9)), numbers(rng, name, (40, 9, 30))
    unit = 2.0 ** -PRECISIONS[name].digits
    machine = Machine(name)
    shares = {"neither": (0, 0), "left": (8, 0), "right": (0, 8), "both": (8, 8)}[noisy]
    received = [disturb(rng, array, share * unit) for array, share in zip((a, b), shares, strict=True)]
    operands = [
        free(array.astype(float), np.square(share * unit * array.astype(float)) / 3.0, machine.precision)
        for array, share in zip((a, b), shares, strict=True)
    ]

    result = operands[0] @ operands[1]
    actual = shuffled(machine, stacked_products(machine, *received), rng)

    assert 0.5 < rms_score(result, actual) < 1.5


@pytest.mark.parametrize("nothing", [0.0, np.zeros((4, 6))], ids=["for_all", "for_each"])
def test_product_of_observed_numbers_is_that_of_exact_ones(rng, nothing):
    a, w = rng.normal(size=(4, 6)), rng.normal(size=(6, 3))
    matrix = Matrix(w, FLOAT32)

    observed, plain = Rounded(a, nothing, nothing, FLOAT32) @ matrix, a @ matrix

    np.testing.assert_array_equal(observed.bound, plain.bound)
    np.testing.assert_array_equal(observed.variance, plain.variance)


# --- what is not arithmetic ---


@every_disturbance
@every_format
def test_bound_of_max_holds(rng, share, name):
    x = numbers(rng, name, (40, 5))
    received = disturb(rng, x, share)

    result = inexact(x, received, name).max()

    assert result.shape == (40, 1)
    assert_within(result, received.max(axis=-1, keepdims=True), fractions(x).max(axis=-1, keepdims=True))


def test_bound_of_max_is_that_of_any_unit_that_may_be_the_largest():
    x = Rounded(np.array([[1.0, 0.99, -3.0]]), 0.0, np.array([[0.001, 0.5, 0.0]]), FLOAT32)

    result = x.max()

    assert result.value.tolist() == [[1.0]]
    assert result.bound.tolist() == [[0.5]]


@pytest.mark.parametrize("order", [forward, backward, shuffled, pairwise], ids=lambda order: order.__name__)
@every_disturbance
@every_format
def test_bound_of_sorted_prefix_sums_holds_in_every_order(rng, share, order, name):
    x = numbers(rng, name, (20, 7))
    received = disturb(rng, x, share)
    falling_order = -np.sort(-received, axis=-1)

    result = inexact(x, received, name).sorted_prefix_sums()
    sums = [order(Machine(name), falling_order[:, :k].T, rng) for k in range(1, 8)]

    reference = np.cumsum(-np.sort(-fractions(x), axis=-1), axis=-1)
    assert_within(result, np.stack(sums, axis=-1), reference)


@every_coarse_format
def test_bound_of_sorted_prefix_sums_is_nearly_attained(rng, name):
    x = absorbed(name, 5)[np.newaxis]

    result = exact(x, name).sorted_prefix_sums()
    actual = forward(Machine(name), x.T, rng)

    assert_within(result[:, -1], actual)
    assert largest_use(result[:, -1], actual) > 0.9


def test_bound_of_sorted_prefix_sums_covers_errors_that_change_the_order():
    x = Rounded(np.array([[0.0, 0.1]]), 0.0, np.array([[0.5, 0.0]]), FLOAT32)

    result = x.sorted_prefix_sums()

    assert result.value.tolist() == [[0.1, 0.1]]
    assert (result.bound >= [[0.4, 0.5]]).all()


def test_product_of_factors_near_zero_takes_each_three_deviations_out():
    a, b = (Rounded(np.array([value]), np.array([4e-14]), np.array([1e-6]), FLOAT32) for value in (0.0, 1e-7))

    expected = (1e-14 + 9.0 * 4e-14) * 4e-14 + 9.0 * 4e-14 * 4e-14
    np.testing.assert_allclose((a * b).variance, expected, rtol=1e-12)
    np.testing.assert_allclose((b * a).variance, expected, rtol=1e-12)


# --- branches ---


def sides_of(x):
    """Two sides far apart, with errors of their own."""
    below = Rounded(np.full(x.shape, -0.5), np.full(x.shape, 1e-8), np.full(x.shape, 1e-3), FLOAT32)
    above = Rounded(np.full(x.shape, 2.0), np.full(x.shape, 4e-8), np.full(x.shape, 1e-2), FLOAT32)
    return below, above


def test_branch_near_a_jump_reaches_over_both_sides():
    error = 2.0**-20
    x = Rounded(0.25 + error * np.array([-1.0, -0.5, 0.0, 0.5, 1.0]), (error / REACH) ** 2, error, FLOAT32)
    below, above = sides_of(x)

    result = x.branch(0.25, below, above, jumps=True)

    assert result.value.tolist() == [-0.5, -0.5, -0.5, 2.0, 2.0]
    for reached in (-0.5 - 1e-3, -0.5 + 1e-3, 2.0 - 1e-2, 2.0 + 1e-2):
        assert (np.abs(reached - result.value) <= result.bound * (1.0 + 1e-12)).all()
    assert (result.bound <= 2.5 + 1.01e-2).all()
    assert (result.noise >= 2.5).all()


def test_branch_near_a_bend_takes_the_larger_error_of_both_sides():
    error = 2.0**-20
    x = Rounded(0.25 + error * np.array([-2.0, -1.0, 0.0, 1.0, 2.0]), (error / REACH) ** 2, error, FLOAT32)
    below, above = sides_of(x)

    result = x.branch(0.25, below, above)

    assert result.value.tolist() == [-0.5, -0.5, -0.5, 2.0, 2.0]
    assert result.bound.tolist() == [1e-3, 1e-2, 1e-2, 1e-2, 1e-2]
    assert result.variance.tolist() == [1e-8, 4e-8, 4e-8, 4e-8, 4e-8]


@pytest.mark.parametrize("jumps", [False, True], ids=["bend", "jump"])
@pytest.mark.parametrize("error", [0.0, 1e-6], ids=["exact", "inexact"])
def test_branch_away_from_its_place_is_not_widened(error, jumps):
    x = Rounded(np.array([-4.0, 0.25 - 1.01e-6, 0.25 + 1.01e-6, 4.0]), (error / REACH) ** 2, error, FLOAT32)
    below, above = sides_of(x)

    result = x.branch(0.25, below, above, jumps=jumps)

    assert result.value.tolist() == [-0.5, -0.5, 2.0, 2.0]
    assert result.bound.tolist() == [1e-3, 1e-3, 1e-2, 1e-2]
    assert result.variance.tolist() == [1e-8, 1e-8, 4e-8, 4e-8]


def test_branch_of_exact_sides_away_from_its_place_is_exact():
    x = exact(np.array([-1.0, 0.1, 7.0]), "float32")

    result = x.branch(0.0, 0.0, x)

    assert result.value.tolist() == [0.0, 0.1, 7.0]
    assert result.bound.tolist() == [0.0, 0.0, 0.0]


def test_branch_takes_the_lower_side_at_its_place():
    result = exact(np.array([0.5]), "float32").branch(0.5, -1.0, 1.0)

    assert result.value.tolist() == [-1.0]


@pytest.mark.parametrize("at", [0.3, -0.3, 0.1])
def test_branch_at_a_place_that_the_format_rounds_accepts_both_sides_between(at):
    rounded = np.float32(at)
    between = exact(np.array([rounded]), "float32")

    result = between.branch(at, -1.0, 1.0, jumps=True)

    for side in (-1.0, 1.0):
        assert abs(side - result.value[0]) <= np.broadcast_to(result.bound, 1)[0]


@pytest.mark.parametrize("bounds", Bounds)
def test_noise_of_a_branch_reaches_as_far_as_the_noise_of_its_argument(bounds):
    noise = 1e-6
    distances = np.array([0.5, 0.9, 1.1, 4.0]) * REACH * noise
    x = Rounded(0.25 + np.concatenate([-distances, distances]), noise**2, 1.0, FLOAT32, bounds=bounds)

    result = x.branch(0.25, 0.0, 2.0, jumps=True)

    assert (result.noise > 1.0).tolist() == [True, True, False, False] * 2


@every_disturbance
@every_format
def test_bound_of_a_bend_holds(rng, share, name):
    x = numbers(rng, name, 300, scale=2.0**-3)
    received = disturb(rng, x, share)
    argument = inexact(x, received, name)

    result = argument.branch(0.125, argument * 0.5, argument - 0.0625)
    half, shifted = received * DTYPES[name].type(0.5), received - DTYPES[name].type(0.0625)

    reference = np.where(x > 0.125, fractions(x) - Fraction(1, 16), fractions(x) / 2)
    assert_within(result, np.where(received > 0.125, shifted, half), reference)


# --- moving numbers ---


def moved(x):
    """Each rearrangement, with what it does to a plain array of the same shape (2, 3, 4)."""
    return {
        "reshape": (x.reshape((6, 4)), lambda a: a.reshape(6, 4)),
        "swapaxes": (x.swapaxes(0, 2), lambda a: a.swapaxes(0, 2)),
        "row": (x[1], lambda a: a[1]),
        "half": (x[..., :2], lambda a: a[..., :2]),
        "strided": (x[:, ::-2], lambda a: a[:, ::-2]),
        "picked": (x[[1, 0, 1]], lambda a: a[[1, 0, 1]]),
        "element": (x[0, 1, 2], lambda a: a[0, 1, 2]),
        "transposed": (x.move(lambda a: a.transpose(2, 0, 1)), lambda a: a.transpose(2, 0, 1)),
        "repeated": (x.move(lambda a: a.repeat(3, axis=1)), lambda a: a.repeat(3, axis=1)),
        "padded": (x.move(lambda a: np.pad(a, 1)), lambda a: np.pad(a, 1)),
    }


@pytest.mark.parametrize("which", moved(exact(np.zeros((2, 3, 4)), "float32")))
@pytest.mark.parametrize("kind", ["closed", "open", "one_bound_for_all"])
def test_rearranging_moves_bound_and_noise_with_the_value(rng, which, kind):
    value, error = rng.normal(size=(2, 3, 4)), rng.uniform(0.0, 1.0, (2, 3, 4))
    x = {
        "closed": Rounded(value, error / 2.0, error, FLOAT32),
        "open": Rounded(value, error / 2.0, error, FLOAT32) + 1.0 + exact(value, "float32"),
        "one_bound_for_all": Rounded(value, 0.5, 0.25, FLOAT32),
    }[kind]

    result, move = moved(x)[which]

    np.testing.assert_array_equal(result.value, move(x.value))
    if kind == "one_bound_for_all":
        assert (result.bound >= move(np.broadcast_to(x.bound, x.shape))).all()
        assert np.max(result.bound) == x.bound
    else:
        np.testing.assert_array_equal(result.bound, move(np.broadcast_to(x.bound, x.shape)))
    spread = result.noise - FLOAT32.underflow
    np.testing.assert_allclose(spread, move(x.noise - FLOAT32.underflow), rtol=1e-12, atol=1e-300)


def test_moving_exact_numbers_keeps_one_zero_for_the_errors_of_all():
    x = Rounded(np.ones((2, 3)), 0.0, 0.0, FLOAT32)

    result = x.move(lambda a: np.pad(a, 1))

    assert (result.shape, result.variance, result.error) == ((4, 5), 0.0, 0.0)


def test_join_puts_results_together_and_exact_ones_have_no_error():
    x = Rounded(np.array([[1.0, 2.0], [3.0, 4.0]]), 0.25, 0.5, FLOAT32)
    zeros = np.zeros((2, 1))

    result = Rounded.join([zeros, x, x + x], lambda arrays: np.concatenate(arrays, axis=1))

    np.testing.assert_array_equal(result.value, np.concatenate([zeros, x.value, 2.0 * x.value], axis=1))
    np.testing.assert_array_equal(result.bound, np.concatenate([zeros, [[0.5] * 2] * 2, (x + x).bound], axis=1))
    np.testing.assert_array_equal(
        result.variance, np.concatenate([zeros, [[0.25] * 2] * 2, (x + x).variance], axis=1)
    )


def test_join_leaves_sums_open_that_have_as_many_roundings():
    x = Rounded(np.array([[1.0, 2.0], [3.0, 4.0]]), 0.25, 0.5, FLOAT32)

    result = Rounded.join([x + 1.0, x + 2.0], np.concatenate)

    np.testing.assert_array_equal(
        (result + 3.0).bound, np.concatenate([(x + 1.0 + 3.0).bound, (x + 2.0 + 3.0).bound])
    )


@every_disturbance
@every_format
def test_bound_of_max_over_any_axis_holds(rng, share, name):
    x = numbers(rng, name, (7, 5, 3))
    received = disturb(rng, x, share)

    result = inexact(x, received, name).max(1)

    assert result.shape == (7, 1, 3)
    assert_within(result, received.max(axis=1, keepdims=True), fractions(x).max(axis=1, keepdims=True))


def test_covering_bound_holds_for_both_ways_and_keeps_value_and_noise():
    one = Rounded(np.array([1.0, 1.0]), 0.25, np.array([0.5, 0.1]), FLOAT32)
    other = Rounded(np.array([1.0, 1.25]), 4.0, np.array([0.2, 0.5]), FLOAT32)

    result = one.covering(other)

    assert result.value.tolist() == [1.0, 1.0]
    assert result.variance == 0.25
    assert result.bound.tolist() == [0.5, 0.75]


@every_coarse_format
def test_bound_of_division_by_an_array_covers_rounded_reciprocals(rng, name):
    x, counts = numbers(rng, name, (50, 6)), np.array([1.0, 2.0, 3.0, 5.0, 7.0, 49.0])
    machine = Machine(name)
    exact_counts = counts.astype(machine.dtype)

    result = exact(x, name) / counts

    reference = fractions(x) / fractions(counts)
    reciprocals = machine.divide(machine.dtype.type(1), exact_counts)
    assert_within(result, machine.divide(x, exact_counts), reference)
    assert_within(result, machine.multiply(x, reciprocals), reference)


def test_where_takes_value_bound_and_noise_from_the_chosen_side():
    a = Rounded(np.array([[1.0, 2.0], [3.0, 4.0]]), 0.25, 0.5, FLOAT32)
    b = np.array([[-1.0, -2.0], [-3.0, -4.0]])
    condition = np.array([[True], [False]])

    chosen, mirrored = Rounded.where(condition, a, b), Rounded.where(~condition, b, a)

    for result in (chosen, mirrored):
        assert result.value.tolist() == [[1.0, 2.0], [-3.0, -4.0]]
        assert np.broadcast_to(result.bound, (2, 2)).tolist() == [[0.5, 0.5], [0.0, 0.0]]
        assert np.broadcast_to(result.variance, (2, 2)).tolist() == [[0.25, 0.25], [0.0, 0.0]]


def test_where_of_two_rounded_keeps_both_bounds():
    a, b = (Rounded(np.array([value, value]), 0.0, error, FLOAT32) for value, error in ((1.0, 0.5), (2.0, 0.125)))

    result = Rounded.where(np.array([True, False]), a + a, b)

    assert result.value.tolist() == [2.0, 2.0]
    assert result.bound.tolist() == [float((a + a).bound[0]), 0.125]


def test_stack_puts_steps_on_the_second_axis_and_exact_ones_have_no_error():
    x = Rounded(np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), 0.25, 0.5, FLOAT32)
    zeros = np.zeros((2, 3))

    result = stack([zeros, x, x + x])

    assert result.shape == (2, 3, 3)
    np.testing.assert_array_equal(result.value, np.stack([zeros, x.value, 2.0 * x.value], axis=1))
    np.testing.assert_array_equal(result.bound, np.stack([zeros, zeros + 0.5, (x + x).bound], axis=1))
    np.testing.assert_array_equal(result.variance, np.stack([zeros, zeros + 0.25, (x + x).variance], axis=1))


COARSER = [("float64", "float32"), ("float64", "bfloat16"), ("float32", "float16"), ("float32", "bfloat16")]
COARSER.append(("float16", "bfloat16"))


@pytest.mark.parametrize(("source", "target"), COARSER)
@every_disturbance
def test_bound_of_a_cast_to_a_coarser_format_holds(rng, share, source, target):
    x = numbers(rng, source, 300)
    received = disturb(rng, x, share)

    result = inexact(x, received, source).to(PRECISIONS[target])

    assert result.precision is PRECISIONS[target]
    assert_within(result, received.astype(DTYPES[target]), fractions(x))


@pytest.mark.parametrize(("source", "target"), COARSER)
def test_bound_of_a_cast_is_one_rounding(rng, source, target):
    x = numbers(rng, source, 300)
    precision = PRECISIONS[target]

    result = exact(x, source).to(precision)

    np.testing.assert_allclose(
        result.bound, precision.unit * np.abs(result.value), rtol=1e-9, atol=precision.underflow
    )


@pytest.mark.parametrize("scale", [2.0**-14, 2.0**-24, 2.0**-40], ids=["normal", "subnormal", "zero"])
@pytest.mark.parametrize("source", ["float32", "bfloat16"])
def test_bound_of_a_cast_to_a_format_with_a_smaller_range_covers_underflow(rng, source, scale):
    x = numbers(rng, source, 300, scale=scale)

    with np.errstate(under="ignore"):
        actual = x.astype(np.float16)

    assert_within(exact(x, source).to(PRECISIONS["float16"]), actual, fractions(x))


@pytest.mark.parametrize(
    ("source", "target"), [("float16", "float32"), ("bfloat16", "float32"), ("float32", "float64"), ("float32",) * 2]
)
def test_cast_to_a_format_that_holds_every_number_changes_nothing(rng, source, target):
    x = inexact(numbers(rng, source, 20), numbers(rng, source, 20), source) + 0.1

    result = x.to(PRECISIONS[target])

    assert result.precision is PRECISIONS[target]
    np.testing.assert_array_equal(result.value, x.value)
    np.testing.assert_array_equal(result.bound, x.bound)
    np.testing.assert_array_equal(result.variance, x.variance)


# --- smooth functions ---

# f(v) = v², of which implementations are wrong by 3u·(|f| + offset) at most: exact in fractions.
ACCURACY = dict.fromkeys(DTYPES, (3.0, 1.0))


def square(offset):
    return Elementary(
        "square",
        evaluate=np.square,
        slope=lambda v, f: 2.0 * v,
        steepest=lambda v, slope, e: 2.0 * (np.abs(v) + e),
        accuracy=ACCURACY,
        offset=offset,
    )


def within_rectangle(result, x, error, offset, unit):
    """The worst results of f at v ± e, wrong by another ±3u·(|f| + offset)."""
    for corner in (fractions(x) - fractions(error), fractions(x) + fractions(error)):
        f = corner * corner
        for sign in (-1, 1):
            yield abs(f + sign * 3 * unit * (f + offset) - fractions(result.value))


@every_format
@pytest.mark.parametrize("offset", [0, 1], ids=["", "offset"])
@pytest.mark.parametrize("size", [0.0, 2.0**-12, 2.0**-3, 2.0], ids=["exact", "small", "large", "larger_than_x"])
def test_bound_of_a_function_covers_the_argument_and_the_implementation(rng, size, offset, name):
    x, precision = numbers(rng, name, 100), PRECISIONS[name]
    error = size * rng.uniform(0.5, 1.0, 100)
    unit = Fraction(1, 2**precision.digits)

    result = Rounded(x.astype(np.float64), 0.0, error, precision).apply(square(float(offset)))
    distances = list(within_rectangle(result, x, error, offset, unit))

    bound = fractions(result.bound)
    assert all((distance <= bound).all() for distance in distances)
    rounding = Fraction(precision.unit) - unit
    slack = 3 * rounding * (fractions(np.square(np.abs(x.astype(np.float64)) + error)) + offset)
    if size < 2.0:
        worst = np.maximum.reduce(distances)
        room = (
            Fraction(precision.underflow)
            + 2 * slack
            + fractions(2.0 * np.square(error) + 12 * precision.unit * error)
        )
        assert (bound <= worst * Fraction(1001, 1000) + room).all()


@every_format
def test_bound_of_a_function_covers_a_result_flushed_to_zero(name):
    smallest = float(ml_dtypes.finfo(DTYPES[name]).smallest_normal)
    x = np.sqrt(smallest) * np.array([0.999, 0.5, 0.1])

    result = exact(x, name).apply(square(0.0))

    assert_within(result, np.zeros(3))
    assert (result.bound <= 4.1 * smallest).all()


def test_noise_of_a_function_is_that_of_its_argument_and_its_implementation():
    x = Rounded(np.array([3.0]), 4e-12, 1e-5, FLOAT32)
    unit = FLOAT32.unit

    result = x.apply(square(0.0))

    assert result.noise[0] == pytest.approx(np.hypot(6.0 * 2e-6, 9.0 * unit), rel=1e-6)


def test_noise_of_a_function_without_bounds_covers_a_slope_that_changes_within_the_noise(rng):
    noise = 0.01
    x = free(np.zeros(5), np.full(5, noise**2), FLOAT32)

    result = x.apply(square(0.0))

    difference = np.square(rng.normal(size=2000) * noise)
    rms = np.sqrt(np.mean(np.square(difference)))
    assert (rms <= result.noise).all()
    assert (result.noise <= 10.0 * rms).all()


def test_elementary_function_takes_plain_numbers_too():
    function = square(0.0)

    assert function(np.array([3.0])).tolist() == [9.0]
    assert isinstance(function(exact(np.array([3.0]), "float32")), Rounded)


# --- noise ---


def in_random_order(terms, rng):
    """The float32 sum over the first axis, each element in an order of its own."""
    return reduce(np.add, rng.permuted(terms, axis=0))


@pytest.mark.parametrize("n", [1, 2, 5, 30, 200])
def test_noise_of_a_dot_product_is_calibrated(rng, n):
    a, w = (rng.normal(size=shape).astype(np.float32) for shape in ((300, n), (n, 20)))

    result = a.astype(np.float64) @ Matrix(w.astype(np.float64), FLOAT32)
    actual = in_random_order(products(Machine("float32"), a, w), rng)

    assert 0.5 < rms_score(result, actual) < 1.3


def test_noise_of_a_dot_product_of_one_sign_is_calibrated(rng):
    a, w = (rng.uniform(0.5, 1.5, size=shape).astype(np.float32) for shape in ((300, 50), (50, 20)))

    result = a.astype(np.float64) @ Matrix(w.astype(np.float64), FLOAT32)
    actual = in_random_order(products(Machine("float32"), a, w), rng)

    assert 0.5 < rms_score(result, actual) < 1.3


@pytest.mark.parametrize("n", [2, 10, 100])
@pytest.mark.parametrize("operation", ["sum", "last_prefix_sum"])
def test_noise_of_a_sum_over_units_is_calibrated(rng, operation, n):
    x = rng.normal(size=(4000, n)).astype(np.float32)

    argument = exact(x, "float32")
    result = argument.sum() if operation == "sum" else argument.sorted_prefix_sums()[:, -1:]
    actual = in_random_order(x.T, rng)[:, np.newaxis]

    assert 0.5 < rms_score(result, actual) < 1.3


@pytest.mark.parametrize("operation", ["x+y", "x-y", "x*y", "x/y", "1/y", "x*x*x*0.044715+x"])
def test_noise_of_an_operation_is_calibrated(rng, operation):
    x, y = numbers(rng, "float32", 4000), numbers(rng, "float32", 4000)
    evaluate, machine = EXPRESSIONS[operation], Machine("float32")

    result = evaluate(exact(x, "float32"), exact(y, "float32"), lambda c: c)
    actual = evaluate(Computed(x, machine), Computed(y, machine), lambda c: c).array

    assert 0.5 < rms_score(result, actual) < 1.3


@pytest.mark.parametrize("constant", [0.1, 1.0 / 3.0, -2.7])
def test_noise_of_a_product_counts_the_rounding_of_an_inexact_constant(rng, constant):
    x = numbers(rng, "float32", 20)

    inexact_, exact_ = exact(x, "float32") * constant, exact(x, "float32") * 0.25

    unit = FLOAT32.unit_variance
    np.testing.assert_allclose(inexact_.variance, 2.0 * unit * np.square(x * constant), rtol=1e-6)
    np.testing.assert_allclose(exact_.variance, unit * np.square(x * 0.25), rtol=1e-6)


def test_noise_of_an_ordered_dot_product_follows_partial_sums_that_go_far_out():
    far = 2.0 ** np.arange(20, 0, -1)
    a = np.concatenate([far + 1e-3, -far - 1e-3, [0.3]]).astype(np.float32)[np.newaxis]
    w = np.linspace(1.0, 1.01, 41).astype(np.float32)[:, np.newaxis]

    result = a.astype(np.float64) @ OrderedMatrix(w.astype(np.float64), FLOAT32)
    terms = np.abs(np.cumsum(a.astype(np.float64) * w.T.astype(np.float64)))

    assert result.noise[0, 0] >= np.sqrt(FLOAT32.unit_variance * np.sum(np.square(terms[1:])))


@pytest.mark.parametrize("shape", [(3, 5, 4), (70, 6, 3), (64, 300, 60), (2, 1100, 1000)], ids=str)
def test_noise_of_an_ordered_dot_product_is_the_larger_of_both_orders(rng, shape):
    rows, n, units = shape
    a, w = rng.normal(size=(rows, n)), rng.normal(size=(n, units))

    plain, ordered = (a @ kind(w, FLOAT32) for kind in (Matrix, OrderedMatrix))

    terms = a[:, :, np.newaxis] * w
    later_sums = np.cumsum(terms, axis=1)[:, 1:]
    in_order = FLOAT32.unit_variance * (np.square(terms).sum(axis=1) + np.square(later_sums).sum(axis=1))
    assert (in_order > plain.variance).any()
    np.testing.assert_allclose(ordered.variance, np.maximum(plain.variance, in_order), rtol=1e-9)
    np.testing.assert_array_equal(ordered.value, plain.value)
    np.testing.assert_array_equal(ordered.bound, plain.bound)


def test_many_ordered_dot_products_have_the_noise_of_a_random_order(rng):
    a, w = rng.normal(size=(257, 6)), rng.normal(size=(6, 3))

    plain, ordered = (a @ kind(w, FLOAT32) for kind in (Matrix, OrderedMatrix))

    np.testing.assert_array_equal(ordered.variance, plain.variance)


def test_noise_of_a_cast_is_calibrated(rng):
    x = rng.normal(size=4000).astype(np.float32)

    result = exact(x, "float32").to(PRECISIONS["bfloat16"])

    assert 0.5 < rms_score(result, x.astype(DTYPES["bfloat16"])) < 1.3


# How each operation hands on noise that is much larger than its own rounding; x and y are (R, 6).
INHERITED = {
    "x+y": lambda x, y: x + y,
    "x-y": lambda x, y: x - y,
    "x*y": lambda x, y: x * y,
    "x/y": lambda x, y: x / y,
    "x*3": lambda x, y: x * 3,
    "x/8": lambda x, y: x / 8,
    "2/y": lambda x, y: 2 / y,
    "square": lambda x, y: square(0.0)(x),
}


@pytest.mark.parametrize("operation", INHERITED.values(), ids=INHERITED)
def test_noise_of_the_operands_is_handed_on(rng, operation):
    x, y = (numbers(rng, "float64", (500, 6)) for _ in range(2))
    noise_x, noise_y = (1e-4 * np.exp2(rng.uniform(-3.0, 0.0, (500, 6))) for _ in range(2))

    result = operation(Rounded(x, np.square(noise_x), 0.0, FLOAT32), Rounded(y, np.square(noise_y), 0.0, FLOAT32))
    actual = operation(x + rng.normal(size=x.shape) * noise_x, y + rng.normal(size=y.shape) * noise_y)

    assert rms_score(result, actual) == pytest.approx(1.0, abs=0.06)


@every_matrix
def test_noise_of_the_operand_is_handed_on_by_a_dot_product(rng, kind):
    x, w = rng.normal(size=(500, 6)), rng.normal(size=(6, 7))
    noise = 1e-4 * np.exp2(rng.uniform(-3.0, 0.0, x.shape))

    result = Rounded(x, np.square(noise), 0.0, FLOAT32) @ kind(w, FLOAT32)

    actual = (x + rng.normal(size=x.shape) * noise) @ w
    assert rms_score(result, actual) == pytest.approx(1.0, abs=0.06)


def test_noise_of_the_operand_is_handed_on_by_a_sum_over_units(rng):
    x = rng.normal(size=(3000, 6))
    noise = 1e-4 * np.exp2(rng.uniform(-3.0, 0.0, x.shape))

    result = Rounded(x, np.square(noise), 0.0, FLOAT32).sum()

    actual = (x + rng.normal(size=x.shape) * noise).sum(axis=-1, keepdims=True)
    assert rms_score(result, actual) == pytest.approx(1.0, abs=0.06)


def test_noise_of_the_operand_is_not_lost_by_sorted_prefix_sums(rng):
    x = rng.normal(size=(3000, 6))

    result = Rounded(x, 1e-8, 0.0, FLOAT32).sorted_prefix_sums()

    actual = np.cumsum(-np.sort(-(x + rng.normal(size=x.shape) * 1e-4), axis=-1), axis=-1)
    assert rms_score(result, actual) == pytest.approx(1.0, abs=0.06)


def test_noise_is_never_zero_where_numbers_may_underflow():
    assert (exact(np.zeros(3), "float32").noise == FLOAT32.underflow).all()


# --- without bounds ---

UNBOUNDED = {
    "+": lambda x: x + x,
    "+constant": lambda x: x + 0.1,
    "-": lambda x: x - x,
    "constant-": lambda x: 0.1 - x,
    "neg": lambda x: -x,
    "*": lambda x: x * x,
    "*constant": lambda x: x * 0.1,
    "/": lambda x: x / (x * x + 1.0),
    "/constant": lambda x: x / 3.0,
    "constant/": lambda x: 1.0 / (x * x + 1.0),
    "@": lambda x: x @ Matrix(np.ones((4, 2)), FLOAT32, x.bounds),
    "bend": lambda x: x.branch(0.0, 0.0, x),
    "jump": lambda x: x.branch(0.0, -1.0, 1.0, jumps=True),
    "sum": lambda x: x.sum(),
    "max": lambda x: x.max(),
    "sorted_prefix_sums": lambda x: x.sorted_prefix_sums(),
    "where": lambda x: Rounded.where(np.ones((5, 1), bool), x, np.zeros((5, 4))),
    "where_exact_first": lambda x: Rounded.where(np.ones((5, 1), bool), np.zeros((5, 4)), x),
    "stack": lambda x: stack([np.zeros((5, 4)), x]),
    "getitem": lambda x: x[1:, :2],
    "reshape": lambda x: x.reshape((4, 5)),
    "swapaxes": lambda x: x.swapaxes(0, 1),
    "to_coarser": lambda x: x.to(PRECISIONS["bfloat16"]),
    "to_finer": lambda x: x.to(PRECISIONS["float64"]),
    "apply": lambda x: x.apply(square(0.0)),
}


def from_a_matrix(rng, bounds=Bounds.CARRIED):
    a, w = rng.normal(size=(5, 3)), rng.normal(size=(3, 4))
    return a @ Matrix(w, FLOAT32, bounds)


@pytest.mark.parametrize("bounds", [Bounds.LEFT_OUT, Bounds.FREE])
@pytest.mark.parametrize("operation", UNBOUNDED.values(), ids=UNBOUNDED)
def test_operation_without_bounds_carries_none_and_the_same_value_and_noise(operation, bounds):
    unbounded, bounded = (from_a_matrix(np.random.default_rng(1), each) for each in (bounds, Bounds.CARRIED))

    result, with_bounds = operation(unbounded), operation(bounded)

    assert result.bounds is bounds
    assert result.error is None
    assert result.bound is None
    np.testing.assert_array_equal(result.value, with_bounds.value)
    np.testing.assert_allclose(result.noise, with_bounds.noise, rtol=1e-6)


@pytest.mark.parametrize("operation", UNBOUNDED.values(), ids=UNBOUNDED)
def test_operation_with_bounds_carries_one_for_every_number(operation):
    result = operation(from_a_matrix(np.random.default_rng(1)))

    bound = np.broadcast_to(result.bound, result.shape)
    assert np.isfinite(bound).all()
    assert (bound >= 0.0).all()


# --- near the largest number of a format ---


def assert_unknown_where_it_may_leave_the_range(result, actual):
    """A number that may be an infinity or NaN has a noise without limit, unless it must be that infinity."""
    value, noise = result.value, np.broadcast_to(result.noise, result.shape)
    rounded = result.precision.round(value)
    left = ~np.isfinite(actual)
    agrees = np.isinf(rounded) & (rounded == actual)
    assert (np.isinf(noise) | agrees)[left].all()
    # And where it is known that it left the range, it did.
    sure = np.isfinite(noise) & (np.abs(value) - 8.0 * noise > result.precision.largest)
    assert left[sure].all()


every_bounds = pytest.mark.parametrize("bounds", [Bounds.CARRIED, Bounds.FREE], ids=["bounds", "free"])


@every_coarse_format
@every_order
@every_bounds
@pytest.mark.parametrize("n", [2, 5, 40])
def test_partial_sums_that_may_leave_the_range_make_noise_infinite(rng, name, order, bounds, n):
    machine, limits = Machine(name), PRECISIONS[name]
    size = np.sqrt(limits.largest / n)
    a = numbers(rng, name, (200, n), scale=size * np.exp2(rng.uniform(-8.0, 3.0, (200, 1))))
    w = numbers(rng, name, (n, 3), scale=size)

    result = exact(a, name).value @ Matrix(w.astype(np.float64), limits, bounds)
    with np.errstate(all="ignore"):
        actual = order(machine, products(machine, a, w), rng).astype(np.float64)

    assert 0.05 < np.isfinite(actual).mean() < 0.95
    assert_unknown_where_it_may_leave_the_range(result, actual)
    assert np.isfinite(result.noise).mean() > 0.05


@every_coarse_format
@every_bounds
@pytest.mark.parametrize("operation", ["x+y", "x-y", "x*y", "x/y"])
def test_result_that_may_leave_the_range_has_infinite_noise(rng, name, operation, bounds):
    machine, precision, evaluate = Machine(name), PRECISIONS[name], EXPRESSIONS[operation]
    is_sum = operation in {"x+y", "x-y"}
    size = precision.largest if is_sum else np.sqrt(precision.largest)
    y_size = 1.0 / size if operation == "x/y" else size
    spread = np.exp2(-3.0 if is_sum else 0.0)
    with np.errstate(over="ignore"):
        x, y = (numbers(rng, name, 500, scale=spread * each) for each in (size, y_size))
        x, y = (np.clip(each, -precision.largest, precision.largest).astype(DTYPES[name]) for each in (x, y))
        actual = evaluate(Computed(x, machine), Computed(y, machine), lambda c: c).array.astype(np.float64)

    value = [np.asarray(each, np.float64) for each in (x, y)]
    zeros = np.zeros(500)
    result = evaluate(
        *(Rounded(each, zeros, zeros, precision, bounds=bounds) for each in value),
        lambda c: c,
    )

    assert 0.05 < np.isfinite(actual).mean() < 0.98
    assert_unknown_where_it_may_leave_the_range(result, actual)
    assert np.isfinite(result.noise).mean() > 0.05


def test_nothing_can_be_added_up():
    nothing = Rounded(np.ones((0, 3)), np.zeros((0, 3)), np.zeros((0, 3)), PRECISIONS["float32"])

    assert (nothing + nothing).variance.shape == (0, 3)


@every_bounds
def test_noise_of_sums_over_units_is_infinite_where_partial_sums_leave_the_range(bounds):
    terms = np.array([[60000.0, 60000.0, -60000.0, 1.0], [600.0, 600.0, -600.0, 1.0], [6e4, 6e4, 6e4, 6e4]])
    result = Rounded(terms, np.zeros((3, 4)), np.zeros((3, 4)), PRECISIONS["float16"], bounds=bounds).sum()

    expected = [np.inf, 0.0, 0.0 if bounds is Bounds.CARRIED else np.inf]
    assert np.isinf(result.noise[:, 0]).tolist() == np.isinf(expected).tolist()


def test_relu_of_what_may_be_nan_may_be_nan():
    x = Rounded(np.array([np.nan, -1.0]), np.array([np.inf, 1e-14]), None, FLOAT32, bounds=Bounds.FREE)

    result = x.branch(0.0, 0.0, x)

    assert not np.isfinite(result.noise[0])
    assert np.isfinite(result.noise[1])


@pytest.mark.parametrize("bounds", list(Bounds))
def test_function_that_keeps_zero_keeps_an_exact_zero(bounds):
    zero = Rounded(np.zeros(3), np.zeros(3), np.zeros(3), FLOAT32, bounds=bounds)

    assert (tanh(zero).variance == 0.0).all()
    assert (sigmoid(zero).variance > 0.0).all()


@pytest.mark.parametrize(("name", "least"), [("float32", 0.65), ("float16", 0.58)])
@pytest.mark.parametrize("n", [2, 3])
def test_noise_of_a_short_product_is_little_more_than_random_orders_make(rng, n, name, least):
    a, w = numbers(rng, name, (3000, n)), numbers(rng, name, (n, 4))

    result = exact(a, name).value @ Matrix(w.astype(np.float64), PRECISIONS[name])
    actual = shuffled(Machine(name), products(Machine(name), a, w), rng)

    # A relative error lies anywhere in ±u, so that it is u/sqrt(3) at most; float16 has its underflow besides.
    assert least < rms_score(result, actual) < 1.0


@pytest.mark.parametrize("bounds", Bounds)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_products_that_are_added_to_a_bias_one_by_one_are_within_their_noise(dtype, bounds, rng):
    """They are small beside the bias, so that each addition rounds as if to the bias."""
    precision, n = PRECISIONS[dtype], 64
    x, w = (rng.uniform(-0.02, 0.02, shape).astype(dtype) for shape in ((500, n), (n, 8)))
    b = rng.uniform(0.5, 1.0, 8).astype(dtype)
    actual = np.broadcast_to(b, (500, 8))
    for k in range(n):
        actual = (actual + x[:, k : k + 1] * w[k]).astype(dtype)

    product = x.astype(float) @ Matrix(w.astype(float), precision, bounds) + b.astype(float)
    summed = product.summed_onto(b.astype(float), n)

    np.testing.assert_array_equal(summed.value, product.value)
    difference = actual - summed.value
    rms, rms_otherwise = (np.sqrt(np.mean(np.square(difference / each.noise))) for each in (summed, product))
    assert 0.4 < rms < 1.5  # from 1/2 to 1 all roundings are as large as at 1/2
    assert rms_otherwise > 3.0 * rms
    if bounds is Bounds.CARRIED:
        assert (np.abs(difference) <= summed.bound).all()
        np.testing.assert_array_equal(summed.bound, product.bound)
