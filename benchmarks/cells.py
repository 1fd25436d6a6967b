"""The runs behind the README's table of protocols: everything on the menu, on three networks, with and without faults.

Each is a scenario file with a few keys set, so that anybody can repeat it with `quorbit run`.
"""

from __future__ import annotations

import random
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple, get_args

import numpy as np

from consensus.protocols import PROTOCOLS, load_protocol
from consensus.replica import AllToAll, Chained, Lockstep, Lottery
from consensus.types import Committee
from testbed import Result, Scenario, load_scenario, simulate

SCENARIOS: Final = Path(__file__).parent.parent / "scenarios"
N: Final = 50
SEED: Final = 7
"""Who is silent: the first f of one order, drawn by chance, for all."""
DEATH_DELTAS: Final = 20
"""The leader dies so many Δ after the start, in the middle of things."""

Condition = Literal["sound", "death", "silence"]
"""Nothing fails; replica 0 dies, which leads in its turn or has led so far; or f are silent from the start."""
CONDITIONS: Final[tuple[Condition, ...]] = get_args(Condition)

LASTS_DELTAS: Final[dict[type, tuple[int, int, int]]] = {
    AllToAll: (150, 100, 300),
    Chained: (150, 100, 600),
    Lockstep: (220, 120, 300),
}
"""How long a run of each condition lasts, in Δ: a hundred blocks where nothing fails, all leaders' turns with f silent.
What has another shape is taken for all-to-all."""
LOTTERY_S: Final = 600
"""A longest chain's blocks come as its own clock has it, whatever Δ is."""


class Network(NamedTuple):
    """A network: its heading, its scenario, and a Δ at least a quarter above its slowest route."""

    heading: str
    scenario: str
    delta_ms: int


NETWORKS: Final = {
    "satellites": Network("50 satellites of Starlink shell 1", "starlink_shell1_hotstuff.toml", 150),
    "relayed": Network("50 cities, relayed by Starlink shell 1", "ground_relay_pbft.toml", 100),
    "fibre": Network("The same 50 cities over fibre", "fibre_pbft.toml", 200),
}


class Cell(NamedTuple):
    """One run. `network` is a key of `NETWORKS`."""

    network: str
    protocol: str
    condition: Condition


class Measured(NamedTuple):
    """What a run showed. Times are in ms; None where there is nothing: no final block, or no bound."""

    blocks: int
    """Blocks final everywhere."""
    p50: float | None
    p99: float | None
    period: float | None
    """Mean time between blocks of the final chain."""
    pause: float
    """The longest time without a commit, at the median of the replicas that live."""
    messages: float | None
    """In one period,"""
    size_bytes: float | None
    """and their bytes."""
    bound: float | None
    ratio: float | None
    check: str
    leaders: int
    """How many have made a final block."""


def cells() -> list[Cell]:
    """Every run of the table. What has no leader cannot lose it."""
    return [
        Cell(network, protocol, condition)
        for network in NETWORKS
        for protocol in PROTOCOLS
        for condition in CONDITIONS
        if condition != "death" or not is_lottery(protocol)
    ]


def is_lottery(protocol: str) -> bool:
    """Whether blocks come by chance, with no leader and no bound."""
    return isinstance(load_protocol(protocol).facts.shape, Lottery)


def tolerated(protocol: str) -> int:
    """f."""
    return Committee.of(N, resilience=load_protocol(protocol).facts.resilience).f


def scenario_of(cell: Cell) -> Scenario:
    """What runs."""
    return load_scenario(_file_of(cell), _overrides(cell))


def command_of(cell: Cell) -> str:
    """What repeats it."""
    sets = (part for key in _overrides(cell) for part in ("--set", key))
    return shlex.join(["quorbit", "run", str(_file_of(cell)), *sets])


def _file_of(cell: Cell) -> Path:
    return SCENARIOS / NETWORKS[cell.network].scenario


def _overrides(cell: Cell) -> list[str]:
    """What is set in the network's scenario."""
    delta_ms = NETWORKS[cell.network].delta_ms
    keys = [
        f"duration_s={_lasts_s(cell):g}",
        f"consensus.protocol={cell.protocol}",
        f"consensus.delta_ms={delta_ms}",
        "workload.transactions_per_s=0",
        "compute.signatures=modelled",
    ]
    if cell.condition == "death":
        keys.append(_crash([0], DEATH_DELTAS * delta_ms / 1e3))
    elif cell.condition == "silence":
        keys.append(_crash(random.Random(SEED).sample(range(N), N)[: tolerated(cell.protocol)], 0))
    return keys


def _lasts_s(cell: Cell) -> float:
    shape = type(load_protocol(cell.protocol).facts.shape)
    if shape is Lottery:
        return LOTTERY_S
    lasts_deltas = LASTS_DELTAS.get(shape, LASTS_DELTAS[AllToAll])
    return lasts_deltas[CONDITIONS.index(cell.condition)] * NETWORKS[cell.network].delta_ms / 1e3


def _crash(replicas: Sequence[int], at_s: float) -> str:
    targets = ", ".join(f'"replica/{replica}"' for replica in sorted(replicas))
    return f'fault=[{{kind = "crash", target = [{targets}], window_s = [{at_s:g}]}}]'


def measure(cell: Cell) -> Measured:
    """Run one cell. Raises RuntimeError, with the command that repeats it, if a check but that of progress fails."""
    result = simulate(scenario_of(cell))
    report = result.to_dict()
    failed = [check["name"] for check in report["safety"]["checks"] if not check["ok"] and check["name"] != "progress"]
    if failed:
        raise RuntimeError(f"{', '.join(failed)} failed: {command_of(cell)}")
    consensus, network, bound = report["consensus"], report["network"], report["bound"]
    finality, between = consensus["finality_ms"], consensus["block_interval_ms"]
    periods = None if between is None else report["engine"]["virtual_s"] * 1e3 / between["mean"]
    proposers, final = (result.blocks[name].to_numpy() for name in ("proposer", "final"))
    return Measured(
        blocks=0 if finality is None else finality["count"],
        p50=None if finality is None else finality["p50"],
        p99=None if finality is None else finality["p99"],
        period=None if between is None else between["mean"],
        pause=_longest_pause_ms(result),
        messages=None if periods is None else network["messages"] / periods,
        size_bytes=None if periods is None else network["bytes"] / periods,
        bound=bound["finality_ms"],
        ratio=bound["ratio"],
        check=bound["check"],
        leaders=len(set(proposers[final].tolist())),
    )


def _longest_pause_ms(result: Result) -> float:
    """Per replica from one commit to the next, or to the end; the median over replicas, those that are dead aside."""
    report = result.to_dict()
    end_ns = round(report["engine"]["virtual_s"] * 1e9)
    dead = {int(target.removeprefix("replica/")) for fault in report["faults"] for target in fault["target"]}
    replica = result.arrivals["replica"].to_numpy()
    committed_ns = result.arrivals["committed_ns"].fill_null(-1).to_numpy()
    pauses = []
    for i in sorted(set(range(N)) - dead):
        times_ns = np.sort(committed_ns[(replica == i) & (committed_ns >= 0)])
        pauses.append(int(np.diff(times_ns, prepend=0, append=end_ns).max()))
    return sorted(pauses)[(len(pauses) - 1) // 2] / 1e6
