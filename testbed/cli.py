"""`quorbit`: one function per command, each a line of help and a call.

What a command does is in `testbed.commands`, imported when it runs: `quorbit protocols` must not wait for numpy.
Exit codes: 0 done and safe; 1 a safety or liveness check failed; 2 the user's mistake, one sentence on stderr;
3 a run that finished but is invalid; 130 stopped by Ctrl-C.
"""

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

USAGE_MISTAKE = 2
INTERRUPTED = 130
NOBODY_READS = 141
"""As if SIGPIPE had ended us, which is what `quorbit schema | head` expects."""

ScenarioFile = Annotated[Path, typer.Argument(metavar="SCENARIO", help="A scenario file (TOML).")]
Seed = Annotated[int | None, typer.Option(metavar="N", min=0, help="Instead of the scenario's seed.")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE …", help="Instead of a key's value, e.g. shell.0.altitude_km=600."),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout instead of a table.")]


@app.callback(invoke_without_command=True)
def quorbit(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Consensus protocols whose network is in orbit."""
    if version:
        from importlib import metadata

        print(f"quorbit {metadata.version('quorbit')}")
    elif context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def run(
    scenario: ScenarioFile,
    seed: Seed = None,
    sets: Sets = None,
    bus: Annotated[str, typer.Option(metavar="virtual|mqtt", help="What carries the messages.")] = "virtual",
    broker: Annotated[
        str | None,
        typer.Option(metavar="URL|NAME", help="With --bus mqtt: mqtt://[user@]host:port, or which broker to start."),
    ] = None,
    time_scale: Annotated[
        float | None, typer.Option(metavar="X", help="With --bus mqtt: wall seconds per emulated second.")
    ] = None,
    password_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --bus mqtt: a file with the broker's password.")
    ] = None,
    by_hand: Annotated[
        list[int] | None,
        typer.Option(metavar="N …", min=0, help="With --bus mqtt: replicas whose nodes you start yourself."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where artefacts go. [default: runs/SCENARIO-seedN]")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Run a scenario; a table on stdout, artefacts in a folder."""
    from testbed.commands.run import Nodes, run_scenario

    if bus not in ("virtual", "mqtt"):
        raise typer.BadParameter(f"{bus}: must be virtual or mqtt", param_hint="--bus")
    if broker is not None:
        _check_broker(broker)
    settings = _overrides(seed, sets)
    for option, key, value in (("--broker", "broker", broker), ("--time-scale", "time_scale", time_scale)):
        if value is not None:
            _needs_nodes(bus, option)
            settings = (*settings, f"mqtt.{key}={json.dumps(value)}")
    for option, given in (("--by-hand", by_hand), ("--password-file", password_file)):
        if given:
            _needs_nodes(bus, option)
    nodes = Nodes(frozenset(by_hand or ()), password_file) if bus == "mqtt" else None
    return run_scenario(scenario, settings, out, as_json, nodes)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)
def node(context: typer.Context) -> int:
    """Run one replica as a process of its own, on a broker."""
    from node.__main__ import main as be_node

    return be_node(context.args)


@app.command()
def sky(
    scenario: ScenarioFile,
    at: Annotated[
        list[float] | None,
        typer.Option(metavar="S …", min=0.0, help="Seconds after the start. [default: 0]"),
    ] = None,
    delays: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the delay matrix between members as CSV.")
    ] = None,
    between: Annotated[
        list[str] | None,
        typer.Option(metavar="ENDPOINT …", help="Delays between these instead of between the members."),
    ] = None,
    graph: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write satellites, stations and links as GraphML.")
    ] = None,
    seed: Seed = None,
    sets: Sets = None,
    as_json: AsJson = False,
) -> int:
    """Show the network alone: satellites, links, routes, delays."""
    from testbed.commands.sky import show_sky

    return show_sky(scenario, _overrides(seed, sets), tuple(at or (0.0,)), tuple(between or ()), delays, graph, as_json)


@app.command()
def bound(scenario: ScenarioFile, seed: Seed = None, sets: Sets = None, as_json: AsJson = False) -> int:
    """Compute the zero-load latency or fork-rate bound, without a run."""
    from testbed.commands.bound import show_bound

    return show_bound(scenario, _overrides(seed, sets), as_json)


@app.command()
def fuzz(
    protocol: Annotated[str, typer.Argument(metavar="PROTOCOL", help='A name, or "package.module:Class".')],
    runs: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="How many scenarios. [default: 200, or as time allows]")
    ] = None,
    minutes: Annotated[float | None, typer.Option(metavar="M", min=0.0, help="How long, instead.")] = None,
    twins: Annotated[int, typer.Option(metavar="N", min=0, help="How many Twins schedules, before that.")] = 2080,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Another seed is another campaign.")] = 1,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where a failure's scenario is written.")] = Path("."),
    as_json: AsJson = False,
) -> int:
    """Test a protocol with random networks, faults and adversaries; make what fails small."""
    from testbed.commands.fuzz import fuzz_protocol

    runs = 200 if runs is None and minutes is None else runs
    return fuzz_protocol(protocol, seed, runs, minutes, twins, out, as_json)


@app.command()
def protocols(
    adversaries: Annotated[
        bool, typer.Option("--adversaries", help="List what Byzantine replicas can do, instead.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """List the protocols and their properties."""
    from testbed.commands.protocols import show_adversaries, show_protocols

    return show_adversaries(as_json) if adversaries else show_protocols(as_json)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to; it is made if it is not there.")],
) -> int:
    """Write a starter protocol, its scenario and its test."""
    from testbed.commands.init import write_starter

    return write_starter(folder)


@app.command()
def schema(
    which: Annotated[str | None, typer.Argument(metavar="[scenario|result]", help="One of the two.")] = None,
) -> int:
    """Print the JSON Schema of a scenario and of a result."""
    from testbed.schema import SCHEMAS, schema_text

    if which not in (None, *SCHEMAS):
        raise typer.BadParameter(f"{which}: must be {' or '.join(SCHEMAS)}", param_hint="schema")
    print(schema_text(which))
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code; the user's mistakes become sentences on stderr."""
    _find_protocols_here()
    # Before numpy is loaded: its idle threads spin for a fifth of a second, and no matrix here is large.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    words = spread_options(sys.argv[1:] if arguments is None else list(arguments))
    try:
        code = app(args=words, prog_name="quorbit", standalone_mode=False)
        sys.stdout.flush()
    except typer.TyperException as error:
        return _usage_mistake(error)
    except typer.Abort:
        return INTERRUPTED
    except (BrokenPipeError, SystemExit):  # the latter is what typer makes of the former
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the interpreter flushes once more
        return NOBODY_READS
    return code if isinstance(code, int) else 0


def spread_options(words: Sequence[str]) -> list[str]:
    """`--set a=1 b=2` as `--set a=1 --set b=2`, and `--at 0 60` likewise: options that take several values."""
    spread: list[str] = []
    option = ""
    for word in words:
        if word in _SEVERAL:
            option = word
        elif option and spread[-1] != option:  # the first value needs no help
            if _SEVERAL[option](word):
                spread.append(option)
            else:
                option = ""
        spread.append(word)
    return spread


def _is_setting(word: str) -> bool:
    return "=" in word and not word.startswith("-")


def _needs_nodes(bus: str, option: str) -> None:
    if bus != "mqtt":
        raise typer.BadParameter("goes with --bus mqtt", param_hint=option)


def _check_broker(broker: str) -> None:
    """Before anything else, because what is wrong with it may be a password in it, which is not to be shown."""
    from testbed.launch.brokers import check_broker

    try:
        check_broker(broker)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--broker") from None


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _is_endpoint(word: str) -> bool:
    return "/" in word and not word.endswith(".toml") and not word.startswith("-")


_SEVERAL: dict[str, Callable[[str], bool]] = {
    "--set": _is_setting,
    "--at": _is_number,
    "--between": _is_endpoint,
    "--by-hand": str.isdecimal,
}


def _overrides(seed: int | None, sets: Sequence[str] | None) -> tuple[str, ...]:
    """`--seed` is the last word on the seed."""
    return (*(sets or ()), *(() if seed is None else (f"seed={seed}",)))


def _usage_mistake(error: typer.TyperException) -> int:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "quorbit"
    sentence = " ".join(error.format_message().split()).rstrip(".")
    print(f"{command}: {sentence} (see {command} --help)", file=sys.stderr)
    return USAGE_MISTAKE


def _find_protocols_here() -> None:
    """Protocols named "package.module:Class" may stand where the command runs; installed ones come first."""
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)


if __name__ == "__main__":
    sys.exit(main())
