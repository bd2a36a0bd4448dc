"""Wrong code fails, at the right place; correct code passes."""

import pytest

from experiments.power import FAULTS, SIZES, Fault, examine, is_wrong


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
