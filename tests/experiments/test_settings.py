"""Settings: what a class says of them, what they may be, and that every reader is held to it."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from numaml.command import main as cli
from numaml.command.options import option
from numaml.experiments import found, runs
from numaml.experiments.experiment import Experiment
from numaml.experiments.settings import Setting, setting, settings
from numaml.experiments.sinusoid import Sinusoid


@dataclass(frozen=True)
class Base:
    count: int = setting(3, "of things", metavar="N", least=1)
    rate: float = setting(0.5, "of growth", metavar="RATE", above=0, below=4)
    share: float = setting(0.25, below=1)
    on: bool = False
    name: str = setting("a", "of it", choices=("a", "b"))
    path: str = ""
    widths: tuple[int, ...] = setting((4, 4), "of layers", least=1)
    labels: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Extended(Base):
    rate: float = 2.0
    count: int = setting(7, "of other things")
    more: str = "x"


def test_a_class_adds_to_what_its_bases_say():
    assert list(settings(Extended)) == [*settings(Base), "more"]
    base, extended = settings(Base), settings(Extended)
    assert base["count"] == Setting("count", 3, int, False, "of things", "N", least=1)
    assert extended["count"] == Setting("count", 7, int, False, "of other things", "N", least=1)
    assert extended["rate"] == Setting(
        "rate", 2.0, float, False, "of growth", "RATE", above=0, below=4
    )
    assert extended["widths"] == base["widths"]
    kinds = {name: (one.kind, one.many) for name, one in extended.items()}
    assert kinds["widths"] == (int, True)
    assert kinds["labels"] == (object, True)
    assert kinds["more"] == (str, False)


GOOD = {
    "count": [1, 2**63 - 1], "rate": [1e-300, 1, 3.9], "share": [0, 0.0, 0.99], "on": [True, False],
    "name": ["b"], "path": ["", "x"], "widths": [(), (1, 9)], "labels": [("x", 1, None)],
}  # fmt: skip
BAD = [
    ("count", 0, ValueError, "count is 0; want a whole number from 1, below 2^63"),
    ("count", 2**63, ValueError, "want a whole number from 1, below 2^63"),
    ("count", 1.0, TypeError, "count is 1.0; want a whole number from 1"),
    ("count", True, TypeError, "count is True; want a whole number"),
    ("count", "9" * 5000, TypeError, "count is '999"),
    ("rate", 0.0, ValueError, "rate is 0.0; want a number > 0, below 4"),
    ("rate", 4, ValueError, "rate is 4; want a number > 0, below 4"),
    ("rate", float("nan"), ValueError, "rate is nan; want"),
    ("rate", None, TypeError, "rate is None; want a number > 0"),
    ("share", 1, ValueError, "share is 1; want a number from 0, below 1"),
    ("share", -0.1, ValueError, "share is -0.1; want a number from 0, below 1"),
    ("on", 1, TypeError, "on is 1; want true or false"),
    ("name", "c", ValueError, "name is 'c'; want one of 'a', 'b'"),
    ("name", 3, TypeError, "name is 3; want one of 'a', 'b'"),
    ("path", 3, TypeError, "path is 3; want text"),
    ("widths", 3, TypeError, "widths is 3; want a tuple as in (4, 4)"),
    ("widths", (4, 0), ValueError, "widths is 0; want a whole number from 1"),
    ("widths", (4, 2.0), TypeError, "widths is 2.0; want a whole number from 1"),
]


def test_what_a_setting_may_be():
    for name, values in GOOD.items():
        for value in values:
            settings(Base)[name].check(value)


@pytest.mark.parametrize(("name", "got", "error", "message"), BAD)
def test_what_a_setting_may_not_be(name, got, error, message):
    with pytest.raises(error) as caught:
        settings(Base)[name].check(got)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 200


def test_what_is_typed_is_held_to_the_same():
    read = {name: one.parse for name, one in settings(Base).items()}
    assert (read["count"]("12"), read["rate"]("1e-3"), read["name"]("b")) == (12, 1e-3, "b")
    assert type(read["rate"]("1")) is float
    for name, text in (("count", "0"), ("count", "1.5"), ("count", "9" * 5000), ("name", "c")):
        with pytest.raises((TypeError, ValueError), match=f"{name} is .*; want "):
            read[name](text)


@pytest.mark.parametrize("name", found())
def test_an_experiment_says_what_it_must(name):
    kind = found()[name]
    assert name == kind.NAME
    assert "\n" not in kind.HELP
    assert kind.DESCRIPTION.endswith(".")
    kind()
    for one in settings(kind).values():
        one.check(one.default)
        assert one.metavar or one.choices or one.kind is bool or not one.help, one.name
    for preset in kind.PRESETS.values():
        kind(**preset)


@pytest.mark.parametrize(
    ("name", "value"),
    [("tasks", 0), ("beta", 0), ("alpha", -1), ("steps", 1.5), ("hidden", [0]), ("dtype", "f2"),
     ("activation", "swish"), ("learner", "best"), ("decay", 1), ("seed", 2**63)],
)  # fmt: skip
def test_a_file_and_a_command_line_are_held_to_the_same(tmp_path, capsys, name, value):
    runs.write(Sinusoid(), tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(content | {name: value}))
    assert cli.main(["evaluate", str(tmp_path)]) == 2
    assert f"is not a run's configuration: {name} is " in capsys.readouterr().err
    if name not in ("learner", "decay"):  # no option, and one without a value
        typed = value[0] if isinstance(value, list) else value
        with pytest.raises(SystemExit):
            cli.main(["train", "sinusoid", option(name), str(typed), "--out", str(tmp_path / "a")])
        error = capsys.readouterr().err
        assert f"argument {option(name)}: " in error
        assert not (tmp_path / "a").exists()


def test_a_run_of_an_unknown_experiment_names_the_known_ones(tmp_path, capsys):
    (tmp_path / "config.json").write_text('{"experiment": "chess"}')
    assert cli.main(["evaluate", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert f"no experiment is called 'chess'; want one of {', '.join(found())}" in said


def test_an_experiment_without_its_parts_is_none():
    with pytest.raises(TypeError, match="abstract"):
        Experiment()
