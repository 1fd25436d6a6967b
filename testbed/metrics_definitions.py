"""What every number of a result means, and where its definition comes from.

`quorbit schema result` prints this as JSON Schema; `python -m testbed.metrics_definitions` prints it as a table,
`docs/metrics.md`, which a test keeps true.
"""

from __future__ import annotations

from typing import Any

from testbed.consensus_definitions import CONSENSUS, PROPAGATION
from testbed.definition import DW13, Definition
from testbed.network_definitions import NETWORK
from testbed.workload_definitions import WORKLOAD

PROPOSAL = (
    "A block's time starts when its proposer's host takes the proposal, before signing. The base is the replicas that "
    "are honest and up at that instant, the proposer among them at 0. A percentile of m values is the ⌈p·m⌉-th "
    "smallest."
)
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
                "messages that were due at a node that ran from then on and never came; later than all others in "
                "lateness_ms.",
            ),
            ("broker_outages_s", "array", "s", "when somebody had no broker: [begin, end] in emulated time."),
            ("node_deaths", "integer", "", "processes killed, by the scenario or otherwise."),
        )
    ),
    Definition("safety.ok", "boolean", "", "Whether every check found what the scenario expects."),
    Definition("safety.checks", "array", "", "Name, outcome and scope of each check."),
    Definition("safety.violations", "array", "", "What was violated, in words; the first few of each check."),
    *CONSENSUS,
    Definition(
        "compute.utilisation",
        "summary",
        "",
        "Over replicas: time that the modelled CPU worked, of all the time; a replica that is down does not work.",
    ),
    Definition("compute.busiest", "object", "", "The replica that worked most, and its utilisation."),
    Definition(
        "compute.queueing_ms",
        "object",
        "ms",
        "count, mean and max over messages that came at a running replica, where hashing takes time also what clients "
        "sent and replicas passed on: the work that lay ahead of them in its CPU. Where nothing takes time nothing is "
        "counted.",
        "virtual waiting time, FIFO",
    ),
    Definition(
        "compute.work_ms",
        "object",
        "ms",
        "What all CPUs together were asked to sign, verify, hash and execute, and how much of that a crash or the end "
        "of the run left undone.",
    ),
    *PROPAGATION,
    *NETWORK,
    *(Definition(f"workload.{key}", *more) for key, *more in WORKLOAD),
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
    "boolean or null": {"type": ["boolean", "null"]},
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
