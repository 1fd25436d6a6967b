"""A scenario: everything a run depends on, as written down by a person.

Keys keep the names they have in the file, so `scenario.shell[0].planes` is `shell[0].planes` in a mistake. Relations
between keys (a committee larger than its shell) are not checked here but in `crosscheck`; `load_scenario` does both.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, PrivateAttr, SerializeAsAny, Strict, WithJsonSchema

from testbed.scenario.base import Table
from testbed.scenario.compute import Compute
from testbed.scenario.mistakes import Mistake, ScenarioError, Sources
from testbed.scenario.quantities import (
    Allowed,
    Choice,
    Count,
    DataFile,
    Duration,
    Flag,
    Folder,
    Instant,
    Milliseconds,
    Positive,
    PositiveShare,
    Seed,
    Text,
    mistake,
)
from testbed.scenario.space import GroundStation, Network, Shell
from testbed.scenario.workload import Client, Workload

DEFAULT_START: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""The start of a scenario that has no element sets and names none."""


def _utc(value: Any) -> datetime:
    """A TOML date or time as an aware UTC time; without an offset it is taken as UTC."""
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if not isinstance(value, datetime):
        raise mistake("must be a date and time without quotes, such as 2026-11-22T00:00:00Z")
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# JSON has no type for a TOML date-time; calling it a string would ask for quotes.
Start = Annotated[datetime, BeforeValidator(_utc), WithJsonSchema({"format": "date-time"})]
Names = Annotated[
    Text | tuple[Text, ...],
    Allowed("a name in quotes, or a list of names", kind=""),
]
Window = Annotated[
    tuple[Instant, Instant] | tuple[Instant],
    Allowed("[begin, end] or [begin] in seconds, 0 or more", kind=""),
]


def _listed(names: str | tuple[str, ...]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names


class Consensus(Table):
    """Which protocol, and what it believes about the network."""

    protocol: Text = "hotstuff"
    """A name from `quorbit protocols`, or "package.module:Class"."""
    protocol_folder: Folder | None = None
    """Where the module of "package.module:Class" may be, if Python does not find it; the scenario's own folder when
    left out."""
    delta_ms: Milliseconds = 500.0
    """Δ, the delay that the protocol assumes messages do not exceed."""
    timeout_ms: Milliseconds | None = None
    """The first view timeout; the protocol's own multiple of Δ when left out."""
    quorum: Count | None = None
    """Votes in a quorum, to repeat published tables; the protocol's safe size when left out."""
    parameters: Annotated[dict[str, Any], Allowed("", kind="a table, such as { block_interval_ms = 100 }")] = Field(
        default_factory=dict
    )
    """The protocol's own, checked by the protocol."""


class Committee(Table):
    """A group of replicas, numbered after those of the blocks before it, then by ascending index."""

    on: Text
    """A shell's name, "ground", "terrestrial", or "laboratory"."""
    select: Names = "spread"
    """all, spread, random, first, plane:N, or a list of names."""
    count: Count | None = None
    """How many replicas; everyone there when left out."""
    weight: Positive = 1.0
    """Share of hash power of each replica of the block under longest_chain; elsewhere every replica has one vote."""
    region: Text | None = None
    """network.model = "internet": a region of its `regions_file`."""
    receiver: Text | None = None
    """Which `network.compact.receiver` these replicas are, or "whole": they neither send nor take compact blocks. What
    `network.compact` itself says holds when left out."""


_Number = Annotated[int, Strict()]
Replicas = Annotated[
    tuple[_Number, ...],
    Allowed("a list of replica numbers, one for each round", kind=""),
]
Partitions = Annotated[
    tuple[tuple[tuple[_Number, ...], ...], ...],
    Allowed("for each round a list of groups of nodes, such as [[0, 1, 4], [2, 3]]", kind=""),
]


class Fault(Table):
    """Something that goes wrong for a while."""

    kind: Annotated[
        Literal["crash", "outage", "partition", "loss", "slow", "byzantine"],
        Choice(later=("plane_loss", "saa", "eclipse")),
    ]
    """crash: replicas stop and restart from their store. outage: satellites, stations or links carry nothing.
    partition: the target on one side, the rest on the other. loss: messages vanish. slow: messages are late.
    byzantine: replicas do what they should not. Clients at a struck place suffer partition, loss and slow with it."""
    target: Names
    """replica/3, an endpoint, plane/s1/4, shell/s1, operator/NAME, link/A~B, all, or a list of these."""
    window_s: Window = (0.0,)
    """[begin, end], or [begin] for until the end of the run."""
    rate: PositiveShare | None = None
    """kind = "loss": share of messages lost."""
    delay_ms: Milliseconds | None = None
    """kind = "slow": added to each message to or from the target. kind = "byzantine": how late, or how far ahead."""
    behaviour: Text | None = None
    """kind = "byzantine": what the target does; `quorbit protocols --adversaries` lists what it can do."""
    victims: Names | None = None
    """kind = "byzantine": whom some behaviours are aimed at, named as targets are."""
    leaders: Replicas | None = None
    """behaviour = "twins": who leads round 1, 2, … of a schedule. A round is a view; in tendermint height plus round;
    in pbft, whose views outlast blocks, view plus height, and these lead views 0, 1, …"""
    partitions: Partitions | None = None
    """behaviour = "twins": for each of these rounds the groups of nodes that hear each other. Nodes 0 to n-1 are the
    replicas, node n is the second copy; after the last round everybody hears everybody."""

    @property
    def targets(self) -> tuple[str, ...]:
        """The target as a list, also when there is one."""
        return _listed(self.target)

    @property
    def victim_names(self) -> tuple[str, ...] | None:
        """The victims as a list, if any are named."""
        return None if self.victims is None else _listed(self.victims)

    @property
    def begin_s(self) -> float:
        """When the fault begins."""
        return self.window_s[0]

    @property
    def end_s(self) -> float | None:
        """When the fault ends; None lasts to the end of the run."""
        return self.window_s[1] if len(self.window_s) == 2 else None


class Expect(Table):
    """What the run's checks must find for exit code 0."""

    progress: Flag = True
    """At least one block is committed; false: none is."""
    progress_after_s: Instant | None = None
    """Everybody honest who is up at the end has committed a block after this time."""
    safety: Flag = True
    """No safety check fails; false: at least one does."""


class Mqtt(Table):
    """Real processes over a broker, for `quorbit run --bus mqtt`."""

    broker: Text | None = None
    """Such as "mqtt://localhost:1883" or "mqtts://user@host"; or "mosquitto", "nats", "amqtt" to start one; when left
    out, the first of these that is installed. Passwords come from the environment, never from here."""
    time_scale: Positive = 1.0
    """Wall seconds per emulated second: more than 1 keeps large committees valid on small machines."""
    lateness_budget_ms: Milliseconds = 5.0
    """A run whose p99 lateness, in emulated ms, exceeds this is invalid."""


class Scenario(Table):
    """A whole scenario file."""

    title: Text = ""
    """Heads the result's table."""
    seed: Seed = 1
    """The root of all chance: the same scenario with the same seed is the same run."""
    start: Start | None = None
    """A TOML date-time without quotes, such as 2026-11-22T00:00:00Z; UTC where it has no offset. 2026-01-01, or the
    median epoch of the element sets, when left out."""
    duration_s: Duration = 60.0
    """Virtual time from start to end."""
    consensus: Consensus = Field(default_factory=Consensus)
    """The protocol and its parameters."""
    committee: Annotated[tuple[Committee, ...], Field(min_length=1)]
    """Who votes: one block or more."""
    shell: tuple[SerializeAsAny[Shell], ...] = ()
    """Satellites, shell by shell."""
    ground_station: tuple[GroundStation, ...] = ()
    """Stations, one by one."""
    ground_stations: DataFile | None = None
    """A CSV of further stations. Loading reads it into `ground_station` and leaves this empty."""
    network: Network = Field(default_factory=Network)
    """Links, rates and delays."""
    workload: Workload = Field(default_factory=Workload)
    """Transactions."""
    client: tuple[Client, ...] = ()
    """Who submits them, and from where; without clients they are known to every replica as they arrive."""
    compute: Compute = Field(default_factory=Compute)
    """What computing costs."""
    fault: tuple[Fault, ...] = ()
    """What goes wrong, and when."""
    expect: Expect = Field(default_factory=Expect)
    """What the run must show."""
    mqtt: Mqtt = Field(default_factory=Mqtt)
    """Real nodes: their broker and their time."""

    _sources: Sources = PrivateAttr(default_factory=lambda: Sources("scenario"))

    def error(self, mistakes: Iterable[Mistake]) -> ScenarioError:
        """What to raise for mistakes that only show later: each says where in the file its key stands."""
        return self._sources.error(mistakes)

    def __eq__(self, other: object) -> bool:
        """Scenarios are equal when their keys are, wherever they were written."""
        return isinstance(other, Scenario) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]  # parameters are a table

    def resolved(self) -> dict[str, Any]:
        """Every key with its value, defaults filled in, in human units and fit for JSON.

        Keys without a value (a laboratory delay in an orbital network) are left out. Files are absolute paths,
        an infinite rate is the text "inf".
        """
        from testbed.scenario.resolved import to_plain

        return to_plain(self)

    def toml(self) -> str:
        """The resolved scenario as a file that loads back to an equal one from anywhere."""
        from testbed.scenario.resolved import to_toml

        return to_toml(self)
