"""Arrays from files: `.npy`, `.npz`, `.csv` and `.json`, read without executing anything in them."""

from __future__ import annotations

import contextlib
import io
import json
import lzma
import math
import re
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from rnncheck.cases.inputs import in_letters
from rnncheck.cases.memory import MEMORY, most_unpacked
from rnncheck.errors import InputError
from rnncheck.network import Array, InputSpec

# The kinds of files that are read, for messages and help.
FILES = ".npy, .npz, .csv or .json"
_ADVICE = "Write it with numpy.save, numpy.savez, numpy.savetxt(..., delimiter=',') or as JSON."

# What the readers of these formats raise at files that are damaged, encrypted or made up.
_UNREADABLE = (
    OSError, EOFError, ValueError, TypeError, SyntaxError, OverflowError, MemoryError, RuntimeError,
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, tokenize.TokenError,
)  # fmt: skip


def read_arrays(path: Path, specs: Sequence[InputSpec], noun: str = "input") -> Any:
    """Return what a file holds: one array, several in an order, or a mapping by name.

    `.npy` has one array (N, ...). `.npz` has arrays by name, `arr_0`, `arr_1`, ... in an order, or one input of any
    name. `.csv` has a line for every step, the steps of the first sample first, or for every sample where there are
    no steps. `.json` has nested lists of numbers, or an object that has such by name.

    Raises:
        InputError: the file is none of these, or holds something else than numbers.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # NumPy's, of headers in old forms
            return _read(path, specs, noun)
    except _UNREADABLE as error:
        if isinstance(error, InputError):
            raise
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: it cannot be read ({said}); expected an array of numbers. {_ADVICE}") from error


def _read(path: Path, specs: Sequence[InputSpec], noun: str) -> Any:
    if not path.is_file():
        found = "got a directory" if path.is_dir() else "there is no such file"
        raise InputError(f"{path}: {found}; expected {FILES} with the {noun}s.")
    match path.suffix.lower():
        case ".npy":
            with path.open("rb") as file:
                return _read_array(str(path), file, path.stat().st_size)
        case ".npz":
            return _by_name(_read_npz(path, noun), specs, noun)
        case ".csv":
            return _read_csv(path, specs, noun)
        case ".json":
            return _read_json(path, specs, noun)
    got = f"a {path.suffix} file" if path.suffix else "a file without a suffix"
    raise InputError(f"{path}: got {got}; expected {FILES}. {_ADVICE}")


def _read_npz(path: Path, noun: str) -> dict[str, Array]:
    with zipfile.ZipFile(path) as archive:
        # A small archive can unpack to any size.
        declared, most = sum(member.file_size for member in archive.infolist()), most_unpacked(path.stat().st_size)
        if declared > most:
            raise InputError(
                f"{path}: got {declared} bytes of arrays; expected at most {most}, for a file of its size. Save them "
                "without compression: numpy.savez."
            )
        arrays = {}
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            with archive.open(member) as file:
                # Read as much as was declared and one byte, so that a false size is seen and costs nothing.
                content = file.read(member.file_size + 1)
            if len(content) != member.file_size:
                raise InputError(
                    f"{path}: array {name!r}: the archive declares {member.file_size} bytes, but {len(content)} "
                    "follow; expected a whole file."
                )
            if name in arrays:
                raise InputError(f"{path}: got array {name!r} twice; expected every name once.")
            arrays[name] = _read_array(f"{path}: array {name!r}", io.BytesIO(content), len(content))
    if not arrays:
        raise InputError(f"{path}: got no array; expected one for each {noun}. {_ADVICE}")
    return arrays


def _read_array(where: str, file: IO[bytes], size: int) -> Array:
    # The header is held against the file's size first: a false shape would allocate any amount of memory.
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(file)
    if dtype.hasobject:
        raise InputError(
            f"{where}: got Python objects, which are never unpickled; expected numbers. Save an array with a "
            "numeric dtype."
        )
    if dtype.kind == "V" and dtype.itemsize == 2:
        raise InputError(
            f"{where}: got values of two bytes that NumPy does not know, as bfloat16 is saved; expected numbers. "
            "Save array.astype('float32'), which holds every bfloat16."
        )
    if min(shape, default=1) < 0:
        raise InputError(f"{where}: the header declares shape {shape}; expected lengths from 0 up.")
    declared, follow = math.prod(shape) * dtype.itemsize, size - file.tell()
    if declared != follow:
        raise InputError(
            f"{where}: the header declares {declared} bytes for shape {shape}, but {follow} follow; expected one "
            "whole array."
        )
    file.seek(0)
    array: Array = np.lib.format.read_array(file, allow_pickle=False)
    return array


def _by_name(arrays: Mapping[str, Array], specs: Sequence[InputSpec], noun: str) -> Any:
    # The only input has any name; `numpy.savez` numbers arrays that were given without names.
    if len(arrays) == len(specs) == 1 and (noun == "input" or specs[0].name in arrays):
        return next(iter(arrays.values()))
    numbered = [f"arr_{k}" for k in range(len(arrays))]
    return [arrays[name] for name in numbered] if set(arrays) == set(numbered) else dict(arrays)


def _read_json(path: Path, specs: Sequence[InputSpec], noun: str) -> Any:
    if path.stat().st_size > MEMORY:
        raise InputError(f"{path}: got more than {MEMORY} bytes; expected a smaller file, such as .npz.")
    document = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=partial(_without_twins, path))
    if isinstance(document, dict):
        named = {name: _json_array(f"{path}: {name!r}", value) for name, value in document.items()}
        return _by_name(named, specs, noun)
    if len(specs) != 1:
        raise InputError(
            f"{path}: got one array; expected an object with an array for each {noun}: "
            f"{', '.join(repr(spec.name) for spec in specs)}."
        )
    return _json_array(str(path), document)


def _without_twins(path: Path, pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    # JSON lets the same name stand twice, and Python would keep the last.
    named = dict(pairs)
    if len(named) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{path}: got {twice!r} twice; expected every name once.")
    return named


def _json_array(where: str, value: Any) -> Array:
    kinds: set[type] = set()
    numbers: Any = _json_numbers(where, value, kinds)
    if len(kinds) > 1 and bool in kinds:
        raise InputError(f"{where}: got true or false among numbers; expected nested lists of numbers.")
    try:
        return np.array(numbers)
    except ValueError as error:
        raise InputError(f"{where}: got lists of different lengths; expected lists of one shape.") from error


def _json_numbers(where: str, value: Any, kinds: set[type]) -> Any:
    # `kinds` takes the types of the numbers, since NumPy would make 1.0 of a true among them.
    if isinstance(value, list):
        return [_json_numbers(where, each, kinds) for each in value]
    if value in ("NaN", "Infinity", "-Infinity"):  # JSON has no numbers for these, and some writers quote them
        value = float(value)
    if not isinstance(value, int | float):
        raise InputError(f"{where}: got {json.dumps(value)[:40]}; expected nested lists of numbers.")
    kinds.add(type(value))
    # NumPy has no such integers, and would make objects of them.
    is_large = isinstance(value, int) and abs(value) >= 2**63
    return float(value) if is_large else value


def _read_csv(path: Path, specs: Sequence[InputSpec], noun: str) -> Array:
    if len(specs) != 1:
        raise InputError(
            f"{path}: got a .csv file, which holds one array, for {len(specs)} {noun}s; expected .npz or .json."
        )
    with path.open(encoding="utf-8-sig") as file:
        rows = list(_rows(path, file))
    if not rows:
        raise InputError(f"{path}: got no line of numbers; expected numbers with commas between them.")
    return _folded(path, np.array(rows), specs[0], noun)


def _rows(path: Path, lines: Iterable[str]) -> Iterator[list[float]]:
    # Empty lines and comments have no numbers, nor has a first line of words, a header.
    width, may_be_header = None, True
    for count, line in enumerate(lines, start=1):
        if not line.strip() or (line.startswith("#") and not _SHEET_ERROR.match(line)):
            continue
        words = [word.strip() for word in line.split(",")]
        numbers = [number for number in map(_as_number, words) if number is not None]
        # A line that begins like a number, as `1;2` does, or has an error of a spreadsheet, is no header.
        looks_like_numbers = words[0][:1] in set("0123456789+-.") or any(map(_SHEET_ERROR.match, words))
        is_header = may_be_header and not numbers and not looks_like_numbers
        may_be_header = False
        if is_header:
            continue
        width = width or len(words)
        if len(words) != width:
            raise InputError(
                f"{path}: got {len(words)} numbers on line {count}; expected {width}, as on the lines before."
            )
        if len(numbers) < width:
            word = next(word for word in words if _as_number(word) is None)
            raise InputError(f"{path}: got {word[:40]!r} on line {count}; expected numbers with commas between them.")
        yield numbers


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
    if len(spec.shape) < 2:
        return table[:, 0] if not spec.shape and table.shape[1] == 1 else table
    *steps, features = spec.shape
    lines = math.prod(size for size in steps if size is not None)
    # Where the number of steps is open, all lines are one sample: nothing says where another one begins.
    samples = 1 if None in steps else -1
    if steps.count(None) > 1 or len(table) % lines:
        raise InputError(
            f"{path}: got {len(table)} lines; expected a multiple of {lines}, one for each step of {noun} "
            f"{spec.name!r}, which has shape {in_letters((None, *spec.shape))}, with {features} numbers in it."
        )
    return table.reshape(samples, *(-1 if size is None else size for size in steps), table.shape[1])


def taken_for_granted(path: Path, specs: Sequence[InputSpec]) -> str:
    """Return what was assumed when a file was read, since nothing in it says so; empty if nothing was."""
    open_steps = len(specs) == 1 and None in specs[0].shape[:-1]
    if path.suffix.lower() != ".csv" or not open_steps:
        return ""
    return (
        f"{path.name}: its lines were read as the steps of one sample, for the model leaves their number open; .npy, "
        ".npz and .json hold several samples."
    )


@contextlib.contextmanager
def told_of(path: Path, besides: str = "") -> Iterator[None]:
    """Prefix errors with the file they concern, and add what else a reader must know."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error} {besides}".rstrip()) from error
