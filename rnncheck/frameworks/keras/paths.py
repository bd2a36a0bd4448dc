"""The ways in which Keras computes one and the same model: its kernel paths.

Which of them runs depends on how a model is called, on options that are not part of its equations, on the mask and
on the processor. Each is an entry of `PATHS`.
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
from rnncheck.frameworks.keras.symbolic import Arguments, is_recurrent, steps_axis
from rnncheck.network import Network

# (model, inputs in its structure, how many samples a batch has; None for Keras' own number) -> outputs.
Execute = Callable[[Any, Any, int | None], Any]


def _predict(model: Any, fed: Any, batch_size: int | None) -> Any:
    return model.predict(fed, batch_size=batch_size, verbose=0)


def _predict_on_batch(model: Any, fed: Any, batch_size: int | None) -> Any:
    del batch_size
    return model.predict_on_batch(fed)


def _call(model: Any, fed: Any, batch_size: int | None) -> Any:
    del batch_size
    return model(fed, training=False)


@dataclass(frozen=True)
class KernelPath:
    """One way of Keras to compute a model.

    Attributes:
        name: what the command line calls it.
        summary: what it does, for a reader.
        execute: runs a model.
        settings: attributes of recurrent layers while it runs, where they have them.
        jit: whether the model is compiled; None for what Keras chooses.
        masked: whether recurrent layers without a mask get one in which every step counts.
        batch: N -> how many samples a batch has; None for Keras' own number.
        surroundings: what is set elsewhere while it runs.
        format: what products are computed in, one of `equations.formats.FORMATS`; empty for what the model says.
        on_gpu: whether it exists on a GPU only.
        refusal: what Keras says where it has no such path for a layer; empty where it has one for all.
    """

    name: str
    summary: str
    execute: Execute = _predict
    settings: Mapping[str, Any] = field(default_factory=dict)
    jit: bool | None = None
    masked: bool = False
    batch: Callable[[int], int] | None = None
    surroundings: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext
    format: str = ""
    on_gpu: bool = False
    refusal: str = ""

    @property
    def plain(self) -> bool:
        """Whether the user's own model object runs as it is."""
        return self.jit is None and not self.settings and not self.masked

    def require(self, model: Any, network: Network, samples: int) -> None:
        """See that there is such a path for a model.

        Raises:
            NotApplicableError: there is none, or it would be no other than the model's own.
        """
        if self.on_gpu and not has_gpu():
            raise NotApplicableError("there is no GPU")
        if self.batch is not None and (reason := network.why_whole(samples)):
            raise NotApplicableError(reason)
        if self.settings and all(before == value for _, _, before, value in self._changes(model)):
            raise NotApplicableError("no layer has another setting")
        if self.masked and not any(layer.kind in CELLS and layer.mask is None for layer in network.layers):
            raise NotApplicableError("every recurrent layer has a mask already")

    def _changes(self, model: Any) -> list[tuple[Any, str, Any, Any]]:
        """Return which layers get which settings: (layer, attribute, what it is, what it becomes)."""
        return [
            (layer, name, getattr(layer, name), value)
            for layer in recurrent_layers(model)
            for name, value in self.settings.items()
            if hasattr(layer, name)
        ]

    @contextlib.contextmanager
    def around(self, model: Any) -> Iterator[None]:
        """Set what the path needs; afterwards all is as it was."""
        changes = self._changes(model)
        with self.surroundings():
            try:
                for layer, name, _, value in changes:
                    setattr(layer, name, value)
                yield
            finally:
                for layer, name, before, _ in changes:
                    setattr(layer, name, before)

    def compile(self, *models: Any) -> None:
        """Have models compiled or not, where the path says so."""
        if self.jit is not None:
            for model in models:
                model.compile(jit_compile=self.jit)

    def arguments(self, layer: Any, args: Any, kwargs: Any) -> dict[str, Any]:
        """Return what a layer is called with on this path: with a mask besides, where it has none."""
        import keras

        named = dict(kwargs)
        if self.masked and is_recurrent(layer):
            found = Arguments.of(layer, args, kwargs)
            if found.mask is None:
                first = found.sequence[(..., *(0 for _ in found.sequence.shape[steps_axis(layer) + 1 :]))]
                named["mask"] = keras.ops.equal(keras.ops.zeros_like(first), 0)
        return named


def recurrent_layers(model: Any) -> Iterator[Any]:
    """Yield every layer that runs a cell, wherever in the model it is."""
    for layer in model._flatten_layers(include_self=False, recursive=True):
        if hasattr(layer, "cell"):
            yield layer


@contextlib.contextmanager
def _tensor_float_32(*, allowed: bool) -> Iterator[None]:
    """Let a GPU compute float32 products in TF32, or not."""
    import keras

    match keras.backend.backend():
        case "tensorflow":
            import tensorflow as tf

            config = tf.config.experimental
            before = config.tensor_float_32_execution_enabled()
            config.enable_tensor_float_32_execution(allowed)
            try:
                yield
            finally:
                config.enable_tensor_float_32_execution(before)
        case "jax":
            import jax

            with jax.default_matmul_precision("tensorfloat32" if allowed else "float32"):
                yield
        case "torch":
            import torch

            holders: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
            kept = [holder.allow_tf32 for holder in holders]
            for holder in holders:
                holder.allow_tf32 = allowed
            try:
                yield
            finally:
                for holder, value in zip(holders, kept, strict=True):
                    holder.allow_tf32 = value
        case backend:
            raise NotApplicableError(f"{backend} does not say how it multiplies")


PREDICT = KernelPath("predict", "model.predict, as the model is")


PATHS: Mapping[str, KernelPath] = {
    path.name: path
    for path in (
        PREDICT,
        KernelPath("call", "the model is called directly, operation by operation", _call),
        KernelPath("predict_on_batch", "model.predict_on_batch, all samples at once", _predict_on_batch),
        KernelPath("jit", "the model is compiled: jit_compile=True", jit=True),
        KernelPath("no_jit", "the model is not compiled: jit_compile=False", jit=False),
        KernelPath("unroll", "recurrent layers build their steps one by one", settings={"unroll": True}),
        KernelPath("no_unroll", "recurrent layers run a loop", settings={"unroll": False}),
        KernelPath("all_true_mask", "recurrent layers get a mask in which every step counts", masked=True),
        KernelPath(
            "use_cudnn",
            "LSTM and GRU use cuDNN",
            settings={"use_cudnn": True},
            on_gpu=True,
            refusal="cuDNN is not supported",
        ),
        KernelPath("no_use_cudnn", "LSTM and GRU run the general loop", settings={"use_cudnn": False}),
        KernelPath("batch_of_one", "predict takes one sample after the other", batch=lambda n: 1),
        KernelPath(
            "uneven_batches",
            "predict takes batches of which the last one is smaller",
            batch=lambda n: min(n // 2 + 1, n - 1),
        ),
        KernelPath(
            "tf32",
            "a GPU multiplies in TF32",
            surroundings=lambda: _tensor_float_32(allowed=True),
            format="tf32",
            on_gpu=True,
        ),
        KernelPath(
            "no_tf32",
            "a GPU multiplies in float32",
            surroundings=lambda: _tensor_float_32(allowed=False),
            on_gpu=True,
        ),
    )
}


def named_paths(names: Sequence[str]) -> tuple[str, ...]:
    """Return the paths that are named, in the order of `PATHS`; with `all`, every one.

    Raises:
        InputError: a name is that of none, or there is none.
    """
    names = [names] if isinstance(names, str) else list(names)
    for name in names or [""]:
        if name not in {*PATHS, "all"}:
            raise InputError(f"paths: {name!r} came; expected {', '.join(PATHS)} or all.")
    return tuple(name for name in PATHS if name in names or "all" in names)
