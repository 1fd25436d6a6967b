"""From a scenario's tables to the network room's objects: shells, link rules, rates, outages, plans."""

from collections.abc import Sequence
from math import isfinite
from pathlib import Path

import numpy as np

from network.constants import SECOND_NS
from network.constellation import Constellation, ElementShell, Shell
from network.ground import GroundStation
from network.gsl import GslPolicy
from network.isl import IslLimits, IslPolicy
from network.links import LinkRates, LinkRules, Topology
from network.nodes import NS_PER_BYTE_AT_1_GBPS, Fibre
from network.orbit import OrbitPlan
from network.plan import UNREACHABLE, IntArray, MatrixPlan, Outage, Plan
from network.terrestrial import MILLISECOND_NS, fibre_delays_ns
from network.walker import WalkerShell
from testbed.members import places_of
from testbed.scenario import Elements, Scenario, WalkerDelta, WalkerStar
from testbed.scenario import Shell as ShellTable
from testbed.tables import read_delays, read_regions, read_rtts
from testbed.targets import Directory


def shell_of(table: ShellTable) -> Shell:
    """A `[[shell]]` as the network knows it."""
    if isinstance(table, Elements):
        return ElementShell(table.name, table.file)
    return WalkerShell(
        name=table.name,
        pattern=table.pattern,
        planes=table.planes,
        satellites_per_plane=table.satellites_per_plane,
        phasing=table.phasing,
        altitude_km=table.altitude_km,
        inclination_deg=table.inclination_deg,
        first_raan_deg=table.first_raan_deg,
    )


def isl_policy_of(table: ShellTable) -> IslPolicy:
    """The link policy of a `[[shell]]`; a path stands for a file of pairs."""
    walker = table if isinstance(table, WalkerDelta | WalkerStar) else None
    pairs_file = table.isl if isinstance(table.isl, Path) else None
    return IslPolicy(
        kind="pairs" if isinstance(table.isl, Path) else table.isl,
        cross_plane_shift=walker.cross_plane_shift if walker else 0,
        seam=walker.seam if walker else "closed",
        isl_per_satellite=table.isl_per_satellite,
        polar_cutoff_deg=walker.polar_cutoff_deg if walker else None,
        links_to=table.links_to,
        pairs_file=pairs_file,
    )


def rules_of(scenario: Scenario) -> LinkRules:
    """All link policies and limits of a scenario."""
    network = scenario.network
    return LinkRules(
        isl={table.name: isl_policy_of(table) for table in scenario.shell},
        isl_limits=IslLimits(network.isl_max_range_km, network.isl_grazing_altitude_km),
        gsl=GslPolicy(network.gsl_policy, network.gsl_best, network.gsl_max_range_km, network.gsl_terminals),
        isl_terminals=network.isl_terminals,
    )


def stations_of(scenario: Scenario) -> list[GroundStation]:
    """All ground stations, in order."""
    return [
        GroundStation(table.name, table.latitude_deg, table.longitude_deg, table.altitude_m, table.elevation_mask_deg)
        for table in scenario.ground_station
    ]


def outages_of(scenario: Scenario, directory: Directory) -> list[Outage]:
    """The faults that take endpoints and links away."""
    found = []
    for fault in scenario.fault:
        if fault.kind == "outage":
            target = directory.resolve(fault.targets)
            end_ns = None if fault.end_s is None else round(fault.end_s * SECOND_NS)
            found.append(Outage(round(fault.begin_s * SECOND_NS), end_ns, target.endpoints, target.links))
    return found


def plan_of(
    scenario: Scenario, members: Sequence[str], constellation: Constellation | None, outages: Sequence[Outage]
) -> Plan:
    """The plan between members: a matrix for laboratories and for fibre alone, else over the constellation."""
    if scenario.network.laboratory:
        places = [int(member.removeprefix("lab/")) for member in members]
        delay_ns = laboratory_delays_ns(scenario, max(places) + 1)
        return MatrixPlan(members, delay_ns[np.ix_(places, places)], outages=outages)
    fibre_alone = all(member.startswith("net/") for member in members) and not scenario.network.hybrid
    if constellation is None or fibre_alone:
        return _fibre_plan(scenario, members, outages)
    return _orbit_plan(scenario, members, constellation, outages)


def laboratory_delays_ns(scenario: Scenario, count: int) -> IntArray:
    """int64[n, n]: delays of a laboratory network; the means where each message draws its own."""
    network = scenario.network
    if network.regions_file is not None:
        regions = read_regions(network.regions_file)
        place = places_of(scenario, regions, [f"lab/{number}" for number in range(count)])
        regional_ns: IntArray = np.rint(regions.mean_latency_ms()[np.ix_(place, place)] * MILLISECOND_NS).astype(
            np.int64
        )
        np.fill_diagonal(regional_ns, 0)
        return regional_ns
    if network.file is not None:
        matrix = read_delays(network.file)
        return matrix.among(matrix.labels[:count])
    if network.model == "uniform":
        delay_ms = ((network.delay_low_ms or 0.0) + (network.delay_high_ms or 0.0)) / 2
    else:
        delay_ms = (network.delay_ms if network.model == "fixed" else network.delay_mean_ms) or 0.0
    delay_ns = np.full((count, count), round(delay_ms * MILLISECOND_NS), dtype=np.int64)
    np.fill_diagonal(delay_ns, 0)
    return delay_ns


def terrestrial_delays_ns(scenario: Scenario, stations: Sequence[GroundStation]) -> IntArray:
    """int64[m, m] between stations: modelled fibre, or half the round trips of a CSV, without links for strangers."""
    terrestrial = scenario.network.terrestrial
    if not isinstance(terrestrial, Path):
        return fibre_delays_ns(stations)
    matrix = read_rtts(terrestrial)
    known = [number for number, station in enumerate(stations) if station.name in matrix.labels]
    delay_ns = np.full((len(stations), len(stations)), UNREACHABLE, dtype=np.int64)
    delay_ns[np.ix_(known, known)] = matrix.among([stations[number].name for number in known])
    return delay_ns


def _fibre_plan(scenario: Scenario, members: Sequence[str], outages: Sequence[Outage]) -> MatrixPlan:
    stations = stations_of(scenario)
    index = {f"net/{station.name}": number for number, station in enumerate(stations)}
    places = [index[member] for member in members]
    return MatrixPlan(
        members,
        terrestrial_delays_ns(scenario, stations)[np.ix_(places, places)],
        ns_per_byte=NS_PER_BYTE_AT_1_GBPS / scenario.network.terrestrial_rate_gbps,
        outages=outages,
        accounted=True,
    )


def _orbit_plan(
    scenario: Scenario, members: Sequence[str], constellation: Constellation, outages: Sequence[Outage]
) -> OrbitPlan:
    network = scenario.network
    stations = stations_of(scenario)
    if not (network.ground_relay or network.hybrid):
        # Stations that neither vote nor relay change no route.
        voting = {member.split("/", 1)[1] for member in members if not member.startswith("sat/")}
        stations = [station for station in stations if station.name in voting]
    wired = network.hybrid or any(member.startswith("net/") for member in members)
    fibre = Fibre(terrestrial_delays_ns(scenario, stations), network.hybrid) if wired else None
    rates = LinkRates(
        isl_gbps=network.isl_rate_gbps,
        gsl_up_mbps=network.gsl_rate_mbps.up,
        gsl_down_mbps=network.gsl_rate_mbps.down,
        terrestrial_gbps=network.terrestrial_rate_gbps,
    )
    return OrbitPlan(
        members,
        Topology(constellation, stations, rules_of(scenario)),
        rates=rates,
        ground_relay=network.ground_relay,
        fibre=fibre,
        update_interval_ns=_interval_ns(network.update_interval_s),
        reconfiguration_interval_ns=_interval_ns(network.reconfiguration_interval_s),
        reconfiguration_offset_ns=round(network.reconfiguration_offset_s * SECOND_NS),
        isl_acquisition_ns=round(network.isl_acquisition_s * SECOND_NS),
        outages=outages,
    )


def _interval_ns(interval_s: float) -> int | None:
    return max(1, round(interval_s * SECOND_NS)) if isfinite(interval_s) else None
