"""Which options of a case exclude each other, or mean nothing together: one rule each, with its reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rnncheck.cases.case import Case


@dataclass(frozen=True)
class Rule:
    """A combination that is refused.

    Attributes:
        breaks: whether a case has it.
        came: the message up to what came; `{case}` stands for the case.
        expected: what was expected, and why; likewise.
    """

    breaks: Callable[[Case], bool]
    came: str
    expected: str

    def message(self, case: Case) -> str:
        """Return why the case is refused, or nothing."""
        return f"{self.came}; expected {self.expected}".format(case=case) if self.breaks(case) else ""


@dataclass(frozen=True)
class _Place:
    """Where an option means something: in which cases, and how a message says so."""

    has: Callable[[Case], bool]
    where: str


_CONVOLUTIONAL = _Place(lambda case: case.rank > 0, "layer=conv_lstm_1d, 2d or 3d")


_BIDIRECTIONAL = _Place(lambda case: case.bidirectional, "wrapper=bidirectional")


# Options that only some layers and wrappers have; elsewhere they keep their default.
_PLACES = {
    "cell": _Place(lambda case: case.layer in {"rnn", "stacked"}, "layer=rnn or stacked"),
    "cells": _Place(lambda case: case.layer == "stacked", "layer=stacked"),
    "merge_mode": _BIDIRECTIONAL,
    "own_backward": _BIDIRECTIONAL,
    "recurrent_activation": _Place(lambda case: case.cell_kinds != ("simple_rnn",), "a layer with gates"),
    "unit_forget_bias": _Place(lambda case: "lstm" in case.cell_kinds, "an LSTM"),
    "reset_after": _Place(lambda case: "gru" in case.cell_kinds, "a GRU"),
    "kernel_size": _CONVOLUTIONAL,
    "strides": _CONVOLUTIONAL,
    "padding": _CONVOLUTIONAL,
    "dilation_rate": _CONVOLUTIONAL,
    "mask_from": _Place(lambda case: case.mask != "none", "a mask other than none"),
}


def misplaced(case: Case, options: Iterable[str]) -> Iterator[str]:
    """Yield why the case is refused, for each of the options given that nothing in it has.

    Args:
        case: to be checked.
        options: those that differ from their default.
    """
    for option in options:
        place = _PLACES.get(option)
        if place is not None and not place.has(case):
            yield f"{option}={getattr(case, option)!r} came; expected it only with {place.where}, which has it."


def _no_time_distributed(option: str, reason: str) -> Rule:
    return Rule(
        lambda case: case.wrapper == "time_distributed" and bool(getattr(case, option)),
        f"{option}=True came with wrapper='time_distributed'",
        f"False, since {reason}.",
    )


RULES = (
    Rule(
        lambda case: case.activation == "glu",
        "activation='glu' came",
        "one that keeps the number of units, since the state is fed back. Use dense_activation='glu' instead.",
    ),
    Rule(
        lambda case: case.recurrent_activation == "glu",
        "recurrent_activation='glu' came",
        "one that keeps the number of units, since each has its gates. Use dense_activation='glu' instead.",
    ),
    Rule(
        lambda case: case.dense_activation == "glu" and case.K % 2 == 1,
        "dense_activation='glu' came with K={case.K}",
        "an even K, since glu halves it.",
    ),
    Rule(
        lambda case: case.flatten and not (case.return_sequences or case.rank or case.outer),
        "flatten=True came with return_sequences=False",
        "return_sequences=True, since there is nothing to flatten in one step.",
    ),
    Rule(
        lambda case: case.weights == "keras" and case.dtype == "bfloat16",
        "weights='keras' came with dtype='bfloat16'",
        "weights='random', since Keras' orthogonal initialiser has no bfloat16 form.",
    ),
    Rule(
        lambda case: case.strides > 1 and case.dilation_rate > 1,
        "strides={case.strides} came with dilation_rate={case.dilation_rate}",
        "1 for one of them, since Keras refuses both.",
    ),
    Rule(
        lambda case: min(case.space_after(case.layers), default=1) < 1,
        "kernel_size={case.kernel_size} came with dilation_rate={case.dilation_rate}, layers={case.layers}",
        "kernels that fit into the space, which is {case.space}. Use padding='same'.",
    ),
    Rule(
        lambda case: case.rank > 0 and case.mask_from != "input",
        "mask_from={case.mask_from!r} came with layer={case.layer!r}",
        "mask_from='input', since a mask of steps and places is none of steps.",
    ),
    Rule(
        lambda case: case.bidirectional and case.go_backwards and not case.own_backward,
        "go_backwards=True came with wrapper='bidirectional'",
        "go_backwards=False, or own_backward=True, since both of Keras' own layers would go backwards.",
    ),
    Rule(
        lambda case: case.bidirectional and case.zero_output_for_mask,
        "zero_output_for_mask=True came with wrapper='bidirectional'",
        "False, since Bidirectional sets it itself: to the value of return_sequences.",
    ),
    Rule(
        lambda case: case.bidirectional and case.merge_mode == "none" and case.layers > 1,
        "merge_mode='none' came with layers={case.layers}",
        "layers=1, since the next layer reads one sequence, not two.",
    ),
    Rule(
        lambda case: case.bidirectional and case.stateful and case.return_state,
        "return_state=True came with wrapper='bidirectional', stateful=True",
        "one of them, since Keras' Bidirectional fails when it makes up the mask of the states.",
    ),
    Rule(
        lambda case: case.bidirectional and "threshold" in {case.activation, case.recurrent_activation},
        "the activation 'threshold' came with wrapper='bidirectional'",
        "another, since Keras copies the layer and cannot copy an activation with parameters.",
    ),
    Rule(
        lambda case: case.layer == "stacked" and case.cells < 2,
        "cells={case.cells} came with layer='stacked'",
        "2 or more, since Keras fails on a stack of one with a mask or unroll. Use layer='rnn'.",
    ),
    _no_time_distributed("return_state", "TimeDistributed puts together one output, no states"),
    _no_time_distributed("initial_state", "TimeDistributed passes no states on"),
    _no_time_distributed("stateful", "every outer step would go on from the one before"),
)
