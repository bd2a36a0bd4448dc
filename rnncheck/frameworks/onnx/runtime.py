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

    arrays: list[tuple[str, Any]] = []
    scales: dict[str, tuple[str, str, int | None]] = {}  # of a quantised array, by name
    operators, computed, halves = [], set(), set()
    graphs = [onnx.load(path).graph]
    while graphs:
        graph = graphs.pop()
        arrays += [(each.name, each) for each in graph.initializer]
        for node in graph.node:
            operators.append(node.op_type)
            own = {each.name: each for each in node.attribute}
            graphs += [each.g for each in own.values() if each.HasField("g")]
            if node.op_type in _MULTIPLY:
                computed |= set(node.input)
            if node.op_type == "Cast" and own["to"].i == onnx.TensorProto.FLOAT16:
                halves |= set(node.output)
            if node.op_type == "Constant" and "value" in own:
                arrays.append((node.output[0], own["value"].t))
            if node.op_type == "DequantizeLinear":
                name, scale, zero_point = [*node.input, ""][:3]
                scales[name] = scale, zero_point, own["axis"].i if "axis" in own else 1
    by_name = dict(arrays)
    for name in by_name:  # as ONNX Runtime names what it quantises
        plain = name.removesuffix("_quantized")
        if plain != name:
            scales.setdefault(name, (f"{plain}_scale", f"{plain}_zero_point", None))
    found = [_constant(name, array, by_name, scales.get(name, ("", "", None))) for name, array in arrays]
    formats = {form for name, _, form, *_ in found if name in computed}
    formats |= {"float16"} if halves & computed else set()
    return found, operators, next((form for form in ("float16", "bfloat16") if form in formats), "")


# The operators that multiply with weights, or hand them on to one.
_MULTIPLY = {"MatMul", "Gemm", "Conv", "RNN", "GRU", "LSTM", "Loop", "Scan"}


def _constant(name: str, array: Any, by_name: Mapping[str, Any], scaled: tuple[str, str, int | None]) -> Any:
    from onnx import TensorProto, numpy_helper

    def read(array: Any) -> Any:
        numbers = numpy_helper.to_array(array)
        return numbers.astype("float32") if numbers.dtype.name == "bfloat16" else numbers

    form = TensorProto.DataType.Name(array.data_type).lower()
    *beside, axis = scaled
    found = [read(by_name[each]) if each in by_name else np.zeros(0) for each in beside]
    return name, read(array), _DTYPES.get(form, form), *found, axis


def _session(model: str | bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
