"""Arrays from files: `.npy`, `.npz` and `.csv`, read without executing anything in them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from rnncheck.errors import InputError
from rnncheck.network import Array, InputSpec, Network

_ADVICE = "Write it with numpy.save, numpy.savez or numpy.savetxt."


def read_inputs(path: Path, network: Network) -> Any:
    """Return what a file holds as the inputs of a network.

    Args:
        path: `.npy`, one array (N, ...); `.npz`, one array for each input, by its name, or one of any name; `.csv`,
            a line for every step, the steps of the first sample first, or for every sample where there are no steps.
        network: whose inputs they are.

    Raises:
        InputError: the file is none of these, or holds something else than numbers.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; expected .npy, .npz or .csv with the inputs.")
    try:
        match path.suffix.lower():
            case ".npy":
                return _read_npy(path)
            case ".npz":
                return _only_or_by_name(_read_npz(path), network)
            case ".csv":
                return _read_csv(path, network)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
        if isinstance(error, InputError):
            raise
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: it cannot be read ({said}); expected an array of numbers. {_ADVICE}") from error
    raise InputError(f"{path}: a {path.suffix or 'nameless'} file came; expected .npy, .npz or .csv. {_ADVICE}")


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
    declared = int(np.prod(shape, dtype=object)) * dtype.itemsize
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
        header = not _is_number(file.readline().split(",")[0])
    table = np.loadtxt(path, delimiter=",", skiprows=int(header), ndmin=2, encoding="utf-8-sig")
    return _folded(path, table, network.inputs[0])


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _folded(path: Path, table: Array, spec: InputSpec) -> Array:
    """Return lines (N·T, D) as (N, T, D) where the input has steps."""
    if len(spec.shape) < 2:
        return table if spec.shape else table[:, 0]
    *steps, features = spec.shape
    open_axes = sum(size is None for size in steps)
    rows = int(np.prod([size for size in steps if size is not None]))
    if open_axes == 1:  # all lines are one sample, since nothing says where another one begins
        return table.reshape(1, *(-1 if size is None else size for size in steps), table.shape[1])
    if open_axes or len(table) % rows:
        raise InputError(
            f"{path}: {len(table)} lines came; expected a multiple of {rows}, one for each step of input "
            f"{spec.name!r} {(*spec.shape,)} with {features} numbers in it."
        )
    return table.reshape(-1, *(size for size in steps if size is not None), table.shape[1])
