"""How a description writes the graph of a model: which layer is called with which tensors, and under which masks.

A call of a layer, a node to Keras, is `{"args": [...], "kwargs": {...}}` with a `__keras_tensor__` for every tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from rnncheck.errors import InputError
from rnncheck.frameworks.keras.config.description import Object
from rnncheck.frameworks.keras.config.implicit_masks import AnyMask
from rnncheck.frameworks.keras.config.values import constant
from rnncheck.network import Tensor

Node = tuple[str, int]  # a layer's name, and which of its calls


@dataclass(frozen=True)
class Reference:
    """One output of one call of a layer, with its dtype where the description says it."""

    layer: str
    node: int
    index: int
    dtype: str | None = None

    @property
    def call(self) -> Node:
        """The call that it is an output of."""
        return self.layer, self.node


@dataclass(frozen=True)
class Value:
    """A tensor with the mask that Keras attaches to it."""

    tensor: Tensor
    mask: AnyMask = None


class Call(NamedTuple):
    """The arguments of one call, in which every tensor is a `Reference`, and a `Value` once it is known."""

    args: Sequence[Any]
    kwargs: Mapping[str, Any]


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
    """Return nested lists and dictionaries with every reference in them replaced."""
    if isinstance(structure, Reference):
        return change(structure)
    if isinstance(structure, Mapping):
        return {key: mapped(value, change) for key, value in structure.items()}
    return [mapped(item, change) for item in structure] if isinstance(structure, list | tuple) else structure


def read_calls(name: str, inbound: Any) -> list[Call]:
    """Read the calls of one layer; an InputError where they are no list."""
    if not isinstance(inbound, list | tuple):
        raise InputError(
            f"layer {name!r}: got inbound_nodes={inbound!r}; expected a list of calls. Save the model again."
        )
    return [Call(_revived(list(node["args"])), _revived(dict(node["kwargs"]))) for node in inbound]


def _revived(value: Any) -> Any:
    if isinstance(value, Mapping):
        if value.get("class_name") == "__keras_tensor__":
            layer, node, index = value["config"]["keras_history"]
            return Reference(str(layer), int(node), int(index), value["config"].get("dtype"))
        if "class_name" in value:
            return value
        return {key: _revived(item) for key, item in value.items()}
    return [_revived(item) for item in value] if isinstance(value, list | tuple) else value


def is_reference(written: Any) -> bool:
    """Whether something is `[layer, node, tensor]`, behind which Keras 2 may write arguments."""
    return (
        isinstance(written, list | tuple)
        and len(written) in {3, 4}
        and isinstance(written[0], str)
        and all(isinstance(number, int) for number in written[1:3])
    )


def read_ends(written: Any) -> list[Reference]:
    """Read the model's inputs or outputs, in Keras' order; an InputError where no Keras writes them so."""
    if is_reference(written):
        layer, node, index, *_ = written
        return [Reference(layer, node, index)]
    if isinstance(written, Mapping):
        return [end for key in sorted(written) for end in read_ends(written[key])]
    if not isinstance(written, list | tuple):
        raise InputError(
            f"model: got an input or output written as {written!r}; expected [layer, node, tensor]. Save it again."
        )
    return [end for item in written for end in read_ends(item)]


def names_of_ends(written: Any) -> tuple[str, ...]:
    """Return what the model calls its outputs, in Keras' order, where it returns a mapping of them; else nothing."""
    if not isinstance(written, Mapping) or any(len(read_ends(end)) != 1 for end in written.values()):
        return ()
    return tuple(sorted(written))


@dataclass(frozen=True)
class Arguments:
    """What one call gives a layer."""

    values: Mapping[str, Any]  # its arguments by name; tensors are `Value`
    mask: Any  # what its `mask` argument becomes, by the caller's word or by Keras' own
    previous: Any  # the mask that its outputs' masks follow from


def bind(found: Object, call: Call, *, keras2: bool) -> Arguments:
    """Bind a call's arguments to names, and find the masks as Keras does.

    Keras 3 takes a mask from the tensors only where one argument has tensors; Keras 2 always does.

    Raises:
        UnsupportedError: an argument is not replayed.
        InputError: there are too many.

    Source: Keras 3.15, Layer.__call__, steps 6 and 7; Keras 2.15, Layer._get_input_masks.
    """
    names = found.entry.call
    if unknown := {name for name, value in call.kwargs.items() if value is not None} - set(names):
        raise found.unsupported(
            f"it is called with {', '.join(sorted(unknown))}, which rnncheck does not know; expected only "
            f"{', '.join(names)}."
        )
    if len(call.args) > len(names):
        raise found.invalid(f"got a call with {len(call.args)} arguments; expected {len(names)}.")
    values = {**dict(zip(names, call.args, strict=False)), **call.kwargs}
    if values.get("training"):
        raise found.unsupported("it is called with training=True; expected inference, in which dropout is inactive.")
    carried = _masks_of(values.get(names[0]))  # by the tensors themselves
    mask, named = _masks_given(found, values.get("mask")), keras2 or "mask" in call.kwargs
    if mask is None and "mask" in names and (keras2 or sum(map(_has_tensors, values.values())) == 1):
        mask, named = carried, True
    return Arguments(values, mask, mask if named and mask is not None else carried)


# A mask argument, with tensors in place of values.
def _masks_given(found: Object, mask: Any) -> Any:
    if mask is None:
        return None
    if isinstance(mask, Value):
        return mask.tensor
    if isinstance(mask, list) and all(each is None or isinstance(each, Value) for each in mask):
        return [None if each is None else each.tensor for each in mask]
    raise found.unsupported("mask is a constant; expected a tensor of the model.")


# Whether Keras 3 counts an argument among those with tensors.
def _has_tensors(value: Any) -> bool:
    if isinstance(value, list):
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
    if isinstance(structure, list):
        return [leaf for each in structure for leaf in (flat(each) if each is not None else [None])]
    return [structure]


def first_mask(mask: Any) -> AnyMask:
    """Return the first of several masks, as recurrent layers take it."""
    while isinstance(mask, list):
        mask = mask[0] if mask else None
    found: AnyMask = mask
    return found


def tensors(found: Object, given: Arguments) -> list[Value]:
    """Return what a layer reads: the tensors of its first argument, in which there may be nothing else."""
    first = given.values.get(found.entry.call[0])
    values = list(leaves(first, Value))
    if not values or len(values) != len(flat(first)):
        raise found.unsupported("it reads a constant; expected tensors of the model.")
    return values
