"""Numbers that are stored coarsely: printed with few digits, as float16, or on a grid."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rnncheck
from rnncheck import InputSpec, Network, Verdict
from rnncheck.cases.resolutions import stored_numbers
from rnncheck.faults.catalogue import FAULTS
from rnncheck.faults.catalogue.fault import injections
from rnncheck.faults.emulation import emulate
from rnncheck.frameworks.recorded import told_digits
from rnncheck.jobs.judge import judge_files
from rnncheck.network import Recording, Resolution
from tests.reference import make_inputs, make_network, make_recurrent

TEXTS = ("%g", "%f", "%.3g", "%.4f", "%.5e", "%.7g")


def printed(array, form):
    """What somebody reads from a text with an array's numbers."""
    return np.array([float(form % number) for number in array.flat]).reshape(array.shape)


def on_grid(array):
    return np.round(array * 1024.0) / 1024.0


def as_float16(array):
    return array.astype(np.float16).astype(np.float32)


STORED = {**{form: lambda array, form=form: printed(array, form) for form in TEXTS}, "1/1024": on_grid}
STORED["float16"] = as_float16


def numbers(shape=(50, 3), scale=(1.0, 10.0, 0.01)):
    return (np.random.default_rng(0).normal(size=shape) * np.array(scale)).astype(np.float32)


# --- recognised ---


@pytest.mark.parametrize(
    ("form", "described"),
    [
        ("%g", "6 significant digits"),
        ("%f", "6 decimals"),
        ("%.3g", "3 significant digits"),
        ("%.2f", "2 decimals"),
        ("%.5e", "6 significant digits"),
        ("%.8g", "8 significant digits"),
        ("1/1024", "multiples of 1/1024"),
        ("float16", "11 binary digits"),
    ],
)
def test_resolution_is_seen_in_the_numbers(form, described):
    array = STORED[form](numbers()) if form in STORED else printed(numbers(), form)

    stored, resolution = stored_numbers(array)

    assert stored is array
    assert str(resolution) == described


@pytest.mark.parametrize(
    ("few", "described"),
    [
        (300.0 * np.arange(1, 9) + 1 / 16, "multiples of 1/16"),  # eight different numbers, coarse as they are
        ([1.0 + 2**-10, 2.0 + 3 * 2**-10, 5 * 2**-10], "multiples of 1/1024"),  # three that are not
    ],
)
def test_few_numbers_on_a_grid_tell_by_how_many_or_how_fine_they_are(few, described):
    assert str(stored_numbers(np.array([few], np.float32))[1]) == described


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_digits_are_seen_behind_padding_and_beside_numbers_that_overflow(dtype):
    array = printed(numbers(), "%g").astype(dtype)
    padded = np.concatenate([np.zeros((40, 3), dtype), array, np.full((2, 3), np.finfo(dtype).max)])

    assert str(stored_numbers(padded[:-2])[1]) == "6 significant digits"
    assert stored_numbers(padded[40 + len(array) :])[1] is None


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_of_their_type_have_no_resolution_besides(dtype):
    array = np.random.default_rng(1).normal(size=(50, 3)).astype(dtype)

    for each in (array, array[:1, :1], np.maximum(array, 0.0), np.sign(array), np.zeros((3, 2)), array[:0]):
        assert stored_numbers(each) == (pytest.approx(each), None)


@pytest.mark.parametrize("few", [[0.5, 0.25, 1.0], [0.0, 1.0, 0.0], [3.0, -2.0, 7.0]])
def test_short_numbers_may_be_exact(few):
    assert stored_numbers(np.array([few]))[1] is None


@pytest.mark.parametrize("form", ["%.9g", "%.10g", "%.8e", "%r"])
def test_text_that_tells_float32_numbers_apart_becomes_them(form):
    array = numbers()
    text = np.array([float(str(x)) for x in array.flat]) if form == "%r" else printed(array, form)

    stored, resolution = stored_numbers(text.reshape(array.shape))

    if resolution is None:  # a few numbers may by chance be shorter than float32 needs
        assert stored.dtype == np.float32
        np.testing.assert_array_equal(stored, array)
    else:
        assert (form, resolution.base, resolution.digits) == ("%r", 10, 8)


def test_fewest_digits_of_several_columns_count():
    array = numbers()
    columns = [printed(array[:, k], form) for k, form in enumerate(["%.6g", "%.3g", "%.9g"])]

    assert str(stored_numbers(np.stack(columns, axis=1))[1]) == "3 significant digits"


def in_columns(array, forms):
    """An array of which the columns are printed in several forms, one after the other."""
    columns = np.moveaxis(array.astype(np.float64), -1, 0)
    return np.stack([printed(x, forms[k % len(forms)]) for k, x in enumerate(columns)], axis=-1)


@pytest.mark.parametrize(("rows", "forms"), [(2, ("%.6g", "%.9g")), (5, ("%.3g", "%.9g"))])
def test_fewest_digits_of_few_rows_count(rows, forms):
    array = np.random.default_rng(5).uniform(0.1, 0.9, (rows, 2)).astype(np.float32)

    assert str(stored_numbers(in_columns(array, forms))[1]).startswith(forms[0][2])


def test_column_of_smaller_numbers_has_as_many_decimals():
    array = in_columns(numbers(scale=(1.0, 1.0, 1e-4)), ("%.9f",))

    assert str(stored_numbers(array)[1]) == "9 decimals"


@pytest.mark.parametrize(("count", "described"), [(7, "None"), (8, "13 significant digits")])
def test_long_numbers_tell_of_digits_where_they_are_several(count, described):
    array = np.round(np.random.default_rng(0).uniform(0.1, 0.9, (count, 1)), 13)

    assert str(stored_numbers(array)[1]) == described


def test_column_of_two_numbers_may_have_a_decimal_less_by_chance():
    array = np.array([[12.345678, 0.00034], [98.765432, 0.00012], [0.5, 0.00034]])

    assert str(stored_numbers(array)[1]) == "6 decimals"


@pytest.mark.parametrize("form", ["%.9g", "%.17g"])
def test_column_of_one_number_may_be_exact(form):
    """A bias alone, or padding."""
    array = printed(numbers(), form)
    array[:, 1] = 0.37

    assert stored_numbers(array)[1] is None


def test_column_that_is_short_beside_full_ones_may_be_exact():
    """An input that is passed on."""
    array = np.random.default_rng(1).normal(size=(50, 3))
    array[:, 1] = np.round(array[:, 1], 2)

    assert stored_numbers(array)[1] is None


def test_column_of_float32_that_is_short_may_be_exact():
    array = numbers()
    array[:, 1] = np.round(array[:, 1], 2)

    assert stored_numbers(array)[1] is None


@settings(derandomize=True, deadline=None, database=None, max_examples=500)
@given(
    number=st.floats(1e-30, 1e30),
    resolution=st.sampled_from(
        [Resolution(10, 6, -400), Resolution(10, 15, -6), Resolution(2, 11, -24), Resolution(2, 53, -7)]
    ),
)
def test_half_a_unit_covers_what_storing_changes(number, resolution):
    if resolution.base == 10:
        stored = float(f"{number:.{-resolution.least}f}" if resolution.least > -400 else f"{number:.5e}")
    elif resolution.digits == 11:
        number = min(number, 60000.0)
        stored = float(np.float16(number))
    else:
        stored = round(number * 128.0) / 128.0

    half = float(resolution.half_unit(np.array(stored)))

    assert abs(stored - number) <= half * (1.0 + 1e-9) + 1e-15 * number


@pytest.mark.parametrize(
    ("resolution", "number", "half"),
    [
        (Resolution(10, 6, -400), 1.0, 5e-6),
        (Resolution(10, 6, -400), 0.999999, 5e-7),
        (Resolution(10, 6, -400), -1234.5, 5e-3),
        (Resolution(10, 15, -6), 123.4, 5e-7),
        (Resolution(2, 11, -24), 1.0, 2.0**-11),
        (Resolution(2, 53, -7), 5.0, 2.0**-8),
        (Resolution(10, 6, -400), 0.0, 0.0),
        (Resolution(10, 6, -400), math.inf, 0.0),
    ],
)
def test_half_a_unit_of_a_number(resolution, number, half):
    assert float(resolution.half_unit(np.array(number))) == pytest.approx(half, rel=1e-12)


# --- compared ---


def a_run(kind, wrong="", T=30):
    network = make_network(T=T, D=3, M=8, K=4, kind=kind)
    faulty = network
    if wrong:
        (faulty,) = (each.network for each in injections(network, FAULTS, {"rnn"}) if each.fault.name == wrong)
    (recording,) = emulate(faulty, [make_inputs(network, 5)])
    return network, recording


@pytest.mark.parametrize("states", [True, False], ids=["states", "outputs"])
@pytest.mark.parametrize("form", STORED)
@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM", "GRU"])
def test_correct_run_that_is_stored_coarsely_matches(kind, form, states):
    network, recording = a_run(kind)
    stored = STORED[form]
    given = {name: stored(h) for name, h in recording.states.items()} if states else None

    report = rnncheck.compare(network, recording.inputs, [stored(y) for y in recording.outputs], states=given)

    assert report.verdict is Verdict.MATCH
    assert report.entries[0].precision.consistent_with == "float32"
    notes = [note for note in report.entries[0].notes if "cannot be seen" in note]
    assert [note.partition(" ")[0] for note in notes] == (["outputs", "states"] if states else ["outputs"])


@pytest.mark.few(3)
@pytest.mark.parametrize("states", [True, False], ids=["states", "outputs"])
@pytest.mark.parametrize("form", ["%g", "%f", "%.5e", "float16"])
@pytest.mark.parametrize(("kind", "fault"), [("LSTM", "gate_order_iofc"), ("GRU", "gate_order_rzh")])
def test_wrong_run_that_is_stored_coarsely_is_caught_and_diagnosed(kind, fault, form, states):
    network, recording = a_run(kind, fault)
    stored = STORED[form]
    given = {name: stored(h) for name, h in recording.states.items()} if states else None

    report = rnncheck.compare(network, recording.inputs, [stored(y) for y in recording.outputs], states=given)

    assert report.verdict is Verdict.MISMATCH
    assert fault in {name for each in report.entries[0].diagnosis.explanations for name in each.faults}


MIXED = {"3-6-9": ("%.3f", "%.6g", "%.9g"), "3-among-9": ("%.9g", "%.3f", "%.9g", "%.9g")}


@pytest.mark.few(2)
@pytest.mark.parametrize("states", [True, False], ids=["states", "outputs"])
@pytest.mark.parametrize("forms", MIXED.values(), ids=MIXED)
@pytest.mark.parametrize(("kind", "fault"), [("LSTM", "gate_order_iofc"), ("GRU", "gate_order_rzh")])
def test_columns_of_different_digits_tell_a_correct_run_from_a_wrong_one(kind, fault, forms, states):
    def compared(wrong=""):
        network, recording = a_run(kind, wrong)
        outputs = [in_columns(y, forms) for y in recording.outputs]
        given = {name: in_columns(h, forms) for name, h in recording.states.items()} if states else None
        return rnncheck.compare(network, recording.inputs, outputs, states=given)

    right, wrong = compared(), compared(fault)

    assert (right.verdict, wrong.verdict) == (Verdict.MATCH, Verdict.MISMATCH)
    notes = right.entries[0].notes
    assert len(notes) == 1 + states
    assert all(" has 3 " in note and "cannot be seen; write %.9g." in note for note in notes)


def test_number_of_the_column_with_most_digits_is_caught_where_half_a_unit_of_the_fewest_shows_it():
    network, recording = a_run("SimpleRNN")
    states = recording.states["rnn"].copy()
    states[2, 7, 5] += 0.02  # of a column with nine digits

    report = rnncheck.compare(
        network, recording.inputs, recording.outputs, states={"rnn": in_columns(states, MIXED["3-6-9"])}
    )

    assert report.verdict is Verdict.MISMATCH
    assert report.rows[0].first == {"n": 2, "t": 7, "unit": 5}


def test_step_that_is_off_by_more_than_half_a_unit_is_proven_wrong():
    network, recording = a_run("SimpleRNN")
    states = recording.states["rnn"].copy()
    states[2, 7, 3] += 0.02
    states = printed(states, "%.3f")

    report = rnncheck.compare(network, recording.inputs, recording.outputs, states={"rnn": states})

    assert (report.verdict, report.proven) == (Verdict.MISMATCH, True)
    assert report.rows[0].first == {"n": 2, "t": 7, "unit": 3}


@pytest.mark.parametrize(
    ("dtype", "form", "said"),
    [
        ("float32", "%g", "has 6 significant digits: differences below 5e-07 cannot be seen; write %.9g."),
        ("float64", "%g", "has 6 significant digits: differences below 5e-07 cannot be seen; write %.17g."),
        ("float64", "%.9g", "has 9 significant digits: differences below 5e-10 cannot be seen; write %.17g."),
        ("float32", "float16", "has 11 binary digits: differences below 0.0002 cannot be seen; save float32."),
        ("float64", "float16", "has 11 binary digits: differences below 0.0002 cannot be seen; save float64."),
        ("float16", "float16", None),
    ],
)
def test_advice_is_to_store_what_the_layer_computes(dtype, form, said):
    network = make_network(T=30, D=3, M=8, K=None, dtype=dtype, input_dtype="float32", return_sequences=True)
    network = replace(network, outputs=())
    states = np.random.default_rng(0).uniform(0.25, 0.999, size=(2, 30, 8))
    states, resolution = stored_numbers(STORED[form](states) if form in STORED else printed(states, form))
    recording = Recording(make_inputs(network, 2), (), {"rnn": states}, resolutions={"rnn": resolution})

    notes = list(told_digits(network, recording, "outputs", "h.npz"))

    assert notes == ([] if said is None else [f"h.npz {said}"])


def told(states, form):
    """Return what is said of the states of layers, printed so."""
    h = {name: stored_numbers(printed(each, form)) for name, each in states.items()}
    made = {name: make_recurrent(name, np.random.default_rng(0), D=3, M=8, return_sequences=True) for name in h}
    network = Network("two", (InputSpec("inputs", (30, 3), "float32"),), tuple(made.values()), ())
    x = (np.zeros((2, 30, 3), np.float32),)
    shown, stored = ({name: each[place] for name, each in h.items()} for place in (0, 1))
    return list(told_digits(network, Recording(x, (), shown, resolutions=stored), "outputs", "h.npz"))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_digits_are_told_where_they_are_fewer_than_the_layer_computes(scale):
    states = scale * np.random.default_rng(0).uniform(0.25, 0.999, size=(2, 30, 8))

    assert told({"a": states}, "%.9g") == []
    assert len(told({"a": states}, "%.6g")) == 1


def test_coarsest_layer_is_told():
    fine, coarse = np.random.default_rng(0).uniform(0.25, 0.999, size=(2, 2, 30, 8))
    said = ["h.npz has 3 significant digits: differences below 0.0005 cannot be seen; write %.9g."]

    coarse = printed(coarse, "%.3g")
    assert told({"a": printed(fine, "%.5g"), "b": coarse}, "%.5g") == said
    assert told({"a": coarse, "b": printed(fine, "%.5g")}, "%.5g") == said


def test_digits_of_a_memory_that_the_model_puts_out_are_seen():
    network = make_network(kind="LSTM", T=9, D=3, M=8, K=None, return_state=True)
    recording = emulate(network, [make_inputs(network, 4)])[0]
    output, h, c = recording.outputs

    report = rnncheck.compare(network, recording.inputs, [output, h, printed(c, "%.5g")], states=recording.states)

    rows = {(row.output, row.check): row.verdict for row in report.rows}
    assert rows["c", "step"] == rows["state", "end_to_end"] == Verdict.MATCH
    assert report.verdict is Verdict.MATCH


def test_so_few_digits_that_nothing_can_be_told_are_undecidable():
    network, recording = a_run("SimpleRNN")

    report = rnncheck.compare(network, recording.inputs, [printed(y, "%.1f") for y in recording.outputs])

    assert report.verdict is Verdict.UNDECIDABLE


def test_report_says_which_file_has_how_many_digits_and_what_to_write(tmp_path):
    right = np.loadtxt("rnncheck/demo/outputs.csv", delimiter=",", ndmin=2)
    outputs = tmp_path / "outputs.csv"
    np.savetxt(outputs, right, fmt="%g", delimiter=",")

    report = judge_files(Path("rnncheck/demo/sine.keras"), [Path("rnncheck/demo/inputs.npy")], [outputs])

    assert report.verdict is Verdict.MATCH
    assert (
        "outputs.csv has 6 significant digits: differences below 5e-07 cannot be seen; write %.9g."
        in report.entries[0].notes
    )
