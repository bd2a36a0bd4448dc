"""Wrong code fails, at the right place; correct code passes."""

import pytest

from experiments.power import FAULTS, SIZES, Fault, examine, examine_chaos, is_wrong


@pytest.mark.parametrize("units", SIZES, ids=lambda units: f"M{units}")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_step_check_sees_every_visible_fault_where_it_is(fault: Fault, units: int) -> None:
    result = examine(fault, units)

    assert not is_wrong(result), result


@pytest.mark.parametrize("name", ["one bias +1e-6", "one recurrent weight +1e-5", "tanh approximated to 4e-6"])
def test_usual_rules_let_small_faults_pass_that_the_step_check_sees(name: str) -> None:
    (fault,) = (fault for fault in FAULTS if fault.name == name)

    result = examine(fault, 256)

    assert result["torch float32"]
    assert result["ONNX"]
    assert result["verdict"] == "mismatch"


def test_chaotic_run_of_correct_code_matches_though_its_outputs_differ():
    result = examine_chaos(FAULTS[0])

    assert (result["verdict"], result["end_to_end"]) == ("match", "undecidable")
    assert result["end_to_end_difference"] > 0.1


def test_chaotic_run_with_one_wrong_weight_is_a_mismatch_at_its_step():
    (fault,) = (fault for fault in FAULTS if fault.name == "one recurrent weight +1e-5")

    result = examine_chaos(fault)

    assert result["verdict"] == "mismatch"
    assert (result["first"]["t"], result["first"]["unit"]) == (1, 3)
