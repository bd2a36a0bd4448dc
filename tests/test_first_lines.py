"""The experiment that reads the first line of reports of wrong runs."""

import pytest

from experiments.first_lines import first_lines, in_turn
from rnncheck.faults.catalogue import FAULTS


def test_faults_are_taken_from_every_class_in_turn():
    classes = {fault.group for fault in FAULTS}

    chosen = in_turn(len(classes))

    assert {fault.group for fault in chosen} == classes
    assert sorted(in_turn(len(FAULTS)), key=FAULTS.index) == list(FAULTS)


@pytest.mark.long
def test_first_lines_say_what_is_wrong():
    found = list(first_lines(in_turn(6), 300_000))

    assert len(found) == 6
    for fault, line in found:
        assert line.startswith("MISMATCH  rnncheck_case: in layer ")
        assert line.endswith(fault.summary) or f", {fault.summary}: " in line
