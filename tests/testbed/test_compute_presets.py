"""`[compute]`: what a preset fills in, what overrides it, and what hosts make of it."""

from __future__ import annotations

from typing import Any

import pytest

from node.cpu import Cpu
from testbed.scenario import Scenario, load_scenario, make_scenario
from testbed.terms import cpu_of


def scenario(*overrides: str, **compute: Any) -> Scenario:
    tables: dict[str, Any] = {
        "committee": [{"on": "laboratory", "count": 4}],
        "network": {"model": "fixed", "delay_ms": 1},
    }
    return make_scenario({**tables, "compute": compute} if compute else tables, overrides)


def test_without_a_preset_two_things_take_time() -> None:
    assert cpu_of(scenario()) == Cpu(sign_ns=50_000, verify_ns=130_000)


def test_units_become_integers_once() -> None:
    costs = {"sign_us": 0.0004, "verify_us": 1.0006, "hash_us_per_mb": 1_300.4, "execute_us": 2}
    batch = {"verification": "batch", "batch_base_us": 3.5, "batch_us": 0.25}
    assert cpu_of(scenario(**costs, **batch)) == Cpu(
        sign_ns=0,
        verify_ns=1_001,
        hash_ps_per_byte=1_300,
        execute_ns=2_000,
        verification="batch",
        batch_base_ns=3_500,
        batch_ns=250,
    )
    aggregate = {"verification": "aggregate", "aggregate_base_us": 1_250, "aggregate_us": 1.5}
    assert cpu_of(scenario(**aggregate)) == Cpu(
        sign_ns=50_000, verify_ns=130_000, verification="aggregate", aggregate_base_ns=1_250_000, aggregate_ns=1_500
    )


@pytest.mark.parametrize("preset", ["server", "radiation_hardened"])
@pytest.mark.parametrize("verification", ["single", "batch", "aggregate"])
def test_a_preset_fills_in_all_that_its_way_of_verifying_needs(preset: str, verification: str) -> None:
    compute = scenario(preset=preset, verification=verification).compute
    for key in ("sign_us", "verify_us", "hash_us_per_mb", "execute_us"):
        assert getattr(compute, key) > 0
    for family in ("batch", "aggregate"):
        needed = family == verification
        assert (getattr(compute, f"{family}_us") is not None) is needed
        assert (getattr(compute, f"{family}_base_us") is not None) is needed


def test_aggregates_come_with_signatures_that_can_be_aggregated() -> None:
    """BLS12-381 takes far longer for one signature than Ed25519, and next to nothing for one more."""
    ed25519, bls = (scenario(preset="server", verification=name).compute for name in ("batch", "aggregate"))
    assert bls.verify_us > 10 * ed25519.verify_us
    assert bls.aggregate_us is not None
    assert ed25519.batch_us is not None
    assert 10 * bls.aggregate_us < ed25519.batch_us < ed25519.verify_us


def test_radiation_hardened_is_the_server_scaled() -> None:
    server, hardened = (
        cpu_of(scenario(preset=name, verification="batch")) for name in ("server", "radiation_hardened")
    )
    scales = {
        getattr(hardened, field) / getattr(server, field)
        for field in ("sign_ns", "verify_ns", "batch_ns", "hash_ps_per_byte", "execute_ns")
    }
    assert scales == {180}
    # LEON4FT, 250 MHz: 2.9 million cycles to verify.
    assert hardened.verify_ns == pytest.approx(2.9e6 / 0.25, rel=0.01)


def test_other_keys_override_a_preset_wherever_they_come_from() -> None:
    named = scenario("compute.verify_us=7", preset="server", sign_us=3).compute
    plain = scenario(preset="server").compute
    assert (named.sign_us, named.verify_us, named.hash_us_per_mb) == (3, 7, plain.hash_us_per_mb)
    assert scenario("compute.preset='server'").compute == plain


def test_a_resolved_preset_is_the_same_scenario_read_again(tmp_path: Any) -> None:
    resolved = scenario(preset="radiation_hardened", verification="aggregate")
    file = tmp_path / "scenario.toml"
    file.write_text(resolved.toml())
    assert load_scenario(file) == resolved
    assert resolved.resolved()["compute"]["preset"] == "radiation_hardened"
    assert "batch_us" not in resolved.resolved()["compute"]
