"""`rnncheck show`: layers, shapes, parameters, options and equations of a model file, without a framework."""

import inspect
import io
import re
import subprocess
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import layers
from rich.console import Console

from rnncheck.cli import main
from rnncheck.equations.cells import CELLS
from rnncheck.equations.layers import LAYERS
from rnncheck.frameworks.keras.config.entries import ENTRIES, keras_defaults
from rnncheck.frameworks.keras.extract import extract
from rnncheck.network import InputSpec, Layer, Network, Tensor
from rnncheck.report.network_table import changed_options, equations, output_shapes, print_network


def sequential(*stack, shape=(6, 3), **options):
    return keras.Sequential([keras.Input(shape, name="x", **options), *stack])


def nested():
    inner = keras.Sequential(
        [keras.Input((6, 3)), layers.LSTM(5, return_sequences=True, name="lstm"), layers.Dense(3, name="proj")],
        name="block",
    )
    x = keras.Input((6, 3), name="x")
    return keras.Model(x, layers.Dense(2, name="head")(inner(inner(x))))


def shared():
    x = keras.Input((None, 3), name="x")
    gru = layers.GRU(3, return_sequences=True, reset_after=False, name="gru")
    return keras.Model(x, layers.Dense(1, name="head")(gru(gru(gru(x)))))


def bidirectional():
    return sequential(
        layers.Embedding(20, 4, mask_zero=True, name="embedding"),
        layers.Bidirectional(layers.LSTM(5, name="lstm"), name="both"),
        layers.Dropout(0.2, name="dropout"),
        layers.Dense(2, activation="softmax", name="head"),
        shape=(None,),
        dtype="int32",
    )


def time_distributed():
    return sequential(
        layers.TimeDistributed(layers.GRU(5, name="gru"), name="td"),
        layers.SimpleRNN(2, activation="relu", dtype="float64", name="rnn"),
        shape=(None, 4, 3),
    )


def conv_lstm():
    return sequential(
        layers.ConvLSTM2D(3, (3, 2), padding="same", strides=(2, 1), name="conv"),
        layers.Flatten(name="flat"),
        layers.BatchNormalization(name="norm"),
        shape=(None, 6, 7, 2),
    )


def encoder_decoder():
    source, target = keras.Input((6, 3), name="source"), keras.Input((None, 2), name="target")
    _, h, c = layers.LSTM(5, return_state=True, name="encoder")(source)
    h = layers.LSTM(5, return_sequences=True, name="decoder")(target, initial_state=[h, c])
    return keras.Model([source, target], layers.Dense(2, name="head")(h))


def pooled():
    return sequential(
        layers.Conv1D(4, 3, strides=2, name="conv"),
        layers.MaxPooling1D(2, name="pool"),
        layers.GRU(3, name="gru"),
        shape=(None, 3),
    )


def stack_from_constants():
    x = keras.Input((6, 3), name="x")
    cells = [layers.LSTMCell(3, name="a"), layers.GRUCell(4, name="b")]
    states = [keras.ops.convert_to_tensor(np.ones((1, n), np.float32)) for n in (3, 3, 4)]
    return keras.Model(x, layers.RNN(cells, name="rnn")(x, initial_state=states))


def stateful():
    return keras.Sequential(
        [keras.Input(batch_shape=(2, 6, 3), name="x"), layers.SimpleRNN(4, stateful=True, name="rnn")]
    )


# For each model, its table: the layer, its kind, its output, its parameters, what it reads, its options.
MODELS = {
    nested: """
        x            | Input | (N, 6, 3) | 0   |              | float32
        block/lstm   | LSTM  | (N, 6, 5) | 180 | x            | units=5, return_sequences=True
        block/proj   | Dense | (N, 6, 3) | 18  | block/lstm   | units=3
        block@2/lstm | LSTM  | (N, 6, 5) | 180 | block/proj   | units=5, return_sequences=True
        block@2/proj | Dense | (N, 6, 3) | 18  | block@2/lstm | units=3
        head         | Dense | (N, 6, 2) | 8   | block@2/proj | units=2
        206 parameters; outputs: head
    """,
    shared: """
        x     | Input | (N, T, 3) | 0  |       | float32
        gru   | GRU   | (N, T, 3) | 63 | x     | units=3, reset_after=False, return_sequences=True
        gru@2 | GRU   | (N, T, 3) | 63 | gru   | units=3, reset_after=False, return_sequences=True
        gru@3 | GRU   | (N, T, 3) | 63 | gru@2 | units=3, reset_after=False, return_sequences=True
        head  | Dense | (N, T, 1) | 4  | gru@3 | units=1
        67 parameters; outputs: head
    """,
    bidirectional: """
        x                  | Input       | (N, T)    | 0   |                           | int32
        embedding          | Embedding   | (N, T, 4) | 80  | x                         | input_dim=20, output_dim=4, mask_zero=True
        embedding/mask     | NotEqual    | (N, T)    | 0   | x                         | value=0
        both/forward_lstm  | LSTM        | (N, 5)    | 200 | embedding, embedding/mask | units=5
        both/backward_lstm | LSTM        | (N, 5)    | 200 | embedding, embedding/mask | units=5, go_backwards=True
        both               | Concatenate | (N, 10)   | 0   | both/forward_lstm, both/backward_lstm |
        dropout            | Dropout     | (N, 10)   | 0   | both                      |
        head               | Dense       | (N, 2)    | 22  | dropout                   | units=2, activation=softmax
        502 parameters; outputs: head
    """,  # noqa: E501 - a table
    time_distributed: """
        x       | Input      | (N, T, 4, 3) | 0   |           | float32
        td/fold | FoldTime   | (N·T, 4, 3)  | 0   | x         |
        td/gru  | GRU        | (N·T, 5)     | 150 | td/fold   | units=5
        td      | UnfoldTime | (N, T, 5)    | 0   | td/gru, x |
        rnn     | SimpleRNN  | (N, 2)       | 16  | td        | units=2, activation=relu, dtype=float64
        166 parameters; outputs: rnn
    """,
    conv_lstm: """
        x    | Input              | (N, T, 6, 7, 2) | 0   |      | float32
        conv | ConvLSTM2D         | (N, 3, 7, 3)    | 372 | x    | filters=3, kernel_size=(3, 2), strides=(2, 1), padding=same
        flat | Flatten            | (N, 63)         | 0   | conv |
        norm | BatchNormalization | (N, 63)         | 252 | flat |
        624 parameters; outputs: norm
    """,  # noqa: E501 - a table
    encoder_decoder: """
        source  | Input | (N, 6, 3) | 0   |                              | float32
        target  | Input | (N, T, 2) | 0   |                              | float32
        encoder | LSTM  | (N, 5)    | 180 | source                       | units=5, return_state=True
        decoder | LSTM  | (N, T, 5) | 160 | target, encoder:1, encoder:2 | units=5, return_sequences=True
        head    | Dense | (N, T, 2) | 12  | decoder                      | units=2
        352 parameters; outputs: head
    """,
    pooled: """
        x    | Input        | (N, T, 3)     | 0  |      | float32
        conv | Conv1D       | (N, T/2-1, 4) | 40 | x    | filters=4, kernel_size=(3,), strides=(2,)
        pool | MaxPooling1D | (N, T/4-1, 4) | 0  | conv |
        gru  | GRU          | (N, 3)        | 81 | pool | units=3
        121 parameters; outputs: gru
    """,
    stack_from_constants: """
        x                   | Input    | (N, 6, 3) | 0   |   | float32
        rnn/initial_state_0 | Constant | (1, 3)    | 0   |   |
        rnn/initial_state_1 | Constant | (1, 3)    | 0   |   |
        rnn/initial_state_2 | Constant | (1, 4)    | 0   |   |
        rnn/0_a             | LSTM     | (N, 6, 3) | 84  | x, rnn/initial_state_0, rnn/initial_state_1 | units=3, return_sequences=True
        rnn                 | GRU      | (N, 4)    | 108 | rnn/0_a, rnn/initial_state_2                | units=4
        192 parameters; outputs: rnn
    """,  # noqa: E501 - a table
    stateful: """
        x   | Input     | (2, 6, 3) | 0  |   | float32
        rnn | SimpleRNN | (2, 4)    | 32 | x | units=4, stateful=True
        32 parameters; outputs: rnn
    """,
}  # fmt: skip


def by_columns(text):
    """Return a written table's cells, blanks at their ends left out."""
    lines = [line for line in text.splitlines() if line.strip()]
    return [[cell.strip() for cell in line.split("|")] for line in lines]


def shown(network, width=300):
    """Return the table of a network as cells, and what follows it as text."""
    buffer = io.StringIO()
    print_network(network, Console(file=buffer, width=width, color_system=None), "title", keras_defaults)
    title, head, rest = buffer.getvalue().split("\n", 2)
    assert title == "title"
    starts = [match.start() for match in re.finditer(r"\S+( \S+)*", head)]
    starts[3] = head.index("parameters")
    table, _, equations_text = rest.partition("\n\n")
    cells = []
    for line in table.splitlines()[:-1]:
        ends = [*starts[1:], len(line)]
        cells.append([line[start:end].strip() for start, end in zip(starts, ends, strict=True)])
    return [*cells, [table.splitlines()[-1]]], equations_text


@pytest.mark.parametrize("make", MODELS, ids=[make.__name__ for make in MODELS])
def test_table_of_a_model(make):
    table, _ = shown(extract(make()))

    assert table == by_columns(MODELS[make])


@pytest.mark.parametrize("make", MODELS, ids=[make.__name__ for make in MODELS])
def test_parameters_are_counted_as_keras_counts_them(make):
    model = make()

    assert extract(model).parameters == model.count_params()


@pytest.mark.parametrize("make", MODELS, ids=[make.__name__ for make in MODELS])
def test_shapes_are_those_that_keras_computes(make):
    model = make()
    network = extract(model)
    shapes = output_shapes(network)

    assert [tuple(network_shape(shapes[tensor.layer])) for tensor in network.outputs] == [
        tuple(output.shape)[1:] for output in model.outputs
    ]


def network_shape(letters):
    """Return a shape in letters as Keras writes it, without N."""
    return [int(axis) if axis.isdigit() else None for axis in letters.strip("()").split(", ")[1:] if axis]


# --- parameters ---


def dense(name, fill=1.0):
    return Layer(name, "Dense", (Tensor("x"),), weights={"kernel": np.full((2, 3), fill)})


def parameters(*stack):
    return Network("n", (), stack, ()).parameters


@pytest.mark.parametrize(
    ("stack", "expected"),
    [
        ([dense("a"), dense("a@2"), dense("a@3")], 6),
        ([dense("m/a"), dense("m@2/a")], 6),
        ([dense("m/a"), dense("m/a@2"), dense("m@2/a"), dense("m@2/a@2")], 6),
        ([dense("a@2"), dense("a@3")], 6),
        ([dense("a"), dense("b")], 12),
        ([dense("a"), dense("a@2", 2.0)], 12),
        ([dense("a@b"), dense("a")], 12),
        ([Layer("c", "Constant", weights={"value": np.ones((1, 5))})], 0),
    ],
    ids=[
        "layer", "model", "both", "first-use-unread", "two-layers", "a-layer-of-that-name", "another-sign",
        "constant",
    ],
)  # fmt: skip
def test_weights_of_one_layer_count_once(stack, expected):
    assert parameters(*stack) == expected


# --- shapes ---


def lettered(kind, spec, **options):
    network = Network("n", (spec,), (Layer("y", kind, (Tensor("x"),), options),), (Tensor("y"),))
    return output_shapes(network)["y"]


@pytest.mark.parametrize(
    ("kind", "shape", "options", "expected"),
    [
        ("Flatten", (None, 3), {}, "(N, 3T)"),
        ("Flatten", (4, 3), {}, "(N, 12)"),
        ("Permute", (None, 3), {"dims": (2, 1)}, "(N, 3, T)"),
        ("FoldTime", (None, 3), {}, "(N·T, 3)"),
        ("FoldTime", (4, 3), {}, "(4N, 3)"),
        ("Concatenate", (None, 3), {"axis": 1}, "(N, T, 3)"),
        ("MaxPooling1D", (None, 3), {"pool_size": (3,), "strides": (3,), "padding": "valid"}, "(N, T/3, 3)"),
        ("MaxPooling1D", (None, 3), {"pool_size": (3,), "strides": (1,), "padding": "valid"}, "(N, T-2, 3)"),
        ("Reshape", (None, 6), {"target_shape": (-1, 4)}, "(N, 3T/2, 4)"),
        ("Reshape", (None, 6), {"target_shape": (4, 5)}, "?"),
        ("Any", (None,), {}, "(N,)"),
    ],
    ids=[
        "flatten-open", "flatten", "permute", "fold-open", "fold", "same", "third", "less-two", "three-halves",
        "impossible", "vector",
    ],
)  # fmt: skip
def test_axes_are_named_by_how_they_grow(kind, shape, options, expected):
    assert lettered(kind, InputSpec("x", shape, "float32"), **options) == expected


def test_sum_of_an_open_and_a_fixed_axis_has_no_shape_and_is_shown():
    specs = InputSpec("x", (None, 3), "float32"), InputSpec("y", (10, 3), "float32")
    added = Layer("add", "Add", (Tensor("x"), Tensor("y")))
    network = Network("n", specs, (added, Layer("flat", "Flatten", (Tensor("add"),))), (Tensor("flat"),))

    table, _ = shown(network)

    assert [row[2] for row in table[:-1]] == ["(N, T, 3)", "(N, 10, 3)", "?", "?"]


def test_shapes_of_long_sequences_take_no_loop(monkeypatch):
    network = extract(sequential(layers.LSTM(64, return_sequences=True), layers.LSTM(64), shape=(20_000, 8)))

    def gates(*_):
        raise AssertionError("a step was taken")

    monkeypatch.setitem(CELLS, "LSTM", replace(CELLS["LSTM"], gates=gates))

    assert list(output_shapes(network).values()) == ["(N, 20000, 64)", "(N, 64)"]


def test_wholly_masked_average_warns_nobody():
    model = sequential(
        layers.Embedding(7, 4, mask_zero=True), layers.GlobalAveragePooling1D(name="mean"), shape=(6,), dtype="int32"
    )

    assert output_shapes(extract(model))["mean"] == "(N, 4)"


# --- options ---


@pytest.mark.parametrize("kind", ENTRIES)
def test_defaults_are_those_of_the_installed_keras(kind):
    signature = inspect.signature(getattr(layers, kind).__init__).parameters
    with_default = {name for name in ENTRIES[kind].checked if name in signature} - required(signature)
    with_default.discard("data_format")  # None for what Keras is configured to: channels_last
    assert keras_defaults(kind).get("data_format", "channels_last") == "channels_last"
    if "Pooling" in kind:
        with_default.discard("strides")  # as the pool_size

    known = keras_defaults(kind)

    assert {name: written(known.get(name)) for name in with_default} == {
        name: written(signature[name].default) for name in with_default
    }


def required(signature):
    return {name for name, parameter in signature.items() if parameter.default is inspect.Parameter.empty}


def written(value):
    """Write a default; no activation is `linear`, and one number stands for the same along all axes."""
    different = set(np.ravel(value).tolist()) if isinstance(value, tuple) else {value}
    return "linear" if value is None else str(different.pop() if len(different) == 1 else value)


def test_options_that_were_given_as_the_defaults_are_left_out():
    network = extract(
        sequential(
            layers.Conv1D(4, 3, name="conv", strides=1, padding="valid"),
            layers.MaxPooling1D(name="pool"),
            layers.GRU(5, activation="tanh", name="gru"),
        )
    )

    assert [list(changed_options(layer, keras_defaults(layer.kind))) for layer in network.layers] == [
        ["filters=4", "kernel_size=(3,)"],
        [],
        ["units=5"],
    ]


def test_options_that_differ_are_named():
    layer = layers.MaxPooling1D(3, strides=1, padding="same", name="pool")
    network = extract(sequential(layer, layers.LSTM(5, use_bias=False, recurrent_activation="hard_sigmoid")))

    assert [list(changed_options(each, keras_defaults(each.kind))) for each in network.layers] == [
        ["pool_size=(3,)", "strides=(1,)", "padding=same"],
        ["units=5", "recurrent_activation=hard_sigmoid", "use_bias=False"],
    ]


# --- equations ---


@pytest.mark.parametrize("kind", [*CELLS, *LAYERS])
def test_every_kind_says_what_it_computes(kind):
    lines = equations(kind)

    assert lines
    assert all(lines)
    assert not [line for line in lines if re.match(r"(Source|Args|Raises|Returns):|projected \(", line)]


def test_equations_stand_once_for_each_kind_in_the_order_of_the_layers():
    _, text = shown(extract(bidirectional()))

    heads = [line for line in text.splitlines() if line and not line.startswith(" ")]
    assert heads == ["Embedding", "LSTM", "Concatenate", "Dropout", "Dense"]
    assert "  c_t = f_t*c_{t-1} + i_t*g_t.\n  h_t = o_t*activation(c_t).\n" in text


def test_masks_and_turns_are_in_the_table_alone():
    x = keras.Input((6, 3), name="x")
    both = layers.Bidirectional(layers.GRU(2, return_sequences=True))
    table, text = shown(extract(keras.Model(x, both(layers.Masking()(x)))))

    kinds = {row[1] for row in table[:-1]}
    assert {"NotEqual", "Any", "Reverse"} <= kinds
    assert not {"NotEqual", "Any", "Reverse"} & set(text.split("\n"))


# --- the command ---


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("show") / "my model é.keras"
    bidirectional().save(path)
    return path


def test_command_prints_title_table_and_equations(model_file, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["rnncheck", "show", str(model_file)])

    main()

    out, err = capsys.readouterr()
    lines = [line.rstrip() for line in out.splitlines()]
    assert err == ""
    assert lines[0] == f"my model é.keras, written by Keras {keras.__version__}"
    assert lines[1].split("  ")[0] == "layer"
    assert "502 parameters; outputs: head" in lines
    assert lines[-1] == "  activation(x·kernel + bias): x (..., M), kernel (M, K), bias (K,) -> (..., K)."
    assert max(map(len, lines)) <= 118


def test_names_are_no_markup():
    network = Network(
        "n",
        (InputSpec("[bold]x[/red]", (4, 3), "float32"),),
        (Layer("[/]", "Flatten", (Tensor("[bold]x[/red]"),)),),
        (Tensor("[/]"),),
    )

    table, _ = shown(network)

    assert [row[0] for row in table] == ["[bold]x[/red]", "[/]", "0 parameters; outputs: [/]"]


def test_command_loads_no_framework(model_file):
    script = f"""
import sys
from rnncheck.cli import main
sys.argv = ["rnncheck", "show", {str(model_file)!r}]
main()
print(*{{name.split(".")[0] for name in sys.modules}}, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    loaded = set(done.stderr.split())
    assert "502 parameters" in done.stdout
    assert not {"tensorflow", "keras", "jax", "torch", "pandas"} & loaded
    assert "rnncheck" in loaded
