"""A Report adds up verdicts, and shows them the same way as text, table, HTML and dictionary."""

import builtins
import io
import itertools
import math
from dataclasses import replace

import numpy as np
import pandas
import pytest
from rich.console import Console
from rows import MATCH, number

from rnncheck import Entry, MismatchError, Report, Verdict
from rnncheck.checks.one_step import OneStep
from rnncheck.checks.verdicts import Check, failed_row
from rnncheck.faults.trial import BlindSpot
from rnncheck.report.console import print_result
from rnncheck.report.entry import Difference
from rnncheck.report.tables import MOST_LINES, print_report, to_text

NUMBERS = {"expected": 0.5, "actual": 0.75, "difference": 0.25, "allowed": 1e-06}


MISMATCH = replace(
    MATCH,
    verdict=Verdict.MISMATCH,
    max_abs_diff=0.25,
    score_max=math.inf,
    bound_use=math.inf,
    first_number=number({"n": 1, "t": 2, "unit": 0}),
    proven=True,
)
UNDECIDABLE = replace(
    MATCH,
    layer="dense",
    output="output",
    check=Check.END_TO_END,
    shape=(2, 2),
    bound_use=None,
    worst_number=number({"n": 0, "unit": 1}),
    verdict=Verdict.UNDECIDABLE,
)
UNCOUNTED = replace(UNDECIDABLE, decides=False)
ERROR = failed_row("gru", "ValueError: no")


def report_of(*rows, **options):
    return Report({"keras": "3.15"}, (Entry("a case", rows, **options),))


def lines(report):
    return [line.rstrip() for line in str(report).splitlines()]


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        pytest.param((MATCH,), "match", id="match"),
        pytest.param((MATCH, UNDECIDABLE), "undecidable", id="undecidable-over-match"),
        pytest.param((UNDECIDABLE, ERROR), "error", id="error-over-undecidable"),
        pytest.param((ERROR, MISMATCH, MATCH), "mismatch", id="mismatch-over-all"),
        pytest.param((MATCH, UNCOUNTED), "match", id="row-that-does-not-decide"),
        pytest.param((UNCOUNTED,), "error", id="no-row-decides"),
        pytest.param((), "error", id="no-row"),
    ],
)
def test_verdict_of_an_entry_is_its_worst_row_s(rows, verdict):
    assert Entry("a case", rows).verdict == verdict


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        pytest.param((MATCH,), 0, id="match"),
        pytest.param((MISMATCH,), 1, id="mismatch"),
        pytest.param((ERROR,), 2, id="error"),
        pytest.param((UNDECIDABLE,), 3, id="undecidable"),
    ],
)
def test_exit_code_says_the_verdict(rows, code):
    assert report_of(*rows).exit_code == code


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        pytest.param((MATCH, UNDECIDABLE), 3, id="undecidable-over-match"),
        pytest.param((UNDECIDABLE, ERROR), 2, id="error-over-undecidable"),
        pytest.param((ERROR, MISMATCH), 1, id="mismatch-over-error"),
    ],
)
def test_exit_code_of_several_entries_is_the_worst_one_s(rows, code):
    entries = [Entry(f"case {number}", (row,)) for number, row in enumerate(rows)]

    assert Report({}, tuple(entries)).exit_code == code
    assert Report({}, tuple(reversed(entries))).exit_code == code


def test_report_of_nothing_is_no_match():
    assert Report().verdict == "error"
    assert Report().exit_code == 2


def test_report_is_proven_when_one_row_is():
    assert not report_of(MATCH, replace(MISMATCH, proven=False)).proven
    assert report_of(MATCH, MISMATCH).proven


def test_rows_are_those_of_all_entries_in_order():
    report = Report({}, (Entry("one", (MATCH, UNDECIDABLE)), Entry("two", (MISMATCH,))))

    assert report.rows == (MATCH, UNDECIDABLE, MISMATCH)


def test_dictionary_is_what_the_contract_says():
    report = Report(
        {"keras": "3.15"},
        (
            Entry("one", (MATCH,), seed=7, case={"N": 2}, notes=("a note",)),
            Entry("two", (MISMATCH, ERROR), model="two"),
        ),
    )

    assert report.to_dict() == {
        "schema": 1,
        "environment": {"keras": "3.15"},
        "verdict": "mismatch",
        "proven": True,
        "cases": [
            {
                "case": {"N": 2},
                "seed": 7,
                "verdict": "match",
                "proven": False,
                "rows": [
                    {
                        "layer": "simple_rnn",
                        "output": "h",
                        "check": "step",
                        "shape": [2, 5, 4],
                        "max_abs_diff": 8.1e-08,
                        "noise": 7.2e-08,
                        "score_max": 1.37,
                        "score_rms": 0.5,
                        "bound_use": 0.16,
                        "worst": {"n": 0, "t": 4, "unit": 3},
                        "first": None,
                        "verdict": "match",
                        "unjudged": 0,
                        "examples": {"worst": {"place": {"n": 0, "t": 4, "unit": 3}, **NUMBERS}},
                    }
                ],
                "notes": ["a note"],
                "diagnosis": None,
                "blind_spots": [],
            },
            {
                "model": "two",
                "seed": None,
                "verdict": "mismatch",
                "proven": True,
                "rows": [
                    {
                        "layer": "simple_rnn",
                        "output": "h",
                        "check": "step",
                        "shape": [2, 5, 4],
                        "max_abs_diff": 0.25,
                        "noise": 7.2e-08,
                        "score_max": "Infinity",
                        "score_rms": 0.5,
                        "bound_use": "Infinity",
                        "worst": {"n": 0, "t": 4, "unit": 3},
                        "first": {"n": 1, "t": 2, "unit": 0},
                        "verdict": "mismatch",
                        "unjudged": 0,
                        "examples": {
                            "first": {"place": {"n": 1, "t": 2, "unit": 0}, **NUMBERS},
                            "worst": {"place": {"n": 0, "t": 4, "unit": 3}, **NUMBERS},
                        },
                    },
                    {
                        "layer": "gru",
                        "output": "all",
                        "check": "end_to_end",
                        "shape": [],
                        "max_abs_diff": "NaN",
                        "noise": "NaN",
                        "score_max": "NaN",
                        "score_rms": "NaN",
                        "bound_use": None,
                        "worst": None,
                        "first": None,
                        "verdict": "error",
                        "unjudged": 0,
                        "examples": {},
                    },
                ],
                "notes": [],
                "diagnosis": None,
                "blind_spots": [],
            },
        ],
    }


def test_dictionary_holds_plain_values_only():
    (row,) = report_of(MATCH).to_dict()["cases"][0]["rows"]

    assert {type(value) for value in row.values()} == {str, list, float, int, dict, type(None)}


def test_frame_has_a_line_for_each_row():
    report = Report({}, (Entry("one", (MATCH, UNDECIDABLE), seed=7), Entry("two", (MISMATCH,))))

    frame = report.to_frame()

    assert list(frame.columns) == [
        "case",
        "seed",
        "layer",
        "output",
        "check",
        "shape",
        "max_abs_diff",
        "noise",
        "score_max",
        "score_rms",
        "bound_use",
        "worst",
        "first",
        "verdict",
        "unjudged",
        *(f"{which}_{field}" for which in ("first", "worst") for field in NUMBERS),
    ]
    assert list(frame["case"]) == ["one", "one", "two"]
    assert list(frame["check"]) == ["step", "end_to_end", "step"]
    assert list(frame["shape"]) == ["2x5x4", "2x2", "2x5x4"]
    assert list(frame["max_abs_diff"]) == [8.1e-08, 8.1e-08, 0.25]
    assert list(frame["bound_use"].isna()) == [False, True, False]
    assert list(frame["worst"]) == ["n=0 t=4 unit=3", "n=0 unit=1", "n=0 t=4 unit=3"]
    assert list(frame["first"]) == ["", "", "n=1 t=2 unit=0"]
    assert list(frame["verdict"]) == ["match", "undecidable", "mismatch"]
    assert list(frame["first_expected"].isna()) == [True, True, False]
    assert list(frame["worst_actual"]) == [0.75] * 3


def test_frame_of_numbers_is_numeric():
    frame = report_of(MATCH, MISMATCH).to_frame()

    numbers = ["max_abs_diff", "noise", "score_max", "score_rms", "bound_use"]
    assert all(pandas.api.types.is_float_dtype(frame[name]) for name in numbers)


def test_frame_of_nothing_has_the_columns():
    frame = Report().to_frame()

    assert len(frame) == 0
    assert "verdict" in frame.columns


AGREE = "agree with the equations; the largest difference is 17% of what rounding allows"
LEGEND = (
    "typical rounding: what rounding does to such numbers; score: the largest difference in units of it, at most 8 "
    "if right"
)


def test_text_of_one_entry_is_the_answer_and_a_table_of_its_rows():
    report = report_of(MATCH, replace(UNDECIDABLE, verdict=Verdict.MATCH))

    assert lines(report) == [
        f"MATCH  a case: all 44 numbers {AGREE}",
        "verdict  layer         check       shape  difference  typical rounding      score",
        "match    simple_rnn h  step        2x5x4     8.1e-08           7.2e-08  1.37 of 8",
        "match    dense output  end_to_end  2x2       8.1e-08           7.2e-08  1.37 of 8",
        LEGEND,
    ]


def test_text_of_several_entries_is_the_answer_and_a_table_of_entries():
    end = replace(UNDECIDABLE, verdict=Verdict.MATCH, max_abs_diff=2e-07)
    report = Report({}, (Entry("one", (MATCH, end)), Entry("two", (MATCH,))))

    assert lines(report) == [
        f"MATCH  2 cases: all 84 numbers {AGREE}",
        "Largest differences between Keras and the equations",
        "verdict  case  end to end  one step  typical rounding      score",
        "match    one      2.0e-07   8.1e-08           7.2e-08  1.37 of 8",
        "match    two            -   8.1e-08           7.2e-08  1.37 of 8",
        LEGEND,
        "2 cases, 84 numbers compared: 2 match",
    ]


def test_details_are_what_experts_read():
    console = Console(file=io.StringIO(), width=118)

    print_report(report_of(MATCH).entries, console, details=True)

    assert "score   rms  bound use" in console.file.getvalue()
    assert "1.37 of 8  0.50       0.16" in console.file.getvalue()


def test_text_begins_with_what_is_wrong_and_the_numbers_there():
    assert lines(report_of(MATCH, MISMATCH))[:3] == [
        "MISMATCH  a case: layer 'simple_rnn' differs from its equations",
        "          first wrong at sample 1, step 2, unit 0: expected 0.5, got 0.75; rounding allows 1e-06",
        "          worst at sample 0, step 4, unit 3: expected 0.5, got 0.75; rounding allows 1e-06",
    ]


def test_failures_of_several_entries_are_a_table_in_the_order_of_their_places():
    report = Report({}, (Entry("one", (MATCH, replace(MISMATCH, proven=False))), Entry("two", (MISMATCH,))))

    text = lines(report)

    start = text.index("What failed, earliest place first")
    assert text[start + 1 : start + 4] == [
        "verdict           case  layer         check  first at        expected   got  score",
        "mismatch          one   simple_rnn h  step   n=1 t=2 unit=0       0.5  0.75    inf",
        "mismatch, proven  two   simple_rnn h  step   n=1 t=2 unit=0       0.5  0.75    inf",
    ]


STEP = OneStep(
    "lstm",
    {"n": 1, "t": 2},
    unit=0,
    x=np.arange(9.0),
    before={"h": np.array([0.5, 0.25]), "c": np.array([-0.0, 1.0])},
    activations={"i": (np.array([1.0, 2.0]), np.array([3.0, 4.0]))},
    after={"h": np.array([5.0, 6.0]), "c": np.array([7.0, 8.0])},
    observed=np.array([0.125, 9.0]),
)


def test_first_wrong_step_is_shown_in_numbers():
    text = lines(report_of(replace(MISMATCH, layer="lstm"), step=STEP))

    start = text.index("sample 1, step 2, unit 0 of layer 'lstm', by the equations:")
    assert [line.split() for line in text[start + 2 : start + 8]] == [
        ["h", "before", "0.5"],
        ["c", "before", "0"],
        ["i", "1", "3"],
        ["h", "5"],
        ["c", "7"],
        ["h", "that", "was", "got", "0.125"],
    ]
    assert text[start + 8 : start + 10] == ["x: [0. 1. 2. 3. ... 5. 6. 7. 8.]", "h before: [0.5  0.25]"]


def test_first_wrong_step_among_several_cases_is_that_of_the_first_which_has_one():
    wrong = replace(MISMATCH, layer="lstm")
    text = lines(
        Report({}, (Entry("one", (MATCH,)), *(Entry(name, (wrong,), step=STEP) for name in ("two", "three"))))
    )

    assert [line for line in text if line.endswith("by the equations:")] == [
        "two: sample 1, step 2, unit 0 of layer 'lstm', by the equations:"
    ]


def test_first_wrong_step_is_in_the_dictionary():
    (case,) = report_of(replace(MISMATCH, layer="lstm"), step=STEP).to_dict()["cases"]

    assert case["step"]["place"] == {"n": 1, "t": 2}
    assert case["step"]["activations"] == {"i": [[1.0, 2.0], [3.0, 4.0]]}


@pytest.mark.parametrize("width", [60, 72, 80, 100, 118, 200])
def test_no_line_is_wider_than_the_console_or_padded(width):
    long = replace(MISMATCH, layer="layer_with_a_long_name", detail="a reason")
    console = Console(file=io.StringIO(), width=width)

    print_report(report_of(MATCH, long, replace(long, layer="b"), notes=("look twice " * 20,)).entries, console)

    printed = console.file.getvalue().splitlines()
    assert max(map(len, printed)) <= width
    assert sum("layer_with_a_long_name h" in line for line in printed) == 1  # on one line


def test_columns_are_obeyed(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "60")

    print_result(lambda console: print_report(report_of(MATCH, MISMATCH).entries, console))

    printed = capsys.readouterr().out.splitlines()
    assert 50 < max(map(len, printed)) <= 60
    assert not any(line.endswith(" ") for line in printed)


def test_report_of_nothing_says_so():
    assert lines(Report()) == ["ERROR  nothing was checked"]


def test_text_and_string_are_the_same():
    report = report_of(MATCH, MISMATCH)

    assert str(report) == to_text(report.entries, report.differences)


def test_text_in_a_notebook_is_returned_and_not_displayed(monkeypatch):
    shell = type("ZMQInteractiveShell", (), {})()
    elsewhere = str(report_of(MATCH))
    monkeypatch.setattr(builtins, "get_ipython", lambda: shell, raising=False)

    assert str(report_of(MATCH)) == elsewhere


def test_text_is_no_wider_than_a_code_block():
    report = Report({}, tuple(Entry("simple_rnn " + "option=value " * 20, (MISMATCH,)) for _ in range(2)))

    assert max(len(line) for line in str(report).splitlines()) <= 118


def test_failures_stand_step_checks_first_then_by_step_then_by_sample():
    end = replace(UNDECIDABLE, verdict=Verdict.MISMATCH, first_number=number({"n": 0, "unit": 0}))
    late = replace(MISMATCH, first_number=number({"n": 0, "t": 3, "unit": 0}))
    second_sample = replace(MISMATCH, first_number=number({"n": 1, "t": 2, "unit": 0}))
    third_sample = replace(MISMATCH, first_number=number({"n": 2, "t": 2, "unit": 0}))
    second_call = replace(MISMATCH, first_number=number({"call": 1, "n": 0, "t": 0, "unit": 0}))
    report = Report({}, (Entry("one", (end, second_call, late)), Entry("two", (third_sample, MATCH, second_sample))))

    failures = report.failures()

    assert [row for _, row in failures] == [second_sample, third_sample, late, second_call, end]
    assert [entry.name for entry, _ in failures] == ["two", "two", "one", "one", "one"]


def test_failure_without_a_step_stands_behind_those_of_the_layers_before_it():
    early = replace(MISMATCH, layer="early", first_number=number({"n": 0, "unit": 0}))
    states = replace(MISMATCH, layer="gru", first_number=number({"n": 1, "t": 4, "unit": 0}))
    last = replace(MISMATCH, layer="last", first_number=number({"n": 0, "unit": 0}))

    failures = report_of(early, states, last).failures()

    assert [row.layer for _, row in failures] == ["early", "gru", "last"]


def test_long_table_of_entries_is_cut_and_says_so():
    report = Report({}, tuple(Entry(f"case {number}", (MATCH,)) for number in range(MOST_LINES + 6)))

    text = lines(report)

    assert sum(line.startswith("match    case ") for line in text) == MOST_LINES
    assert "... and 6 more cases; to_frame() has every row" in text
    assert text[-1] == f"{MOST_LINES + 6} cases, 1,200 numbers compared: {MOST_LINES + 6} match"


def test_long_table_of_failures_is_cut_and_says_so():
    report = Report({}, tuple(Entry(f"case {number}", (MISMATCH,)) for number in range(MOST_LINES + 6)))

    assert "... and 6 more rows failed; to_frame() has every row" in lines(report)


def test_long_table_of_rows_is_cut_and_says_so():
    report = report_of(*(replace(MATCH, layer=f"layer_{number}") for number in range(MOST_LINES + 6)))

    text = lines(report)

    assert sum(line.startswith("match    layer_") for line in text) == MOST_LINES
    assert "... and 6 more rows; to_frame() has every row" in text


def test_table_that_just_fits_is_not_cut():
    report = Report({}, tuple(Entry(f"case {number}", (MATCH,)) for number in range(MOST_LINES)))

    assert "... and" not in str(report)


def test_everything_prints_every_line():
    report = Report({}, tuple(Entry(f"case {number}", (MISMATCH,)) for number in range(MOST_LINES + 6)))
    console = Console(file=io.StringIO(), width=118)

    print_report(report.entries, console, everything=True)

    assert "... and" not in console.file.getvalue()
    assert console.file.getvalue().count("case 29") == 2


def test_notes_of_cases_that_match_among_others_are_left_to_json():
    report = Report({}, (Entry("one", (MATCH,), notes=("of one",)), Entry("two", (MISMATCH,), notes=("of two",))))

    assert [line for line in str(report).splitlines() if line.startswith("note: ")] == ["note: two: of two"]
    assert [entry["notes"] for entry in report.to_dict()["cases"]] == [["of one"], ["of two"]]


def test_notes_are_shown_with_the_name_of_their_entry():
    assert "note: a case: look twice" in lines(report_of(MATCH, notes=("look twice",)))


def test_error_is_shown_with_its_reason():
    assert lines(report_of(ERROR)) == [
        "ERROR  a case: ValueError: no",
        "verdict  layer    check       shape  difference  typical rounding  score",
        "error    gru all  end_to_end                  -                 -      -",
    ]


def test_nothing_counts_as_compared_where_nothing_was():
    report = Report({}, (Entry("one", (ERROR,)), Entry("two", (ERROR,))))

    assert lines(report)[-1] == "2 cases, 0 numbers compared: 2 error"


def test_row_that_does_not_decide_is_explained():
    why = "16 of 16 numbers, the first at n=0 unit=0, cannot be judged"
    uncounted = replace(UNCOUNTED, detail=why)

    one = " ".join(lines(report_of(MATCH, uncounted)))
    several = lines(Report({}, (Entry("a case", (MATCH, uncounted)), Entry("another", (MATCH, uncounted)))))

    assert one.startswith("MATCH  a case: all 44 numbers agree")
    assert f"dense output: {why}; every step on the way was checked instead" in " ".join(one.split())
    note = "dense output: the end-to-end difference cannot be judged; every step on the way was checked instead"
    assert [line.strip() for line in several].count(note) == 1


def test_failed_entries_are_shown_with_the_command_that_runs_them_again():
    entries = [Entry(f"case {n}", (MISMATCH,), reproduce=f"rnncheck verify --seed {n}") for n in range(5)]

    text = lines(Report({}, (Entry("fine", (MATCH,), reproduce="no"), *entries)))

    assert [line for line in text if "again" in line] == [f"again: rnncheck verify --seed {n}" for n in range(3)]


def test_interrupted_report_says_so():
    one = Report({}, (Entry("one", (MISMATCH,)),), interrupted=True)
    two = Report({}, (Entry("one", (MATCH,)), Entry("two", (MATCH,))), interrupted=True)

    assert lines(one)[0] == "MISMATCH  one: layer 'simple_rnn' differs from its equations (interrupted)"
    assert lines(two)[-1] == "2 cases, 80 numbers compared: 2 match (interrupted)"


@pytest.mark.parametrize("name", ["rnn[a]", "rnn[/a]", "[bold]", ":smile:", "layer_\u03b1"])
def test_text_shows_names_as_they_are(name):
    row = replace(MISMATCH, layer=name, output="h")
    report = Report({}, (Entry(name, (row,), notes=(name,)),))

    text = lines(report)

    assert text[0] == f"MISMATCH  {name}: layer {name!r} differs from its equations"
    assert any(line.startswith(f"mismatch, proven  {name} h  step") for line in text)
    assert f"note: {name}: {name}" in text


def test_tolerance_rows_are_not_counted_again():
    tolerance = replace(UNDECIDABLE, check=Check.TOLERANCE, verdict=Verdict.MATCH)

    assert "all 40 numbers agree" in lines(report_of(MATCH, tolerance))[0]


def test_html_escapes_names():
    html = report_of(replace(MATCH, layer="<script>"), notes=("<b>note</b>",))._repr_html_()

    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "&lt;b&gt;note&lt;/b&gt;" in html


def test_html_has_the_rows_and_what_they_come_to():
    html = report_of(MATCH, UNCOUNTED)._repr_html_()

    assert html.count("<tr") == 3
    assert "<td>2x5x4</td>" in html
    assert "MATCH&ensp;a case: all 44 numbers agree with the equations" in html


def test_html_shows_long_names_whole():
    name = "simple_rnn N3 T7 D4 M6 K2 return_sequences return_state go_backwards mask=mixed zero_output_for_mask"

    assert name in Report({}, (Entry(name, (MATCH,)),))._repr_html_()


def test_match_raises_nothing():
    report_of(MATCH, UNCOUNTED).raise_for_mismatch()


def test_result_in_a_notebook_goes_to_stdout(monkeypatch, capsys):
    monkeypatch.setattr(builtins, "get_ipython", type("ZMQInteractiveShell", (), {}), raising=False)

    print_result(lambda console: console.print("a result"))

    assert capsys.readouterr().out == "a result\n"


@pytest.mark.parametrize("row", [MISMATCH, ERROR, UNDECIDABLE], ids=lambda row: str(row.verdict))
def test_anything_but_a_match_raises_with_the_report(row):
    report = report_of(MATCH, row)

    with pytest.raises(MismatchError) as raised:
        report.raise_for_mismatch()

    assert raised.value.report is report
    assert str(raised.value) == str(report)
    assert isinstance(raised.value, AssertionError)


def test_backends_of_a_case_share_a_line():
    entries = [Entry("a case", (MATCH,), backend=backend) for backend in ("tensorflow", "jax")]

    text = lines(Report({}, (*entries, *(replace(each, name="another") for each in entries))))

    assert sum(line.startswith("a case ") for line in text) == 1
    assert sum(line.startswith("another ") for line in text) == 1


def test_cases_differ_each_by_its_own_largest_difference():
    entries = [Entry(name, (MATCH,), backend=backend) for name in "ab" for backend in ("tensorflow", "jax", "torch")]
    by = {("a", "jax"): 1e-7, ("a", "torch"): 2e-7, ("b", "jax"): 3e-7, ("b", "torch"): 1e-8}
    differences = tuple(Difference(case, ("tensorflow", other), size) for (case, other), size in by.items())

    text = lines(Report({}, tuple(entries), differences=differences))

    assert [line.split()[-1] for line in text if line.startswith(("a ", "b "))] == ["2.0e-07", "3.0e-07"]


@pytest.mark.parametrize("path", ["", "unroll"])
def test_difference_says_its_path_if_it_has_one(path):
    found = Difference("a case", ("jax", "torch"), 0.0, path).to_dict()

    assert found == {"case": "a case", "backends": ["jax", "torch"], "max_abs_diff": 0.0} | (
        {"path": path} if path else {}
    )


def test_names_can_neither_forge_a_line_nor_drive_the_terminal():
    forged = "x\n1 case, 144 numbers compared: 1 match\x1b[2J\u202e"
    rows = [replace(row, layer=forged) for row in (MATCH, MISMATCH)]
    entry = Entry(forged, tuple(rows), notes=(forged,))

    text = str(Report({}, (entry,)))

    assert "\n1 case" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "x\\n1 case" in " ".join(text.split())


@pytest.mark.parametrize(
    ("score", "shown"),
    [
        (0.0, "0"),
        (0.0999, "1.0e-01"),
        (0.1, "0.10"),
        (0.5, "0.50"),
        (12.345, "12.35"),
        (999.99, "999.99"),
        (1000.0, "1.0e+03"),
        (math.inf, "inf"),
    ],
)
def test_number_in_a_table_has_few_digits(score, shown):
    row = next(line for line in lines(report_of(replace(MATCH, score_max=score))) if " simple_rnn h " in line)

    assert row.split()[-3] == shown


def test_blind_spots_are_told_of_the_first_backend_and_path_alone():
    ways = itertools.product(("jax", "torch"), ("eager", "graph"))
    entries = tuple(
        Entry("a case", (MATCH,), backend=backend, path=path, blind_spots=(spot,))
        for (backend, path), spot in zip(ways, map(a_blind_spot, range(4)), strict=True)
    )

    assert [line for line in lines(Report({}, entries)) if "fault_" in line] == [
        "blind spots in 'lstm': `fault_0`: the bias is zero. Use random biases."
    ]


def test_blind_spots_of_a_layer_with_a_reason_in_common_stand_together():
    one, two = (a_blind_spot(number) for number in (1, 2))
    spots = (one, replace(two, reason="no", remedy="Yes."), replace(one, layer="gru"), a_blind_spot(3))

    assert [line for line in lines(report_of(MATCH, blind_spots=spots)) if "fault_" in line] == [
        "blind spots in 'lstm': `fault_1`, `fault_3`: the bias is zero. Use random biases. `fault_2`: no. Yes.",
        "blind spots in 'gru': `fault_1`: the bias is zero. Use random biases.",
    ]


def a_blind_spot(number):
    return BlindSpot(f"fault_{number}", "lstm", "the bias is zero", "Use random biases.")
