"""ONNX Runtime, as it runs in a process of its own; see `rnncheck.frameworks.apart`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnxruntime


def run(
    models: Sequence[tuple[str | bytes, Sequence[str]]], calls: Sequence[Mapping[str, Any]]
) -> list[list[list[Any]]]:
    """Return, for each model and call, the named tensors; a model is given by its path or its bytes."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    results = []
    for model, outputs in models:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        results.append([session.run(list(outputs), dict(inputs)) for inputs in calls])
    return results
