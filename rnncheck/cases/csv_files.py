"""A table of numbers from text: `.csv` in the forms that programs write, and the usual mistakes in one named."""

from __future__ import annotations

import codecs
import contextlib
import math
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from rnncheck.cases.inputs import fold, in_letters
from rnncheck.errors import InputError
from rnncheck.network import Array, InputSpec

_WRITE = "Write decimal points, and commas, semicolons, tabs or blanks between numbers."
_INTERRUPTED = "It is the last line: was writing the file interrupted? Write it again."

# How probable a whole file may be that is taken for a cut one.
_CHANCE = 1e-3

# A header of whole numbers, 0,1,2, that somebody computed is unlikely from so many columns on.
_SURE_COLUMNS = 3


def read_csv(path: Path, spec: InputSpec, noun: str) -> Array:
    """Return what a file has of an input or output: a line for each step or, where there are none, for each sample.

    Raises:
        InputError: it is no table of numbers, or its lines or columns do not fit.
    """
    rows = list(_rows(path, list(_lines(path))))
    if not rows:
        raise InputError(f"{path}: got no line of numbers; expected one for each step or sample. {_WRITE}")
    return _folded(path, np.array(rows), spec, noun)


def assumed_of_header(path: Path) -> str:
    """Return what was made of a first line that is a header, or looks like one; empty for any other."""
    lines = [line for _, line in islice(_lines(path), 2)]
    separator = _separator(lines)
    if _begins_with_header(path, lines, separator):
        return f"its first line, {lines[0].strip()[:40]!r}, was left out as a header"
    words = _words(lines[0], separator)
    if words == [str(k) for k in range(len(words))] and not any(map(str.isdigit, _words(lines[-1], separator))):
        return f"its first line, {lines[0].strip()!r}, was read as numbers: write the file without if it is a header"
    return ""


# The lines that count, with their numbers from 1.
def _lines(path: Path) -> Iterator[tuple[int, str]]:
    with path.open("rb") as begin:
        is_wide = begin.read(2) in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE}  # as PowerShell redirects
    with path.open(encoding="utf-16" if is_wide else "utf-8-sig") as file:
        for count, line in enumerate(file, start=1):
            if line.strip() and (not line.startswith("#") or _SHEET_ERROR.match(line)):
                yield count, line


# What stands between the numbers of a whole file; None for blanks.
def _separator(lines: Sequence[str]) -> str | None:
    return next((mark for mark in (";", ",", "\t") if any(mark in line for line in lines)), None)


def _rows(path: Path, lines: list[tuple[int, str]]) -> Iterator[list[float]]:
    separator = _separator([line for _, line in lines])
    if _begins_with_header(path, [line for _, line in lines[:2]], separator):
        lines = lines[1:]
    if not lines:
        return
    # Beside semicolons, a comma is that of 0,5, unless there are points as well.
    decimal_commas = separator == ";" and not any("." in line for _, line in lines)
    width = len(_words(lines[0][1], separator))
    for count, line in lines:
        words = _words(line.replace(",", ".") if decimal_commas else line, separator)
        numbers = [number for number in map(_as_number, words) if number is not None]
        is_last = count == lines[-1][0] and len(lines) > 1
        if len(words) != width:
            todo = _INTERRUPTED if is_last and len(words) < width else "Write as many on every line."
            got = f"got {len(words)} numbers on line {count}"
            raise InputError(f"{path}: {got}; expected {width}, as on the lines before. {todo}")
        if len(numbers) < width:
            word = next(word for word in words if _as_number(word) is None)
            todo = _INTERRUPTED if is_last and word == words[-1] and _begins_like_a_number(word) else _WRITE
            raise InputError(f"{path}: got {word[:40]!r} on line {count}; expected a number. {todo}")
        if is_last and not line.endswith("\n") and _is_cut([line for _, line in lines], separator):
            got = f"got {words[-1]!r} at its end, where all other numbers have more digits"
            raise InputError(f"{path}: {got}; expected as many, and the end of the line. {_INTERRUPTED}")
        yield numbers


# Whether the last number of a file is shorter than all others, which are as long as each other, and not by chance:
# one number in ten ends with a zero, which some programs leave out.
def _is_cut(lines: Sequence[str], separator: str | None) -> bool:
    *others, own = (_FORM.fullmatch(word) for line in lines for word in _words(line, separator))
    lengths = {tuple(map(len, form.groups(""))) for form in others if form}
    if len(lengths) != 1 or own is None:
        return False
    missing = sum(lengths.pop()) - sum(map(len, own.groups("")))
    return missing > 0 and 0.9 ** len(others) * 0.1**missing < _CHANCE


# A number as formats such as %.6f and %.8e write it: the digits behind its point, and its exponent.
_FORM = re.compile(r"[-+]?\d+\.?(\d*)([eE][-+]?\d*)?")


def _begins_like_a_number(word: str) -> bool:
    return word[:1] in set("0123456789+-.\N{MINUS SIGN}") or word.lower() in _MISSING


def _words(line: str, separator: str | None) -> list[str]:
    words = [word.strip().strip('"') for word in line.split(separator)]
    # Loops in C often write a separator behind the last number as well.
    return words[:-1] if separator and len(words) > 1 and not words[-1] else words


def _begins_with_header(path: Path, lines: Sequence[str], separator: str | None) -> bool:
    # A first line of words. One that begins like a number, or has an error of a spreadsheet, is none.
    if not lines:
        return False
    words = _words(lines[0], separator)
    numbers = [word for word in words if _as_number(word) is not None]
    if _as_number(words[0]) is not None or _begins_like_a_number(words[0]) or any(map(_SHEET_ERROR.match, words)):
        return False
    if separator is None and len(words) != len(_words(lines[-1], None)):
        return True  # one name with blanks in it
    # pandas names columns 0, 1, 2 if nobody else does, and leaves the index without a name.
    of_pandas = len(words) > 1 and words[1:] == [str(k) for k in range(len(words) - 1)]
    if of_pandas or not (words[0] or numbers):
        raise InputError(
            f"{path}: got the header {lines[0].strip()[:40]!r}, whose first column looks like an index; expected "
            "numbers alone. Write it without: pandas does with index=False, header=False."
        )
    return not numbers


# What programs write for a number that is missing.
_MISSING = frozenset({"na", "n/a", "null", "none"})

# What a spreadsheet writes where a formula failed, which is no comment.
_SHEET_ERROR = re.compile(r"#(NUM!|DIV/0!|N/A|VALUE!|REF!|NAME\?|NULL!)")

# What C writes besides `nan` and `inf`, by the library: nan(0x7ff8), -nan(ind), NaNQ, 1.#QNAN, -1.#IND0e+000, 1.#INF.
_NAN_OF_C = re.compile(r"[+-]?(nan[qs]|nan\(\w*\)|1\.#(QNAN|SNAN|IND)\d*(e[+-]\d+)?)", re.IGNORECASE)
_INFINITY_OF_C = re.compile(r"([+-]?)1\.#INF\d*(e[+-]\d+)?", re.IGNORECASE)


def _as_number(word: str) -> float | None:
    with contextlib.suppress(ValueError):
        return None if "_" in word else float(word)  # only Python takes 1_000
    if _NAN_OF_C.fullmatch(word):
        return math.nan
    infinity = _INFINITY_OF_C.fullmatch(word)
    return float(f"{infinity[1]}inf") if infinity else None


def _folded(path: Path, table: Array, spec: InputSpec, noun: str) -> Array:
    # Lines (N·T, D) become (N, T, D) where the input has steps.
    *steps, features = spec.shape or (1,)
    lines = math.prod(size for size in steps if size is not None)
    whole = lines * (spec.samples or 0)  # 0 where any number of samples will do
    rows, columns = table.shape
    what = f"{noun} {spec.name!r}, which has shape {in_letters((spec.samples, *spec.shape))}"
    if features not in {None, columns}:
        todo = _what_columns_look_like(table, features)
        if not todo:
            is_whole = table.size == whole * features if whole else table.size % (lines * features) == 0
            todo = (
                "It may have all numbers: write so many on each line." if is_whole else "Write as many on each line."
            )
        raise InputError(f"{path}: got {columns} numbers on each line; expected {features} for {what}. {todo}")
    one_too_many = rows - 1 == whole if whole else rows % lines == 1
    # Where any number of lines would do, the numbers tell.
    is_sure = lines == 1 and not whole and columns >= _SURE_COLUMNS and (table[1:] % 1.0 != 0.0).any()
    if np.array_equal(table[0], np.arange(columns)) and (one_too_many or is_sure):
        raise InputError(
            f"{path}: got {','.join(map(str, range(columns)))[:40]!r} on its first line; expected numbers of {what}. "
            "It looks like a header: write the file without, as pandas does with header=False."
        )
    if len(spec.shape) < 2:
        return table if spec.shape else table[:, 0]
    folded = fold(table, (*steps, columns), spec.samples)
    if folded is None:
        expected = whole or f"a multiple of {lines}"
        raise InputError(
            f"{path}: got {rows} lines; expected {expected}, one for each step of {what}, with {features} numbers "
            "in it. Write every step of every sample, those of the first sample first."
        )
    return folded


def _what_columns_look_like(table: Array, features: int) -> str:
    rows, columns = table.shape
    first, whole = table[:, 0], (table % 1.0 == 0.0).all()
    if columns == features + 1:
        # It goes up evenly, and may begin anew with every sample.
        steps = np.diff(first)
        if rows > 1 and steps[0] > 0.0 and (np.isclose(steps, steps[0]) | (first[1:] == first[0])).all():
            return "The first column looks like an index, or the time: write the file without; pandas: index=False."
    if columns == 2 * features and whole and (table[:, 1::2] >= 0.0).all():
        return f"Its numbers look as if they had decimal commas. {_WRITE}"
    if rows == features:
        return "It looks transposed: write array.T."
    return ""
