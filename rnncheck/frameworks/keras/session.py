"""The Keras of this process: loaded quietly, with models forgotten when they are done."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from functools import cache

from rnncheck.cases.deviations import BACKENDS
from rnncheck.errors import InputError, described


def load_keras() -> None:
    """Load Keras where its start-up messages can be held back.

    Raises:
        InputError: it cannot be loaded, such as with a backend that is not installed.
    """
    try:
        with quiet_stderr():
            import keras  # noqa: F401 - for its own sake
    except Exception as error:
        backend = os.environ.get("KERAS_BACKEND")
        told = f" with KERAS_BACKEND={backend}" if backend else ""
        raise InputError(
            f"Keras: it cannot be loaded{told} ({described(error)}); expected a backend that is installed. Set "
            f"KERAS_BACKEND to one of {', '.join(BACKENDS)}."
        ) from error


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Hold back what C++ libraries write to stderr at start-up; show it if something goes wrong."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
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
    """Let go of the models that were built, so that the next ones have the names that they would have alone."""
    import keras

    keras.backend.clear_session(free_memory=False)
    _keep_what_is_loaded()


@cache
def _keep_what_is_loaded() -> None:
    """Spare the garbage collector the frameworks' own million of objects, which would take it 0.2 s a model."""
    gc.collect()
    gc.freeze()


@contextlib.contextmanager
def quiet_framework() -> Iterator[None]:
    """Keep the framework's advice to model builders out of a check's output."""
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
