"""A setting: a field of an experiment, with its help and its limits said beside it.

The command line is read, and every configuration checked, by what stands there.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, get_args, get_origin, get_type_hints

BITS = 2**63  # whole numbers stay below
WANTED = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def setting(default: Any, help: str = "", **limits: Any) -> Any:  # noqa: A002 (argparse's word)
    """A dataclass field that is a setting.

    Parameters
    ----------
    default
        Its value where nobody says another.
    help : str
        What the command line says of it; a setting without help is no option there.
    limits
        ``metavar``, ``choices``, ``least`` (0 if nothing is said), ``above`` and ``below``, as
        `Setting` has them. What a class says of a setting is added to what its bases say, so that
        another default, or other help, is all that has to be said again.
    """
    return dataclasses.field(default=default, metadata=limits | ({"help": help} if help else {}))


@dataclass(frozen=True)
class Setting:
    """What is known of a setting, and what may be said for it.

    Parameters
    ----------
    name : str
    default
    kind : type
        Of its value, or of each of its values; ``object`` for anything.
    many : bool
        Whether it has values (a tuple), not a value.
    help, metavar : str
        For the command line.
    choices : sequence of str
        What it may be; anything if there are none.
    least, above, below : number
        A number is at least ``least`` or, if that is said, more than ``above``, and always less
        than ``below``.
    """

    name: str
    default: Any
    kind: type
    many: bool
    help: str = ""
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    least: float = 0
    above: float | None = None
    below: float = BITS

    def check(self, got: Any) -> None:
        """Refuse what the setting cannot be.

        Raises
        ------
        TypeError, ValueError
            If it is not of its kind, none of its choices, or outside of its limits.
        """
        if self.many and not isinstance(got, tuple):
            raise TypeError(f"{self.name} is {got!r:.80}; want a tuple as in {self.default!r}")
        for one in got if self.many else (got,):
            self.check_one(one)

    def check_one(self, got: Any) -> None:
        """The same for one of its values."""
        kinds = (int, float) if self.kind is float else self.kind
        unlike = self.kind is not object and isinstance(got, bool) != (self.kind is bool)
        if unlike or not isinstance(got, kinds):
            raise TypeError(f"{self.name} is {got!r:.80}; want {self.wanted}")
        if (self.choices and got not in self.choices) or not self._within(got):
            raise ValueError(f"{self.name} is {got!r:.80}; want {self.wanted}")

    def _within(self, got: Any) -> bool:
        if self.kind not in (int, float):
            return True
        enough = got >= self.least if self.above is None else got > self.above
        return bool(enough and got < self.below)

    @property
    def wanted(self) -> str:
        """What it may be, in words."""
        if self.choices:
            return f"one of {', '.join(map(repr, self.choices))}"
        if self.kind not in (int, float):
            return WANTED[self.kind]
        start = f"from {self.least}" if self.above is None else f"> {self.above}"
        return f"{WANTED[self.kind]} {start}, below {'2^63' if self.below == BITS else self.below}"

    def parse(self, text: str) -> Any:
        """One of its values from a command line.

        Raises
        ------
        TypeError, ValueError
            As `check`.
        """
        try:
            value = self.kind(text)
        except ValueError:
            value = text  # to be refused with what is wanted
        self.check_one(value)
        return value


@cache
def settings(kind: type) -> Mapping[str, Setting]:
    """The settings of an experiment's class, by name and in their order."""
    said: dict[str, dict[str, Any]] = {}
    for base in reversed(kind.__mro__):
        for field in dataclasses.fields(base) if dataclasses.is_dataclass(base) else ():
            more = {**field.metadata, "default": field.default}
            said[field.name] = said.get(field.name, {}) | more
    hints = get_type_hints(kind)
    return MappingProxyType(
        {name: Setting(name, **_kind(hints[name]), **more) for name, more in said.items()}
    )


def _kind(hint: Any) -> dict[str, Any]:
    """``tuple[int, ...]`` is many of int; Any is anything."""
    many = get_origin(hint) is tuple
    one = get_args(hint)[0] if many else hint
    return {"kind": object if one is Any else one, "many": many}
