"""`rnncheck compare`: what any other program computed, in C for one, from the arrays that it recorded."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import layers

import rnncheck
from experiments.port import INPUTS, MODEL, run_port
from rnncheck.checks.observed import observe
from rnncheck.checks.steps import differences, step_rows
from rnncheck.checks.verdicts import Verdict
from rnncheck.equations.changes import with_options
from rnncheck.equations.formats import FORMATS, in_format, with_kept_factors
from rnncheck.errors import InputError
from rnncheck.faults.catalogue import FAULTS
from rnncheck.faults.emulation import emulate
from rnncheck.faults.symptoms import describe
from rnncheck.frameworks.recorded import worth_recording
from rnncheck.frameworks.sources import open_network
from rnncheck.network import Recording

# --- a port to C ---


def test_port_to_c_matches_step_by_step(tmp_path, rnncheck_command):
    y, h = run_port(tmp_path)

    done = rnncheck_command(
        "compare", MODEL, "--inputs", INPUTS, "--outputs", y, "--states", h, "--json", tmp_path / "r.json"
    )

    assert done.code == 0, done.out
    (case,) = json.loads((tmp_path / "r.json").read_text())["cases"]
    assert [(row["layer"], row["check"], row["verdict"]) for row in case["rows"]] == [
        ("lstm", "step", "match"),
        ("next_value", "step", "match"),
        ("next_value", "end_to_end", "match"),
    ]
    assert case["precision"] == {"stated": "float32", "consistent_with": "float32"}


def test_port_to_c_matches_by_its_output_alone(tmp_path, rnncheck_command):
    y, _ = run_port(tmp_path)

    done = rnncheck_command("compare", MODEL, "--inputs", INPUTS, "--outputs", y)

    assert done.code == 0, done.out
    assert "precision: consistent with float32\n" in done.out


MISTAKES = {"GATE_ORDER": "gate_order_iofc", "TRANSPOSED": "recurrent_kernel_transposed", "NO_BIAS": "bias_dropped"}


@pytest.mark.few(3)
@pytest.mark.parametrize("with_states", [True, False], ids=["states", "outputs_alone"])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_broken_port_is_caught_and_diagnosed(tmp_path, rnncheck_command, mistake, with_states):
    y, h = run_port(tmp_path, [mistake])
    states = ["--states", h] if with_states else []

    done = rnncheck_command("compare", MODEL, "--inputs", INPUTS, "--outputs", y, *states)

    assert done.code == 1
    fault = next(each for each in FAULTS if each.name == MISTAKES[mistake])
    assert done.out.startswith(f"MISMATCH  sine.keras: in layer 'lstm', {fault.summary}")
    assert f"numbers agree to rounding (`{fault.name}`)" in done.out


def test_small_model_is_answered_without_frameworks(tmp_path):
    """So that it is answered soon: each of these takes longer to load than the rest to run."""
    y, h = run_port(tmp_path)
    words = ["compare", MODEL, "--inputs", INPUTS, "--outputs", y, "--states", h]
    code = (
        f"import sys; sys.argv = {['rnncheck', *map(str, words)]!r}\nfrom rnncheck.cli import main\ntry: main()\n"
        "except SystemExit as end: print(end.code, *{name.split('.')[0] for name in sys.modules}, file=sys.stderr)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    code, *loaded = done.stderr.split()
    assert code == "0"
    assert not {"keras", "tensorflow", "jax", "torch", "scipy", "pandas"} & set(loaded)


# --- files ---


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A model with two outputs and two recurrent layers, in a file, and what a program recorded of it."""
    folder = tmp_path_factory.mktemp("recorded")
    keras.utils.set_random_seed(3)
    x = keras.Input((6, 3), name="x")
    sequence = layers.GRU(5, return_sequences=True, bias_initializer="normal", name="gru")(x)
    last = layers.SimpleRNN(4, bias_initializer="normal", name="rnn")(sequence)
    outputs = [layers.Dense(2, name="head")(last), layers.Dense(3, name="every")(sequence)]
    keras.Model(x, outputs, name="two").save(folder / "two outputs é.keras")
    _, network = open_network(folder / "two outputs é.keras")
    inputs = np.random.default_rng(4).normal(size=(2, 6, 3)).astype(np.float32)
    np.save(folder / "x.npy", inputs)
    (recording,) = emulate(network, [(inputs,)])
    return folder, folder / "two outputs é.keras", recording


def compared(rnncheck_command, recorded, outputs, states=None):
    folder, model, _ = recorded
    words = [] if states is None else ["--states", states]
    return rnncheck_command("compare", model, "--inputs", folder / "x.npy", "--outputs", outputs, *words)


def as_json(path, value):
    path.write_text(json.dumps(value))
    return path


def as_npz(path, *arrays, **named):
    np.savez(path, *arrays, **named)
    return path


def test_outputs_by_name_in_a_npz_file(tmp_path, rnncheck_command, recorded):
    head, every = recorded[2].outputs

    done = compared(rnncheck_command, recorded, as_npz(tmp_path / "y.npz", every=every, head=head))

    assert done.code == 0, done.out


def test_outputs_in_their_order_in_a_npz_file(tmp_path, rnncheck_command, recorded):
    done = compared(rnncheck_command, recorded, as_npz(tmp_path / "y.npz", *recorded[2].outputs))

    assert done.code == 0, done.out


def test_outputs_and_states_by_name_in_json(tmp_path, rnncheck_command, recorded):
    head, every = recorded[2].outputs
    outputs = as_json(tmp_path / "y.json", {"head": head.tolist(), "every": every.tolist()})
    states = as_json(tmp_path / "h.json", {name: h.tolist() for name, h in recorded[2].states.items()})

    done = compared(rnncheck_command, recorded, outputs, states)

    assert done.code == 0, done.out
    assert "gru h" in done.out
    assert "rnn h" in done.out


def test_states_of_some_layers(tmp_path, rnncheck_command, recorded):
    outputs = as_npz(tmp_path / "y.npz", *recorded[2].outputs)

    done = compared(rnncheck_command, recorded, outputs, as_npz(tmp_path / "h.npz", gru=recorded[2].states["gru"]))

    assert done.code == 0, done.out
    assert "gru h" in done.out
    assert "rnn h" not in done.out


@pytest.mark.parametrize("dtype", ["float64", "float32", ">f4"])
def test_any_floating_dtype(tmp_path, rnncheck_command, recorded, dtype):
    outputs = [output.astype(dtype) for output in recorded[2].outputs]

    assert compared(rnncheck_command, recorded, as_npz(tmp_path / "y.npz", *outputs)).code == 0


def test_nan_in_an_output_is_a_mismatch_at_its_place(tmp_path, rnncheck_command, recorded):
    head, every = (np.array(output) for output in recorded[2].outputs)
    every[1, 3, 2] = np.nan
    outputs = as_json(
        tmp_path / "y.json",
        {
            "head": head.tolist(),
            "every": [[[("NaN" if math.isnan(v) else v) for v in row] for row in n] for n in every.tolist()],
        },
    )

    done = compared(rnncheck_command, recorded, outputs)

    assert done.code == 1
    assert "first wrong at sample 1, step 3, unit 2 of layer 'every': expected " in done.out
    assert "\n          got NaN or infinity; expected a finite number\n" in done.out


def test_nan_in_an_output_alone_is_described():
    _, network = open_network(MODEL)
    (recording,) = emulate(network, [(np.load(INPUTS),)])
    output = recording.outputs[0].copy()
    output[3] = np.nan

    report = rnncheck.compare(network, recording.inputs, output, states=recording.states)

    assert report.entries[0].diagnosis.shape == (
        "layer 'next_value': NaN or infinity on one side only; only sample 3 of 8"
    )


def test_numbers_that_are_rightly_infinite_are_not_blamed():
    model = keras.Sequential(
        [keras.Input((5, 1)), layers.SimpleRNN(3, activation="exponential", return_sequences=True, name="rnn")]
    )
    model.layers[0].set_weights([np.ones((1, 3)), np.zeros((3, 3)), np.zeros(3)])
    network = rnncheck.extract(model)
    x = np.zeros((4, 5, 1))
    x[0, 4] = np.inf
    h = np.ones((4, 5, 3))
    h[0, 4] = np.inf
    h[2, 1, 1] += 1e-3
    calls = observe(network, [Recording((x,), (h,), {"rnn": h})])

    (found,) = differences(network.layers[0], calls)

    assert np.argwhere(found.value).tolist() == [[2, 1, 1]]
    assert describe(network, [calls[0].recording], step_rows(network, calls)).endswith(
        "wrong at step t=1 alone; only sample 2 of 4; only unit 1 of 3"
    )


def test_single_weight_of_a_unit_is_tried_and_found_not_to_explain():
    model = keras.Sequential([keras.Input((2,)), layers.Dense(1, use_bias=False, name="dense")])
    network = rnncheck.extract(model)
    x = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
    (y,) = rnncheck.replay(network, x).outputs
    y[3] += 0.1

    report = rnncheck.compare(network, x, y.astype(np.float32))

    assert report.verdict == "mismatch"
    assert "layer 'dense': only sample 3 of 6; no known mistake explains it" in str(report).splitlines()[0]


@pytest.mark.parametrize(("policy", "name"), [("mixed_bfloat16", 257), ("mixed_float16", 2049), ("float16", 69_999)])
def test_ids_are_not_rounded_to_the_format_of_their_embedding(policy, name):
    model = keras.Sequential(
        [
            keras.Input((3,), dtype="float32"),
            layers.Embedding(70_000, 2, dtype=policy, name="table"),
            layers.SimpleRNN(2, dtype=policy),
        ]
    )

    assert rnncheck.verify(model, np.full((2, 3), float(name))).verdict == "match"


def test_nan_in_a_last_state_comes_before_what_follows_from_it():
    _, network = open_network(MODEL)
    (recording,) = emulate(network, [(np.load(INPUTS),)])
    h = recording.states["lstm"].copy()
    h[0, -1, 4] = np.nan

    report = rnncheck.compare(network, recording.inputs, recording.outputs, states={"lstm": h})

    failures = [(row.layer, row.first, row.verdict) for _, row in report.failures()]
    assert failures == [
        ("lstm", {"n": 0, "t": 23, "unit": 4}, "mismatch"),
        ("next_value", {"n": 0, "unit": 0}, "error"),
    ]


@pytest.mark.parametrize("option", ["--json", "--csv"])
def test_report_is_written_over_nothing_that_is_read(tmp_path, rnncheck_command, option):
    model, x = tmp_path / "sine.keras", tmp_path / "x.npy"
    model.write_bytes(MODEL.read_bytes())
    x.write_bytes(INPUTS.read_bytes())
    y, states = run_port(tmp_path)

    for path in (model, x, y, states):
        before = path.read_bytes()
        words = ("--inputs", x, "--outputs", y, "--states", states, option, path)
        done = rnncheck_command("compare", model, *words)

        assert (done.code, done.out) == (2, "")
        assert f"{path.name}: got a file that is read; expected another one for the report." in done.err
        assert path.read_bytes() == before


BAD_OUTPUTS = {
    "one": (
        lambda p, r: as_json(p / "y.json", r.outputs[0].tolist()),
        "y.json: got one array; expected an object with an array for each output: 'head', 'every'.",
    ),
    "unknown_name": (
        lambda p, r: as_npz(p / "y.npz", head=r.outputs[0], other=r.outputs[1]),
        "outputs: got arrays named 'head', 'other'; expected 'head', 'every'.",
    ),
    "three": (
        lambda p, r: as_npz(p / "y.npz", *r.outputs, r.outputs[0]),
        "outputs: got 3 arrays; expected 2: 'head', 'every'.",
    ),
    "shape": (
        lambda p, r: as_npz(p / "y.npz", r.outputs[0], r.outputs[1][:, :5]),
        "output 'every': got shape (2, 5, 3); expected (2, 6, 3).",
    ),
    "samples": (
        lambda p, r: as_npz(p / "y.npz", r.outputs[0][:1], r.outputs[1]),
        "output 'head': got shape (1, 2); expected (2, 2).",
    ),
    "csv": (
        lambda p, r: (p / "y.csv").write_text("1,2\n") and p / "y.csv",
        "y.csv: got a .csv file, which holds one array, for 2 outputs; expected .npz or .json, with an array ",
    ),
    "complex": (
        lambda p, r: as_npz(p / "y.npz", r.outputs[0] * 1j, r.outputs[1]),
        "output 'head': got dtype complex64; expected real numbers.",
    ),
    "ragged": (
        lambda p, r: as_json(p / "y.json", {"head": [[1, 2], [3]], "every": r.outputs[1].tolist()}),
        "y.json: 'head': got lists of different lengths; expected lists of one shape.",
    ),
    "text": (
        lambda p, r: as_json(p / "y.json", {"head": [[1, "two"]], "every": []}),
        "y.json: 'head': got \"two\"; expected nested lists of numbers.",
    ),
    "null": (
        lambda p, r: as_json(p / "y.json", {"head": [[1, None]], "every": []}),
        "y.json: 'head': got null; expected nested lists of numbers.",
    ),
    "no_json": (
        lambda p, r: (p / "y.json").write_text('{"head": [1,\n2') and p / "y.json",
        "y.json: it cannot be read (Expecting ',' delimiter: line 2 column 2 (char 14)); expected a whole array. ",
    ),
}


@pytest.mark.parametrize("bad", BAD_OUTPUTS)
def test_outputs_that_do_not_fit_are_refused(tmp_path, rnncheck_command, recorded, bad):
    make, message = BAD_OUTPUTS[bad]

    done = compared(rnncheck_command, recorded, make(tmp_path, recorded[2]))

    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert len(done.err.splitlines()) == 1


BAD_STATES = {
    "unknown_layer": (
        lambda p, r: as_npz(p / "h.npz", lstm=r.states["gru"]),
        "states: got layer 'lstm'; expected one of the recurrent layers: 'gru', 'rnn'.",
    ),
    "steps": (
        lambda p, r: as_npz(p / "h.npz", gru=r.states["gru"][:, :4]),
        "states of 'gru': got shape (2, 4, 5); expected (2, 6, 5).",
    ),
    "nameless": (
        lambda p, r: as_npz(p / "h.npz", r.states["gru"]),
        "states: got 1 array without a name; expected names, those of the recurrent layers: 'gru', 'rnn'.",
    ),
    "pickled": (
        lambda p, r: as_npz(p / "h.npz", gru=np.array([{}], object)),
        "got Python objects, which are never unpickled",
    ),
    "missing": (lambda p, r: p / "none.npz", "none.npz: there is no such file; expected .npy, .npz, .csv or .json"),
}


@pytest.mark.parametrize("bad", BAD_STATES)
def test_states_that_do_not_fit_are_refused(tmp_path, rnncheck_command, recorded, bad):
    make, message = BAD_STATES[bad]
    outputs = as_npz(tmp_path / "y.npz", *recorded[2].outputs)

    done = compared(rnncheck_command, recorded, outputs, make(tmp_path, recorded[2]))

    assert (done.code, done.out) == (2, "")
    assert message in done.err


NEXT_VALUE = "for output 'next_value', which has shape (8, 1)"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1\n2,3\n", "got 2 numbers on line 2; expected 1"),
        ("1\ntwo\n", "got 'two' on line 2; expected a number. Write decimal points"),
        (".1,.2\n" * 8, f"got 2 numbers on each line; expected 1 {NEXT_VALUE}. Write as many on each line."),
        ("1,2\n" * 8, f"expected 1 {NEXT_VALUE}. Its numbers look as if they had decimal commas."),
        ("0,.1\n1,.2\n2,.3\n", f"expected 1 {NEXT_VALUE}. The first column looks like an index, or the time"),
        (".1,.2,.3,.4,.5,.6,.7,.8\n", f"expected 1 {NEXT_VALUE}. It looks transposed: write array.T."),
        (".5\n" * 7, "got shape (7, 1); expected (8, 1). Give one for each sample of the inputs."),
        ("0\n" + ".5\n" * 8, "It looks like a header: write the file without, as pandas does with header=False."),
    ],
    ids=["ragged", "text", "columns", "decimal-commas", "index", "transposed", "samples", "header"],
)
def test_csv_that_does_not_fit_is_refused(tmp_path, rnncheck_command, content, message):
    (tmp_path / "y.csv").write_text(content)

    done = rnncheck_command("compare", MODEL, "--inputs", INPUTS, "--outputs", tmp_path / "y.csv")

    assert done.code == 2
    assert message in done.err


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_the_only_array_has_its_own_name_or_none(tmp_path, rnncheck_command, suffix):
    """Another name is a mistake, such as the states of another layer."""
    _, network = open_network(MODEL)
    (recording,) = emulate(network, [(np.load(INPUTS),)])
    h, (y,) = recording.states["lstm"], recording.outputs

    def run(output, layer):
        files = [tmp_path / f"{name}{suffix}" for name in "yh"]
        for file, named in zip(files, ({output: y}, {layer: h}), strict=True):
            if suffix == ".npz":
                np.savez(file, **named)
            else:
                as_json(file, {name: array.tolist() for name, array in named.items()})
        return rnncheck_command("compare", MODEL, "--inputs", INPUTS, "--outputs", files[0], "--states", files[1])

    assert run("next_value", "lstm").code == run("arr_0", "arr_0").code == 0
    assert "outputs: got arrays named 'y'; expected 'next_value'." in run("y", "lstm").err
    assert "states: got layer 'gru'; expected one of the recurrent layers: 'lstm'." in run("next_value", "gru").err


def test_csv_of_an_open_number_of_steps_is_said_to_be_one_sample(tmp_path, rnncheck_command):
    model = keras.Sequential([keras.Input((None, 3), name="x"), layers.GRU(4, return_sequences=True, name="gru")])
    model.save(tmp_path / "open.keras")
    x = np.random.default_rng(0).normal(size=(3, 6, 3)).astype(np.float32)
    (recording,) = emulate(rnncheck.extract(model), [(x,)])
    for name, array in (("x", x), ("y", recording.outputs[0])):
        np.savetxt(tmp_path / f"{name}.csv", array.reshape(-1, array.shape[-1]), delimiter=",", fmt="%.9g")
        np.save(tmp_path / f"{name}.npy", array)
    note = "x.csv: its lines were read as the steps of one sample, for the model leaves their number open"

    def run(inputs, outputs):
        words = ["--inputs", tmp_path / inputs, "--outputs", tmp_path / outputs]
        return rnncheck_command("compare", tmp_path / "open.keras", *words)

    assert run("x.npy", "y.npy").code == run("x.npy", "y.csv").code == 0
    as_one = run("x.csv", "y.csv")
    assert as_one.code == 1
    assert note in as_one.out.replace("\n", " ")
    refused = run("x.csv", "y.npy")
    assert refused.code == 2
    assert (
        f"y.npy: output 'gru': got shape (3, 6, 4); expected (1, 18, 4). Give all of it, samples first. {note}"
        in refused.err
    )


def test_states_of_a_model_without_recurrent_layers_are_refused(tmp_path, rnncheck_command):
    keras.Sequential([keras.Input((3,)), layers.Dense(2, name="dense")]).save(tmp_path / "dense.keras")
    np.save(tmp_path / "x.npy", np.ones((2, 3)))
    words = ["--inputs", tmp_path / "x.npy", "--outputs", tmp_path / "x.npy", "--states", tmp_path / "x.npy"]
    _, network = open_network(tmp_path / "dense.keras")
    np.save(tmp_path / "y.npy", rnncheck.replay(network, np.ones((2, 3))).outputs[0])
    words[3] = tmp_path / "y.npy"

    done = rnncheck_command("compare", tmp_path / "dense.keras", *words)

    assert done.code == 2
    assert "x.npy: states: got states of a model without a recurrent layer; expected none." in done.err


SHAPES = {
    "time-first": (lambda h: h.swapaxes(0, 1), "(24, 8, 16)", "It looks time first: give array.transpose(1, 0, 2)."),
    "one-more": (
        lambda h: np.pad(h, ((0, 0), (1, 0), (0, 0))),
        "(8, 25, 16)",
        "It has one step more than the model ",
    ),
    "one-short": (lambda h: h[:, 1:], "(8, 23, 16)", "It is one step short: give every step, the last one too."),
    "flat": (lambda h: h.reshape(-1, 16), "(192, 16)", "It has as many numbers: give array.reshape(8, 24, 16), if "),
    "transposed": (
        lambda h: h.T,
        "(16, 24, 8)",
        "It looks as if its axes were in another order: give array.transpose",
    ),
}


@pytest.mark.parametrize("mistake", SHAPES)
def test_states_of_another_shape_are_refused_with_what_they_look_like(tmp_path, rnncheck_command, mistake):
    change, shape, todo = SHAPES[mistake]
    np.save(tmp_path / "h.npy", change(np.loadtxt("rnncheck/demo/states.csv", delimiter=",").reshape(8, 24, 16)))
    words = ["--inputs", INPUTS, "--outputs", "rnncheck/demo/outputs.csv", "--states", tmp_path / "h.npy"]

    done = rnncheck_command("compare", MODEL, *words)

    assert (done.code, done.out) == (2, "")
    assert f"h.npy: states of 'lstm': got shape {shape}; expected (8, 24, 16). {todo}" in done.err


@pytest.mark.parametrize("suffix", [".csv", ".bin"])
@pytest.mark.parametrize("mistake", ["one-more", "one-short"])
def test_steps_too_many_or_too_few_are_seen_in_flat_files(tmp_path, rnncheck_command, mistake, suffix):
    change, shape, todo = SHAPES[mistake]
    h = change(np.loadtxt("rnncheck/demo/states.csv", delimiter=",").reshape(8, 24, 16)).reshape(-1, 16)
    h.tofile(tmp_path / "h.bin")
    np.savetxt(tmp_path / "h.csv", h, delimiter=",")
    words = ["--inputs", INPUTS, "--outputs", "rnncheck/demo/outputs.csv", "--states", tmp_path / f"h{suffix}"]

    done = rnncheck_command("compare", MODEL, *words, *(["--dtype", "float64"] if suffix == ".bin" else []))

    assert f"states of 'lstm': got shape {shape}; expected (8, 24, 16). {todo}" in done.err


def test_raw_binary_is_compared(tmp_path, rnncheck_command):
    np.load(INPUTS).astype(">f4").tofile(tmp_path / "x.bin")
    for name in ("outputs", "states"):
        np.loadtxt(f"rnncheck/demo/{name}.csv", delimiter=",").astype(">f4").tofile(tmp_path / f"{name}.raw")
    words = ["compare", MODEL, "--inputs", tmp_path / "x.bin", "--outputs", tmp_path / "outputs.raw"]
    words += ["--states", tmp_path / "states.raw"]

    done = rnncheck_command(*words, "--dtype", ">f4")

    assert done.code == 0, done.out
    assert "all 3,088 numbers agree" in done.out
    without = rnncheck_command(*words)
    assert (without.code, without.out) == (2, "")
    assert "x.bin: got a .bin file; expected .npy, .npz, .csv or .json. Name it .csv if it is text; " in without.err


def test_dtype_without_raw_binary_is_refused(rnncheck_command):
    words = ["--inputs", INPUTS, "--outputs", "rnncheck/demo/outputs.csv", "--dtype", "float32"]

    done = rnncheck_command("compare", MODEL, *words)

    assert (done.code, done.out) == (2, "")
    expected = "got it with files that say what they hold; expected raw binary among them. Leave it out."
    assert done.err == f"rnncheck: --dtype: {expected}\n"


@pytest.mark.parametrize("option", ["--json", "--csv"])
def test_names_that_are_not_utf8_are_reported_escaped(tmp_path, rnncheck_command, option):
    model, outputs = (tmp_path / os.fsdecode(name) for name in (b"m\xff.keras", b"y\xff.csv"))
    shutil.copy(MODEL, model)
    np.savetxt(outputs, np.loadtxt("rnncheck/demo/outputs.csv"), fmt="%.6g")

    done = rnncheck_command("compare", model, "--inputs", INPUTS, "--outputs", outputs, option, tmp_path / "report")

    assert done.code == 0, done.err
    text = (tmp_path / "report").read_text(encoding="utf-8")
    if option == "--csv":
        assert "m\\udcff.keras" in text
    else:
        (case,) = json.loads(text)["cases"]
        assert case["model"] == "m\\udcff.keras"
        assert case["notes"][0].startswith("y\\udcff.csv has 6 significant digits")


def test_unknown_precision_is_refused(tmp_path, rnncheck_command, recorded):
    folder, model, recording = recorded
    outputs = as_npz(tmp_path / "y.npz", *recording.outputs)

    done = rnncheck_command(
        "compare", model, "--inputs", folder / "x.npy", "--outputs", outputs, "--precision", "float8"
    )

    assert done.code == 2
    assert done.err == f"rnncheck: precision: got 'float8'; expected one of {', '.join(FORMATS)}.\n"


def test_command_loads_no_framework(tmp_path):
    np.save(tmp_path / "y.npy", np.zeros((8, 1), np.float32))
    program = (
        "import sys; from rnncheck.cli import main\n"
        f"sys.argv = ['rnncheck', 'compare', {str(MODEL)!r}, '--inputs', {str(INPUTS)!r}, "
        f"'--outputs', {str(tmp_path / 'y.npy')!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 1\n"
        "assert not {'keras', 'tensorflow', 'jax', 'torch'} & set(sys.modules)"
    )

    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


# --- verdicts without states ---


def chaotic(n=2, t_steps=60, m=24):
    keras.utils.set_random_seed(11)
    layer = layers.SimpleRNN(m, name="rnn", recurrent_initializer=keras.initializers.Orthogonal(3.0))
    model = keras.Sequential([keras.Input((t_steps, 3), name="x"), layer])
    x = np.random.default_rng(5).normal(size=(n, t_steps, 3)).astype(np.float32)
    return rnncheck.extract(model), x


def test_chaotic_run_without_states_is_undecidable_and_says_what_to_record():
    network, x = chaotic()
    (recording,) = emulate(network, [(x,)])

    report = rnncheck.compare(network, x, recording.outputs[0])

    assert report.verdict is Verdict.UNDECIDABLE
    (note,) = report.entries[0].notes
    assert note.startswith("record the state h of 'rnn' after every step, (N, T, M), and give it as states")
    assert rnncheck.compare(network, x, recording.outputs[0], states=recording.states).verdict is Verdict.MATCH


# --- states that are not all that steps start from ---


def lower_and_upper():
    """Two LSTMs on top of each other, and what a program recorded of them."""
    model = keras.Sequential(
        [
            keras.Input((6, 3), name="x"),
            layers.LSTM(5, return_sequences=True, bias_initializer="normal", name="lower"),
            layers.LSTM(4, bias_initializer="normal", name="upper"),
        ]
    )
    network = rnncheck.extract(model)
    (recording,) = emulate(network, [(np.random.default_rng(2).normal(size=(3, 6, 3)).astype(np.float32),)])
    return network, recording


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("change", "verdict", "first"),
    [
        pytest.param(0.0, "match", None, id="right"),
        pytest.param(1e-3, "mismatch", {"n": 1, "t": 2, "unit": 3}, id="wrong"),
        pytest.param(np.nan, "mismatch", {"n": 1, "t": 2, "unit": 3}, id="nan"),
    ],
)
def test_states_of_a_layer_whose_input_nobody_saw_are_held_against_the_whole_run(change, verdict, first):
    network, recording = lower_and_upper()
    states = recording.states["upper"].copy()
    states[1, 2, 3] += np.float32(change)

    report = rnncheck.compare(network, recording.inputs, recording.outputs, states={"upper": states})

    row = report.rows[0]
    assert (row.layer, row.output, row.check) == ("upper", "h", "end_to_end")
    assert (report.verdict, row.verdict, row.first) == (verdict, verdict, first)
    assert any("layer 'upper': its states were recorded, but not all" in note for note in report.entries[0].notes)


def test_states_of_all_layers_are_checked_step_by_step():
    network, recording = lower_and_upper()

    report = rnncheck.compare(network, recording.inputs, recording.outputs, states=recording.states)

    assert [(row.layer, row.check) for row in report.rows[:2]] == [("lower", "step"), ("upper", "step")]
    assert report.entries[0].notes == ()


def test_states_that_are_there_are_not_asked_for_again():
    network, _ = lower_and_upper()
    (recording,) = emulate(network, [(np.full((3, 6, 3), 1e-30, np.float32),)])
    assert worth_recording(network, replace(recording, states={})) == ["lower", "upper"]
    assert worth_recording(network, replace(recording, states={"upper": recording.states["upper"]})) == ["lower"]
    assert worth_recording(network, recording) == []


def test_wrong_states_of_a_layer_whose_input_nobody_saw_are_described():
    network, recording = lower_and_upper()
    states = recording.states["upper"].copy()
    states[1, 2:, 3] += np.float32(1e-3)

    report = rnncheck.compare(network, recording.inputs, recording.outputs, states={"upper": states})

    assert report.entries[0].diagnosis.shape == (
        "layer 'upper': its states differ from n=1 t=2 unit=3 on; what its steps start from was not recorded, so "
        "an earlier layer may be to blame"
    )


def test_states_that_would_not_help_are_not_asked_for():
    """Of a layer behind a Dense: what it reads is no state."""
    model = keras.Sequential(
        [
            keras.Input((60, 3), name="x"),
            layers.Dense(4),
            layers.SimpleRNN(24, recurrent_initializer=keras.initializers.Orthogonal(gain=3.0)),
        ]
    )
    network = rnncheck.extract(model)
    (recording,) = emulate(network, [(np.random.default_rng(0).normal(size=(2, 60, 3)).astype(np.float32),)])

    report = rnncheck.compare(network, recording.inputs, recording.outputs)

    assert report.verdict == "undecidable"
    assert not any("record the state" in note for note in report.entries[0].notes)


# --- numbers that a format does not hold ---


@pytest.mark.parametrize(("wrong", "verdict"), [(None, "match"), (3.0, "undecidable"), (-np.inf, "undecidable")])
@pytest.mark.parametrize("tolerance", [{}, {"rtol": 1e-3, "atol": 1e-3}], ids=["noise", "tolerance"])
def test_number_where_the_equations_overflow_is_matched_by_infinity_alone(wrong, verdict, tolerance):
    """exp(100) exceeds float32, but not float64; exp(800) exceeds both."""
    model = keras.Sequential([keras.Input((1,)), layers.Dense(2, activation="exponential", name="dense")])
    model.layers[0].set_weights([np.array([[100.0, 800.0]]), np.zeros(2)])
    network = rnncheck.extract(model)
    output = np.full((3, 2), np.inf, np.float32)
    if wrong is not None:
        output[1, 1] = wrong

    report = rnncheck.compare(network, np.ones((3, 1)), output, **tolerance)

    judged = [row.verdict for row in report.rows if row.check != "tolerance"]
    assert set(judged) == {verdict}
    if tolerance:
        assert (report.rows[-1].verdict == "match") == (wrong is None)


def test_numbers_just_beyond_the_largest_are_rounded_to_it():
    network, recording = lower_and_upper()
    inputs = recording.inputs[0].astype(float)
    inputs[0, 0, 0] = 3.40282347e38  # FLT_MAX as C writes it

    assert rnncheck.compare(network, inputs, recording.outputs).exit_code != 2


@pytest.mark.parametrize(
    ("large", "precision", "message"),
    [
        pytest.param(101325.0, "float16", "got 101325 at [0, 3, 0], which is infinite in float16", id="float16"),
        pytest.param(-1e39, None, "got -1e+39 at [0, 3, 0], which is infinite in float32", id="own"),
        pytest.param(np.longdouble("1e400"), None, "got numbers beyond float64", id="longdouble"),
    ],
)
def test_input_that_is_infinite_in_the_format_is_refused(large, precision, message):
    network, recording = lower_and_upper()
    inputs = recording.inputs[0].astype(type(large) if isinstance(large, np.longdouble) else float)
    inputs[0, 3, 0] = large

    with pytest.raises(InputError, match=re.escape(message)):
        rnncheck.compare(network, inputs, recording.outputs, precision=precision)


def test_stateful_model_is_taken_to_start_from_zero_states():
    keras.utils.set_random_seed(12)
    layer = layers.LSTM(4, stateful=True, name="lstm")
    model = keras.Sequential([keras.Input(batch_shape=(2, 5, 3), name="x"), layer])
    network = rnncheck.extract(model)
    x = np.random.default_rng(6).normal(size=(2, 5, 3)).astype(np.float32)
    (recording,) = emulate(network, [(x,)])

    report = rnncheck.compare(network, x, recording.outputs[0], states=recording.states)

    assert report.verdict is Verdict.MATCH
    assert report.entries[0].notes[0].startswith("the model is stateful: the first call that was recorded is taken")


def a_stateful_run(calls=2):
    keras.utils.set_random_seed(12)
    recurrent = [layers.GRU(4, stateful=True, return_sequences=True, name="gru"), layers.LSTM(4, stateful=True)]
    model = keras.Sequential([keras.Input(batch_shape=(2, 5, 3), name="x"), *recurrent, layers.Dense(3)])
    rng = np.random.default_rng(6)
    return model, rnncheck.extract(model), [(rng.normal(size=(2, 5, 3)).astype(np.float32),) for _ in range(calls)]


@pytest.mark.few(1)
@pytest.mark.parametrize("states", [True, False], ids=["states", "outputs"])
def test_calls_in_a_row_show_what_a_stateful_model_keeps(states):
    _, network, calls = a_stateful_run(3)
    first, *others = emulate(network, calls)
    forgetful = emulate(in_format(replaced_stateful(network), "float32"), calls)

    def compared_with(others):
        return rnncheck.compare(
            network,
            first.inputs,
            first.outputs,
            states=first.states if states else None,
            further=[(each.inputs, each.outputs, each.states if states else None) for each in others],
        )

    assert compared_with(others).verdict is Verdict.MATCH
    wrong = compared_with(forgetful[1:])
    assert wrong.verdict is Verdict.MISMATCH
    found = wrong.entries[0].diagnosis.explanations[0]
    assert set(found.faults) == {"state_lost_between_calls"}
    assert len(found.layers) == 2


def replaced_stateful(network):
    return replace(
        network,
        layers=tuple(
            with_options(each, stateful=False) if "stateful" in each.options else each for each in network.layers
        ),
    )


def test_command_takes_calls_in_a_row(rnncheck_command, tmp_path):
    model, network, calls = a_stateful_run()
    model.save(tmp_path / "model.keras")
    words = []
    for number, recording in enumerate(emulate(network, calls)):
        for name, array in (("inputs", recording.inputs[0]), ("outputs", recording.outputs[0])):
            np.save(tmp_path / f"{name}_{number}.npy", array)
            words += [f"--{name}", tmp_path / f"{name}_{number}.npy"]

    done = rnncheck_command("compare", tmp_path / "model.keras", *words)
    refused = rnncheck_command("compare", tmp_path / "model.keras", *words[:-2])

    assert done.code == 0, done.out
    assert "2x2x3" in done.out
    assert refused.code == 2
    assert "--outputs: got 1 of them with 2 of --inputs; expected one for each call." in refused.err


@pytest.mark.parametrize("call", [1, "abcd", (1,), (1, 2, 3, 4)])
def test_further_call_that_is_none_is_refused(call):
    network, recording = lower_and_upper()

    with pytest.raises(InputError, match="further: got something else"):
        rnncheck.compare(network, recording.inputs, recording.outputs, further=[call])


# --- the precision that a program computes in ---


_BIASED = {"bias_initializer": "normal"}
_LSTM = {**_BIASED, "unit_forget_bias": False}
CELLS = {
    "simple_rnn": ((5,), [lambda: layers.SimpleRNN(16, **_BIASED)]),
    "lstm": ((5,), [lambda: layers.LSTM(16, **_LSTM)]),
    "gru": ((5,), [lambda: layers.GRU(16, **_BIASED)]),
    "reset_before": ((5,), [lambda: layers.GRU(16, **_BIASED, reset_after=False)]),
    "stacked": ((5,), [lambda: layers.RNN([layers.LSTMCell(16, **_LSTM), layers.GRUCell(16, **_BIASED)])]),
    "bidirectional": ((5,), [lambda: layers.Bidirectional(layers.LSTM(16, **_LSTM))]),
    "conv_lstm_1d": ((6, 3), [lambda: layers.ConvLSTM1D(4, 3, **_LSTM), layers.Flatten]),
    "conv_lstm_2d": ((5, 4, 2), [lambda: layers.ConvLSTM2D(3, 2, **_LSTM), layers.Flatten]),
    "conv_lstm_3d": ((4, 3, 3, 2), [lambda: layers.ConvLSTM3D(3, 2, **_LSTM), layers.Flatten]),
}


# Every format is tried on the quick ones; on the others one format in make test, all in make test-long.
QUICK_CELLS = ("simple_rnn",)


@pytest.fixture(scope="module")
def cell(request):
    keras.utils.set_random_seed(21)
    features, below = CELLS[request.param]
    head = layers.Dense(8, name="head", bias_initializer="normal")
    model = keras.Sequential([keras.Input((12, *features), name="x"), *(layer() for layer in below), head])
    x = np.random.default_rng(22).normal(size=(16, 12, *features)).astype(np.float32)
    return rnncheck.extract(model), x


def in_tf32(network):
    """The network whose products, Dense's too, have both factors rounded to 11 digits: what TF32 hardware does."""
    return rounding_factors(network, 11)


def rounding_factors(network, digits):
    narrow = [with_kept_factors(layer, digits) for layer in network.layers]
    return replace(network, layers=tuple(narrow))


RUNS = {
    "float64": lambda network: in_format(network, "float64"),
    "float32": lambda network: network,
    "tf32": in_tf32,
    "bfloat16_products": lambda network: rounding_factors(network, 8),
    "int8": lambda network: in_format(network, "int8"),
    "float16": lambda network: in_format(network, "float16"),
    "bfloat16": lambda network: in_format(network, "bfloat16"),
}


def cells_and_runs(*, states):
    """Every cell in every format; of the slow ones, make test has one in which states are recorded."""
    return [
        pytest.param(
            cell, name, marks=[] if cell in QUICK_CELLS or (states and name == "tf32") else [pytest.mark.long]
        )
        for cell in CELLS
        for name in RUNS
    ]


@pytest.mark.few(4)
@pytest.mark.parametrize(("cell", "name"), cells_and_runs(states=True), indirect=["cell"])
def test_precision_is_recognised_with_states(cell, name):
    recognise_precision(cell, name, with_states=True)


@pytest.mark.few(2)
@pytest.mark.parametrize(("cell", "name"), cells_and_runs(states=False), indirect=["cell"])
def test_precision_is_recognised_by_outputs_alone(cell, name):
    recognise_precision(cell, name, with_states=False)


def recognise_precision(cell, name, *, with_states):
    network, x = cell
    (recording,) = emulate(RUNS[name](network), [(x,)])
    states = recording.states if with_states else {}

    report = rnncheck.compare(network, x, recording.outputs[0], states=states)

    found = report.entries[0].precision
    assert found is not None
    if name in {"tf32", "bfloat16_products"} and not with_states:
        # Where factors lie near ties, outputs alone do not tell these from anything else of that size.
        assert found.consistent_with in {None, name}
    elif found.consistent_with is None and not with_states:  # then the noise of that format hides the output
        stated = rnncheck.compare(network, x, recording.outputs[0], precision=name)
        assert stated.verdict is Verdict.UNDECIDABLE
        assert name == "bfloat16"
    else:
        assert (found.stated, found.consistent_with) == ("float32", name)
    assert report.verdict is (Verdict.MATCH if name in {"float64", "float32"} else Verdict.MISMATCH)


@pytest.mark.parametrize(("cell", "name"), cells_and_runs(states=True), indirect=["cell"])
def test_run_in_the_stated_precision_matches(cell, name):
    network, x = cell
    (recording,) = emulate(RUNS[name](network), [(x,)])

    report = rnncheck.compare(network, x, recording.outputs[0], states=recording.states, precision=name)

    assert report.verdict is Verdict.MATCH, report


@pytest.mark.parametrize("cell", ["simple_rnn"], indirect=True)
def test_report_says_in_words_what_the_differences_look_like(cell):
    network, x = cell
    (recording,) = emulate(in_tf32(network), [(x,)])

    report = rnncheck.compare(network, x, recording.outputs[0], states=recording.states)

    assert "precision: consistent with TF32 products; float32 was expected" in str(report)


@pytest.mark.few(3)
@pytest.mark.parametrize("stated", ["bfloat16", "float16", "int8"])
@pytest.mark.parametrize("cell", ["simple_rnn", "gru"], indirect=True)
def test_run_in_a_finer_format_than_stated_is_told(cell, stated):
    network, x = cell
    (recording,) = emulate(network, [(x,)])

    report = rnncheck.compare(network, x, recording.outputs[0], states=recording.states, precision=stated)

    found = report.entries[0].precision
    assert (found.stated, found.consistent_with) == (stated, "float32")


@pytest.mark.parametrize("cell", ["simple_rnn"], indirect=True)
def test_precision_from_python_is_refused_when_unknown(cell):
    network, x = cell

    with pytest.raises(InputError, match="precision: got 'single'"):
        rnncheck.compare(network, x, np.zeros((16, 8)), precision="single")


def test_states_of_a_layer_inside_time_distributed_have_a_row_for_each_of_its_steps():
    inner = keras.layers.LSTM(3, return_sequences=True, name="inner")
    model = keras.Sequential([keras.Input((2, 4, 3)), keras.layers.TimeDistributed(inner, name="outer")])
    network = rnncheck.extract(model)
    x = np.random.default_rng(0).normal(size=(5, 2, 4, 3)).astype(np.float32)
    (recording,) = emulate(network, [(x,)])
    states = recording.states["outer/inner"]

    report = rnncheck.compare(network, x, recording.outputs, states={"outer/inner": states})

    assert states.shape == (10, 4, 3)
    assert report.verdict is Verdict.MATCH
    assert report.rows[0].layer == "outer/inner"
    with pytest.raises(InputError, match=r"got shape \(5, 4, 3\); expected \(10, 4, 3\)"):
        rnncheck.compare(network, x, recording.outputs, states={"outer/inner": states[:5]})
