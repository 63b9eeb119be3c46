"""A checkpoint is taken to the last bit, or not at all; and costs no more than it weighs."""

import io
import json
import os
import resource
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import numaml
from numaml.files.archive import archive
from numaml.learning.state import FIELDS, LONGEST, VERSION, Moments, State

MODEL = numaml.MLP((1, 2))
MORE = int(os.environ.get("NUMAML_FUZZ", "1"))  # times as many examples, by hand
REFUSED = r"is not a readable checkpoint \(.*train anew in another folder"


def trained(folder, **more):
    settings = {"alpha": 0.01, "steps": 1, "iterations": 7, "every": 2, "rng": 3} | more
    source = numaml.Sinusoids(tasks=2, shots=2, queries=2)
    model = numaml.MLP((1, 1))
    return numaml.train(model, model.init(0), source, folder=folder, **settings)


def climbing(theta):
    return float(theta[0])


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """The bytes of a small checkpoint with validations."""
    folder = tmp_path_factory.mktemp("run")
    trained(folder, validate=climbing)
    return (folder / "checkpoint.npz").read_bytes()


def load(tmp_path, content):
    (tmp_path / "checkpoint.npz").write_bytes(content)
    return State.load(tmp_path)


def parts(content):
    """The arrays of a checkpoint, and its description."""
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        held = dict(arrays)
    return held, json.loads(held["state"].tobytes())


def forged(content, about=(), **arrays):
    """A checkpoint with other arrays or another description, whole in all else."""
    held, described = parts(content)
    text = json.dumps(described | dict(about)) if not isinstance(about, bytes) else about
    held["state"] = np.frombuffer(text if isinstance(text, bytes) else text.encode(), np.uint8)
    return archive(held | arrays)


def test_a_forgery_without_a_change_is_the_file(content, tmp_path):
    assert forged(content) == content
    state = load(tmp_path, content)
    state.save(tmp_path / "again")
    assert (tmp_path / "again" / "checkpoint.npz").read_bytes() == content


def test_numpy_reads_it_too(content):
    held, about = parts(content)
    assert list(held) == [
        "state", "theta", "first", "second", "values", "validated", "scores", "best"
    ]  # fmt: skip
    assert tuple(about) == FIELDS
    assert held["validated"].tolist() == [2, 4, 6]
    assert about["settings"]["model"] == repr(numaml.MLP((1, 1)))
    with zipfile.ZipFile(io.BytesIO(content)) as members:
        assert members.testzip() is None


def test_no_flipped_bit_is_taken(content):
    """Each byte's bits in turn; with NUMAML_FUZZ=8 all bits."""
    damaged = bytearray(content)
    bits = range(8) if MORE >= 8 else None
    for place in range(len(content)):
        for bit in bits or [place % 8]:
            damaged[place] ^= 1 << bit
            with pytest.raises(Exception, match=r"."):
                State._read(io.BytesIO(damaged))
            damaged[place] ^= 1 << bit
    assert State._read(io.BytesIO(damaged)).iteration == 7


def test_a_flipped_bit_is_an_error_that_names_the_file(content, tmp_path):
    for place in range(0, len(content), 97):
        damaged = bytearray(content)
        damaged[place] ^= 16
        with pytest.raises(ValueError, match=REFUSED):
            load(tmp_path, damaged)
        assert (tmp_path / "checkpoint.npz").read_bytes() == damaged


def test_no_cut_no_byte_more_and_none_less_is_taken(content):
    for place in range(len(content)):
        for damaged in (content[:place], content[:place] + b"\0" + content[place:],
                        content[:place] + content[place + 1 :]):  # fmt: skip
            with pytest.raises(Exception, match=r"."):
                State._read(io.BytesIO(damaged))


def test_damage_at_random_is_never_taken(content):
    rng = np.random.default_rng(0)
    for _ in range(1000 * MORE):
        damaged = np.frombuffer(content, np.uint8).copy()
        start, length = rng.integers(0, len(content)), rng.integers(1, 64)
        piece = damaged[start : start + length]
        piece[...] = rng.integers(0, 256, len(piece)) if rng.random() < 0.5 else 0
        if damaged.tobytes() != content:
            with pytest.raises(Exception, match=r"."):
                State._read(io.BytesIO(damaged.tobytes()))


OTHER_ARRAYS = {
    "a square below 0": ("second", lambda a: -a - 1, r"a square < 0"),
    "NaN in theta": ("theta", lambda a: a * np.nan, "want finite"),
    "infinity in a moment": ("first", lambda a: a + np.inf, "want finite"),
    "NaN among the values": ("values", lambda a: np.where(a == a[3], np.nan, a), "not finite"),
    "infinity among the scores": ("scores", lambda a: a + np.inf, "not finite"),
    "NaN in the best": ("best", lambda a: a * np.nan, "want finite"),
    "validations out of order": ("validated", lambda a: a[::-1], "not in order"),
    "a validation twice": ("validated", lambda a: np.full_like(a, 4), "not in order"),
    "a validation before the first": ("validated", lambda a: a - 2, "not in order"),
    "a validation after the last": ("validated", lambda a: a + 2, "later than its iterations"),
    "a value less": ("values", lambda a: a[1:], "bytes and needs"),
    "a theta of another dtype": ("theta", lambda a: a.astype(np.float32), "bytes and needs"),
    "a theta of another kind": ("theta", lambda a: a.view(np.int64), "damaged or altered"),
}


@pytest.mark.parametrize("what", OTHER_ARRAYS)
def test_arrays_that_no_training_comes_to_are_refused(content, tmp_path, what):
    """In a file that is whole in all else, its checksums too."""
    name, change, reason = OTHER_ARRAYS[what]
    held, _ = parts(content)
    with pytest.raises(ValueError, match=REFUSED) as caught:
        load(tmp_path, forged(content, **{name: change(held[name])}))
    assert reason in str(caught.value)


def test_more_and_fewer_arrays_and_others_names_are_refused(content, tmp_path):
    held, _ = parts(content)
    less = {name: array for name, array in held.items() if name != "best"}
    turned = {"state": held["state"], "first": held["first"], **held}
    renamed = {{"best": "lest"}.get(name, name): array for name, array in held.items()}
    compressed, plain = io.BytesIO(), io.BytesIO()
    np.savez_compressed(compressed, **held)
    np.savez(plain, **held)
    others = [archive(one) for one in (held | {"more": held["theta"]}, less, turned, renamed)]
    for other in [*others, compressed.getvalue(), plain.getvalue()]:
        with pytest.raises(ValueError, match=REFUSED):
            load(tmp_path, other)


DEEP = "[" * 100_000 + "]" * 100_000
OTHER_DESCRIPTIONS = {
    "spelled otherwise": ({}, lambda text: text.replace(b'", "', b'","'), "not as it is written"),
    "a field more": ({"more": 1}, None, "other fields"),
    "fields in another order": (
        {}, lambda text: json.dumps(dict(reversed(json.loads(text).items()))).encode(),
        "other fields"),
    "of a newer version": ({"version": VERSION + 1}, None, "update numaml"),
    "version true": ({"version": True}, None, "not as it is written"),
    "of dtype object": ({"dtype": "object"}, None, "want one of float32, float64"),
    "of dtype float16": ({"dtype": "float16"}, None, "want one of float32, float64"),
    "a planet's size": ({"size": 10**18}, None, "bytes and needs"),
    "a size beyond all": ({"size": 10**30}, None, "want an integer"),
    "a size below 0": ({"size": -2}, None, "want an integer"),
    "a size that is none": ({"size": 2.0}, None, "want an integer"),
    "another number of iterations": ({"iterations": 6}, None, "bytes and needs"),
    "no validations": ({"validations": 0}, None, "bytes and needs"),
    "no settings": ({"settings": None}, None, "settings is no dict"),
    "conditions in a list": ({"conditions": []}, None, "conditions is no dict"),
    "not JSON": ({}, lambda text: text[:-1] + b"]", ""),
    "NaN": ({"settings": {"alpha": float("nan")}}, None, "JSON"),
    "too deep": ({}, lambda _: DEEP.encode(), ""),
    "a list": ({}, lambda _: b"[1, 2, 3]", "other fields"),
    "a field twice": (
        {}, lambda text: text.replace(b'{"version": 1', b'{"version": 1, "version": 1'),
        "not as it is written"),
}  # fmt: skip


@pytest.mark.parametrize("what", OTHER_DESCRIPTIONS)
def test_another_description_is_refused(content, tmp_path, what):
    changes, rewrite, reason = OTHER_DESCRIPTIONS[what]
    about = rewrite(parts(content)[0]["state"].tobytes()) if rewrite else changes
    with pytest.raises(ValueError, match=REFUSED) as caught:
        load(tmp_path, forged(content, about))
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 700


def seeds(**changes):
    return lambda rng: {**rng, "seeds": {**rng["seeds"], **changes}}


def drawn(**changes):
    return lambda rng: {**rng, "bits": {**rng["bits"], **changes}}


OTHER_GENERATORS = {
    "none": lambda _: None,
    "an unknown one": drawn(bit_generator="system"),
    "another kind than the state": drawn(bit_generator="MT19937"),
    "a name of NumPy's that is none": drawn(bit_generator="array"),
    "a state below 0": drawn(state={"state": -1, "inc": 1}),
    "an even increment": drawn(uinteger=2**40),
    "a pool of gigabytes": seeds(pool_size=2**30),
    "a pool of nothing": seeds(pool_size=0),
    "a pool of text": seeds(pool_size="4"),
    "entropy below 0": seeds(entropy=-1),
    "entropy that is none": seeds(entropy=1.5),
    "entropy of text": seeds(entropy="x"),
    "children below 0": seeds(n_children_spawned=-1),
    "children beyond all": seeds(n_children_spawned=2**70),
    "keys of text": seeds(spawn_key="ab"),
    "a key that is none": seeds(spawn_key=[1.5]),
    "more than a seed has": seeds(more=1),
}


@pytest.mark.parametrize("what", OTHER_GENERATORS)
def test_another_generator_is_refused(content, tmp_path, what):
    rng = OTHER_GENERATORS[what](parts(content)[1]["rng"])
    with pytest.raises(ValueError, match=REFUSED):
        load(tmp_path, forged(content, {"rng": rng}))


SHORT = {
    "MT19937": lambda bits: {**bits, "state": {**bits["state"], "key": [1, 2]}},
    "Philox": lambda bits: {**bits, "buffer": [1]},
    "SFC64": lambda bits: {**bits, "state": {"state": [1]}},
}


@pytest.mark.parametrize("kind", SHORT)
def test_lists_too_short_are_not_read_beyond(tmp_path, kind):
    """NumPy would read there."""
    State(np.ones(2), np.random.Generator(getattr(np.random, kind)(0))).save(tmp_path)
    content = (tmp_path / "checkpoint.npz").read_bytes()
    assert load(tmp_path, content).rng.bit_generator.state["bit_generator"] == kind
    rng = parts(content)[1]["rng"]
    with pytest.raises(ValueError, match=f"not a state of {kind}"):
        load(tmp_path, forged(content, {"rng": {**rng, "bits": SHORT[kind](rng["bits"])}}))


def test_what_is_taken_is_what_was_said(content, tmp_path):
    """The changes above are refused for what they change: these two are legal."""
    rng = seeds(entropy=5, n_children_spawned=9)(parts(content)[1]["rng"])
    state = load(tmp_path, forged(content, {"rng": rng}))
    assert state.rng.bit_generator.seed_seq.entropy == 5
    assert state.rng.bit_generator.seed_seq.n_children_spawned == 9
    held, _ = parts(content)
    assert load(tmp_path, forged(content, theta=held["theta"] + 1)).theta[0] == held["theta"][0] + 1


# Descriptions that could cost more than they weigh; the time and memory of a process that loads.
COSTLY = {
    "entropy of many words": {"rng": "ENTROPY"},
    "many settings": {"settings": {str(i): [] for i in range(16_000)}},
    "lists in lists": {"settings": {"a": [[]] * 60_000}},
    "a long setting": {"settings": {"a": "x" * 250_000}},
    "a long number": {"settings": {"a": 10**4000}},
}
MEASURED = """
import resource, sys, time
import numpy as np, numaml
from numaml.learning.state import State
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
began = time.process_time()
try:
    State.load(sys.argv[1])
    print("taken", end=" ")
except ValueError as error:
    assert len(str(error)) < 700, len(str(error))
    print("refused", end=" ")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, time.process_time() - began)
"""


@pytest.mark.parametrize("what", [*COSTLY, "values", "validations", "a bomb", "a hole"])
def test_a_file_costs_its_reader_little(content, tmp_path, what):
    path = tmp_path / "checkpoint.npz"
    if what in COSTLY:
        about = dict(COSTLY[what])
        if about.get("rng"):
            about["rng"] = seeds(entropy=[1] * 80_000)(parts(content)[1]["rng"])
        path.write_bytes(forged(content, about))
    elif what == "values":
        long = {"iterations": 2_000_000, "validations": 0}
        held, described = parts(content)
        held = {name: held[name] for name in ("state", "theta", "first", "second")}
        text = json.dumps(described | long).encode()
        held["state"] = np.frombuffer(text, np.uint8)
        path.write_bytes(archive(held | {"values": np.ones(2_000_000)}))
    elif what == "validations":
        n = 500_000
        path.write_bytes(forged(content, {"iterations": n, "validations": n}, values=np.ones(n),
                                validated=np.arange(1, n + 1), scores=np.ones(n)))  # fmt: skip
    elif what == "a bomb":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as members:
            members.writestr("state.npy", bytes(10**8))
    else:
        with path.open("wb") as file:
            file.write(content[:18] + b"\xff\xff\xff\xff" + content[22:])
            file.truncate(3 << 30)  # no disk is used
    environment = {**os.environ, "PYTHONPATH": str(Path(numaml.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", MEASURED, str(tmp_path)], env=environment,
                          capture_output=True, text=True, check=True)  # fmt: skip
    word, kilobytes, seconds = done.stdout.split()
    assert word == ("refused" if what in ("a bomb", "a hole") else "taken")
    size = min(path.stat().st_size, 10**8)
    assert int(kilobytes) * 1024 < 10 * size + 100e6
    assert float(seconds) < 5


def test_a_description_that_is_too_long_is_not_written(tmp_path):
    state = State(np.zeros(3), np.random.default_rng(0), settings={"a": "x" * LONGEST})
    with pytest.raises(ValueError, match="all but the arrays takes"):
        state.save(tmp_path)
    assert not list(tmp_path.iterdir())


GOOD = {"theta": np.arange(3.0), "rng": np.random.default_rng(0)}
UNWRITABLE = {
    "complex theta": {"theta": np.zeros(3, complex)},
    "float16": {"theta": np.zeros(3, np.float16)},
    "a matrix": {"theta": np.zeros((2, 3))},
    "NaN": {"theta": np.array([np.nan, 1.0])},
    "moments of another length": {"moments": Moments(np.zeros(2), np.zeros(2), 0)},
    "moments of another dtype": {"moments": Moments(*np.zeros((2, 3), np.float32), 0)},
    "steps without values": {"moments": Moments(*np.zeros((2, 3)), 2)},
    "a square below 0": {"moments": Moments(np.zeros(3), -np.ones(3), 0)},
    "values that are none": {"values": [np.nan], "moments": Moments(*np.zeros((2, 3)), 1)},
    "scores without best": {
        "values": [1.0], "moments": Moments(*np.zeros((2, 3)), 1), "scores": [(1, 0.5)]},
    "best without scores": {"best": np.ones(3)},
    "a score too late": {"scores": [(1, 0.5)], "best": np.ones(3)},
    "settings beyond JSON": {"settings": {"alpha": np.ones}},
    "settings not finite": {"settings": {"alpha": np.inf}},
}  # fmt: skip


@pytest.mark.parametrize("what", UNWRITABLE)
def test_what_could_not_be_read_again_is_not_written(tmp_path, what):
    with pytest.raises((TypeError, ValueError)):
        State(**{**GOOD, **UNWRITABLE[what]}).save(tmp_path)
    assert not list(tmp_path.iterdir())
    State(**GOOD).save(tmp_path)
    assert State.load(tmp_path).theta.tolist() == [0, 1, 2]


def test_a_checkpoint_of_the_first_format_says_what_it_is(tmp_path):
    state = trained(None)
    arrays = {
        "theta": state.theta, "first": state.moments.first, "second": state.moments.second,
        "steps": state.moments.steps, "values": np.array(state.values),
        "rng": json.dumps(state.rng.bit_generator.state), "settings": "{}",
    }  # fmt: skip
    np.savez(tmp_path / "checkpoint.npz", **arrays)
    with pytest.raises(ValueError, match=r"it is of numaml 0\.1\.0, which did not note all.*numpy"):
        State.load(tmp_path)
    with pytest.raises(ValueError, match=r"it is of numaml 0\.1\.0"):
        trained(tmp_path, resume=True)
    with np.load(tmp_path / "checkpoint.npz", allow_pickle=False) as saved:
        assert saved["theta"].tolist() == state.theta.tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_read_is_the_callers_own(tmp_path, dtype):
    State(np.ones(3, dtype), np.random.default_rng(0)).save(tmp_path)
    state = State.load(tmp_path)
    for vector in (state.theta, *state.moments[:2]):
        assert vector.dtype == dtype
        assert vector.flags.writeable
        assert vector.flags.aligned
        vector[...] = 7
    assert replace(state).theta.tolist() == [7, 7, 7]


def test_the_largest_is_read_within_bounds_too(tmp_path):
    """Many parameters: a few copies of the file, not dozens."""
    theta = np.ones(1_000_000)
    State(theta, np.random.default_rng(0)).save(tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert len(State.load(tmp_path).theta) == len(theta)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (after - before) * 1024 < 6 * (tmp_path / "checkpoint.npz").stat().st_size
