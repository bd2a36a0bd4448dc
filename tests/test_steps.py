"""The checks on recordings of an implementation that is written here, in plain NumPy, with faults put in by hand."""

# ruff: noqa: ARG002 - a fault need not use all that it is given

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from judgements import networks
from reference import make_inputs, make_network, replaced

import rnncheck
from rnncheck.checks.end_to_end import Tolerance, end_to_end_rows
from rnncheck.checks.observed import observe
from rnncheck.checks.steps import all_steps_match, step_rows
from rnncheck.checks.verdicts import Check, Verdict
from rnncheck.faults.emulation import emulate
from rnncheck.network import InputSpec, Layer, Network, Recording, Tensor
from rnncheck.rounding.products import OrderedMatrix

ACTIVATIONS = {"tanh": np.tanh, "relu": lambda x: np.maximum(x, 0), "linear": lambda x: x}


class Implementation:
    """SimpleRNN -> [Flatten] -> Dense as somebody may write it, in one number format; each method is one step of it.

    The faults of these tests are subclasses, each with the one method that is wrong.
    """

    def __init__(self, network, dtype=np.float32):
        self.network, self.dtype = network, dtype
        self.options = network.layer("rnn").options
        self.activation = ACTIVATIONS[self.options["activation"].name]

    def weights(self, layer, t=None):
        return {name: weight.astype(self.dtype) for name, weight in self.network.layer(layer).weights.items()}

    def carried(self, h):
        return h

    def masked_state(self, new, old):
        return old

    def masked_output(self, new, previous):
        return np.zeros_like(new) if self.options["zero_output_for_mask"] else previous

    def order(self, x):
        return x[:, ::-1] if self.options["go_backwards"] else x

    def bias(self, weights):
        return weights.get("bias", self.dtype(0))

    def step(self, x, h, t):
        w = self.weights("rnn", t)
        return self.activation(x @ w["kernel"] + self.bias(w) + h @ w["recurrent_kernel"]).astype(self.dtype)

    def sequence(self, x, h, counts):
        outputs, output = [], np.zeros_like(h)
        for t in range(x.shape[1]):
            new = self.step(x[:, t], self.carried(h), t)
            if counts is None:
                h = output = new
            else:
                keep = ~counts[:, t, np.newaxis]
                output = np.where(keep, self.masked_output(new, output), new)
                h = np.where(keep, self.masked_state(new, h), new)
            outputs.append(output)
        return np.stack(outputs, axis=1), h

    def head(self, h):
        if len(self.network.layers) == 3:
            h = h.reshape(len(h), -1)
        w = self.weights("dense")
        return h @ w["kernel"] + self.bias(w)

    def call(self, inputs, kept=None):
        """Return the recording of one call, and the final state."""
        given = {spec.name: array for spec, array in zip(self.network.inputs, inputs, strict=True)}
        x = self.order(given["inputs"].astype(self.dtype))
        counts = self.order(given["mask"]) if "mask" in given else None
        units = self.options["units"]
        h0 = given["h0"].astype(self.dtype) if "h0" in given else kept
        h0 = np.zeros((len(x), units), self.dtype) if h0 is None else h0
        with np.errstate(all="ignore"):
            h, state = self.sequence(x, h0, counts)
            outputs = [self.head(h if self.options["return_sequences"] else h[:, -1])]
        if self.options["return_state"]:
            outputs.append(state)
        return Recording(inputs, tuple(outputs), {"rnn": h}), state

    def record(self, *calls):
        recordings, kept = [], None
        for inputs in calls:
            recording, state = self.call(inputs, kept)
            kept = state if self.options["stateful"] else None
            recordings.append(recording)
        return recordings


def all_rows(network, recordings, **options):
    return step_rows(network, observe(network, recordings)) + end_to_end_rows(network, recordings, **options)


def h_row(network, recordings):
    """The row of the recurrent layer's steps."""
    return next(row for row in step_rows(network, observe(network, recordings)) if row.layer == "rnn")


def verdicts(rows):
    return {(row.layer, row.output, str(row.check)): str(row.verdict) for row in rows}


def with_states(recording, states):
    return replace(recording, states={"rnn": states})


# --- correct code matches ---


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_bias": False},
        {"activation": "relu", "recurrent_scale": 0.6},
        {"activation": "linear", "recurrent_scale": 0.6},
        {"go_backwards": True, "initial_state": True},
        {"return_sequences": True, "return_state": True},
        {"flatten": True},
        {"mask": True},
        {"mask": True, "initial_state": True, "return_sequences": True, "return_state": True},
        {"mask": True, "zero_output_for_mask": True, "go_backwards": True, "return_state": True},
        {"stateful": True, "return_sequences": True},
        {"stateful": True, "mask": True, "return_state": True},
    ],
    ids=lambda options: " ".join(options) or "plain",
)
def test_correct_code_matches(options, dtype):
    network = make_network(T=30, D=3, M=17, K=4, dtype=dtype, **options)
    calls = [make_inputs(network, 5, seed=seed) for seed in range(2 if options.get("stateful") else 1)]

    rows = all_rows(network, Implementation(network, np.dtype(dtype).type).record(*calls))

    assert set(verdicts(rows).values()) == {"match"}
    assert [row.first for row in rows] == [None] * len(rows)
    assert all(0.0 <= row.bound_use < 1.0 for row in rows if row.check is Check.STEP)
    assert all(row.bound_use is None for row in rows if row.check is Check.END_TO_END)


def test_rows_say_what_was_checked():
    network = make_network(T=6, D=3, M=5, K=2, flatten=True, return_state=True)
    rows = all_rows(network, Implementation(network).record(make_inputs(network, 4)))

    assert [(row.layer, row.output, str(row.check), row.shape) for row in rows] == [
        ("rnn", "h", "step", (4, 6, 5)),
        ("dense", "output", "step", (4, 2)),
        ("dense", "output", "end_to_end", (4, 2)),
        ("rnn", "state", "end_to_end", (4, 5)),
    ]


def test_numbers_that_nobody_recorded_have_no_row_and_do_not_keep_steps_from_vouching():
    network = make_network(T=6, D=3, M=5, K=2, flatten=True)
    recordings = Implementation(network).record(make_inputs(network, 4))

    rows = step_rows(network, observe(network, recordings))

    assert "flatten" not in {row.layer for row in rows}
    assert all_steps_match(network, rows)
    assert not all_steps_match(network, rows[:1])
    assert not all_steps_match(network, [])


def test_rows_of_several_calls_count_them_first():
    network = make_network(T=6, D=3, M=5, K=2, stateful=True)
    calls = [make_inputs(network, 4, seed=seed) for seed in range(3)]

    rows = all_rows(network, Implementation(network).record(*calls))

    assert [row.shape for row in rows] == [(3, 4, 6, 5), (3, 4, 2), (3, 4, 2)]
    assert rows[0].worst.keys() == {"call", "n", "t", "unit"}


@pytest.mark.parametrize("seed", range(5))
def test_correct_code_of_one_number_matches(seed):
    network = make_network(T=1, D=1, M=1, K=1, seed=seed)

    rows = all_rows(network, Implementation(network).record(make_inputs(network, 1, seed=seed)))

    assert set(verdicts(rows).values()) == {"match"}


def test_layer_whose_states_were_not_observed_has_no_step_row():
    network = make_network(T=6, D=3, M=5, K=2)
    (recording,) = Implementation(network).record(make_inputs(network, 4))

    rows = all_rows(network, [replace(recording, states={})])

    assert verdicts(rows) == {("dense", "output", "end_to_end"): "match"}


# --- faults are found where they are ---


class OneWeightOff(Implementation):
    """recurrent_kernel[i, j] is off by 1e-4 from the third step on."""

    i, j = 4, 2

    def weights(self, layer, t=None):
        weights = super().weights(layer, t)
        if t is not None and t >= 2:
            weights["recurrent_kernel"][self.i, self.j] += 1e-4
        return weights


class StateNotCarried(Implementation):
    def carried(self, h):
        return np.zeros_like(h)


class RecurrentKernelTransposed(Implementation):
    def weights(self, layer, t=None):
        weights = super().weights(layer, t)
        if layer == "rnn":
            weights["recurrent_kernel"] = weights["recurrent_kernel"].T
        return weights


class BiasDropped(Implementation):
    def bias(self, weights):
        return self.dtype(0)


class InitialStateDropped(Implementation):
    def sequence(self, x, h, counts):
        return super().sequence(x, np.zeros_like(h), counts)


@pytest.mark.parametrize(
    ("fault", "first"),
    [
        (OneWeightOff, {"n": 0, "t": 2, "unit": 2}),
        (StateNotCarried, {"n": 0, "t": 1, "unit": 0}),
        (RecurrentKernelTransposed, {"n": 0, "t": 1, "unit": 0}),
        (BiasDropped, {"n": 0, "t": 0, "unit": 0}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_fault_is_found_at_the_first_step_that_has_it(fault, first):
    network = make_network(T=12, D=3, M=9, K=2)

    row = h_row(network, fault(network).record(make_inputs(network, 4)))

    assert row.verdict is Verdict.MISMATCH
    assert row.first == first


def test_dropped_initial_state_is_found_at_the_first_step():
    network = make_network(T=12, D=3, M=9, K=2, initial_state=True)

    row = h_row(network, InitialStateDropped(network).record(make_inputs(network, 4)))

    assert row.verdict is Verdict.MISMATCH
    assert row.first == {"n": 0, "t": 0, "unit": 0}


def test_state_lost_between_calls_is_found_at_the_start_of_the_second():
    network = make_network(T=12, D=3, M=9, K=2, stateful=True)
    calls = [make_inputs(network, 4, seed=seed) for seed in (1, 2)]

    row = h_row(network, [Implementation(network).record(call)[0] for call in calls])

    assert row.verdict is Verdict.MISMATCH
    assert row.first == {"call": 1, "n": 0, "t": 0, "unit": 0}


@pytest.mark.parametrize(("n", "t", "unit"), [(0, 0, 0), (2, 5, 3), (3, 11, 8), (1, 10, 4)])
@pytest.mark.parametrize("amount", [1e-5, -1e-5])
def test_one_altered_number_is_found_exactly(n, t, unit, amount):
    network = make_network(T=12, D=3, M=9, K=2)
    (recording,) = Implementation(network).record(make_inputs(network, 4))
    states = recording.states["rnn"].copy()
    states[n, t, unit] += amount

    row = h_row(network, [with_states(recording, states)])

    assert row.verdict is Verdict.MISMATCH
    assert row.first == {"n": n, "t": t, "unit": unit}


@pytest.mark.parametrize("rank", ["rows", "sequences"])
def test_wrong_head_is_a_mismatch_of_the_head_alone(rank):
    network = make_network(T=6, D=3, M=5, K=4, return_sequences=rank == "sequences")
    (recording,) = Implementation(network).record(make_inputs(network, 4))
    (output,) = recording.outputs
    output = output.copy()
    output[2, ..., 3] += 1e-4

    rows = step_rows(network, observe(network, [replace(recording, outputs=(output,))]))

    assert verdicts(rows) == {("rnn", "h", "step"): "match", ("dense", "output", "step"): "mismatch"}
    place = {"n": 2, "t": 0, "unit": 3} if rank == "sequences" else {"n": 2, "unit": 3}
    assert rows[1].first == place


def test_flatten_that_moves_a_number_is_proven_wrong():
    network = make_network(T=4, D=3, M=5, K=2, flatten=True)
    (recording,) = Implementation(network).record(make_inputs(network, 3))
    flat = recording.states["rnn"].reshape(3, -1).copy()
    flat[1, [7, 8]] = flat[1, [8, 7]]

    rows = step_rows(network, observe(network, [replace(recording, tensors={Tensor("flatten"): flat})]))

    row = next(row for row in rows if row.layer == "flatten")
    assert (row.verdict, row.proven, row.first) == (Verdict.MISMATCH, True, {"n": 1, "unit": 7})


# --- masks ---


class MaskIgnored(Implementation):
    def masked_state(self, new, old):
        return new

    def masked_output(self, new, previous):
        return new


class MaskStepsState(Implementation):
    """The output is repeated, but the state goes on underneath."""

    def masked_state(self, new, old):
        return new


class MaskZeroesOutput(Implementation):
    def masked_output(self, new, previous):
        return np.zeros_like(new)


MASK = np.array([[1, 1, 0, 1, 1, 1], [1, 1, 1, 0, 0, 1], [0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0]], bool)


def masked_recording(fault, **options):
    network = make_network(T=6, D=3, M=5, K=2, mask=True, return_sequences=True, **options)
    x, *h0, _ = make_inputs(network, 4)
    return network, fault(network).record((x, *h0, MASK))


@pytest.mark.parametrize(
    ("fault", "options", "first"),
    [
        (MaskIgnored, {}, {"n": 2, "t": 0, "unit": 0}),
        (MaskIgnored, {"zero_output_for_mask": True}, {"n": 2, "t": 0, "unit": 0}),
        (MaskStepsState, {}, {"n": 2, "t": 2, "unit": 0}),
        (MaskZeroesOutput, {}, {"n": 0, "t": 2, "unit": 0}),
    ],
    ids=["ignored", "ignored zero_output", "state goes on", "zero instead of repeated"],
)
def test_fault_under_a_mask_is_found_where_the_mask_makes_it_show(fault, options, first):
    network, recordings = masked_recording(fault, **options)

    row = h_row(network, recordings)

    assert row.verdict is Verdict.MISMATCH
    assert row.first == first


def test_output_that_repeats_the_given_state_before_the_first_step_that_counts_is_a_mismatch():
    network, (recording,) = masked_recording(Implementation, initial_state=True)
    states = recording.states["rnn"].copy()
    states[3] = recording.inputs[1][3]

    row = h_row(network, [with_states(recording, states)])

    assert row.verdict is Verdict.MISMATCH
    assert row.first == {"n": 3, "t": 0, "unit": 0}


def test_masked_steps_must_repeat_bit_by_bit():
    network, (recording,) = masked_recording(Implementation)
    states = recording.states["rnn"].copy()
    states[0, 2, 1] = np.nextafter(states[0, 2, 1], np.float32(2))

    row = h_row(network, [with_states(recording, states)])

    assert row.verdict is Verdict.MISMATCH
    assert row.first == {"n": 0, "t": 2, "unit": 1}


def test_mask_taken_in_the_wrong_direction_is_a_mismatch():
    network, (recording,) = masked_recording(Implementation, go_backwards=True)
    x, mask = recording.inputs

    row = h_row(network, [replace(recording, inputs=(x, mask[:, ::-1]))])

    assert row.verdict is Verdict.MISMATCH


# --- chaos: errors grow, and each step is checked all the same ---


@pytest.fixture(scope="module")
def chaotic():
    network = make_network(T=300, D=3, M=64, K=2, recurrent_scale=3.0)
    return network, make_inputs(network, 4)


def test_chaotic_run_is_undecidable_end_to_end_and_matches_step_by_step(chaotic):
    network, inputs = chaotic
    (recording,) = Implementation(network).record(inputs)

    report = rnncheck.compare(network, inputs, recording.outputs, states=recording.states)

    assert verdicts(report.rows) == {
        ("rnn", "h", "step"): "match",
        ("dense", "output", "step"): "match",
        ("dense", "output", "end_to_end"): "undecidable",
    }
    assert report.verdict is Verdict.MATCH


def test_chaotic_run_without_states_stays_undecidable(chaotic):
    network, inputs = chaotic
    (recording,) = Implementation(network).record(inputs)

    report = rnncheck.compare(network, inputs, recording.outputs)

    assert report.verdict is Verdict.UNDECIDABLE
    assert report.exit_code == 3


def test_wrong_weight_in_a_chaotic_run_is_found_at_its_step(chaotic):
    network, inputs = chaotic
    (recording,) = OneWeightOff(network).record(inputs)

    report = rnncheck.compare(network, inputs, recording.outputs, states=recording.states)

    assert report.verdict is Verdict.MISMATCH
    assert report.rows[0].first == {"n": 0, "t": 2, "unit": 2}


def test_states_of_another_run_do_not_vouch_for_the_outputs(chaotic):
    network, inputs = chaotic
    (recording,) = Implementation(network).record(inputs)
    network = Network(network.name, network.inputs, network.layers, (Tensor("rnn"),))
    states = recording.states["rnn"]

    report = rnncheck.compare(network, inputs, states[:, -1] + np.float32(0.5), states={"rnn": states})

    assert report.verdict is Verdict.UNDECIDABLE
    assert len(report.entries[0].notes) == 1


@pytest.mark.parametrize(
    ("merged", "verdict"),
    [(lambda a, b: a * b, Verdict.MATCH), (lambda a, b: a * b * np.float32(1.00001), Verdict.MISMATCH)],
)
def test_merged_halves_may_be_of_another_computation_than_those_that_were_seen(rng, merged, verdict):
    # A probe computes the halves of a Bidirectional again, and rounds otherwise.
    a, b = (rng.normal(size=(50, 8)).astype(np.float32) for _ in range(2))
    seen = {Tensor(f"both/{name}"): np.nextafter(x, np.float32(9.0)) for name, x in (("a", a), ("b", b))}
    specs = tuple(InputSpec(tensor.layer, (8,), "float32") for tensor in seen)
    network = Network("net", specs, (Layer("both", "Multiply", tuple(seen)),), (Tensor("both"),))

    (row,) = step_rows(network, observe(network, [Recording(tuple(seen.values()), (merged(a, b),))]))

    assert (row.verdict, row.bound_use) == (verdict, None)


# --- blocks and threads ---


def one_after_the_other(run, parts):
    return list(map(run, parts))


def assert_same_rows(rows, expected):
    """The same verdicts and places; numbers that differ by the order of sums and by screening."""
    assert verdicts(rows) == verdicts(expected)
    for row, other in zip(rows, expected, strict=True):
        assert (row.shape, row.first, row.proven, row.decides) == (
            other.shape,
            other.first,
            other.proven,
            other.decides,
        )
        assert row.max_abs_diff == pytest.approx(other.max_abs_diff, rel=1e-6)
        assert row.noise == pytest.approx(other.noise, rel=0.02)
        assert row.score_rms == pytest.approx(other.score_rms, rel=0.05)
        assert row.score_max == pytest.approx(other.score_max, rel=0.5)


@pytest.mark.few(12)
@pytest.mark.parametrize("fault", [Implementation, OneWeightOff, StateNotCarried], ids=lambda f: f.__name__)
@pytest.mark.parametrize("block", [1, 40, 333])
@pytest.mark.parametrize("options", [{}, {"mask": True}, {"flatten": True}, {"return_sequences": True}], ids=str)
def test_rows_do_not_depend_on_the_blocks(monkeypatch, fault, block, options):
    network = make_network(T=12, D=3, M=9, K=2, **options)
    recordings = fault(network).record(make_inputs(network, 7))
    expected = step_rows(network, observe(network, recordings))

    monkeypatch.setattr("rnncheck.checks.blocks.LARGEST", block)
    rows = step_rows(network, observe(network, recordings))

    assert_same_rows(rows, expected)


ALONE = {label: pair for label, pair in networks().items() if pair[0].name == "alone"}


@pytest.mark.parametrize("label", ALONE)
def test_rows_of_other_layers_do_not_depend_on_the_blocks_either(monkeypatch, label):
    network, inputs = ALONE[label]
    recordings = emulate(network, [inputs])
    expected = step_rows(network, observe(network, recordings))

    monkeypatch.setattr("rnncheck.checks.blocks.LARGEST", 8)
    rows = step_rows(network, observe(network, recordings))

    assert_same_rows(rows, expected)


def test_memory_does_not_grow_with_the_number_of_blocks(monkeypatch):
    monkeypatch.setattr("rnncheck.checks.steps.in_threads", one_after_the_other)  # each thread has a block
    monkeypatch.setattr("rnncheck.checks.blocks.LARGEST", 10_000)
    network = make_network(T=2_000, D=2, M=10, K=2)

    def peak(samples):
        calls = observe(network, Implementation(network).record(make_inputs(network, samples)))
        tracemalloc.start()
        step_rows(network, calls)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(1)  # compiles what it needs
    assert peak(8) < 1.5 * peak(2)


@pytest.mark.long
def test_comparing_a_long_sequence_takes_little_memory(monkeypatch):
    monkeypatch.setattr("rnncheck.checks.blocks.LARGEST", 10_000)
    network = make_network(T=4_000, D=2, M=256, K=2)
    (recording,) = Implementation(network).record(make_inputs(network, 1))
    states = recording.states["rnn"]

    def compare():
        return rnncheck.compare(network, recording.inputs, recording.outputs, states=[states])

    compare()  # loads what it needs
    tracemalloc.start()
    report = compare()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert str(report.verdict) == "match"
    assert most < 2 * states.nbytes


def test_a_run_that_mismatches_everywhere_is_not_summed_in_order_too(monkeypatch):
    network = make_network(T=12, D=3, M=9, K=2)

    def products_in_order(samples):
        seen = []
        multiply = OrderedMatrix.__rmatmul__
        monkeypatch.setattr(OrderedMatrix, "__rmatmul__", lambda w, a: seen.append(len(a)) or multiply(w, a))
        step_rows(network, observe(network, OneWeightOff(network).record(make_inputs(network, samples))))
        monkeypatch.undo()
        return seen

    assert products_in_order(2)
    assert not products_in_order(50)


@pytest.mark.parametrize("fault", [Implementation, OneWeightOff], ids=lambda f: f.__name__)
def test_threads_give_the_rows_that_map_gives(monkeypatch, fault):
    monkeypatch.setattr("rnncheck.checks.blocks.LARGEST", 100)
    monkeypatch.setattr("rnncheck.checks.blocks._WORTH_A_THREAD", 1)
    network = make_network(T=40, D=3, M=9, K=2, mask=True, return_state=True)
    recordings = fault(network).record(make_inputs(network, 7))
    rows = all_rows(network, recordings)

    for module in ("steps", "end_to_end"):
        monkeypatch.setattr(f"rnncheck.checks.{module}.in_threads", one_after_the_other)
    expected = all_rows(network, recordings)

    assert_same_rows(rows, expected)
    assert [row.worst for row in rows] == [row.worst for row in expected]


# --- NaN, infinity, overflow ---


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("N", [1, 4])
@pytest.mark.parametrize("t", [3, 5], ids=["with steps behind it", "at the last step"])
def test_number_that_is_not_finite_is_a_mismatch_at_its_place(wrong, N, t):
    network = make_network(T=6, D=3, M=5, K=2)
    (recording,) = Implementation(network).record(make_inputs(network, N))
    states = recording.states["rnn"].copy()
    states[N - 1, t, 2] = wrong

    row = h_row(network, [with_states(recording, states)])

    assert (row.verdict, row.proven) == (Verdict.MISMATCH, True)
    assert row.first == {"n": N - 1, "t": t, "unit": 2}


class NotFiniteFromStep3(Implementation):
    def step(self, x, h, t):
        new = super().step(x, h, t)
        if t == 3:
            new[1, 2] = np.nan
        return new


def test_nan_that_spreads_is_a_mismatch_where_it_arose():
    network = make_network(T=6, D=3, M=5, K=2)
    recordings = NotFiniteFromStep3(network).record(make_inputs(network, 4))

    rows = all_rows(network, recordings)

    assert verdicts(rows) == {
        ("rnn", "h", "step"): "mismatch",
        ("dense", "output", "step"): "match",  # NaN goes in, so NaN comes out
        ("dense", "output", "end_to_end"): "mismatch",
    }
    assert rows[0].first == {"n": 1, "t": 3, "unit": 2}
    assert rows[2].first == {"n": 1, "unit": 0}


def growing_network(dtype, signs):
    """One that doubles its state at every step: beyond the format's range, infinities and then, with signs, NaN."""
    network = make_network(T=30, D=2, M=4, K=3, dtype=dtype, activation="linear")
    recurrent = np.array([[2, 1, 1, 1], [1, 2, 1, 1], [1, 1, 2, 1], [1, 1, 1, 2]], np.float32)
    if signs:
        recurrent[:, 1:3] *= -1
    return replaced(network, "rnn", recurrent_kernel=recurrent)


@pytest.mark.parametrize("signs", [False, True], ids=["infinity", "infinity and NaN"])
def test_overflow_on_both_sides_agrees(signs):
    network = growing_network("float16", signs)
    recordings = Implementation(network, np.float16).record(make_inputs(network, 3))
    states = recordings[0].states["rnn"]

    rows = step_rows(network, observe(network, recordings))

    assert np.isinf(states).any()
    assert np.isnan(states).any() == signs
    # Where terms of both signs leave the range, another order of summing them might not end in the same NaN.
    assert verdicts(rows)["rnn", "h", "step"] == ("undecidable" if signs else "match")


def test_infinity_of_the_other_sign_is_a_mismatch():
    network = growing_network("float16", signs=False)
    (recording,) = Implementation(network, np.float16).record(make_inputs(network, 3))
    states = recording.states["rnn"].copy()
    t = int(np.flatnonzero(np.isinf(states[1, :, 2]))[0])  # the first: its own previous state is finite
    states[1, t, 2] *= -1

    row = h_row(network, [with_states(recording, states)])

    assert (row.verdict, row.proven) == (Verdict.MISMATCH, True)
    assert row.first == {"n": 1, "t": t, "unit": 2}


def test_finite_number_where_the_equations_give_none_is_an_error_at_its_place():
    network = growing_network("float16", signs=True)
    (recording,) = Implementation(network, np.float16).record(make_inputs(network, 3))
    states = recording.states["rnn"].copy()
    assert np.isnan(states[1, -1]).all()
    states[1, -1, 2] = 0.0

    row = h_row(network, [with_states(recording, states)])

    assert row.verdict is Verdict.ERROR
    assert row.first == {"n": 1, "t": 29, "unit": 2}
    assert row.detail == "the equations give no finite number there, from what was recorded before it"


def test_states_that_end_in_other_infinities_are_noted():
    network = growing_network("float16", signs=True)
    network = Network(network.name, network.inputs, network.layers, (Tensor("rnn"),))
    (recording,) = Implementation(network, np.float16).record(make_inputs(network, 3))
    states = recording.states["rnn"]
    assert not np.isfinite(states[:, -1]).any()

    report = rnncheck.compare(network, recording.inputs, np.zeros((3, 4)), states={"rnn": states})

    (note,) = report.entries[0].notes
    assert note.startswith("layer 'rnn': the run that shows the states ends in other numbers than the plain run")
    assert report.verdict is Verdict.UNDECIDABLE


@pytest.mark.parametrize("scale", [1.0, 1e-25, 1e10, 1e18, 1e22, 1e30])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_wrong_weight_is_found_at_every_size_of_the_numbers(scale, dtype):
    """Nothing that overflows or underflows while errors are estimated may hide a fault."""
    network = make_network(T=12, D=3, M=9, K=2, activation="linear", dtype=dtype)
    small = {name: network.layer("rnn").weights[name] * np.float32(scale) for name in ("kernel", "bias")}
    network = replaced(network, "rnn", **small)
    inputs = make_inputs(network, 4)
    kind = np.dtype(dtype).type

    correct = h_row(network, Implementation(network, kind).record(inputs))
    wrong = h_row(network, OneWeightOff(network, kind).record(inputs))

    assert correct.verdict is Verdict.MATCH
    assert wrong.verdict is Verdict.MISMATCH
    assert wrong.first == {"n": 0, "t": 2, "unit": 2}


class OneBiasOff(Implementation):
    """bias[2] is off by 1.2e-4 of itself in the fourth step."""

    def weights(self, layer, t=None):
        weights = super().weights(layer, t)
        if t == 3:
            weights["bias"][2] *= np.float32(1 + 1.2e-4)
        return weights


@pytest.mark.parametrize("T", [10, 42, 48, 54, 60])
def test_large_numbers_in_a_block_do_not_hide_a_small_fault(T):
    network = make_network(T=T, D=3, M=16, K=2, activation="linear", recurrent_scale=3.0)
    inputs = make_inputs(network, 4)

    correct = h_row(network, Implementation(network).record(inputs))
    wrong = h_row(network, OneBiasOff(network).record(inputs))

    assert correct.verdict is Verdict.MATCH
    assert wrong.verdict is Verdict.MISMATCH
    assert (wrong.first["t"], wrong.first["unit"]) == (3, 2)


# --- tolerances ---


def test_tolerance_adds_a_row_for_each_output():
    network = make_network(T=6, D=3, M=5, K=2, return_state=True)
    recordings = Implementation(network).record(make_inputs(network, 4))

    rows = end_to_end_rows(network, recordings, tolerance=Tolerance(rtol=1e-4, atol=1e-6))

    assert verdicts(rows) == {
        ("dense", "output", "end_to_end"): "match",
        ("dense", "output", "tolerance"): "match",
        ("rnn", "state", "end_to_end"): "match",
        ("rnn", "state", "tolerance"): "match",
    }
    assert all(row.bound_use < 1.0 for row in rows if row.check is Check.TOLERANCE)


@pytest.mark.parametrize(
    ("rtol", "atol", "verdict"),
    [
        (0.0, 0.2, "match"),
        (0.0, 0.05, "mismatch"),
        (1.0, 0.0, "match"),
        (1e-6, 0.0, "mismatch"),
        (0.0, 0.0, "mismatch"),
    ],
)
def test_tolerance_allows_atol_plus_rtol_of_the_expected(rtol, atol, verdict):
    network = make_network(T=6, D=3, M=5, K=2)
    (recording,) = Implementation(network).record(make_inputs(network, 4))
    output = recording.outputs[0].copy()
    output[3, 1] += 0.1 * np.sign(output[3, 1])
    assert abs(output[3, 1]) > 0.2

    rows = end_to_end_rows(network, [replace(recording, outputs=(output,))], tolerance=Tolerance(rtol, atol))

    assert [str(row.verdict) for row in rows] == ["mismatch", verdict]
    assert rows[0].first == {"n": 3, "unit": 1}


def test_tolerance_decides_even_where_the_noise_explains_the_difference(chaotic):
    network, inputs = chaotic
    (recording,) = Implementation(network).record(inputs)

    report = rnncheck.compare(network, inputs, recording.outputs, states=recording.states, rtol=1.3e-6, atol=1e-5)

    assert verdicts(report.rows)["dense", "output", "tolerance"] == "mismatch"
    assert report.verdict is Verdict.MISMATCH


def test_tolerance_never_replaces_the_verdict():
    network = make_network(T=12, D=3, M=9, K=2)
    inputs = make_inputs(network, 4)
    (recording,) = OneWeightOff(network).record(inputs)

    report = rnncheck.compare(network, inputs, recording.outputs, states=recording.states, rtol=1e-1, atol=1e-1)

    assert verdicts(report.rows)["dense", "output", "tolerance"] == "match"
    assert report.verdict is Verdict.MISMATCH


# --- recordings by hand, of other graphs ---


def decoder(T_encoder, T_decoder):
    """Two sequences: the final state of an encoder starts a decoder."""
    first, second = make_network(T=T_encoder, D=3, M=5, K=1), make_network(T=T_decoder, D=2, M=5, K=1, seed=1)
    options = {"return_state": True}
    encoder = first.layer("rnn")
    encoder = Layer("encoder", "SimpleRNN", (Tensor("source"),), {**encoder.options, **options}, encoder.weights)
    rnn = second.layer("rnn")
    rnn = Layer(
        "rnn",
        "SimpleRNN",
        (Tensor("inputs"),),
        {**rnn.options, "return_sequences": True},
        rnn.weights,
        initial_state=(Tensor("encoder", 1),),
    )
    inputs = (
        InputSpec("source", (T_encoder, 3), "float32"),
        InputSpec("inputs", (T_decoder, 2), "float32"),
    )
    return Network("decoder", inputs, (encoder, rnn), (Tensor("rnn"),))


@pytest.mark.parametrize("T", [6, 4], ids=["same length", "other length"])
@pytest.mark.parametrize("observed", [("encoder", "rnn"), ("rnn",), ("encoder",), ()], ids=str)
def test_states_of_any_of_the_layers_can_be_compared(T, observed):
    network = decoder(6, T)
    rng = np.random.default_rng(0)
    source, x = rng.normal(size=(3, 6, 3)).astype(np.float32), rng.normal(size=(3, T, 2)).astype(np.float32)
    states, h = {}, np.zeros((3, 5), np.float32)
    for layer, sequence in (("encoder", source), ("rnn", x)):
        w, steps = network.layer(layer).weights, []
        for t in range(sequence.shape[1]):
            h = np.tanh(sequence[:, t] @ w["kernel"] + w["bias"] + h @ w["recurrent_kernel"])
            steps.append(h)
        states[layer] = np.stack(steps, axis=1)

    given = {layer: states[layer] for layer in observed}
    report = rnncheck.compare(network, [source, x], states["rnn"], states=given)

    assert report.verdict is Verdict.MATCH
    checked = [row.layer for row in report.rows if row.check is Check.STEP]
    assert checked == [layer for layer in observed if layer == "encoder" or "encoder" in observed]
