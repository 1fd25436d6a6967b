"""The scenario: everything a run depends on, said in one TOML file.

This package turns a file into a frozen `Scenario`, or into one sentence per mistake. It knows what keys mean; it must
not build networks, run protocols or print.
"""

from testbed.scenario.compute import Compute
from testbed.scenario.load import load_scenario, make_scenario
from testbed.scenario.mistakes import ScenarioError
from testbed.scenario.models import (
    Committee,
    Consensus,
    Expect,
    Fault,
    Mqtt,
    Scenario,
)
from testbed.scenario.space import (
    Elements,
    GroundStation,
    GslRate,
    Network,
    Shell,
    Walker,
    WalkerDelta,
    WalkerStar,
)
from testbed.scenario.workload import Client, Workload

__all__ = [
    "Client",
    "Committee",
    "Compute",
    "Consensus",
    "Elements",
    "Expect",
    "Fault",
    "GroundStation",
    "GslRate",
    "Mqtt",
    "Network",
    "Scenario",
    "ScenarioError",
    "Shell",
    "Walker",
    "WalkerDelta",
    "WalkerStar",
    "Workload",
    "load_scenario",
    "make_scenario",
]
