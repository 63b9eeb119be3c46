"""The loader of Omniglot, on archives made here, on a real one, and on damaged and hostile ones."""

import builtins
import io
import os
import shutil
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import numaml
from numaml import omniglot

ALPHABETS = {"Latin": 3, "Greek_(old)": 2}  # characters of each
WHOLE = {"background": 5, "evaluation": 5}


def png(seed, size=(105, 105)):
    """A drawing as the archives have them: one bit, ink 0 on 1."""
    ink = np.random.default_rng(seed).random((size[1] // 7, size[0] // 7)) < 0.2
    buffer = io.BytesIO()
    Image.fromarray(~np.kron(ink, np.ones((7, 7), bool))).save(buffer, "PNG")
    return buffer.getvalue()


DRAWN = [png(seed) for seed in range(7)]


def members(name="background_small1", alphabets=ALPHABETS):
    """Path -> PNG, as in an official archive; which drawing it is follows from its path."""
    return {
        f"images_{name}/{alphabet}/character{c:02}/{100 + c:04}_{d:02}.png": DRAWN[
            zlib.crc32(f"{alphabet}{c}{d}".encode()) % len(DRAWN)
        ]
        for alphabet, count in alphabets.items()
        for c in range(1, count + 1)
        for d in range(1, 21)
    }


def write(path, content, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


@pytest.fixture
def small(tmp_path):
    return write(tmp_path / "images_background_small1.zip", members())


def pixels(content):
    with Image.open(io.BytesIO(content)) as drawing:
        return 255 - np.asarray(drawing.convert("L").resize((28, 28), Image.Resampling.LANCZOS))


def test_an_archive_is_read_in_the_order_of_its_names(small):
    images = omniglot.load(small.parent)
    assert (images.shape, images.dtype) == ((5, 20, 28, 28), np.uint8)
    content = members()
    assert np.array_equal(
        images.reshape(100, 28, 28), [pixels(content[k]) for k in sorted(content)]
    )
    assert images.max() == 255
    assert np.median(images) < 9


def test_the_order_in_the_archive_or_on_the_disk_does_not_matter(small, tmp_path):
    images = omniglot.load(small.parent)
    content = members()
    other = tmp_path / "other"
    other.mkdir()
    for name in np.random.default_rng(0).permutation(list(content)):
        (other / name).parent.mkdir(parents=True, exist_ok=True)
        (other / name).write_bytes(content[name])
    assert np.array_equal(omniglot.load(other), images)
    shutil.rmtree(other)
    other.mkdir()
    shuffled = {k: content[k] for k in np.random.default_rng(1).permutation(list(content))}
    write(other / small.name, {"images_background_small1/": b"", **shuffled})
    assert np.array_equal(omniglot.load(other), images)


def test_small_archives_are_put_together(small, tmp_path):
    more = {"Latin": 3, "Arcadian": 1}  # one alphabet is in both
    write(tmp_path / "images_background_small2.zip", members("background_small2", more))
    images = omniglot.load(tmp_path)
    assert len(images) == 6
    alone = tmp_path / "alone"
    alone.mkdir()
    small.rename(alone / small.name)
    assert np.array_equal(images[1:], omniglot.load(alone))


@pytest.fixture
def official(tmp_path, monkeypatch):
    """A folder of both official archives, were these the numbers of characters."""
    monkeypatch.setattr(omniglot, "SETS", WHOLE)
    for name in WHOLE:
        write(tmp_path / f"images_{name}.zip", members(name))
    return tmp_path


def test_both_archives_are_kept_in_a_cache_that_is_read_the_next_time(official):
    images = omniglot.load(official)
    assert images.shape == (10, 20, 28, 28)
    assert {path.name for path in official.iterdir()} == {
        "images_background.zip", "images_evaluation.zip", "omniglot28.npz",
    }  # fmt: skip
    with np.load(official / "omniglot28.npz", allow_pickle=False) as saved:
        assert set(saved) == {
            "background", "background_alphabet", "evaluation", "evaluation_alphabet",
        }  # fmt: skip
        assert saved["evaluation_alphabet"].tolist() == ["Greek_(old)"] * 2 + ["Latin"] * 3
        assert np.array_equal(saved["evaluation"], images[5:])
    for archive in official.glob("*.zip"):
        archive.unlink()
    assert np.array_equal(omniglot.load(official), images)
    assert np.array_equal(omniglot.load(str(official / "omniglot28.npz")), images)


def test_one_archive_is_read_but_is_no_cache(official):
    (official / "images_evaluation.zip").unlink()
    assert len(omniglot.load(official)) == 5
    assert not (official / "omniglot28.npz").exists()


def test_a_cache_that_cannot_be_written_leaves_nothing(official, monkeypatch):
    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert len(omniglot.load(official)) == 10
    assert not list(official.glob("*npz*"))


def test_an_incomplete_set_is_an_error_and_no_cache(official):
    content = members("evaluation")
    for missing, message in (
        ("images_evaluation/Latin/character03/0103_20.png", "19 drawings of Latin/character03"),
        ("images_evaluation/Latin/character03/", "holds 4 characters; want all 5"),
    ):
        kept = {name: data for name, data in content.items() if not name.startswith(missing)}
        write(official / "images_evaluation.zip", kept)
        with pytest.raises(ValueError, match=message):
            omniglot.load(official)
        assert not list(official.glob("*npz*"))


def test_no_data_says_what_to_fetch(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError, match=r"fetch the two archives .* brendenlake"):
            omniglot.load(path)


def test_without_pillow_it_says_what_to_install(small, monkeypatch):
    import_module = builtins.__import__

    def without(name, *rest):
        if name == "PIL":
            raise ImportError(name)
        return import_module(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install 'numaml\[omniglot\]'"):
        omniglot.load(small.parent)


ESCAPES = (
    "../images_background_small1/Latin/character01/0101_01.png",
    "/images_background_small1/Latin/character01/0101_01.png",
    "images_background_small1/../character01/0101_01.png",
    "images_background_small1/Latin/../../../0101_01.png",
    "images_background_small1\\Latin\\character01\\0101_21.png",
    "__MACOSX/images_background_small1/Latin/character01/._0101_01.png",
    "images_background_small1/Latin/character01/notes.txt",
)


def test_paths_that_lead_elsewhere_are_not_even_read(small):
    images = omniglot.load(small.parent)
    write(small, {**members(), **dict.fromkeys(ESCAPES, b"evil")})
    before = sorted(small.parent.parent.rglob("*"))
    assert np.array_equal(omniglot.load(small.parent), images)
    assert sorted(small.parent.parent.rglob("*")) == before


FIRST = "images_background_small1/Latin/character01/0101_01.png"


def patched(content, flag_offset, value):
    """The first local and central header of a ZIP with one field changed."""
    data = bytearray(content)
    for signature, shift in ((b"PK\3\4", 0), (b"PK\1\2", 2)):
        where = data.index(signature) + flag_offset + shift
        data[where : where + 2] = struct.pack("<H", value)
    return bytes(data)


def flipped(content):
    middle = content.index(b"PK\3\4", 1) - 20  # within the first member
    return content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]


def undecodable(content):
    name_length, extra = struct.unpack_from("<2H", content, 26)
    start = 30 + name_length + extra  # of the first member: a block type that does not exist
    return content[:start] + b"\xff" + content[start + 1 :]


ATTACKS = {
    "cut": (lambda whole: whole[:-300], "is not a whole archive"),
    "empty": (lambda whole: b"", "is not a whole archive"),
    "text": (lambda whole: b"<html>not found</html>", "is not a whole archive"),
    "undecodable": (undecodable, "is not a whole archive"),
    "flipped byte": (flipped, "is not a whole archive"),
    "encrypted": (lambda whole: patched(whole, 6, 1), "is not a whole archive.*encrypted"),
    "unknown compression": (lambda whole: patched(whole, 8, 97), "is not a whole archive"),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_damaged_archive_is_an_error(small, attack):
    damage, message = ATTACKS[attack]
    small.write_bytes(damage(small.read_bytes()))
    with pytest.raises(ValueError, match=message):
        omniglot.load(small.parent)


def huge_png():
    """A PNG of a few bytes that says it has 60000 × 60000 pixels."""
    content = png(0)
    header = b"IHDR" + struct.pack(">2I", 60000, 60000) + content[24:29]
    return content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]


BROKEN = {
    "bomb": (bytes(10**7), "0101_01.png has 10000000 bytes"),
    "pixels": (huge_png(), "character01/0101_01.png.*not a PNG of 105 × 105"),
    "other size": (png(0, (104, 105)), "not a PNG of 105 × 105 pixels"),
    "another format": (b"GIF89a" + bytes(50), "not a PNG of 105 × 105"),
    "nothing": (b"", "not a PNG of 105 × 105"),
    "cut": (png(0)[:-60], "character01/0101_01.png is not readable as a drawing"),
    "header only": (png(0)[:33], "is not readable as a drawing"),
    "noise": (png(0)[:60] + bytes(range(200)), "is not readable as a drawing"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_drawing_is_an_error(small, broken):
    content, message = BROKEN[broken]
    write(small, {**members(), FIRST: content})
    with pytest.raises(ValueError, match=message):
        omniglot.load(small.parent)


def test_a_wrong_archive_is_an_error(small):
    write(small, {"images/cat.png": DRAWN[0]})
    with pytest.raises(ValueError, match=r"holds no images_\*/<alphabet>/characterNN"):
        omniglot.load(small.parent)


def cache(**changes):
    arrays = {
        "background": np.zeros((4, 20, 28, 28), np.uint8), "background_alphabet": np.full(4, "a"),
        "evaluation": np.zeros((3, 20, 28, 28), np.uint8), "evaluation_alphabet": np.full(3, "b"),
    }  # fmt: skip
    buffer = io.BytesIO()
    np.savez(buffer, **{name: a for name, a in {**arrays, **changes}.items() if a is not None})
    return buffer.getvalue()


def bomb():
    """60 MB of zeros in 60 kB."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, background=np.zeros(60_000_000, np.uint8))
    return buffer.getvalue()


def lie():
    """A header that promises more than there is memory for."""
    content = cache()
    return content.replace(b"(4, 20, 28, 28)", b"(4000000000000,)", 1)


CACHES = {
    "floats": (lambda: cache(background=np.zeros((4, 20, 28, 28))), "has images float64"),
    "no drawings": (lambda: cache(background=np.zeros((4, 28, 28), "u1")), r"\(4, 28, 28\)"),
    "other labels": (lambda: cache(evaluation_alphabet=np.full(2, "b")), r"alphabets \(2,\)"),
    "one label": (lambda: cache(evaluation_alphabet=np.array("b")), r"alphabets \(\); want uint8"),
    "missing": (lambda: cache(evaluation=None), "not readable as omniglot28.npz: .*evaluation"),
    "objects": (lambda: cache(background=np.array([print])), "not readable as omniglot28.npz"),
    "cut": (lambda: cache()[:-500], "not readable as omniglot28.npz"),
    "empty": (lambda: b"", "not readable as omniglot28.npz"),
    "text": (lambda: b"hello", "not readable as omniglot28.npz"),
    "bomb": (bomb, "it unpacks to 60000128 bytes, more than Omniglot has"),
    "lie": (lie, "not readable as omniglot28.npz"),
}


@pytest.mark.parametrize("damage", CACHES)
def test_a_damaged_cache_is_an_error(tmp_path, damage):
    make, message = CACHES[damage]
    path = tmp_path / "omniglot28.npz"
    path.write_bytes(cache())
    assert omniglot.load(tmp_path).shape == (7, 20, 28, 28)
    path.write_bytes(make())
    with pytest.raises(ValueError, match=message):
        omniglot.load(tmp_path)


def test_an_archive_is_no_cache(small):
    with pytest.raises(ValueError, match="want it, or the folder of the archives"):
        omniglot.load(small)


def test_rotations_are_characters_of_their_own():
    images = np.arange(3 * 2 * 4 * 4).reshape(3, 2, 4, 4)
    turned = omniglot.rotated(images)
    assert turned.shape == (12, 2, 4, 4)
    assert np.array_equal(turned[:3], images)
    top_left = images[:, :, 0, 0], images[:, :, 0, -1], images[:, :, -1, -1], images[:, :, -1, 0]
    assert np.array_equal(turned[:, :, 0, 0], np.concatenate(top_left))


NO_DATA = "NUMAML_DATA names no folder with Omniglot's data"
DATA = Path(os.environ.get("NUMAML_DATA", "nowhere"))


@pytest.mark.skipif(not (DATA / "images_background_small1.zip").is_file(), reason=NO_DATA)
@pytest.mark.skipif(not (DATA / "omniglot28.npz").is_file(), reason=NO_DATA)
def test_a_real_archive_is_byte_for_byte_what_others_read_from_it(tmp_path):
    shutil.copy(DATA / "images_background_small1.zip", tmp_path)
    images = omniglot.load(tmp_path)
    with np.load(DATA / "omniglot28.npz", allow_pickle=False) as saved:
        alphabets = ("Balinese", "Early_Aramaic", "Greek", "Korean", "Latin")
        wanted = saved["background"][np.isin(saved["background_alphabet"], alphabets)]
        everything = len(saved["background"]) + len(saved["evaluation"])
    assert np.array_equal(images, wanted)
    assert len(omniglot.load(DATA)) == everything
    x, y = images.reshape(-1, 28, 28), np.repeat(np.arange(len(images)), 20)
    source = numaml.FewShot(x, y, scale=1 / 255)
    assert source(np.random.default_rng(0)).support.x.max() == 1


def in_folder(tmp_path):
    """The small set as the folder that its archive unpacks to."""
    folder = tmp_path / "images_background_small1"
    for name, data in members().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    return folder


def elsewhere(path):
    """What stands at a path moves away, and a link leads to it."""
    moved = path.parent.parent / "elsewhere"
    path.rename(moved)
    path.symlink_to(moved)


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def device(path):
    path.unlink()
    path.symlink_to("/dev/zero")


TRAPS = {
    "a linked drawing": (elsewhere, "Latin/character01/0101_01.png", "is a link; want a regular"),
    "a pipe": (pipe, "Latin/character01/0101_01.png", "is a pipe; want a regular file"),
    "a device": (device, "Latin/character01/0101_01.png", "is a link; want a regular file"),
    "a linked character": (elsewhere, "Latin/character01", "is a link; want a folder"),
    "a linked alphabet": (elsewhere, "Latin", "is a link; want a folder"),
    "a linked set": (elsewhere, "", "is a link; want a folder"),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_nothing_in_a_folder_leads_elsewhere(tmp_path, trap):
    make, place, match = TRAPS[trap]
    (tmp_path / "data").mkdir()
    folder = in_folder(tmp_path / "data")
    make(folder / place)
    with pytest.raises(OSError, match=match):
        omniglot.load(tmp_path / "data")


@pytest.mark.parametrize("name", ["images_background_small1.zip", "omniglot28.npz"])
def test_files_of_a_folder_are_files(small, tmp_path, name):
    for make, match in ((elsewhere, "is a link"), (pipe, "is a pipe")):
        (tmp_path / name).unlink(missing_ok=True)
        write(tmp_path / name, members())
        make(tmp_path / name)
        with pytest.raises(OSError, match=f"{match}; want a regular file"):
            omniglot.load(tmp_path)


def test_a_file_that_the_user_names_may_be_a_link(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "cache").write_bytes(cache())
    (tmp_path / "mine.npz").symlink_to(tmp_path / "inner" / "cache")
    assert len(omniglot.load(tmp_path / "mine.npz")) == 7


def test_a_drawing_twice_is_an_error(small):
    other = dict.fromkeys([FIRST.replace("small1", "small2")], png(9))  # under another first name
    write(small, members() | other)
    with pytest.raises(ValueError, match="another drawing of Latin/character01/0101_01 than is"):
        omniglot.load(small.parent)
    write(small, members())
    with zipfile.ZipFile(small, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(FIRST, DRAWN[0])
    with pytest.raises(ValueError, match=r"0101_01\.png' is there twice"):
        omniglot.load(small.parent)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_cannot_be_unpacked_by_pieces_is_not_unpacked(small, method):
    """Whatever the header claims, all of it would be in memory at once."""
    write(small, {**members(), FIRST: bytes(9_000)}, method)
    with pytest.raises(ValueError, match=f"packed by method {method}; want it stored or deflated"):
        omniglot.load(small.parent)


def test_a_set_larger_than_omniglot_is_not_read(small, monkeypatch):
    monkeypatch.setattr(omniglot, "LARGEST_SET", sum(map(len, members().values())) - 1)
    with pytest.raises(ValueError, match=r"holds more than .* bytes; Omniglot is smaller"):
        omniglot.load(small.parent)


def test_a_cache_with_a_member_twice_is_an_error(tmp_path):
    buffer = io.BytesIO(cache())
    with zipfile.ZipFile(buffer, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("background.npy", b"")
    (tmp_path / "omniglot28.npz").write_bytes(buffer.getvalue())
    with pytest.raises(ValueError, match=r"'background\.npy' is there twice"):
        omniglot.load(tmp_path)
