"""Where a report was made: versions, backend, device."""

from __future__ import annotations

import platform
import sys

import numpy as np

from rnncheck.version import __version__


def environment() -> dict[str, str]:
    """Return what may change a number: versions, backend, device, default dtype, platform.

    Backend, device and dtype are those of the Keras that this process has loaded, `none` if it has not.
    """
    found = {"rnncheck": __version__, "python": platform.python_version(), "numpy": np.__version__}
    for name in ("keras", "tensorflow", "jax", "torch"):
        if name in sys.modules:
            found[name] = str(sys.modules[name].__version__)  # torch has a type of its own for it
    found |= {"backend": "none", "device": "none", "dtype": "none"}
    if (keras := sys.modules.get("keras")) is not None:
        kinds = sorted({device.split(":")[0] for device in _devices()}) or ["cpu"]
        found |= {"backend": keras.backend.backend(), "device": ", ".join(kinds), "dtype": keras.config.floatx()}
    found["platform"] = platform.platform()
    return found


def has_gpu() -> bool:
    """Whether the Keras of this process can run on a GPU."""
    return any(device.lower().startswith(("gpu", "cuda", "rocm")) for device in _devices())


def _devices() -> list[str]:
    import keras

    try:
        return list(keras.distribution.list_devices())
    except (NotImplementedError, RuntimeError, AttributeError):  # not every backend tells
        torch = sys.modules.get("torch")
        return ["gpu"] if torch is not None and torch.cuda.is_available() else []
