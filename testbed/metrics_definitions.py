"""What every number of a result means, and where its definition comes from.

`quorbit schema result` prints this as JSON Schema; `python -m testbed.metrics_definitions` prints it as a table,
`docs/metrics.md`, which a test keeps true.
"""

from __future__ import annotations

from typing import Any, NamedTuple

PROPOSAL = (
    "A block's time starts when its proposer's host takes the proposal, before signing. The base is the replicas that "
    "are honest and up at that instant, the proposer among them at 0. A percentile of m values is the ⌈p·m⌉-th "
    "smallest."
)
DW13 = "Decker and Wattenhofer, IEEE P2P 2013"
GERVAIS16 = "Gervais et al., CCS 2016"
GKL15 = "Garay, Kiayias and Leonardos, Eurocrypt 2015"


class Definition(NamedTuple):
    """One entry of a result, with its JSON type, or summary, or rate."""

    key: str
    type: str
    unit: str
    meaning: str
    source: str = ""


DEFINITIONS = (
    Definition("schema", "string", "", "Name and version of this layout."),
    Definition("quorbit", "string", "", "Version that made the result."),
    Definition("scenario", "object", "", "The scenario as resolved, every default filled in, in human units."),
    Definition("seed", "integer", "", "The root seed: all chance is split from it by name."),
    Definition("digest", "string", "", "BLAKE2b over everything that happened; equal for equal scenario and seed."),
    Definition("partial", "boolean", "", "Whether the run was stopped before its end."),
    Definition("engine.bus", "string", "", "What carried the messages: virtual, or mqtt."),
    Definition("engine.virtual_s", "number", "s", "Virtual time that passed, or emulated time over MQTT."),
    Definition("engine.wall_s", "number", "s", "Wall time of the run, without building the network."),
    Definition("engine.cpu_s", "number", "s", "CPU time of the run on one core; over MQTT of all nodes together."),
    Definition(
        "engine.deliveries",
        "integer",
        "",
        "Messages that arrived, also where the receiver was down; no timers.",
    ),
    Definition("engine.deliveries_per_s", "integer", "1/s", "Deliveries per CPU second."),
    Definition("engine.signatures_verified", "integer", "", "Distinct signatures verified, each once."),
    Definition("engine.peak_rss_mb", "number", "MB", "Largest memory of the process so far, or of any node."),
    *(
        Definition(f"engine.{key}", kind, unit, f"Over MQTT: {meaning}")
        for key, kind, unit, meaning in (
            ("broker", "string", "", "the broker that was started, or the URL of the one that was used."),
            ("time_scale", "number", "", "wall seconds per emulated second."),
            (
                "lateness_ms",
                "object",
                "ms",
                "p50, p99 and max, over deliveries, of how much later than it was due, and than the modelled CPU was "
                "free, a message was handed to its replica; in emulated time.",
            ),
            ("invalid", "text or null", "", "why the run says nothing about its network: late beyond its budget."),
            ("frames_refused", "object", "", "frames dropped by nodes, by reason."),
            ("frames_resent", "integer", "", "words said again because somebody had missed them."),
            (
                "undelivered",
                "integer",
                "",
                "messages that were due at a running node and never came; later than all others in lateness_ms.",
            ),
            ("broker_outages_s", "array", "s", "when somebody had no broker: [begin, end] in emulated time."),
            ("node_deaths", "integer", "", "processes killed, by the scenario or otherwise."),
        )
    ),
    Definition("safety.ok", "boolean", "", "Whether every check found what the scenario expects."),
    Definition("safety.checks", "array", "", "Name, outcome and scope of each check."),
    Definition("safety.violations", "array", "", "What was violated, in words; the first few of each check."),
    Definition("consensus.proposed_blocks", "integer", "", "Distinct blocks proposed."),
    Definition("consensus.committed_blocks", "integer", "", "Blocks committed by at least one honest replica."),
    Definition(
        "consensus.pending_blocks", "integer", "", "Committed blocks that some replica of their base lacks at the end."
    ),
    Definition(
        "consensus.stale_blocks",
        "integer",
        "",
        "Blocks off the final chain, up to the highest final height.",
        GERVAIS16,
    ),
    Definition(
        "consensus.fork_rate",
        "rate",
        "",
        "Share of heights, up to the highest final one, with two or more blocks; predicted 1-e^(-λD).",
        DW13,
    ),
    Definition(
        "consensus.stale_rate",
        "rate",
        "",
        "Stale blocks of all blocks up to that height; predicted λD/(1+λD).",
        GERVAIS16,
    ),
    Definition(
        "consensus.max_reorg_depth", "integer", "blocks", "Most blocks a replica abandoned at one change of its tip."
    ),
    Definition("consensus.finality_ms", "summary", "ms", "Proposal to commit at the median replica of the base."),
    Definition("consensus.finality_first_ms", "summary", "ms", "The same at the first replica to commit."),
    Definition(
        "consensus.finality_quorum_ms",
        "summary",
        "ms",
        "The same at the quorum-th replica (the last one where there are no quorums).",
    ),
    Definition("consensus.finality_last_ms", "summary", "ms", "The same at the last replica of the base."),
    Definition("consensus.block_interval_ms", "summary", "ms", "Between proposals of neighbours on the final chain."),
    Definition("consensus.chain_growth_per_s", "number", "1/s", "Final blocks per second of virtual time.", GKL15),
    Definition(
        "consensus.view_changes", "integer", "", "Views that some replica entered because the last was given up."
    ),
    Definition("consensus.views_per_block", "number", "", "Views entered per committed block."),
    Definition("consensus.transactions_per_s", "number", "1/s", "Transactions on the final chain per second."),
    Definition(
        "consensus.transaction_latency_ms",
        "summary",
        "ms",
        "A transaction's arrival to the commit of its block at the median replica.",
    ),
    Definition(
        "consensus.leader_share_gini",
        "number",
        "",
        "Gini coefficient of replicas' shares of the final chain over their shares of power; 0 is fair.",
        "Gini 1912; G = Σᵢⱼ|xᵢ-xⱼ|/(2n²x̄)",
    ),
    *(
        Definition(
            f"propagation.t{share}_ms",
            "summary",
            "ms",
            f"Proposal until {share} % of the base hold the full valid block and its ancestors.",
            DW13,
        )
        for share in (50, 90, 99, 100)
    ),
    Definition("propagation.pooled_ms", "summary", "ms", "The same over all pairs of block and base replica.", DW13),
    Definition(
        "propagation.mean_weighted_ms",
        "number",
        "ms",
        "∫(1-f)dt over the coverage curve f: the power-weighted mean time to hold a block.",
        DW13,
    ),
    Definition(
        "network.messages", "integer", "", "Pairs of sender and receiver ≠ sender, whether delivered or dropped."
    ),
    Definition("network.bytes", "integer", "B", "Encoded sizes and transactions of all these messages."),
    Definition("network.by_kind", "object", "", "Messages and bytes of each kind of message."),
    Definition("network.link_transmissions", "integer", "", "Messages times links of their routes."),
    Definition("network.link_bytes", "integer", "B", "Bytes times links of their routes."),
    Definition("network.busiest_links", "array", "", "The ten directed links that carried the most bytes."),
    Definition(
        "network.handovers",
        "integer",
        "",
        "Ground-satellite links chosen at a reconfiguration that were not there before; null without satellites.",
    ),
    Definition("network.acquisitions", "integer", "", "Lasers that had to be acquired after the start; null likewise."),
    Definition("network.drops", "object", "", "Messages that never arrived, by reason."),
    Definition("network.rejected", "object", "", "Messages that arrived and were rejected, by reason."),
    Definition("bound.blocks", "integer", "", "Final blocks with a bound; what needs a lost route has none."),
    Definition(
        "bound.finality_ms",
        "number",
        "ms",
        "Least possible finality on these delays, mean over blocks: order statistics of the delay matrix.",
        "see testbed/bounds.py",
    ),
    Definition("bound.se_ms", "number", "ms", "Standard error of a Monte-Carlo bound (random delays only)."),
    Definition("bound.ratio", "number", "", "Measured ÷ bound, mean over blocks."),
    Definition("bound.ratio_min", "number", "", "The smallest ratio of any block."),
    Definition("bound.check", "string", "", "Whether nothing was faster than possible, or why that cannot be asked."),
    Definition("bound.fork_rate", "object", "", "Predicted fork rate and its sampling error.", DW13),
    Definition("bound.stale_rate", "object", "", "Predicted stale rate and its sampling error.", "renewal argument"),
    Definition("faults", "array", "", "Each fault of the scenario with its window and what it did."),
    Definition("warnings", "array", "", "What the scenario was warned of."),
)

_TYPES: dict[str, dict[str, Any]] = {
    "number": {"type": ["number", "null"]},
    "integer": {"type": ["integer", "null"]},
    "string": {"type": "string"},
    "text or null": {"type": ["string", "null"]},
    "boolean": {"type": "boolean"},
    "object": {"type": "object"},
    "array": {"type": "array"},
    "summary": {"anyOf": [{"$ref": "#/$defs/summary"}, {"type": "null"}]},
    "rate": {"$ref": "#/$defs/rate"},
}


def _table(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), **more}


def result_schema() -> dict[str, Any]:
    """JSON Schema of `result.json`, with each definition and its source as the description."""
    root: dict[str, Any] = {}
    for definition in DEFINITIONS:
        *parents, name = definition.key.split(".")
        place = root
        for parent in parents:
            place = place.setdefault(parent, {"type": "object", "properties": {}})["properties"]
        unit = f" [{definition.unit}]" if definition.unit else ""
        source = f" Source: {definition.source}." if definition.source else ""
        place[name] = {**_TYPES[definition.type], "description": f"{definition.meaning}{unit}{source}"}
    numbers = {name: {"type": "number"} for name in ("mean", "p50", "p90", "p99", "max")}
    nullable = {"type": ["number", "null"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "description": PROPOSAL,
        "type": "object",
        "properties": root,
        "$defs": {
            "summary": _table({"count": {"type": "integer"}, **numbers}),
            "rate": _table(
                {"value": nullable, "se": nullable, "count": {"type": "integer"}, "of": {"type": "integer"}}
            ),
        },
    }


def markdown() -> str:
    """`docs/metrics.md`."""
    lines = [
        "# What every number of a result means",
        "",
        PROPOSAL,
        "",
        "A *summary* is {count, mean, p50, p90, p99, max}",
    ]
    lines[-1] += "; a *rate* is {value, se, count, of} with se = √(p(1-p)/of)."
    lines += ["", "| key | type | unit | meaning | source |", "|---|---|---|---|---|"]
    for key, kind, unit, meaning, source in DEFINITIONS:
        lines.append(f"| `{key}` | {kind} | {unit} | {meaning} | {source} |".replace("  ", " "))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
