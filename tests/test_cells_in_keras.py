"""The scalar reference of every recurrent layer and wrapper, against Keras."""

from itertools import product

import keras
import numpy as np
import pytest
import reference
from reference import (
    CELLS,
    make_bidirectional,
    make_dense,
    make_inputs,
)
from test_cells import (
    BIDIRECTIONAL_OPTIONS,
    CONVOLUTIONS,
    GATED,
    IMAGES,
    MERGE_MODES,
    STACK_OPTIONS,
    STACKS,
    assert_all_same,
    assert_same,
    dense_arguments,
    make,
    make_convolution,
    make_stack,
    named,
    reference_of_bidirectional,
    reference_of_stack,
)

from rnncheck import Activation

KEPT_IN_MASKS = {"return_sequences": True, "return_state": True, "mask": True}


def identified(value):
    return value if isinstance(value, str) else named(value)


def keras_layer(layer, shape, **more):
    """The Keras layer of a layer's kind, options and weights, built for inputs of the shape."""
    options = {key: value.name if isinstance(value, Activation) else value for key, value in layer.options.items()}
    built = getattr(keras.layers, layer.kind)(**{**options, **more}, dtype=layer.dtype)
    built.build(shape)
    built.set_weights(list(layer.weights.values()))
    return built


def keras_calls(network, calls, **more):
    """What Keras computes for a network of one recurrent layer, several calls in a row."""
    (layer,) = network.layers
    built = keras_layer(layer, calls[0][0].shape, **more)
    results = []
    for call in calls:
        given = dict(zip([spec.name for spec in network.inputs], call, strict=True))
        initial = [keras.ops.convert_to_tensor(given[tensor.layer]) for tensor in layer.initial_state] or None
        x = keras.ops.convert_to_tensor(given["inputs"])
        results.append(as_arrays(built(x, mask=given.get("mask"), initial_state=initial)))
    return results


def as_arrays(tensors):
    return [keras.ops.convert_to_numpy(tensor) for tensor in keras.tree.flatten(tensors)]


@pytest.mark.few(8)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"return_sequences": True, "initial_state": True, "use_bias": False},
        {**KEPT_IN_MASKS, "initial_state": True},
        {**KEPT_IN_MASKS, "go_backwards": True},
        {**KEPT_IN_MASKS, "zero_output_for_mask": True},
        {"mask": True, "zero_output_for_mask": True, "go_backwards": True, "initial_state": True},
        {"mask": True, "stateful": True},
    ],
    ids=named,
)
def test_reference_gives_what_keras_computes(cell, options):
    network = make(cell, **options)
    calls = [make_inputs(network, 4, seed=seed) for seed in (1, 2)]

    assert_all_same(reference.run(network, calls), keras_calls(network, calls))


@pytest.mark.parametrize("cell", ["simple_rnn", "lstm", "gru", "conv_lstm_1d"])
@pytest.mark.parametrize("zero_output_for_mask", [False, True], ids=["repeated", "zero"])
def test_reference_gives_what_keras_computes_unrolled(cell, zero_output_for_mask):
    network = make(cell, **KEPT_IN_MASKS, zero_output_for_mask=zero_output_for_mask, initial_state=True)
    calls = [make_inputs(network, 4)]

    assert_all_same(reference.run(network, calls), keras_calls(network, calls, unroll=True))


@pytest.mark.parametrize("cell", GATED)
@pytest.mark.parametrize(
    "activations",
    [{"activation": "relu", "recurrent_activation": "hard_sigmoid"}, {"recurrent_activation": "softmax"}],
    ids=named,
)
def test_reference_gives_what_keras_computes_with_other_activations(cell, activations):
    network = make(cell, return_sequences=True, **activations)
    calls = [make_inputs(network, 2)]

    assert_all_same(reference.run(network, calls), keras_calls(network, calls))


@pytest.mark.few(9)
@pytest.mark.parametrize("cell", IMAGES)
@pytest.mark.parametrize("options", CONVOLUTIONS, ids=named)
def test_reference_convolves_as_keras_does(cell, options):
    network = make_convolution(cell, options)
    calls = [make_inputs(network, 2)]

    assert_all_same(reference.run(network, calls), keras_calls(network, calls))


def keras_stack(network, call):
    """What Keras computes for RNN([cells])."""
    cells = [layer for layer in network.layers if layer.kind != "Reverse"]
    flags = {flag: cells[-1].options[flag] for flag in ("return_sequences", "return_state", "zero_output_for_mask")}
    rnn = keras.layers.RNN(
        keras.layers.StackedRNNCells([keras_cell(layer) for layer in cells], dtype="float64"),
        go_backwards=cells[0].options["go_backwards"],
        dtype="float64",
        **flags,
    )
    rnn.build(call[0].shape)
    rnn.set_weights([weight for layer in cells for weight in layer.weights.values()])
    return as_arrays(rnn(keras.ops.convert_to_tensor(call[0]), mask=call[1] if len(call) > 1 else None))


def keras_cell(layer):
    options = {key: value.name if isinstance(value, Activation) else value for key, value in layer.options.items()}
    own = {key: value for key, value in options.items() if key not in reference.FLAGS}
    return getattr(keras.layers, f"{layer.kind}Cell")(**own, dtype=layer.dtype)


def stackable_by_keras(stack, options):
    """Keras 3.15 on TensorFlow fails with a ValueError on a stack of one cell under a mask."""
    return len(STACKS[stack]) > 1 or "mask" not in options


@pytest.mark.few(6)
@pytest.mark.parametrize(
    ("stack", "options"),
    [(stack, options) for stack, options in product(STACKS, STACK_OPTIONS) if stackable_by_keras(stack, options)],
    ids=identified,
)
def test_reference_stacks_cells_as_keras_does(stack, options):
    network = make_stack(stack, **options)
    call = make_inputs(network, 4)

    assert_same(reference_of_stack(network, call), keras_stack(network, call))


def keras_bidirectional(network, call, merge_mode):
    """What Keras computes; both halves are told their own zero_output_for_mask by the wrapper."""
    given = dict(zip([spec.name for spec in network.inputs], call, strict=True))
    x = keras.ops.convert_to_tensor(given["inputs"])
    halves = [keras_layer(half, x.shape, zero_output_for_mask=False) for half in network.layers[:2]]
    both = keras.layers.Bidirectional(halves[0], merge_mode=merge_mode, backward_layer=halves[1], dtype="float64")
    both.build(x.shape)
    both.forward_layer.set_weights(list(network.layers[0].weights.values()))
    starts = [
        keras.ops.convert_to_tensor(given[tensor.layer])
        for half in network.layers[:2]
        for tensor in half.initial_state
    ]
    return as_arrays(both(x, mask=given.get("mask"), initial_state=starts or None))


@pytest.mark.few(4)
@pytest.mark.parametrize("merge_mode", MERGE_MODES)
@pytest.mark.parametrize("options", BIDIRECTIONAL_OPTIONS, ids=named)
def test_reference_runs_both_directions_as_keras_does(merge_mode, options):
    network = make_bidirectional(T=5, D=2, M=3, merge_mode=merge_mode, **options)
    call = make_inputs(network, 4)

    expected = keras_bidirectional(network, call, merge_mode)

    assert_same(reference_of_bidirectional(network, call, merge_mode), expected)


def test_reference_of_time_distributed_gives_what_keras_computes():
    dense = make_dense(
        "dense", np.random.default_rng(0), D=3, K=2, source="inputs", activation="tanh", dtype="float64"
    )
    x = np.random.default_rng(1).normal(size=(2, 5, 3))
    layer = keras.layers.TimeDistributed(keras.layers.Dense(2, activation="tanh", dtype="float64"), dtype="float64")
    layer.build(x.shape)
    layer.set_weights(list(dense.weights.values()))

    assert_same(
        [reference.dense(x.tolist(), *dense_arguments(dense))], as_arrays(layer(keras.ops.convert_to_tensor(x)))
    )


def test_reference_of_embedding_gives_what_keras_computes():
    table, ids = np.random.default_rng(0).normal(size=(7, 3)), np.array([[0, 6, 2], [5, 0, 0]])
    layer = keras.layers.Embedding(7, 3, dtype="float64")
    layer.build()
    layer.set_weights([table])

    assert_same([reference.embedding(ids.tolist(), table.tolist())], as_arrays(layer(ids)))
