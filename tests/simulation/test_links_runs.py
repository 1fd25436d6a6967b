"""Whole runs over links that carry load: what they must share with the latency model, and what becomes of copies."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

from network.carriage import Direct
from network.dissemination import Wave
from network.fabric import Fabric
from network.flight import Flight
from network.gossip import Rumour
from network.plan import UNREACHABLE
from network.shreds import Shredded
from testbed.assemble import assemble
from testbed.launch.fitness import check_for_nodes
from testbed.result import Result
from testbed.scenario import ScenarioError, make_scenario
from testbed.simulation import simulate
from testbed.sky import build_sky
from tests.laboratory import ZERO_LOAD, run_matrix
from tests.simulation.runs import failed, kinds

INF = float("inf")
FROZEN = {"update_interval_s": INF, "reconfiguration_interval_s": INF}
UNLIMITED = {
    "isl_rate_gbps": INF,
    "gsl_rate_mbps": {"up": INF, "down": INF},
    "terrestrial_rate_gbps": INF,
    "isl_buffer_mb": INF,
    "gsl_buffer_mb": INF,
}
SHELL = {
    "name": "s1",
    "planes": 10,
    "satellites_per_plane": 12,
    "phasing": 1,
    "altitude_km": 1200,
    "inclination_deg": 70,
}
STATIONS = [
    {"name": "kiruna", "latitude_deg": 67.86, "longitude_deg": 20.22, "elevation_mask_deg": 5},
    {"name": "quito", "latitude_deg": -0.18, "longitude_deg": -78.47, "elevation_mask_deg": 5},
]
MINING = {"block_interval_s": 0.1, "confirmations": 2}
DISSEMINATIONS = ("unicast", "multicast", "flood", "gossip", "shreds")


def scenario(network: dict[str, Any], count: int = 8, **tables: Any) -> Any:
    """Satellites of a small shell, at zero load unless told otherwise."""
    made = {
        "duration_s": 2.0,
        "seed": 3,
        "consensus": {"protocol": "pbft", "delta_ms": 300},
        "committee": [{"on": "s1", "count": count}],
        "shell": [SHELL],
        **ZERO_LOAD,
        **tables,
    }
    return make_scenario({**made, "network": {"model": "links", **network}})


def run(network: dict[str, Any], count: int = 8, **tables: Any) -> Result:
    return simulate(scenario(network, count, **tables))


@pytest.mark.parametrize("protocol", ["pbft", "hotstuff", "longest_chain"])
@pytest.mark.parametrize("ground", [False, True])
def test_unlimited_links_equal_latency_to_the_nanosecond(protocol: str, ground: bool) -> None:
    """`latency` evaluates delays at the send time, `links` at each crossing: on a frozen plan they agree."""
    tables: dict[str, Any] = {"consensus": {"protocol": protocol, "delta_ms": 300}}
    if protocol == "longest_chain":
        tables["consensus"]["parameters"] = MINING
    if ground:
        tables |= {"ground_station": STATIONS, "committee": [{"on": "s1", "count": 6}, {"on": "ground"}]}
    network = {**UNLIMITED, **FROZEN, "processing_us_per_hop": 7}
    by_links = run(network, **tables)
    by_latency = run({**network, "model": "latency"}, **tables)
    assert by_links.arrivals.num_rows > 20
    assert by_links.arrivals.equals(by_latency.arrivals)
    assert by_links.blocks.equals(by_latency.blocks)
    for key in ("messages", "bytes", "link_transmissions", "link_bytes"):
        # The latency model counts a message when it leaves, links when it crosses them: some are still under way.
        counted, sent = by_links.report["network"][key], by_latency.report["network"][key]
        assert sent * 0.93 <= counted <= sent


@pytest.mark.parametrize("dissemination", DISSEMINATIONS)
def test_every_dissemination_commits_and_conserves(dissemination: str) -> None:
    network = {"dissemination": dissemination, "loss": 0.01, "shreds": {"data": 4, "parity": 4, "whole_below_bytes": 0}}
    workload = {"transactions_per_s": 100, "block_max_bytes": 20_000}
    result = run(network, workload=workload, consensus={"protocol": "jolteon", "delta_ms": 100}, duration_s=4.0)
    copies = result.report["network"]["copies"]
    assert failed(result) == set()
    assert result.report["consensus"]["committed_blocks"] > 5
    assert copies["sent"] == copies["delivered"] + copies["dropped"] + copies["under_way"]
    assert copies["dropped"] == sum(result.report["network"]["drops"].values()) > 0
    assert copies["delivered"] > 100


def test_a_run_is_its_digest() -> None:
    """The same again, and another one where only a queue was longer."""
    network = {"isl_rate_gbps": 0.01}
    first, again = run(network), run(network)
    assert first.digest == again.digest
    assert run({"isl_rate_gbps": 0.02}).digest != first.digest


@pytest.mark.parametrize("mutant", ["lost", "doubled", "uncounted"])
def test_the_conservation_check_notices(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    complete, calls = Fabric._complete, [0]

    def broken(fabric: Fabric, flight: Any, now_ns: int) -> None:
        calls[0] += 1
        if calls[0] % 50:
            complete(fabric, flight, now_ns)
        elif mutant == "doubled":
            complete(fabric, flight, now_ns)
            complete(fabric, flight, now_ns)
        elif mutant == "uncounted":
            flight.actions[flight.member](flight.parcel, now_ns)

    monkeypatch.setattr(Fabric, "_complete", broken)
    result = run({})
    assert "conservation" in failed(result)
    assert not result.ok
    assert any("copies are" in sentence for sentence in result.report["safety"]["violations"])


def test_the_conservation_check_notices_in_the_latency_model(monkeypatch: pytest.MonkeyPatch) -> None:
    carry, calls = Direct.carry, [0]

    def broken(direct: Direct, source: int, targets: Any, *rest: Any) -> Any:
        calls[0] += 1
        due_ns = carry(direct, source, targets, *rest)
        direct.copies += calls[0] == 20
        return due_ns

    monkeypatch.setattr(Direct, "carry", broken)
    assert "conservation" in failed(run({"model": "latency"}))


def test_delays_have_four_parts_that_add_up() -> None:
    network = {"isl_rate_gbps": 0.001, "processing_us_per_hop": 3, "mtu_bytes": 1500}
    result = run(network, consensus={"protocol": "hotstuff", "delta_ms": 300})
    delays = result.report["network"]["delays_ms"]
    parts = [delays[name] for name in ("propagation", "transmission", "queueing", "processing")]
    assert all(part > 0 for part in parts)
    assert sum(parts) == pytest.approx(delays["one_way"], abs=1e-5)
    classes = result.report["network"]["by_link_class"]
    assert set(classes) == {"isl_in_plane", "isl_cross_plane"}
    in_plane_ms = classes["isl_in_plane"]["propagation_ms"]
    # 2a·sin(π/12) over c.
    assert in_plane_ms["p50"] == pytest.approx(2 * 7578.137 * np.sin(np.pi / 12) / 299792.458 * 1e3, abs=0.02)
    busiest = result.report["network"]["busiest_links"][0]
    assert 0 < busiest["utilisation"] <= 1
    assert busiest["queueing_ms"] <= busiest["longest_queueing_ms"]


def test_queues_delay_finality_and_multicast_relieves_them() -> None:
    """A leader's copies of a block queue up at its own links; a tree sends one over each."""
    network = {"isl_rate_gbps": 0.05}
    workload = {"transactions_per_s": 2000, "block_max_bytes": 100_000}
    tables = {"consensus": {"protocol": "hotstuff", "delta_ms": 600}, "workload": workload, "duration_s": 4.0}
    finality_ms, egress_kb = {}, {}
    for dissemination in ("unicast", "multicast"):
        report = run({**network, "dissemination": dissemination}, 24, **tables).report
        finality_ms[dissemination] = report["consensus"]["finality_ms"]["p50"]
        egress_kb[dissemination] = report["network"]["leader_egress_kb"]["p50"]
        assert report["bound"]["ratio_min"] >= 1
    assert finality_ms["unicast"] > 1.1 * finality_ms["multicast"]
    assert egress_kb["unicast"] > 5 * egress_kb["multicast"]


def test_a_full_buffer_is_a_reason() -> None:
    network = {"isl_rate_gbps": 0.01, "isl_buffer_mb": 0.05}
    workload = {"transactions_per_s": 2000, "block_max_bytes": 100_000}
    result = run(network, 24, workload=workload, consensus={"protocol": "hotstuff", "delta_ms": 600})
    assert result.report["network"]["drops"]["buffer_full"] > 0
    assert sum(entry["dropped"] for entry in result.report["network"]["by_link_class"].values()) > 0
    assert "conservation" not in failed(result)


@pytest.mark.parametrize("choice", ["lose", "reroute"])
def test_messages_on_a_vanished_link(choice: str) -> None:
    """A satellite's link goes away in the middle of the run: what is on it is lost, or goes another way."""
    fault = {"kind": "outage", "target": "link/sat/s1/00/00~sat/s1/00/01", "window_s": [0.9, 1.1]}
    network = {"vanished_links": choice, "isl_rate_gbps": 0.0002}
    result = run(network, fault=[fault], committee=[{"on": "s1", "select": "first", "count": 8}])
    lost = result.report["network"]["drops"].get("link_lost", 0)
    assert (lost > 0) == (choice == "lose")
    assert "conservation" not in failed(result)


def test_pbft_counts_are_the_same_as_latency_counts_them() -> None:
    """2n²-n-1 messages a decision, over as many links as their routes have hops."""
    n, decisions = 40, 1
    tables = {"consensus": {"protocol": "pbft", "delta_ms": 300, "parameters": {"block_interval_ms": 1200}}}
    network = {**FROZEN, **UNLIMITED}
    by_links = run(network, n, **tables)
    by_latency = run({**network, "model": "latency"}, n, **tables)
    assert sum(kinds(by_links).values()) == decisions * (2 * n * n - n - 1)
    assert by_links.report["network"]["link_transmissions"] == by_latency.report["network"]["link_transmissions"]
    assert (
        by_links.report["network"]["busiest_links"][0]["messages"]
        == by_latency.report["network"]["busiest_links"][0]["messages"]
    )
    assert by_links.report["bound"]["ratio"] == 1.0


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        ({"model": "latency", "dissemination": "flood"}, 'goes over single links: it needs model = "links"'),
        ({"dissemination": "shreds", "compact": {"enabled": True}}, 'does not go with dissemination = "shreds"'),
        ({"isl_buffer_mb": 0}, "must be more than 0 MB (inf: no limit)"),
        ({"gossip": {"peers": 0}}, "must be at least 1"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(network: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ScenarioError) as error:
        scenario(network)
    assert sentence in str(error.value)


def test_real_nodes_have_no_links_and_say_so() -> None:
    """All mistakes at once, before anything is started."""
    network = {"dissemination": "gossip", "compact": {"enabled": True}}
    with pytest.raises(ScenarioError) as error:
        check_for_nodes(scenario(network))
    assert [line.split(": ")[1] for line in error.value.problems] == [
        'network.model = "links"',
        'network.dissemination = "gossip"',
        "network.compact.enabled = true",
    ]
    assert all("exists in virtual time only" in line for line in error.value.problems)


@pytest.mark.parametrize("dissemination", ["unicast", "flood", "gossip", "shreds"])
def test_memory_holds_what_is_under_way_and_no_more(dissemination: str) -> None:
    """Twice as long a run and twice as many messages leave no more behind: what the last of them need."""
    left, sent = [], []
    for duration_s in (2.0, 4.0):
        network = {"dissemination": dissemination, "gossip": {"retry_ms": 100}, "shreds": {"whole_below_bytes": 0}}
        made = scenario(network, duration_s=duration_s, consensus={"protocol": "hotstuff", "delta_ms": 300})
        machine = assemble(made, build_sky(made))
        machine.clock.run(round(duration_s * 1e9), 10**9)
        gc.collect()
        left.append(sum(isinstance(each, Flight | Rumour | Shredded | Wave) for each in gc.get_objects()))
        assert machine.transport.fabric is not None
        sent.append(machine.transport.fabric.account.entered)
        del machine
        gc.collect()
    assert sent[1] > 1.7 * sent[0]
    assert 0 < max(left) < sent[0] / 8


@pytest.mark.parametrize(
    ("network", "check"),
    [
        ({"model": "normal", "delay_mean_ms": 20, "delay_std_ms": 2}, "not applicable: members pass broadcasts on"),
        ({"model": "fixed", "delay_ms": 20}, "ok: all"),
    ],
)
def test_the_bound_is_for_direct_ways(network: dict[str, Any], check: str) -> None:
    laboratory = {"committee": [{"on": "laboratory", "count": 12}], "shell": []}
    report = run({**network, "dissemination": "gossip", "gossip": {"peers": 4, "push": 4}}, **laboratory).report
    assert report["bound"]["check"].startswith(check)
    assert report["bound"]["ratio"] > 1.05
    assert report["network"]["gossip"]["duplicates"] > 0


def test_a_flood_is_counted_where_it_passes() -> None:
    """With a member on every satellite: what all have sent is what crossed the links, and it came for somebody."""
    count = SHELL["planes"] * SHELL["satellites_per_plane"]
    consensus = {"protocol": "longest_chain", "parameters": MINING}
    report = run({"dissemination": "flood"}, count, consensus=consensus, duration_s=3.0).report["network"]
    sent_bytes = report["egress_mbps"]["mean"] * 3.0 * count / 8e-6
    came_bytes = report["ingress_mbps"]["mean"] * 3.0 * count / 8e-6
    assert sent_bytes == pytest.approx(report["link_bytes"], rel=1e-4)
    assert 0.8 * sent_bytes < came_bytes <= sent_bytes * 1.0001


@pytest.mark.parametrize("dissemination", ["unicast", "gossip"])
def test_what_a_matrix_does_not_reach_has_no_route(dissemination: str) -> None:
    """A blank cell of its file is no link; the copies are counted although nothing else is lost in laboratories."""
    delay_ns = np.full((4, 4), 10_000_000, dtype=np.int64)
    delay_ns[0, 3] = delay_ns[3, 0] = UNREACHABLE
    network = {"model": "fixed", "delay_ms": 1.0, "dissemination": dissemination}
    result = run_matrix("pbft", delay_ns, 1.0, network=network)
    assert failed(result) == set()
    report = result.report["network"]
    assert report["drops"]["no_route"] == report["copies"]["dropped"] > 10


def test_what_a_flood_cannot_reach_has_no_route() -> None:
    """As many as the copies that unicast cannot send."""
    fault = {"kind": "outage", "target": "sat/s1/00/00", "window_s": [0.5]}
    consensus = {"protocol": "longest_chain", "parameters": MINING}
    for dissemination in ("unicast", "flood"):
        result = run({"dissemination": dissemination}, 6, fault=[fault], consensus=consensus, duration_s=3.0)
        assert "conservation" not in failed(result)
        mined = zip(result.blocks["proposed_ns"].to_pylist(), result.blocks["proposer"].to_pylist(), strict=True)
        later = [proposer for at_ns, proposer in mined if at_ns >= 500_000_000]
        # Blocks of the one that is cut off reach nobody, all others' everybody but that one.
        unreached = sum(5 if proposer == 0 else 1 for proposer in later)
        assert result.report["network"]["drops"]["no_route"] >= unreached > 10


@pytest.mark.parametrize("dissemination", ["unicast", "gossip"])
def test_leaders_send_less_of_compact_blocks(dissemination: str) -> None:
    workload = {"transactions_per_s": 2000, "block_max_bytes": 100_000}
    egress_kb = {}
    for enabled in (False, True):
        network = {"dissemination": dissemination, "compact": {"enabled": enabled, "reference_bytes": 5}}
        tables = {"workload": workload, "consensus": {"protocol": "hotstuff", "delta_ms": 300}}
        egress_kb[enabled] = run(network, 8, **tables).report["network"]["leader_egress_kb"]["p50"]
    # 5 bytes for each transaction of 250, and the certificate.
    assert 0.02 < egress_kb[True] / egress_kb[False] < 0.06


@pytest.mark.parametrize(
    "way",
    [
        {"dissemination": "unicast"},
        {"dissemination": "unicast", "compact": {"enabled": True, "misses": 0.5}},
        {"dissemination": "gossip", "gossip": {"peers": 4, "push": 2}},
        {"dissemination": "shreds"},
    ],
)
def test_goodput_is_a_share_of_what_was_really_sent(way: dict[str, Any]) -> None:
    """What protocols asked for, a whole copy to each, is that for plain unicast alone."""
    tables = {"committee": [{"on": "laboratory", "count": 8}], "shell": [], "workload": {"transactions_per_s": 2000}}
    result = run({"model": "fixed", "delay_ms": 20, **way}, **tables)
    sent_bytes = sum(result.replicas["sent_bytes"].to_pylist())
    goodput_bytes = result.report["workload"]["goodput_bytes_per_s"] * 2.0
    assert result.report["workload"]["goodput_share"] == pytest.approx(goodput_bytes / sent_bytes)
    assert (sent_bytes == result.report["network"]["bytes"]) == (way == {"dissemination": "unicast"})


@pytest.mark.parametrize("dissemination", ["unicast", "gossip"])
def test_a_leader_sends_whole_blocks_to_those_who_take_no_others(dissemination: str) -> None:
    """Of four receivers two have no part in compact blocks: half of what it sends is whole."""
    egress_kb = {}
    for whole in (0, 2, 4):
        members = [{"on": "laboratory", "count": 5 - whole}, {"on": "laboratory", "count": whole, "receiver": "whole"}]
        network = {"model": "fixed", "delay_ms": 20, "dissemination": dissemination, "compact": {"enabled": True}}
        committee = members if whole else members[:1]
        report = run(network, committee=committee, shell=[], workload={"transactions_per_s": 2000}).report
        egress_kb[whole] = report["network"]["leader_egress_kb"]["mean"]
    assert egress_kb[4] > 20 * egress_kb[0]
    assert egress_kb[2] == pytest.approx((egress_kb[0] + egress_kb[4]) / 2, abs=1e-3)


@pytest.mark.parametrize(
    ("gossip", "sentence"),
    [
        ({"push": 0, "lazy": 0}, "must be at least 1 where lazy is 0: nobody would tell anybody"),
        ({"rounds": 3}, "needs round_ms, the time between rounds"),
    ],
)
def test_gossip_that_tells_nobody_is_refused(gossip: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ScenarioError) as error:
        scenario({"dissemination": "gossip", "gossip": gossip})
    assert sentence in str(error.value)


def test_peers_that_leave_somebody_out_are_refused(tmp_path: Any) -> None:
    """In pairs nobody hears of more than one other."""
    peers = tmp_path / "peers.csv"
    peers.write_text("0,1\n1,2\n3,4\n")
    for gossip in ({"peers": 1}, {"peers_file": str(peers)}):
        with pytest.raises(ScenarioError) as error:
            build_sky(scenario({"dissemination": "gossip", "gossip": gossip}, 6))
        assert "without a way from replica 0" in str(error.value)
