"""Layers as an experiment makes them: plain data, with the options that a Network needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rnncheck.network import Activation, Array, Layer, Tensor

# How many blocks of M columns each cell's kernels have.
GATES = {"SimpleRNN": 1, "LSTM": 4, "GRU": 3}

# What a recurrent layer may do, and here does not unless an experiment says so.
_OFF = ("return_sequences", "return_state", "go_backwards", "stateful", "zero_output_for_mask")


def recurrent(
    name: str,
    kind: str,
    source: str,
    weights: Mapping[str, Array],
    dtype: str = "float32",
    *,
    activation: str = "tanh",
    mask: Tensor | None = None,
    **options: Any,
) -> Layer:
    """Return a recurrent layer of M units with a bias; recurrent_kernel is (M, G·M). Its gates are sigmoids."""
    own: dict[str, dict[str, Any]] = {
        "SimpleRNN": {},
        "LSTM": {"recurrent_activation": Activation("sigmoid")},
        "GRU": {"recurrent_activation": Activation("sigmoid"), "reset_after": True},
    }
    common = {"units": len(weights["recurrent_kernel"]), "activation": Activation(activation), "use_bias": True}
    chosen = {**common, **dict.fromkeys(_OFF, False), **own[kind], **options}
    return Layer(name, kind, (Tensor(source),), chosen, weights, dtype, mask)


def dense(name: str, source: str, weights: Mapping[str, Array], dtype: str = "float32") -> Layer:
    """Return a Dense layer without an activation; kernel is (M, K)."""
    options = {"units": weights["kernel"].shape[-1], "activation": Activation("linear"), "use_bias": True}
    return Layer(name, "Dense", (Tensor(source),), options, weights, dtype)
