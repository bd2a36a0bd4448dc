"""The Keras of this process: which backend it has, loading it quietly, forgetting models."""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from rnncheck.cases.deviations import BACKENDS
from rnncheck.errors import InputError, described
from rnncheck.startup import interruptible


def installed_backends() -> tuple[str, ...]:
    """Return the backends of Keras that are installed."""
    return tuple(name for name in BACKENDS if find_spec(name) is not None)


def configured_backend() -> str:
    """Return the backend that Keras chooses here: that of KERAS_BACKEND, of its configuration file, or TensorFlow."""
    try:
        home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
        written = json.loads((home / "keras.json").read_text(encoding="utf-8"))["backend"]
    except (OSError, RuntimeError, ValueError, TypeError, KeyError):  # Keras does without a file that it cannot read
        written = "tensorflow"
    return os.environ.get("KERAS_BACKEND") or str(written)


def require_keras(backends: Sequence[str] = (), *modules: str) -> None:
    """See that Keras, a backend (the one that Keras chooses here if none is named) and modules are installed."""
    backend, installed = (backends[0] if backends else "") or configured_backend(), installed_backends()
    command = f'pip install "rnncheck[{backend if backend in BACKENDS else BACKENDS[0]}]"'
    for name in ("keras", *modules):
        if find_spec(name) is None:
            raise InputError(f"{name}: got no such package; expected it, to run models. Run: {command}")
    if backend not in {*installed, "numpy", "openvino"}:  # Keras has these two, without a grid of rnncheck's own
        todo = f"Set KERAS_BACKEND to one of them, or run: {command}" if installed else f"Run: {command}"
        expected = f"one that is installed: {', '.join(installed) or 'there is none'}"
        raise InputError(f"Keras: got the backend {backend!r}; expected {expected}. {todo}")


def load_keras() -> None:
    """Load Keras while its start-up messages are held back; an InputError where it cannot be loaded."""
    require_keras()
    with quiet_stderr(), interruptible(at_once=True):
        try:
            import keras  # noqa: F401 - for its own sake
        except Exception as error:
            backend = os.environ.get("KERAS_BACKEND")
            told = f" with KERAS_BACKEND={backend}" if backend else ""
            raise InputError(
                f"Keras: it cannot be loaded{told} ({described(error)}); expected a backend that works. Set "
                f"KERAS_BACKEND to one of {', '.join(BACKENDS)}."
            ) from error


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Hold back what C++ libraries write to stderr at start-up; show it if something fails."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    try:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
    except OSError as error:
        raise InputError(
            f"temporary files: got no folder for them ({error.strerror}); expected one that can be written. "
            "Set TMPDIR to such a folder."
        ) from error
    kept = os.dup(2)  # C++ writes to the file descriptor, past Python's sys.stderr
    with file as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except Exception:
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def forget_models() -> None:
    """Forget the models that were built, so that the next ones get the same names as in a fresh process."""
    import keras

    keras.backend.clear_session(free_memory=False)
    _keep_what_is_loaded()


# Freeze the objects of the frameworks, a million; saves 0.2 s per model.
@cache
def _keep_what_is_loaded() -> None:
    gc.collect()
    gc.freeze()


@contextlib.contextmanager
def quiet_framework() -> Iterator[None]:
    """Silence warnings and advice of the framework."""
    logger = logging.getLogger("tensorflow")
    with contextlib.ExitStack() as stack, warnings.catch_warnings(action="ignore"):
        stack.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.ERROR)
        yield
