"""What every table of a scenario has in common."""

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict


class UnreadableError(AttributeError):
    """A key of a draft was touched whose value could not be read; its own mistake is already known."""


class Table(BaseModel):
    """A TOML table: frozen, and a key that is not named here is a mistake.

    The docstring under each key is the reference: `quorbit schema scenario` prints it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    if not TYPE_CHECKING:  # checkers must still see a misspelt attribute as an error

        def __getattr__(self, name: str) -> Any:
            if name in type(self).model_fields:  # only a draft lacks one of its own keys
                raise UnreadableError(name)
            return super().__getattr__(name)
