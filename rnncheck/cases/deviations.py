"""Where Keras is known not to compute what its equations say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rnncheck.cases.case import RANKS, Case
from rnncheck.equations.shapes import on_zeros
from rnncheck.network import Activation, Network, Tensor

BACKENDS = ("tensorflow", "jax", "torch")


@dataclass(frozen=True)
class Deviation:
    """Something that Keras 3.15 does not compute as its equation says, or cannot compute.

    The grid leaves these cases out. `rnncheck verify` with such options says `mismatch` or `error`, and a test
    notices when Keras fixes it.
    """

    reason: str  # what Keras does
    applies: Callable[[Case], bool]  # whether a case is affected
    example: Case  # shows it
    backends: tuple[str, ...] = BACKENDS  # where it does
    concerns: Callable[[Network], bool] = lambda network: False  # whether a model is affected, where that can be told


def _has(activation: str, dtype: str = "") -> Callable[[Network], bool]:
    return lambda network: any(
        isinstance(option, Activation) and option.name == activation and (not dtype or layer.dtype == dtype)
        for layer in network.layers
        for option in (*layer.options.values(), Activation(layer.kind.lower()))
    )


def _uses(case: Case, activation: str) -> bool:
    return activation in (case.activation, case.recurrent_activation, case.dense_activation)


def _is_masked_in_a_loop(case: Case) -> bool:
    return case.mask != "none" and not case.unroll


def _zeroes_in_an_unrolled_loop(case: Case) -> bool:
    # Bidirectional zeroes wherever it returns sequences, and layers below others do return them.
    zeroes = case.return_sequences or case.layers > 1 if case.bidirectional else case.zero_output_for_mask
    return zeroes and case.unroll and case.mask != "none"


def _has_as_many_filters_as_columns(network: Network) -> bool:
    # Where a size is open, nothing can be told.
    if any(None in spec.shape for spec in network.inputs):
        return False
    sizes = [(1, *(size for size in spec.shape if size is not None)) for spec in network.inputs]
    values = on_zeros(network, sizes, {})
    outputs = {layer: values[Tensor(layer.name)].shape for layer in network.layers if Tensor(layer.name) in values}
    return any(
        "bias" in layer.weights and layer.options.get("data_format") == "channels_first" and shape[1] == shape[-1]
        for layer, shape in outputs.items()
        # Those that Keras compiles with XLA have no sizes to be mistaken for each other.
        if layer.kind not in {"Conv1D", "Conv2D"} or layer.options["groups"] > 1
    )


KNOWN_DEVIATIONS = (
    Deviation(
        "sparsemax sums the cumulative sums over its support instead of taking the last one (keras issue 23425)",
        lambda case: _uses(case, "sparsemax"),
        Case(dense_activation="sparsemax", K=4),
        concerns=_has("sparsemax"),
    ),
    Deviation(
        "leaky_relu in float64 has its slope 0.2 from a float32 number",
        lambda case: _uses(case, "leaky_relu") and case.dtype == "float64",
        Case(dense_activation="leaky_relu", dtype="float64", N=8),
        concerns=_has("leaky_relu", "float64"),
    ),
    Deviation(
        "gelu in float64 has the square root of 2 from a float32 number",
        lambda case: _uses(case, "gelu") and case.dtype == "float64",
        Case(dense_activation="gelu", dtype="float64", N=8),
        concerns=_has("gelu", "float64"),
    ),
    Deviation(
        "TensorFlow adds the bias of a depthwise, separable, grouped or 3D convolution with channels_first along the "
        "last axis, where that has as many places as there are filters",
        lambda case: case.front == "depthwise_conv2d" and 2 * case.image[0] == case.D,
        Case(front="depthwise_conv2d", D=12),
        ("tensorflow",),
        concerns=_has_as_many_filters_as_columns,
    ),
    Deviation(
        "unroll with go_backwards zeroes masked outputs by the mask in its original order",
        lambda case: _zeroes_in_an_unrolled_loop(case) and (case.bidirectional or case.go_backwards),
        Case(unroll=True, go_backwards=True, mask="left", zero_output_for_mask=True, return_sequences=True),
    ),
    Deviation(
        "JAX puts out the initial state before the first step that counts, TensorFlow and torch zeros",
        lambda case: case.initial_state and _is_masked_in_a_loop(case) and not case.zero_output_for_mask,
        Case(mask="left", initial_state=True, return_sequences=True),
        ("jax",),
    ),
    Deviation(
        "JAX repeats the output before where a step of an unrolled layer does not count, and never puts out zero",
        _zeroes_in_an_unrolled_loop,
        Case(unroll=True, mask="right", zero_output_for_mask=True, return_sequences=True),
        ("jax",),
    ),
    Deviation(
        "JAX and torch compute the matrix products of float64 layers in float32",
        lambda case: case.dtype == "float64" and case.layer not in RANKS,
        Case(dtype="float64"),
        ("jax", "torch"),
        concerns=lambda network: any(
            layer.dtype == "float64" and "kernel" in layer.weights for layer in network.layers
        ),
    ),
    Deviation(
        "JAX forgets the states of a stateful layer from one predict to the next",
        lambda case: case.stateful,
        Case(stateful=True),
        ("jax",),
        concerns=lambda network: network.stateful,
    ),
    Deviation(
        "JAX cannot run a convolutional layer under a mask",
        lambda case: case.layer in RANKS and _is_masked_in_a_loop(case),
        Case(layer="conv_lstm_1d", mask="right"),
        ("jax",),
    ),
)


def deviates(case: Case, backends: Sequence[str] = ("tensorflow",)) -> bool:
    """Whether Keras is known not to compute what the equations of a case say, on one of the backends."""
    return any(deviations_of(case, backend) for backend in backends)


def deviations_of(model: Case | Network, backend: str) -> list[str]:
    """Return what Keras is known to compute otherwise in a case or a model on a backend, in words."""
    return [
        each.reason
        for each in KNOWN_DEVIATIONS
        if backend in each.backends and (each.applies(model) if isinstance(model, Case) else each.concerns(model))
    ]
