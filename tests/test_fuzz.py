"""Whatever is typed, and whatever stands in a file: a clear message, never a traceback.

The commands and their options are read off the parser itself: a new command is fuzzed without a
line here, unless it wants files of its own (PLACES).
"""

import argparse
import contextlib
import io
import json
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from numaml import omniglot
from numaml.command import check, progress, report
from numaml.command import main as cli
from numaml.experiments import navigation, sinusoid
from numaml.experiments import omniglot as characters
from numaml.files.archive import archive
from numaml.learning.state import State

from .experiments.test_omniglot import write_data

PATIENCE = 3  # outer steps, after which a run is interrupted
MORE = int(os.environ.get("NUMAML_FUZZ", "1"))  # times as many examples, by hand
TRAIN = {
    "sinusoid": ["--out", "run", "--tasks", "2", "--hidden", "3", "--every", "2"],
    "omniglot": [
        "--out", "omni", "--data", "data", "--tasks", "2", "--hidden", "3", "--every", "2",
        "--characters", "6", "--validation", "2", "--validation-tasks", "3", "--ways", "2",
    ],
    "table": [
        "--out", "own", "--data", "t.csv", "--task", "t", "--target", "y", "--tasks", "2",
        "--hidden", "3", "--every", "2", "--shots", "1", "--queries", "1",
    ],
    "navigation": [
        "--out", "navi", "--tasks", "2", "--hidden", "3", "--every", "2", "--shots", "2",
        "--queries", "2", "--horizon", "3",
    ],
}  # fmt: skip
TABLE = "t,x,y\n" + "".join(f"{row // 3},{row},{row % 4}\n" for row in range(15))
PLACES = [
    "run",
    "omni",
    "data",
    "empty",
    "binary",
    "json",
    "missing",
    "run/config.json",
    "run/learner.npz",
    "own",
    "t.csv",
    "t",
    "y",
    "/dev/null",
]
JUNK = [
    "", " ", "-", "--", "-1", "0", "1", "2", "1e-3", "nan", "inf", "-inf", "1e400", "1e-400",
    "9" * 30, "9" * 5000, "1_0", "٣", "é😀", "\udcff", "a\0b", "%s%n", "{0}", "--no", "*", "\n",
    "x" * 5000, "-h",
]  # fmt: skip
# What is legal and takes for ever: it would be a test of patience.
ENDLESS = {"--steps": ["9" * 30]}


def commands(parser, words=()):
    """(words, parser) of every command, as the parser has them."""
    inner = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    for action in inner:
        for name, one in action.choices.items():
            yield from commands(one, (*words, name))
    if not inner:
        yield words, parser


COMMANDS = dict(commands(cli.parser()))


def values(action):
    """What may stand after an option: what it is for, or anything."""
    if action.nargs == 0:
        return st.just([])
    good = [str(choice) for choice in action.choices or ()] or ["1", "2", "3", "0.01", *PLACES]
    junk = [one for one in JUNK if one not in ENDLESS.get((action.option_strings or [""])[0], ())]
    one = st.sampled_from(good) | st.sampled_from(good + PLACES + junk)
    return st.lists(one, min_size=1, max_size=3 if action.nargs == "+" else 1)


@st.composite
def command_lines(draw):
    words = draw(st.sampled_from(sorted(COMMANDS)))
    line = [*words]
    if words[0] == "train" and draw(st.booleans()):
        line += TRAIN[words[1]]
    if words[0] == "adapt" and draw(st.booleans()):
        line += ["own", "--support", "t.csv", "--query", "t.csv", "--out", "new.csv"]
    actions = st.sampled_from(COMMANDS[words]._actions)
    for action in draw(st.lists(actions, max_size=4)):
        if action.option_strings:
            line.append(draw(st.sampled_from(action.option_strings)))
        line += draw(values(action))
    for place in draw(st.lists(st.integers(0, len(line)), max_size=1)):
        line.insert(place, draw(st.sampled_from(JUNK) | st.text(max_size=5)))
    return line


@contextmanager
def impatient(*arguments):
    """The real progress, interrupted as by a second Ctrl-C."""
    with plain_progress(*arguments) as progress:

        def update(iteration, *rest):
            progress(iteration, *rest)
            if iteration >= PATIENCE:
                raise KeyboardInterrupt

        yield update


plain_progress = progress.shown


@pytest.fixture(scope="module", autouse=True)
def quick():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sinusoid, "TEST_TASKS", 4)
        for name, number in (("TEST_TASKS", 4), ("CHUNK", 2)):
            patch.setattr(characters, name, number)
        for name, number in (("FRESH", 2), ("VALIDATION", 2), ("GOALS", navigation.GOALS[:2])):
            patch.setattr(navigation, name, number)
        patch.setattr(check, "audit", list)
        patch.setattr(report, "draw", lambda *_: None)
        patch.setattr(progress, "shown", impatient)
        yield


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A folder with every kind of thing that a path may lead to."""
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "data").mkdir()
    (folder / "empty").mkdir()
    write_data(folder / "data" / "omniglot28.npz", classes=(6, 4))
    (folder / "binary").write_bytes(bytes(range(256)))
    (folder / "t.csv").write_text(TABLE)
    (folder / "json").write_text('{"answers": {}}')
    with inside(folder):
        for words in TRAIN:
            line = ["train", words, *TRAIN[words], "--iterations", "2", "--alone"]
            status, _, errors = outcome(line)
            assert status == 0, errors
    return folder


@contextmanager
def inside(folder):
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextmanager
def copy(template):
    """A copy to work in; the data, which are only read, are linked."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(template, folder, dirs_exist_ok=True, ignore=lambda *_: {"data"})
        os.symlink(template / "data", Path(folder) / "data")
        with inside(folder):
            yield Path(folder)


def outcome(line):
    """Status and what was printed, to streams as strict as real ones."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors=errors)
               for errors in ("strict", "backslashreplace")]  # fmt: skip
    with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
        try:
            status = cli.main(line)
        except SystemExit as stop:
            status = stop.code
    for stream in streams:
        stream.flush()
    return status, *(stream.buffer.getvalue().decode("utf-8") for stream in streams)


def judge(line):
    """A status that says what happened, and a message if it was an error."""
    status, _, errors = outcome(line)
    assert status in (0, 1, 2, 130), status
    assert "Traceback" not in errors
    if status == 2:
        last = errors.rstrip("\n").split("\n")[-1]
        assert last.startswith("numaml") or ": error: " in errors
        assert len(last) > len("numaml: ") + 5
    return status, errors


@settings(max_examples=80 * MORE, deadline=None)
@given(line=command_lines())
@example(line=["train", "sinusoid", "--out", "new", "--hidden", "9" * 30])
@example(line=["train", "sinusoid", "--out", "new", "--iterations", "9" * 400])
@example(line=["train", "omniglot", *TRAIN["omniglot"], "--out", "new", "--spread", "1e300"])
@example(line=["train", "sinusoid", "--out", "\udcff", "--iterations", "2"])
@example(line=["train", "sinusoid", "--out", "a\0b"])
def test_any_command_line(template, line):
    with copy(template) as folder:
        judge(line)
        for run in ("run", "omni"):
            assert State.load(folder / run).iteration >= 2  # nobody's run was damaged


@st.composite
def damaged(draw, content):
    """Bytes with some lost, changed or put in."""
    how, place = draw(st.sampled_from(["cut", "put in", "flip", "other"])), st.integers(0, 10**9)
    content, at = bytearray(content), draw(place) % len(content)
    if how == "cut":
        return bytes(content[:at])
    if how == "put in":
        return bytes(content[:at]) + draw(st.binary(max_size=20)) + bytes(content[at:])
    for one in draw(st.lists(place, min_size=1, max_size=4)) if how == "flip" else []:
        content[one % len(content)] ^= draw(st.integers(1, 255))
    return bytes(content) if how == "flip" else draw(st.binary(max_size=100))


ODD_NUMBERS = st.sampled_from(
    [0, 1, -1, 2**31, 2**63, 10**30, -(10**30), 0.5, 1e308, float("nan"), float("inf"), True]
)
ANY_JSON = st.recursive(
    st.none() | ODD_NUMBERS | st.text(max_size=5) | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
DEEP = b"[" * 100_000


def some_of(names):
    return st.lists(st.sampled_from(sorted(names)), min_size=1, max_size=2, unique=True)


@st.composite
def changed(draw, content):
    """A dictionary with some entries changed, some gone and some new."""
    content = dict(content)
    for name in draw(some_of(content)):
        content[name] = draw(ANY_JSON)
        if draw(st.integers(0, 9)) == 0:
            del content[name]
    return content | draw(st.dictionaries(st.text(max_size=5), ANY_JSON, max_size=1))


def read_by_every_command(folder, name):
    """The run in all that reads it; what it says if nothing could."""
    results = [judge(["evaluate", name])]
    results.append(judge(["train", "omniglot" if name == "omni" else "sinusoid", "--resume", name]))
    return results


@settings(max_examples=60 * MORE, deadline=None)
@given(data=st.data(), name=st.sampled_from(["run", "omni"]))
def test_any_configuration(template, data, name):
    with copy(template) as folder:
        path = folder / name / "config.json"
        content = path.read_bytes()
        strategy = changed(json.loads(content)).map(lambda one: json.dumps(one).encode())
        path.write_bytes(data.draw(strategy | damaged(content) | st.just(DEEP)))
        read_by_every_command(folder, name)


DTYPES = ["f4", "f8", "f2", "c16", "i8", "u1", "?", "U3", "S3", "O", "M8[s]", [("a", "f4")]]


@st.composite
def arrays(draw):
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.sampled_from([(), (0,), (1,), (10,), (2, 5), (3,), (1, 2, 3)]))
    array = np.zeros(shape, dtype)
    return np.full(shape, draw(ODD_NUMBERS)) if draw(st.booleans()) else array


@st.composite
def checkpoints(draw, content):
    """A checkpoint with some arrays changed, whole in all else, or as NumPy would write it."""
    with np.load(io.BytesIO(content)) as saved:
        held = {name: saved[name] for name in saved.files}
    about = json.loads(held["state"].tobytes())
    inner = {name: changed(about[name]) for name in ("rng", "settings", "conditions")}
    inner["rng"] |= changed(about["rng"]["bits"]).map(lambda one: {**about["rng"], "bits": one})
    inner["rng"] |= changed(about["rng"]["seeds"]).map(lambda one: {**about["rng"], "seeds": one})
    described = changed(about) | st.fixed_dictionaries(inner).map(lambda one: {**about, **one})
    for name in draw(some_of(held)):
        choices = [arrays()]
        if name == "state":
            text = described.map(json.dumps).map(str.encode)
            choices.append(text.map(lambda one: np.frombuffer(one, np.uint8)))
        if held[name].dtype.kind == "f":
            choices.append(st.just(np.full_like(held[name], np.nan)))
            choices.append(st.just(-held[name]))
        held[name] = draw(st.one_of(choices))
        if draw(st.integers(0, 9)) == 0:
            del held[name]
    buffer = io.BytesIO()
    flat = all(one.ndim == 1 and one.dtype.kind in "fiu" for one in held.values())
    if flat and draw(st.booleans()):
        return archive(held)
    draw(st.sampled_from([np.savez, np.savez_compressed]))(buffer, **held)
    return buffer.getvalue()


@settings(max_examples=100 * MORE, deadline=None)
@given(data=st.data(), name=st.sampled_from(["run", "omni"]))
def test_any_checkpoint(template, data, name):
    with copy(template) as folder:
        path = folder / name / "checkpoint.npz"
        content = path.read_bytes()
        path.write_bytes(data.draw(checkpoints(content) | damaged(content)))
        before = path.read_bytes()
        (status, _), (_, errors) = read_by_every_command(folder, name)
        if status:
            assert str(Path(name)) in errors
            assert path.read_bytes() == before


STATES = {
    "MT19937": lambda state: {**state, "state": {**state["state"], "pos": 10**6}},
    "Philox": lambda state: {**state, "buffer_pos": -(10**6)},
    "SFC64": lambda state: {**state, "state": {"state": [1]}},
}


@pytest.mark.parametrize("kind", STATES)
def test_a_state_that_is_none_of_its_generator(tmp_path, kind):
    """NumPy takes it; two of these made it read outside its memory, and the process died."""
    bits = getattr(np.random, kind)(0)
    theta = np.zeros(3)
    State(theta, np.random.Generator(bits)).save(tmp_path)
    assert State.load(tmp_path).rng.random() == np.random.Generator(bits).random()
    with np.load(tmp_path / "checkpoint.npz") as saved:
        held = {name: saved[name] for name in saved.files}
    about = json.loads(held["state"].tobytes())
    about["rng"]["bits"] = STATES[kind](about["rng"]["bits"])
    held["state"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    (tmp_path / "checkpoint.npz").write_bytes(archive(held))
    with pytest.raises(ValueError, match=f"not a state of {kind}"):
        State.load(tmp_path)


ANSWERS = {
    "precision": "float64",
    "answers": {"tanh": {"meta_value": 1.5, "phi": [1, "1/3", "nan"], "hvp": [[1]]}},
}


@settings(max_examples=60 * MORE, deadline=None)
@given(data=st.data())
@example(data=None).via("nesting deeper than the parser goes")
def test_any_answers_to_the_vectors(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "answers.json"
    tanh = changed(ANSWERS["answers"]["tanh"]).map(
        lambda one: {"precision": "float64", "answers": {"tanh": one}}
    )
    strategy = (ANY_JSON | changed(ANSWERS) | tanh).map(lambda one: json.dumps(one).encode())
    content = json.dumps(ANSWERS).encode()
    path.write_bytes(data.draw(strategy | damaged(content)) if data else DEEP)
    judge(["check", "--vectors", str(path)])


@settings(max_examples=60 * MORE, deadline=None)
@given(data=st.data())
def test_any_cache_of_images(template, tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "omniglot28.npz"
    content = (template / "data" / "omniglot28.npz").read_bytes()
    places = st.integers(0, 400) | st.integers(len(content) - 800, len(content) - 1)
    flips = data.draw(st.dictionaries(places, st.integers(1, 255), min_size=1, max_size=4))
    changed = bytearray(content)
    for place, bits in flips.items():
        changed[place] ^= bits
    path.write_bytes(changed[: data.draw(st.just(None) | places)])
    with contextlib.suppress(ValueError):
        assert omniglot.load(path).shape[1:] == (20, 28, 28)
