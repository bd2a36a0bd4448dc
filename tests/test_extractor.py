"""From Keras to a Network: what is read is right, what is not understood is refused by layer and option."""

import functools
import inspect
import re

import keras
import numpy as np
import pytest
from keras import layers

from rnncheck import NOTEBOOK, Activation, InputError, InputSpec, Tensor, UnsupportedError, build, extract
from rnncheck.equations.activations import ACTIVATIONS
from rnncheck.equations.cells import CELLS
from rnncheck.equations.layers import LAYERS
from rnncheck.frameworks.keras.config.description import read_model
from rnncheck.frameworks.keras.config.entries import COMMON, ENTRIES, keras_defaults
from rnncheck.frameworks.keras.extract import constructor_arguments, find

# One layer of every class that needs an argument or does not take a number of units.
EXAMPLES = {
    **{kind: functools.partial(getattr(layers, kind)) for kind in ENTRIES},
    **{kind: functools.partial(getattr(layers, kind), 3) for kind in ("SimpleRNN", "LSTM", "GRU", "Dense")},
    **{f"{kind}Cell": functools.partial(getattr(layers, f"{kind}Cell"), 3) for kind in ("SimpleRNN", "LSTM", "GRU")},
    **{kind: functools.partial(getattr(layers, kind), 3, 2) for kind in ENTRIES if "Conv" in kind},
    **{kind: functools.partial(getattr(layers, kind), 2) for kind in ENTRIES if "Pooling" in kind},
    **{kind: functools.partial(getattr(layers, kind)) for kind in ENTRIES if "Global" in kind},
    "Embedding": lambda: layers.Embedding(3, 2),
    **{kind: functools.partial(getattr(layers, kind), 0.5) for kind in ENTRIES if "Dropout" in kind},
    "RNN": lambda: layers.RNN(layers.LSTMCell(3)),
    "StackedRNNCells": lambda: layers.StackedRNNCells([layers.LSTMCell(3)]),
    "Bidirectional": lambda: layers.Bidirectional(layers.LSTM(3)),
    "TimeDistributed": lambda: layers.TimeDistributed(layers.Dense(3)),
    "Reshape": lambda: layers.Reshape((2, 3)),
    "Permute": lambda: layers.Permute((2, 1)),
    "RepeatVector": lambda: layers.RepeatVector(3),
    "Activation": lambda: layers.Activation("relu"),
    "GaussianNoise": lambda: layers.GaussianNoise(0.1),
    "Dot": lambda: layers.Dot(1),
}


def sequential(*stack, shape=(4, 3)):
    return keras.Sequential([keras.Input(shape, name="x"), *stack], name="model")


def functional(apply, shape=(4, 3)):
    x = keras.Input(shape, name="x")
    return keras.Model(x, apply(x), name="model")


def refusal(model, kind=UnsupportedError):
    with pytest.raises(kind) as refused:
        extract(model)
    return str(refused.value)


def not_a_layer(name, kind):
    return (
        f"layer {name!r}: {kind} is not a layer that rnncheck replays; expected one of those under "
        '"What is checked" in the README.'
    )


# --- what is read ---


def test_notebook_model_becomes_its_network():
    model = build(NOTEBOOK).model

    network = extract(model)

    recurrent, dense = network.layers
    assert network.inputs == (InputSpec("inputs", (10, 3), "float32"),)
    assert network.outputs == (Tensor("dense"),)
    assert (recurrent.name, recurrent.kind, recurrent.dtype) == ("simple_rnn", "SimpleRNN", "float32")
    assert (recurrent.inputs, recurrent.mask, recurrent.initial_state) == ((Tensor("inputs"),), None, ())
    assert recurrent.options == {
        "units": 5,
        "activation": Activation("tanh"),
        "use_bias": True,
        "return_sequences": False,
        "return_state": False,
        "go_backwards": False,
        "stateful": False,
        "zero_output_for_mask": False,
    }
    assert (dense.name, dense.kind, dense.inputs) == ("dense", "Dense", (Tensor("simple_rnn"),))
    assert dense.options == {"units": 2, "activation": Activation("linear"), "use_bias": True}
    assert (recurrent.parameters, dense.parameters) == (45, 12)
    assert network.parameters == model.count_params() == 57


def test_weights_are_keras_arrays_in_keras_layout():
    model = sequential(layers.SimpleRNN(5, name="rnn"), layers.Dense(2, name="dense"))

    recurrent, dense = extract(model).layers

    shapes = {name: weight.shape for name, weight in recurrent.weights.items()}
    assert shapes == {"kernel": (3, 5), "recurrent_kernel": (5, 5), "bias": (5,)}
    for found, expected in zip(recurrent.weights.values(), model.get_layer("rnn").get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)
    for found, expected in zip(dense.weights.values(), model.get_layer("dense").get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_weights_cannot_be_changed_and_are_a_copy():
    model = sequential(layers.SimpleRNN(5, name="rnn"))
    kernel = extract(model).layer("rnn").weights["kernel"]
    before = kernel.copy()

    model.get_layer("rnn").set_weights([np.ones_like(w) for w in model.get_layer("rnn").get_weights()])

    np.testing.assert_array_equal(kernel, before)
    with pytest.raises(ValueError, match="read-only"):
        kernel[0, 0] = 1.0


def test_layer_without_bias_has_none():
    network = extract(sequential(layers.SimpleRNN(5, use_bias=False), layers.Dense(2, use_bias=False)))

    assert [sorted(layer.weights) for layer in network.layers] == [["kernel", "recurrent_kernel"], ["kernel"]]
    assert [layer.options["use_bias"] for layer in network.layers] == [False, False]


@pytest.mark.parametrize(
    ("policy", "computes", "holds"),
    [
        ("float32", "float32", "float32"),
        ("float64", "float64", "float64"),
        ("float16", "float16", "float16"),
        ("bfloat16", "bfloat16", "float32"),
        ("mixed_float16", "float16", "float32"),
        ("mixed_bfloat16", "bfloat16", "float32"),
    ],
)
def test_dtype_policy_gives_the_precision(policy, computes, holds):
    stack = layers.SimpleRNN(5, dtype=policy, recurrent_initializer="zeros"), layers.Dense(2, dtype=policy)

    network = extract(sequential(*stack))

    assert [layer.dtype for layer in network.layers] == [computes, computes]
    assert {w.dtype.name for layer in network.layers for w in layer.weights.values()} == {holds}


@pytest.mark.parametrize(
    "option", ["return_sequences", "return_state", "go_backwards", "stateful", "zero_output_for_mask"]
)
def test_flag_of_a_recurrent_layer_is_read(option):
    x = keras.Input(batch_shape=(2, 4, 3))
    result = layers.SimpleRNN(5, name="rnn", **{option: True})(x)

    network = extract(keras.Model(x, result))

    flags = {name for name, value in network.layer("rnn").options.items() if value is True}
    assert flags == {"use_bias", option}
    assert network.stateful == (option == "stateful")


def test_final_state_is_the_second_tensor():
    network = extract(functional(layers.SimpleRNN(5, name="rnn", return_state=True)))

    assert network.outputs == (Tensor("rnn", 0), Tensor("rnn", 1))


def test_layers_come_in_the_order_in_which_they_compute():
    def apply(x):
        h = layers.SimpleRNN(5, name="b", return_sequences=True)(x)
        return [layers.Dense(2, name="a")(layers.Flatten(name="c")(h)), layers.Dense(1, name="d")(h)]

    network = extract(functional(apply))

    assert [layer.name for layer in network.layers] == ["b", "c", "a", "d"]
    assert network.layer("a").inputs == (Tensor("c"),)
    assert network.layer("d").inputs == (Tensor("b"),)
    assert network.outputs == (Tensor("a"), Tensor("d"))


def test_inputs_keep_the_order_of_the_model_and_their_dtypes():
    x, h0 = keras.Input((None, 3), name="x", dtype="float16"), keras.Input((5,), name="h0")
    mask = keras.Input((None,), name="mask", dtype="bool")
    result = layers.SimpleRNN(5)(x, mask=mask, initial_state=h0)

    network = extract(keras.Model([mask, h0, x], result))

    assert network.inputs == (
        InputSpec("mask", (None,), "bool"),
        InputSpec("h0", (5,), "float32"),
        InputSpec("x", (None, 3), "float16"),
    )


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda layer, x, h0, mask: layer(x, h0, mask), id="by-position"),
        pytest.param(lambda layer, x, h0, mask: layer(x, mask=mask, initial_state=h0), id="by-keyword"),
        pytest.param(lambda layer, x, h0, mask: layer(x, h0, mask=mask), id="mixed"),
        pytest.param(lambda layer, x, h0, mask: layer(x, initial_state=[h0], mask=mask), id="list-of-states"),
        pytest.param(lambda layer, x, h0, mask: layer(x, h0, mask, training=False), id="inference"),
    ],
)
def test_mask_and_initial_state_are_read_however_they_are_given(call):
    x, h0 = keras.Input((4, 3), name="x"), keras.Input((5,), name="h0")
    mask = keras.Input((4,), name="mask", dtype="bool")
    result = call(layers.SimpleRNN(5, name="rnn"), x, h0, mask)

    layer = extract(keras.Model([x, h0, mask], result)).layer("rnn")

    assert (layer.inputs, layer.mask, layer.initial_state) == ((Tensor("x"),), Tensor("mask"), (Tensor("h0"),))


def test_mask_that_keras_hands_on_is_read_at_every_recurrent_layer():
    x, mask = keras.Input((4, 3), name="x"), keras.Input((4,), name="mask", dtype="bool")
    h = layers.SimpleRNN(5, name="first", return_sequences=True)(x, mask=mask)
    result = layers.SimpleRNN(6, name="second")(layers.Dense(4)(h))

    network = extract(keras.Model([x, mask], result))

    assert network.layer("first").mask == network.layer("second").mask == Tensor("mask")


@pytest.mark.parametrize("name", sorted(set(ACTIVATIONS) - {"threshold"}))
def test_activation_is_read_by_name(name):
    network = extract(sequential(layers.Dense(2, name="dense", activation=name)))

    assert network.layer("dense").options["activation"] == Activation(name)


@pytest.mark.parametrize(("alias", "name"), [("swish", "silu"), ("hard_swish", "hard_silu"), (None, "linear")])
def test_alias_of_an_activation_is_read_as_the_activation(alias, name):
    network = extract(sequential(layers.SimpleRNN(5, name="rnn", activation=alias)))

    assert network.layer("rnn").options["activation"] == Activation(name)


@pytest.mark.parametrize(
    ("function", "activation", "text"),
    [
        (
            functools.partial(keras.activations.leaky_relu, negative_slope=0.3),
            Activation("leaky_relu", {"negative_slope": 0.3}),
            "leaky_relu(negative_slope=0.3)",
        ),
        (
            functools.partial(keras.activations.threshold, threshold=0.1, default_value=-1.0),
            Activation("threshold", {"threshold": 0.1, "default_value": -1.0}),
            "threshold(threshold=0.1, default_value=-1.0)",
        ),
        (
            functools.partial(keras.activations.gelu, approximate=True),
            Activation("gelu", {"approximate": True}),
            "gelu(approximate=True)",
        ),
    ],
    ids=["leaky_relu", "threshold", "gelu"],
)
def test_partial_activation_is_read_with_its_parameters(function, activation, text):
    network = extract(sequential(layers.SimpleRNN(5, name="rnn", activation=function)))

    found = network.layer("rnn").options["activation"]
    assert found == activation
    assert str(found) == text


@pytest.mark.parametrize("kind", sorted(ENTRIES))
def test_every_constructor_argument_of_a_supported_layer_is_known(kind):
    assert constructor_arguments(getattr(layers, kind)) - ENTRIES[kind].known == set()


@pytest.mark.parametrize("kind", sorted(ENTRIES))
def test_every_option_that_keras_writes_is_known(kind):
    entry = ENTRIES[kind]

    described = set(EXAMPLES[kind]().get_config())

    assert described - entry.known - COMMON == set()


# The only value that is accepted of an option that is not replayed, and another one.
ONLY = {
    "time_major": (False, True),
    "num_constants": (None, 2),
    "data_format": ("channels_last", "channels_first"),
    "reverse_state_order": (False, True),
    "lora_rank": (None, 4),
    "lora_alpha": (None, 4),
    "quantization_config": (None, {"class_name": "Int8QuantizationConfig"}),
    "sparse": (False, True),
    "renorm": (False, True),
    "virtual_batch_size": (None, 2),
    "adjustment": (None, 2),
    "interpolation": ("nearest", "bilinear"),
    "causal": (False, True),
}


@pytest.mark.parametrize(
    ("kind", "option"), [(kind, option) for kind, entry in ENTRIES.items() for option in entry.refused]
)
def test_option_that_is_not_replayed_has_one_value_that_is(kind, option):
    own = EXAMPLES[kind]()
    accepted, other = ONLY[option]

    def described(value):
        config = {**own.get_config(), option: value}
        layer = {"class_name": kind, "config": config}
        if kind == "StackedRNNCells":  # which is no layer
            rnn = layers.RNN(own, name="a").get_config()
            layer = {"class_name": "RNN", "config": {**rnn, "cell": {"class_name": kind, "config": config}}}
        return {"class_name": "Sequential", "config": {"name": "m", "layers": [layer]}}

    assert read_model(described(accepted)).parts
    with pytest.raises(UnsupportedError) as refused:
        read_model(described(other))

    shown = other["class_name"] if isinstance(other, dict) else repr(other)
    assert str(refused.value) == (
        f"layer {own.name!r}: {option}={shown} is not replayed for {kind}; expected {option}={accepted!r}."
    )


def test_arguments_of_a_newer_keras_are_refused_before_it_is_asked_to_describe_them(monkeypatch):
    def newer(self, units, *, novelty=None, another=None, **options):
        keras.layers.Layer.__init__(self, **options)

    model = sequential(layers.Dense(2, name="a"))
    monkeypatch.setattr(layers.Dense, "__init__", newer)

    assert refusal(model) == (
        "layer 'a': this Keras' Dense takes another, novelty, which rnncheck does not know; expected an older Keras. "
        "See the versions in pyproject.toml."
    )


@pytest.mark.parametrize("kind", sorted(ENTRIES))
def test_arguments_of_a_call_are_those_of_keras(kind):
    parameters = inspect.signature(getattr(layers, kind).call).parameters.values()

    names = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD and p.name != "self"]

    assert tuple(names) == ENTRIES[kind].call or (kind == "SimpleRNNCell" and names[0] == "sequence")


def test_every_recurrent_class_of_keras_is_supported():
    recurrent = {
        name
        for name, value in vars(layers).items()
        if isinstance(value, type) and value.__module__.startswith("keras.src.layers.rnn.")
    }

    assert recurrent - set(ENTRIES) == set()


@pytest.mark.parametrize("kind", sorted(ENTRIES))
def test_every_supported_layer_can_be_replayed(kind):
    wrappers = {"RNN", "StackedRNNCells", "Bidirectional", "TimeDistributed"}

    assert kind in {*LAYERS, *CELLS, *wrappers} or kind.removesuffix("Cell") in CELLS


# What Keras' layers take where nobody says anything, if their constructors do not say it themselves.
UNSAID = {"activation": "linear", "data_format": "channels_last"}


@pytest.mark.parametrize("kind", sorted(ENTRIES))
def test_options_that_nobody_gives_are_those_of_keras(kind):
    arguments = inspect.signature(getattr(layers, kind).__init__).parameters
    given = {name: value for name, value in keras_defaults(kind).items() if name in arguments}

    for name, value in given.items():
        default = arguments[name].default
        if default is inspect.Parameter.empty:  # it has to be given
            continue
        default = UNSAID.get(name) if default is None and name in UNSAID else default
        same = set(np.ravel(default).tolist()) if isinstance(default, tuple) else {default}  # one number for all axes
        assert same == {value}, name


def test_functional_model_in_its_own_class_is_read():
    class Own(keras.Model):
        pass

    x = keras.Input((4, 3))

    network = extract(Own(x, layers.SimpleRNN(5, name="rnn")(x)))

    assert [layer.kind for layer in network.layers] == ["SimpleRNN"]


@pytest.mark.parametrize(
    "prepare",
    [
        pytest.param(lambda model: model.build((None, 4, 3)), id="build"),
        pytest.param(lambda model: model(np.zeros((1, 4, 3), np.float32)), id="call"),
    ],
)
def test_sequential_model_without_an_input_is_read_once_it_is_built(prepare):
    model = keras.Sequential([layers.SimpleRNN(5, name="rnn"), layers.Dense(2, name="dense")])
    prepare(model)

    network = extract(model)

    assert [layer.name for layer in network.layers] == ["rnn", "dense"]
    assert network.inputs[0].shape == (4, 3)


def test_layer_that_another_model_uses_too_is_read_in_this_one():
    rnn = layers.SimpleRNN(5, name="rnn")
    other = rnn(keras.Input((9, 3), name="other"))

    network = extract(functional(rnn))

    assert network.layer("rnn").inputs == (Tensor("x"),)
    assert other.shape == (None, 5)


def test_activations_of_a_model_are_left_as_they_were():
    function = functools.partial(keras.activations.elu, alpha=0.5)
    model = sequential(layers.LSTM(5, name="rnn", activation=function, recurrent_activation=my_activation))

    with pytest.raises(UnsupportedError):
        extract(model)

    assert model.get_layer("rnn").activation is function
    assert model.get_layer("rnn").recurrent_activation is my_activation


def test_objects_are_found_at_their_paths():
    rnn, inner = layers.LSTM(5, return_sequences=True), keras.Sequential([layers.GRU(4, return_sequences=True)])
    both = layers.Bidirectional(layers.SimpleRNN(3, return_sequences=True))
    stack = layers.RNN([layers.GRUCell(3), layers.GRUCell(2)])
    model = sequential(rnn, inner, both, layers.TimeDistributed(dense := layers.Dense(2)), stack)
    expected = [rnn, inner.layers[0], both.forward_layer, both.backward_layer, dense, *stack.cell.cells]
    paths = [
        ("layers", "lstm"),
        ("layers", "sequential", "layers", "gru"),
        ("layers", "bidirectional", "forward_layer"),
        ("layers", "bidirectional", "backward_layer"),
        ("layers", "time_distributed", "layer"),
        ("layers", "rnn", "cell", "cells", "gru_cell"),
        ("layers", "rnn", "cell", "cells", "gru_cell_1"),
    ]

    network = extract(model)

    assert all(find(model, path) is own for path, own in zip(paths, expected, strict=True))
    kernels = [layer.weights["kernel"] for layer in network.layers if layer.weights]
    for kernel, own in zip(kernels, expected, strict=True):
        np.testing.assert_array_equal(kernel, getattr(own, "cell", own).kernel.numpy())


# --- what is refused ---


class OwnSimpleRNN(layers.SimpleRNN):
    pass


SameName = type("SimpleRNN", (layers.SimpleRNN,), {})


class OwnCell(layers.SimpleRNNCell):
    pass


class Doubled(layers.Layer):
    def call(self, x):
        return 2.0 * x


@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        pytest.param(lambda: layers.Lambda(lambda x: x, name="a"), "Lambda", id="lambda"),
        pytest.param(lambda: layers.Conv1DTranspose(5, 2, name="a"), "Conv1DTranspose", id="convolution"),
        pytest.param(lambda: Doubled(name="a"), "Doubled", id="custom"),
        pytest.param(lambda: OwnSimpleRNN(5, name="a"), "OwnSimpleRNN", id="subclass"),
        pytest.param(lambda: SameName(5, name="a"), "SimpleRNN", id="subclass-of-the-same-name"),
    ],
)
def test_unknown_layer_is_refused_by_its_name(layer, kind):
    assert refusal(functional(layer())) == not_a_layer("a", kind)


def test_operation_between_layers_is_refused():
    message = refusal(functional(lambda x: layers.Dense(3)(x) + 1.0))

    assert re.fullmatch(
        r"layer 'add(_\d+)?': Add is an operation between layers that rnncheck does not replay; expected the layer "
        r"that does the same\.",
        message,
    )


@pytest.mark.parametrize(
    ("wrapped", "name", "kind"),
    [
        pytest.param(
            lambda: layers.TimeDistributed(layers.Rescaling(2.0, name="a")),
            "a",
            "Rescaling",
            id="distributed",
        ),
        pytest.param(lambda: layers.Bidirectional(OwnSimpleRNN(5, name="a")), "forward_a", "OwnSimpleRNN", id="half"),
        pytest.param(lambda: layers.RNN(OwnCell(5, name="a")), "a", "OwnCell", id="cell"),
        pytest.param(lambda: layers.RNN([layers.GRUCell(5), OwnCell(5, name="a")]), "a", "OwnCell", id="stack"),
        pytest.param(lambda: keras.Sequential([layers.Dense(3), Doubled(name="a")]), "a", "Doubled", id="model"),
    ],
)
def test_unknown_layer_inside_another_is_refused_by_its_name(wrapped, name, kind):
    with keras.saving.custom_object_scope({"OwnSimpleRNN": OwnSimpleRNN, "OwnCell": OwnCell}):
        assert refusal(functional(wrapped())) == not_a_layer(name, kind)


def test_model_of_another_class_inside_a_model_is_refused():
    class Own(keras.Model):
        pass

    x = keras.Input((4, 3))
    inner = Own(x, layers.Dense(3)(x), name="inner")

    assert refusal(functional(inner)) == not_a_layer("inner", "Own")


def test_subclassed_model_is_refused():
    class Own(keras.Model):
        def __init__(self):
            super().__init__(name="own")
            self.rnn = layers.SimpleRNN(5)

        def call(self, x):
            return self.rnn(x)

    model = Own()
    model(np.zeros((1, 4, 3), np.float32))

    assert refusal(model) == (
        "model 'own': got Own without a graph of layers; expected a built Sequential or functional model. "
        "Build it by giving it an Input."
    )


def test_model_that_is_not_built_is_refused():
    assert refusal(keras.Sequential([layers.SimpleRNN(5)], name="model")) == (
        "model 'model': got Sequential without a graph of layers; expected a built Sequential or functional model. "
        "Build it by giving it an Input."
    )


@pytest.mark.parametrize("thing", [None, 0.5, 3], ids=repr)
def test_thing_that_is_no_model_is_refused(thing):
    assert refusal(thing) == (
        f"model {thing!r}: got {type(thing).__name__} without a graph of layers; expected a built Sequential or "
        "functional model. Build it by giving it an Input."
    )


def my_activation(x):
    return x


def tanh(x):
    return x


@pytest.mark.parametrize(
    ("activation", "name"),
    [
        pytest.param(my_activation, "my_activation", id="function"),
        pytest.param(lambda x: x, "<lambda>", id="lambda"),
        pytest.param(functools.partial(my_activation), "my_activation", id="partial"),
        pytest.param(layers.ReLU(max_value=1.0), "ReLU", id="layer"),
        pytest.param(keras.ops.sin, "sin", id="operation"),
        pytest.param(tanh, "test_extractor.tanh", id="name-of-an-activation"),
    ],
)
def test_activation_of_one_s_own_is_refused(activation, name):
    supported = ", ".join(sorted(ACTIVATIONS))

    assert refusal(sequential(layers.SimpleRNN(5, name="a", activation=activation))) == (
        f"layer 'a': activation {name!r} is not one that rnncheck replays; expected one of {supported}."
    )


@pytest.mark.parametrize(
    ("activation", "said"),
    [
        pytest.param(
            functools.partial(keras.activations.relu, max_value=1.0, threshold=0.5),
            "activation 'relu' with max_value, threshold is not replayed; "
            "expected only the activation without parameters.",
            id="relu",
        ),
        pytest.param(
            functools.partial(keras.activations.softmax, axis=1),
            "activation 'softmax' with axis is not replayed; expected only the activation without parameters.",
            id="softmax",
        ),
        pytest.param(
            functools.partial(keras.activations.elu, alpha=0.5, beta=1.0),
            "activation 'elu' with beta is not replayed; expected only alpha.",
            id="elu",
        ),
    ],
)
def test_parameter_of_an_activation_that_is_not_replayed_is_refused(activation, said):
    assert refusal(sequential(layers.SimpleRNN(5, name="a", activation=activation))) == f"layer 'a': {said}"


@pytest.mark.parametrize(
    "activation",
    [
        pytest.param("threshold", id="name"),
        pytest.param(functools.partial(keras.activations.threshold, threshold=0.1), id="partial"),
    ],
)
def test_activation_without_parameters_that_it_needs_is_refused(activation):
    message = refusal(sequential(layers.SimpleRNN(5, name="a", activation=activation)))

    assert message.startswith("layer 'a': activation 'threshold' ")
    assert "default_value" in message


def test_dense_with_lora_is_refused():
    model = sequential(layers.Dense(2, name="a"))
    model.get_layer("a").enable_lora(1)

    assert refusal(model) == "layer 'a': lora_rank=1 is not replayed for Dense; expected lora_rank=None."


@pytest.mark.parametrize("mode", ["int8", "float8"])
def test_layer_quantised_later_is_refused(mode):
    model = sequential(layers.Dense(2, name="a"))
    model.get_layer("a").quantize(mode)

    assert refusal(model).startswith("layer 'a': quantization_config=")


def test_quantised_dtype_policy_is_refused():
    assert refusal(sequential(layers.Dense(2, name="a", dtype="int8_from_float32"))) == (
        "layer 'a': dtype policy 'int8_from_float32' is not replayed; expected one that computes in "
        "float64, float32, float16, bfloat16."
    )


def test_layer_called_for_training_is_refused():
    assert refusal(functional(lambda x: layers.SimpleRNN(5, name="a")(x, training=True))) == (
        "layer 'a': it is called with training=True; expected inference, in which dropout is inactive."
    )


def test_constant_mask_is_refused():
    constant = np.ones((2, 4), bool)

    message = refusal(functional(lambda x: layers.SimpleRNN(5, name="a")(x, mask=constant)))

    assert message == "layer 'a': mask is a constant; expected a tensor of the model."


@pytest.mark.parametrize(
    ("weight", "place", "value", "said"),
    [
        (0, (2, 4), np.nan, "kernel has nan at [2, 4]"),
        (1, (0, 3), np.inf, "recurrent_kernel has inf at [0, 3]"),
        (2, (1,), -np.inf, "bias has -inf at [1]"),
    ],
    ids=["kernel", "recurrent_kernel", "bias"],
)
def test_weight_that_is_not_finite_is_refused_by_its_place(weight, place, value, said):
    model = sequential(layers.SimpleRNN(5, name="a"))
    weights = model.get_weights()
    weights[weight][place] = value
    model.set_weights(weights)

    assert refusal(model, InputError) == f"layer 'a': {said}; expected finite weights."


def test_layer_far_from_the_output_is_refused_too():
    stack = layers.Rescaling(2.0, name="a"), layers.SimpleRNN(5), layers.Dense(2)

    assert refusal(sequential(*stack)) == not_a_layer("a", "Rescaling")
