"""Open an ONNX file: its graph, and whether any runtime can be expected to run it.

Nothing in the file is executed. What it declares is checked before it is read.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rnncheck.cases.memory import most_unpacked, readable_bytes
from rnncheck.errors import InputError, described, escaped

# What recurrent layers become: nodes of their own, or loops over the steps.
RECURRENT = ("RNN", "GRU", "LSTM")
LOOPS = ("Loop", "Scan")

# Operators that an exporter writes and ONNX does not have, with what helps.
NO_OPERATORS = {
    "Erfc": "Keras' exporter writes it for the activation gelu: use gelu(approximate=True), or another one",
    "Expm1": "Keras' exporter writes it for the activation celu: use elu, or another one",
}

_NODES = 100_000


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX file and what it holds."""

    path: Path
    model: Any  # onnx.ModelProto, with the weights that are kept in files beside it
    finding: str = ""  # what onnx.checker says against it

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of a report must know about it."""
        return (f"onnx.checker objects to the file: {self.finding}",) if self.finding else ()

    @property
    def producer(self) -> str:
        """The program that wrote it, with its version."""
        name, version = self.model.producer_name or "an unknown program", self.model.producer_version
        return escaped(f"{name} {version.removesuffix(' None')}".strip())  # tf2onnx has no word for its commit

    @property
    def opset(self) -> int:
        """The version of ONNX's operators that it uses."""
        return next((each.version for each in self.model.opset_import if each.domain in _OWN_DOMAINS), 1)

    @property
    def recurrent(self) -> Counter[str]:
        """How many nodes of each operator its recurrent layers became."""
        nodes = [node.op_type for node in self.model.graph.node if node.op_type in {*RECURRENT, *LOOPS}]
        return Counter(nodes)


_OWN_DOMAINS = ("", "ai.onnx")


def is_onnx(path: Path) -> bool:
    """Whether a path is that of an ONNX file, by its suffix: its content has no mark of its own."""
    return path.suffix.lower() == ".onnx"


def require_onnx(*modules: str) -> None:
    """See that the packages of the extra `onnx` are installed."""
    for name in ("onnx", *modules):
        if find_spec(name) is None:
            raise InputError(f'{name}: got no such package; expected it, for ONNX. Run: pip install "rnncheck[onnx]"')


def open_onnx(path: Path) -> OnnxFile:
    """Read an ONNX file.

    Raises:
        InputError: it cannot be read, is no ONNX, refers to files outside its folder, is larger than it may be, or
            has operators that ONNX does not have; or the package onnx is not installed.
    """
    require_onnx()
    import onnx
    from google.protobuf.message import DecodeError

    try:
        data = path.read_bytes()
        model = onnx.load_model_from_string(data)
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no such file; expected an ONNX file. Check the path.") from error
    except OSError as error:
        raise InputError(f"{path}: it cannot be read ({error.strerror}); expected an ONNX file.") from error
    except DecodeError as error:
        raise InputError(
            f"{path}: it is no ONNX file, or a damaged one; expected one. Export the model again."
        ) from error
    if not model.graph.node:
        raise InputError(
            f"{path}: got an ONNX file without a node, or something else; expected a model. Export it again."
        )
    if len(model.graph.node) > _NODES:
        raise InputError(f"{path}: got {len(model.graph.node):,} nodes; expected at most {_NODES:,}.")
    _load_weights_beside(path, model, len(data))
    _refuse_unknown_operators(path, model)
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:  # a runtime may run it all the same
        return OnnxFile(path, model, described(error))
    return OnnxFile(path, model)


def _load_weights_beside(path: Path, model: Any, size: int) -> None:
    # Weights may stand in files of their own, which must lie in the model's folder.
    from onnx.external_data_helper import ExternalDataInfo, load_external_data_for_tensor, uses_external_data

    folder, total = path.resolve().parent, 0
    for tensor in _tensors(model):
        if not uses_external_data(tensor):
            continue
        named = f"{path}: the weight {escaped(tensor.name)!r}"
        try:
            info = ExternalDataInfo(tensor)
            beside = (folder / info.location).resolve()
        except (ValueError, OSError) as error:
            raise InputError(
                f"{named} says wrongly where it is ({error}); expected a file in the same folder."
            ) from error
        if folder not in beside.parents:
            raise InputError(f"{named} is in {escaped(info.location)!r}; expected a file in the model's own folder.")
        if not beside.is_file():
            raise InputError(
                f"{named} is in {escaped(info.location)!r}, which is not there; expected it beside the model. "
                "Copy it there."
            )
        size, total = size + beside.stat().st_size, total + (info.length or beside.stat().st_size)
        if total > (most := most_unpacked(size)):
            raise InputError(
                f"{path}: got {readable_bytes(total)} of weights; expected at most {readable_bytes(most)}."
            )
        try:
            load_external_data_for_tensor(tensor, str(folder))
        except Exception as error:
            raise InputError(f"{named} cannot be read ({described(error)}); expected it whole.") from error
        tensor.data_location = 0
        del tensor.external_data[:]


def _tensors(model: Any) -> Any:
    yield from model.graph.initializer
    for node in model.graph.node:
        for attribute in node.attribute:
            yield from [attribute.t] if attribute.HasField("t") else attribute.tensors


def _refuse_unknown_operators(path: Path, model: Any) -> None:
    from onnx import defs

    for node in model.graph.node:
        if node.domain in _OWN_DOMAINS and not defs.has(node.op_type):
            name, hint = escaped(node.op_type), NO_OPERATORS.get(node.op_type, "")
            raise InputError(
                f"{path}: node {escaped(node.name)!r} has the operator {name}, which ONNX does not have; expected "
                f"one that it has, for no runtime can load this file.{f' {hint}.' if hint else ''}"
            )
