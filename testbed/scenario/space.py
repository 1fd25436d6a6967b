"""Where replicas can be and what links them: `[[shell]]`, `[[ground_station]]`, `[network]`.

Only keys and their meaning; `testbed.sky` builds the network room's objects from them.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from testbed.scenario.base import Table
from testbed.scenario.dissemination import Compact, Gossip, Shreds
from testbed.scenario.quantities import (
    Acquisition,
    Allowed,
    Altitude,
    Angle,
    Choice,
    Count,
    DataFile,
    ElementIslPolicy,
    Elevation,
    Flag,
    Gigabits,
    Grazing,
    Inclination,
    Instant,
    Interval,
    IslPolicy,
    Latitude,
    Longitude,
    Megabits,
    Megabytes,
    MicrosecondsOrZero,
    Milliseconds,
    MillisecondsOrZero,
    Name,
    PolarCutoff,
    Range,
    Share,
    StationAltitude,
    Terrestrial,
    Whole,
    WholeOrZero,
)

PATTERNS = ("walker_delta", "walker_star", "elements")
LABORATORY_MODELS = ("fixed", "normal", "uniform", "matrix", "internet")

ShellNames = Annotated[tuple[Name, ...], Allowed("", kind='a list of shell names, such as ["s1"]')]


class ShellKeys(Table):
    """Keys that every kind of shell has."""

    name: Name = "s1"
    """What members, links and faults call this shell; s1, s2, … in order when left out."""
    pattern: str
    """walker_delta, walker_star, or elements."""
    isl: IslPolicy
    """Inter-satellite links: plus_grid, ring, nearest, none, or a CSV of pairs."""
    isl_per_satellite: Count = 4
    """Links a satellite keeps under isl = "nearest"."""
    operator: Name | None = None
    """Who runs it; faults can strike all that is an operator's, as operator/NAME."""
    polar_cutoff_deg: PolarCutoff | None = None
    """Cross-plane links are off while either satellite is beyond this latitude, north or south."""
    links_to: ShellNames = ()
    """Other shells that satellites of this one link to."""


class Walker(ShellKeys):
    """A shell in Walker notation i:T/P/F, as mean elements at the scenario's start."""

    planes: Count
    """P, the number of orbital planes."""
    satellites_per_plane: Count
    """T / P."""
    phasing: WholeOrZero = 0
    """F, from 0 to P - 1: satellites of neighbouring planes are F * 360 / T degrees apart."""
    altitude_km: Altitude
    """Mean semi-major axis less 6,378.137 km."""
    inclination_deg: Inclination
    """Between the planes and the equator; more than 90 is retrograde."""
    first_raan_deg: Angle = 0.0
    """Right ascension of plane 0's ascending node."""
    isl: IslPolicy = "plus_grid"
    """Inter-satellite links: plus_grid, ring, nearest, none, or a CSV of pairs."""
    cross_plane_shift: Whole = 0
    """Satellite j of a plane links to satellite j + shift of the next. From the last plane back to the first of a
    closed delta the link goes F (phasing) places further, to j + shift + F."""


class WalkerDelta(Walker):
    """Planes spread over 360 degrees."""

    pattern: Literal["walker_delta"] = "walker_delta"
    """Planes spread over 360 degrees."""
    seam: Annotated[Literal["closed", "open"], Choice()] = "closed"
    """Whether the last plane links to the first."""


class WalkerStar(Walker):
    """Planes spread over 180 degrees: the first and the last fly in opposite directions along the seam."""

    pattern: Literal["walker_star"] = "walker_star"
    """Planes spread over 180 degrees."""
    seam: Annotated[Literal["closed", "open"], Choice()] = "open"
    """Whether the last plane links to the first."""


class Elements(ShellKeys):
    """A shell of satellites from published element sets."""

    pattern: Literal["elements"] = "elements"
    """From published element sets."""
    file: DataFile
    """TLE, or OMM as JSON, CSV or XML."""
    isl: ElementIslPolicy = "nearest"
    """Inter-satellite links: nearest, none, or a CSV of pairs."""


def pattern_of(shell: Any) -> str | None:
    """Which kind of shell a table or an object describes; None for a pattern that is not on the menu."""
    if isinstance(shell, Mapping):
        pattern = shell.get("pattern", "walker_delta")
        return pattern if pattern in PATTERNS else None
    return getattr(shell, "pattern", None)


Shell = Annotated[
    Annotated[WalkerDelta, Tag("walker_delta")]
    | Annotated[WalkerStar, Tag("walker_star")]
    | Annotated[Elements, Tag("elements")],
    Discriminator(pattern_of),
]


class GroundStation(Table):
    """A place on the WGS84 ellipsoid."""

    name: Name
    """Its endpoint is gs/NAME when it speaks through satellites, net/NAME when over fibre."""
    latitude_deg: Latitude
    """Geodetic, north positive."""
    longitude_deg: Longitude
    """East positive."""
    altitude_m: StationAltitude = 0.0
    """Above the ellipsoid."""
    elevation_mask_deg: Elevation = 25.0
    """Satellites lower than this above the horizon are not used."""
    operator: Name | None = None
    """Who runs it; see `shell.operator`."""


class GslRate(Table):
    """Rates of a ground-satellite link."""

    up: Megabits = 160.0
    """From the ground, Mbit/s."""
    down: Megabits = 1000.0
    """To the ground, Mbit/s."""


class Network(Table):
    """How messages travel. Laboratory models (fixed, normal, uniform, matrix, internet) replace all geometry."""

    model: Annotated[Literal["latency", "links", "fixed", "normal", "uniform", "matrix", "internet"], Choice()] = (
        "latency"
    )
    """latency: routed propagation delay and transmission at the slowest link. links: messages cross every link one by
    one, with queues. The others: laboratory."""
    dissemination: Annotated[Literal["unicast", "multicast", "flood", "gossip", "shreds"], Choice()] = "unicast"
    """How a broadcast spreads. unicast: a copy to each receiver over its own route. multicast: one copy over each link
    of a least-delay tree. flood: one over every link, passed on by whoever has not seen it. gossip: members pass on to
    peers. shreds: coded pieces over relays. multicast and flood need model = "links"."""
    gossip: Gossip = Field(default_factory=Gossip)
    """How members gossip."""
    shreds: Shreds = Field(default_factory=Shreds)
    """How messages are cut into pieces."""
    compact: Compact = Field(default_factory=Compact)
    """Blocks whose transactions travel by reference."""
    validation_us: MicrosecondsOrZero = 0.0
    """flood and gossip: how long a message stays at each who passes it on, beside what processors are charged."""
    update_interval_s: Interval = 1.0
    """Delays along routes are refreshed this often; inf freezes them at the start."""
    reconfiguration_interval_s: Interval = 15.0
    """Links and routes are chosen anew this often; inf keeps those of the start."""
    reconfiguration_offset_s: Instant = 0.0
    """The first time after the start at which they are; Starlink's grid, seconds 12, 27, 42 and 57 of a minute, is
    offset 12 for a start at a full minute. 0: on multiples of the interval."""
    isl_rate_gbps: Gigabits = 100.0
    """Bit rate of every inter-satellite link, each way; inf: no limit."""
    isl_max_range_km: Range = 5016.0
    """Longer inter-satellite links are down; 5,016 km is where a link at 550 km grazes 80 km."""
    isl_grazing_altitude_km: Grazing = 80.0
    """A link is down when its line of sight dips below this height above a sphere of the equatorial radius,
    6,378.137 km."""
    isl_terminals: Count | None = None
    """Lasers per satellite: permanent links within a plane come first, then those that exist, then the shortest.
    Left out: as many as its links need."""
    isl_acquisition_s: Acquisition = 12.0
    """How long a newly chosen inter-satellite link takes before it carries anything. Links of the start are acquired,
    and so are permanent ones within a plane, unless an outage struck them. Starlink's fastest is about 12 s."""
    gsl_rate_mbps: GslRate = Field(default_factory=GslRate)
    """Bit rates of every ground-satellite link, up and down."""
    gsl_policy: Annotated[Literal["all", "best", "elevation", "visibility"], Choice()] = "all"
    """Stations link to all satellites above the mask, or to `gsl_best` of them: best, those at the least range and so
    of the least delay; elevation, the highest; visibility, those that stay longest, followed up to 20 minutes ahead.
    Chosen at every reconfiguration."""
    gsl_best: Count = 1
    """How many satellites a station links to, unless gsl_policy = "all"."""
    gsl_terminals: Count | None = None
    """Stations that a satellite serves at once: those best by the policy's measure, for "all" the nearest. Left out:
    all that ask."""
    gsl_max_range_km: Range | None = None
    """Slant range limit of ground-satellite links; replaces the elevation masks when given."""
    ground_relay: Flag = False
    """Whether stations pass on others' traffic."""
    hybrid: Flag = False
    """Fibre between stations and satellites in one graph; stations relay."""
    processing_us_per_hop: MicrosecondsOrZero = 0.0
    """Added to a message's delay for every link on its route."""
    mtu_bytes: Count = 9000
    """model = "links": messages are switched in packets of this size; smaller ones take longer to simulate."""
    isl_buffer_mb: Megabytes = 1000.0
    """model = "links": what an inter-satellite or terrestrial link can hold in its queue; what finds it full is
    dropped. inf: no limit."""
    gsl_buffer_mb: Megabytes = 1000.0
    """model = "links": the same for ground-satellite links."""
    vanished_links: Annotated[Literal["lose", "reroute"], Choice()] = "lose"
    """model = "links": messages on a link that goes away are lost, or sent another way by the node before. Relays of a
    flood do not try again."""
    loss: Share = 0.0
    """Share of messages lost, each independently."""
    terrestrial: Terrestrial = "fibre"
    """How stations talk without satellites: none, fibre, or a CSV of round-trip times."""
    terrestrial_rate_gbps: Gigabits = 100.0
    """Bit rate of every terrestrial link, each way; inf: no limit."""
    delay_ms: MillisecondsOrZero | None = None
    """model = "fixed": the one-way delay."""
    delay_mean_ms: Milliseconds | None = None
    """model = "normal": mean one-way delay, drawn for each message, cut at 0."""
    delay_std_ms: MillisecondsOrZero | None = None
    """model = "normal": standard deviation of the one-way delay."""
    delay_low_ms: MillisecondsOrZero | None = None
    """model = "uniform": least one-way delay; each message draws its own."""
    delay_high_ms: MillisecondsOrZero | None = None
    """model = "uniform": greatest one-way delay."""
    file: DataFile | None = None
    """model = "matrix": a CSV of one-way delays in ms, long or wide."""

    regions_file: DataFile | None = None
    """model = "internet": a CSV of regions, with columns region, up_mbps, down_mbps, and the mean latency in ms to each
    region. Every message draws its own latency, Pareto with that mean. Committees say in which region they are."""
    uplink: Annotated[Literal["until_sent", "until_arrival"], Choice()] = "until_sent"
    """model = "internet": how long a large message keeps its sender's uplink from the next one. until_arrival is what
    SimBlock does: the uplink stands idle while the message is on its way."""
    small_below_bytes: WholeOrZero = 1024
    """model = "internet": smaller messages neither wait for the uplink nor take time to send,"""
    small_message_ms: MillisecondsOrZero = 0.0
    """but so much longer to arrive."""

    @property
    def laboratory(self) -> bool:
        """Whether delays come from the scenario instead of from geometry."""
        return self.model in LABORATORY_MODELS
