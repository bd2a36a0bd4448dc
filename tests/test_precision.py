"""The number formats, against NumPy's and ml_dtypes' casts and against exact rounding written out here."""

from __future__ import annotations

import math
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

from rnncheck.rounding.precision import PRECISIONS

DTYPES = {
    "float64": np.dtype(np.float64),
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}
COARSE = ("float32", "float16", "bfloat16")

every_precision = pytest.mark.parametrize("name", PRECISIONS)
every_coarse_precision = pytest.mark.parametrize("name", COARSE)


def round_exactly(number: Fraction, dtype: np.dtype) -> Fraction | float:
    """Round to nearest, ties to even, by the definition: a whole number of quanta, or an infinity."""
    if number == 0:
        return Fraction(0)
    limits = ml_dtypes.finfo(dtype)
    exponent = math.frexp(float(number))[1] - 1
    exponent += (abs(number) >= Fraction(2) ** (exponent + 1)) - (abs(number) < Fraction(2) ** exponent)
    quantum = Fraction(2) ** (max(exponent, limits.minexp) - limits.nmant)
    rounded = round(number / quantum) * quantum
    return rounded if abs(rounded) <= Fraction(float(limits.max)) else math.copysign(math.inf, number)


def spread(rng, lowest, highest, size=4000):
    """Numbers of both signs, spread evenly over the exponents."""
    return rng.choice([-1.0, 1.0], size) * np.exp2(rng.uniform(lowest, highest, size))


def test_precisions_are_the_formats_keras_computes_in():
    assert list(PRECISIONS) == list(DTYPES)
    assert all(precision.name == name for name, precision in PRECISIONS.items())


@every_precision
def test_precision_has_the_limits_of_its_dtype(name):
    precision, limits = PRECISIONS[name], ml_dtypes.finfo(DTYPES[name])

    assert precision.digits == limits.nmant + 1
    assert precision.largest == float(limits.max)
    assert 1.0 <= precision.underflow / float(limits.smallest_normal) <= 4.0


@every_precision
def test_unit_covers_the_roundoff_of_both_sides_and_little_more(name):
    precision = PRECISIONS[name]
    both = Fraction(1, 2**precision.digits) + Fraction(1, 2**53)

    assert both <= Fraction(precision.unit) <= both * Fraction(1002, 1000)


@every_precision
def test_unit_variance_is_that_of_uniform_errors_of_both_sides(name):
    precision = PRECISIONS[name]
    both = Fraction(1, 4**precision.digits) + Fraction(1, 4**53)

    assert precision.unit_variance == pytest.approx(float(both / 3), rel=1e-12)


@every_precision
@pytest.mark.parametrize("roundings", [1, 2, 3, 10, 100])
def test_gamma_covers_a_chain_of_roundings(name, roundings):
    precision = PRECISIONS[name]
    u = Fraction(1, 2**precision.digits) + Fraction(1, 2**53)

    gamma = Fraction(precision.gamma(roundings))

    assert (1 + u) ** roundings - 1 <= gamma
    assert 1 - (1 - u) ** roundings <= gamma
    assert 1 / (1 - u) ** roundings - 1 <= gamma
    assert gamma <= Fraction(1002, 1000) * roundings * u / (1 - Fraction(1002, 1000) * roundings * u)


@every_precision
def test_gamma_of_no_rounding_is_zero(name):
    assert PRECISIONS[name].gamma(0) == 0.0


@every_precision
def test_gamma_grows_up_to_infinity(name):
    precision = PRECISIONS[name]
    limit = 2**precision.digits

    gammas = [precision.gamma(k) for k in (0, 1, 2, 5, limit // 8, limit // 4, limit // 4 * 3, limit, 2 * limit)]

    assert gammas == sorted(gammas)
    assert gammas[-2:] == [math.inf, math.inf]
    assert all(math.isfinite(gamma) and gamma >= 0.0 for gamma in gammas[:6])


@every_coarse_precision
def test_round_is_the_nearest_number_with_ties_to_even(rng, name):
    dtype = DTYPES[name]
    numbers = np.concatenate([spread(rng, -150.0, 128.0, 1000), spread(rng, -26.0, 17.0, 1000)]).astype(np.float32)

    rounded = PRECISIONS[name].round(numbers)

    assert [Fraction(x) if np.isfinite(x) else x for x in rounded] == [
        round_exactly(Fraction(float(x)), dtype) for x in numbers
    ]


@pytest.mark.parametrize("name", ["float32", "float16"])
def test_round_from_float64_is_numpys_cast(rng, name):
    numbers = spread(rng, -1074.0, 1023.0)

    rounded = PRECISIONS[name].round(numbers)

    with np.errstate(over="ignore", under="ignore"):
        np.testing.assert_array_equal(rounded, numbers.astype(name).astype(np.float64))


@pytest.mark.parametrize(
    "low_bits", [0x0000, 0x0001, 0x7FFF, 0x8000, 0x8001, 0xFFFF], ids=lambda bits: f"low_bits_{bits:04x}"
)
def test_round_to_bfloat16_is_ml_dtypes_cast_for_all_high_bits(low_bits):
    numbers = ((np.arange(2**16, dtype=np.uint32) << 16) | low_bits).view(np.float32)

    with np.errstate(invalid="ignore"):  # among the bit patterns are signalling NaNs
        rounded = PRECISIONS["bfloat16"].round(numbers)
        expected = numbers.astype(ml_dtypes.bfloat16).astype(np.float64)

    np.testing.assert_array_equal(rounded, expected)
    np.testing.assert_array_equal(np.isnan(rounded), np.isnan(numbers))


@every_coarse_precision
def test_round_takes_ties_to_the_even_neighbour(name):
    digits = PRECISIONS[name].digits
    step = 2.0 ** (1 - digits)
    ties = np.array([1.0 + step / 2, 1.0 + 3 * step / 2, -1.0 - step / 2, -1.0 - 3 * step / 2])

    rounded = PRECISIONS[name].round(ties)

    assert rounded.tolist() == [1.0, 1.0 + 2 * step, -1.0, -1.0 - 2 * step]


@every_coarse_precision
def test_round_keeps_subnormal_numbers(name):
    limits = ml_dtypes.finfo(DTYPES[name])
    smallest = float(limits.smallest_subnormal)
    numbers = np.array([smallest, 5 * smallest, 0.75 * smallest, -1.5 * smallest, 0.5 * smallest, 0.25 * smallest])

    rounded = PRECISIONS[name].round(numbers)

    assert rounded.tolist() == [smallest, 5 * smallest, smallest, -2 * smallest, 0.0, 0.0]


@every_coarse_precision
def test_round_overflows_to_infinity_only_past_the_last_half_step(name):
    precision = PRECISIONS[name]
    half_step = precision.largest * 2.0**-precision.digits
    below, above = precision.largest + 0.4 * half_step, precision.largest + 1.2 * half_step

    rounded = precision.round(np.array([precision.largest, below, above, -above, 2.0**500]))

    assert rounded.tolist() == [precision.largest, precision.largest, math.inf, -math.inf, math.inf]


@every_precision
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_round_keeps_what_is_no_number(name, dtype):
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0], dtype)

    rounded = PRECISIONS[name].round(special)

    np.testing.assert_array_equal(rounded, special)
    assert np.signbit(rounded[1:]).tolist() == [False, True, False, True]


@every_precision
def test_round_leaves_its_own_numbers_alone(rng, name):
    own = spread(rng, -12.0, 12.0).astype(DTYPES[name])

    from_own = PRECISIONS[name].round(own)
    from_wider = PRECISIONS[name].round(own.astype(np.float64))

    np.testing.assert_array_equal(from_own, own.astype(np.float64))
    np.testing.assert_array_equal(from_wider, own.astype(np.float64))


@every_precision
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("shape", [(), (0, 3), (4,), (2, 3, 4)], ids=str)
def test_round_returns_float64_in_the_same_shape_and_changes_nothing(rng, name, dtype, shape):
    numbers = np.asarray(rng.normal(size=shape), dtype)
    before = numbers.copy()

    rounded = PRECISIONS[name].round(numbers)

    assert rounded.dtype == np.float64
    assert rounded.shape == shape
    np.testing.assert_array_equal(numbers, before)


@every_coarse_precision
def test_round_reads_arrays_that_are_not_contiguous(rng, name):
    numbers = rng.normal(size=(6, 4)).astype(np.float32)

    rounded = PRECISIONS[name].round(numbers.T[:, ::2])

    np.testing.assert_array_equal(rounded, PRECISIONS[name].round(numbers).T[:, ::2])
