"""`rnncheck walk` and `rnncheck.walk`: the teaching notebook redone for any model. `rnncheck weights`."""

import inspect
import json
import re
import runpy
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

import rnncheck
from rnncheck import InputError
from rnncheck.report.walk_table import Walk

ROOT = Path(__file__).parent.parent
DEMO = ROOT / "rnncheck" / "demo"
NOTEBOOK, NOTEBOOK_INPUTS = DEMO / "notebook.keras", DEMO / "notebook_inputs.npy"
SINE, SINE_INPUTS = DEMO / "sine.keras", DEMO / "inputs.npy"
PRINTED = json.loads((ROOT / "fixtures" / "notebook.json").read_text())


@pytest.fixture(scope="module")
def notebook():
    return rnncheck.walk(NOTEBOOK, np.load(NOTEBOOK_INPUTS), gates=True)


def words(text):
    return " ".join(text.split())


# --- the notebook ---


def test_notebook_is_walked_with_its_numbers(notebook):
    assert [weight.shape for weight in notebook.weights.values()] == [(3, 5), (5, 5), (5,), (5, 2), (2,)]
    assert notebook.parameters == 57
    assert np.round(notebook.outputs["dense"], 8).tolist() == PRINTED["manual_loop"]
    np.testing.assert_allclose(notebook.predicted["dense"], PRINTED["keras_predict"], rtol=0, atol=5e-7)
    assert notebook.layers == (
        ("inputs", "Input", "(N, 10, 3)", 0),
        ("simple_rnn", "SimpleRNN", "(N, 5)", 45),
        ("dense", "Dense", "(N, 2)", 12),
    )


def test_notebook_s_states_are_those_of_its_loop(notebook):
    (layer,) = notebook.recurrent
    kernel, recurrent_kernel, bias = (
        notebook.weights[f"simple_rnn/{name}"].astype(np.float64) for name in ("kernel", "recurrent_kernel", "bias")
    )
    h = np.zeros(5)
    for t, x in enumerate(notebook.inputs["inputs"].astype(np.float64)):
        total = x @ kernel + h @ recurrent_kernel + bias
        h = np.tanh(total)

        np.testing.assert_allclose(layer.gates["sum"][t], total, rtol=1e-12)
        np.testing.assert_allclose(layer.by_hand[t], h, rtol=1e-12)
        np.testing.assert_allclose(layer.observed[t], h, atol=1e-6)
    assert t == 9


def test_notebook_on_the_command_line(rnncheck_command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")

    done = rnncheck_command("walk", NOTEBOOK, "--inputs", NOTEBOOK_INPUTS)

    assert done.code == 0
    text = words(done.out)
    assert "notebook.keras: 57 parameters" in text
    assert "simple_rnn/kernel (3, 5) simple_rnn/recurrent_kernel (5, 5) simple_rnn/bias (5,)" in text
    assert "dense/kernel (5, 2) dense/bias (2,)" in text
    assert "a_t = activation(x_t·kernel + bias + h_{t-1}·recurrent_kernel). h_t = a_t." in text
    assert re.search(r"dense predict -2\.14869\d+ 1\.61685\d+ by hand -2\.1486938 1\.6168523 \S+e-0\d$", text)
    assert text.count("Keras") == 10
    assert "no inputs given" not in text


# --- what is shown ---


def test_random_inputs_are_told(rnncheck_command):
    done = rnncheck_command("walk", NOTEBOOK, "--seed", "3", "--sample", "2")

    assert done.out.count("no inputs given: 4 random samples, seed 3") == 1
    assert "Sample 2 of 4" in done.out


@pytest.mark.parametrize("width", [60, 118])
def test_nothing_is_broken_at_any_width(rnncheck_command, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))

    done = rnncheck_command("walk", SINE, "--inputs", SINE_INPUTS, "--gates", "--steps", "22:")

    rows = [line.split() for line in done.out.splitlines() if "by hand" in line or "Keras" in line]
    numbers = (width - 26) // 15
    assert max(map(len, done.out.splitlines())) <= width
    assert [len(row) for row in rows[:4]] == [1 + numbers, 2 + numbers + 1] * 2
    assert f"the first {numbers} of 16 numbers" in done.out


def test_eight_numbers_are_shown_where_there_is_room_for_more(rnncheck_command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")

    assert "the first 8 of 16 numbers" in rnncheck_command("walk", SINE, "--inputs", SINE_INPUTS).out
    assert "the first 8 of 16 numbers" in rnncheck.walk(rnncheck.extract(SINE), np.load(SINE_INPUTS))._repr_html_()


def test_of_many_steps_the_first_and_last_are_shown(rnncheck_command):
    done = rnncheck_command("walk", SINE, "--inputs", SINE_INPUTS)

    assert "steps 6 to 17 are left out; --steps 6:18 shows them" in done.out
    assert re.findall(r"^(\d+) ", done.out, re.MULTILINE) == list(map(str, [*range(6), *range(18, 24)]))
    assert "; steps=(6, 18) shows them" in str(rnncheck.walk(rnncheck.extract(SINE), np.load(SINE_INPUTS)))


def test_gates_are_those_of_the_equations(notebook):
    walk = rnncheck.walk(SINE, np.load(SINE_INPUTS), sample=3, gates=True)

    (lstm,) = walk.recurrent
    gates = lstm.gates
    assert list(gates) == ["i", "f", "o", "g", "activation(c)", "c"]
    np.testing.assert_allclose(gates["f"][1:] * gates["c"][:-1] + gates["i"][1:] * gates["g"][1:], gates["c"][1:])
    np.testing.assert_allclose(gates["o"] * np.tanh(gates["c"]), lstm.by_hand)
    np.testing.assert_allclose(lstm.observed, lstm.by_hand, atol=1e-6)


def test_layers_come_one_after_the_other_with_masks_directions_and_both_outputs():
    x = keras.Input((6, 3), name="x")
    masked = layers.Masking(name="masking")(x)
    both = layers.Bidirectional(layers.GRU(4, return_sequences=True, name="gru"), name="both")(masked)
    model = keras.Model(x, [layers.LSTM(2, name="lstm")(both), both], name="two")
    inputs = np.random.default_rng(0).normal(size=(3, 6, 3)).astype(np.float32)
    inputs[1, 4:] = 0.0

    walk = rnncheck.walk(model, inputs, sample=1, gates=True)

    forward, backward, _ = walk.recurrent
    assert [layer.name for layer in walk.recurrent] == ["both/forward_gru", "both/backward_gru", "lstm"]
    assert [layer.backwards for layer in walk.recurrent] == [False, True, False]
    assert forward.counts.tolist() == [True] * 4 + [False] * 2
    assert backward.counts.tolist() == [False] * 2 + [True] * 4
    for layer in walk.recurrent:
        np.testing.assert_allclose(layer.observed, layer.by_hand, atol=1e-6)
    assert list(walk.outputs) == ["lstm", "both"]
    text = words(str(walk))
    assert re.search(r" lstm predict( -?0\.\S+){2} by hand( -?0\.\S+){2} \S+e-\d\d both predict", text)
    assert "layer 'both/backward_gru': h after each step, the last step first" in text
    assert "4 masked Keras" in text


def test_sequences_inside_time_distributed_are_told():
    model = keras.Sequential([keras.Input((2, 5, 3)), layers.TimeDistributed(layers.GRU(4, name="gru"), name="td")])

    walk = rnncheck.walk(model, sample=1)

    (gru,) = walk.recurrent
    assert [kind for _, kind, *_ in walk.layers] == ["Input", "GRU", "UnfoldTime"]
    assert (gru.sequences, gru.by_hand.shape) == (2, (5, 4))
    np.testing.assert_allclose(gru.by_hand[-1], walk.outputs[next(iter(walk.outputs))][0])
    assert "; of 2 sequences the first" in words(str(walk))


def test_images_are_walked():
    model = keras.Sequential([keras.Input((3, 4, 2)), layers.ConvLSTM1D(2, 3, name="conv")])

    (conv,) = rnncheck.walk(model, gates=True).recurrent

    assert conv.by_hand.shape == conv.observed.shape == conv.gates["i"].shape == (3, 2, 2)
    np.testing.assert_allclose(conv.observed, conv.by_hand, atol=1e-6)


def test_without_keras_the_numbers_are_by_hand_alone(rnncheck_command, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "nothing")

    done = rnncheck_command("walk", NOTEBOOK, "--inputs", NOTEBOOK_INPUTS)

    assert done.code == 0
    assert "the numbers are by hand alone. Keras: got the backend 'nothing'" in words(done.out)
    assert "predict" not in done.out
    assert re.search(r"dense +by hand +-2\.1486938 +1\.6168523", done.out)


def test_a_network_is_walked_by_hand():
    walk = rnncheck.walk(rnncheck.extract(NOTEBOOK), np.load(NOTEBOOK_INPUTS))

    assert walk.notes == ("a Network does not run: the numbers are by hand alone",)
    assert walk.predicted == {}
    assert walk.recurrent[0].observed is None


def test_a_notebook_shows_tables_with_names_escaped(notebook):
    html = replace(notebook, name="<script>alert(1)</script>\x1b[31m")._repr_html_()

    assert "<script" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\\x1b[31m" in html
    assert html.count("<table>") == html.count("</table>") == 4
    assert "<td>-2.1486938</td>" in html


def test_walk_takes_what_its_documentation_says(notebook):
    assert isinstance(notebook, Walk)
    parameters = inspect.signature(rnncheck.walk).parameters
    assert list(parameters) == ["model", "inputs", "sample", "steps", "gates", "seed", "architecture"]


# --- what is refused ---


@pytest.mark.few(3)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample": 8}, "sample: got 8; expected one from 0 to 7. The inputs have 8."),
        ({"sample": -1}, "sample: got -1; expected one from 0 to 7."),
        (
            {"steps": (0, 25)},
            "steps: got 0:25; expected a range A:B within 0:24, not empty. The model takes 24 steps.",
        ),
        ({"steps": (5, 5)}, "steps: got 5:5; expected a range A:B within 0:24"),
        ({"steps": (-1, None)}, "steps: got -1:; expected a range A:B within 0:24"),
        ({"steps": (24, None)}, "steps: got 24:; expected a range A:B within 0:24"),
    ],
)
def test_samples_and_steps_outside_are_refused(options, message):
    with pytest.raises(InputError, match=re.escape(message)):
        rnncheck.walk(SINE, np.load(SINE_INPUTS), **options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sample", "9"], "sample: got 9; expected one from 0 to 7."),
        (["--steps", "3-4"], "got '3-4'; expected the first step and the one behind the last, such as 3:8."),
        (["--steps", "a:4"], "got 'a:4'; expected the first step and the one behind the last, such as 3:8."),
        (["--output", "model.py"], "--output: got it without --emit; expected --emit numpy, which writes a program."),
        (["--emit", "numpy"], "--inputs: got it with --emit; expected none, since a program takes any inputs."),
    ],
)
def test_command_refuses_what_makes_no_sense(rnncheck_command, arguments, message):
    done = rnncheck_command("walk", SINE, "--inputs", SINE_INPUTS, *arguments)

    assert done.code == 2
    assert message in words(done.err)
    assert not done.out


@pytest.mark.parametrize("name", ["my model.py", "model.txt", "model"])
def test_program_has_the_name_of_a_module(rnncheck_command, tmp_path, name):
    done = rnncheck_command("walk", SINE, "--emit", "numpy", "--output", tmp_path / name)

    assert done.code == 2
    assert "got no name of a Python file; expected one such as model.py." in words(done.err)


# --- the program and the weights ---


def test_program_is_printed_or_written_with_its_weights(rnncheck_command, tmp_path):
    printed = rnncheck_command("walk", NOTEBOOK, "--emit", "numpy")
    written = rnncheck_command("walk", NOTEBOOK, "--emit", "numpy", "--output", tmp_path / "model.py")

    assert (printed.code, written.code) == (0, 0)
    assert (tmp_path / "model.py").read_text(encoding="utf-8") == printed.out
    assert written.out == f"{tmp_path}/model.py: the program; {tmp_path}/model.npz: its weights\n"
    output = runpy.run_path(str(tmp_path / "model.py"))["model"](np.load(NOTEBOOK_INPUTS))
    assert np.round(output, 8).tolist() == [PRINTED["manual_loop"]]


def test_weights_are_written_by_layer_and_name(rnncheck_command, tmp_path):
    npz, text = tmp_path / "w.npz", tmp_path / "w.json"

    done = [rnncheck_command("weights", NOTEBOOK, "--to", path.suffix[1:], "--output", path) for path in (npz, text)]
    printed = rnncheck_command("weights", NOTEBOOK, "--to", "json", "--output", "-")

    assert [each.out for each in done] == [f"{npz}: 5 arrays\n", f"{text}: 5 arrays\n"]
    assert printed.out == rnncheck_command("weights", NOTEBOOK, "--to", "json").out == text.read_text()
    network = rnncheck.extract(NOTEBOOK)
    with np.load(npz) as arrays:
        assert list(arrays) == list(json.loads(printed.out))
        for name, numbers in json.loads(printed.out).items():
            layer, weight = name.split("/")
            np.testing.assert_array_equal(arrays[name], network.layer(layer).weights[weight])
            np.testing.assert_array_equal(np.float32(numbers), arrays[name])
            assert arrays[name].dtype == np.float32


def test_weights_go_beside_without_a_name(rnncheck_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert rnncheck_command("weights", SINE, "--to", "npz").out == "sine.npz: 5 arrays\n"
    assert (tmp_path / "sine.npz").is_file()


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("-", "--output: got - with --to npz; expected a file, since it is binary. --to json is text."),
        ("no/where.npz", "no/where.npz: got the directory no, which does not exist"),
        (SINE, "got a file that is read; expected another one"),
    ],
)
def test_weights_refuse_where_they_cannot_go(rnncheck_command, output, message):
    done = rnncheck_command("weights", SINE, "--to", "npz", "--output", output)

    assert done.code == 2
    assert message in words(done.err)
