"""How a description writes the graph of a model: which layer is called with which tensors.

Keras 3 writes `{"args": [...], "kwargs": {...}}` with a `__keras_tensor__` for every tensor, Keras 2
`[["layer", node, tensor, kwargs], ...]`. A node is one call of a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rnncheck.errors import InputError, UnsupportedError
from rnncheck.frameworks.keras.config.description import Object, constant
from rnncheck.frameworks.keras.config.masks import AnyMask
from rnncheck.network import Tensor


@dataclass(frozen=True)
class Reference:
    """One output of one call of a layer, with its dtype where the description says it."""

    layer: str
    node: int
    index: int
    dtype: str | None = None


@dataclass(frozen=True)
class Call:
    """The arguments of one call, in which every tensor is a `Reference`.

    Attributes:
        args: by position.
        kwargs: by name.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    @property
    def references(self) -> Iterator[Reference]:
        """Every tensor that the call reads."""
        yield from leaves((self.args, self.kwargs))


def leaves(structure: Any, kind: type = Reference) -> Iterator[Any]:
    """Yield what is of a kind in nested lists and dictionaries, in Keras' order: dictionaries by sorted keys."""
    if isinstance(structure, kind):
        yield structure
    elif isinstance(structure, Mapping):
        for key in sorted(structure):
            yield from leaves(structure[key], kind)
    elif isinstance(structure, list | tuple):
        for item in structure:
            yield from leaves(item, kind)


def mapped(structure: Any, change: Callable[[Reference], Any]) -> Any:
    """Return the structure with every reference replaced."""
    if isinstance(structure, Reference):
        return change(structure)
    if isinstance(structure, Mapping):
        return {key: mapped(value, change) for key, value in structure.items()}
    return [mapped(item, change) for item in structure] if isinstance(structure, list | tuple) else structure


def read_calls(name: str, inbound: Any) -> list[Call]:
    """Read the calls of one layer.

    Raises:
        InputError: they are written in a form that no Keras writes.
    """
    if not isinstance(inbound, list | tuple):
        raise InputError(f"layer {name!r}: inbound_nodes is {type(inbound).__name__}; expected a list of calls.")
    return [_keras3_call(node) if isinstance(node, Mapping) else _keras2_call(name, node) for node in inbound]


def _keras3_call(node: Mapping[str, Any]) -> Call:
    return Call(tuple(_revived(item) for item in node["args"]), {k: _revived(v) for k, v in node["kwargs"].items()})


def _revived(value: Any) -> Any:
    if isinstance(value, Mapping):
        if value.get("class_name") == "__keras_tensor__":
            return Reference(*_history(value["config"]["keras_history"]), value["config"].get("dtype"))
        if "class_name" in value:
            return value
        return {key: _revived(item) for key, item in value.items()}
    return [_revived(item) for item in value] if isinstance(value, list | tuple) else value


def _history(written: Any) -> tuple[str, int, int]:
    layer, node, index = written
    return str(layer), int(node), int(index)


def _keras2_call(name: str, node: Any) -> Call:
    """Read `[["layer", node, tensor, kwargs], ...]`; a mapping of such lists stands for a dictionary of tensors."""
    if _is_keras2_reference(node):
        node = [node]
    if not all(_is_keras2_reference(item) for item in node):
        raise InputError(
            f"layer {name!r}: inbound_nodes has {str(node)[:80]}; expected the calls that Keras 2 writes."
        )
    kwargs: Mapping[str, Any] = next((item[3] for item in node if len(item) > 3 and item[3]), {})
    inputs = [Reference(*_history(item[:3])) for item in node]
    first = inputs[0] if len(inputs) == 1 else inputs
    return Call((first,), {key: _keras2_value(value) for key, value in kwargs.items()})


def _is_keras2_reference(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) in {3, 4}
        and isinstance(value[0], str)
        and all(isinstance(number, int) for number in value[1:3])
    )


def _keras2_value(value: Any) -> Any:
    if _is_keras2_reference(value):
        return Reference(*_history(value[:3]))
    return [_keras2_value(item) for item in value] if isinstance(value, list | tuple) else value


def names_of_ends(written: Any) -> tuple[str, ...]:
    """Return what the model calls its outputs, in Keras' order, where it returns a mapping of them; else nothing."""
    if not isinstance(written, Mapping) or any(len(read_ends(end)) != 1 for end in written.values()):
        return ()
    return tuple(sorted(written))


def read_ends(written: Any) -> list[Reference]:
    """Read the model's inputs or outputs, in Keras' order.

    Raises:
        InputError: they are written in a form that no Keras writes.
    """
    if _is_keras2_reference(written):
        return [Reference(*_history(written[:3]))]
    if isinstance(written, Mapping):
        return [end for key in sorted(written) for end in read_ends(written[key])]
    if not isinstance(written, list | tuple):
        raise InputError(f"model: an input or output is written as {written!r}; expected [layer, node, tensor].")
    return [end for item in written for end in read_ends(item)]


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
