"""Twins schedules: all of them, played at speed as they are in runs; ours bear them, mutants do not."""

from __future__ import annotations

import json
import tomllib
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from consensus.messages import Block
from consensus.protocols import PROTOCOLS, load_protocol
from consensus.types import Committee, ReplicaId
from node.trace import Observer
from testbed.cli import main
from testbed.fuzz.arena import RECOVERING, Arena
from testbed.fuzz.campaign import Campaign
from testbed.fuzz.enumeration import ROUNDS, STRETCH, Enumeration, has_views, play_stretch, space_of
from testbed.fuzz.schedules import FANS, Space, set_partitions
from testbed.fuzz.trial import Trial, attempt
from testbed.fuzz.twins_watch import FEATURES, Outcome
from testbed.scenario import make_scenario
from testbed.simulation import simulate

MUTANTS = "tests.fuzz.mutants"
WITH_VIEWS = [name for name in PROTOCOLS if has_views(load_protocol(name))]
CAMPAIGN = 10_000


def arena(name: str, rounds: int, most_groups: int = 2) -> Arena:
    protocol = load_protocol(name)
    return Arena(protocol, Space(space_of(protocol).committee, rounds, most_groups))


# The schedules


@pytest.mark.parametrize(("nodes", "ways"), [(1, [1]), (3, [1, 4, 5]), (5, [1, 16, 41, 51, 52])])
def test_partitions_are_as_many_as_stirling_says(nodes: int, ways: list[int]) -> None:
    """Sums of Stirling numbers of the second kind; the last one is Bell's."""
    for most_groups, expected in enumerate(ways, 1):
        found = list(set_partitions(nodes, most_groups))
        assert len(set(found)) == len(found) == expected
        for groups in found:
            assert sorted(node for group in groups for node in group) == list(range(nodes))
            assert len(groups) <= most_groups


def test_a_round_has_every_leader_and_every_partition_with_a_quorum_somewhere() -> None:
    space = Space(Committee.of(4), 1)
    # One of all; five of four and one; ten of three and two, less the three whose three are the copies and one more.
    assert len(space.partitions) == 1 + 5 + 7
    assert space.partitions[0] == ((0, 1, 2, 3, 4),)
    assert ((0, 1), (2, 3, 4)) not in space.partitions
    assert space.size == space.choices == 52
    chosen = {(space.leader(choice), space.partition(choice)) for (choice,) in space.spread()}
    assert chosen == {(leader, groups) for leader in range(4) for groups in space.partitions}


@pytest.mark.parametrize(("n", "rounds", "most_groups"), [(4, 1, 2), (4, 2, 2), (4, 3, 2), (4, 2, 5), (5, 2, 3)])
def test_the_walk_comes_to_every_schedule_once(n: int, rounds: int, most_groups: int) -> None:
    space = Space(Committee.of(n), rounds, most_groups)
    found = list(space.spread())
    assert len(found) == len(set(found)) == space.size


def test_the_walk_begins_everywhere() -> None:
    """Each round's choices are all met early, though neighbours have all but two rounds in common."""
    space = Space(Committee.of(4), ROUNDS)
    family = FANS[0] * FANS[1]
    early = list(islice(space.spread(), 400 * family))
    assert len({schedule[:-2] for schedule in early[:family]}) == 1
    for number in range(1, ROUNDS):
        assert len({schedule[number] for schedule in early}) == space.choices


# The play


class Commits(Observer):
    """Who commits which block when."""

    def __init__(self) -> None:
        self.blocks: dict[int, list[tuple[int, Block]]] = {}

    def committed(self, now_ns: int, replica: ReplicaId, block: Block) -> None:
        self.blocks.setdefault(replica, []).append((now_ns, block))


def told(blocks: list[tuple[int, Block]]) -> list[tuple[Any, ...]]:
    """Names of blocks hang on their transactions' numbers, which differ: here parents are told by their views."""
    views = {block.id: block.view for _, block in blocks}
    return [
        (at_ns, block.height, block.view, block.proposer, block.payload.count, views.get(block.parent))
        for at_ns, block in blocks
    ]


@pytest.mark.parametrize("name", WITH_VIEWS)
def test_a_schedule_is_played_as_a_run_plays_it(name: str) -> None:
    """Two implementations: hosts, wrappers, channels and clock on one side, the arena on the other."""
    where = arena(name, 5, most_groups=3)
    blocks = 0
    for choices in islice(where.space.spread(), 0, 8 * 53, 53):
        outcome, run = where.play(choices), Commits()
        result = simulate(make_scenario(where.tables(name, outcome)), observers=[run])
        assert result.ok, result.report["safety"]["violations"]
        assert not outcome.failed
        for replica, played in outcome.committed.items():
            # The run goes on for a while.
            until = [block for block in run.blocks[replica] if block[0] < outcome.ended_ns]
            assert told(run.blocks[replica])[: len(played)] == told(played), (choices, replica)
            assert len(until) <= len(played)
            blocks += len(played)
    assert blocks > 8 * 3


@pytest.mark.parametrize("name", WITH_VIEWS)
def test_branches_are_played_as_from_the_start(name: str) -> None:
    where = arena(name, ROUNDS)
    schedules = list(islice(where.space.spread(), 0, 3 * FANS[0] * FANS[1], 3))
    played = list(where.play_all(schedules))
    assert [outcome.choices for outcome in played] == schedules
    for number, outcome in enumerate(played):
        assert outcome == where.play(outcome.choices, recover=number % RECOVERING == 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_VIEWS)
def test_nothing_breaks_a_protocol_and_much_happens(name: str) -> None:
    seen = play_stretch(name, 0, CAMPAIGN)
    assert not seen.failures
    assert seen.schedules == CAMPAIGN
    assert seen.features["recoveries"] == -(-CAMPAIGN // RECOVERING)
    assert all(seen.features[name] >= CAMPAIGN // 50 for name in FEATURES[:-1]), seen.features


@pytest.mark.parametrize(
    ("mutant", "begin", "end", "sentence"),
    [
        ("FastJolteon", 0, 400, "agreement: two blocks are final"),
        ("FastHotStuff2", 0, 1_000, "agreement: two blocks are final"),
        ("FewerPbft", 0, 10, "certificates: one of view"),
        ("FewerHotStuff", 0, 10, "certificates: one of view"),
        ("FewerStreamlet", 0, 10, "certificates: one of view"),
        ("FewerTendermint", 0, 400, "certificates: one of view"),
        ("DeafJolteon", 0, 100, "recovery: replica"),
        # The first that it does not bear; to come to it takes half a minute.
        ("LocklessTendermint", 4_780, 4_800, "agreement: two blocks are final"),
    ],
)
def test_a_mutant_is_found(mutant: str, begin: int, end: int, sentence: str) -> None:
    seen = play_stretch(f"{MUTANTS}:{mutant}", begin, end)
    assert seen.first_failure is not None
    assert seen.failures[seen.first_failure].sentences[0].startswith(sentence)


# From the failure to a file


@pytest.mark.parametrize(
    ("mutant", "check"),
    [
        ("FastJolteon", "agreement"),
        ("DeafJolteon", "recovery"),
        ("FewerHotStuff", "certificate soundness"),
        ("RaisingHotStuff", "error: ProtocolError"),
        ("EndlessHotStuff", "error: ProtocolError"),
        ("SleepingJolteon", "error: ProtocolError"),
        ("FallingSilentJolteon", "recovery"),
    ],
)
def test_what_is_found_is_small_and_repeats_with_one_command(
    mutant: str, check: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QUORBIT_PATIENCE_S", "0.4")
    name = f"{MUTANTS}:{mutant}"
    assert main(["fuzz", name, "--runs", "1", "--twins", "520", "--json"]) == 1
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert check in report["failure"]["checks"]
    file = Path(report["failure"]["scenario"])
    assert file.name == f"fuzz-{mutant}-twins-{report['failure']['number']}.toml"
    assert f"repeat with: quorbit run {file}" in err
    tables = tomllib.loads(file.read_text())
    assert all(sum(len(groups) > 1 for groups in fault["partitions"]) < ROUNDS for fault in tables.get("fault", ()))
    if check.startswith("error"):
        assert main(["run", str(file)]) == 2
        assert mutant in capsys.readouterr().err
    else:
        assert main(["run", str(file)]) == 1
        assert check in capsys.readouterr().out


def test_the_schedule_that_breaks_a_mutant_does_not_break_the_protocol() -> None:
    seen = play_stretch(f"{MUTANTS}:FastJolteon", 0, 400)
    (outcome,) = seen.failures.values()
    where = arena("jolteon", ROUNDS)
    assert "agreement" in attempt(where.tables(f"{MUTANTS}:FastJolteon", outcome)).failed
    assert not attempt(where.tables("jolteon", outcome)).failed
    assert not where.play(outcome.choices).failed


def test_stretches_make_a_whole(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["fuzz", "jolteon", "--runs", "1", "--twins", f"{STRETCH + 100}", "--json"]
    assert main(arguments) == 0
    report = json.loads(capsys.readouterr().out)["twins"]
    whole = play_stretch("jolteon", 0, STRETCH + 100)
    assert report["schedules"] == whole.schedules == STRETCH + 100
    assert report["schedules_with"] == dict(whole.features)


def test_a_protocol_without_views_has_no_schedules(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fuzz", "longest_chain", "--runs", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["twins"]["schedules"] == 0


def test_a_protocol_from_elsewhere_may_keep_anything_and_draw_by_chance() -> None:
    name, count = f"{MUTANTS}:OwnJolteon", 60
    seen = play_stretch(name, 0, count)
    assert seen.schedules == count
    assert seen == play_stretch(name, 0, count)
    where = Arena(load_protocol(name), space_of(load_protocol(name)), branching=False)
    schedules = list(islice(where.space.spread(), count))
    assert list(where.play_all(schedules[::-1]))[::-1][-1] == where.play(schedules[-1], recover=True)


def test_a_protocol_that_ends_its_process_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fuzz", f"{MUTANTS}:LeavingJolteon", "--runs", "1"]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.splitlines()[-1].startswith(f"{MUTANTS}:LeavingJolteon: a process of the campaign has ended")


def test_a_parameter_without_a_default_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fuzz", f"{MUTANTS}:NeedyJolteon"]) == 2
    assert "every parameter needs a default to be fuzzed with" in capsys.readouterr().err


@pytest.mark.parametrize("schedule", [True, False])
def test_what_a_run_does_not_repeat_is_said_so(
    schedule: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sentence = "agreement: two blocks are final at height 1"
    played = Enumeration(1, failures={0: Outcome((0,) * ROUNDS, violations=[sentence])})

    def fails(protocol: str, **_: Any) -> Campaign:
        if schedule:
            return Campaign(protocol, 1, twins=played)
        return Campaign(protocol, 1, failures={0: Trial(("agreement",), (sentence,))})

    monkeypatch.setattr("testbed.commands.fuzz.run_campaign", fails)
    assert main(["fuzz", "jolteon", "--out", str(tmp_path)]) == 1
    err = capsys.readouterr().err.splitlines()
    assert err[-2:] == [
        "jolteon FAILED: agreement: two blocks are final at height 1",
        f"a run of the same schedule, {tmp_path}/fuzz-jolteon-twins-0.toml, does not fail: is it random?"
        if schedule
        else f"a run of the same scenario, {tmp_path}/fuzz-jolteon-1-0.toml, does not fail: is it random?",
    ]
