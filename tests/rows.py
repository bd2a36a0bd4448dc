"""A row that matches, for the tests of reports."""

from rnncheck import Row, Verdict
from rnncheck.checks.scores import Number
from rnncheck.checks.verdicts import Check


def number(place):
    return Number(place, expected=0.5, actual=0.75, allowed=1e-06)


MATCH = Row(
    layer="simple_rnn",
    output="h",
    check=Check.STEP,
    shape=(2, 5, 4),
    max_abs_diff=8.1e-08,
    noise=7.2e-08,
    score_max=1.37,
    score_rms=0.5,
    bound_use=0.16,
    worst_number=number({"n": 0, "t": 4, "unit": 3}),
    first_number=None,
    verdict=Verdict.MATCH,
)
