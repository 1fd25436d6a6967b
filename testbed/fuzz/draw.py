"""Random scenarios: a committee, a network, trouble until it heals, and adversaries that never number more than f.

Every draw is a scenario file's tables, so whatever fails can be written down and run by anybody.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from consensus.byzantine import BEHAVIOURS
from consensus.protocols import load_protocol
from consensus.replica import Chained, Lottery, ProtocolFacts
from consensus.types import Committee
from node.chance import python_random

Tables = dict[str, Any]

SIZES = {3: (4, 4, 5, 6, 7, 7, 10), 5: (6, 6, 7, 11, 12)}
"""Committees, by resilience: small ones show most, and run fastest."""
TIMEOUTS = (3, 15)
"""How many view timeouts the trouble lasts, at least and at most,"""
RECOVERY = 40
"""and how many it may take until everybody commits again; as well as three times the trouble, for doubled timers."""
STATIONS = {"quito": (-0.2, -78.5), "nairobi": (-1.3, 36.8), "tokyo": (35.7, 139.7), "lisbon": (38.7, -9.1)}
ORBITS_MS = 150.0
"""More than any route of the shells drawn here takes, one way."""


def draw(protocol: str, seed: int, number: int) -> Tables:
    """Scenario `number` of the campaign with this seed."""
    facts = load_protocol(protocol).facts
    dice = python_random(seed, f"fuzz/{protocol}/{number}")
    lottery = isinstance(facts.shape, Lottery)
    n = dice.choice(SIZES[facts.resilience])
    place, delta_ms = _orbit(dice, n) if dice.random() < 0.25 else _laboratory(dice, n)
    if "shell" in place:
        place["network"] |= _load(python_random(seed, f"fuzz/{protocol}/{number}/load"))
    consensus: Tables = {"protocol": protocol, "delta_ms": delta_ms}
    patience_s = delta_ms / 1e3 * (facts.timeout_deltas or 4)
    if lottery:
        # Deep enough, and slow enough against the network, that no honest chain is undone.
        consensus["parameters"] = {"block_interval_s": round(delta_ms / 20, 3), "confirmations": 20}
        patience_s = delta_ms / 1e3
    heal_s = round(patience_s * dice.uniform(*TIMEOUTS), 3)
    faulty = _faulty(dice, facts, n)
    faults = [_trouble(dice, n, heal_s, delta_ms, lottery) for _ in range(dice.randint(0, 4))]
    for replica in faulty:
        faults += _adversary(dice, facts, replica, n, heal_s)
    end_s = heal_s + max(3 * heal_s, RECOVERY * patience_s)
    if lottery:
        end_s = heal_s + 60 * delta_ms / 20
    expect = {"progress_after_s": heal_s} if _must_recover(facts, n, faulty) else {}
    return {
        "title": f"fuzz {protocol}, seed {seed}, scenario {number}",
        "seed": dice.randrange(2**31),
        "duration_s": round(end_s, 3),
        "consensus": consensus,
        **place,
        "workload": {"transactions_per_s": 100 if patience_s < 2 else 10},
        "compute": {"signatures": "modelled", "sign_us": 0, "verify_us": 0},
        "fault": faults,
        "expect": expect,
    }


def size(tables: Tables) -> int:
    """How many replicas a scenario has."""
    return sum(block.get("count", len(tables.get("ground_station", ()))) for block in tables["committee"])


def given_up(tables: Tables) -> frozenset[int]:
    """The replicas that are Byzantine at some time or down for good."""
    return frozenset(
        int(name.removeprefix("replica/"))
        for fault in tables["fault"]
        if fault["kind"] == "byzantine" or (fault["kind"] == "crash" and len(fault["window_s"]) == 1)
        for name in fault["target"]
    )


def is_bearable(tables: Tables, facts: ProtocolFacts) -> bool:
    """Whether a protocol must bear this: no more faulty replicas than it promises."""
    n, faulty = size(tables), given_up(tables)
    bearable = len(faulty) <= Committee.of(n, resilience=facts.resilience).f
    return bearable and ("progress_after_s" not in tables["expect"] or _must_recover(facts, n, sorted(faulty)))


def _laboratory(dice: random.Random, n: int) -> tuple[Tables, float]:
    """A laboratory network, and a Δ that no delay exceeds."""
    low_ms = dice.randint(1, 30)
    high_ms = low_ms + dice.randint(1, 60)
    network: Tables = {"model": "fixed", "delay_ms": high_ms}
    if dice.random() < 0.7:
        network = {"model": "uniform", "delay_low_ms": low_ms, "delay_high_ms": high_ms}
    delta_ms = float(round(high_ms * dice.uniform(1.0, 2.0)) + 1)
    return {"committee": [{"on": "laboratory", "count": n}], "network": network}, delta_ms


def _orbit(dice: random.Random, n: int) -> tuple[Tables, float]:
    """A small shell, with its satellites as members, or cities that it relays as some of them."""
    shell: Tables = {
        "name": "s1",
        "pattern": dice.choice(["walker_delta", "walker_star"]),
        "planes": dice.randint(6, 9),
        "satellites_per_plane": dice.randint(8, 12),
        "phasing": 1,
        "altitude_km": dice.choice([780, 1200, 1600]),
        "inclination_deg": dice.choice([53.0, 70.0, 86.4]),
    }
    cities = dice.sample(sorted(STATIONS), dice.randint(0, min(n - 1, len(STATIONS))))
    tables: Tables = {
        "committee": [{"on": "s1", "select": "spread", "count": n - len(cities)}],
        "shell": [shell],
        "network": {"isl_max_range_km": 8000, "isl_grazing_altitude_km": 0},
    }
    if cities:
        tables["committee"].append({"on": "ground"})
        tables["ground_station"] = [
            {"name": name, "latitude_deg": STATIONS[name][0], "longitude_deg": STATIONS[name][1]} for name in cities
        ]
        tables["network"]["gsl_max_range_km"] = 4500
    return tables, ORBITS_MS


def _load(dice: random.Random) -> Tables:
    """Delays alone or links that carry load, and how broadcasts spread over them."""
    if dice.random() < 0.6:
        return {}
    how = dice.choice(["unicast", "multicast", "flood", "gossip", "shreds"])
    network: Tables = {
        "model": "links",
        "dissemination": how,
        "isl_rate_gbps": dice.choice([0.1, 100]),
        "vanished_links": dice.choice(["lose", "reroute"]),
    }
    if how == "gossip":
        network["gossip"] = {"push": dice.randint(0, 4), "lazy": 16}
    if how in ("unicast", "gossip"):
        network["compact"] = {"enabled": dice.random() < 0.5, "misses": 0.5}
    return network


def _faulty(dice: random.Random, facts: ProtocolFacts, n: int) -> list[int]:
    """Up to f replicas that are faulty for good. They sit side by side, as chains need live leaders in a row."""
    f = Committee.of(n, resilience=facts.resilience).f
    count = dice.randint(0, f)
    first = dice.randrange(n)
    return sorted((first + i) % n for i in range(count))


def _must_recover(facts: ProtocolFacts, n: int, faulty: Sequence[int]) -> bool:
    """A chain of k needs k leaders in a row that are not faulty, and one more to collect the last votes."""
    if not isinstance(facts.shape, Chained) or not faulty:
        return True
    gaps = [(after - before - 1) % n for before, after in zip(faulty, [*faulty[1:], faulty[0]], strict=True)]
    return max(gaps) > facts.shape.chain if len(faulty) > 1 else n - 1 > facts.shape.chain


def _trouble(dice: random.Random, n: int, heal_s: float, delta_ms: float, lottery: bool) -> Tables:
    """A fault of the network or of a node that is over when the network heals."""
    kind = dice.choice(["slow", "loss", "crash"] if lottery else ["partition", "loss", "slow", "crash"])
    begin_s = round(dice.uniform(0, heal_s * 0.9), 3)
    end_s = round(min(heal_s, begin_s + dice.expovariate(4 / heal_s) + 0.001), 3)
    members = dice.sample(range(n), 1 if kind == "crash" else dice.randint(1, n // 2))
    fault: Tables = {
        "kind": kind,
        "target": [f"replica/{i}" for i in sorted(members)],
        "window_s": [begin_s, max(end_s, round(begin_s + 0.001, 3))],
    }
    if kind == "loss":
        fault["rate"] = round(dice.uniform(0.1, 1.0), 2)
    if kind == "slow":
        fault["delay_ms"] = round(delta_ms * dice.uniform(0.2, 1.0 if lottery else 4.0), 1)
    return fault


def _adversary(dice: random.Random, facts: ProtocolFacts, replica: int, n: int, heal_s: float) -> list[Tables]:
    """One or two behaviours for the whole run or a part of it, or a crash for good."""
    target = [f"replica/{replica}"]
    if dice.random() < 0.15:
        return [{"kind": "crash", "target": target, "window_s": [round(dice.uniform(0, heal_s), 3)]}]
    menu = [name for name, each in BEHAVIOURS.items() if each.suits in _suits(facts)]
    faults = []
    # A flood drowns whatever else is done, and takes long.
    chosen = dice.sample(menu, dice.choice([1, 1, 2]))
    for behaviour in chosen if "flood" not in chosen else ["flood"]:
        begin_s = 0.0 if dice.random() < 0.7 else round(dice.uniform(0, heal_s), 3)
        fault: Tables = {"kind": "byzantine", "behaviour": behaviour, "target": target, "window_s": [begin_s]}
        if "victims" in BEHAVIOURS[behaviour].takes and dice.random() < 0.7:
            others = [i for i in range(n) if i != replica]
            victims = dice.sample(others, dice.randint(1, len(others)))
            fault["victims"] = [f"replica/{i}" for i in sorted(victims)]
        faults.append(fault)
    return faults


def _suits(facts: ProtocolFacts) -> tuple[str, ...]:
    # Secret miners break a longest chain now and then, with any share: that is no failure.
    return ("all",) if isinstance(facts.shape, Lottery) else ("all", "leaders")
