"""Reading untrusted HDF5: everything stays inside the one file, and within a limit of memory.

Links that leave the file, arrays that lie elsewhere or declare more than the file holds, and filters that would be
loaded from plug-ins are refused before HDF5 acts on them. Any damage that HDF5 reports becomes an `InputError`.
"""

from __future__ import annotations

import io
import lzma
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rnncheck.errors import InputError, RnncheckError, UnsupportedError
from rnncheck.network import Array

if TYPE_CHECKING:
    import h5py

# Bytes of one attribute: the description of a model with many thousand layers is smaller.
_ATTRIBUTE = 16 << 20

# DEFLATE makes nothing more than this many times smaller.
EXPANSION = 1100

# How HDF5 begins a collection of texts, and how many bytes stand before the first text and before each.
_HEAP, _HEAP_HEADER, _TEXT_HEADER = b"GCOL\x01\0\0\0", 16, 16

# Bytes of a reference to a text: its length, where its collection is, and its number there.
_REFERENCE = 16

# How an attribute's type says that it is text of any length: such a sequence, 16 bytes in place, of 8-bit integers.
_TEXT_TYPE = re.compile(rb"[\x19-\x49].{2}\0\x10\0{3}\x10\0{3}\x01\0{3}\0\0\x08\0(?:\0{4})?(?=[\x01\x02])", re.DOTALL)

# The most texts of a file; a collection of them, for which the whole file is searched, counts as many.
_TEXTS, _COLLECTION = 100_000, 1_000

_DEFLATE, _SHUFFLE, _CHECKSUM = 1, 2, 3  # the numbers of HDF5's own filters

# What h5py, zipfile and NumPy raise over a damaged file.
_DAMAGE = (
    OSError, KeyError, RuntimeError, ValueError, TypeError, OverflowError, MemoryError, EOFError,
    struct.error, zlib.error, lzma.LZMAError, zipfile.BadZipFile,
)  # fmt: skip


@contextmanager
def reported_damage(where: str) -> Iterator[None]:
    """Turn what libraries raise over a damaged file into an InputError."""
    try:
        yield
    except RnncheckError:
        raise
    except _DAMAGE as error:
        first_line, *_ = [*str(error).strip("'\"").splitlines(), type(error).__name__]
        raise InputError(
            f"{where}: it cannot be read ({first_line[:160]}); expected a whole model file. It is damaged: copy it "
            "or save it again."
        ) from error


@contextmanager
def open_hdf5(content: bytes, where: str, memory: int) -> Iterator[Hdf5File]:
    """Open the bytes of a file until the block ends, for arrays of so many bytes together.

    Raises:
        InputError: they are no HDF5, or damaged.
    """
    import h5py

    with reported_damage(where):
        _check_references(content)
        _check_texts(content)
        file = h5py.File(io.BytesIO(content), "r")
    try:
        yield Hdf5File(file, len(content), where, memory)
    finally:
        with reported_damage(where):
            file.close()


@dataclass
class Hdf5File:
    """An open file, from which groups, attributes and arrays are read under control.

    Every method raises an InputError where the file is damaged.
    """

    root: h5py.Group  # the outermost
    size: int  # bytes
    where: str  # what messages call the file
    _memory: int  # bytes that are left for arrays

    def refusal(self, said: str) -> InputError:
        """Return the refusal of what Keras does not write."""
        return InputError(f"{self.where}: {said} save the model again.")

    def group(self, parent: h5py.Group, path: str) -> h5py.Group | None:
        """Return the group at a path below another; None without one."""
        import h5py

        found = self._find(parent, path)
        if found is not None and not isinstance(found, h5py.Group):
            raise self.refusal(f"{found.name} is no group; expected one. The file is damaged:")
        return found

    def members(self, group: h5py.Group) -> list[str]:
        """Return the names of what a group holds."""
        with reported_damage(self.where):
            return [str(name) for name in group]

    def address(self, group: h5py.Group) -> int:
        """Return where in the file a group lies, whatever its name."""
        import h5py

        with reported_damage(self.where):
            return int(h5py.h5o.get_info(group.id).addr)

    def attribute(self, group: h5py.Group, name: str) -> Any:
        """Return an attribute, bytes as text; None without one."""
        import h5py

        with reported_damage(self.where):
            if name not in group.attrs:
                return None
            declared = group.attrs.get_id(name)
            if declared.shape != (0,) and h5py.check_string_dtype(declared.dtype) is None:
                raise TypeError(f"attribute {name!r} is no text")
            self._limit(math.prod(declared.shape) * declared.dtype.itemsize, _ATTRIBUTE, f"attribute {name!r}")
            value = group.attrs[name]
            return value.decode() if isinstance(value, bytes) else value

    def names(self, group: h5py.Group, attribute: str) -> list[str] | None:
        """Return a list of names, which Keras cuts into `attribute0`, `attribute1`, ... where it is long."""
        whole = self.attribute(group, attribute)
        parts: list[Any] = []
        while whole is None and (part := self.attribute(group, f"{attribute}{len(parts)}")) is not None:
            parts.append(part)
        parts = parts if whole is None else [whole]
        with reported_damage(self.where):
            names = [name for part in parts for name in np.atleast_1d(part)]
            texts = [name.decode() if isinstance(name, bytes) else name for name in names]
            if not all(isinstance(text, str) for text in texts):
                raise TypeError("something else where a name should be")
        return list(map(str, texts)) if parts else None

    def array(self, parent: h5py.Group, path: str) -> Array:
        """Return an array of floating-point numbers; bfloat16, which NumPy lacks, as float32."""
        import h5py

        dataset = self._find(parent, path)
        if not isinstance(dataset, h5py.Dataset):
            raise self.refusal(f"it has no array {path!r}; expected one. It is damaged:")
        with reported_damage(self.where):
            self._check_storage(dataset)
            return _floats(dataset, f"{self.where}: {dataset.name}")

    # What lies at a path; None where there is nothing. Other links than plain names may leave the file.
    def _find(self, parent: h5py.Group, path: str) -> Any:
        import h5py

        found: Any = parent
        with reported_damage(self.where):
            for name in path.split("/"):
                if not name or not isinstance(found, h5py.Group) or name not in found:
                    return None
                if not isinstance(found.get(name, getlink=True), h5py.HardLink):
                    said = f"{name!r} is a link to elsewhere; expected the weights themselves."
                    raise self.refusal(f"{said} rnncheck follows no links:")
                found = found[name]
        return found

    def _check_storage(self, dataset: h5py.Dataset) -> None:
        if dataset.external or dataset.is_virtual:
            said = f"{dataset.name} keeps its numbers in another file; expected them in this one."
            raise self.refusal(f"{said} rnncheck opens no other file:")
        properties = dataset.id.get_create_plist()
        filters = [properties.get_filter(k)[0] for k in range(properties.get_nfilters())]
        if not set(filters) <= {_DEFLATE, _SHUFFLE, _CHECKSUM} or filters.count(_DEFLATE) > 1:
            raise InputError(
                f"{self.where}: {dataset.name} is packed with the HDF5 filters {filters}; expected none, or gzip. "
                "Save the model again."
            )
        # The size that the dataset says it is stored in may be made up too.
        stored = min(dataset.id.get_storage_size(), self.size) * (EXPANSION if filters else 1)
        declared = math.prod(dataset.shape) * dataset.dtype.itemsize
        self._limit(declared, min(stored, self._memory), str(dataset.name))
        # All arrays of a model share the limit.
        self._memory -= declared

    def _limit(self, declared: int, limit: int, what: str) -> None:
        if declared > limit:
            said = f"{what} declares {declared} bytes; expected no more than the {limit} that the file can hold."
            raise self.refusal(f"{said} It is damaged or made up:")


# The lengths in the references to texts, for which HDF5 makes room before it looks.
# Source: HDF5 File Format Specification 3.0, IV.A.2.b, "Dataspace", d, "Datatype", and m, "Attribute".
def _check_references(content: bytes) -> None:
    for found in _TEXT_TYPE.finditer(content):
        version, rank, limits = content[found.end() : found.end() + 3]
        first = found.end() + (8 if version == 1 else 4)
        count = math.prod(struct.unpack_from(f"<{rank}Q", content, first))
        first += 8 * rank * (1 + limits % 2)
        for at in range(first, min(first + _REFERENCE * count, len(content)), _REFERENCE):
            (length,) = struct.unpack_from("<I", content, at)
            # A shorter one costs little, and what follows the types of anything but attributes is below 64 MiB.
            if length > max(len(content), 4 * _ATTRIBUTE):
                raise ValueError(f"a text in it declares {length} bytes")


# The lengths in every collection of texts, over which HDF5 stumbles into endless loops and crashes.
# Source: HDF5 File Format Specification 3.0, III.E, "Global Heap".
def _check_texts(content: bytes) -> None:
    start, count = content.find(_HEAP), 0
    while start >= 0:
        (size,) = struct.unpack_from("<Q", content, start + len(_HEAP))
        end, at = start + size, start + _HEAP_HEADER
        count += _COLLECTION
        while at + _TEXT_HEADER <= end <= len(content):
            index, length = struct.unpack_from("<H6xQ", content, at)
            if index == 0 and length != end - at:  # the rest of the collection is free, and that must be all of it
                break
            count += 1
            if count > _TEXTS:
                raise ValueError("it has more texts than a model")
            at += length if index == 0 else _TEXT_HEADER + -(-length // 8) * 8
        if not at <= end <= len(content) or end - at >= _TEXT_HEADER:
            raise ValueError("a text in it has an impossible length")
        start = content.find(_HEAP, start + 1)


def _floats(dataset: h5py.Dataset, where: str) -> Array:
    dtype = dataset.dtype
    if (dtype.kind, dtype.itemsize, dtype.names) == ("V", 2, None):  # bfloat16, as h5py stores it: two opaque bytes
        bits = np.frombuffer(dataset[()].tobytes(), "<u2").reshape(dataset.shape)
        return (bits.astype(np.uint32) << 16).view(np.float32)
    if dtype.kind != "f" or dtype.itemsize > 8:
        raise UnsupportedError(
            f"{where} holds {dtype} numbers; expected float16, bfloat16, float32 or float64. "
            "rnncheck does not replay quantised weights: save the model before they are quantised."
        )
    return np.asarray(dataset[()], dtype.newbyteorder("="))  # in this machine's byte order
