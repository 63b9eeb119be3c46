"""What is printed: in lines, printable, of bounded length; and options are what they are called."""

import ast
from pathlib import Path

import pytest

import numaml
from numaml.command import main as cli
from numaml.command.say import LONGEST, complain, one_line, printable, say

WILD = "\x1b[31mred\x07\u202egnol\r\x9b2J\u2028"
ROWS = "".join(f'"{row // 12}{WILD}",{row},"{row % 3}{WILD}"\n' for row in range(96))


def clean(text):
    return all(one.isprintable() or one == "\n" for one in text)


def test_nothing_that_is_said_moves_the_cursor(capsys):
    say(f"λ ± …\n{WILD}")
    complain(f"{WILD}\n{WILD}")
    said = capsys.readouterr()
    assert said.out.startswith("λ ± …\n\\x1b[31mred\\x07\\u202egnol\\r\\x9b2J\\u2028\n")
    assert (said.out.count("\n"), said.err.count("\n")) == (2, 1)
    assert clean(said.out + said.err)


def test_a_long_complaint_keeps_its_beginning_and_its_end(capsys):
    text = "a" + "x" * 10**6 + "z"
    assert one_line(text).startswith("ax")
    assert one_line(text).endswith("xz")
    assert len(one_line(text)) == LONGEST + 3
    assert printable("plain") == one_line("plain") == "plain"


def test_nothing_else_prints():
    """A planted print is found: the rule can fail."""
    folder = Path(numaml.__file__).parent

    def prints(text):
        return [node for node in ast.walk(ast.parse(text))
                if isinstance(node, ast.Name) and node.id == "print"]  # fmt: skip

    assert prints("def f():\n    print(1)\n")
    found = {path.name for path in folder.rglob("*.py") if prints(path.read_text(encoding="utf-8"))}
    assert found == {"say.py"}


@pytest.mark.parametrize("column", ["t", "y"])
def test_what_a_file_says_is_printed_so(tmp_path, capsys, column, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("t,x,y\n" + ROWS, encoding="utf-8", newline="")
    shape = ["--shots", "2", "--queries", "2", "--iterations", "2", "--hidden", "2", "--alone"]
    assert cli.main(["train", "t.csv", "--task", "t", "--target", "y", *shape, "--out", "r"]) == 0
    said = capsys.readouterr()
    assert "classification of y, 3 classes (0\\x1b[31mred" in said.out
    wrong = {"t": ["--task", "x", "--target", "t"], "y": ["--task", WILD, "--target", "y"]}[column]
    assert cli.main(["train", "t.csv", *wrong, *shape, "--out", f"a{WILD}"]) == 2
    said = capsys.readouterr()
    assert clean(said.out + said.err)
    assert len(said.err) < 1000


ABBREVIATED = [
    ["train", "sinusoid", "--iter", "3"], ["train", "sinusoid", "--alo"],
    ["evaluate", "r", "--se", "1"], ["adapt", "r", "--sup", "a", "--query", "b"],
    ["check", "--vec", "f"], ["--vers"],
]  # fmt: skip


@pytest.mark.parametrize("line", ABBREVIATED, ids=" ".join)
def test_options_are_not_abbreviated(line, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(line)
    assert stop.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_a_complaint_about_options_is_a_line_too(capsys):
    with pytest.raises(SystemExit):
        cli.main(["train", "sinusoid", f"--{WILD}", "x" * 10**6])
    error = capsys.readouterr().err
    assert clean(error)
    assert len(error) < 2 * LONGEST
    with pytest.raises(SystemExit):
        cli.main(["train", WILD])
    assert clean(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("trian", ". Did you mean train?"),
        ("train sinusiod", ". Did you mean sinusoid?"),
        ("train sinusoid --activation rleu", ". Did you mean relu?"),
        ("train sinusoid --iteratons 5", ". Did you mean --iterations?"),
        ("evaluate run --sed=3", ". Did you mean --seed?"),
        ("quux", "'check', 'read')"),
        ("check --zzzz", "--zzzz"),
    ],
)
def test_what_may_have_been_meant_is_said(typed, meant, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(typed.split())
    assert stop.value.code == 2
    assert capsys.readouterr().err.endswith(f"{meant}\n")


def test_without_a_command_the_help_is_shown(capsys):
    assert cli.main([]) == 2
    assert "first steps:" in capsys.readouterr().err
