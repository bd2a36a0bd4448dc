"""Opening a `.keras` or `.h5` file without Keras: what it says about the model, and its weights.

Nothing in the file is executed, unpickled or written to disk, and every size that it declares is checked first.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rnncheck.cases.memory import MEMORY, most_unpacked
from rnncheck.errors import InputError, UnsupportedError
from rnncheck.frameworks.keras.config.owners import WeightStore
from rnncheck.frameworks.keras.files.hdf5 import EXPANSION, Hdf5File, open_hdf5, reported_damage
from rnncheck.frameworks.keras.files.stored import ArchiveWeights, LegacyWeights

# How the two kinds of files begin, the first with an entry or as an empty archive.
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_HDF5 = b"\x89HDF\r\n\x1a\n"
_LFS = b"version https://git-lfs"
CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
_TEXT = 16 << 20  # bytes of JSON; a model of many thousand layers takes less
_MEMBERS = 10_000  # of an archive; Keras writes three, and one for each vocabulary
_ENCRYPTED = 1  # the flag of an entry in a zip archive
_DEPTH = 200  # of nested objects and lists; a model takes about 10, and 6 more for each model inside a model
_SAVE = "Save the whole model as a .keras file: model.save('model.keras')."
_APART = (
    "Give the model's description too, as its architecture: a .keras, .h5 or JSON file. Or save the whole model: "
)


@dataclass(frozen=True)
class ModelFile:
    """What a model file holds."""

    path: Path
    config: Mapping[str, Any]  # the model's own serialised object: `class_name`, `config` and what else Keras wrote
    keras_version: str  # of the Keras that wrote it, such as `3.15.1` or `2.12.0`; "" where the file does not say
    weights: WeightStore  # opens the file anew
    architecture: Path | None = None  # the file that the description is from, where this one has weights alone


def open_model(path: Path, architecture: Path | None = None) -> ModelFile:
    """Read what a `.keras` or `.h5` file says about its model; its first bytes tell which of them it is.

    With an architecture, a model file or JSON, the description is from there and the file has weights alone.

    Raises:
        InputError: it is no such file, damaged, or has no model in it; or the architecture has none.
        UnsupportedError: the model is quantised, or its weights are kept in a way that rnncheck does not read.
    """
    head = _head(path)
    if architecture is not None:
        return _open_apart(path, head, architecture)
    if head.startswith(_ZIP):
        return _open_archive(path)
    if head.startswith(_HDF5):
        return _open_legacy(path)
    if head.startswith(_LFS):
        got = "it is a pointer of Git LFS, which stands for the file"
        raise InputError(f"{path}: {got}; expected the file itself. Fetch it: git lfs pull.")
    if _is_json(head):
        todo = "Give the file of the weights as the model, and this one as its architecture."
        raise InputError(f"{path}: it is JSON, which has no weights; expected a .keras or .h5 file. {todo}")
    what = "text" if head.isascii() and head.decode().replace("\n", " ").replace("\r", " ").isprintable() else "bytes"
    got = f"it is neither a zip archive nor HDF5 but {what} beginning with {head[:12]!r}"
    raise InputError(f"{path}: {got}; expected a .keras or .h5 file with a model. {_SAVE}")


def _head(path: Path) -> bytes:
    head = b""
    try:
        special = path.exists() and not path.is_file()
        if not special:
            with path.open("rb") as file:
                head = file.read(64)
    except (OSError, ValueError) as error:  # Python has a ValueError for a path with a zero byte
        missing, reason = isinstance(error, FileNotFoundError), getattr(error, "strerror", None) or error
        got = "there is no such file" if missing else f"it cannot be read ({reason})"
        raise InputError(f"{path}: {got}; expected a .keras or .h5 file. Check the path.") from error
    if special:
        got = "it is a device or a pipe; expected a file. Give a .keras or .h5 file."
        raise _directory(path) if path.is_dir() else InputError(f"{path}: {got}")
    if not head:
        raise InputError(f"{path}: the file is empty; expected a .keras or .h5 file. {_SAVE}")
    return head


def _directory(path: Path) -> InputError:
    kind, todo = "directory", "Give the file in it."
    if (path / "saved_model.pb").exists():
        kind = "SavedModel directory"
        load = f"tf.keras.models.load_model('{path}')"
        todo = f"Convert it with the Keras that wrote it: {load}.save('model.keras')."
    elif (path / CONFIG).exists():
        kind = "model saved as a directory"
        load = f"keras.saving.load_model('{path}')"
        todo = f"Load it with Keras and save it as a file: {load}.save('model.keras')."
    return InputError(f"{path}: got a {kind}; expected a .keras or .h5 file. {todo}")


def _open_archive(path: Path) -> ModelFile:
    with _archive(path) as archive:
        _check_members(path, archive)
        config = parse_description(_read(path, archive, CONFIG, _TEXT), f"{path}: {CONFIG}")
        metadata = _parse(_read(path, archive, METADATA, _TEXT), f"{path}: {METADATA}")
        version = _version(metadata.get("keras_version", ""), f"{path}: {METADATA}")
        _member(path, archive, WEIGHTS, MEMORY)

    opener = partial(_archived_weights, path)
    with opener():
        return ModelFile(path, config, version, ArchiveWeights(opener, numbered_anew=version.startswith("2.")))


def _archived_weights(path: Path) -> AbstractContextManager[Hdf5File]:
    with _archive(path) as archive:
        return open_hdf5(_read(path, archive, WEIGHTS, MEMORY), f"{path}: {WEIGHTS}", _unpacked(path))


def _archive(path: Path) -> zipfile.ZipFile:
    with reported_damage(str(path)):
        return zipfile.ZipFile(path)


def _unpacked(path: Path) -> int:
    return most_unpacked(path.stat().st_size)


# No name in an archive leads out of it, the model and its weights are there, and all of it is not too large.
def _check_members(path: Path, archive: zipfile.ZipFile) -> None:
    names = archive.namelist()
    declared = sum(info.file_size for info in archive.infolist())
    if len(names) > _MEMBERS or declared > _unpacked(path):
        got = f"it holds {len(names)} members with {declared} bytes"
        expected = f"at most {_MEMBERS} members and {_unpacked(path)} bytes, for a file of its size"
        raise InputError(f"{path}: {got}; expected {expected}. It is damaged or made up: save the model again.")
    for name in names:
        parts = name.replace("\\", "/").split("/")
        if ".." in parts or not parts[0] or ":" in parts[0]:
            got = f"it holds {name!r}, which leads out of the archive"
            raise InputError(f"{path}: {got}; expected names within it. It was not made by Keras: do not use it.")
    for name in ("model.weights.npz", "model.weights.json"):
        if name in names and WEIGHTS not in names:
            todo = f"rnncheck reads no pickled or divided weights. {_SAVE}"
            raise UnsupportedError(f"{path}: its weights are in {name}; expected {WEIGHTS}. {todo}")
    for name in (CONFIG, METADATA, WEIGHTS):
        if names.count(name) != 1:
            got = f"it holds {names.count(name) or 'no'} {name}"
            raise InputError(f"{path}: {got}; expected one, as in every .keras file. {_SAVE}")


# An entry of an archive, after a check of the size that it declares: at most `limit` bytes.
def _member(path: Path, archive: zipfile.ZipFile, name: str, limit: int) -> zipfile.ZipInfo:
    info = archive.getinfo(name)
    if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED} or info.flag_bits & _ENCRYPTED:
        got = f"{name} is encrypted or packed in an unusual way"
        raise InputError(f"{path}: {got}; expected it plain or deflated. {_SAVE}")
    possible = min(limit, EXPANSION * min(info.compress_size, path.stat().st_size))
    if info.file_size > possible:
        said = f"{name} declares {info.file_size} bytes; expected no more than the {possible} that it can hold"
        raise InputError(f"{path}: {said}. It is damaged or made up: save the model again.")
    return info


def _read(path: Path, archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    info = _member(path, archive, name, limit)
    with reported_damage(f"{path}: {name}"), archive.open(info) as file:
        return file.read(info.file_size + 1)


def _hdf5(path: Path) -> AbstractContextManager[Hdf5File]:
    if path.stat().st_size > MEMORY:
        todo = "Save the model without its optimizer: model.save(..., include_optimizer=False)."
        got = f"it has {path.stat().st_size} bytes"
        raise UnsupportedError(f"{path}: {got}; expected no more than {MEMORY}. {todo}")
    with reported_damage(str(path)):
        return open_hdf5(path.read_bytes(), str(path), _unpacked(path))


def _open_legacy(path: Path) -> ModelFile:
    opener = partial(_hdf5, path)
    with opener() as file:
        text = file.attribute(file.root, "model_config")
        if text is None:
            if _has_weights_alone(file):
                said = "it has weights, but no model that they belong to; expected a model saved whole."
                raise InputError(f"{path}: {said} {_APART}model.save('model.keras').")
            said = "it is HDF5 without the attribute model_config; expected a model saved by Keras."
            raise InputError(f"{path}: {said} {_SAVE}")
        version = file.attribute(file.root, "keras_version")
        if version is None and (group := file.group(file.root, "model_weights")) is not None:
            version = file.attribute(group, "keras_version")
    config = parse_description(text, f"{path}: model_config")
    return ModelFile(
        path, config, _version("" if version is None else version, f"{path}: keras_version"), LegacyWeights(opener)
    )


# Whether a file is what `save_weights` writes, in Keras' newer or its older form.
def _has_weights_alone(file: Hdf5File) -> bool:
    members = {"layers", "_layer_checkpoint_dependencies", "vars"} & set(file.members(file.root))
    return bool(members or file.names(file.root, "layer_names"))


# Weights and the description of their model in files of their own.
def _open_apart(path: Path, head: bytes, architecture: Path) -> ModelFile:
    expected = "expected HDF5 with weights alone, as model.save_weights(...) writes it, beside an architecture"
    if not head.startswith((*_ZIP, _HDF5)):
        raise InputError(f"{path}: it is no HDF5; {expected}.")
    opener = partial(_hdf5, path)
    whole = head.startswith(_ZIP)
    if not whole:
        with opener() as file:
            whole = file.attribute(file.root, "model_config") is not None
            if not whole and not _has_weights_alone(file):
                raise InputError(f"{path}: it is HDF5 without weights of Keras; {expected}.")
            legacy = bool(file.names(file.root, "layer_names"))
    if whole:
        raise InputError(f"{path}: it is a model saved whole; {expected}. Leave the architecture out.")
    config, version = _description(architecture)
    store = LegacyWeights(opener) if legacy else ArchiveWeights(opener, numbered_anew=version.startswith("2."))
    return ModelFile(path, config, version, store, architecture)


# What a model file or JSON says about a model, and the version of Keras that wrote it.
def _description(path: Path) -> tuple[Mapping[str, Any], str]:
    if not _is_json(_head(path)):
        whole = open_model(path)
        return whole.config, whole.keras_version
    if path.stat().st_size > _TEXT:
        raise InputError(f"{path}: it has {path.stat().st_size} bytes; expected JSON of {_TEXT} at most. {_SAVE}")
    config = parse_description(path.read_bytes(), str(path))
    return config, _version(config.get("keras_version", ""), f"{path}: keras_version")


def _is_json(head: bytes) -> bool:
    return head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith((b"{", b"["))


def _parse(text: Any, where: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
        depth = _depth(value)
    except RecursionError:
        depth = _DEPTH + 1
    except (ValueError, TypeError) as error:
        raise InputError(f"{where}: it is no JSON ({error}); expected a description of a model. {_SAVE}") from error
    if depth > _DEPTH:
        raise InputError(f"{where}: it is nested more than {_DEPTH} deep; expected a description of a model. {_SAVE}")
    if not isinstance(value, dict):
        raise InputError(f"{where}: got {type(value).__name__}; expected an object. {_SAVE}")
    return value


# How deeply objects and lists are nested.
def _depth(value: Any) -> int:
    if isinstance(value, str):
        value.encode()  # a ValueError for half a character, which could not be printed
    inner = value if isinstance(value, list) else [*value, *value.values()] if isinstance(value, dict) else []
    return 1 + max(map(_depth, inner), default=0)


def parse_description(text: Any, where: str) -> Mapping[str, Any]:
    """Read the JSON that describes a model, of which messages say where it is.

    Raises:
        InputError: it is no JSON, nested too deeply, or describes no model.
        UnsupportedError: the model is quantised.
    """
    config = _parse(text, where)
    if not isinstance(config.get("class_name"), str) or "config" not in config:
        raise InputError(f"{where}: it has no class_name and config; expected the description of a model. {_SAVE}")
    waiting: list[Any] = [config]  # every object and list in it, outer ones first
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting += reversed(node)
        if not isinstance(node, dict):
            continue
        waiting += reversed(node.values())
        policy = node["dtype"].get("config") if isinstance(node.get("dtype"), dict) else None
        if isinstance(policy, dict) and "source_name" in policy:
            got = f"its weights are quantised ({policy.get('mode')}); expected floating-point numbers"
            todo = "rnncheck does not replay quantised layers: save the model before quantize()."
            raise UnsupportedError(f"layer {node.get('name')!r}: {got}. {todo}")
    return config


def _version(value: Any, where: str) -> str:
    if isinstance(value, str) and re.fullmatch(r"(\d+(\.\w+)*([-+]\w+)*)?", value, re.ASCII):  # such as 2.3.0-tf
        if value.startswith("1."):
            todo = "Load it with Keras 2.3 and save it again."
            raise UnsupportedError(f"{where}: the file was written by Keras {value}; expected Keras 2 or 3. {todo}")
        return value
    raise InputError(f"{where}: the version of Keras is {value!r}; expected a version such as '3.15.1'. {_SAVE}")
