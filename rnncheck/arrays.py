"""Arrays from files: `.npy`, `.npz` and `.csv`, read without executing anything in them."""

from __future__ import annotations

import io
import lzma
import math
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from rnncheck.errors import InputError
from rnncheck.network import Array, InputSpec, Network

_ADVICE = "Write it with numpy.save, numpy.savez or numpy.savetxt(..., delimiter=',')."

# What the readers of these formats raise at files that are damaged, encrypted or made up.
_UNREADABLE = (
    OSError, EOFError, ValueError, TypeError, SyntaxError, OverflowError, MemoryError, RuntimeError,
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, tokenize.TokenError,
)  # fmt: skip


def read_inputs(path: Path, network: Network) -> Any:
    """Return what a file holds as the inputs of a network.

    Args:
        path: `.npy`, one array (N, ...); `.npz`, one array for each input, by its name, or one of any name; `.csv`,
            a line for every step, the steps of the first sample first, or for every sample where there are no steps.
        network: whose inputs they are.

    Raises:
        InputError: the file is none of these, or holds something else than numbers.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # NumPy's, of headers in old forms
            return _read(path, network)
    except _UNREADABLE as error:
        if isinstance(error, InputError):
            raise
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: it cannot be read ({said}); expected an array of numbers. {_ADVICE}") from error


def _read(path: Path, network: Network) -> Any:
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; expected .npy, .npz or .csv with the inputs.")
    match path.suffix.lower():
        case ".npy":
            return _read_npy(path)
        case ".npz":
            return _only_or_by_name(_read_npz(path), network)
        case ".csv":
            return _read_csv(path, network)
    came = f"a {path.suffix} file" if path.suffix else "a file without a suffix"
    raise InputError(f"{path}: {came} came; expected .npy, .npz or .csv. {_ADVICE}")


def _read_npy(path: Path) -> Array:
    with path.open("rb") as file:
        return _read_array(str(path), file, path.stat().st_size)


def _read_npz(path: Path) -> dict[str, Array]:
    with zipfile.ZipFile(path) as archive:
        arrays = {}
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            with archive.open(member) as file:
                # Read as much as was declared and one byte, so that a false size is seen and costs nothing.
                content = file.read(min(member.file_size, _LARGEST) + 1)
            if len(content) > _LARGEST:
                raise InputError(f"{path}: array {name!r} is larger than {_LARGEST} bytes; expected a smaller one.")
            if len(content) != member.file_size:
                raise InputError(
                    f"{path}: array {name!r}: the archive declares {member.file_size} bytes, but {len(content)} "
                    "follow; expected a whole file."
                )
            arrays[name] = _read_array(f"{path}: array {name!r}", io.BytesIO(content), len(content))
    if not arrays:
        raise InputError(f"{path}: it holds no array; expected one for each input. {_ADVICE}")
    return arrays


# The most that one array of an archive may unpack to.
_LARGEST = 2**32


def _read_array(where: str, file: IO[bytes], size: int) -> Array:
    """Read one array in NumPy's format, after its header was held against the file's size."""
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(file)
    if dtype.hasobject:
        raise InputError(
            f"{where}: Python objects came, which are never unpickled; expected numbers. Save an array with a "
            "numeric dtype."
        )
    if min(shape, default=1) < 0:
        raise InputError(f"{where}: the header declares shape {shape}; expected lengths from 0 up.")
    declared = math.prod(shape) * dtype.itemsize
    if declared > size - file.tell():
        raise InputError(
            f"{where}: the header declares {declared} bytes for shape {shape}, but {size - file.tell()} follow; "
            "expected a whole file."
        )
    file.seek(0)
    array: Array = np.lib.format.read_array(file, allow_pickle=False)
    return array


def _only_or_by_name(arrays: Mapping[str, Array], network: Network) -> Any:
    """Return arrays by the names of the inputs; a single one for a single input may have any name."""
    return next(iter(arrays.values())) if len(arrays) == len(network.inputs) == 1 else dict(arrays)


def _read_csv(path: Path, network: Network) -> Array:
    """Read lines of numbers with commas between them; a first line of words is a header."""
    if len(network.inputs) != 1:
        raise InputError(
            f"{path}: a .csv file holds one array, but the model has {len(network.inputs)} inputs; expected .npz."
        )
    with path.open(encoding="utf-8-sig") as file:
        rows = list(_rows(path, file))
    if not rows:
        raise InputError(f"{path}: it has no line of numbers; expected numbers with commas between them.")
    return _folded(path, np.array(rows), network.inputs[0])


def _rows(path: Path, lines: Iterable[str]) -> Iterator[list[float]]:
    """Yield the numbers of each line; lines that are empty or begin with # are none."""
    first = 0
    width = None
    for count, line in enumerate(lines, start=1):
        words = line.strip().split(",")
        if not line.strip() or line.startswith("#"):
            continue
        first = first or count
        if count == first and _is_header(words[0]):
            continue
        width = width or len(words)
        if len(words) != width:
            raise InputError(f"{path}: line {count} has {len(words)} numbers; expected {width}, as on those before.")
        yield [_number(path, count, word) for word in words]


def _is_header(word: str) -> bool:
    """Whether a line's first word is neither a number nor begins like one, as `1;2` does."""
    try:
        float(word)
    except ValueError:
        return word.strip()[:1] not in set("0123456789+-.")
    return False


def _number(path: Path, line: int, word: str) -> float:
    try:
        return float(word)
    except ValueError as error:
        raise InputError(
            f"{path}: line {line} has {word.strip()[:40]!r}; expected numbers with commas between them."
        ) from error


def _folded(path: Path, table: Array, spec: InputSpec) -> Array:
    """Return lines (N·T, D) as (N, T, D) where the input has steps."""
    if len(spec.shape) < 2:
        return table[:, 0] if not spec.shape and table.shape[1] == 1 else table
    *steps, features = spec.shape
    lines = math.prod(size for size in steps if size is not None)
    # Where the number of steps is open, all lines are one sample: nothing says where another one begins.
    samples = 1 if None in steps else -1
    if steps.count(None) > 1 or len(table) % lines:
        raise InputError(
            f"{path}: {len(table)} lines came; expected a multiple of {lines}, one for each step of input "
            f"{spec.name!r}, which has shape {_written(spec)}, with {features} numbers in it."
        )
    return table.reshape(samples, *(-1 if size is None else size for size in steps), table.shape[1])


def _written(spec: InputSpec) -> str:
    return f"({', '.join(['N', *('any' if size is None else str(size) for size in spec.shape)])})"
