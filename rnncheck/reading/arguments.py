"""What a call gives a layer: its arguments by name, and the masks that Keras adds to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rnncheck.errors import InputError, UnsupportedError
from rnncheck.network import Tensor
from rnncheck.reading.calls import Call, leaves
from rnncheck.reading.description import Object, constant
from rnncheck.reading.masks import AnyMask

_MODEL_CALL = ("inputs", "training", "mask")


@dataclass(frozen=True)
class Value:
    """A tensor with the mask that Keras attaches to it."""

    tensor: Tensor
    mask: AnyMask = None


@dataclass(frozen=True)
class Arguments:
    """What one call gives a layer.

    Attributes:
        values: its arguments by name; tensors are `Value`.
        mask: what its `mask` argument becomes, by the caller's word or by Keras' own.
        previous: the mask that its outputs' masks follow from.
    """

    values: Mapping[str, Any]
    mask: Any
    previous: Any


def bind(found: Object, call: Call) -> Arguments:
    """Bind a call's arguments to names, and find the masks as Keras does.

    Keras 3 takes a mask from the tensors only where one argument has tensors; Keras 2 always does.

    Source: Keras 3.15, Layer.__call__, steps 6 and 7; Keras 2.15, Layer._get_input_masks.
    """
    names = _MODEL_CALL if found.is_model else found.entry.call
    if unknown := {name for name, value in call.kwargs.items() if value is not None} - set(names):
        raise UnsupportedError(
            f"layer {found.name!r}: it is called with {', '.join(sorted(unknown))}, which rnncheck does not know; "
            f"expected only {', '.join(names)}."
        )
    if len(call.args) > len(names):
        raise InputError(
            f"layer {found.name!r}: it is called with {len(call.args)} arguments; expected {len(names)}."
        )
    values = {**dict(zip(names, call.args, strict=False)), **call.kwargs}
    if values.get("training"):
        raise UnsupportedError(
            f"layer {found.name!r}: it is called with training=True; expected inference, in which dropout is "
            "inactive."
        )
    first, mask, named = values.get(names[0]), _masks_given(found, values.get("mask")), "mask" in call.kwargs
    if "mask" in names and mask is None:
        alone = sum(_has_tensors(value) for value in values.values()) == 1
        if alone or found.keras2:
            mask, named = _masks_of(first), True
    previous = mask if (named or found.keras2) and mask is not None else _masks_of(first)
    return Arguments(values, mask, previous)


def _masks_given(found: Object, mask: Any) -> Any:
    """Return a mask argument with tensors in place of values."""
    if mask is None:
        return None
    if isinstance(mask, Value):
        return mask.tensor
    if isinstance(mask, list) and all(each is None or isinstance(each, Value) for each in mask):
        return [None if each is None else each.tensor for each in mask]
    raise UnsupportedError(f"layer {found.name!r}: mask is a constant; expected a tensor of the model.")


def _has_tensors(value: Any) -> bool:
    """Whether Keras 3 counts an argument among those with tensors."""
    if isinstance(value, list) and not _numbers(value):
        return len(value) > 0 and all(each is None or _has_tensors(each) for each in flat(value))
    return isinstance(value, Value) or constant(value) is not None


def _masks_of(structure: Any) -> Any:
    if isinstance(structure, list):
        return [_masks_of(each) for each in structure]
    if isinstance(structure, Mapping):
        return [_masks_of(structure[key]) for key in sorted(structure)]
    return structure.mask if isinstance(structure, Value) else None


def flat(structure: Any) -> list[Any]:
    """Return the leaves of nested lists; None inside a list is one, alone it is nothing."""
    if structure is None:
        return []
    if isinstance(structure, list) and not _numbers(structure):
        return [leaf for each in structure for leaf in (flat(each) if each is not None else [None])]
    return [structure]


def _numbers(structure: list[Any]) -> bool:
    """Whether a list is an array (N, M) that Keras 2 wrote as nested lists."""
    return bool(structure) and all(
        isinstance(row, list) and all(isinstance(number, int | float) for number in row) for row in structure
    )


def flat_masks(mask: Any, count: int) -> list[AnyMask]:
    """Return one mask for each of so many inputs."""
    found = flat(mask)
    return found if len(found) == count else [None] * count


def first_mask(mask: Any) -> AnyMask:
    """Return the first of several masks, as recurrent layers take it."""
    while isinstance(mask, list):
        mask = mask[0] if mask else None
    found: AnyMask = mask
    return found


def tensors(found: Object, given: Arguments) -> list[Value]:
    """Return what a layer reads: the tensors of its first argument.

    Raises:
        UnsupportedError: there is something else in it.
    """
    first = given.values.get(found.entry.call[0])
    values = list(leaves(first, Value))
    if not values or len(values) != len(flat(first)):
        raise UnsupportedError(f"layer {found.name!r}: it reads a constant; expected tensors of the model.")
    return values
