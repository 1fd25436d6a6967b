"""Which scenarios real nodes can run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from testbed.scenario.mistakes import Mistake

if TYPE_CHECKING:
    from testbed.scenario import Scenario


def check_for_nodes(scenario: Scenario) -> None:
    """Raises `ScenarioError` for what only virtual time has: a sender must know at once when its message is due."""
    network, mistakes = scenario.network, []
    if scenario.client:
        text = "exists in virtual time only; leave out --bus mqtt, or let workload.transactions_per_s stand for clients"
        mistakes.append(Mistake(("client",), text))
    for key, value, only in (
        ("model", network.model, "latency"),
        ("dissemination", network.dissemination, "unicast"),
    ):
        if value in ("links", "multicast", "flood", "gossip", "shreds"):
            text = f'exists in virtual time only; leave out --bus mqtt, or use "{only}"'
            mistakes.append(Mistake(("network", key), text, value))
    if network.compact.enabled:
        text = "exists in virtual time only; leave out --bus mqtt, or send blocks whole"
        mistakes.append(Mistake(("network", "compact", "enabled"), text, True))
    if mistakes:
        raise scenario.error(mistakes)
