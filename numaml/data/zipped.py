"""Zip archives and ``.npz`` files of strangers, read by pieces: no header is believed.

What a member unpacks to is read up to a limit, whatever the archive says of it, and nothing that is
not asked for is unpacked.
"""

import io
import math
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from .given import array as as_given
from .given import cut

Array = np.ndarray[Any, Any]

HEAD = 12_000  # bytes in which an array's dtype and shape stand; NumPy itself takes 10,000
PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others are unpacked whole, however large


@contextmanager
def archive(file: BinaryIO) -> Iterator[zipfile.ZipFile]:
    """An open archive in which every name is there once.

    Raises
    ------
    ValueError
        If it is damaged, or two members have one name.
    """
    try:
        with zipfile.ZipFile(file) as opened:
            there = set[str]()
            for member in opened.infolist():
                if member.filename in there:
                    raise ValueError(f"{cut(repr(member.filename))} is there twice")
                there.add(member.filename)
            yield opened
    except OSError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy raise a dozen kinds on damaged bytes
        raise ValueError(cut(str(error), 300)) from error


def unpacked(opened: zipfile.ZipFile, member: zipfile.ZipInfo, most: int) -> bytes:
    """What a member unpacks to, with its checksum compared, if that is at most so many bytes.

    Raises
    ------
    ValueError
        If it is more, or packed in a way that cannot be unpacked by pieces.
    """
    name = cut(member.filename)
    if member.file_size > most:
        raise ValueError(f"{name} has {member.file_size} bytes; want at most {most}")
    return head(opened, member, most + 1)


def head(opened: zipfile.ZipFile, member: zipfile.ZipInfo, most: int) -> bytes:
    """The first bytes of what a member unpacks to."""
    if member.compress_type not in PLAIN:
        raise ValueError(
            f"{cut(member.filename)} is packed by method {member.compress_type}; want it stored or "
            "deflated"
        )
    with opened.open(member) as file:
        return file.read(most)


class Layout(NamedTuple):
    """What stands in front of an array's numbers."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    start: int  # of the numbers

    @property
    def size(self) -> int:
        """Bytes of the whole member."""
        return self.start + math.prod(self.shape) * self.dtype.itemsize


class Arrays(Mapping[str, Array]):
    """The arrays of an ``.npz`` file, each read when it is asked for.

    Parameters
    ----------
    file : binary file
    most : int
        Bytes that one array may take.

    Raises
    ------
    ValueError
        If the file is damaged, a name is there twice, or a member is no array.
    """

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._most, self._content = most, file.read()
        self._layouts: dict[str, Layout] = {}
        with archive(io.BytesIO(self._content)) as opened:
            for member in opened.infolist():
                name = member.filename.removesuffix(".npy")
                if name == member.filename:
                    raise ValueError(f"it holds {cut(repr(name))}, which is no array")
                self._layouts[name] = _layout(head(opened, member, HEAD), name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._layouts)

    def __len__(self) -> int:
        return len(self._layouts)

    def layout(self, name: str) -> Layout:
        """Shape and dtype of an array, which is not read."""
        return self._layouts[name]

    def __getitem__(self, name: str) -> Array:
        layout = self._layouts[name]
        if layout.dtype.hasobject:
            raise ValueError(f"{cut(repr(name))} holds Python objects; want numbers")
        if layout.size > self._most:
            raise ValueError(
                f"{cut(repr(name))} unpacks to {layout.size} bytes from a file of "
                f"{len(self._content)}; want at most {self._most}: save it with numpy.savez, "
                "uncompressed"
            )
        with archive(io.BytesIO(self._content)) as opened:
            whole = unpacked(opened, opened.getinfo(f"{name}.npy"), layout.size)
            if len(whole) != layout.size:
                raise ValueError(f"{cut(name)} has {len(whole)} bytes, and needs {layout.size}")
        flat = np.frombuffer(whole, layout.dtype, math.prod(layout.shape), layout.start)
        return as_given(flat.reshape(layout.shape, order="F" if layout.fortran else "C"), name)


def _layout(start: bytes, name: str) -> Layout:
    """What the first bytes of a member say of the array in it."""
    file = io.BytesIO(start)
    try:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"it has the format {version}")
        of_version = f"read_array_header_{version[0]}_0"
        shape, fortran, dtype = getattr(np.lib.format, of_version)(file)
    except Exception as error:  # NumPy's parser raises half a dozen kinds
        raise ValueError(f"{cut(name)} is no array: {cut(str(error), 200)}") from error
    if any(not isinstance(n, int) or n < 0 for n in shape):
        raise ValueError(f"{cut(name)} is no array: its shape is {cut(str(shape))}")
    return Layout(shape, dtype, fortran, file.tell())
