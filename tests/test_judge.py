"""How many mismatches of a run are explained."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from rnncheck.faults.catalogue import FAULTS
from rnncheck.faults.catalogue.fault import injections
from rnncheck.frameworks.sources import Subject
from rnncheck.jobs.job import Job
from rnncheck.jobs.judge import run_and_judge

SINE = Path(__file__).parent.parent / "rnncheck" / "demo" / "sine.keras"


def test_mismatches_after_the_first_few_are_not_diagnosed():
    subject = Subject.of(SINE)
    faults = [fault for fault in FAULTS if fault.name == "recurrent_kernel_transposed"]
    (injection,) = injections(subject.equations, faults)
    calls = ((np.load(SINE.with_name("inputs.npy"))[:2],),)
    right, wrong = Job(subject, calls), Job(replace(subject, network=injection.network), calls)

    entries = run_and_judge([wrong, right, wrong], most_diagnosed=1).entries
    (again,) = run_and_judge([wrong], most_diagnosed=0).entries

    assert [entry.verdict for entry in (*entries, again)] == ["mismatch", "match", "mismatch", "mismatch"]
    assert [entry.diagnosis is not None for entry in (*entries, again)] == [True, False, False, False]
    assert entries[0].rows == entries[2].rows
    assert all(entry.diagnosis is not None for entry in run_and_judge([wrong, wrong]).entries)
