"""Keras' own exporters, as they run in a process of their own; see `rnncheck.frameworks.apart`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rnncheck.frameworks.keras.files.modelfile import ModelFile
from rnncheck.frameworks.keras.load import load
from rnncheck.frameworks.keras.session import quiet_framework
from rnncheck.network import Array


def export(file: ModelFile, inputs: Sequence[Array], path: str, form: str) -> None:
    """Export a model file to a path, in one of the formats of Keras' `Model.export`; inputs are for a call before."""
    with quiet_framework():
        model = load(file)
        # Without a call, the exporter does not know the inputs of a loaded model.
        zeros = [np.zeros_like(array) for array in inputs]
        model(zeros if len(zeros) > 1 else zeros[0])
        for layer in model._flatten_layers():
            if getattr(layer, "stateful", False):  # the call left a state, which would be written into the file
                layer.reset_states()
        model.export(path, format=form, verbose=False)
