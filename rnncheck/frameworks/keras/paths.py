"""The compute paths of Keras: the ways in which it can compute one and the same model.

Which one runs depends on how the model is called, on options that are no part of its equations, on the mask and on
the processor. Each is an entry of `PATHS`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from rnncheck.equations.cells import CELLS
from rnncheck.errors import InputError, NotApplicableError
from rnncheck.frameworks.keras.environment import has_gpu
from rnncheck.frameworks.keras.symbolic import Arguments, steps_axis
from rnncheck.network import Network

# (model, inputs in its structure, samples in a batch or None for Keras' own number) -> outputs.
Execute = Callable[[Any, Any, int | None], Any]


@dataclass(frozen=True)
class ComputePath:
    """One way of Keras to compute a model."""

    name: str  # on the command line
    summary: str  # what it does, for a reader
    execute: Execute = lambda model, fed, batch_size: model.predict(fed, batch_size=batch_size, verbose=0)
    settings: Mapping[str, Any] = field(default_factory=dict)  # what recurrent layers get while it runs, if they can
    jit: bool | None = None  # whether the model is compiled; None for Keras' own choice
    masked: bool = False  # whether recurrent layers without a mask get one in which every step counts
    batch: Callable[[int], int] | None = None  # N -> the samples in a batch; None for Keras' own number
    # Sets what belongs to the backend while it runs.
    surroundings: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext
    format: str = ""  # of products, one of `equations.formats.FORMATS`; empty for the model's precision
    on_gpu: bool = False  # whether it exists on a GPU only
    refusal: str = ""  # what Keras says where a layer has no such path; empty where all have one

    @property
    def plain(self) -> bool:
        """Whether the user's own model object runs as it is."""
        return self.jit is None and not self.settings and not self.masked

    def require(self, model: Any, network: Network, samples: int) -> None:
        """Raise a NotApplicableError where a model lacks this path, or where it is the model's own."""
        if self.on_gpu and not has_gpu():
            raise NotApplicableError("there is no GPU")
        if self.batch is not None and (reason := network.why_whole(samples)):
            raise NotApplicableError(reason)
        # A setting that every layer has already would only repeat the plain run.
        if self.settings and all(before == value for _, _, before, value in self._changes(model)):
            raise NotApplicableError("no layer has another setting")
        if self.masked and not any(layer.kind in CELLS and layer.mask is None for layer in network.layers):
            raise NotApplicableError("every recurrent layer has a mask already")

    # (layer, attribute, value before, value during the run) for each setting that a layer gets.
    def _changes(self, model: Any) -> list[tuple[Any, str, Any, Any]]:
        return [
            (layer, name, getattr(layer, name), value)
            for layer in recurrent_layers(model)
            for name, value in self.settings.items()
            if hasattr(layer, name)
        ]

    @contextlib.contextmanager
    def around(self, model: Any) -> Iterator[None]:
        """Set what the path needs, and put it back afterwards."""
        with self.surroundings(), contextlib.ExitStack() as stack:
            for layer, name, before, value in self._changes(model):
                stack.callback(setattr, layer, name, before)
                setattr(layer, name, value)
            yield

    def compile(self, *models: Any) -> None:
        """Compile models, or not, where the path says so."""
        if self.jit is not None:
            for model in models:
                model.compile(jit_compile=self.jit)

    def arguments(self, layer: Any, args: Any, kwargs: Any) -> dict[str, Any]:
        """Return the named arguments of a layer's call on this path, which may have a mask for recurrent layers."""
        import keras

        named = dict(kwargs)
        if self.masked and steps_axis(layer):
            found = Arguments.of(layer, args, kwargs)
            if found.mask is None:
                # (N, T): one number of every step, from which the mask takes its shape.
                first = found.sequence[(..., *(0 for _ in found.sequence.shape[steps_axis(layer) + 1 :]))]
                named["mask"] = keras.ops.equal(keras.ops.zeros_like(first), 0)
        return named


def recurrent_layers(model: Any) -> list[Any]:
    """Return every layer that runs a cell, wherever in the model it is."""
    return [each for each in model._flatten_layers(include_self=False, recursive=True) if hasattr(each, "cell")]


# Whether a GPU may compute float32 products in TF32. Each backend has a switch of its own.
@contextlib.contextmanager
def _tensor_float_32(*, allowed: bool) -> Iterator[None]:
    import keras

    with contextlib.ExitStack() as before:
        match keras.backend.backend():
            case "tensorflow":
                import tensorflow as tf

                config = tf.config.experimental
                before.callback(config.enable_tensor_float_32_execution, config.tensor_float_32_execution_enabled())
                config.enable_tensor_float_32_execution(allowed)
            case "jax":
                import jax

                before.enter_context(jax.default_matmul_precision("tensorfloat32" if allowed else "float32"))
            case "torch":
                import torch

                holders: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
                for holder in holders:
                    before.callback(setattr, holder, "allow_tf32", holder.allow_tf32)
                    holder.allow_tf32 = allowed
            case backend:
                raise NotApplicableError(f"{backend} does not say how it multiplies")
        yield


# Where a model has a setting already, the path of the opposite setting is the one that shows something.
PREDICT = ComputePath("predict", "model.predict, as the model is")
_ALL = (
    PREDICT,
    ComputePath(
        "call", "the model is called directly, operation by operation",
        lambda model, fed, _: model(fed, training=False),
    ),
    ComputePath(
        "predict_on_batch", "model.predict_on_batch, all samples at once",
        lambda model, fed, _: model.predict_on_batch(fed),
    ),
    ComputePath("jit", "the model is compiled: jit_compile=True", jit=True),
    ComputePath("no_jit", "the model is not compiled: jit_compile=False", jit=False),
    ComputePath("unroll", "recurrent layers build their steps one by one", settings={"unroll": True}),
    ComputePath("no_unroll", "recurrent layers run a loop", settings={"unroll": False}),
    ComputePath("all_true_mask", "recurrent layers get a mask in which every step counts", masked=True),
    ComputePath(
        "use_cudnn", "LSTM and GRU use cuDNN", settings={"use_cudnn": True}, on_gpu=True,
        refusal="cuDNN is not supported",
    ),
    ComputePath("no_use_cudnn", "LSTM and GRU run the general loop", settings={"use_cudnn": False}),
    ComputePath("batch_of_one", "predict takes one sample after the other", batch=lambda n: 1),
    ComputePath(
        "uneven_batches", "predict takes batches of which the last one is smaller",
        batch=lambda n: min(n // 2 + 1, n - 1),
    ),
    ComputePath(
        "tf32", "a GPU multiplies in TF32", surroundings=lambda: _tensor_float_32(allowed=True), format="tf32",
        on_gpu=True,
    ),
    ComputePath(
        "no_tf32", "a GPU multiplies in float32", surroundings=lambda: _tensor_float_32(allowed=False), on_gpu=True,
    ),
)  # fmt: skip
PATHS: Mapping[str, ComputePath] = {path.name: path for path in _ALL}


def named_paths(names: Sequence[str]) -> tuple[str, ...]:
    """Return the compute paths that are named, in the order of `PATHS`; with `all`, every one."""
    names = [names] if isinstance(names, str) else list(names)
    for name in names or [""]:
        if name not in {*PATHS, "all"}:
            raise InputError(f"paths: got {name!r}; expected {', '.join(PATHS)} or all.")
    return tuple(name for name in PATHS if name in names or "all" in names)
