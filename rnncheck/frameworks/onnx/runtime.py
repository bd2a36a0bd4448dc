"""ONNX Runtime, as it runs in a process of its own; see `rnncheck.frameworks.apart`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnxruntime

_DTYPES = {"float": "float32", "double": "float64"}


def describe(path: str) -> dict[str, Any]:
    """Return the name, shape and dtype of each input and output; open lengths are None."""
    session = _session(path)
    return {
        "inputs": [_described(each) for each in session.get_inputs()],
        "outputs": [_described(each) for each in session.get_outputs()],
    }


def _described(tensor: Any) -> tuple[str, list[int | None], str]:
    shape = [size if isinstance(size, int) else None for size in tensor.shape]
    dtype = tensor.type.removeprefix("tensor(").removesuffix(")")
    return tensor.name, shape, _DTYPES.get(dtype, dtype)


def use(path: str, calls: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the outputs by name of each call of a session."""
    session = _session(path)
    names = [each.name for each in session.get_outputs()]
    return [dict(zip(names, session.run(names, dict(given)), strict=True)) for given in calls]


def run(
    models: Sequence[tuple[str | bytes, Sequence[str]]], calls: Sequence[Mapping[str, Any]]
) -> list[list[list[Any]]]:
    """Return, for each model and call, the named tensors; a model is given by its path or its bytes."""
    sessions = [(_session(model), list(outputs)) for model, outputs in models]
    return [[session.run(outputs, dict(inputs)) for inputs in calls] for session, outputs in sessions]


def _session(model: str | bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
