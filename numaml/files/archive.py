"""Archives of arrays, whose every byte follows from what they hold.

The file is an uncompressed ``.npz`` that `numpy.load` reads. Its arrays have one axis each; the
first is a text, which says what the others are. So all are read at the places where they must be,
and a file is taken only if it is, to the last bit, what would be written again.
"""

import os
import struct
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO
from zlib import crc32

import numpy as np

Array = np.ndarray[Any, Any]

LOCAL, CENTRAL, END = 30, 46, 22  # bytes of the archive for a member, once more, and at its end
HEAD = 128  # bytes in front of the numbers of an array
LARGEST = 2**32 - 1  # bytes of an archive whose places and sizes take 32 bits
WIDE_LOCAL, WIDE_CENTRAL, WIDE_END = 20, 28, 76  # bytes more, where they take 64
ELSEWHERE = 2**32 - 1  # stands where the 32 bits would be, then


def archive(arrays: Mapping[str, Array]) -> bytes:
    """The whole file: these arrays, in this order."""
    return b"".join(_pieces(arrays))


def text_of(file: BinaryIO, name: str, longest: int) -> bytes:
    """The first array of an archive, if it has that name, as text; no other byte is believed.

    Raises
    ------
    ValueError
        If the file does not begin like one, is cut off, or the text is longer than so many bytes.
    """
    there, member = file.seek(0, os.SEEK_END), f"{name}.npy".encode()
    file.seek(0)
    start, found = file.read(LOCAL), file.read(len(member))
    if found != member:
        raise ValueError("it does not begin like one")
    wide = file.read(WIDE_LOCAL) if start[28:30] != b"\0\0" else b""
    length = int.from_bytes(wide[4:12] or start[18:22], "little") - HEAD
    if not 0 < length <= longest or file.seek(HEAD, os.SEEK_CUR) + length > there:
        raise ValueError("it is cut off or damaged; copy it again")
    return file.read(length)


def arrays_of(file: BinaryIO, layout: Mapping[str, tuple[Any, int]]) -> dict[str, Array]:
    """The arrays of an archive, which have these dtypes and lengths.

    Raises
    ------
    ValueError
        If the file has another size, or is in any bit not what `archive` writes of them.
    """
    there = file.seek(0, os.SEEK_END)
    stored = {name: (np.dtype(dtype).newbyteorder("<"), n) for name, (dtype, n) in layout.items()}
    _, starts, size = _plan({name: n * dtype.itemsize for name, (dtype, n) in stored.items()})
    if there != size:
        raise ValueError(f"it has {there} bytes and needs {size}; copy it again")
    file.seek(0)
    content, at = memoryview(file.read()), 0
    arrays = {name: np.frombuffer(content, *stored[name], starts[name]) for name in stored}
    for piece in _pieces(arrays):
        if content[at : at + len(piece)] != piece:
            raise ValueError("it was damaged or altered since it was written; copy it again")
        at += len(piece)
    native = {name: np.dtype(dtype) for name, (dtype, _) in layout.items()}
    return {name: array.astype(native[name]) for name, array in arrays.items()}


def _plan(lengths: Mapping[str, int]) -> tuple[bool, dict[str, int], int]:
    """Of arrays of so many bytes: whether 64 bits are needed, where each begins, and the size."""
    fixed = sum(LOCAL + CENTRAL + HEAD + 2 * len(f"{name}.npy") for name in lengths) + END
    wide, at, starts = fixed + sum(lengths.values()) > LARGEST, 0, {}
    for name, length in lengths.items():
        starts[name] = at + LOCAL + len(f"{name}.npy") + WIDE_LOCAL * wide + HEAD
        at = starts[name] + length
    more = len(lengths) * (WIDE_LOCAL + WIDE_CENTRAL) + WIDE_END
    return wide, starts, fixed + sum(lengths.values()) + more * wide


def _pieces(arrays: Mapping[str, Array]) -> Iterator[Any]:
    """The file in pieces: a zip archive without compression, dated 1980-01-01.

    Source: PKWARE's APPNOTE.TXT, sections 4.3.7, 4.3.12, 4.3.14 to 4.3.16 and 4.5.3.
    """
    wide, starts, _ = _plan({name: array.nbytes for name, array in arrays.items()})
    at, directory = 0, b""
    for name, array in arrays.items():
        member, (head, data) = f"{name}.npy".encode(), _npy(array)
        size, offset = HEAD + len(data), ELSEWHERE if wide else at
        short = ELSEWHERE if wide else size
        about = struct.pack(
            "<5H3IH", 45 if wide else 20, 0, 0, 0, 0x21, crc32(data, crc32(head)), short, short,
            len(member),
        )  # fmt: skip
        local = struct.pack("<2H2Q", 1, 16, size, size) * wide
        more = struct.pack("<2H3Q", 1, 24, size, size, at) * wide
        place = struct.pack("<4H2I", len(more), 0, 0, 0, 0, offset)
        directory += b"PK\1\2\x14\0" + about + place + member + more
        yield b"PK\3\4" + about + struct.pack("<H", len(local)) + member + local + head
        yield data
        at = starts[name] + len(data)
    yield directory
    yield _end(len(arrays), len(directory), at, wide)


def _end(members: int, size: int, at: int, wide: bool) -> bytes:
    """What stands behind the directory, which has that size and begins there."""
    counts, places = (members, members), (size, at)
    if not wide:
        return b"PK\5\6" + struct.pack("<4H2IH", 0, 0, *counts, *places, 0)
    return (
        b"PK\6\6" + struct.pack("<Q2H2I4Q", 44, 45, 45, 0, 0, *counts, *places)
        + b"PK\6\7" + struct.pack("<IQI", 0, at + size, 1)
        + b"PK\5\6" + struct.pack("<4H2IH", 0, 0, 65535, 65535, ELSEWHERE, ELSEWHERE, 0)
    )  # fmt: skip


def _npy(array: Array) -> tuple[bytes, Any]:
    """An array of one axis in NumPy's format 1.0, little-endian: what stands in front, and it."""
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    head = f"{{'descr': '{array.dtype.str}', 'fortran_order': False, 'shape': ({len(array)},), }}"
    magic = b"\x93NUMPY\x01\x00" + (HEAD - 10).to_bytes(2, "little")
    data = np.ascontiguousarray(array).view(np.uint8).data
    return magic + head.encode().ljust(HEAD - 11) + b"\n", data
