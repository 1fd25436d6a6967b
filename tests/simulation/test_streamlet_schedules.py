"""Streamlet under Twins-like schedules: what lengths, and three epochs in a row, are good for.

The schedules were found by drawing and then made as small as they would go; `Schedule.drawn` draws more of them.
Votes are all that is not a proposal.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.messages import Block, QuorumCertificate
from consensus.protocols.streamlet import Streamlet
from testbed.checks import Verdict, progress_verdict
from tests.simulation.epochs import Epochs, Schedule

quick = settings(deadline=None, max_examples=100, derandomize=True)

SYNCHRONOUS = 4
"""Epochs with honest leaders that make a new block final: the paper proves five, TLC finds four for small models."""


class RoundComparing(Streamlet):
    """Takes the chain whose head is newest for the longest (as the one that twins-simulator ships)."""

    def length(self, certificate: QuorumCertificate) -> int:
        return certificate.view


class TwoInARow(Streamlet):
    """Finalizes the first of two adjacent blocks of consecutive epochs."""

    def finalizes(self, last: Block) -> bool:
        return last.view == self.tree.parent(last).view + 1


def cut(proposals: str = "", votes: str = "") -> frozenset[tuple[str, int, int]]:
    """`"01 23"`: what 0 says does not reach 1, and what 2 says not 3."""
    named = {"proposal": proposals, "vote": votes}
    return frozenset((kind, int(link[0]), int(link[1])) for kind, links in named.items() for link in links.split())


def schedule(leaders: str, *cuts: frozenset[tuple[str, int, int]], twins: int = 0) -> Schedule:
    every = [*cuts, *[cut()] * (len(leaders) - len(cuts))]
    return Schedule({epoch: int(leader) for epoch, leader in enumerate(leaders, 1)}, every, twins)


STALLING = {
    # Machine 4 is replica 0's twin. Nothing is lost after the third epoch.
    "with a twin": schedule("022113", cut("01", "31 32 34"), cut("", "12 14 21"), cut("", "21"), twins=1),
    "without": schedule("220301", cut("23", "02 10 21 32"), cut("20 21"), cut("", "23")),
}


def progress(epochs: Epochs) -> Verdict:
    """The verdict that runs carry, over what the honest replicas committed."""
    return progress_verdict(sum(len(epochs.committed[machine]) for machine in epochs.honest), expected=True)


@pytest.mark.parametrize("name", STALLING)
def test_comparing_rounds_instead_of_lengths_stalls(name: str) -> None:
    """T2: six rounds in which the vulnerable rule finalizes nothing anywhere, and the right one goes on everywhere."""
    vulnerable = STALLING[name].play(RoundComparing)
    assert (progress(vulnerable).ok, progress(vulnerable).violations) == (False, ("nothing was committed",))
    assert not any(vulnerable.committed)
    assert vulnerable.safe
    right = STALLING[name].play(Streamlet)
    assert progress(right).ok
    assert all(len(right.committed[machine]) >= 3 for machine in right.honest)
    assert right.safe


def test_two_epochs_in_a_row_are_not_enough() -> None:
    """Section 3: with two, hidden certificates let both of two branches become final."""
    hiding = schedule("011320", cut("01", "30 31 32"), cut("13", "23"), cut("", "10 13 21"))
    diverged = hiding.play(TwoInARow)
    assert not diverged.agreement.verdict().ok
    assert hiding.play(Streamlet).safe


@given(seed=st.integers(0, 2**32 - 1), epochs=st.integers(1, 8))
@quick
def test_four_synchronous_epochs_make_a_new_block_final(seed: int, epochs: int) -> None:
    """T14, whatever was lost before: with certificates echoed on demand as with the paper's echo of everything."""
    run = Schedule.drawn(seed, epochs, twins=0).play(Streamlet)
    for _ in range(SYNCHRONOUS):
        run.run()
    assert all(blocks and blocks[-1].view > epochs for blocks in run.committed)
    assert run.safe


@given(seed=st.integers(0, 2**32 - 1))
@quick
def test_a_twin_and_any_losses_are_safe(seed: int) -> None:
    assert Schedule.drawn(seed, 12, twins=1).play(Streamlet).safe
