"""Scores, bounds, places and verdicts, on numbers made by hand."""

import itertools
import math
from dataclasses import astuple, replace

import numpy as np
import pytest
from rows import number

from rnncheck.checks.blocks import Block, in_time
from rnncheck.checks.end_to_end import Tolerance
from rnncheck.checks.scores import Comparison, Group, Number, Summary, compare, total
from rnncheck.checks.thresholds import AVERAGE_COUNT, AVERAGE_LIMIT, SCORE_LIMIT, UNDECIDABLE_SHARE
from rnncheck.checks.verdicts import Check, Verdict, failed_row, judge, worst
from rnncheck.rounding.precision import PRECISIONS
from rnncheck.rounding.rounded import Bounds, Rounded

SHAPE = (2, 3, 4)


def block(shape=SHAPE, start=None, call=None):
    axes = ("n", "t", "unit") if len(shape) == 3 else ("n", "unit")
    return Block(axes, start or (0,) * len(shape), shape, call)


def expected(shape=SHAPE, *, noise=0.1, bound=1.0, value=2.0):
    """Numbers that are all alike, with the same noise and bound everywhere."""
    full = np.full(shape, value)
    bounds = Bounds.FREE if bound is None else Bounds.CARRIED
    return Rounded(full, np.full(shape, noise**2), np.full(shape, bound), PRECISIONS["float32"], bounds=bounds)


def summary_of(differences, **options):
    """Compare numbers that differ from the expected by the given amounts, by place."""
    rounded = expected(**options)
    actual = rounded.value.copy()
    for place, difference in differences.items():
        actual[place] += difference
    return compare(actual, rounded, block())


def judged(summary, check=Check.STEP, **options):
    return judge(summary, layer="rnn", output="h", check=check, shape=SHAPE, **options)


# --- compare ---


def test_first_and_worst_number_have_what_was_expected_and_what_was_there():
    summary = summary_of({(0, 1, 2): -0.6, (1, 0, 3): 3.0}, value=2.0)

    assert summary.first.place == summary.worst.place == {"n": 1, "t": 0, "unit": 3}
    assert summary.first.expected == 2.0
    assert summary.first.actual == 5.0
    assert summary.first.difference == 3.0


@pytest.mark.parametrize(("bound", "allowed"), [(1.0, SCORE_LIMIT * 0.01), (0.02, 0.02), (None, SCORE_LIMIT * 0.01)])
def test_what_is_allowed_is_the_limit_of_the_score_or_the_bound(bound, allowed):
    summary = summary_of({(0, 0, 0): 0.5}, noise=0.01, bound=bound)

    assert summary.worst.allowed == pytest.approx(allowed)


@pytest.mark.parametrize("same", [math.nan, math.inf])
def test_numbers_that_are_the_same_differ_by_zero(same):
    assert Number({}, same, same, 0.0).difference == 0.0
    assert Number({}, same, 1.0, 0.0).difference != 0.0


@pytest.mark.parametrize("both", [np.nan, np.inf])
def test_number_that_is_rightly_not_finite_adds_no_noise(both):
    rounded = expected(noise=0.01)
    variance = rounded.variance.copy()
    value = rounded.value.copy()
    value[0, 1, 2], variance[0, 1, 2] = both, np.nan

    summary = compare(value, Rounded(value, variance, None, rounded.precision, bounds=Bounds.FREE), block())

    assert summary.score_max == 0.0
    assert summary.noise == pytest.approx(0.01 * math.sqrt(23 / 24))
    assert judged(summary, check=Check.END_TO_END).verdict is Verdict.MATCH


@pytest.mark.parametrize("variance", [np.inf, np.nan])
@pytest.mark.parametrize(
    ("value", "actual"), [(np.inf, 3.0), (np.inf, -np.inf), (np.inf, np.nan), (np.nan, np.inf), (1.0, np.inf)]
)
@pytest.mark.parametrize("check", [Check.STEP, Check.END_TO_END])
def test_another_number_than_an_infinite_one_of_unknown_noise_is_no_match(check, value, actual, variance):
    rounded = expected(noise=0.01)
    numbers, values, variances = (array.copy() for array in (rounded.value, rounded.value, rounded.variance))
    numbers[0, 1, 2], values[0, 1, 2], variances[0, 1, 2] = actual, value, variance

    summary = compare(numbers, Rounded(values, variances, None, rounded.precision, bounds=Bounds.FREE), block())

    known = np.isnan(variance) and np.isfinite(actual)  # then a number came where none is right
    assert judged(summary, check=check).verdict is (Verdict.ERROR if known else Verdict.UNDECIDABLE)


def test_steps_of_zeros_alone_are_judged():
    assert judged(summary_of({}, value=0.0)).verdict is Verdict.MATCH
    assert judged(summary_of({(0, 0, 0): 2.0}, value=0.0)).verdict is Verdict.MISMATCH


@pytest.mark.parametrize("check", [Check.STEP, Check.END_TO_END])
def test_numbers_without_a_known_noise_are_undecidable(check):
    rounded = expected()
    variance = np.where(np.arange(24).reshape(SHAPE) == 5, np.inf, rounded.variance)

    summary = compare(
        rounded.value, Rounded(rounded.value, variance, None, rounded.precision, bounds=Bounds.FREE), block()
    )

    assert judged(summary, check=check).verdict is Verdict.UNDECIDABLE


def test_score_is_the_difference_over_the_noise_and_bound_use_over_the_bound():
    summary = summary_of({(0, 1, 2): -0.3, (1, 2, 3): 0.2})

    assert summary.count == 24
    assert summary.max_abs_diff == pytest.approx(0.3)
    assert summary.score_max == pytest.approx(3.0)
    assert summary.score_rms == pytest.approx(math.sqrt((9.0 + 4.0) / 24))
    assert summary.bound_use == pytest.approx(0.3)
    assert summary.noise == pytest.approx(0.1)
    assert summary.worst.place == {"n": 0, "t": 1, "unit": 2}
    assert summary.first is None


def test_numbers_that_are_equal_have_score_zero():
    summary = summary_of({})

    assert (summary.max_abs_diff, summary.score_max, summary.score_rms, summary.bound_use) == (0.0, 0.0, 0.0, 0.0)


def test_noise_and_bound_may_be_one_number_for_all():
    rounded = Rounded(np.full(SHAPE, 2.0), np.array(0.01), np.array(1.0), PRECISIONS["float32"])

    summary = compare(np.full(SHAPE, 2.3), rounded, block())

    assert summary.score_rms == pytest.approx(3.0)
    assert summary.noise == pytest.approx(0.1)
    assert summary.bound_use == pytest.approx(0.3)


def test_numbers_without_a_bound_have_no_bound_use():
    assert summary_of({(0, 0, 0): 0.1}, bound=None).bound_use is None


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64, ">f4"])
def test_difference_is_taken_in_float64_whatever_came(dtype):
    summary = compare(np.full(SHAPE, 3).astype(dtype), expected(value=2.0), block())

    assert summary.max_abs_diff == 1.0


def test_numbers_that_arrive_in_another_shape_keep_their_places():
    rounded = expected(shape=(6, 4))
    actual = rounded.value.reshape(SHAPE).copy()
    actual[1, 0, 2] += 1.5

    summary = compare(actual, rounded, block())

    assert summary.first.place == {"n": 1, "t": 0, "unit": 2}


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_number_that_is_not_finite_keeps_its_place_in_another_shape(wrong):
    rounded = expected(shape=(6, 4))
    actual = rounded.value.reshape(SHAPE).copy()
    actual[1, 0, 2] = wrong

    summary = compare(actual, rounded, block())

    assert summary.first.place == {"n": 1, "t": 0, "unit": 2}
    assert summary.unmatched


def test_what_nothing_may_change_allows_no_difference():
    same = np.arange(24.0).reshape(SHAPE)
    other = same.copy()
    other[1, 1, 1] = np.nextafter(other[1, 1, 1], 99.0)

    assert judged(compare(same, same, block())).verdict is Verdict.MATCH
    row = judged(compare(other, same, block()))

    assert (row.verdict, row.proven) == (Verdict.MISMATCH, True)
    assert row.first == {"n": 1, "t": 1, "unit": 1}


@pytest.mark.parametrize(
    ("actual", "value", "verdict"),
    [
        (np.nan, np.nan, "match"),
        (np.inf, np.inf, "match"),
        (-np.inf, -np.inf, "match"),
        (np.inf, 1e39, "match"),  # too large for float32
        (-np.inf, -1e39, "match"),
        (-np.inf, 1e39, "mismatch"),
        (np.nan, 1.0, "mismatch"),
        (np.inf, 1.0, "mismatch"),
        (np.inf, 1e38, "mismatch"),
        (1.0, np.nan, "error"),
        (1.0, np.inf, "error"),
        (-np.inf, np.inf, "error"),
        (np.nan, np.inf, "error"),
    ],
)
@pytest.mark.parametrize("bound", [1.0, None], ids=["bounded", "free"])
def test_both_sides_must_agree_on_what_is_not_finite(actual, value, verdict, bound):
    rounded = expected(bound=bound)
    rounded.value[1, 2, 3] = value
    numbers = np.full(SHAPE, 2.0)
    numbers[1, 2, 3] = actual

    row = judged(compare(numbers, rounded, block()))

    assert row.verdict == verdict
    assert row.first == (None if verdict == "match" else {"n": 1, "t": 2, "unit": 3})
    assert row.proven == (verdict == "mismatch")
    words = {"error": "the equations give no finite number there, from", "mismatch": "got NaN or infinity; expected"}
    assert row.detail.startswith(words.get(verdict, ""))
    assert bool(row.detail) == (verdict in words)


def test_nan_that_both_sides_have_does_not_excuse_one_that_only_the_actual_side_has():
    rounded = expected()
    rounded.value[1] = np.nan
    numbers = rounded.value.copy()
    numbers[0, 1, 2] = np.nan

    row = judged(compare(numbers, rounded, block()))

    assert (row.verdict, row.proven) == (Verdict.MISMATCH, True)
    assert row.first == {"n": 0, "t": 1, "unit": 2}


# --- places ---


def test_first_place_is_the_earliest_step_then_the_first_sample_then_the_first_unit():
    places = [(0, 2, 0), (1, 1, 0), (0, 1, 3), (0, 1, 1)]

    found = []
    while places:
        place = summary_of(dict.fromkeys(places, 1.5)).first.place
        found.append(tuple(place.values()))
        places.remove(found[-1])

    assert found == [(0, 1, 1), (0, 1, 3), (1, 1, 0), (0, 2, 0)]


def test_first_place_of_rows_without_steps_is_the_first_sample():
    rounded = expected(shape=(3, 4))
    actual = rounded.value.copy()
    actual[1, 3] += 2.0
    actual[2, 0] += 3.0

    summary = compare(actual, rounded, block((3, 4)))

    assert summary.first.place == {"n": 1, "unit": 3}
    assert summary.worst.place == {"n": 2, "unit": 0}


def test_first_place_is_the_earliest_and_not_the_worst():
    summary = summary_of({(1, 0, 3): 0.9, (0, 1, 0): 5.0})

    assert summary.first.place == {"n": 1, "t": 0, "unit": 3}
    assert summary.worst.place == {"n": 0, "t": 1, "unit": 0}


def test_places_count_from_the_start_of_the_whole_array():
    rounded = expected()
    actual = rounded.value.copy()
    actual[1, 2, 3] += 2.0

    summary = compare(actual, rounded, block(start=(10, 20, 0), call=1))

    assert summary.first.place == {"call": 1, "n": 11, "t": 22, "unit": 3}


def test_window_of_a_block_is_its_part_of_the_array():
    array = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    part = Block(("n", "t", "unit"), (1, 2, 0), (2, 3, 6))

    np.testing.assert_array_equal(array[part.window], array[1:3, 2:5])


def test_places_sort_by_call_then_step_then_sample_then_unit():
    places = [
        {"call": call, "n": n, "t": t, "unit": unit} for call, t, n, unit in itertools.product(range(2), repeat=4)
    ]
    shuffled = [places[i] for i in np.random.default_rng(0).permutation(len(places))]

    assert sorted(shuffled, key=in_time) == places


# --- summaries add up ---


def all_summaries():
    return [
        summary_of({(0, 1, 2): 0.3}),
        summary_of({(1, 2, 3): 1.7, (0, 0, 1): -0.05}),
        summary_of({(1, 0, 0): 0.9}),
        summary_of({(0, 0, 0): 0.2}, bound=None),
        summary_of({}),
        Summary(),
    ]


def test_of_two_equal_scores_the_earlier_stays():
    one, other = (summary_of({(0, 1, 2): 0.5}) for _ in range(2))
    other = replace(other, worst=replace(other.worst, place={"n": 1, "t": 1, "unit": 2}))

    assert (one + other).worst == one.worst
    assert (Summary() + other).worst == (other + Summary()).worst == other.worst


def test_sum_of_blocks_is_the_comparison_of_the_whole():
    rng = np.random.default_rng(0)
    rounded = expected()
    actual = rounded.value + rng.normal(size=SHAPE) * 0.5

    whole = compare(actual, rounded, block())
    parts = []
    for n, t in itertools.product(range(2), range(3)):
        piece = rounded[n : n + 1, t : t + 1]
        parts.append(compare(actual[n : n + 1, t : t + 1], piece, block((1, 1, 4), start=(n, t, 0))))
    added = total(parts)

    assert (added.count, added.worst, added.first) == (whole.count, whole.worst, whole.first)
    for name in ("max_abs_diff", "score_max", "score_rms", "bound_use", "noise"):
        assert getattr(added, name) == pytest.approx(getattr(whole, name))
    assert added.groups.keys() == whole.groups.keys()
    for size, of_whole in whole.groups.items():
        assert astuple(added.groups[size])[:3] == pytest.approx(astuple(of_whole)[:3])
        assert added.groups[size].first == of_whole.first


@pytest.mark.parametrize("order", [0, 1, 2], ids=["as it is", "reversed", "shuffled"])
def test_sum_does_not_depend_on_the_order(order):
    summaries = all_summaries()
    expected_sum = total(summaries)
    np.random.default_rng(1).shuffle(summaries) if order == 2 else summaries.reverse() if order else None

    added = total(summaries)

    assert added.score_max == pytest.approx(17.0)
    assert added.bound_use == pytest.approx(1.7)
    assert added.worst.place == {"n": 1, "t": 2, "unit": 3}
    assert added.first.place == {"n": 1, "t": 0, "unit": 0}
    assert added.count == expected_sum.count == 5 * 24
    assert added.score_rms == pytest.approx(expected_sum.score_rms)


def test_sum_remembers_what_was_not_finite():
    nothing, summary = Summary(), Summary(unmatched=True, unexpected=True)

    for added in (nothing + summary, summary + nothing):
        assert added.unmatched
        assert added.unexpected


def test_sum_of_nothing_is_neutral():
    for summary in all_summaries():
        assert summary + Summary() == summary
        assert Summary() + summary == summary


# --- judge ---


@pytest.mark.parametrize(
    ("summary", "verdict", "proven"),
    [
        (Summary(count=5, score_max=SCORE_LIMIT), "match", False),
        (Summary(count=5, score_max=SCORE_LIMIT * 1.001, worst=number({"n": 1})), "mismatch", False),
        (Summary(count=5, bound_use=1.0), "match", False),
        (Summary(count=5, bound_use=1.001, worst=number({"n": 1})), "mismatch", True),
        (Summary(count=5, unmatched=True, worst=number({"n": 1})), "mismatch", True),
        (Summary(count=AVERAGE_COUNT, score_energy=AVERAGE_COUNT * AVERAGE_LIMIT**2 * 0.99), "match", False),
        (
            Summary(
                count=AVERAGE_COUNT, score_energy=AVERAGE_COUNT * AVERAGE_LIMIT**2 * 1.01, worst=number({"n": 1})
            ),
            "mismatch",
            False,
        ),
        (Summary(count=AVERAGE_COUNT - 1, score_energy=AVERAGE_COUNT * AVERAGE_LIMIT**2 * 1.01), "match", False),
    ],
    ids=["score at limit", "score", "bound at limit", "bound", "unmatched", "average below", "average", "too few"],
)
def test_step_is_a_mismatch_when_score_bound_or_average_says_so(summary, verdict, proven):
    row = judged(summary)

    assert (row.verdict, row.proven) == (verdict, proven)
    assert row.first_number == (summary.worst if verdict == "mismatch" else None)


def group(count=4, *, share=0.0, signal=1.0, first=None):
    """Numbers whose noise is a share of their signal."""
    return Group(count, count * (share * signal) ** 2, count * signal**2, first)


@pytest.mark.parametrize("check", list(Check))
@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_only_numbers_of_a_whole_run_can_be_too_noisy(check, factor):
    noisy = group(share=UNDECIDABLE_SHARE * factor, first={"n": 0})

    row = judged(Summary(count=7, groups={-3: noisy, 0: group(3)}), check)

    undecidable = check is Check.END_TO_END and factor > 1.0
    assert row.verdict is (Verdict.UNDECIDABLE if undecidable else Verdict.MATCH)
    assert row.unjudged == (4 if undecidable else 0)
    assert row.detail.startswith("4 of 7 numbers, the first at n=0, cannot be judged" if undecidable else "")
    assert row.decides


@pytest.mark.parametrize("noise", [math.inf, math.nan])
def test_noise_without_limit_is_undecidable(noise):
    summary = Summary(count=4, groups={3: Group(4, noise, 4.0, {"n": 0})})

    assert judged(summary, Check.END_TO_END).verdict is Verdict.UNDECIDABLE


def sample_of(value, noise, difference=0.0):
    """A sample of one number, which differs from what is expected by so many times its noise."""
    rounded = Rounded(np.array([[value]]), np.array([[noise**2]]), None, PRECISIONS["float32"], bounds=Bounds.FREE)
    return np.array([[value + difference * noise]]), rounded


@pytest.mark.parametrize("large", [1e20, 1e12, 3e9])
def test_number_that_cannot_be_judged_does_not_hide_behind_a_large_one(large):
    """8 with a noise of 6, off by 5 times that, beside a number of the same relative noise as most."""
    parts = [sample_of(large, large * 1e-7), sample_of(8.0, 6.0, 5.0), sample_of(3.0, 3e-7)]
    actual, rounded = (
        np.concatenate([each[0] for each in parts]),
        Rounded.join([e[1] for e in parts], np.concatenate),
    )

    row = judged(compare(actual, rounded, block((3, 1))), Check.END_TO_END)

    assert (row.verdict, row.unjudged) == (Verdict.UNDECIDABLE, 1)
    assert row.detail.startswith("1 of 3 numbers, the first at n=1 unit=0, cannot be judged")


@pytest.mark.parametrize(
    ("noises", "groups"),
    [
        ([2.0**-20, 1.99 * 2.0**-20, 3.99 * 2.0**-20], 1),
        ([2.0**-20, 4.0 * 2.0**-20], 2),
        ([2.0**-20, 16.0 * 2.0**-20, 64.0 * 2.0**-20], 3),
        ([2.0**-20, 0.99 * 2.0**-20], 2),
    ],
)
def test_noises_of_one_group_are_within_a_factor_of_four(noises, groups):
    rounded = Rounded(
        np.ones((len(noises), 1)), np.square([noises]).T / 2.0, None, PRECISIONS["float32"], bounds=Bounds.FREE
    )

    summary = compare(rounded.value, rounded, block((len(noises), 1)))

    assert len(summary.groups) == groups
    assert sum(group.count for group in summary.groups.values()) == len(noises)


def test_number_near_zero_is_judged_beside_those_that_are_as_noisy():
    """A sine crosses zero: what is small there is no smaller than the noise of its neighbours makes it."""
    value = np.sin(np.linspace(0.0, np.pi, 24)).reshape(SHAPE)
    rounded = Rounded(value, np.full(SHAPE, 1e-14), None, PRECISIONS["float32"], bounds=Bounds.FREE)

    assert judged(compare(value, rounded, block()), Check.END_TO_END).verdict is Verdict.MATCH


@pytest.mark.parametrize("size", [1e-30, 1e-3, 1.0])
@pytest.mark.parametrize("check", [Check.STEP, Check.END_TO_END])
def test_another_number_than_an_exact_zero_is_a_mismatch(check, size):
    zeros = Rounded(np.zeros(SHAPE), np.zeros(SHAPE), None, PRECISIONS["float32"], bounds=Bounds.FREE)

    summary = compare(np.full(SHAPE, size), zeros, block())

    assert judged(summary, check).verdict is Verdict.MISMATCH


def test_numbers_that_are_all_zero_and_exact_match():
    summary = compare(np.zeros(SHAPE), np.zeros(SHAPE), block())

    assert judged(summary, Check.END_TO_END).verdict is Verdict.MATCH


def test_zeros_without_noise_are_decidable():
    """An activation such as soft_shrink makes every number zero: the floor of the noise is then no share of it."""
    zeros = Rounded(np.zeros(SHAPE), np.zeros(SHAPE), None, PRECISIONS["float32"], bounds=Bounds.FREE)

    summary = compare(np.zeros(SHAPE), zeros, block())

    assert summary.noise == 0.0
    assert judged(summary, Check.END_TO_END).verdict is Verdict.MATCH


def test_mismatch_comes_before_undecidable():
    noisy = {1: group(share=2.0, first={"n": 0})}
    summary = Summary(count=4, groups=noisy, score_max=SCORE_LIMIT + 1, worst=number({"n": 0}))

    assert judged(summary, Check.END_TO_END).verdict is Verdict.MISMATCH


def test_samples_whose_errors_were_amplified_are_set_aside():
    rounded = expected(bound=None, noise=1e-3)
    actual = rounded.value.copy()
    actual[1] += 1.0

    def row(unsure):
        return judged(compare(actual, rounded, block(), np.array(unsure)), Check.END_TO_END)

    assert row([False, False]).verdict is Verdict.MISMATCH
    assert row([True, False]).verdict is Verdict.MISMATCH
    assert row([False, True]).verdict is Verdict.UNDECIDABLE
    assert row([False, True]).unjudged == 12
    assert row([False, True]).detail.startswith("12 of 24 numbers, the first at n=1 t=0 unit=0, cannot be judged")


@pytest.mark.parametrize(
    ("actual", "value", "verdict"),
    [(np.nan, 2.0, "mismatch"), (2.0, np.nan, "undecidable"), (np.nan, np.nan, "undecidable")],
)
def test_nan_where_errors_were_amplified_is_wrong_unless_it_is_expected(actual, value, verdict):
    rounded = expected(bound=None)
    actuals, values = rounded.value.copy(), rounded.value.copy()
    actuals[1, 2, 3], values[1, 2, 3] = actual, value

    summary = compare(actuals, rounded.like(values, rounded.variance, None), block(), np.array([False, True]))

    assert judged(summary, Check.END_TO_END).verdict.value == verdict


def test_undecidable_row_does_not_decide_when_every_step_was_checked():
    summary = Summary(count=4, groups={1: group(share=2.0, first={"n": 0})})

    assert not judged(summary, Check.END_TO_END, steps_checked=True).decides
    assert judged(summary, Check.END_TO_END, steps_checked=False).decides
    assert judged(Summary(count=4), Check.END_TO_END, steps_checked=True).decides


def test_row_that_failed_says_why_and_decides():
    row = failed_row("rnn", "ValueError: broken")

    assert (row.verdict, row.detail, row.decides, row.proven) == (Verdict.ERROR, "ValueError: broken", True, False)
    assert math.isnan(row.max_abs_diff)
    assert math.isnan(row.score_rms)


# --- verdicts ---


def test_verdicts_are_ordered_from_good_to_bad():
    assert sorted(Verdict, key=lambda verdict: verdict.severity) == ["match", "undecidable", "error", "mismatch"]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_worst_verdict_of_rows_is_the_most_severe(count):
    rows = {v: replace(judged(Summary(count=1)), verdict=v) for v in Verdict}

    for verdicts in itertools.permutations(Verdict, count):
        assert worst(rows[v] for v in verdicts) is max(verdicts, key=lambda v: v.severity)


def test_worst_verdict_passes_over_undecidable_rows_that_do_not_decide():
    match = judged(Summary(count=1))
    hidden = replace(match, verdict=Verdict.UNDECIDABLE, decides=False)

    assert worst([match, hidden]) is Verdict.MATCH
    assert worst([match, replace(hidden, decides=True)]) is Verdict.UNDECIDABLE
    assert worst([hidden, replace(match, verdict=Verdict.MISMATCH)]) is Verdict.MISMATCH


def test_worst_verdict_of_nothing_is_an_error():
    hidden = replace(judged(Summary(count=1)), decides=False)

    assert worst([]) is Verdict.ERROR
    assert worst([hidden]) is Verdict.ERROR


def test_numbers_whose_noise_single_precision_may_have_lost_are_suspicious():
    value, variance = np.zeros((4, 2)), np.zeros((4, 2), np.float32)
    value[1], actual = 1.0, np.zeros((4, 2))
    actual[1], actual[2, 1] = 1.0, 1e-30
    variance[3] = 1.0

    with np.errstate(all="ignore"):
        seen = Comparison(actual, Rounded(value, variance, None, PRECISIONS["float32"], bounds=Bounds.LEFT_OUT))

        # Not where zero is expected and there.
        assert seen.suspicious_rows(5.0).tolist() == [1, 2]


@pytest.mark.parametrize("value", [5.0, -5.0])
def test_tolerance_allows_atol_and_a_share_of_the_expected_number(value):
    plain = Tolerance(rtol=0.1, atol=1.0).around(np.full((2, 3), value))

    np.testing.assert_allclose(plain.bound, 1.5)
    np.testing.assert_allclose(plain.variance, 2.25)
    for difference, verdict in ((1.499, Verdict.MATCH), (1.501, Verdict.MISMATCH)):
        summary = compare(np.full((2, 3), value + difference), plain, block((2, 3)))
        assert judged(summary, Check.TOLERANCE).verdict is verdict
