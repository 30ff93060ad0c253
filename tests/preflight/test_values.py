"""What a value must be, and which value is nearest."""

import pytest
from omegaconf import OmegaConf

from cppo_verl.preflight.value_kinds import Flag, Number, Text
from cppo_verl.preflight.values import COUNT, POSITIVE, TEXT, TEXTS, block_faults, value_faults


@pytest.mark.parametrize(
    ("kind", "value", "says"),
    [
        (COUNT, 1, None),
        (COUNT, 10**9, None),
        (COUNT, 10**9 + 1, "must be a whole number from 1; nearest: 1000000000"),
        (COUNT, 10**400, "must be a whole number from 1"),
        (COUNT, "1", "must be a whole number from 1"),
        (POSITIVE, 10**400, "must be a number above 0"),
        (POSITIVE, 1e300, None),
        (POSITIVE, float("nan"), "must be a number above 0"),
        (Number(1, 8), 9, "must be a whole number from 1 to 8; nearest: 8"),
        (TEXT, "a", None),
        (TEXT, "", "must be a text"),
        (TEXT, 5, "must be a text"),
        (TEXT, ["a"], "must be a text"),
        (Text(null=True), None, None),
        (TEXTS, OmegaConf.create(["a", "b"]), None),
        (TEXTS, OmegaConf.create([]), "must be a text, or a list of texts, not empty"),
        (TEXTS, ["a", None], "must be a text, or a list of texts, not empty"),
        (Text(many=True, one=False), "a", "must be a list of texts, not empty"),
        (Flag(), 1, "must be true or false"),
        (Flag(), "false", "must be true or false"),
        (Flag(), False, None),
    ],
)
def test_what_a_value_must_be(kind, value, says):
    assert kind.fault(value) == says


def test_a_long_number_is_said_in_short():
    (message,) = value_faults(OmegaConf.create({"trainer": {"nnodes": 10**400}})).values()
    assert len(message) < 150


def test_what_another_engine_does_not_have_is_no_fault():
    assert value_faults(OmegaConf.create({"actor_rollout_ref": {"actor": {}}})) == {}


def test_a_block_that_is_none_is_said_by_name():
    values = {"cppo": None, "trainer": 5, "actor_rollout_ref": {"actor": {"optim": []}}}
    faults = block_faults(OmegaConf.create(values))
    assert {f"{name} must be a block of options" for name in ("cppo=None", "trainer=5", "data=None")} < set(faults)
    assert "actor_rollout_ref.actor.optim=[] must be a block of options" in faults
    assert not any(fault.startswith("trainer.") for fault in faults), "which is none itself"
