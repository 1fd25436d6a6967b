"""`quorbit bound`: what the delays alone allow."""

from collections.abc import Sequence
from pathlib import Path

from testbed.commands.terminal import print_json, print_table, sentences_for_mistakes
from testbed.scenario import load_scenario


@sentences_for_mistakes
def show_bound(path: Path, overrides: Sequence[str], as_json: bool) -> int:
    """Print the bound of a scenario's protocol over its network."""
    scenario = load_scenario(path, overrides)
    from testbed.prediction import scenario_bound
    from testbed.report.table import bound_table

    found = scenario_bound(scenario)
    if as_json:
        print_json(found)
    else:
        print_table(bound_table(found))
    return 0
