"""Mutations of real model files and of array files: what `experiments.fuzz` reads, drawn from a seed."""

from __future__ import annotations

import copy
import io
import json
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import h5py
import numpy as np

from rnncheck.errors import InputError, RnncheckError
from rnncheck.frameworks.keras.config.owners import Owner
from rnncheck.frameworks.keras.config.reader import read
from rnncheck.frameworks.keras.session import load_keras
from rnncheck.frameworks.sources import open_network
from rnncheck.network import Array

FIXTURES = Path(__file__).parent.parent / "fixtures" / "keras2"

Tree = Any  # JSON: dictionaries, lists and values


@dataclass(frozen=True)
class Model:
    """A real model file."""

    content: bytes
    suffix: str
    description: str  # as JSON
    version: str
    weights: Mapping[tuple[str, ...], Mapping[str, Array]]  # by the path of their owner

    def read(self, owners: Sequence[Owner]) -> list[Mapping[str, Array]]:
        """Return the weights of owners that the model has."""
        if other := [owner for owner in owners if set(owner.names) != set(self.weights.get(owner.path, ()))]:
            raise InputError(f"{other[0].path}: got other weights; expected {other[0].names}.")
        return [self.weights[owner.path] for owner in owners]

    def with_description(self, tree: Tree) -> bytes:
        """Return the file with another description."""
        text = json.dumps(tree)
        if self.suffix == ".h5":
            return edited(self.content, lambda file: file.attrs.update(model_config=text))
        return zipped([(name, text if name == "config.json" else part) for name, part in members(self.content)])


# --- real models ---


def save_models(folder: Path) -> None:
    """Save models of every kind with Keras: cases of the grid, and graphs that no case has."""
    load_keras()
    from absl import logging
    from keras import Input, Model, Sequential, layers

    from rnncheck.cases.grid import default_grid
    from rnncheck.frameworks.keras.build import build

    logging.set_verbosity(logging.ERROR)  # which Keras warns of .h5 files with
    for k, case in enumerate(default_grid()[::5]):
        build(case).model.save(folder / f"case_{k}{'.h5' if k % 4 == 3 else '.keras'}")
    ids, x = Input((6,), name="ids"), Input((6, 3), name="x")
    shared = layers.Dense(3, activation="gelu")
    inner = Sequential([Input((6, 3)), shared, layers.LayerNormalization(), layers.BatchNormalization()])
    embedded = layers.Embedding(7, 3, mask_zero=True)(ids)
    convolved = layers.Conv1D(3, 2, padding="causal", activation="relu")(inner(x))
    pooled = layers.AveragePooling1D(2, padding="same")(layers.MaxPooling1D(2, strides=1)(convolved))
    attended = layers.Attention(use_scale=True)([embedded, shared(x)], use_causal_mask=True)
    joined = layers.Concatenate()([layers.Add()([embedded, convolved]), attended, layers.Masking(0.5)(x)])
    y, *states = layers.LSTM(4, return_sequences=True, return_state=True)(joined)
    z = layers.RepeatVector(3)(layers.GRU(4)(y, initial_state=states[0]))
    moved = layers.Flatten()(layers.Permute((2, 1))(layers.Reshape((4, 3))(layers.Flatten()(z))))
    activated = [each(moved) for each in (layers.ReLU(6.0), layers.LeakyReLU(0.1), layers.ELU(), layers.Softmax())]
    ends = [layers.PReLU()(layers.Maximum()(activated)), layers.GlobalAveragePooling1D()(pooled)]
    ends += [layers.Dot(1)([y, embedded]), layers.TimeDistributed(inner)(layers.Reshape((1, 6, 3))(x))]
    Model([ids, x], ends).save(folder / "graph.keras")
    Model({"ids": ids, "x": x}, {"one": ends[0], "two": ends[1]}).save(folder / "named.keras")


def load_models(folder: Path) -> list[Model]:
    """Read the models in a folder, and those of the fixtures that Keras 2 wrote."""
    paths = sorted([*folder.iterdir(), *FIXTURES.glob("*/*.h5"), *FIXTURES.glob("*/*.keras")])
    return [found for path in paths for found in _loaded(path)]


def _loaded(path: Path) -> Iterator[Model]:
    weights: dict[tuple[str, ...], Mapping[str, Array]] = {}
    try:
        file, _ = open_network(path)
    except RnncheckError:
        return  # a fixture of what is refused

    class Noted:
        def read(self, owners: Sequence[Owner]) -> list[Mapping[str, Array]]:
            found = file.weights.read(owners)
            weights.update(zip([owner.path for owner in owners], found, strict=True))
            return found

    read(file.config, Noted(), file.keras_version)
    suffix = ".keras" if zipfile.is_zipfile(path) else ".h5"
    yield Model(path.read_bytes(), suffix, json.dumps(file.config), file.keras_version, weights)


# --- descriptions ---

EXTREMES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 7, 2**20, 10**9, 2**31, -(2**31), 2**63, 2**64, 10**30, 10**400, 1e308, -1e308,
    0.5, -0.5, 1e-320, math.nan, math.inf, -math.inf, "", "a", "é\n\x1b[2J\u202e", "x" * 5000, "None", "1", "relu",
    "same", "float16", "float64", "bfloat16", "int8", "int64", "string", "complex64", "mixed_float16", [], {}, [[]],
    [0], [-1], [None], [1, 1], [2, 1], [-1, 3], [10**9, 10**9], [1] * 40, [None, None, None], [True], ["a"],
    {"class_name": "Dense"}, {"class_name": "__numpy__", "config": {"value": [[1.0, [2.0]]], "dtype": "float64"}},
    {"class_name": "__tensor__", "config": {"value": [1, 2], "dtype": "nothing"}},
    {"class_name": "__lambda__", "config": {"value": "x"}}, {"class_name": "function", "config": "tanh"},
    {"module": "os", "class_name": "system", "config": "true", "registered_name": "system"},
)  # fmt: skip


def mutated_description(model: Model, other: Model, rng: Random) -> Tree:
    """Return the description of a model with one to three values that are changed, or from another model."""
    tree, from_other = json.loads(model.description), json.loads(other.description)
    for _ in range(rng.randint(1, 3)):
        _mutate(tree, from_other, rng)
    return tree


def _mutate(tree: Tree, other: Tree, rng: Random) -> None:
    node, key = rng.choice(_places(tree) or [({"": tree}, "")])
    value = node[key]
    match rng.randrange(10):
        case 0:
            del node[key]
        case 1 if isinstance(node, list):
            node.insert(rng.randint(0, len(node)), copy.deepcopy(value))
        case 1:
            node[f"{key}_again"] = copy.deepcopy(value)
        case 2:
            node[key] = rng.choice([[value], {"0": value}, {"class_name": str(key), "config": value}, str(value)])
        case 3 if isinstance(value, int | float) and abs(value) < 1e300:
            node[key] = rng.choice([value + 1, value - 1, -value, value * 2, value / 2, float(value), str(value)])
        case 4 | 5 | 6:
            like = [place for place in _places(other) if place[1] == key]
            donor, its_key = rng.choice(like if like and rng.random() < 0.7 else _places(other))
            node[key] = copy.deepcopy(donor[its_key])
        case _:
            node[key] = copy.deepcopy(rng.choice(EXTREMES))


# Every container in a tree with every key or index that it has.
def _places(tree: Tree) -> list[tuple[Any, Any]]:
    found, waiting = [], [tree]
    while waiting:
        node = waiting.pop()
        keys: Any = node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        found += [(node, key) for key in keys]
        waiting += [node[key] for key in keys]
    return found


# --- files ---


def members(content: bytes) -> list[tuple[str, Any]]:
    """Return what is in an archive."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def zipped(parts: Sequence[tuple[str, Any]], compression: int = zipfile.ZIP_STORED) -> bytes:
    """Return an archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, part in parts:
            archive.writestr(zipfile.ZipInfo(name), part, compression)  # which does not say when it was written
    return buffer.getvalue()


def edited(content: bytes, change: Callable[[h5py.File], Any]) -> bytes:
    """Return an HDF5 file after a change."""
    buffer = io.BytesIO(content)
    with h5py.File(buffer, "r+") as file:
        change(file)
    return buffer.getvalue()


_DTYPES: tuple[Any, ...] = (
    "f2", "f4", ">f8", "i1", "u8", "?", "c8", "S3", "V2", "V7", "f16", h5py.string_dtype(), h5py.ref_dtype,
    h5py.regionref_dtype, [("a", "f4"), ("b", "i4")], ("f4", (3,)), h5py.vlen_dtype("f4"), h5py.enum_dtype({"a": 1}),
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    1, 0.5, "a", b"\xff", [b"a"], ["a", "a"], [[b"a"]], np.zeros(0), h5py.Empty("f4"), "[" * 3000, "{}",
)  # fmt: skip


def _change_hdf5(file: h5py.File, rng: Random) -> None:
    names: list[str] = []
    file.visit(names.append)
    name, other = rng.choice(names), rng.choice(names)
    match rng.randrange(9):
        case 0:
            del file[name]
        case 1:
            file.move(name, f"{other}_{rng.randrange(9)}")
        case 2:
            file[f"{name}_again"] = file[other]
        case 3:
            del file[name]
            file[name] = rng.choice([h5py.SoftLink(f"/{other}"), h5py.ExternalLink("/etc/passwd", "/")])
        case 4 | 5 | 6:
            shape = tuple(rng.choice([0, 1, 2, 3, 2**16, 2**31]) for _ in range(rng.randrange(4)))
            chunks = (1,) * len(shape) if shape and 0 not in shape and rng.random() < 0.5 else None
            packing: Any = rng.choice([{}, {}, {"compression": "gzip"}, {"compression": "lzf"}, {"shuffle": True}])
            del file[name]
            file.create_dataset(name, shape, rng.choice(_DTYPES), chunks=chunks, **packing)
        case _:
            owner = file[name] if rng.random() < 0.7 else file
            known = [*owner.attrs, "layer_names", "weight_names", "model_config", "keras_version"]
            owner.attrs[rng.choice(known)] = rng.choice(_VALUES)


def _flipped(content: bytes, rng: Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at, length = rng.randrange(len(damaged)), rng.choice([1, 2, 4, 8])
        from_here = rng.randrange(len(damaged))
        new = [rng.randbytes(length), b"\xff" * length, bytes(length), damaged[from_here : from_here + length]]
        damaged[at : at + length] = rng.choice(new)
    return bytes(damaged if rng.random() < 0.9 else damaged[: rng.randrange(len(damaged))])


def _changed_archive(parts: list[tuple[str, Any]], rng: Random) -> bytes:
    k = rng.randrange(len(parts))
    name, part = parts[k]
    match rng.randrange(5):
        case 0:
            del parts[k]
        case 1:
            parts.append((name, part[: len(part) // 2]))
        case 2:
            parts[k] = (rng.choice([f"../{name}", name.upper(), "/", "é" * 300, "model.weights.npz"]), part)
        case 3:
            parts[k] = (name, _flipped(part, rng) if part else b"a")
        case _:
            return zipped(parts, rng.choice([zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]))
    return zipped(parts)


def mutated_file(model: Model, rng: Random) -> bytes:
    """Return a model file with a change in its HDF5, in its archive or in its bytes."""

    def changed(content: bytes) -> bytes:
        try:
            content = edited(content, lambda file: _change_hdf5(file, rng))
        except (ValueError, RuntimeError, OSError, KeyError, TypeError):  # what HDF5 does not write
            return _flipped(content, rng)
        return _flipped(content, rng) if rng.random() < 0.2 else content

    how = rng.random()
    if how < 0.3:
        return _flipped(model.content, rng)
    if model.suffix == ".h5":
        return changed(model.content)
    parts = members(model.content)
    if how < 0.5:
        return _changed_archive(parts, rng)
    return zipped([(name, changed(part) if name.endswith(".h5") else part) for name, part in parts])


def mutated_arrays(rng: Random) -> tuple[bytes, str]:
    """Return a damaged `.npy` or `.npz` file, and its suffix."""
    dtype: Any = rng.choice(["f4", "f4", ">f8", "f2", "i8", "?", "S3", "c8", "M8[s]", "O", [("a", "f4")]])
    shape = (2, 16, 1) if rng.random() < 0.5 else tuple(rng.randrange(5) for _ in range(rng.randrange(4)))
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(shape, dtype))
    content = buffer.getvalue()
    if rng.random() < 0.5:
        words = [b"(2, 16, 1)", b"'<f4'", b"False", b"'shape'", b"16", b"'descr'"]
        odd = [b"(10**9,)", b"(-1, 2)", b"(2,", b"True", b"99999999999", b"[1]", b"(1e3,)", b"'x'", b"(((((", b"{}"]
        content = content.replace(rng.choice(words), rng.choice(odd))
    if rng.random() < 0.5:
        content = _flipped(content, rng)
    if rng.random() < 0.5:
        return content, ".npy"
    parts: list[tuple[str, Any]] = [("arr_0.npy", content), *([("b.npy", content)] if rng.random() < 0.3 else [])]
    return (zipped(parts) if rng.random() < 0.5 else _changed_archive(parts, rng)), ".npz"
