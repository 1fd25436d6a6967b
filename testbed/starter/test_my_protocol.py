"""What the protocol promises: in its scenario, to the nanosecond in a laboratory, and when things go wrong."""

from pathlib import Path

from testbed import load_scenario, make_scenario, simulate

HERE = Path(__file__).parent
LABORATORY = {
    "duration_s": 21,
    "consensus": {"protocol": "my_protocol:MyProtocol", "delta_ms": 150},
    "committee": [{"on": "laboratory", "count": 7}],
    "network": {"model": "fixed", "delay_ms": 100},
    "compute": {"signatures": "modelled", "sign_us": 0, "verify_us": 0},
}


def test_the_scenario_is_as_expected() -> None:
    result = simulate(load_scenario(HERE / "scenario.toml"))
    assert result.ok, result.to_dict()["safety"]["violations"]
    assert result.to_dict()["consensus"]["view_changes"] == 0


def test_a_block_is_final_after_three_delays_and_two_votes_of_everybody() -> None:
    report = simulate(make_scenario(LABORATORY, folder=HERE)).to_dict()
    assert report["consensus"]["finality_ms"]["p50"] == 300
    assert report["bound"]["ratio"] == 1
    blocks, votes = report["consensus"]["proposed_blocks"], report["network"]["by_kind"]
    assert votes["certify"]["messages"] == votes["finalize"]["messages"] == 7 * 6 * blocks


def test_crashes_and_a_partition_cost_time_and_nothing_else() -> None:
    faults = [
        {"kind": "crash", "target": ["replica/2", "replica/5"], "window_s": [2, 9]},
        {"kind": "partition", "target": ["replica/0", "replica/1", "replica/3"], "window_s": [5, 8]},
    ]
    result = simulate(make_scenario({**LABORATORY, "fault": faults}, folder=HERE))
    assert result.ok, result.to_dict()["safety"]["violations"]
    assert result.to_dict()["consensus"]["view_changes"] > 0
    assert result.to_dict()["consensus"]["committed_blocks"] > 20
