"""Same scenario and seed, same digest: in fresh processes, whatever Python's hash seed; and nothing else's."""

import subprocess
import sys
from pathlib import Path

import pytest

from testbed.result import Result
from tests.laboratory import constant, run_matrix

ROOT = Path(__file__).parents[2]
PROTOCOLS = ("pbft", "hotstuff", "tendermint", "simplex", "streamlet", "longest_chain")
RELATED = ("jolteon", "hotstuff2", "minimmit")
"""HotStuff's or Simplex's code but for their rules, so the laboratory is enough for them."""
MINING = {"parameters": {"block_interval_s": 0.05}}
LOAD = {"transactions_per_s": 200}
HASH_SEEDS = ("0", "4242")

# Chance in delays, losses, workload and mining, crashes that time out views, and real signatures.
SCENARIO = """
title = "everything that could go differently"
seed = 5
duration_s = 2

[consensus]
protocol = "PROTOCOL"
delta_ms = 30
PARAMETERS

[[committee]]
on = "laboratory"
count = 5

[network]
model = "normal"
delay_mean_ms = 10
delay_std_ms = 2
loss = 0.02

[workload]
transactions_per_s = 200

[[fault]]
kind = "crash"
target = "replica/2"
window_s = [0.5, 1.0]
"""

# The same over satellites: links that come and go, routes round an outage, and every kind of fault.
ORBIT = """
title = "everything that could go differently in orbit"
seed = 5
start = 2026-11-22T00:00:00Z
duration_s = 4

[consensus]
protocol = "PROTOCOL"
delta_ms = 200
PARAMETERS

[[committee]]
on = "s1"
select = "random"
count = 4

[[committee]]
on = "ground"

[[shell]]
name = "s1"
planes = 6
satellites_per_plane = 11
phasing = 2
altitude_km = 1200
inclination_deg = 80

[[ground_station]]
name = "kiruna"
latitude_deg = 67.86
longitude_deg = 20.22
elevation_mask_deg = 10

[[ground_station]]
name = "quito"
latitude_deg = -0.18
longitude_deg = -78.47
elevation_mask_deg = 10

[network]
loss = 0.01
reconfiguration_interval_s = 2
isl_max_range_km = 6000
processing_us_per_hop = 10

[workload]
transactions_per_s = 200

[[fault]]
kind = "loss"
target = "replica/0"
rate = 0.2
window_s = [0.3, 1.5]

[[fault]]
kind = "slow"
target = ["gs/quito", "replica/1"]
delay_ms = 20
window_s = [0.3, 2.5]

[[fault]]
kind = "outage"
target = "plane/s1/2"
window_s = [0.8, 2.2]

[[fault]]
kind = "partition"
target = ["gs/kiruna", "replica/2"]
window_s = [1.8, 2.4]

[[fault]]
kind = "crash"
target = "replica/3"
window_s = [1.0, 1.6]
"""

ONE_RUN = """
import sys
from testbed import load_scenario, simulate
print(simulate(load_scenario(sys.argv[1])).digest)
"""


def small_run(protocol: str, seed: int = 1, delay_ms: float = 10.0, network: dict[str, object] | None = None) -> Result:
    """A second of four replicas with transactions, and CPU time charged."""
    tables = {"workload": LOAD, "compute": {"signatures": "modelled", "sign_us": 50, "verify_us": 130}}
    if network is not None:
        tables["network"] = network
    if protocol == "longest_chain":
        tables["consensus"] = MINING
    return run_matrix(protocol, constant(4, delay_ms), 1.0, seed=seed, **tables)


@pytest.mark.parametrize(
    ("protocol", "scenario"),
    [
        *(pytest.param(protocol, SCENARIO, id=f"{protocol}-laboratory") for protocol in PROTOCOLS + RELATED),
        *(pytest.param(protocol, ORBIT, id=f"{protocol}-orbit") for protocol in PROTOCOLS),
    ],
)
def test_fresh_processes_agree_whatever_their_hash_seed(protocol: str, scenario: str, tmp_path: Path) -> None:
    """Two processes, two values of PYTHONHASHSEED, one digest."""
    file = tmp_path / "scenario.toml"
    parameters = "parameters = { block_interval_s = 0.05, confirmations = 30 }" if protocol == "longest_chain" else ""
    file.write_text(scenario.replace("PROTOCOL", protocol).replace("PARAMETERS", parameters))
    digests = [
        subprocess.run(
            [sys.executable, "-c", ONE_RUN, str(file)],
            env={"PYTHONHASHSEED": hash_seed, "PATH": ""},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for hash_seed in HASH_SEEDS
    ]
    assert digests[0] == digests[1]
    assert len(digests[0].strip()) == 64


@pytest.mark.parametrize("protocol", PROTOCOLS + RELATED)
def test_the_same_run_twice_is_the_same(protocol: str) -> None:
    """Not only the digest: every number, but for what the run cost the machine."""
    one, other = (small_run(protocol) for _ in range(2))
    assert one.digest == other.digest
    for part in ("safety", "consensus", "propagation", "network", "bound"):
        assert one.to_dict()[part] == other.to_dict()[part]
    assert one.blocks.equals(other.blocks)
    assert one.arrivals.equals(other.arrivals)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_another_seed_is_another_digest(protocol: str) -> None:
    """Keys, workload and mining are drawn from the seed."""
    assert small_run(protocol, seed=1).digest != small_run(protocol, seed=2).digest


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_another_delay_is_another_digest(protocol: str) -> None:
    """One nanosecond is enough, although not a message more is sent."""
    assert small_run(protocol).digest != small_run(protocol, delay_ms=10.000001).digest


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_another_seed_draws_other_delays(protocol: str) -> None:
    """Random delays too come from the seed and from nothing else."""
    network = {"model": "uniform", "delay_low_ms": 5.0, "delay_high_ms": 15.0}
    digests = [small_run(protocol, seed=seed, network=network).digest for seed in (1, 1, 2)]
    assert digests[0] == digests[1] != digests[2]
