"""ONNX Runtime, as it runs in a process of its own; see `rnncheck.frameworks.apart`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
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


def contents(path: str) -> tuple[list[tuple[str, Any, str, Any, Any, int | None]], list[str], str]:
    """Return the arrays that a file holds, the operators of its nodes, and the format that it computes in.

    Of an array: its name, numbers and format; scale, zero point and axis of integers that stand for others. The
    format is empty where arrays of fewer digits than float32 are converted before something is computed with them.
    """
    import onnx

    arrays: dict[str, Any] = {}
    scales: dict[str, tuple[str, str, int | None]] = {}  # of a quantised array, by name
    operators, computed = [], set()
    graphs = [onnx.load(path).graph]
    while graphs:
        graph = graphs.pop()
        arrays |= {each.name: each for each in graph.initializer}
        for node in graph.node:
            operators.append(node.op_type)
            if node.op_type not in {"Cast", "DequantizeLinear"}:
                computed |= set(node.input)
            own = {each.name: each for each in node.attribute}
            graphs += [each.g for each in own.values() if each.HasField("g")]
            if node.op_type == "Constant" and "value" in own:
                arrays[node.output[0]] = own["value"].t
            if node.op_type == "DequantizeLinear":
                name, scale, zero_point = [*node.input, ""][:3]
                scales[name] = scale, zero_point, own["axis"].i if "axis" in own else 1
    for name in arrays:  # as ONNX Runtime names what it quantises
        plain = name.removesuffix("_quantized")
        if plain != name:
            scales.setdefault(name, (f"{plain}_scale", f"{plain}_zero_point", None))
    found = [_constant(name, arrays, scales) for name in arrays]
    formats = {form for name, _, form, *_ in found if name in computed}
    return found, operators, next((form for form in ("float16", "bfloat16") if form in formats), "")


def _constant(name: str, arrays: Mapping[str, Any], scales: Mapping[str, tuple[str, str, int | None]]) -> Any:
    from onnx import TensorProto, numpy_helper

    def read(array: Any) -> Any:
        numbers = numpy_helper.to_array(array)
        return numbers.astype("float32") if numbers.dtype.name == "bfloat16" else numbers

    form = TensorProto.DataType.Name(arrays[name].data_type).lower()
    scale, zero_point, axis = scales.get(name, ("", "", None))
    beside = [read(arrays[each]) if each in arrays else np.zeros(0) for each in (scale, zero_point)]
    return name, read(arrays[name]), _DTYPES.get(form, form), *beside, axis


def _session(model: str | bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
