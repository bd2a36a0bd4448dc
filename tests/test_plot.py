"""The pictures of a report: what each shows, in numbers, and that nothing is drawn unless somebody asks."""

import base64
import io
import pickle
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from reference import make_inputs, make_network
from rich.console import Console
from test_steps import Implementation, RecurrentKernelTransposed

import rnncheck
from rnncheck import InputError, Report
from rnncheck.checks.thresholds import SCORE_LIMIT
from rnncheck.report.curves import curves_of, starts, thinned
from rnncheck.report.heat_map import print_score_map
from rnncheck.report.plot import PICTURES, drawn, picture_names, plot, to_svg
from rnncheck.report.tables import print_report

DOCS = Path(__file__).parent.parent / "docs"
SIZES = {"T": 12, "D": 3, "M": 4, "K": 2}


def compared(implementation=Implementation, n=3, *, states=True, calls=1, **options):
    network = make_network(**SIZES | options)
    inputs = [make_inputs(network, n, seed=seed) for seed in range(calls)]
    first, *others = implementation(network).record(*inputs)
    told = {"states": first.states} if states else {}
    further = [(each.inputs, each.outputs, each.states) for each in others]
    return rnncheck.compare(network, first.inputs, first.outputs, further=further, **told)


def curves(report):
    (entry,) = report.entries
    return curves_of(entry)


@pytest.fixture(scope="module")
def wrong():
    return compared(RecurrentKernelTransposed)


def test_picture_of_a_page_has_the_background_of_its_page(wrong):
    svg = drawn(curves(wrong), picture_names(curves(wrong))[0], "a")

    assert "fill: none" in re.search(r'id="a-[^"]*patch_1">\s*<path[^>]*>', svg).group()
    assert "#ffffff" not in svg


# --- the numbers ---


def test_curves_of_a_mismatch_are_those_of_its_first_wrong_number(wrong):
    ((_, row), *_) = wrong.failures()

    shown = curves(wrong)

    assert {"n": shown.sample, "t": shown.step, "unit": shown.unit} == row.first
    place = (shown.sample, shown.step, shown.unit)
    assert shown.wrong
    assert shown.actual[place] == row.first_number.actual
    assert abs(shown.one_step[place]) == pytest.approx(row.first_number.difference, rel=1e-6)
    assert shown.allowed[place] >= row.first_number.allowed  # which knows the bound, too
    assert shown.scores.max() == pytest.approx(row.score_max, rel=0.1)
    assert shown.gates is wrong.entries[0].step


def test_curves_of_a_match_are_those_of_the_largest_score():
    report = compared()
    row = report.rows[0]

    shown = curves(report)

    assert not shown.wrong
    assert shown.gates is None
    assert shown.scores[shown.sample, shown.step, shown.unit] == pytest.approx(row.score_max, rel=1e-5)
    assert np.abs(shown.one_step).max() == pytest.approx(row.max_abs_diff, rel=1e-6)


def test_own_run_is_that_of_replay(wrong):
    (entry,) = wrong.entries
    replayed = rnncheck.replay(entry.network, entry.recordings[0].inputs, every_step=True)

    shown = curves(wrong)

    np.testing.assert_array_equal(shown.of_run, replayed.sequences["rnn"])
    np.testing.assert_array_equal(shown.end_to_end, np.abs(shown.actual - replayed.sequences["rnn"]))


def test_errors_of_a_chaotic_run_climb_while_those_of_steps_stay_below_their_limit():
    shown = curves(compared(T=120, M=64, recurrent_scale=3.0))

    assert shown.end_to_end[:, :3].max() < 1e-5
    assert shown.end_to_end[:, -1].max() > 0.1
    assert (np.abs(shown.one_step) < shown.allowed).all()


def test_outputs_alone_are_expected_and_got():
    shown = curves(compared(RecurrentKernelTransposed, states=False))

    assert (shown.actual.shape, shown.of_run.shape) == ((3, 2), (3, 2))
    assert shown.one_step is None
    assert picture_names(shown) == ["numbers"]


def test_second_call_starts_from_what_the_first_left():
    report = compared(calls=2, stateful=True)
    call = (report.rows[0].worst or {})["call"]

    shown = curves(report)

    np.testing.assert_allclose(shown.of_run, report.entries[0].recordings[call].states["rnn"], atol=1e-5)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "ConvLSTM1D"])
def test_every_kind_of_layer_is_drawn(kind):
    network = make_network(**SIZES, kind=kind)
    inputs = make_inputs(network, 2)
    replayed = rnncheck.replay(network, inputs, every_step=True)
    states = {name: h.astype(np.float32) for name, h in replayed.sequences.items()}
    report = rnncheck.compare(network, inputs, [each.astype(np.float32) for each in replayed.outputs], states=states)
    shown = curves(report)

    assert shown.actual.shape == (2, 12, states["rnn"][0, 0].size)
    assert shown.scores.max() == pytest.approx(report.rows[0].score_max, rel=1e-5)
    assert len(report.plot().subfigs) == 4


def test_numbers_that_are_not_finite_are_wrong_where_one_side_has_them(wrong):
    (entry,) = wrong.entries
    states = entry.recordings[0].states["rnn"].copy()
    states[1, 4, 2] = np.nan
    outputs = entry.recordings[0].outputs
    report = rnncheck.compare(entry.network, entry.recordings[0].inputs, outputs, states={"rnn": states})

    assert np.isinf(curves(report).scores[1, 4, 2])
    assert len(report.plot().subfigs) == len(PICTURES)


@pytest.mark.parametrize("length", [1, 7, 50, 1000])
def test_thinned_keeps_the_largest_of_every_part(rng, length):
    numbers = rng.random(length)

    parts = thinned(numbers, 50)

    assert len(parts) == len(starts(length, 50)) == min(length, 50)
    assert parts.max() == numbers.max()
    np.testing.assert_array_equal(parts, [part.max() for part in np.split(numbers, starts(length, 50)[1:])])


# --- the pictures ---


def axes_of(report, picture):
    return report.plot(picture).axes


def test_all_pictures_stand_in_one_figure(wrong):
    figure = wrong.plot()

    assert len(figure.subfigs) == len(PICTURES)
    assert figure.get_layout_engine() is not None  # which keeps titles and labels apart
    assert figure._repr_svg_().startswith("<?xml")


def test_errors_have_two_lines_and_their_limit(wrong):
    (axes,) = axes_of(wrong, "errors")

    shown = curves(wrong)
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines) == ["end to end", "limit", "one step", "first wrong"]
    assert axes.get_yscale() == "log"
    np.testing.assert_allclose(
        np.nan_to_num(lines["end to end"].get_ydata()), shown.end_to_end[shown.sample].max(axis=1)
    )
    assert set(lines["first wrong"].get_xdata()) == {shown.step}
    is_above = lines["one step"].get_ydata() > lines["limit"].get_ydata()
    assert is_above.argmax() == shown.step


def test_scores_are_by_sample_or_of_one_sample_by_unit_and_mark_the_first_that_is_wrong(wrong):
    alone = compared(RecurrentKernelTransposed, n=1)
    for report, lines, name in ((wrong, 3, "sample"), (alone, 4, "unit")):
        axes, _ = axes_of(report, "scores")

        (image,), (mark,) = axes.images, axes.lines
        shown = curves(report)
        assert image.get_array().shape == (lines, SIZES["T"])
        assert axes.get_ylabel() == name
        assert mark.get_xydata().tolist() == [[shown.step, shown.sample if name == "sample" else shown.unit]]
        assert shown.scores.max() > 100.0 * SCORE_LIMIT
        assert image.norm.vmax == 100.0 * SCORE_LIMIT


def test_numbers_that_are_wrong_have_a_colour_of_their_own(wrong):
    (axes,) = axes_of(wrong, "numbers")

    right, off, _ = axes.lines
    shown = curves(wrong)
    assert len(off.get_xdata()) == (shown.scores > SCORE_LIMIT).sum()
    assert len(right.get_xdata()) + len(off.get_xdata()) == shown.actual.size
    np.testing.assert_allclose(right.get_xdata(), right.get_ydata(), atol=1e-5)


def test_states_by_both_have_their_difference_below(wrong):
    above, below = axes_of(wrong, "states")

    (equations, got), (difference,) = above.lines, below.lines
    np.testing.assert_array_equal(difference.get_ydata(), got.get_ydata() - equations.get_ydata())


def test_gates_stand_above_the_state_that_came_of_them(wrong):
    axes, _ = axes_of(wrong, "gates")

    step = wrong.entries[0].step
    assert [label.get_text() for label in axes.get_yticklabels()] == ["h", "h, equations", "h, got"]
    np.testing.assert_array_equal(axes.images[0].get_array()[-1], step.observed)


def test_gates_of_many_units_are_those_around_the_wrong_one():
    network = make_network(**SIZES | {"M": 60})
    (recording,) = Implementation(network).record(make_inputs(network, 2))
    states = recording.states["rnn"].copy()
    states[0, 3, 50] += 0.5

    report = rnncheck.compare(network, recording.inputs, recording.outputs, states=states)

    assert axes_of(report, "gates")[0].images[0].get_extent()[:2] == [25.5, 59.5]


@pytest.mark.long
def test_long_and_wide_runs_are_thinned():
    report = compared(T=1000, M=80, n=60)

    assert axes_of(report, "scores")[0].images[0].get_array().shape == (48, 120)
    assert len(axes_of(report, "errors")[0].lines[0].get_xdata()) == 200
    assert len(to_svg(report.plot())) < 150_000


def test_picture_of_the_readme_is_small_and_has_no_date():
    picture = (DOCS / "chaos.svg").read_text()

    assert len(picture) < 40_000
    assert "end to end" in picture
    assert "one step" in picture
    assert "<dc:date>" not in picture


@pytest.mark.long
def test_svg_is_the_same_each_time(wrong):
    (entry,) = wrong.entries

    assert to_svg(plot(entry)) == to_svg(plot(entry))


# --- who draws, and when ---


def test_first_that_failed_is_drawn_unless_another_is_named(wrong):
    report = Report({}, compared().entries + wrong.entries)

    assert "gates" not in [each.get_title() for each in report.plot(entry=0).axes]
    assert any(axes.get_title().startswith("Gates") for axes in report.plot().axes)
    assert not any(axes.get_title().startswith("Gates") for axes in report.plot(entry=0).axes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"picture": "heat"}, "picture: got 'heat'; expected one of errors, scores, numbers, states, gates."),
        ({"entry": 1}, "entry: got 1; expected a number from 0 to 0."),
    ],
)
def test_what_is_not_there_is_refused(wrong, arguments, message):
    with pytest.raises(InputError) as refused:
        wrong.plot(**arguments)

    assert str(refused.value) == message


def test_report_of_nothing_has_no_picture():
    with pytest.raises(InputError, match="got a report of nothing; expected an entry to draw"):
        Report().plot()


def test_report_that_went_to_another_process_says_that_it_has_no_numbers(wrong):
    there = pickle.loads(pickle.dumps(wrong))  # noqa: S301 - our own

    assert there.verdict == wrong.verdict
    assert there.entries[0].network is None
    assert len(pickle.dumps(wrong)) < 20_000
    with pytest.raises(InputError, match=r"^by_hand: got no numbers to draw; expected"):
        there.plot()
    assert there.to_html().count("<svg") == 0


def test_plot_without_matplotlib_names_the_extra(wrong, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    with pytest.raises(InputError) as refused:
        wrong.plot()

    assert str(refused.value) == (
        'plot: got no matplotlib here; expected the packages of the extra `plot`. Run: pip install "rnncheck[plot]"'
    )


def test_nothing_that_draws_is_loaded_unless_somebody_asks():
    lines = (
        "import sys, numpy as np, rnncheck",
        "x = np.load('rnncheck/demo/inputs.npy')",
        "y = rnncheck.replay('rnncheck/demo/sine.keras', x).outputs[0].astype('float32')",
        "print(rnncheck.compare('rnncheck/demo/sine.keras', x, y).verdict)",
        "print({'matplotlib', 'jinja2', 'pandas', 'rich'} & set(sys.modules))",
    )
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True, cwd=DOCS.parent
    )

    assert done.stdout == "match\nset()\n"


# --- in a terminal ---


def printed(show):
    console = Console(file=io.StringIO(), width=60, force_jupyter=False)
    show(console)
    return console.file.getvalue().splitlines()


def test_scores_stand_in_a_terminal_as_blocks(wrong):
    *_, first, second, third = printed(lambda console: print_score_map(curves(wrong), console))

    shown = curves(wrong)
    for number, line in enumerate((first, second, third)):
        name, blocks = line[:14], line[14:]
        assert name == f"sample {number}".ljust(14)
        assert [block == "X" for block in blocks] == (shown.scores[number].max(axis=1) > SCORE_LIMIT).tolist()
        assert set(blocks) <= set("▁▂▃▄▅▆▇█X")


def test_blocks_are_printed_with_details_alone(wrong):
    plain, detailed = (
        printed(lambda console, how=how: print_report(wrong.entries, console, details=how)) for how in (False, True)
    )

    assert not any(line.startswith("sample 0 ") for line in plain)
    assert any(line.startswith("sample 0 ") for line in detailed)


def test_many_samples_share_lines():
    shown = curves(compared(n=100, T=300))

    lines = printed(lambda console: print_score_map(shown, console))

    assert len(lines) == 2 + 16
    assert {len(line) for line in lines[2:]} == {60}


def test_details_of_an_entry_without_numbers_have_no_blocks(wrong):
    entries = [replace(entry, network=None, recordings=()) for entry in wrong.entries]

    assert not any("▁" in line for line in printed(lambda console: print_report(entries, console, details=True)))


def test_images_of_a_picture_have_130_dots_per_inch(wrong):
    svg = to_svg(wrong.plot("numbers"))
    shown = re.search(r'<image xlink:href="data:image/png;base64,([^"]*)"[^>]* width="([\d.]*)"', svg, re.DOTALL)

    pixels = imread(io.BytesIO(base64.b64decode(shown[1]))).shape[1]

    assert pixels / float(shown[2]) * 72 == pytest.approx(130, rel=0.02)
