"""`rnncheck walk --emit numpy`: every layer becomes NumPy that gives the equations' numbers."""

import runpy
import subprocess
import sys

import numpy as np
import pytest
from ml_dtypes import bfloat16
from reference import make_inputs, make_network
from test_layers import CASES, draw, drawn_weights, options_of

import rnncheck
from rnncheck.cases.case import Case
from rnncheck.cases.grid import default_grid
from rnncheck.equations.activations import ACTIVATIONS, KERAS2_ACTIVATIONS
from rnncheck.equations.cells import CELLS
from rnncheck.equations.layers import HELPERS, LAYERS
from rnncheck.equations.replay import replay
from rnncheck.errors import UnsupportedError
from rnncheck.frameworks.keras.session import quiet_framework
from rnncheck.jobs.job import case_job
from rnncheck.jobs.perform import perform
from rnncheck.network import Activation, InputSpec, Layer, Network, Tensor
from rnncheck.report import textbook
from rnncheck.report.files import as_npz
from rnncheck.report.program import STEPS, numpy_program, weights_by_name

# A case of the grid for each thing that a program has to do.
QUICK = (
    rnncheck.NOTEBOOK,
    Case(layer="lstm", mask="mixed", go_backwards=True, return_sequences=True, zero_output_for_mask=True),
    Case(layer="gru", reset_after=False, use_bias=False, stateful=True, mask="right", return_state=True),
    Case(layer="gru", wrapper="bidirectional", merge_mode="none", initial_state=True, return_state=True),
    Case(layer="lstm", wrapper="time_distributed", N=9, dtype="mixed_float16"),
    Case(layer="gru", mask="right", mask_from="embedding"),
    Case(layer="conv_lstm_2d", N=4, D=2, M=8, K=1, padding="same", strides=2, initial_state=True),
    Case(layer="stacked", front="conv2d", dtype="mixed_bfloat16", mask="mixed"),
)


def emitted(network, folder):
    """The program's own `model`."""
    (folder / "program.npz").write_bytes(as_npz(weights_by_name(network)))
    (folder / "program.py").write_text(numpy_program(network, "program"), encoding="utf-8")
    return runpy.run_path(str(folder / "program.py"))["model"]


def outputs_of(model, inputs, *states):
    outputs = model(*inputs, *states)
    return outputs if isinstance(outputs, tuple) else (outputs,)


def agrees(case, folder):
    """Hold a case's program against the equations and, with the judge's own verdict, beside Keras."""
    with quiet_framework():
        (run,) = perform(case_job(case))
    network, recordings = run.network, run.recordings
    states = ({},) if network.stateful else ()
    model = emitted(network, folder)
    inputs = [each.inputs for each in recordings]
    own = [outputs_of(model, each, *states) for each in inputs]

    def verdict(outputs):
        further = list(zip(inputs[1:], outputs[1:], strict=True))
        return rnncheck.compare(network, inputs[0], outputs[0], further=further).verdict

    if verdict(own) != "match":  # of some runs outputs alone tell too little, of Keras' as of ours
        assert verdict(own) == verdict([each.outputs for each in recordings]) == "undecidable"
    if case.recurrent_scale is None:  # not chaotic: rounding stays small
        kept = None
        for given, computed in zip(inputs, own, strict=True):
            replayed = replay(network, given, states=kept)
            kept = replayed.states
            for a, b in zip(computed, replayed.outputs, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.few(2)
@pytest.mark.parametrize("case", QUICK, ids=str)
def test_program_agrees_with_keras(case, tmp_path):
    agrees(case, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("case", default_grid(), ids=str)
def test_program_agrees_with_keras_for_every_case_of_the_grid(case, tmp_path):
    agrees(case, tmp_path)


def network_of(layer, arrays):
    names = [f"x{place}" for place in range(len(arrays))]
    specs = [InputSpec(name, array.shape[1:], array.dtype.name) for name, array in zip(names, arrays, strict=True)]
    return Network("alone", tuple(specs), (layer,), (Tensor("layer"),))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_layer_becomes_numpy_that_gives_its_numbers(case, rng, tmp_path):
    arrays = draw(case, rng)
    tensors = tuple(Tensor(f"x{place}") for place in range(len(arrays)))
    layer = Layer("layer", case.kind, tensors, options_of(case), drawn_weights(case, rng), dtype="float64")
    network = network_of(layer, arrays)

    (output,) = outputs_of(emitted(network, tmp_path), arrays)

    np.testing.assert_allclose(output, replay(network, arrays).outputs[0], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("mask", [False, True], ids=["plain", "masked"])
@pytest.mark.parametrize(
    "options",
    [
        {"kind": "SimpleRNN"},
        {"kind": "LSTM", "zero_output_for_mask": True},
        {"kind": "GRU", "reset_after": True, "go_backwards": True},
        {"kind": "GRU", "reset_after": True, "use_bias": False},
        {"kind": "GRU", "reset_after": False, "initial_state": True},
        {"kind": "GRU", "reset_after": False, "use_bias": False},
        {"kind": "ConvLSTM1D"},
    ],
    ids=lambda options: " ".join(map(str, options.values())),
)
def test_every_cell_becomes_numpy_that_gives_its_numbers(options, mask, dtype, tmp_path):
    network = make_network(T=6, D=3, M=4, K=None, dtype=dtype, mask=mask, return_sequences=True, **options)
    inputs = make_inputs(network, 3)

    (output,) = outputs_of(emitted(network, tmp_path), inputs)

    np.testing.assert_allclose(output, replay(network, inputs).outputs[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("function", "dtype"), [(textbook.float16, np.float16), (textbook.bfloat16, bfloat16)])
def test_program_rounds_to_half_formats_with_ties_to_even(function, dtype):
    with np.errstate(invalid="ignore"):  # NaN among them
        every = np.arange(2**16, dtype=np.uint16).view(dtype).astype(np.float64)
    below = np.sort(every[np.isfinite(every) & (np.abs(every) < 60_000.0)])
    numbers = np.concatenate([below, (below[:-1] + below[1:]) / 2])  # each between two neighbours is a tie
    numbers = numbers[numbers == numbers.astype(np.float32)]

    np.testing.assert_array_equal(function(numbers), numbers.astype(dtype).astype(np.float64))


HELPED = {
    "Reverse": ({}, ((6, 4),)),
    "Step": ({"index": -2}, ((6, 4),)),
    "Stack": ({"axis": 2}, ((6, 4),) * 2),
    "StepsBefore": ({}, ((), (6, 4))),
    "FoldTime": ({}, ((6, 4),)),
    "UnfoldTime": ({}, ((2,), (6, 4))),
    "ExpandDims": ({"axis": 1}, ((6, 4),)),
    "NotEqual": ({"value": 1.0}, ((6, 4),)),
    "Any": ({}, ((6, 4),)),
    "All": ({}, ((6, 4),)),
    "LogicalAnd": ({}, ((6, 4),) * 2),
    "LogicalOr": ({}, ((6, 4),) * 2),
    "ZerosLike": ({}, ((6, 4),)),
    "OnesLike": ({}, ((6, 4),)),
    "Moved": ({}, ((6, 4),)),
    "Cast": ({}, ((6, 4),)),
    "Constant": ({}, ()),
}


def test_every_kind_of_layer_is_tried():
    assert set(HELPED) | {case.kind for case in CASES.values()} == set(LAYERS)
    assert set(HELPED) >= HELPERS
    assert set(STEPS) == set(CELLS)


@pytest.mark.parametrize("kind", HELPED)
def test_helpers_become_numpy_too(kind, rng, tmp_path):
    options, shapes = HELPED[kind]
    arrays = [rng.integers(0, 2, (3, *shape)).astype(np.float64) for shape in shapes]
    if kind == "UnfoldTime":
        arrays[0] = rng.normal(size=(18, 2))
    weights = {"value": rng.normal(size=(1, 4))} if kind == "Constant" else {}
    tensors = tuple(Tensor(f"x{place}") for place in range(len(arrays)))
    network = network_of(Layer("layer", kind, tensors, options, weights, dtype="float64"), arrays)

    (output,) = outputs_of(emitted(network, tmp_path), arrays)

    np.testing.assert_array_equal(output, replay(network, arrays).outputs[0])


@pytest.mark.parametrize("ids", [[[-1, 2]], [[3, 2]]], ids=["below", "above"])
def test_id_that_the_table_lacks_is_an_error_of_the_program(ids, tmp_path):
    embedding = Layer("layer", "Embedding", (Tensor("x0"),), {}, {"embeddings": np.eye(3)}, dtype="float64")
    program = emitted(network_of(embedding, [np.array(ids)]), tmp_path)

    with pytest.raises(IndexError):
        outputs_of(program, [np.array(ids)])


PARAMETERS = {"threshold": {"threshold": 0.5, "default_value": -1.0}, "leaky_relu": {"negative_slope": 0.1}}


@pytest.mark.parametrize("name", [*ACTIVATIONS, *KERAS2_ACTIVATIONS])
def test_every_activation_becomes_numpy_that_gives_its_numbers(name, rng, tmp_path):
    x = np.concatenate([rng.normal(size=(6, 4)), [[-800.0, 800.0, 0.0, 1.0]]]) * np.float64(2.0)
    options = {"activation": Activation(name, PARAMETERS.get(name, {}))}
    network = network_of(Layer("layer", "Activation", (Tensor("x0"),), options, dtype="float64"), [x])

    with np.errstate(over="ignore", invalid="ignore"):
        (output,) = outputs_of(emitted(network, tmp_path), [x])

        np.testing.assert_allclose(output, replay(network, [x]).outputs[0], rtol=1e-11, atol=1e-13)


def test_program_runs_with_python_and_numpy_alone(tmp_path):
    network = rnncheck.extract("rnncheck/demo/sine.keras")
    emitted(network, tmp_path)
    # Nothing but NumPy can be imported from where packages are.
    (tmp_path / "numpy").symlink_to(np.__path__[0])
    (tmp_path / "numpy.libs").symlink_to(f"{np.__path__[0]}.libs")
    inputs = np.load("rnncheck/demo/inputs.npy")
    np.save(tmp_path / "inputs.npy", inputs)
    words = [sys.executable, "-S", "program.py", "inputs.npy", "outputs.npy"]

    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)

    expected = rnncheck.replay(network, inputs).outputs[0]
    np.testing.assert_allclose(np.load(tmp_path / "outputs.npy"), expected, rtol=1e-12)
    assert done.stdout.startswith("[[")
    assert not done.stderr


def test_program_of_several_inputs_and_outputs_takes_and_writes_npz(tmp_path):
    names, linear, kernel = ("class", "a'\"\n"), {"activation": Activation("linear")}, {"kernel": np.eye(2)}
    specs = tuple(InputSpec(name, (2,), "float32") for name in names)
    layers = tuple(Layer(f"{name} 1", "Dense", (Tensor(name),), linear, kernel) for name in names)
    network = Network("two", specs, layers, tuple(Tensor(layer.name) for layer in layers))
    emitted(network, tmp_path)
    (tmp_path / "inputs.npz").write_bytes(as_npz({name: np.full((1, 2), place) for place, name in enumerate(names)}))

    words = [sys.executable, "program.py", "inputs.npz", "outputs.npz"]
    subprocess.run(words, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)

    with np.load(tmp_path / "outputs.npz") as outputs:
        assert [outputs[name].tolist() for name in outputs] == [[[0.0, 0.0]], [[1.0, 1.0]]]


@pytest.mark.parametrize(
    "name", ["float32", "relu", "sigmoid", "over_time", "dense", "np", "model", "lambda", "1", "_"]
)
def test_names_of_layers_never_stand_for_functions(name, rng, tmp_path):
    rnn = {"units": 2, "return_sequences": False, "return_state": False, "go_backwards": False, "stateful": False}
    recurrent = Layer(
        "rnn", "SimpleRNN", (Tensor(name),), {**rnn, "activation": Activation("silu")},
        {"kernel": rng.normal(size=(3, 2)), "recurrent_kernel": rng.normal(size=(2, 2))},
    )  # fmt: skip
    options = {"activation": Activation("relu")}
    head = Layer(f"{name} ", "Dense", (Tensor("rnn"),), options, {"kernel": rng.normal(size=(2, 2))})
    network = Network("n", (InputSpec(name, (4, 3), "float32"),), (recurrent, head), (Tensor(head.name),))
    x = rng.normal(size=(2, 4, 3))

    (output,) = outputs_of(emitted(network, tmp_path), [x])

    np.testing.assert_allclose(output, replay(network, [x]).outputs[0], rtol=1e-6)


def test_usual_programs_are_short():
    for file in ("sine", "notebook"):
        program = numpy_program(rnncheck.extract(f"rnncheck/demo/{file}.keras"), file)

        assert program.count("\n") < 100
        assert max(map(len, program.splitlines())) <= 118


def test_what_has_no_equations_of_its_kind_is_refused_by_name():
    layer = Layer("own", "Unchecked", (), {"class": "Own"})

    with pytest.raises(UnsupportedError, match="layer 'own': got the kind Unchecked with equations that no program"):
        numpy_program(Network("n", (), (layer,), (Tensor("own"),)), "n")
