"""Leaders take turns."""

from consensus.leader import round_robin
from consensus.types import Committee, View


def test_leaders_take_turns_in_order_of_their_numbers() -> None:
    """PBFT, section 4: p = v mod |R|."""
    committee = Committee.of(5)
    assert [round_robin(committee, View(view)) for view in range(11)] == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0]
