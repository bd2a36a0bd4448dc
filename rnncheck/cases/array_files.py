"""Arrays from files: `.npy`, `.npz`, `.csv`, `.json` and raw binary, read without executing anything in them."""

from __future__ import annotations

import contextlib
import io
import json
import lzma
import math
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from rnncheck.cases.csv_files import assumed_of_header, read_csv
from rnncheck.cases.inputs import fold, in_letters
from rnncheck.cases.memory import MEMORY, most_unpacked
from rnncheck.errors import InputError, escaped
from rnncheck.network import Array, InputSpec

# The kinds of files that are read, for messages and help.
FILES = ".npy, .npz, .csv or .json"
_SUFFIXES = (".npy", ".npz", ".csv", ".json")
_ADVICE = "Write it with numpy.save, numpy.savez, numpy.savetxt(..., delimiter=',') or as JSON."

# What the readers of these formats raise at files that are damaged, encrypted or made up.
_UNREADABLE = (
    OSError, EOFError, ValueError, TypeError, SyntaxError, OverflowError, MemoryError, RuntimeError,
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, tokenize.TokenError,
)  # fmt: skip


def read_arrays(path: Path, specs: Sequence[InputSpec], noun: str = "input", dtype: str | None = None) -> Any:
    """Return what a file holds: one array, several in an order, or a mapping by name.

    `.npy` has one array (N, ...). `.npz` has arrays by name, `arr_0`, `arr_1`, ... in an order, or one input of any
    name. `.csv` has a line for every step, the steps of the first sample first, or for every sample where there are
    no steps. `.json` has nested lists of numbers, or an object that has such by name. Any other file is raw binary:
    one array, numbers of `dtype` in C order.

    Raises:
        InputError: the file is none of these, or holds something else than numbers.
    """
    with _told(path):
        return _read(path, specs, noun, dtype)


# Refuses a file in words where it cannot be read.
@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        with warnings.catch_warnings(action="ignore"):  # NumPy's, of headers in old forms
            yield
    except _UNREADABLE as error:
        if isinstance(error, InputError):
            raise
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{path}: it cannot be read ({said}); expected a whole array. Was writing it interrupted? {_ADVICE}"
        ) from error


def _read(path: Path, specs: Sequence[InputSpec], noun: str, dtype: str | None) -> Any:
    if not path.is_file():
        expected = f"expected {FILES} with the {noun}s"
        if path.is_dir():
            raise InputError(f"{path}: got a directory; {expected}. Give the file in it.")
        if path.exists():
            raise InputError(f"{path}: got a pipe or a device; {expected}. Save it to a file first.")
        raise InputError(f"{path}: there is no such file; {expected}. Check the path.")
    if not path.stat().st_size:
        raise InputError(f"{path}: the file is empty; expected an array. Was writing it interrupted? {_ADVICE}")
    match path.suffix.lower():
        case ".npy":
            with path.open("rb") as file:
                return _read_array(str(path), file, path.stat().st_size)
        case ".npz":
            return _by_name(_read_npz(path, noun), specs, noun)
        case ".json":
            return _read_json(path, specs, noun)
    if not is_raw(path):
        return read_csv(path, _only(path, specs, noun), noun)
    if dtype is not None:
        return _read_raw(path, _only(path, specs, noun), noun, dtype)
    got = f"a {path.suffix} file" if path.suffix else "a file without a suffix"
    raise InputError(
        f"{path}: got {got}; expected {FILES}. Name it .csv if it is text; if it is raw binary, `rnncheck compare` "
        "reads it with --dtype float32."
    )


def _only(path: Path, specs: Sequence[InputSpec], noun: str) -> InputSpec:
    if len(specs) != 1:
        kind = "raw binary" if is_raw(path) else "a .csv file"
        names = ", ".join(repr(spec.name) for spec in specs)
        raise InputError(
            f"{path}: got {kind}, which holds one array, for {len(specs)} {noun}s; expected .npz or .json, with an "
            f"array for each: {names}."
        )
    return specs[0]


def is_raw(path: Path) -> bool:
    """Whether a file has none of the forms that say what they hold, so that it is read as raw binary."""
    return path.suffix.lower() not in _SUFFIXES


def _read_raw(path: Path, spec: InputSpec, noun: str, name: str) -> Array:
    dtype, size = _raw_dtype(name), path.stat().st_size
    if size % dtype.itemsize:
        raise InputError(
            f"{path}: got {size} bytes; expected a multiple of {dtype.itemsize}, the bytes of one {name}. Check "
            "--dtype, and whether writing the file was interrupted."
        )
    count, sizes = size // dtype.itemsize, [each for each in spec.shape if each is not None]
    whole = math.prod(sizes) * (spec.samples or 0)
    other = whole and size % whole == 0 and _ITEMS.get(size // whole)
    numbers = np.fromfile(path, dtype)
    if name == "bfloat16":  # the upper half of a float32
        numbers = (numbers.astype(np.uint32) << 16).view(np.float32)
    array = fold(numbers, spec.shape, spec.samples)
    if array is None or (other and count != whole):
        expected = whole or f"a multiple of {'*'.join(map(str, sizes))} = {math.prod(sizes)}"
        todo = f"Its size is that of {other}: check --dtype." if other else "Write every number once, in C order."
        raise InputError(
            f"{path}: got {count} numbers of {name}; expected {expected} for {noun} {spec.name!r}, which has shape "
            f"{in_letters((spec.samples, *spec.shape))}. {todo}"
        )
    return array


# What numbers of so many bytes usually are.
_ITEMS = {2: "float16 or bfloat16", 4: "float32", 8: "float64"}


def _raw_dtype(name: str) -> np.dtype[Any]:
    with contextlib.suppress(TypeError, ValueError, SyntaxError):
        dtype: np.dtype[Any] = np.dtype("<u2" if name == "bfloat16" else name)
        if dtype.kind in "biuf" and dtype.itemsize <= 8:
            return dtype
    raise InputError(
        f"--dtype: got {name!r}; expected float16, bfloat16, float32, float64, an integer such as int16, or a code "
        "with its byte order, such as >f4. Give the one that the program wrote."
    )


def read_npz(path: Path, noun: str) -> dict[str, Array]:
    """Read all arrays of a `.npz` file, by their names.

    Raises:
        InputError: an array is not whole, holds objects, or the file would unpack to more than its size can hold.
    """
    with _told(path):
        return _read_npz(path, noun)


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
                    "follow; expected a whole file. Save it again."
                )
            if name in arrays:
                raise InputError(f"{path}: got array {name!r} twice; expected every name once. Save it again.")
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
        raise InputError(f"{where}: the header declares shape {shape}; expected lengths from 0 up. Save it again.")
    declared, follow = math.prod(shape) * dtype.itemsize, size - file.tell()
    if declared != follow:
        raise InputError(
            f"{where}: the header declares {declared} bytes for shape {shape}, but {follow} follow; expected one "
            "whole array. Was writing it interrupted? Save it again."
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
        raise InputError(f"{path}: got more than {MEMORY} bytes; expected fewer. Save it as .npz, which is smaller.")
    document = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=partial(_without_twins, path))
    if isinstance(document, dict):
        named = {name: _json_array(f"{path}: {name!r}", value) for name, value in document.items()}
        return _by_name(named, specs, noun)
    if len(specs) != 1:
        raise InputError(
            f"{path}: got one array; expected an object with an array for each {noun}: "
            f"{', '.join(repr(spec.name) for spec in specs)}. Give each its name."
        )
    return _json_array(str(path), document)


def _without_twins(path: Path, pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    # JSON lets the same name stand twice, and Python would keep the last.
    named = dict(pairs)
    if len(named) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{path}: got {twice!r} twice; expected every name once. Leave one out.")
    return named


def _json_array(where: str, value: Any) -> Array:
    kinds: set[type] = set()
    numbers: Any = _json_numbers(where, value, kinds)
    if len(kinds) > 1 and bool in kinds:
        raise InputError(f"{where}: got true or false among numbers; expected nested lists of numbers. Write 1 or 0.")
    try:
        return np.array(numbers)
    except ValueError as error:
        raise InputError(
            f"{where}: got lists of different lengths; expected lists of one shape. Write as many numbers in each."
        ) from error


def _json_numbers(where: str, value: Any, kinds: set[type]) -> Any:
    # `kinds` takes the types of the numbers, since NumPy would make 1.0 of a true among them.
    if isinstance(value, list):
        return [_json_numbers(where, each, kinds) for each in value]
    if value in ("NaN", "Infinity", "-Infinity"):  # JSON has no numbers for these, and some writers quote them
        value = float(value)
    if not isinstance(value, int | float):
        raise InputError(
            f"{where}: got {json.dumps(value)[:40]}; expected nested lists of numbers. Write array.tolist(), and "
            '"NaN" for what is no number.'
        )
    kinds.add(type(value))
    # NumPy has no such integers, and would make objects of them.
    is_large = isinstance(value, int) and abs(value) >= 2**63
    return float(value) if is_large else value


def taken_for_granted(path: Path, specs: Sequence[InputSpec]) -> str:
    """Return what was assumed when a file was read, since nothing in it says so; empty if nothing was.

    The file is one that `read_arrays` has read.
    """
    is_csv = path.suffix.lower() == ".csv"
    if len(specs) != 1 or not (is_csv or is_raw(path)):
        return ""
    assumed = [assumed_of_header(path)] if is_csv else []
    # A line of a .csv file has all numbers of the last axis, and so says how many they are.
    of, shape = ("lines", specs[0].shape[:-1]) if is_csv else ("numbers", specs[0].shape)
    if None in shape:
        assumed.append(
            f"its {of} were read as the steps of one sample, for the model leaves their number open; .npy, .npz and "
            ".json hold several samples"
        )
    return f"{escaped(path.name)}: {'; '.join(filter(None, assumed))}." if any(assumed) else ""


@contextlib.contextmanager
def told_of(path: Path, besides: str = "") -> Iterator[None]:
    """Prefix errors with the file they concern, and add what else a reader must know."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error} {besides}".rstrip()) from error
