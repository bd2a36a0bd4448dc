"""What exporters compute with ids before they look them up in a table.

Keras counts negative ids from the end, which becomes half a dozen nodes. What they make of an id is computed for each
row of the table where that is known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rnncheck.frameworks.onnx.tensors import OfIds, Value
from rnncheck.network import Array

# By operator: what each id becomes.
_EACH: dict[str, Callable[..., Array]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Less": np.less,
    "Greater": np.greater,
    "Equal": np.equal,
    "Not": np.logical_not,
    "And": np.logical_and,
    "Or": np.logical_or,
    "Where": np.where,
}


def of_ids(kind: str, options: Mapping[str, Any], inputs: Sequence[Any]) -> OfIds | None:
    """Return what an operator makes of ids; None where it is given something else."""
    whole = [isinstance(x, Value) and x.dtype.startswith("int") for x in inputs]
    if kind == "Cast" and ("to" not in options or len(inputs) != 1):
        return None
    if kind == "Cast" and _dtype(options["to"]).kind == "i":
        if whole[0]:  # they stay what they are
            return None
        whole = [True]  # Keras takes ids as floats, too
    known = [OfIds(x, np.asarray) if of and isinstance(x, Value) else x for of, x in zip(whole, inputs, strict=True)]
    ids = next((x.ids for x in known if isinstance(x, OfIds)), None)
    each = (lambda numbers: numbers.astype(_dtype(options["to"]))) if kind == "Cast" else _EACH.get(kind)
    alike = all(x.ids == ids if isinstance(x, OfIds) else np.size(x) == 1 and not isinstance(x, Value) for x in known)
    if ids is None or each is None or not alike:
        return None

    def function(numbers: Array) -> Array:
        return each(*(x.function(numbers) if isinstance(x, OfIds) else np.ravel(x)[0] for x in known))

    return OfIds(ids, function)


def _dtype(code: int) -> np.dtype[Any]:
    from onnx import helper

    dtype: np.dtype[Any] = helper.tensor_dtype_to_np_dtype(code)
    return dtype
