"""From a model's description to its Network: wrappers, stacks, nested models and masks are written out."""

import copy
import functools

import keras
import numpy as np
import pytest
from keras import layers

from rnncheck import InputError, InputSpec, Tensor, UnsupportedError
from rnncheck.equations.shapes import check_fit, rehearse, shapes
from rnncheck.frameworks.keras.config.calls import Call, Reference, Value, names_of_ends
from rnncheck.frameworks.keras.config.description import read_model
from rnncheck.frameworks.keras.config.functional import operation
from rnncheck.frameworks.keras.config.reader import read
from rnncheck.frameworks.keras.config.upgrade import upgraded
from rnncheck.frameworks.keras.config.values import constant, plain
from rnncheck.frameworks.keras.extract import LiveStore, extract


def sequential(*stack, shape=(4, 3)):
    return keras.Sequential([keras.Input(shape, name="x"), *stack], name="model")


def functional(apply, *shapes):
    inputs = [keras.Input(shape, name=name) for shape, name in zip(shapes or [(4, 3)], "xyzuvw", strict=False)]
    return keras.Model(inputs, apply(*inputs), name="model")


def lines(network):
    """Write a network as text, one line a layer: name: kind(inputs) | mask | initial state | flags."""

    def line(layer):
        parts = [f"{layer.name}: {layer.kind}({', '.join(map(str, layer.inputs))})"]
        if layer.mask:
            parts.append(f"mask {layer.mask}")
        if layer.initial_state:
            parts.append(f"from {', '.join(map(str, layer.initial_state))}")
        shown = ("return_sequences", "return_state", "go_backwards", "stateful", "zero_output_for_mask")
        flags = [flag for flag in shown if layer.options.get(flag)]
        return " | ".join([*parts, *([", ".join(flags)] if flags else [])])

    return [*map(line, network.layers), "-> " + ", ".join(map(str, network.outputs))]


def masked(*stack, **shape):
    return sequential(layers.Masking(name="masking"), *stack, **shape)


def encoder_decoder(x, y):
    _, h, c = layers.LSTM(5, return_state=True, name="encoder")(x)
    h = layers.LSTM(5, return_sequences=True, name="decoder")(y, initial_state=[h, c])
    return layers.Dense(2, name="dense")(h)


def shared(x):
    layer = layers.GRU(3, return_sequences=True, name="gru")
    return layer(layer(x))


def nested_twice(x):
    i = keras.Input((4, 3), name="i")
    h = layers.SimpleRNN(3, return_sequences=True, name="rnn")(i)
    inner = keras.Model(i, [h, layers.Flatten(name="flatten")(h)], name="inner")
    return [inner(inner(x)[0])[1], inner(x)[1]]


def stack(**flags):
    cells = layers.LSTMCell(3, name="a"), layers.GRUCell(4, name="b"), layers.SimpleRNNCell(2, name="c")
    return layers.RNN(list(cells), name="rnn", **flags)


LOWERINGS = {
    "lstm-with-everything": (
        lambda: functional(
            layers.LSTM(
                5, return_sequences=True, return_state=True, go_backwards=True, zero_output_for_mask=True, name="lstm"
            )
        ),
        [
            "lstm: LSTM(x) | return_sequences, return_state, go_backwards, zero_output_for_mask",
            "-> lstm, lstm:1, lstm:2",
        ],
    ),
    "rnn-of-a-cell": (
        lambda: sequential(layers.RNN(layers.GRUCell(5), name="rnn")),
        ["rnn: GRU(x)", "-> rnn"],
    ),
    "stack": (
        lambda: functional(stack(return_state=True)),
        [
            "rnn/0_a: LSTM(x) | return_sequences, return_state",
            "rnn/1_b: GRU(rnn/0_a) | return_sequences, return_state",
            "rnn: SimpleRNN(rnn/1_b) | return_state",
            "-> rnn, rnn/0_a:1, rnn/0_a:2, rnn/1_b:1, rnn:1",
        ],
    ),
    "stack-backwards-with-a-mask": (
        lambda: masked(stack(go_backwards=True, return_sequences=True)),
        [
            "masking: Masking(x)",
            "masking/not_equal: NotEqual(x)",
            "masking/mask: Any(masking/not_equal)",
            "rnn/0_a: LSTM(masking) | mask masking/mask | return_sequences, go_backwards",
            "rnn/reverse_mask: Reverse(masking/mask)",
            "rnn/1_b: GRU(rnn/0_a) | mask rnn/reverse_mask | return_sequences",
            "rnn: SimpleRNN(rnn/1_b) | mask rnn/reverse_mask | return_sequences",
            "-> rnn",
        ],
    ),
    "stack-with-states": (
        lambda: functional(
            lambda x, h, c, g, r: stack()(x, initial_state=[[h, c], g, r]), (4, 3), (3,), (3,), (4,), (2,)
        ),
        [
            "rnn/0_a: LSTM(x) | from y, z | return_sequences",
            "rnn/1_b: GRU(rnn/0_a) | from u | return_sequences",
            "rnn: SimpleRNN(rnn/1_b) | from v",
            "-> rnn",
        ],
    ),
    "bidirectional": (
        lambda: sequential(layers.Bidirectional(layers.LSTM(5, name="lstm"), name="both")),
        [
            "both/forward_lstm: LSTM(x)",
            "both/backward_lstm: LSTM(x) | go_backwards",
            "both: Concatenate(both/forward_lstm, both/backward_lstm)",
            "-> both",
        ],
    ),
    "bidirectional-sequences-and-states": (
        lambda: functional(
            layers.Bidirectional(
                layers.LSTM(5, return_sequences=True, return_state=True, name="lstm"), merge_mode="ave", name="both"
            )
        ),
        [
            "both/forward_lstm: LSTM(x) | return_sequences, return_state, zero_output_for_mask",
            "both/backward_lstm: LSTM(x) | return_sequences, return_state, go_backwards, zero_output_for_mask",
            "both/reverse: Reverse(both/backward_lstm)",
            "both: Average(both/forward_lstm, both/reverse)",
            "-> both, both/forward_lstm:1, both/forward_lstm:2, both/backward_lstm:1, both/backward_lstm:2",
        ],
    ),
    "bidirectional-that-merges-nothing": (
        lambda: functional(
            layers.Bidirectional(layers.GRU(5, return_state=True, name="gru"), merge_mode=None, name="both")
        ),
        [
            "both/forward_gru: GRU(x) | return_state",
            "both/backward_gru: GRU(x) | return_state, go_backwards",
            "-> both/forward_gru, both/backward_gru, both/forward_gru:1, both/backward_gru:1",
        ],
    ),
    "bidirectional-with-a-layer-of-its-own": (
        lambda: sequential(
            layers.Bidirectional(
                layers.LSTM(5, go_backwards=True, name="a"),
                backward_layer=layers.GRU(5, name="b"),
                merge_mode="mul",
                name="both",
            )
        ),
        [
            "both/forward_a: LSTM(x) | go_backwards",
            "both/b: GRU(x)",
            "both: Multiply(both/forward_a, both/b)",
            "-> both",
        ],
    ),
    "bidirectional-with-states": (
        lambda: functional(
            lambda x, *states: layers.Bidirectional(layers.LSTM(5, name="lstm"), merge_mode="sum", name="both")(
                x, initial_state=list(states)
            ),
            *[(4, 3), (5,), (5,), (5,), (5,)],
        ),
        [
            "both/forward_lstm: LSTM(x) | from y, z",
            "both/backward_lstm: LSTM(x) | from u, v | go_backwards",
            "both: Add(both/forward_lstm, both/backward_lstm)",
            "-> both",
        ],
    ),
    "bidirectional-stack": (
        lambda: sequential(
            layers.Bidirectional(
                layers.RNN([layers.GRUCell(3, name="a"), layers.GRUCell(2, name="b")], name="rnn"), name="both"
            )
        ),
        [
            "both/forward_rnn/0_a: GRU(x) | return_sequences",
            "both/forward_rnn: GRU(both/forward_rnn/0_a)",
            "both/backward_rnn/0_a: GRU(x) | return_sequences, go_backwards",
            "both/backward_rnn: GRU(both/backward_rnn/0_a)",
            "both: Concatenate(both/forward_rnn, both/backward_rnn)",
            "-> both",
        ],
    ),
    "time-distributed": (
        lambda: sequential(layers.TimeDistributed(layers.Dense(2, name="dense"), name="each")),
        ["each/fold: FoldTime(x)", "each/dense: Dense(each/fold)", "each: UnfoldTime(each/dense, x)", "-> each"],
    ),
    "time-distributed-model": (
        lambda: sequential(
            layers.TimeDistributed(
                keras.Sequential([layers.LSTM(3, name="lstm"), layers.Dense(2, name="dense")], name="inner"),
                name="each",
            ),
            shape=(4, 5, 3),
        ),
        [
            "each/fold: FoldTime(x)",
            "each/inner/lstm: LSTM(each/fold)",
            "each/inner/dense: Dense(each/inner/lstm)",
            "each: UnfoldTime(each/inner/dense, x)",
            "-> each",
        ],
    ),
    "time-distributed-twice": (
        lambda: sequential(
            layers.TimeDistributed(layers.TimeDistributed(layers.Dense(2, name="dense"), name="inner"), name="outer"),
            shape=(4, 5, 3),
        ),
        [
            "outer/fold: FoldTime(x)",
            "outer/inner/fold: FoldTime(outer/fold)",
            "outer/inner/dense: Dense(outer/inner/fold)",
            "outer/inner: UnfoldTime(outer/inner/dense, outer/fold)",
            "outer: UnfoldTime(outer/inner, x)",
            "-> outer",
        ],
    ),
    "encoder-decoder": (
        lambda: functional(encoder_decoder, (4, 3), (6, 2)),
        [
            "encoder: LSTM(x) | return_state",
            "decoder: LSTM(y) | from encoder:1, encoder:2 | return_sequences",
            "dense: Dense(decoder)",
            "-> dense",
        ],
    ),
    "shared-layer": (
        lambda: functional(shared),
        ["gru: GRU(x) | return_sequences", "gru@2: GRU(gru) | return_sequences", "-> gru@2"],
    ),
    "model-used-three-times": (
        lambda: functional(nested_twice),
        [
            "inner/rnn: SimpleRNN(x) | return_sequences",
            "inner/flatten: Flatten(inner/rnn)",
            "inner@2/rnn: SimpleRNN(inner/rnn) | return_sequences",
            "inner@2/flatten: Flatten(inner@2/rnn)",
            "inner@3/rnn: SimpleRNN(x) | return_sequences",
            "inner@3/flatten: Flatten(inner@3/rnn)",
            "-> inner@2/flatten, inner@3/flatten",
        ],
    ),
    "embedding": (
        lambda: sequential(
            layers.Embedding(7, 3, mask_zero=True, name="embedding"),
            layers.Dropout(0.5, name="dropout"),
            layers.LSTM(5, name="lstm"),
            shape=(4,),
        ),
        [
            "embedding: Embedding(x)",
            "dropout: Dropout(embedding)",
            "embedding/mask: NotEqual(x)",
            "lstm: LSTM(dropout) | mask embedding/mask",
            "-> lstm",
        ],
    ),
    "embedding-without-a-mask": (
        lambda: sequential(layers.Embedding(7, 3, name="embedding"), layers.LSTM(5, name="lstm"), shape=(4,)),
        ["embedding: Embedding(x)", "lstm: LSTM(embedding)", "-> lstm"],
    ),
    "mask-goes-on-to-every-layer": (
        lambda: masked(
            layers.GRU(5, return_sequences=True, name="first"),
            layers.Dense(3, name="dense"),
            layers.TimeDistributed(layers.Dense(2, name="dense"), name="each"),
            layers.GRU(2, name="second"),
            layers.RepeatVector(3, name="repeat"),
            layers.GRU(2, name="third"),
        ),
        [
            "masking: Masking(x)",
            "masking/not_equal: NotEqual(x)",
            "masking/mask: Any(masking/not_equal)",
            "first: GRU(masking) | mask masking/mask | return_sequences",
            "dense: Dense(first)",
            "each/fold: FoldTime(dense)",
            "each/dense: Dense(each/fold)",
            "each: UnfoldTime(each/dense, dense)",
            "second: GRU(each) | mask masking/mask",
            "repeat: RepeatVector(second)",
            "third: GRU(repeat)",
            "-> third",
        ],
    ),
    "mask-that-nobody-reads": (
        lambda: masked(layers.Dense(2, name="dense")),
        ["masking: Masking(x)", "dense: Dense(masking)", "-> dense"],
    ),
    "pooling-with-a-mask": (
        lambda: masked(layers.GlobalAveragePooling1D(name="mean")),
        [
            "masking: Masking(x)",
            "masking/not_equal: NotEqual(x)",
            "masking/mask: Any(masking/not_equal)",
            "mean: GlobalAveragePooling1D(masking, masking/mask)",
            "-> mean",
        ],
    ),
    "mask-out-of-a-model": (
        lambda: functional(
            lambda x: layers.LSTM(5, name="lstm")(
                keras.Sequential([keras.Input((4, 3)), layers.Masking(name="masking")], name="inner")(x)
            )
        ),
        [
            "inner/masking: Masking(x)",
            "inner/masking/not_equal: NotEqual(x)",
            "inner/masking/mask: Any(inner/masking/not_equal)",
            "lstm: LSTM(inner/masking) | mask inner/masking/mask",
            "-> lstm",
        ],
    ),
    "mask-into-a-model": (
        lambda: masked(keras.Sequential([keras.Input((4, 3)), layers.LSTM(5, name="lstm")], name="inner")),
        [
            "masking: Masking(x)",
            "masking/not_equal: NotEqual(x)",
            "masking/mask: Any(masking/not_equal)",
            "inner/lstm: LSTM(masking) | mask masking/mask",
            "-> inner/lstm",
        ],
    ),
    "keras-drops-a-mask-beside-states": (
        lambda: functional(
            lambda x, h: layers.GRU(2, name="next")(
                layers.GRU(5, return_sequences=True, name="gru")(layers.Masking(name="masking")(x), initial_state=h)
            ),
            *[(4, 3), (5,)],
        ),
        [
            "masking: Masking(x)",
            "gru: GRU(masking) | from y | return_sequences",
            "not_equal: NotEqual(x)",
            "any: Any(not_equal)",
            "next: GRU(gru) | mask any",
            "-> next",
        ],
    ),
    "attention": (
        lambda: functional(
            lambda x, y: layers.Attention(name="attention")([layers.Masking(name="masking")(x), y]), (4, 3), (5, 3)
        ),
        [
            "masking: Masking(x)",
            "masking/not_equal: NotEqual(x)",
            "masking/mask: Any(masking/not_equal)",
            "attention: Attention(masking, y, y, masking/mask)",
            "-> attention",
        ],
    ),
}


@pytest.mark.few(12)
@pytest.mark.parametrize("name", LOWERINGS)
def test_model_is_lowered_to_known_layers(name):
    keras.utils.clear_session(free_memory=False)
    build, expected = LOWERINGS[name]

    network = extract(build())

    assert lines(network) == expected


@pytest.mark.few(12)
@pytest.mark.parametrize("name", LOWERINGS)
def test_weights_are_those_of_the_objects(name, rng):
    model = LOWERINGS[name][0]()
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape))
    everything = [each for each in model._flatten_layers(include_self=False) if each.weights]
    owners = [each for each in everything if not any(inner.weights for inner in each._layers)]
    written = [{w.name: w.numpy().tolist() for w in own.weights if "seed" not in w.name} for own in owners]

    network = extract(model)

    found = [{name: w.tolist() for name, w in layer.weights.items()} for layer in network.layers if layer.weights]
    # A layer that is used several times is found as often, every object once.
    assert all(own in found for own in written)
    assert all([list(own) for own in written if own == each] == [list(each)] for each in found)


TWINS = {
    "lstm": lambda: [layers.LSTM(5, name="lstm")],
    "bidirectional": lambda: [
        layers.Bidirectional(layers.GRU(5, return_sequences=True, name="gru"), name="both"),
        layers.GRU(2, name="last"),
    ],
    "stack": lambda: [stack(return_sequences=True, go_backwards=True), layers.GRU(2, name="last")],
    "time-distributed": lambda: [
        layers.TimeDistributed(layers.Dense(2, name="dense"), name="each"),
        layers.GRU(2, name="last"),
    ],
    **{
        f"passed-{layer.name}": functools.partial(lambda layer: [layer, layers.GRU(2, name="last")], layer)
        for layer in (
            layers.Dense(3, name="dense"),
            layers.Dropout(0.5, name="dropout"),
            layers.SpatialDropout1D(0.5, name="spatial"),
            layers.GaussianNoise(0.5, name="noise"),
            layers.GaussianDropout(0.5, name="gaussian"),
            layers.AlphaDropout(0.5, name="alpha"),
            layers.ActivityRegularization(name="regularization"),
            layers.Identity(name="identity"),
            layers.Activation("relu", name="activation"),
            layers.ReLU(name="relu"),
            layers.LeakyReLU(name="leaky"),
            layers.PReLU(name="prelu"),
            layers.ELU(name="elu"),
            layers.LayerNormalization(name="layer"),
            layers.BatchNormalization(name="batch"),
        )
    },
    **{
        f"stopped-{layer.name}": functools.partial(lambda layer: [layer, layers.GRU(2, name="last")], layer)
        for layer in (
            layers.Reshape((2, 6), name="reshape"),
            layers.Permute((2, 1), name="permute"),
            layers.Conv1D(5, 2, name="convolution"),
            layers.MaxPooling1D(name="max"),
            layers.AveragePooling1D(2, name="average"),
            layers.GlobalAveragePooling1D(keepdims=True, name="mean"),
            layers.GlobalMaxPooling1D(keepdims=True, name="largest"),
        )
    },
}


@pytest.mark.few(12)
@pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask:UserWarning")
@pytest.mark.parametrize("name", TWINS)
def test_masks_of_a_sequential_model_are_those_that_its_functional_twin_records(name):
    keras.utils.clear_session(free_memory=False)
    stacked = [layers.Masking(name="masking"), *TWINS[name]()]
    twin = functional(lambda x: functools.reduce(lambda value, layer: layer(value), stacked, x))

    implicit, recorded = extract(sequential(*stacked)), extract(twin)

    renamed = {"masking/mask": "any", "masking/not_equal": "not_equal"}
    found = [
        functools.reduce(lambda line, old: line.replace(old, renamed[old]), renamed, line) for line in lines(implicit)
    ]
    assert sorted(found) == sorted(lines(recorded))


@pytest.mark.parametrize(
    ("call", "seen"),
    [
        pytest.param(lambda layer, x, mask: layer(x, mask=mask), "mask", id="by-name"),
        pytest.param(lambda layer, x, mask: layer(x, None, mask), "inner/masking/mask", id="by-position"),
    ],
)
def test_next_layer_sees_a_mask_only_if_it_was_given_by_name(call, seen):
    x, mask = keras.Input((4, 3), name="x"), keras.Input((4,), name="mask", dtype="bool")
    masked_x = layers.Masking(name="masking")(x)
    h = call(layers.GRU(3, return_sequences=True, name="first"), masked_x, mask)
    assert h._keras_mask is (mask if seen == "mask" else masked_x._keras_mask)  # what Keras itself hands on
    inner = keras.Model([x, mask], h, name="inner")

    network = extract(keras.Model([x, mask], layers.GRU(2, name="second")(inner([x, mask])), name="model"))

    assert [str(network.layer(name).mask) for name in ("inner/first", "second")] == ["mask", seen]


@pytest.mark.parametrize(
    ("wrap", "sequences"),
    [
        (lambda layer: layer, 1),
        (lambda layer: layers.Bidirectional(layer, merge_mode="sum", name="both"), 1),
        (lambda layer: layers.Bidirectional(layer, merge_mode=None, name="both"), 2),
    ],
    ids=["alone", "merged", "apart"],
)
def test_sequences_have_a_mask_and_final_states_have_none(wrap, sequences):
    def apply(x):
        recurrent = wrap(layers.LSTM(5, return_sequences=True, return_state=True, name="lstm"))
        outputs = recurrent(layers.Masking(name="masking")(x))
        read = [layers.GRU(2, name=f"gru_{k}")(h) for k, h in enumerate(outputs[:sequences])]
        return read + [layers.Softmax(name=f"softmax_{k}")(s) for k, s in enumerate(outputs[sequences:])]

    network = extract(functional(apply))

    assert all(network.layer(f"gru_{k}").mask for k in range(sequences))
    of_states = [layer for layer in network.layers if layer.kind == "Softmax"]
    assert of_states
    assert all(len(layer.inputs) == 1 for layer in of_states)


def test_merged_mask_counts_what_any_input_counts():
    def merged(x, y):
        return layers.Add(name="merge")([layers.Masking(name="a")(x), layers.Masking(name="b")(y)])

    keras.utils.clear_session(free_memory=False)
    x, y = keras.Input((4, 3)), keras.Input((4, 3))
    inner = keras.Model([x, y], merged(x, y), name="inner")
    recorded = extract(functional(lambda x, y: layers.GRU(2, name="gru")(merged(x, y)), (4, 3), (4, 3)))
    implicit = extract(functional(lambda x, y: layers.GRU(2, name="gru")(inner([x, y])), (4, 3), (4, 3)))

    masks = [network.layer(network.layer("gru").mask.layer) for network in (recorded, implicit)]
    assert [mask.kind for mask in masks] == ["LogicalOr", "LogicalOr"]
    assert [str(tensor) for tensor in masks[1].inputs] == ["inner/a/mask", "inner/b/mask"]


def test_concatenated_mask_is_what_keras_records():
    def joined(x, y):
        return layers.Concatenate(name="join")([layers.Masking(name="a")(x), y])

    keras.utils.clear_session(free_memory=False)
    x, y = keras.Input((4, 3)), keras.Input((4, 2))
    inner = keras.Model([x, y], joined(x, y), name="inner")
    recorded = extract(functional(lambda x, y: layers.GRU(2, name="gru")(joined(x, y)), (4, 3), (4, 2)))
    implicit = extract(functional(lambda x, y: layers.GRU(2, name="gru")(inner([x, y])), (4, 3), (4, 2)))

    def kinds(tensor, network):
        try:
            layer = network.layer(tensor.layer)
        except KeyError:
            return tensor.layer
        return layer.kind, dict(layer.options), [kinds(each, network) for each in layer.inputs]

    assert kinds(implicit.layer("gru").mask, implicit) == kinds(recorded.layer("gru").mask, recorded)


def test_constant_initial_state_becomes_a_layer():
    h, c = np.full((2, 5), 0.5, np.float32), np.full((2, 5), -0.25, np.float32)

    network = extract(functional(lambda x: layers.LSTM(5, name="lstm")(x, initial_state=[h, c])))

    assert lines(network) == [
        "lstm/initial_state_0: Constant()",
        "lstm/initial_state_1: Constant()",
        "lstm: LSTM(x) | from lstm/initial_state_0, lstm/initial_state_1",
        "-> lstm",
    ]
    np.testing.assert_array_equal(network.layer("lstm/initial_state_0").weights["value"], h)
    np.testing.assert_array_equal(network.layer("lstm/initial_state_1").weights["value"], c)


def test_inputs_and_outputs_in_dictionaries_come_in_keras_order():
    b, a = keras.Input((4, 3), name="b"), keras.Input((4, 2), name="a")
    outputs = {"z": layers.LSTM(2, name="of_b")(b), "c": layers.GRU(3, name="of_a")(a)}

    network = extract(keras.Model({"b": b, "a": a}, outputs))

    assert [spec.name for spec in network.inputs] == ["a", "b"]
    assert [str(tensor) for tensor in network.outputs] == ["of_a", "of_b"]


def test_stateful_model_keeps_the_number_of_samples():
    model = keras.Sequential([keras.Input(batch_shape=(2, 4, 3), name="x"), layers.LSTM(5, stateful=True)])

    network = extract(model)

    assert network.inputs == (InputSpec("x", (4, 3), "float32", samples=2),)


@pytest.mark.parametrize(
    ("layer", "options"),
    [
        (lambda: layers.GRU(5, reset_after=False), {"units": 5, "reset_after": False}),
        (lambda: layers.Softmax(axis=1), {"axis": 1}),
        (lambda: layers.Conv1D(5, 2, strides=2, padding="causal"), {"kernel_size": (2,), "strides": (2,)}),
        (lambda: layers.Conv1D(4, 2, dilation_rate=2), {"padding": "valid", "dilation_rate": (2,), "groups": 1}),
        (lambda: layers.LayerNormalization(axis=[1, 2]), {"axis": (1, 2), "epsilon": 1e-3, "rms_scaling": False}),
        (lambda: layers.ReLU(6.0, 0.1, 0.2), {"max_value": 6.0, "negative_slope": 0.1, "threshold": 0.2}),
        (lambda: layers.PReLU(shared_axes=[1]), {"shared_axes": (1,)}),
        (lambda: layers.MaxPooling1D(3, 2, padding="same"), {"pool_size": (3,), "strides": (2,), "padding": "same"}),
        (lambda: layers.Permute((2, 1)), {"dims": (2, 1)}),
        (lambda: layers.Masking(0.5), {"mask_value": 0.5}),
    ],
    ids=lambda part: part().name if callable(part) else None,
)
def test_options_are_read_by_keras_names(layer, options):
    network = extract(sequential(layer()))

    assert {name: network.layers[0].options[name] for name in options} == options


# --- what is refused ---


def refusal(model, kind=UnsupportedError):
    with pytest.raises(kind) as refused:
        extract(model)
    return str(refused.value)


REFUSED = {
    "dtypes-in-time-distributed": (
        lambda: sequential(layers.TimeDistributed(layers.Dense(2, name="b", dtype="float16"), name="a")),
        "layer 'a': it computes in float32, 'b' inside it in float16; expected the same.",
    ),
    "dtypes-of-a-cell": (
        lambda: sequential(layers.RNN(layers.GRUCell(2, name="b", dtype="float16"), name="a")),
        "layer 'a': it computes in float32, its cell 'b' in float16; expected the same.",
    ),
    "stack-in-a-stack": (
        lambda: sequential(
            layers.RNN([layers.GRUCell(2), layers.StackedRNNCells([layers.GRUCell(2)], name="b")], name="a")
        ),
        "layer 'a': its cell 'b' is StackedRNNCells; expected one of SimpleRNNCell, LSTMCell, GRUCell.",
    ),
    "attention-scores": (
        lambda: functional(lambda x: layers.Attention(name="a")([x, x], return_attention_scores=True)),
        "layer 'a': it is called with return_attention_scores=True; expected the output alone.",
    ),
    "channels-first": (
        lambda: sequential(layers.ConvLSTM1D(2, 2, data_format="channels_first", name="a"), shape=(3, 4, 5)),
        (
            "layer 'a': data_format='channels_first' is not replayed for ConvLSTM1D; expected "
            "data_format='channels_last'."
        ),
    ),
    "interpolation": (
        lambda: sequential(layers.UpSampling2D(2, interpolation="bilinear", name="a"), shape=(3, 4, 5)),
        "layer 'a': interpolation='bilinear' is not replayed for UpSampling2D; expected interpolation='nearest'.",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_structure_that_is_not_replayed_is_refused(name):
    build, expected = REFUSED[name]

    assert refusal(build()) == expected


def test_stateful_layer_used_twice_is_refused():
    layer = layers.GRU(3, return_sequences=True, stateful=True, name="a")
    x = keras.Input(batch_shape=(2, 4, 3))

    assert refusal(keras.Model(x, layer(layer(x)))) == (
        "layer 'a': it is stateful and used more than once; expected one use, after which it keeps its state."
    )


class Weights:
    """Weights of a model, some of them with another shape."""

    def __init__(self, model, **shapes):
        self._store = LiveStore(model)
        self._shapes = shapes

    def read(self, owners):
        def other(name, weight):
            return np.zeros(self._shapes[name], np.float32) if name in self._shapes else weight

        return [{name: other(name, w) for name, w in own.items()} for own in self._store.read(owners)]


@pytest.mark.parametrize(
    ("layer", "shapes", "said"),
    [
        (
            lambda: layers.GRU(4, name="a"),
            {"bias": (12,)},
            "bias has shape (12,); expected (2, 3M) = (2, 12) for M=4 with reset_after=True.",
        ),
        (
            lambda: layers.GRU(4, name="a", reset_after=False),
            {"bias": (2, 12)},
            "bias has shape (2, 12); expected (3M,) = (12,) for M=4 with reset_after=False.",
        ),
        (
            lambda: layers.LSTM(4, name="a"),
            {"recurrent_kernel": (16, 4)},
            "recurrent_kernel has shape (16, 4); expected (M, 4M) = (4, 16) for M=4.",
        ),
        (
            lambda: layers.Dense(4, name="a"),
            {"kernel": (3, 4, 1)},
            "kernel has shape (3, 4, 1); expected (D, M) = (any, 4) for M=4.",
        ),
        (
            lambda: layers.Conv1D(4, 2, name="a"),
            {"kernel": (3, 3, 4)},
            "kernel has shape (3, 3, 4); expected (kernel_size, C, F) = (2, any, 4) for F=4.",
        ),
        (
            lambda: layers.BatchNormalization(name="a"),
            {"moving_variance": (4,)},
            "moving_variance has shape (4,); expected (C,) = (3,).",
        ),
    ],
    ids=["gru", "gru-before", "lstm", "dense", "convolution", "batch-normalization"],
)
def test_weight_of_another_shape_is_refused(layer, shapes, said):
    model = sequential(layer())

    with pytest.raises(InputError) as refused:
        read(keras.saving.serialize_keras_object(model), Weights(model, **shapes), "3.15.1")

    assert str(refused.value) == f"layer 'a': {said}"


def changed(**options):
    """Return an LSTM's model and its description, with other options of the layer."""
    model = functional(layers.LSTM(5, name="a"))
    described = copy.deepcopy(keras.saving.serialize_keras_object(model))
    described["config"]["layers"][1]["config"].update(options)
    return model, described


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        (
            {"peepholes": True},
            UnsupportedError,
            (
                "this Keras' LSTM takes peepholes, which rnncheck does not know; expected an older Keras. See the "
                "versions in pyproject.toml."
            ),
        ),
        (
            {"time_major": True},
            UnsupportedError,
            "time_major=True is not replayed for LSTM; expected time_major=False.",
        ),
        ({"units": -1}, InputError, "got units=-1; expected a positive integer up to 16777216."),
        ({"return_sequences": "yes"}, InputError, "got return_sequences='yes'; expected True or False."),
    ],
    ids=["unknown", "time-major", "size", "flag"],
)
def test_option_that_is_not_known_is_refused(options, kind, said):
    model, described = changed(**options)

    with pytest.raises(kind) as refused:
        read(described, LiveStore(model), "3.15.1")

    assert str(refused.value) == f"layer 'a': {said}"


@pytest.mark.parametrize("size", [[3, 0], [], ["3", 3]], ids=str)
def test_kernel_size_that_is_none_is_refused(size):
    model = functional(layers.ConvLSTM2D(5, (3, 3), name="a"), (4, 6, 6, 2))
    described = copy.deepcopy(keras.saving.serialize_keras_object(model))
    described["config"]["layers"][1]["config"]["kernel_size"] = size

    with pytest.raises(InputError) as refused:
        read(described, LiveStore(model), "3.15.1")

    expected = "expected 2 positive integers whose product is 1048576 at most."
    assert str(refused.value) == f"layer 'a': got kernel_size={tuple(size)!r}; {expected}"


def spoiled(model, path, value):
    described = copy.deepcopy(keras.saving.serialize_keras_object(model))
    target = functools.reduce(lambda found, step: found[step], path[:-1], described["config"]["layers"][1])
    target[path[-1]] = value
    return described


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (
            ("inbound_nodes", 0, "args", 0, "config", "keras_history"),
            ["a", 0, 0],
            "model 'model': layer 'a' reads its own output; expected no loop. Save the model again.",
        ),
        (
            ("inbound_nodes", 0, "args", 0, "config", "keras_history"),
            ["b", 0, 0],
            "model 'model': call 0 of layer 'b' is read; expected one of its 0 calls.",
        ),
        (
            ("inbound_nodes", 0, "args", 0, "config", "keras_history"),
            ["x", 0, 3],
            "model 'model': output 3 of layer 'x' is read; expected one of its 1.",
        ),
        (("inbound_nodes",), 3, "layer 'a': got inbound_nodes=3; expected a list of calls. Save the model again."),
        (
            ("config",),
            None,
            "layer 'a': its description has no options; expected those that Keras writes. Save the model again.",
        ),
        (
            ("inbound_nodes", 0),
            {},
            (
                "model: its description is not one that Keras writes (KeyError: 'args'); expected the configuration "
                "of a Sequential or functional model."
            ),
        ),
    ],
    ids=["loop", "no-such-layer", "no-such-output", "no-list", "no-options", "no-arguments"],
)
def test_damaged_description_is_refused(path, value, said):
    model = functional(layers.LSTM(5, name="a"))

    with pytest.raises(InputError) as refused:
        read(spoiled(model, path, value), LiveStore(model), "3.15.1")

    assert str(refused.value) == said


@pytest.mark.parametrize("reverse", [False, True])
def test_stack_that_hands_on_its_states_in_reverse_is_refused(reverse):
    model = functional(layers.RNN([layers.GRUCell(2), layers.GRUCell(3)], name="a"))
    described = spoiled(model, ("config", "cell", "config", "reverse_state_order"), reverse)

    if not reverse:
        assert read(described, LiveStore(model), "3.15.1").layers
        return
    with pytest.raises(UnsupportedError, match="reverse_state_order=True is not replayed for StackedRNNCells"):
        read(described, LiveStore(model), "3.15.1")


# --- what Keras 2 writes ---


class Given:
    """Weights of the shapes that a GRU or LSTM of 2 units needs, by what the owner asks for."""

    def __init__(self, gates):
        self._gates = gates

    def read(self, owners):
        shapes = {
            "kernel": (3, 2 * self._gates),
            "recurrent_kernel": (2, 2 * self._gates),
            "bias": (2 * self._gates,),
        }
        return [{name: np.zeros(shapes[name], np.float32) for name in owner.names} for owner in owners]


def old(class_name, name, inbound=None, **config):
    described = {"class_name": class_name, "config": {"name": name, "trainable": True, "dtype": "float32", **config}}
    return described if inbound is None else {**described, "name": name, "inbound_nodes": inbound}


def old_input(name, shape=(None, 4, 3)):
    config = {"batch_input_shape": list(shape), "dtype": "float32", "sparse": False, "ragged": False, "name": name}
    return {"class_name": "InputLayer", "config": config, "name": name, "inbound_nodes": []}


def old_functional(*members, inputs, outputs):
    config = {"name": "model", "layers": list(members), "input_layers": inputs, "output_layers": outputs}
    return {"class_name": "Functional", "config": config}


RNN = {
    "units": 2,
    "activation": "tanh",
    "recurrent_activation": "hard_sigmoid",
    "use_bias": True,
    "implementation": 2,
}


def test_old_sequential_model_is_read():
    members = [
        old("Masking", "masking", batch_input_shape=[3, None, 3], mask_value=0.5),
        old("LSTM", "lstm", **RNN, time_major=False, stateful=True),
    ]

    network = read({"class_name": "Sequential", "config": {"name": "m", "layers": members}}, Given(4), "2.12.0")

    assert network.inputs == (InputSpec("masking_input", (None, 3), "float32", samples=3),)
    assert lines(network) == [
        "masking: Masking(masking_input)",
        "masking/not_equal: NotEqual(masking_input)",
        "masking/mask: Any(masking/not_equal)",
        "lstm: LSTM(masking) | mask masking/mask | stateful",
        "-> lstm",
    ]
    assert str(network.layer("lstm").options["recurrent_activation"]) == "hard_sigmoid_keras2"


def test_old_gru_without_reset_after_resets_before():
    members = [old("GRU", "gru", batch_input_shape=[None, 4, 3], **RNN)]

    network = read({"class_name": "Sequential", "config": {"name": "m", "layers": members}}, Given(3), "2.2.4")

    assert network.layer("gru").options["reset_after"] is False
    assert network.layer("gru").weights["bias"].shape == (6,)


def test_old_leaky_relu_has_its_slope_under_another_name():
    slope = {"class_name": "__numpy__", "config": {"value": 0.25, "dtype": "float32"}}
    members = [old("LeakyReLU", "leaky", batch_input_shape=[None, 4, 3], alpha=slope)]

    network = read({"class_name": "Sequential", "config": {"name": "m", "layers": members}}, Given(1), "2.12.0")

    assert network.layer("leaky").options == {"negative_slope": 0.25}


def test_old_sequential_model_may_be_a_list_of_layers():
    members = [old("GRU", "gru", batch_input_shape=[None, 4, 3], **RNN)]

    network = read({"class_name": "Sequential", "config": members}, Given(3), "2.2.0")

    assert lines(network) == ["gru: GRU(gru_input)", "-> gru"]


def test_file_without_a_version_is_of_keras_2_if_it_is_written_so():
    members = [old("GRU", "gru", batch_input_shape=[None, 4, 3], **RNN)]

    network = read({"class_name": "Sequential", "config": {"name": "m", "layers": members}}, Given(3), "")

    assert str(network.layer("gru").options["recurrent_activation"]) == "hard_sigmoid_keras2"


def test_second_layer_of_an_old_bidirectional_goes_the_other_way_than_the_first():
    gru = old("GRU", "gru", **RNN, go_backwards=True)
    members = [old("Bidirectional", "both", batch_input_shape=[None, 4, 3], layer=gru, merge_mode="sum")]

    network = read({"class_name": "Sequential", "config": {"name": "m", "layers": members}}, Given(3), "2.12.0")

    assert lines(network) == [
        "both/forward_gru: GRU(both_input) | go_backwards",
        "both/backward_gru: GRU(both_input)",
        "both: Add(both/forward_gru, both/backward_gru)",
        "-> both",
    ]


def test_weights_of_an_old_model_are_trained_unless_it_says_otherwise():
    asked = []

    class Store(Given):
        def read(self, owners):
            asked.append([owner.trainable for owner in owners])
            return super().read(owners)

    gru = old("GRU", "gru", [[["x", 0, 0, {}]]], **RNN)
    model = old_functional(old_input("x"), gru, inputs=[["x", 0, 0]], outputs=[["gru", 0, 0]])
    frozen = {**model, "config": {**model["config"], "trainable": False}}

    for each in (model, frozen):
        read(each, Store(3), "2.12.0")

    assert asked == [[(True, True, True)], [(False, False, False)]]


def test_old_reference_may_lack_the_arguments():
    model = old_functional(
        old_input("x"),
        old("Flatten", "flatten", [[["x", 0, 0]]], data_format="channels_last"),
        inputs=[["x", 0, 0]],
        outputs=[["flatten", 0, 0]],
    )

    assert lines(read(model, Given(1), "2.2.4")) == ["flatten: Flatten(x)", "-> flatten"]


def test_old_convolutions_have_options_that_are_dropped():
    written = {"strides": [1], "padding": "valid", "data_format": "channels_last", "dilation_rate": [1], "groups": 1}
    written |= {"activation": "linear", "use_bias": False, "kernel_size": [2]}
    kernel = {"kernel_initializer": {}, "kernel_regularizer": None, "kernel_constraint": None}
    members = [
        old("DepthwiseConv1D", "a", batch_input_shape=[None, 4, 3], **written, depth_multiplier=1),
        old("SeparableConv1D", "b", **written, filters=2, depth_multiplier=1, **kernel),
        old("Convolution1D", "c", **written, filters=2, **kernel),
        old("MaxPool1D", "d", pool_size=[2], strides=[2], padding="same", data_format="channels_first"),
    ]
    described = {"class_name": "Sequential", "config": {"name": "m", "layers": members}}

    upgraded_members = upgraded(described)["config"]["layers"]

    assert [member["class_name"] for member in upgraded_members[1:]] == [
        "DepthwiseConv1D", "SeparableConv1D", "Conv1D", "MaxPooling1D",
    ]  # fmt: skip
    options = [set(member["config"]) for member in upgraded_members[1:]]
    assert not any({"groups", "kernel_initializer"} & known for known in options[:2])
    assert {"groups", "kernel_initializer"} <= options[2]
    assert [part.kind for part in read_model(upgraded(described)).parts] == [
        "DepthwiseConv1D", "SeparableConv1D", "Conv1D", "MaxPooling1D",
    ]  # fmt: skip


def test_old_activation_may_be_written_as_an_object():
    written = {"class_name": "function", "config": "hard_sigmoid"}
    members = [old("GRU", "gru", batch_input_shape=[None, 4, 3], **{**RNN, "recurrent_activation": written})]

    network = read({"class_name": "Sequential", "config": {"name": "m", "layers": members}}, Given(3), "2.12.0")

    assert str(network.layer("gru").options["recurrent_activation"]) == "hard_sigmoid_keras2"


def test_old_call_may_say_that_it_is_no_training():
    model = old_functional(
        old_input("x"),
        old("Flatten", "flatten", [[["x", 0, 0, {}]]]),
        old("Dropout", "dropout", [[["flatten", 0, 0, {"training": False}]]], rate=0.5),
        inputs=[["x", 0, 0]],
        outputs=[["dropout", 0, 0]],
    )

    assert lines(read(model, Given(1), "2.12.0")) == [
        "flatten: Flatten(x)",
        "dropout: Dropout(flatten)",
        "-> dropout",
    ]


def test_old_sequential_model_without_a_shape_is_refused():
    described = {"class_name": "Sequential", "config": {"name": "m", "layers": [old("Flatten", "flatten")]}}

    with pytest.raises(UnsupportedError) as refused:
        read(described, Given(1), "2.12.0")

    assert str(refused.value).startswith("model 'm': got Sequential without a graph of layers; expected a built ")


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (3, 3),
        ([1, [2, 3]], (1, (2, 3))),
        ({"class_name": "__tuple__", "items": [1, 2]}, (1, 2)),
        ({"class_name": "TensorShape", "items": [None, 2]}, (None, 2)),
        ({"class_name": "TensorShape", "config": [None, 2]}, (None, 2)),
        ({"class_name": "__numpy__", "config": {"value": 0.25, "dtype": "float32"}}, 0.25),
        ({"class_name": "__numpy__", "config": {"value": 0.1, "dtype": "bfloat16"}}, float(np.float32(0.1))),
        ({"class_name": "other", "items": [1]}, {"class_name": "other", "items": [1]}),
    ],
    ids=str,
)
def test_written_value_is_plain_data(written, value):
    assert plain(written) == value


@pytest.mark.parametrize("dtype", ["int32", "float64", None, "bfloat16"])
def test_written_array_is_an_array(dtype):
    array = plain({"class_name": "__tensor__", "config": {"value": [[1, 2]], "dtype": dtype}})

    assert (array.tolist(), array.dtype.name) == (
        [[1, 2]], {"bfloat16": "float32", None: "int64"}.get(dtype, dtype)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("written", "is_constant"),
    [([1, 2], True), ([[True], [False]], True), (3, False), ("abc", False), (["a"], False), (None, False)],
    ids=str,
)
def test_constant_is_an_array_of_numbers(written, is_constant):
    assert (constant(written) is not None) is is_constant


@pytest.mark.parametrize("node", [[["x", 0]], [["x", 0, 0, {}, 1]], [[0, 0, 0]]], ids=str)
def test_old_call_in_no_form_of_keras_2_is_refused(node):
    model = old_functional(old_input("x"), old("Flatten", "a", [node]), inputs=[["x", 0, 0]], outputs=[["a", 0, 0]])

    with pytest.raises(InputError) as refused:
        read(model, Given(1), "2.12.0")

    assert str(refused.value) == (
        f"layer 'a': got inbound_nodes with {node}; expected the calls that Keras 2 writes. Save the model again."
    )


def on(*names, **kwargs):
    """A call of Keras 2 on the first outputs of some layers."""
    return [[[name, 0, 0, kwargs] for name in names]]


DENSE = {"units": 2, "activation": "linear", "use_bias": True}
GRU_INSIDE = old("GRU", "gru", **RNN, reset_after=False)
INNER = old_functional(old_input("i"), old("Flatten", "f", on("i")), inputs=[["i", 0, 0]], outputs=[["f", 0, 0]])

# The layer `a`, called on the inputs x, y and h; and what it is refused with.
REFUSED_AS_WRITTEN = {
    "a cell for a layer": (
        old("GRUCell", "a", on("x"), **RNN),
        UnsupportedError, "layer 'a': GRUCell is a cell; expected it inside an RNN layer.",
    ),
    "a state that is a word": (
        old("GRU", "a", on("x", initial_state="zeros"), **RNN),
        UnsupportedError, "layer 'a': initial_state is str; expected tensors or arrays.",
    ),
    "one state of two": (
        old("LSTM", "a", on("x", "h"), **RNN),
        InputError, "layer 'a': initial_state has 1 tensors; expected 2, all of its states.",
    ),
    "three states of two": (
        old("LSTM", "a", on("x", "h", "h", "h"), **RNN),
        InputError, "layer 'a': initial_state has 3 tensors; expected 2, all of its states.",
    ),
    "both directions of a model": (
        old("Bidirectional", "a", on("x"), layer=INNER, merge_mode="sum"),
        UnsupportedError, "layer 'a': it wraps Functional; expected a recurrent layer such as LSTM.",
    ),
    "a state of one direction": (
        old("Bidirectional", "a", on("x", "h"), layer=GRU_INSIDE, merge_mode="sum"),
        InputError,
        "layer 'a': initial_state has 1 tensors; expected the forward layer's and then the backward layer's.",
    ),
    "a merge of another kind": (
        old("Bidirectional", "a", on("x"), layer=GRU_INSIDE, merge_mode="max"),
        UnsupportedError,
        "layer 'a': merge_mode='max' is not replayed; expected one of sum, mul, ave, concat, None.",
    ),
    "several outputs in each step": (
        old("TimeDistributed", "a", on("v"), layer=old("GRU", "gru", **RNN, return_state=True)),
        UnsupportedError, "layer 'a': GRU inside it returns 2 tensors; expected one.",
    ),
    "several sequences step by step": (
        old("TimeDistributed", "a", on("x", "y"), layer=old("Dense", "dense", **DENSE)),
        UnsupportedError, "layer 'a': it reads 2 tensors; expected one sequence.",
    ),
    "a state in each step": (
        old("TimeDistributed", "a", on("v"), layer=old("GRU", "gru", **RNN, stateful=True)),
        UnsupportedError,
        "layer 'a': GRU 'gru' inside TimeDistributed is stateful; expected a layer that is not.",
    ),
    "a state of a direction in each step": (
        old("TimeDistributed", "a", on("v"), layer=old(
            "Bidirectional", "both", layer=old("GRU", "gru", **RNN, stateful=True), merge_mode="sum"
        )),
        UnsupportedError,
        "layer 'a': Bidirectional 'both' inside TimeDistributed is stateful; expected a layer that is not.",
    ),
    "a mask made in each step": (
        old("TimeDistributed", "a", on("v"), layer=old("Masking", "masking", mask_value=0.0)),
        UnsupportedError,
        "layer 'a': Masking 'masking' inside TimeDistributed makes a mask; expected a layer that makes none.",
    ),
    "a mask of ids in each step": (
        old("TimeDistributed", "a", on("x"), layer=old(
            "Embedding", "embedding", input_dim=4, output_dim=2, mask_zero=True
        )),
        UnsupportedError,
        "layer 'a': Embedding 'embedding' inside TimeDistributed makes a mask; expected a layer that makes none.",
    ),
    "an argument that is not known": (
        old("Flatten", "a", on("x", scale=2.0, bias=1.0)),
        UnsupportedError,
        "layer 'a': it is called with bias, scale, which rnncheck does not know; expected only inputs.",
    ),
    "an array of words": (
        old("GRU", "a", on("x", initial_state={
            "class_name": "__numpy__", "config": {"value": ["a"], "dtype": "string"}
        }), **RNN),
        InputError, "model: got an array with dtype 'string'; expected numbers.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED_AS_WRITTEN)
def test_call_that_no_keras_runs_is_refused(name):
    layer, kind, said = REFUSED_AS_WRITTEN[name]
    inputs = [old_input("x"), old_input("y"), old_input("h", (None, 2)), old_input("v", (None, 5, 4, 3))]
    model = old_functional(*inputs, layer, inputs=[[each["name"], 0, 0] for each in inputs], outputs=[["a", 0, 0]])

    with pytest.raises(kind) as refused:
        read(model, Given(3), "2.12.0")

    assert str(refused.value) == said


def test_model_inside_that_is_called_with_more_than_its_inputs_is_refused():
    inner = keras.Sequential([keras.Input((4, 3)), layers.Flatten()])
    model = functional(keras.Model(inner.inputs, inner.outputs, name="a"))
    described = copy.deepcopy(keras.saving.serialize_keras_object(model))
    (node,) = described["config"]["layers"][1]["inbound_nodes"]
    node["args"] = [[node["args"][0], node["args"][0]]]

    with pytest.raises(InputError) as refused:
        read(described, LiveStore(model), "3.15.1")

    assert str(refused.value) == "model 'a': got 2 inputs; expected 1. Save the model again."


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ({"b": ["x", 0, 0], "a": ["y", 0, 0]}, ("a", "b")),
        ({"b": ["x", 0, 0], "a": [["y", 0, 0]]}, ("a", "b")),
        ({"b": ["x", 0, 0], "a": [["y", 0, 0], ["z", 0, 0]]}, ()),
        ({"a": []}, ()),
        ([["x", 0, 0], ["y", 0, 0]], ()),
        (["x", 0, 0], ()),
    ],
    ids=str,
)
def test_outputs_have_names_where_a_mapping_has_one_for_each(written, names):
    assert names_of_ends(written) == names


@pytest.mark.parametrize("written", [3, [["x", 0, 0], 3], {"a": 3}], ids=str)
def test_end_of_a_model_in_no_form_of_keras_is_refused(written):
    model, described = changed()
    described["config"]["output_layers"] = written

    with pytest.raises(InputError) as refused:
        read(described, LiveStore(model), "3.15.1")

    assert (
        str(refused.value)
        == "model: got an input or output written as 3; expected [layer, node, tensor]. Save it again."
    )


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("args", 0), "x", "it reads a constant; expected tensors of the model."),
        (("args",), ["the tensor", None, None, None, None], "got a call with 5 arguments; expected 4."),
        (("args", 0), ["the tensor", "the tensor"], "it reads a list of tensors; expected one sequence."),
        (("kwargs", "constants"), 3, (
            "it is called with constants, which rnncheck does not know; expected only sequences, initial_state, "
            "mask, training."
        )),
    ],
    ids=["constant", "arguments", "sequences", "unknown"],
)  # fmt: skip
def test_call_that_keras_3_does_not_write_is_refused(path, value, said):
    model, described = changed()
    (node,) = described["config"]["layers"][1]["inbound_nodes"]
    (tensor,) = node["args"] = list(node["args"])
    target = functools.reduce(lambda found, step: found[step], path[:-1], node)
    target[path[-1]] = (
        [tensor if each == "the tensor" else each for each in value] if isinstance(value, list) else value
    )

    with pytest.raises((InputError, UnsupportedError)) as refused:
        read(described, LiveStore(model), "3.15.1")

    assert str(refused.value) == f"layer 'a': {said}"


def test_sequential_model_without_an_input_layer_is_refused():
    described = {"class_name": "Sequential", "config": {"name": "m", "layers": [old("Flatten", "flatten")]}}

    with pytest.raises(UnsupportedError) as refused:
        read(described, Given(3), "3.15.1")

    assert str(refused.value) == (
        "model 'm': got Sequential without a graph of layers; expected a built Sequential or functional model. Build "
        "it by giving it an Input."
    )


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("Any", {"axis": 0}, "axis=0 is not replayed for the operation Any; expected axis=-1."),
        ("Any", {"keepdims": True}, "keepdims=True is not replayed for the operation Any; expected keepdims=False."),
        ("All", {"axis": 0}, "axis=0 is not replayed for the operation All; expected axis=-1."),
        ("All", {"keepdims": True}, "keepdims=True is not replayed for the operation All; expected keepdims=False."),
    ],
)
def test_operation_of_another_form_is_refused(kind, options, said):
    described = {"class_name": kind, "name": "a", "config": {"name": "a", **options}}
    call = Call([Value(Tensor("x"))], {})

    with pytest.raises(UnsupportedError) as refused:
        operation("a", described, call, call)

    assert str(refused.value) == f"layer 'a': {said}"


def test_operations_of_masks_are_read_with_their_options_and_the_format_of_what_they_read():
    x = Value(Tensor("x"))

    def read_as(kind, *others, dtypes=("float16",), **options):
        described = {"class_name": kind, "name": "a", "config": {"name": "a", **options}}
        written = Call([Reference("x", 0, 0, dtype) for dtype in dtypes], {})
        layer = operation("inner/a", described, written, Call([x, *others], {}))
        assert (layer.name, layer.kind, layer.inputs) == ("inner/a", kind, (Tensor("x"),))
        return layer.dtype, dict(layer.options)

    assert read_as("NotEqual", 0.5) == ("float16", {"value": 0.5})
    assert read_as("NotEqual", 0, dtypes=("int32",)) == ("float64", {"value": 0})
    assert read_as("NotEqual", 0, dtypes=("float16", "float32")) == ("float64", {"value": 0})
    assert read_as("Cast", dtype="bfloat16") == ("bfloat16", {})
    assert read_as("ExpandDims", axis=2, dtypes=("bool",)) == ("float64", {"axis": 2})
    assert read_as("Any", dtypes=("bool",)) == ("float64", {})


def test_name_of_keras_2_hard_sigmoid_is_no_activation_of_keras_3():
    model, described = changed(recurrent_activation="hard_sigmoid_keras2")

    with pytest.raises(UnsupportedError, match=r"^layer 'a': activation 'hard_sigmoid_keras2' is not one that "):
        read(described, LiveStore(model), "3.15.1")


def test_mask_beside_states_counts_in_keras_2():
    model = old_functional(
        old_input("x"),
        old_input("h", (None, 2)),
        old_input("c", (None, 2)),
        old("Masking", "masking", [[["x", 0, 0, {}]]], mask_value=0.0),
        old("LSTM", "lstm", [[["masking", 0, 0, {}], ["h", 0, 0, {}], ["c", 0, 0, {}]]], **RNN),
        inputs=[["x", 0, 0], ["h", 0, 0], ["c", 0, 0]],
        outputs=[["lstm", 0, 0]],
    )

    network = read(model, Given(4), "2.15.0")

    assert lines(network)[-2:] == ["lstm: LSTM(masking) | mask masking/mask | from h, c", "-> lstm"]


@pytest.mark.parametrize(
    "states",
    [
        pytest.param([[[0.5, 0.25]], [[1.0, -1.0]]], id="lists"),
        pytest.param([["h", 0, 0], ["h", 0, 0]], id="references"),
    ],
)
def test_states_of_a_call_are_read_from_its_keyword(states):
    model = old_functional(
        old_input("x"),
        old_input("h", (None, 2)),
        old("LSTM", "lstm", [[["x", 0, 0, {"initial_state": states}]]], **RNN),
        inputs=[["x", 0, 0], ["h", 0, 0]],
        outputs=[["lstm", 0, 0]],
    )

    layer = read(model, Given(4), "2.15.0").layer("lstm")

    names = ["lstm/initial_state_0", "lstm/initial_state_1"] if states[0][0] != "h" else ["h", "h"]
    assert [str(tensor) for tensor in layer.initial_state] == names


def test_merged_masks_all_count_in_keras_2():
    model = old_functional(
        *[old_input(name) for name in "xyz"],
        *[old("Masking", f"of_{name}", [[[name, 0, 0, {}]]], mask_value=0.0) for name in "xy"],
        old("Add", "add", [[["of_x", 0, 0, {}], ["of_y", 0, 0, {}], ["z", 0, 0, {}]]]),
        old("GRU", "gru", [[["add", 0, 0, {}]]], **RNN, reset_after=False),
        inputs=[[name, 0, 0] for name in "xyz"],
        outputs=[["gru", 0, 0]],
    )

    network = read(model, Given(3), "2.15.0")

    mask = network.layer(network.layer("gru").mask.layer)
    assert (mask.kind, [str(tensor) for tensor in mask.inputs]) == ("LogicalAnd", ["of_x/mask", "of_y/mask"])


def test_concatenated_masks_all_count_in_keras_2():
    model = old_functional(
        *[old_input(name) for name in "xyz"],
        *[old("Masking", f"of_{name}", [[[name, 0, 0, {}]]], mask_value=0.0) for name in "xy"],
        old("Concatenate", "join", [[["of_x", 0, 0, {}], ["of_y", 0, 0, {}], ["z", 0, 0, {}]]], axis=1),
        old("GRU", "gru", [[["join", 0, 0, {}]]], **RNN, reset_after=False),
        inputs=[[name, 0, 0] for name in "xyz"],
        outputs=[["gru", 0, 0]],
    )

    network = read(model, Given(3), "2.15.0")

    assert [line for line in lines(network) if line.startswith("join/")] == [
        "join/expand_0: ExpandDims(of_x/mask)",
        "join/expand_1: ExpandDims(of_y/mask)",
        "join/ones_2: OnesLike(z)",
        "join/masks: Concatenate(join/expand_0, join/expand_1, join/ones_2)",
        "join/mask: All(join/masks)",
    ]
    assert network.layer("join/masks").options["axis"] == 1
    assert {network.layer(f"join/expand_{k}").options["axis"] for k in (0, 1)} == {-1}
    assert str(network.layer("gru").mask) == "join/mask"


def test_concatenation_without_masks_has_none():
    model = old_functional(
        *[old_input(name) for name in "xy"],
        old("Concatenate", "join", [[["x", 0, 0, {}], ["y", 0, 0, {}]]], axis=1),
        old("GRU", "gru", [[["join", 0, 0, {}]]], **RNN, reset_after=False),
        inputs=[[name, 0, 0] for name in "xy"],
        outputs=[["gru", 0, 0]],
    )

    assert lines(read(model, Given(3), "2.15.0")) == ["join: Concatenate(x, y)", "gru: GRU(join)", "-> gru"]


def test_old_model_inside_a_model_counts_its_own_graph_as_its_first_call():
    inner = old_functional(
        old_input("i"),
        old("GRU", "gru", [[["i", 0, 0, {}]]], **RNN),
        inputs=[["i", 0, 0]],
        outputs=[["gru", 0, 0]],
    )
    model = old_functional(
        old_input("x"),
        {
            **inner,
            "config": {**inner["config"], "name": "inner"},
            "name": "inner",
            "inbound_nodes": [[["x", 0, 0, {}]]],
        },
        old("Flatten", "flatten", [[["inner", 1, 0, {}]]], data_format="channels_last"),
        inputs=[["x", 0, 0]],
        outputs=[["flatten", 0, 0], ["inner", 1, 0]],
    )

    network = read(model, Given(3), "2.12.0")

    assert lines(network) == ["inner/gru: GRU(x)", "flatten: Flatten(inner/gru)", "-> flatten, inner/gru"]


def test_stateful_layer_with_given_states_is_refused_in_keras_2():
    model = old_functional(
        old_input("x"),
        old_input("h", (None, 2)),
        old("GRU", "gru", [[["x", 0, 0, {}], ["h", 0, 0, {}]]], **RNN, stateful=True),
        inputs=[["x", 0, 0], ["h", 0, 0]],
        outputs=[["gru", 0, 0]],
    )

    with pytest.raises(UnsupportedError) as refused:
        read(model, Given(3), "2.15.0")

    assert str(refused.value) == (
        "layer 'gru': it is stateful and has an initial_state, of which Keras 2 takes now one, now the other; "
        "expected only one of them."
    )


def test_mask_of_outer_steps_does_not_fit_a_recurrent_layer_inside_time_distributed():
    x, mask = keras.Input((4, 5, 3)), keras.Input((4,), dtype="bool")
    each = layers.TimeDistributed(layers.LSTM(2, name="b"), name="a")
    try:
        model = keras.Model([x, mask], each(x, mask=mask), name="m")
    except ValueError:
        return  # Keras itself refuses

    with pytest.raises(UnsupportedError) as refused:
        rehearse(extract(model))

    assert str(refused.value) == (
        "layer 'a/b': got shapes that do not fit together, inputs (8, 5, 3) and kernel (3, 8), recurrent_kernel "
        "(2, 8), bias (8,) (a mask of shape (8,) for (N, T) = (8, 5)); expected ones that do."
    )


def test_mask_inside_time_distributed_is_folded_with_the_steps():
    network = extract(masked(layers.TimeDistributed(layers.LSTM(2, name="b"), name="a"), shape=(4, 5, 3)))

    folded = network.layer(network.layer("a/b").mask.layer)
    assert (folded.name, folded.kind) == ("a/fold_mask", "FoldTime")


def test_large_frames_of_a_long_video_are_read():
    """Samples, and the frames of one, stand for each other where shapes are tried."""
    stack = [
        keras.Input((30, 112, 112, 3)),
        *(layers.TimeDistributed(each) for each in (
            layers.Conv2D(64, 3, padding="same"), layers.ZeroPadding2D(1), layers.Dropout(0.1),
            layers.GlobalAveragePooling2D(),
        )),
        layers.LSTM(8),
    ]  # fmt: skip

    network = rehearse(extract(keras.Sequential(stack)))

    assert shapes(network, 2, 30)["time_distributed_1"] == (2, 30, 114, 114, 64)


@pytest.mark.parametrize(
    "stack",
    [
        (layers.Conv1D(4, 100), layers.LSTM(3)),
        (layers.MaxPooling1D(5), layers.MaxPooling1D(5), layers.MaxPooling1D(5), layers.LSTM(3)),
        (layers.Conv1D(4, 400, strides=160), layers.GRU(2)),
    ],
    ids=["kernel", "pooling", "speech"],
)
def test_windows_may_be_longer_than_a_guess_of_an_open_length(stack):
    network = rehearse(extract(keras.Sequential([keras.Input((None, 2)), *stack])))

    assert [layer.kind for layer in network.layers] == [type(each).__name__ for each in stack]


def test_window_longer_than_a_fixed_length_is_refused_by_its_layer():
    model = keras.Sequential([keras.Input((None, 2)), layers.Conv1D(4, 5, name="c"), layers.GlobalAveragePooling1D()])

    with pytest.raises(InputError, match=r"^layer .c.: got .*3 places along an axis, of which a window reads 5"):
        check_fit(extract(model), [np.zeros((2, 3, 2))])
