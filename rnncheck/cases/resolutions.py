"""How finely recorded numbers are stored: what their values tell, whatever file they were in.

The shortest decimal that reads as a float64 is what stood in a text of up to 15 digits, less the zeros at its end. So
a program's `%g` or `%f`, an array that was rounded, a float16 and a fixed-point number are all seen in the values.
"""

from __future__ import annotations

from decimal import Decimal

import numpy as np

from rnncheck.network import ANY_DIGITS, Array, Resolution

# Fixed-point numbers of up to 12 bits behind the point, then bfloat16 and float16.
_BITS = 12
_BINARY = (
    *(Resolution(2, ANY_DIGITS, -bits) for bits in range(1, _BITS + 1)),
    Resolution(2, 8, -133),
    _FLOAT16 := Resolution(2, 11, -24),
)
# So many different numbers are not all among these by chance.
_SEVERAL = 8
# Nor so few, if they are no multiples of 2^-6.
_FEW, _COARSE = 3, 6
# The most decimal digits that tell a text from a number's own digits.
_MOST_DIGITS, _MOST_DIGITS_OF_FLOAT32 = 15, 6
_FEWER_OF_FEW = 3  # few numbers may be shorter by chance
# Texts of so many digits tell a float32 from its neighbours.
_OF_FLOAT32 = 9
_ZEROS = 6  # so many digits of a column, all zero, are so by chance once in a million
# Most arrays show in a few numbers, of some from all over, that they hold all digits.
_GLANCE, _SPREAD = 16, 4096


def stored_numbers(array: Array) -> tuple[Array, Resolution | None]:
    """Return recorded numbers, and how finely they are stored if more coarsely than their type holds them.

    Decimals of nine digits or more that stand for float32 numbers become these.
    """
    if array.dtype.kind != "f":
        return array, None
    if array.dtype == np.float16:
        return array, _FLOAT16
    glance = _glance(array.reshape(-1))
    if _digits(glance, _most_digits(array)) is None and not _is_stored(glance, _FLOAT16):
        return array, None
    resolution = _binary(_telling(array, 0)) or _decimal(array)
    if resolution and resolution.base == 10 and resolution.digits >= _OF_FLOAT32:
        with np.errstate(over="ignore"):
            narrow = array.astype(np.float32)
        if _is_text_of(narrow, array, resolution.digits):
            return narrow, None
    return array, resolution


@np.errstate(over="ignore")  # a large number has no bits behind the point
def _telling(array: Array, bits: int) -> Array:
    # The sizes of the numbers that have more than so many bits behind the point.
    numbers = np.abs(array[np.isfinite(array)])
    scaled = np.ldexp(numbers, bits)
    telling: Array = numbers[scaled != np.rint(scaled)]
    return telling


def _glance(numbers: Array) -> Array:
    # A few telling numbers from all over: padding may stand first.
    return _telling(numbers[:: max(1, numbers.size // _SPREAD)], _BITS)[:_GLANCE]


def _binary(numbers: Array) -> Resolution | None:
    # Numbers of much the same size may be stored in one way or another: half a unit is then the larger of the two.
    found = [each for each in _BINARY if _is_stored(numbers[:_GLANCE], each) and _is_stored(numbers, each)]
    if not found or (len(np.unique(_telling(numbers, _COARSE))) < _FEW and len(np.unique(numbers)) < _SEVERAL):
        return None
    return Resolution(2, min(each.digits for each in found), max(each.least for each in found))


def _is_stored(numbers: Array, resolution: Resolution) -> bool:
    is_grid = resolution.digits == ANY_DIGITS
    whole = np.ldexp(numbers, -resolution.least) if is_grid else np.ldexp(np.frexp(numbers)[0], resolution.digits)
    return np.array_equal(whole, np.rint(whole))


def _decimal(array: Array) -> Resolution | None:
    # That of all numbers; or that of the column with the fewest digits, where these are not few by chance.
    most = _most_digits(array)
    telling = _telling(array, _BITS)  # 0.5 may be exact, and says nothing of digits
    of_all = _digits(telling, most)
    if of_all is None or (len(np.unique(telling)) < _SEVERAL and not _digits(telling, most - _FEWER_OF_FEW)):
        return None
    rows = array.reshape(-1, array.shape[-1]) if array.ndim > 1 else array[:, np.newaxis]
    found = [of_all]
    for column in rows.T:
        numbers = _telling(column, _BITS)
        own, count = _digits(numbers, most), len(np.unique(numbers))
        # A column of one number, such as 0.37, may be exact.
        if own and count > 1:
            fewer = min(of_all.digits - own.digits, own.least - of_all.least)
            if count >= _SEVERAL or count * fewer >= _ZEROS:
                found.append(own)
    if len({each.least for each in found}) == 1:  # as many decimals in each
        return of_all
    return max(found, key=lambda each: float(each.half_unit(telling).max()))


def _most_digits(array: Array) -> int:
    return _MOST_DIGITS_OF_FLOAT32 if array.dtype == np.float32 else _MOST_DIGITS


def _digits(numbers: Array, at_most: int) -> Resolution | None:
    # Whether a program counts the digits of a number or those behind its point, no number has more of either.
    digits, least = 0, 0
    for number in numbers:
        decimal = Decimal(str(number)).normalize().as_tuple()
        digits, least = max(digits, len(decimal.digits)), min(least, int(decimal.exponent))
        if digits > at_most:
            return None
    return Resolution(10, digits, least) if digits else None


def _is_text_of(numbers: Array, array: Array, digits: int) -> bool:
    # Whether an array has what somebody wrote of some float32 numbers, with so many digits or with as few as tell.
    return all(
        text in (float(f"{number:.{digits - 1}e}"), float(str(number)))
        for number, text in zip(numbers.flat, array.flat, strict=True)
        if np.isfinite(text)
    )
