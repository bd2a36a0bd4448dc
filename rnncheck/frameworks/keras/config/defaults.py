"""What Keras 3 takes for the options of a layer that nobody gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rnncheck.frameworks.keras.config.entries import ENTRIES

# Only those that differ from what an option means that a file leaves out (`entries.Entry.defaults`).
_CONVOLUTION = {"strides": 1, "padding": "valid", "dilation_rate": 1}
_KERAS_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "GRU": {"reset_after": True},
    "ConvLSTM1D": _CONVOLUTION,
    "ConvLSTM2D": _CONVOLUTION,
    "ConvLSTM3D": _CONVOLUTION,
    "Dense": {"activation": "linear"},
    "Conv1D": {**_CONVOLUTION, "activation": "linear"},
    "MaxPooling1D": {"pool_size": 2, "padding": "valid"},
    "AveragePooling1D": {"pool_size": 2, "padding": "valid"},
    "Attention": {"use_causal_mask": False, "masks": ()},
}


def keras_defaults(kind: str) -> Mapping[str, Any]:
    """Return the defaults of a kind of layer, by option."""
    entry = ENTRIES.get(kind)
    return {**(entry.defaults if entry else {}), **_KERAS_DEFAULTS.get(kind, {})}
