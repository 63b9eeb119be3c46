"""The file of a learner: the same there and back, and nothing else taken for one."""

import io
import itertools
import json
import os
import pickle
import struct
import subprocess
import sys
import tracemalloc
import warnings
import zipfile
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import numaml
from numaml import MLP, ConvNet, Learner, Scaling
from numaml.learning.learner import FIELDS, LONGEST, _archived, _description

SMALL = Learner(MLP((1, 2)), np.array([0.5, -2.0, 1.5, 3.0], np.float32), 0.25, 3)
RANDOM = np.random.default_rng(0)
IMAGES = ConvNet((5, 4, 2), ((3, 3, 2), (4, 2, 1)), 2, "tanh", "cross_entropy", "batch")
WINDOWS = ConvNet((8, 4, 1), ((3, 3, 1),), 2, loss="cross_entropy", pool=2)
UNITS = Scaling(*(np.exp(RANDOM.normal(0, 20, n)) for n in (4, 4, 2, 2)))


def classifier(n_out, **more):
    model = MLP((4, 6, n_out), "softplus", "cross_entropy", "batch")
    return Learner(model, model.init(n_out), 0.1, 2, **more)


LEARNERS = {
    "small": SMALL,
    "float64, units": Learner(MLP((4, 5, 2)), MLP((4, 5, 2)).init(0), 1 / 3, 0, UNITS),
    "rates": Learner(MLP((1, 2)), SMALL.theta, [(0.1,), np.float32([0.1, -1, 0.3, 2e-9])], 2),
    "rates of parameters": Learner(MLP((1, 2)), SMALL.theta, np.array([0.1, 1, 1e-300, -2 / 3]), 2),
    "rates, carried": Learner(
        MLP((1, 2)), SMALL.theta, {"rates": ((None, -0.3),), "momentum": 0.9, "pull": 1}, 2
    ),
    "names": classifier(3, classes=np.array(["a", "é\u2028\ud800", ""])),
    "numbers": classifier(2, classes=np.array([-(2**40), 7])),
    "images": Learner(IMAGES, IMAGES.init(0, np.float32), 2.0, 3, classes=np.array(["o", "x"])),
    "windows": Learner(WINDOWS, WINDOWS.init(0), 0.5, 1),
    "provenance": classifier(3, provenance={"a": [1, None, {"b": 1e-300}], "größe": "θ\ud800"}),
}


@pytest.fixture
def kept(tmp_path):
    """Write bytes to a file; the file."""

    def write(content):
        (tmp_path / "l.npz").write_bytes(content)
        return tmp_path / "l.npz"

    return write


def refused(path, *reasons):
    with pytest.raises(ValueError, match=r"l\.npz is not a learner: ") as error:
        Learner.load(path)
    assert any(reason in str(error.value) for reason in reasons or ("",)), error.value


def npy(array):
    """An array of one axis in NumPy's format 1.0, little-endian, with a header of 128 bytes."""
    head = f"{{'descr': '{array.dtype.str}', 'fortran_order': False, 'shape': ({len(array)},), }}"
    return b"\x93NUMPY\x01\x00\x76\x00" + head.encode().ljust(117) + b"\n" + array.tobytes()


def zipped(members):
    """A zip archive of any bytes, as a learner's is; made here once more, so as to be forged."""
    body, directory = b"", b""
    for name, inside in members.items():
        about = struct.pack(
            "<5H3I2H", 20, 0, 0, 0, 0x21, crc32(inside), len(inside), len(inside), len(name), 0
        )
        place = struct.pack("<3H2I", 0, 0, 0, 0, len(body))
        directory += b"PK\1\2\x14\0" + about + place + name.encode()
        body += b"PK\3\4" + about + name.encode() + inside
    sizes = (len(members), len(members), len(directory), len(body), 0)
    return body + directory + b"PK\5\6" + struct.pack("<4H2IH", 0, 0, *sizes)


def content(learner=SMALL):
    return _archived(_description(learner), learner.theta)


@pytest.mark.parametrize("name", LEARNERS)
def test_there_and_back(name, tmp_path):
    learner = LEARNERS[name]
    learner.save(tmp_path / "l.npz")
    back = Learner.load(tmp_path / "l.npz")
    assert back.theta.dtype == learner.theta.dtype
    for field in ("model", "alpha", "steps", "provenance"):
        assert getattr(back, field) == getattr(learner, field)
    np.testing.assert_array_equal(back.theta, learner.theta)
    if learner.scaling is not None:
        assert all(map(np.array_equal, back.scaling, learner.scaling))
    if learner.classes is not None:
        assert back.classes.tolist() == learner.classes.tolist()
    back.save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "l.npz").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"l.npz", "again.npz"}


def test_numpy_and_zipfile_read_it_too(kept):
    path = kept(content(LEARNERS["provenance"]))
    with np.load(path, allow_pickle=False) as arrays:
        assert arrays.files == ["learner", "theta"]
        np.testing.assert_array_equal(arrays["theta"], LEARNERS["provenance"].theta)
        about = json.loads(arrays["learner"].tobytes())
    assert tuple(about) == ("version", "sizes", "activation", "loss", "norm", *FIELDS)
    assert about["version"] == 1
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None


def test_the_file_is_as_it_has_always_been():
    assert content() == zipped(members())
    assert _description(SMALL) == (
        b'{"version": 1, "sizes": [1, 2], "activation": "relu", "loss": "squared_error", '
        b'"norm": null, "dtype": "float32", "alpha": 0.25, "steps": 3, "scaling": null, '
        b'"classes": null, "provenance": {}}'
    )
    assert _description(LEARNERS["images"]) == (
        b'{"version": 2, "image": [5, 4, 2], "layers": [[3, 3, 2], [4, 2, 1]], "n_out": 2, '
        b'"activation": "tanh", "loss": "cross_entropy", "norm": "batch", "dtype": "float32", '
        b'"alpha": 2.0, "steps": 3, "scaling": null, "classes": ["o", "x"], "provenance": {}}'
    )


IMAGES_HOSTILE = {
    "an image of a planet": ("image", "[40000, 20000, 2]", "an example takes 14400000012 "),
    "an image without end": ("image", f"[{10**4000}, {10**4000}, 2]", ""),
    "another channel": ("image", "[5, 4, 3]", "bytes and needs"),
    "kernels of a planet": ("layers", "[[3, 100000, 2], [4, 2, 1]]", "bytes and needs"),
    "no layers": ("layers", "[]", "want (filters, kernel, stride)"),
    "a layer true": ("layers", "[[3, 3, 2], [4, 2, true]]", "want (filters, kernel, stride)"),
    "of another network": ("version", "1", "other fields"),
    "of a network without a name": ("version", "[]", "other fields"),
}


@pytest.mark.parametrize("name", IMAGES_HOSTILE)
def test_a_hostile_description_of_images_is_refused(name, kept):
    field, value, reason = IMAGES_HOSTILE[name]
    about = json.loads(_description(LEARNERS["images"])) | {field: "HERE"}
    text = json.dumps(about).replace('"HERE"', value).encode()
    refused(kept(_archived(text, LEARNERS["images"].theta)), reason)


def test_windows_are_told_only_where_there_are_any(kept):
    """So that files from before there were windows stay what would be written again."""
    assert b"pool" not in _description(LEARNERS["images"])
    assert b'"norm": null, "pool": 2, "dtype"' in _description(LEARNERS["windows"])
    for windows, reason in (("1", "not as Learner.save writes it"), ("3", "want multiples of it")):
        text = _description(LEARNERS["windows"]).replace(
            b'"pool": 2', b'"pool": ' + windows.encode()
        )
        refused(kept(_archived(text, LEARNERS["windows"].theta)), reason)


def test_an_example_takes_no_more_memory_than_a_file_may_ask_for():
    """Small kernels on large images, and large kernels on small ones."""
    for image, layers in (((2000, 2000, 1), ((1, 1, 1),)), ((400, 400, 1), ((1, 99, 1),))):
        model = ConvNet(image, layers, 2)
        with pytest.raises(
            ValueError, match=r"an example takes \d+ numbers; want at most 16777216"
        ):
            Learner(model, model.init(0), 0.1, 0)
    model = ConvNet((400, 400, 1), ((1, 5, 1),), 2)
    assert Learner(model, model.init(0), 0.1, 12).steps == 12
    with pytest.raises(ValueError, match="steps is 13; want an integer from 0 to 12"):
        Learner(model, model.init(0), 0.1, 13)


def test_every_truncation_is_refused(kept):
    whole = content()
    for length in range(len(whole)):
        refused(kept(whole[:length]))


def test_a_flipped_bit_in_any_byte_is_refused(kept):
    whole = bytearray(content())
    for place in range(len(whole)):
        whole[place] ^= 1 << place % 8
        refused(kept(whole))
        whole[place] ^= 1 << place % 8


@settings(deadline=None)  # times of files
@given(st.data())
def test_bytes_put_in_taken_out_or_appended_are_refused(tmp_path_factory, data):
    whole = content(LEARNERS["names"])
    start = data.draw(st.integers(0, len(whole)), "start")
    stop = data.draw(st.integers(start, len(whole)), "stop")
    other = whole[:start] + data.draw(st.binary(max_size=40), "instead") + whole[stop:]
    if other != whole:
        path = tmp_path_factory.getbasetemp() / "l.npz"
        path.write_bytes(other)
        refused(path)


def test_a_file_of_a_newer_version_asks_for_a_newer_numaml(kept):
    text = _description(SMALL).replace(b'"version": 1', b'"version": 3, "more": []')
    refused(kept(_archived(text, SMALL.theta)), "version 3 and this numaml reads 2; update numaml")
    text = text.replace(b'"version": 3', b'"version": -2')
    refused(kept(_archived(text, SMALL.theta)), "other fields")


DEEP = "[" * 200_000 + "]" * 200_000
# Descriptions in a file that is otherwise whole: a field, what is written there, what is said.
HOSTILE = {
    "sizes without end": ("sizes", f"[{10**4000}, {10**4000}]", ""),
    "sizes of a planet": ("sizes", "[100000, 1000000]", "bytes and needs 400004000"),
    "sizes true": ("sizes", "[true, 2]", "want integers"),
    "sizes negative": ("sizes", "[-1, -2]", "each >= 1"),
    "sizes a dict": ("sizes", '{"1": 2}', "want integers"),
    "activation a list": ("activation", '["relu"]', "want one of"),
    "activation unknown": ("activation", '"__import__"', "want one of"),
    "loss a list": ("loss", "[]", "want one of"),
    "norm unknown": ("norm", '"group"', "want one of"),
    "dtype object": ("dtype", '"object"', "want one of float32, float64"),
    "dtype a list": ("dtype", '["float32"]', "want one of float32, float64"),
    "dtype of another width": ("dtype", '"float64"', "bytes and needs"),
    "alpha NaN": ("alpha", "NaN", "want a finite number"),
    "alpha 1e999": ("alpha", "1e999", "want a finite number"),
    "alpha of 400 digits": ("alpha", str(10**400), "want a finite number"),
    "alpha a string": ("alpha", '"0.25"', "want one real number"),
    "alpha a long string": ("alpha", '"' + "0" * 10**6 + '"', "alpha is '000"),
    "alpha spelt otherwise": ("alpha", "0.250", "not as Learner.save writes it"),
    "steps for ever": ("steps", str(10**18), "from 0 to 62492"),
    "steps true": ("steps", "true", "steps is True"),
    "scaling a list": ("scaling", "[1]", ""),
    "scaling unknown": ("scaling", '{"z_mean": [1]}', "z_mean"),
    "scaling NaN": ("scaling", '{"x_mean": [NaN], "x_scale": [1.0], "y_mean": [0.0, 0.0], '
                    '"y_scale": [1.0, 1.0]}', "scaling.x_mean has nan in row 0; want"),
    "classes": ("classes", '["a", "b"]', "classes are for the loss"),
    "provenance a list": ("provenance", "[]", "provenance is list"),
    "provenance NaN": ("provenance", '{"a": NaN}', "JSON"),
    "provenance too deep": ("provenance", f'{{"a": {DEEP}}}', "recursion"),
    "provenance twice": ("provenance", '{"a": 1, "a": 2}', "not as Learner.save writes it"),
    "version true": ("version", "true", "not as Learner.save writes it"),
    "not JSON": ("version", "}", "cannot be read"),
    "not UTF-8": ("version", "\udcff", "cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_description_is_refused(name, kept):
    field, value, reason = HOSTILE[name]
    about = json.loads(_description(SMALL)) | {field: "HERE"}
    text = json.dumps(about).replace('"HERE"', value).encode(errors="surrogateescape")
    path = kept(_archived(text, SMALL.theta))
    refused(path, reason)
    with pytest.raises(ValueError, match="not a learner") as error:
        Learner.load(path)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("text", [b"[]", b"3", b"null", b"{}", DEEP.encode()])
def test_a_description_of_another_kind_is_refused(text, kept):
    refused(kept(_archived(text, SMALL.theta)), "other fields", "cannot be read")


def test_fields_in_another_order_and_classes_of_two_kinds_are_refused(kept):
    about = json.loads(_description(SMALL))
    text = json.dumps(dict(reversed(about.items()))).encode()
    refused(kept(_archived(text, SMALL.theta)), "other fields")
    one = LEARNERS["numbers"]
    mixed = _description(one).replace(f"[{-(2**40)}, 7]".encode(), b'["1", 7]')
    refused(kept(_archived(mixed, one.theta)), "want labels of one kind")


def test_numbers_that_are_none_are_refused(kept):
    theta = SMALL.theta.copy()
    theta[2] = np.nan
    refused(kept(_archived(_description(SMALL), theta)), "theta[2] is nan; want finite numbers")


class Trap:
    """Pickled, it would make a file on being read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_archives_of_others_are_refused_and_nothing_in_them_is_run(kept, tmp_path):
    about, theta = np.frombuffer(_description(SMALL), np.uint8), SMALL.theta
    trap = np.array([Trap(tmp_path / "sprung")], object)
    for save in (np.savez, np.savez_compressed):
        for arrays in ({"learner": about, "theta": theta}, {"learner": trap, "theta": trap},
                       {"learner": about, "theta": trap}):  # fmt: skip
            buffer = io.BytesIO()
            save(buffer, **arrays)
            refused(kept(buffer.getvalue()))
    refused(kept(pickle.dumps(trap)), "does not begin like one")
    assert not (tmp_path / "sprung").exists()


def members(**changed):
    named = {"learner": npy(np.frombuffer(_description(SMALL), np.uint8))}
    return {
        f"{name}.npy": of for name, of in (named | {"theta": npy(SMALL.theta)} | changed).items()
    }


def header(text):
    return b"\x93NUMPY\x01\x00\x76\x00" + text.encode().ljust(117) + b"\n"


THETA = npy(SMALL.theta)
FORGED = {
    "10^15 elements": header("{'descr': '<f4', 'fortran_order': False, 'shape': (10**15,), }"),
    "a petabyte": header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({10**15},), }}"),
    "objects": header("{'descr': '|O', 'fortran_order': False, 'shape': (4,), }") + THETA[128:],
    "Fortran": THETA.replace(b"False", b"True "),
    "two axes": THETA.replace(b"(4,)", b"(4,1)"),
    "big-endian": THETA.replace(b"<f4", b">f4"),
    "format 2.0": THETA.replace(b"\x01\x00", b"\x02\x00", 1),
    "a header that is run": header("__import__('os').mkdir('sprung')") + THETA[128:],
    "nothing": b"",
    "an archive": zipped({"theta.npy": THETA}),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_array_is_refused(name, kept):
    refused(kept(zipped(members(theta=FORGED[name]))))
    forged = FORGED[name].ljust(len(THETA), b"\0")[: len(THETA)]  # of the right length, too
    refused(kept(zipped(members(theta=forged))), "damaged or altered")


def test_forged_archives_are_refused(kept):
    whole = members()
    refused(kept(zipped({"theta.npy": whole["theta.npy"], "learner.npy": whole["learner.npy"]})))
    refused(kept(zipped(whole | {"more.npy": THETA})), "bytes and needs")
    refused(kept(zipped({"learner.npy": whole["learner.npy"]})), "bytes and needs")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("learner.npy", whole["learner.npy"])
        archive.writestr("theta.npy", bytes(10**7))  # a bomb: 10 kB
    refused(kept(buffer.getvalue()))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile's own, of names that are there twice
        for name, of in [*whole.items(), *whole.items()]:
            archive.writestr(name, of)
    refused(kept(buffer.getvalue()))


def test_what_is_claimed_costs_no_memory(tmp_path):
    claim = bytearray(content())
    claim[18:22] = (2**32 - 1).to_bytes(4, "little")
    with (tmp_path / "l.npz").open("wb") as file:
        file.write(claim)
        file.truncate(3 << 30)  # a hole: no disk is used
    sizes = _description(SMALL).replace(b"[1, 2]", b"[100000, 9000]")
    other = tmp_path / "other" / "l.npz"
    other.parent.mkdir()
    with other.open("wb") as file:
        file.write(_archived(sizes, SMALL.theta))
        file.truncate(3 << 30)
    for path in (tmp_path / "l.npz", other):
        tracemalloc.start()
        refused(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2 * LONGEST


def test_a_missing_file_a_folder_and_a_device(tmp_path):
    for path in (tmp_path / "l.npz", tmp_path, "/dev/null"):
        with pytest.raises(FileNotFoundError, match="is not there; want a file that"):
            Learner.load(path)


def test_what_could_not_be_read_again_is_not_written(tmp_path):
    model = SMALL.model
    own = MLP((1, 2), (np.sin, np.cos, None))
    with pytest.raises(TypeError, match="activation is your own and cannot be saved"):
        Learner(own, SMALL.theta, 0.1, 1).save(tmp_path / "l.npz")
    bad = [{"a": np.ones(2)}, {"a": float("nan")}, {1: 2, "1": 3}, {"a": "b" * LONGEST}]
    for provenance in bad:
        learner = Learner(model, SMALL.theta, 0.1, 1, provenance=provenance)
        with pytest.raises((TypeError, ValueError)):
            learner.save(tmp_path / "l.npz")
    assert not list(tmp_path.iterdir())


MEASURED = """
import resource, sys, time
import numpy as np, numaml
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
began = time.process_time()
try:
    numaml.Learner.load(sys.argv[1])
    print("taken", end=" ")
except ValueError as error:
    assert len(str(error)) < 700, len(str(error))
    print("refused", end=" ")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, time.process_time() - began)
"""
# Descriptions that could cost more than they weigh, of a network (1, n_out).
COSTLY = {
    "a label of a million characters": (1000, {"classes": ["x" * 10**6, *map(str, range(999))]}),
    "labels of a thousand": (
        100_000, {"classes": ["x" * 1000, *map(str, range(99_999))]}),
    "labels that are legal": (1000, {"classes": [f"{'x' * 990}{i}" for i in range(1000)]}),
    "many layers": (1, {"sizes": [1] * 300_000, "loss": "squared_error", "steps": 0}),
    "many layers and steps": (
        1, {"sizes": [1] * 10_000, "loss": "squared_error", "steps": 10**6}),
    "lists in lists": (2, {"provenance": {"a": [[]] * 1_000_000}}),
    "many names": (2, {"provenance": {str(i): {} for i in range(300_000)}}),
    "a long number": (2, {"provenance": {"a": 10**4000}}),
}  # fmt: skip


@pytest.mark.parametrize("what", COSTLY)
def test_a_file_costs_its_reader_little(what, kept):
    n_out, changes = COSTLY[what]
    about = json.loads(_description(SMALL)) | {"sizes": [1, n_out], "loss": "cross_entropy"}
    about |= changes
    size = sum((n + 1) * m for n, m in itertools.pairwise(about["sizes"]))
    path = kept(_archived(json.dumps(about).encode(), np.zeros(size, np.float32)))
    environment = {**os.environ, "PYTHONPATH": str(Path(numaml.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", MEASURED, str(path)], env=environment,
                          capture_output=True, text=True, check=True)  # fmt: skip
    word, kilobytes, seconds = done.stdout.split()
    legal = ("labels that are legal", "many layers", "lists in lists", "many names")
    assert word == ("taken" if what in (*legal, "a long number") else "refused")
    assert int(kilobytes) * 1024 < 10 * path.stat().st_size + 100e6
    assert float(seconds) < 5
