"""A result as a table for the terminal: units in every row, the bound beside what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from node.clients import KINDS

if TYPE_CHECKING:
    from testbed.result import Result

_STATISTICS = ("mean", "p50", "p90", "p99", "max")

_FINALITY = (
    ("finality, first replica", "consensus", "finality_first_ms"),
    ("finality, median replica", "consensus", "finality_ms"),
    ("finality, quorum-th replica", "consensus", "finality_quorum_ms"),
    ("finality, last replica", "consensus", "finality_last_ms"),
    ("time between blocks", "consensus", "block_interval_ms"),
    ("transaction to final", "consensus", "transaction_latency_ms"),
    ("block at 50 % of replicas", "propagation", "t50_ms"),
    ("block at 90 % of replicas", "propagation", "t90_ms"),
    ("block at all replicas", "propagation", "t100_ms"),
)


def render(result: Result) -> RenderableType:
    """Everything a person asks first."""
    report = result.to_dict()
    return Group(_title(report), "", _times(report), "", _facts(report), "", _checks(report))


def bound_table(found: Mapping[str, Any]) -> RenderableType:
    """What `quorbit bound` found: single values, then statistics over leaders in ms."""
    title = f"[bold]{escape(found['title']) or 'bound'}[/]"
    single = Table(show_header=False, box=None)
    spread = Table(box=None, title="over leaders, ms", title_justify="left")
    spread.add_column("zero-load finality")
    for name in _STATISTICS:
        spread.add_column(name, justify="right")
    for key, value in found.items():
        if isinstance(value, Mapping):
            spread.add_row(key.removesuffix("_ms").replace("_", " "), *(number(value[name]) for name in _STATISTICS))
        elif key != "title":
            single.add_row(key.replace("_", " "), rate(value) if key.endswith("_rate") else number(value))
    return Group(title, "", single, "", spread) if spread.row_count else Group(title, "", single)


def number(value: Any) -> str:
    """A number as people read it; a dash where there is none."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 100 else f"{value:,.3g}" if abs(value) < 10 else f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else escape(str(value))


def rate(value: float | None) -> str:
    """A share in percent."""
    return "–" if value is None else f"{100 * value:.3g} %"


def _title(report: Mapping[str, Any]) -> str:
    scenario, engine = report["scenario"], report["engine"]
    partial = "  [bold red]PARTIAL: stopped before its end[/]" if report["partial"] else ""
    protocol = escape(scenario["consensus"]["protocol"])
    title = escape(scenario.get("title") or "") or protocol
    return f"[bold]{title}[/]  {protocol}, {engine['virtual_s']:g} s, seed {report['seed']}{partial}"


def _times(report: Mapping[str, Any]) -> Table:
    table = Table(box=None)
    table.add_column("ms, over blocks")
    for name in _STATISTICS:
        table.add_column(name, justify="right")
    for label, part, key in _FINALITY:
        values = report[part][key]
        if key == "transaction_latency_ms" and report["workload"]["stable"] is False:
            label = f"{label}, of {rate(report['workload']['final_share'])} only"
        if values is not None:
            table.add_row(label, *(number(values[name]) for name in _STATISTICS))
    for place, reached in report["propagation"].get("by_place", {}).items():
        if reached["t90_ms"] is not None:
            values = reached["t90_ms"]
            table.add_row(f"block at 90 % of {place}", *(number(values[name]) for name in _STATISTICS))
    return table


def _facts(report: Mapping[str, Any]) -> Table:
    consensus, network, bound = report["consensus"], report["network"], report["bound"]
    engine = report["engine"]
    table = Table(show_header=False, box=None)
    committed = consensus["committed_blocks"]
    table.add_row(
        "blocks",
        f"{number(consensus['proposed_blocks'])} proposed, {number(committed)} committed, "
        f"{number(consensus['stale_blocks'])} stale, {number(consensus['pending_blocks'])} pending, "
        f"{number(consensus['view_changes'])} view changes",
    )
    if "fork_rate" in bound:
        for name, of in (("fork_rate", "heights"), ("stale_rate", "blocks")):
            table.add_row(name.replace("_", " "), _rate_row(consensus[name], of))
        table.add_row("deepest reorganisation", f"{consensus['max_reorg_depth']} blocks")
    quality = consensus["chain_quality"]
    if quality["whole"] not in (None, 1.0):
        least = "" if quality["min"] is None else f", at least {rate(quality['min'])} of {quality['k']} in a row"
        table.add_row("chain quality", f"{rate(quality['whole'])} of final blocks by honest replicas{least}")
    if bound["finality_ms"] is not None:
        ratio_min = bound["ratio_min"]
        least = "" if ratio_min is None else f", at least {ratio_min:.4f}"
        error = f" ± {bound['se_ms']:.2f}" if "se_ms" in bound else ""
        table.add_row(
            "zero-load bound",
            f"{number(bound['finality_ms'])}{error} ms; measured ÷ bound = {bound['ratio']:.4f}{least}{_scope(report)}",
        )
    table.add_row("bound check", escape(bound["check"]))
    submitted = sum(network["by_kind"][kind]["messages"] for kind in KINDS if kind in network["by_kind"])
    what = " of consensus" if submitted else ""
    per_block = f", {(network['messages'] - submitted) / committed:,.1f}{what} a block" if committed else ""
    table.add_row("messages", f"{number(network['messages'])}{per_block}, {_megabytes(network['bytes'])}")
    if network["link_transmissions"]:
        table.add_row(
            "over links",
            f"{number(network['link_transmissions'])} transmissions, {_megabytes(network['link_bytes'])}",
        )
    _add_load(table, network)
    for what in ("drops", "rejected"):
        if network[what]:
            table.add_row(what, ", ".join(f"{number(count)} {reason}" for reason, count in network[what].items()))
    if any(report["compute"]["work_ms"].values()):
        table.add_row("CPU", _cpu(report["compute"]))
    if consensus["transactions_per_s"]:
        _add_goodput(table, report)
    if report["workload"]["stable"] is False:
        backlog, growth, se = (report["workload"][f"backlog{end}"] for end in ("", "_growth_per_s", "_growth_se"))
        sentence = f"{number(backlog)} waiting, {number(growth)} ± {number(se)} more every second"
        table.add_row("[bold red]UNSTABLE[/]", sentence)
    for fault in report["faults"]:
        target = escape(", ".join(fault["target"]))
        effect = fault["effect"]
        table.add_row(
            f"fault: {fault.get('behaviour', fault['kind'])}", f"{target}: {number(effect['count'])} {effect['unit']}"
        )
    table.add_row(
        "engine",
        f"{number(engine['deliveries'])} deliveries in {engine['cpu_s']:.1f} CPU-s, {engine['peak_rss_mb']:.0f} MB",
    )
    if engine["bus"] == "mqtt":
        _add_nodes(table, engine)
    table.add_row("digest", report["digest"][:16])
    return table


def _add_goodput(table: Table, report: Mapping[str, Any]) -> None:
    consensus, workload = report["consensus"], report["workload"]
    share = _of_all_sent(workload["goodput_share"])
    table.add_row(
        "throughput",
        f"{number(consensus['transactions_per_s'])} of {number(workload['submitted_per_s'])} transactions/s, "
        f"{number(workload['goodput_bytes_per_s'] / 1e6)} MB/s{share}",
    )
    if workload["dropped"]:
        dropped = ", ".join(f"{number(count)} {reason}" for reason, count in workload["dropped"].items())
        table.add_row("transactions dropped", dropped)


def _of_all_sent(share: float | None) -> str:
    if share is None:
        return ""
    return f", {rate(share)} of all bytes sent" if share <= 1 else f", {number(share)} times all bytes sent"


def _add_load(table: Table, network: Mapping[str, Any]) -> None:
    """What only links with queues, and gossip, have."""
    if "delays_ms" in network:
        delays = network["delays_ms"]
        parts = " + ".join(
            f"{number(delays[part])} {part}" for part in ("propagation", "transmission", "queueing", "processing")
        )
        table.add_row("one-way delay, ms", f"{number(delays['one_way'])} = {parts}")
    if network.get("by_link_class"):
        busiest = max((entry["busiest"] for entry in network["by_link_class"].values()), key=itemgetter("utilisation"))
        table.add_row(
            "busiest link",
            f"{escape(busiest['from'])} to {escape(busiest['to'])}: {rate(busiest['utilisation'])} busy; messages wait "
            f"{number(busiest['queueing_ms'])} ms, at most {number(busiest['longest_queueing_ms'])} ms",
        )
    if "gossip" in network:
        gossip = network["gossip"]
        table.add_row(
            "gossip",
            f"{number(gossip['redundancy'])} copies to each replica; {number(gossip['duplicates'])} of "
            f"{number(gossip['bodies'])} were had already; {number(gossip['announcements'])} announcements, "
            f"{number(gossip['requests'])} requests",
        )


def _add_nodes(table: Table, engine: Mapping[str, Any]) -> None:
    """What only runs over real processes have."""
    late = engine["lateness_ms"]
    table.add_row(
        "lateness",
        f"p50 {number(late['p50'])} ms, p99 {number(late['p99'])} ms, max {number(late['max'])} ms, over "
        f"{escape(engine['broker'])}, {engine['time_scale']:g} s for each emulated one",
    )
    if engine["broker_outages_s"]:
        windows = ", ".join(f"{begin:g}-{end:g} s" for begin, end in engine["broker_outages_s"])
        table.add_row("broker away", f"{windows}; {number(engine['frames_resent'])} words said again")
    if engine["undelivered"]:
        table.add_row("undelivered", f"{number(engine['undelivered'])} messages that were due never came")
    if engine["node_deaths"]:
        table.add_row("nodes", f"{number(engine['node_deaths'])} processes killed")
    if engine["frames_refused"]:
        refused = ", ".join(f"{number(count)} {reason}" for reason, count in engine["frames_refused"].items())
        table.add_row("frames refused", refused)
    if engine["invalid"]:
        table.add_row("[bold red]INVALID[/]", escape(engine["invalid"]))


def _cpu(compute: Mapping[str, Any]) -> str:
    busy, busiest, queueing = compute["utilisation"], compute["busiest"], compute["queueing_ms"]
    return (
        f"{rate(busy['mean'])} busy, {rate(busiest['utilisation'])} on replica {busiest['replica']}; messages wait "
        f"{number(queueing['mean'])} ms, at most {number(queueing['max'])} ms"
    )


def _scope(report: Mapping[str, Any]) -> str:
    """Which blocks the bound is about, where it is not about all that the finality is about."""
    count = report["consensus"]["finality_ms"]["count"]
    return "" if report["bound"]["blocks"] == count else f" ({report['bound']['blocks']} of {count} blocks)"


def _rate_row(found: Mapping[str, Any], of: str) -> str:
    if found["value"] is None:
        return "–"
    predicted = found.get("predicted")
    theory = "" if predicted is None else f"; predicted {rate(predicted)}"
    counts = f"{number(found['count'])} of {number(found['of'])} {of}"
    return f"{rate(found['value'])} ± {rate(found['se'])} ({counts}){theory}"


def _megabytes(size_bytes: float) -> str:
    return f"{size_bytes / 1e6:,.1f} MB"


def _checks(report: Mapping[str, Any]) -> RenderableType:
    safety = report["safety"]
    passed = [
        check["name"] for check in safety["checks"] if check["ok"] and not check["detail"].startswith("not applicable")
    ]
    lines = [f"[green]checks passed[/]: {', '.join(passed)}"] if passed else []
    lines += [f"[bold red]FAILED[/] {escape(sentence)}" for sentence in safety["violations"]]
    return Group(*lines)
