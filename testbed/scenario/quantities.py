"""What a single value in a scenario may be: its type, its range, and the words for both.

Every type below ends in an `Allowed` or a `Choice`, which replaces whatever pydantic would have said by one
phrase that completes "must be …". Values are strict (`true` is not 1, `"5"` is not 5); whole numbers pass where
numbers are asked for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    Strict,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

MISTAKE = "scenario_mistake"
"""The pydantic error type of every sentence written here."""


def mistake(text: str) -> PydanticCustomError:
    """A validation error that says `text` and nothing else."""
    return PydanticCustomError(MISTAKE, "{text}", {"text": text})


def did_you_mean(word: str, menu: tuple[str, ...]) -> str:
    """`', did you mean "plus_grid"?'` when something on the menu is close to the word, else nothing."""
    close = get_close_matches(word, menu, n=1, cutoff=0.6)
    return f', did you mean "{close[0]}"?' if close else ""


def nothing_called(name: str, kind: str, known: Sequence[str]) -> str:
    """`no shell is called "s2", did you mean "s1"?`, or what there is instead."""
    hint = did_you_mean(name, tuple(known))
    if not hint:
        shown = ", ".join(known[:5]) + (", …" if len(known) > 5 else "")
        hint = f"; there is {shown or 'none'}"
    return f'no {kind} is called "{name}"{hint}'


@dataclass(frozen=True)
class Allowed:
    """Says what is allowed, in words, wherever the annotated type refuses a value."""

    phrase: str
    kind: str = "a number"

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(self._check, handler(source))

    def _check(self, value: Any, inner: core_schema.ValidatorFunctionWrapHandler) -> Any:
        try:
            return inner(value)
        except ValidationError as error:
            reason = error.errors()[0]["type"]
        wrong_type = reason.endswith("_type") or reason == "int_from_float"
        wanted = ", ".join(filter(None, (self.kind, self.phrase))) if wrong_type else self.phrase
        raise mistake(f"must be {wanted}")


@dataclass(frozen=True)
class Choice:
    """A menu. Names in `later` are known, but nothing behind them exists yet."""

    later: tuple[str, ...] = ()

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        menu = get_args(source)

        def check(value: Any, inner: core_schema.ValidatorFunctionWrapHandler) -> Any:
            try:
                return inner(value)
            except ValidationError:
                raise mistake(self.refusal(value, menu)) from None

        return core_schema.no_info_wrap_validator_function(check, handler(source))

    def refusal(self, value: object, menu: tuple[str, ...]) -> str:
        """Why `value` is not on the menu, in one sentence."""
        names = ", ".join(f'"{name}"' for name in menu)
        allowed = f"one of {names}" if len(menu) > 1 else names
        if value in self.later:
            return f"does not exist yet; for now it must be {allowed}"
        return f"must be {allowed}{did_you_mean(str(value), menu)}"


@dataclass(frozen=True)
class PathOr:
    """A file, or one of a few names. A relative path is taken from the scenario's folder, and the file must exist."""

    names: tuple[str, ...] = ()
    what: str = "a file"
    suffix: str = ""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_before_validator_function(self._find, handler(source))

    def _find(self, value: Any, info: ValidationInfo) -> Any:
        if value in self.names:
            return value
        if not isinstance(value, str | Path) or not str(value).lower().endswith(self.suffix) or not str(value):
            raise mistake(self._wanted(value))
        return existing_file(Path(value), info.context)

    def _wanted(self, value: object) -> str:
        if not self.names:
            return f"must be {self.what}"
        menu = ", ".join(f'"{name}"' for name in self.names)
        return f"must be one of {menu}, or {self.what}{did_you_mean(str(value), self.names)}"


def existing_file(path: Path, context: Mapping[str, Path] | None) -> Path:
    """The absolute path of a file that is there; `context["folder"]` is the scenario's folder (default: here)."""
    folder = (context or {}).get("folder", Path())
    absolute = (folder / path).absolute()
    if absolute.is_dir():
        raise mistake("must be a file, this is a folder")
    if not absolute.is_file():
        raise mistake("no such file" if path.is_absolute() else f"no such file in {absolute.parent}")
    return absolute


def _existing_folder(value: Any, info: ValidationInfo) -> Path:
    """The absolute path of a folder that is there."""
    if not isinstance(value, str | Path) or not str(value):
        raise mistake("must be the name of a folder in quotes")
    folder: Path = (info.context or {}).get("folder", Path())
    absolute = (folder / value).absolute()
    if not absolute.is_dir():
        raise mistake("no such folder")
    return absolute


Text = Annotated[str, Strict(), Allowed("", kind="text in quotes")]
Name = Annotated[
    str,
    Strict(),
    Field(pattern=r"^[^\s/~]+$"),
    Allowed("a name without spaces, slashes or tildes", kind="text in quotes"),
]
Flag = Annotated[bool, Strict(), Allowed("true or false", kind="")]

_WHOLE = "a whole number"
Seed = Annotated[int, Strict(), Field(ge=0, lt=2**63), Allowed("0 or more", kind=_WHOLE)]
Count = Annotated[int, Strict(), Field(ge=1), Allowed("at least 1", kind=_WHOLE)]
Whole = Annotated[int, Strict(), Allowed("", kind=_WHOLE)]
WholeOrZero = Annotated[int, Strict(), Field(ge=0), Allowed("0 or more", kind=_WHOLE)]

_FINITE_POSITIVE = Field(gt=0, allow_inf_nan=False)
_FINITE_OR_ZERO = Field(ge=0, allow_inf_nan=False)
Duration = Annotated[float, Strict(), _FINITE_POSITIVE, Allowed("more than 0 seconds")]
Interval = Annotated[float, Strict(), Field(gt=0), Allowed("more than 0 seconds (inf: never again)")]
Instant = Annotated[float, Strict(), _FINITE_OR_ZERO, Allowed("0 seconds or more")]
Acquisition = Annotated[float, Strict(), Field(ge=0, le=3600), Allowed("between 0 and 3,600 seconds")]
Milliseconds = Annotated[float, Strict(), _FINITE_POSITIVE, Allowed("more than 0 ms")]
MillisecondsOrZero = Annotated[float, Strict(), _FINITE_OR_ZERO, Allowed("0 ms or more")]
MicrosecondsOrZero = Annotated[float, Strict(), _FINITE_OR_ZERO, Allowed("0 µs or more")]
Share = Annotated[float, Strict(), Field(ge=0, le=1), Allowed("between 0 and 1")]
_SHARE_SCHEMA = {"type": "number", "minimum": 0, "maximum": 1}
Shares = Annotated[
    tuple[Share, ...],
    BeforeValidator(lambda value: value if isinstance(value, list | tuple) else (value,)),
    Field(min_length=1),
    Allowed("a share between 0 and 1, or a list of them", kind=""),
    WithJsonSchema({"anyOf": [_SHARE_SCHEMA, {"type": "array", "items": _SHARE_SCHEMA, "minItems": 1}]}),
]
PositiveShare = Annotated[float, Strict(), Field(gt=0, le=1), Allowed("more than 0 and at most 1")]
Positive = Annotated[float, Strict(), _FINITE_POSITIVE, Allowed("more than 0")]
PerSecond = Annotated[float, Strict(), _FINITE_OR_ZERO, Allowed("0 or more per second")]
Gigabits = Annotated[float, Strict(), Field(gt=0), Allowed("more than 0 Gbit/s (inf: no limit)")]
Megabytes = Annotated[float, Strict(), Field(gt=0), Allowed("more than 0 MB (inf: no limit)")]
Megabits = Annotated[float, Strict(), Field(gt=0), Allowed("more than 0 Mbit/s (inf: no limit)")]

# SGP4's mean elements stop being orbits outside these heights; element sets are cut at the same ones.
Altitude = Annotated[float, Strict(), Field(ge=120, le=50_000), Allowed("between 120 and 50,000 km above the equator")]
Inclination = Annotated[float, Strict(), Field(ge=0, le=180), Allowed("between 0 and 180 degrees")]
Latitude = Annotated[float, Strict(), Field(ge=-90, le=90), Allowed("between -90 and 90 degrees")]
Longitude = Annotated[float, Strict(), Field(ge=-180, le=180), Allowed("between -180 and 180 degrees")]
Elevation = Annotated[float, Strict(), Field(ge=0, lt=90), Allowed("from 0 to less than 90 degrees")]
PolarCutoff = Annotated[float, Strict(), Field(gt=0, le=90), Allowed("more than 0 and at most 90 degrees")]
Angle = Annotated[float, Strict(), Field(ge=-360, le=360), Allowed("between -360 and 360 degrees")]
StationAltitude = Annotated[
    float, Strict(), Field(ge=-500, le=100_000), Allowed("between -500 and 100,000 m above the ellipsoid")
]
Range = Annotated[float, Strict(), Field(gt=0), Allowed("more than 0 km (inf: no limit)")]
Grazing = Annotated[float, Strict(), _FINITE_OR_ZERO, Allowed("0 km or more above a sphere of 6,378.137 km")]

IslPolicy = Annotated[
    Literal["plus_grid", "ring", "nearest", "none"] | Path,
    PathOr(("plus_grid", "ring", "nearest", "none"), "a CSV of pairs (a file name ending in .csv)", ".csv"),
]
ElementIslPolicy = Annotated[
    Literal["nearest", "none"] | Path,
    PathOr(("nearest", "none"), "a CSV of pairs (a file name ending in .csv)", ".csv"),
]
Terrestrial = Annotated[
    Literal["none", "fibre"] | Path,
    PathOr(("none", "fibre"), "a CSV of round-trip times (a file name ending in .csv)", ".csv"),
]
DataFile = Annotated[Path, PathOr(what="a file name in quotes")]
Folder = Annotated[Path, BeforeValidator(_existing_folder), WithJsonSchema({"type": "string", "format": "folder"})]
