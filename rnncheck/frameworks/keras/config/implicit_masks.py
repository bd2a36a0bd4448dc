"""The masks that Keras hands from layer to layer implicitly, made explicit where a layer reads one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

from rnncheck.network import Tensor


@dataclass(frozen=True, eq=False)
class Mask:
    """How a mask follows from tensors and other masks: one pseudo-layer, added when a layer reads the mask."""

    name: str  # the pseudo-layer's
    kind: str  # what it computes
    inputs: tuple[Tensor | Mask, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    dtype: str = "float32"  # the precision in which it reads numbers


AnyMask = Tensor | Mask | None


def nonzero(name: str, ids: Tensor) -> Mask:
    """Return the mask of an Embedding with mask_zero: ids (N, T) that are not 0.

    Source: Keras 3.15, Embedding.compute_mask.
    """
    # float64 holds every int32 exactly.
    return Mask(f"{name}/mask", "NotEqual", (ids,), {"value": 0}, "float64")


def differing(name: str, x: Tensor, value: float, dtype: str) -> Mask:
    """Return the mask of a Masking layer: steps of x (N, T, D) in which some number is not the mask value.

    Source: Keras 3.15, Masking.compute_mask.
    """
    return Mask(f"{name}/mask", "Any", (Mask(f"{name}/not_equal", "NotEqual", (x,), {"value": value}, dtype),))


def merged(name: str, masks: Sequence[AnyMask], *, keras2: bool) -> AnyMask:
    """Return the mask of Add and the like: the steps that any input counts, where all inputs have a mask.

    In Keras 2 it is the steps that all inputs with a mask count.

    Source: Keras 3.15, Merge.compute_mask; Keras 2.15, _Merge.compute_mask.
    """
    given = [mask for mask in masks if mask is not None]
    # An input without a mask counts every step, and in Keras 3 so does the output then.
    if not given or (len(given) < len(masks) and not keras2):
        return None
    kind = "LogicalAnd" if keras2 else "LogicalOr"
    numbered = enumerate(given[1:], start=1)
    return reduce(lambda mask, other: Mask(f"{name}/mask_{other[0]}", kind, (mask, other[1])), numbered, given[0])


def joined(name: str, inputs: Sequence[Tensor], masks: Sequence[AnyMask], axis: int, *, keras2: bool) -> AnyMask:
    """Return the mask of Concatenate: masks as wide as their inputs, joined; a step counts if any column does.

    In Keras 2 every mask has one column, and a step counts if all columns do.

    Source: Keras 3.15 and 2.15, Concatenate.compute_mask.
    """
    if all(mask is None for mask in masks):
        return None

    def column(k: int, x: Tensor, mask: AnyMask) -> Mask:
        if mask is None:
            return Mask(f"{name}/ones_{k}", "OnesLike", (x,))
        narrow = Mask(f"{name}/expand_{k}", "ExpandDims", (mask,), {"axis": -1})
        if keras2:
            return narrow
        return Mask(f"{name}/wide_{k}", "LogicalOr", (narrow, Mask(f"{name}/zeros_{k}", "ZerosLike", (x,))))

    columns = tuple(column(k, x, mask) for k, (x, mask) in enumerate(zip(inputs, masks, strict=True)))
    side_by_side = Mask(f"{name}/masks", "Concatenate", columns, {"axis": axis})
    return Mask(f"{name}/mask", "All" if keras2 else "Any", (side_by_side,))
