"""What the command says: printable whatever somebody's files and paths put into it, and not long.

Nothing else in this room prints.
"""

import argparse
import re
import sys
from contextlib import suppress
from typing import Any, NoReturn

LONGEST = 2000  # characters of a complaint; each part of it is shorter already


def printable(text: str) -> str:
    """A text in which nothing moves the cursor, sets colours, or turns the direction of reading."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def say(text: str = "") -> None:
    """Print lines."""
    print("\n".join(map(printable, text.split("\n"))))


def complain(text: str) -> None:
    """Say in one line of stderr what is wrong, from its beginning and its end if it is long."""
    with suppress(OSError):  # nobody is listening
        print(one_line(text), file=sys.stderr)


def one_line(text: str) -> str:
    """A complaint as it is printed."""
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]} … {text[-LONGEST // 2 :]}"
    return printable(text)


class Parser(argparse.ArgumentParser):
    """A parser to which an option is what it is called, not how it begins."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Show the usage, and in one line what is wrong and what may have been meant."""
        self.print_usage(sys.stderr)
        complain(f"{self.prog}: error: {message}{meant(message, self)}")
        raise SystemExit(2)


def meant(message: str, parser: argparse.ArgumentParser) -> str:
    """A known word like the one that argparse complains of, if there is one."""
    choice = re.search(r"invalid choice: '(.*)' \(choose from (.*)\)$", message)
    option = re.search(r"unrecognized arguments: (--[\w-]+)", message)
    if choice:
        word, known = choice[1], re.findall(r"[\w-]+", choice[2])
    elif option:
        word, known = option[1], sorted(options(parser))
    else:
        return ""
    from difflib import get_close_matches

    found = get_close_matches(word, known, 1)
    return f". Did you mean {found[0]}?" if found else ""


def options(parser: argparse.ArgumentParser) -> set[str]:
    """What a parser, and every parser under it, takes as options."""
    names = set(parser._option_string_actions)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            names = names.union(*map(options, action.choices.values()))
    return names
