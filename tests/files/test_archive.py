"""Archives: what is read is, to the last bit, what would be written."""

import io
import zipfile

import numpy as np
import pytest

from numaml.files import archive as module
from numaml.files.archive import archive, arrays_of, text_of

TEXT = b'{"a": 1}'
ARRAYS = {
    "about": np.frombuffer(TEXT, np.uint8),
    "theta": np.array([0.5, -0.0, 1e-300]),
    "single": np.array([1.5], np.float32),
    "none": np.empty(0),
    "numbers": np.array([-(2**40), 7], np.int64),
}
LAYOUT = {name: (array.dtype, len(array)) for name, array in ARRAYS.items()}


@pytest.fixture(params=[2**32 - 1, 0], ids=["32 bits", "64 bits"])
def limit(request, monkeypatch):
    """Archives as all are, and as those of 4 GiB and more."""
    monkeypatch.setattr(module, "LARGEST", request.param)


def read(content):
    file = io.BytesIO(content)
    text = text_of(file, "about", 100)
    return text, arrays_of(file, LAYOUT | {"about": (np.uint8, len(text))})


@pytest.mark.usefixtures("limit")
def test_there_and_back():
    content = archive(ARRAYS)
    text, arrays = read(content)
    assert text == TEXT
    assert list(arrays) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        assert arrays[name].tobytes() == array.tobytes()
        assert arrays[name].flags.aligned
    assert archive(arrays) == content


@pytest.mark.usefixtures("limit")
def test_numpy_and_zipfile_read_it_too():
    content = archive(ARRAYS)
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        assert arrays.files == list(ARRAYS)
        for name, array in ARRAYS.items():
            assert arrays[name].tobytes() == array.tobytes()
    with zipfile.ZipFile(io.BytesIO(content)) as members:
        assert members.testzip() is None


def test_an_archive_is_wide_from_the_byte_on_that_32_bits_do_not_hold(monkeypatch):
    size = len(archive(ARRAYS))
    monkeypatch.setattr(module, "LARGEST", size)
    assert len(archive(ARRAYS)) == size
    monkeypatch.setattr(module, "LARGEST", size - 1)
    assert len(archive(ARRAYS)) > size


@pytest.mark.usefixtures("limit")
def test_every_flipped_bit_is_refused():
    content = bytearray(archive(ARRAYS))
    for bit in range(8 * len(content)):
        content[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError, match=r"does not begin|cut off|copy it again"):
            read(content)
        content[bit // 8] ^= 1 << bit % 8


@pytest.mark.usefixtures("limit")
def test_every_cut_and_every_byte_more_is_refused():
    content = archive(ARRAYS)
    for length in range(len(content)):
        with pytest.raises(ValueError, match=r"does not begin|cut off|copy it again"):
            read(content[:length])
    for place in [*range(0, len(content), 7), len(content)]:
        with pytest.raises(ValueError, match=r"does not begin|cut off|copy it again"):
            read(content[:place] + b"\0" + content[place:])


def test_a_big_endian_array_is_written_like_any():
    swapped = {name: array.astype(array.dtype.newbyteorder(">")) for name, array in ARRAYS.items()}
    assert archive(swapped) == archive(ARRAYS)


@pytest.mark.usefixtures("limit")
def test_a_length_that_is_claimed_is_not_believed():
    content = archive(ARRAYS)
    claim = bytearray(content)
    claim[18:22] = b"\xff" * 4
    claim[43:51] = b"\xff" * 8  # where an archive of 64 bits has it
    with pytest.raises(ValueError, match="cut off"):
        read(claim)
    with pytest.raises(ValueError, match="cut off"):
        text_of(io.BytesIO(content), "about", len(TEXT) - 1)
    with pytest.raises(ValueError, match=f"has {len(content)} bytes and needs"):
        arrays_of(io.BytesIO(content), LAYOUT | {"theta": (np.float64, 2**70)})
