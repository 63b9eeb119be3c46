"""A setting as an option of the command line, in argparse's words."""

import argparse
from collections.abc import Callable
from typing import Any

from ..experiments.settings import Setting


def option(name: str) -> str:
    """What is typed to say a setting, and what argparse keeps its value under."""
    return f"--{name.replace('_', '-')}"


def plain(text: str) -> str:
    """A help text in which a percent sign is one."""
    return text.replace("%", "%%")


def argument(setting: Setting) -> dict[str, Any]:
    """What ``add_argument`` is to know of a setting; where it is not typed, it is left out."""
    text = setting.help
    if setting.default not in ("", ()) and "default" not in text:
        text += f" (default: {shown(setting.default)})"
    said: dict[str, Any] = {"help": plain(text), "default": argparse.SUPPRESS}
    said["dest"] = option(setting.name)
    if setting.kind is bool:
        return said | {"action": argparse.BooleanOptionalAction}
    if setting.many:
        said["nargs"] = "+"
    if setting.choices:
        return said | {"choices": setting.choices}
    return said | {"metavar": setting.metavar, "type": reader(setting)}


def reader(setting: Setting) -> Callable[[str], Any]:
    """A function from what was typed to the value, for argparse to call and complain."""

    def read(text: str) -> Any:
        try:
            return setting.parse(text)
        except (TypeError, ValueError) as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return read


def shown(value: Any) -> str:
    """A setting's value as one would type it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
