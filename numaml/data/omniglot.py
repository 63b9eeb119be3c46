"""Omniglot: 1623 handwritten characters, 20 drawings of each, as 28×28 bytes.

Read from the archives its authors publish, ``images_background.zip`` and ``images_evaluation.zip``
(Lake, Salakhutdinov, Tenenbaum 2015; repository ``brendenlake/omniglot``). Nothing is ever
unpacked to the disk, and what is read is limited before it is read.
"""

import contextlib
import io
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ..files.own import folder_inside, open_given, open_own
from ..files.whole import write_whole
from .zipped import Arrays, archive, unpacked

Array = np.ndarray[Any, Any]

CACHE = "omniglot28.npz"
SETS = {"background": 964, "evaluation": 659}  # characters
DRAWINGS, PIXELS = 20, 28
MEMBER = re.compile(r"images_\w+/([A-Za-z][^/]*)/(character\d\d)/(\d{4}_\d\d)\.png")
LARGEST_PNG = 10_000  # bytes; the archives' own have some 300
LARGEST_SET = 20_000_000  # bytes of a set's drawings; the archives' own have some 5 million
LARGEST_CACHE = sum(SETS.values()) * DRAWINGS * PIXELS**2 + 1_000_000  # bytes, unpacked
# A PNG's first bytes, with its width and height: nothing larger is ever decoded.
HEADER = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">2I", 105, 105)


class Characters(NamedTuple):
    """Characters, and which alphabet each is of.

    Parameters
    ----------
    images : (n, 20, 28, 28) uint8 array
    alphabets : (n,) array of str
    """

    images: Array
    alphabets: Array


def load(path: str | Path) -> Array:
    """All characters of Omniglot, ink 255 on 0, in an order that no file system has a part in.

    Parameters
    ----------
    path : path
        The folder with the official ``images_background.zip`` and ``images_evaluation.zip`` (either
        alone will do, and so will the folders they unpack to, or the archives
        ``images_background_small1.zip`` and ``…small2.zip``), which needs Pillow; or the file
        ``omniglot28.npz``, or the folder it is in. Where both official archives are there,
        ``omniglot28.npz`` is written beside them, to be read the next time.

    Returns
    -------
    images : (characters, 20, 28, 28) uint8 array
        Those of the background set first; in each by alphabet, character and drawer.

    Raises
    ------
    FileNotFoundError
        If none of these files is there.
    ImportError
        If archives are to be read and Pillow is missing.
    OSError
        If something in the folder is a link, a pipe or a device, where a file or folder is wanted.
    ValueError
        If a file is damaged, incomplete, or not what its name says.
    """
    return np.concatenate([one.images for one in sets(path).values()])


def sets(path: str | Path) -> dict[str, Characters]:
    """The sets of Omniglot apart, whose alphabets are its authors' split.

    Parameters
    ----------
    path : path
        As for `load`.

    Returns
    -------
    sets : dict of Characters
        "background" and "evaluation", of which one is left out if it is not there; each by
        alphabet, character and drawer.

    Raises
    ------
    FileNotFoundError, ImportError, OSError, ValueError
        As `load`.

    References
    ----------
    Lake, Salakhutdinov, Tenenbaum 2015, "Human-level concept learning through probabilistic
    program induction": 30 alphabets to learn from, 20 others to judge by.
    """
    path = Path(path)
    cache = path / CACHE if path.is_dir() else path
    if (file := _opened_cache(path, cache)) is not None:
        with file:
            return _read_cache(file, cache)
    found = {name: drawings for name in SETS if (drawings := _drawings(path, name))}
    if not found:
        raise FileNotFoundError(
            f"{path} holds neither images_background.zip nor images_evaluation.zip nor {CACHE}; "
            "fetch the two archives from python/ of the repository brendenlake/omniglot"
        )
    read = {name: _pixels(drawings) for name, drawings in found.items()}
    if tuple(len(images) for images, _ in read.values()) == tuple(SETS.values()):
        with contextlib.suppress(OSError):  # a folder one may not write to; reading takes seconds
            write_whole(cache, _npz(read))
    return read


def rotated(images: Array, mirrored: bool = False) -> Array:
    """The characters and, as characters of their own, each turned by 90°, 180° and 270°.

    Parameters
    ----------
    images : (characters, …, n, n) array
    mirrored : bool
        Whether the mirror images of these four are characters too.

    Returns
    -------
    images : (4 characters, …, n, n) array
        Or 8 characters, the mirror images behind the others.

    Examples
    --------
    >>> import numpy as np
    >>> from numaml.data.omniglot import rotated
    >>> rotated(np.array([[[1, 2], [3, 4]]]))[:2].tolist()
    [[[1, 2], [3, 4]], [[2, 4], [1, 3]]]
    >>> rotated(np.array([[[1, 2], [3, 4]]]), mirrored=True)[4].tolist()
    [[2, 1], [4, 3]]
    """
    both = [images, images[..., ::-1]] if mirrored else [images]
    turned = [np.rot90(one, turns, (-2, -1)) for one in both for turns in range(4)]
    return np.concatenate(turned)


def _opened_cache(path: Path, cache: Path) -> BinaryIO | None:
    """The cache, if it is there: as the user named it, or by its name in a folder."""
    if cache is path:
        return open_given(cache, CACHE) if cache.is_file() else None
    return os.fdopen(open_own(cache), "rb") if os.path.lexists(cache) else None


def _read_cache(file: BinaryIO, path: Path) -> dict[str, Characters]:
    """Each set, as `_npz` writes them."""
    try:
        saved = Arrays(file, LARGEST_CACHE)
        size = sum(saved.layout(name).size for name in saved)
        if size > LARGEST_CACHE:
            raise ValueError(f"it unpacks to {size} bytes, more than Omniglot has")
        read = {name: Characters(saved[name], saved[f"{name}_alphabet"]) for name in SETS}
    except Exception as error:  # a name that is not there, or whatever zip archives can do
        raise ValueError(
            f"{path} is not readable as {CACHE}: {error}; want it, or the folder of the archives"
        ) from error
    for images, alphabets in read.values():
        wanted = (len(alphabets) if alphabets.ndim == 1 else 0, DRAWINGS, PIXELS, PIXELS)
        if images.dtype != np.uint8 or images.shape != wanted:
            raise ValueError(
                f"{path} has images {images.dtype} {images.shape} with alphabets "
                f"{alphabets.shape}; want uint8 (n, 20, 28, 28) and (n,)"
            )
    return read


def _npz(read: dict[str, Characters]) -> bytes:
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {}
    for name, (images, alphabets) in read.items():
        arrays |= {name: images, f"{name}_alphabet": alphabets}
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


Drawings = dict[tuple[str, str], dict[str, bytes]]  # (alphabet, character) -> name -> PNG


def _drawings(folder: Path, name: str) -> Drawings:
    """Every drawing of a set as a PNG: the whole set, or if it is not there its small parts.

    Nothing in the folder is followed to another place, and nothing opened but files and folders.
    """
    whole = [folder / f"images_{name}", folder / f"images_{name}.zip"]
    parts = sorted(folder.glob(f"images_{name}_small[0-9]*"))
    sources = [source for source in whole if os.path.lexists(source)][:1] or parts
    drawings: Drawings = {}
    for source in sources:
        for (alphabet, character, drawing), content in _members(source):
            of = drawings.setdefault((alphabet, character), {})
            if of.setdefault(drawing, content) != content:
                raise ValueError(
                    f"{source} holds another drawing of {alphabet}/{character}/{drawing} than is "
                    "there already; want each once"
                )
    _check_complete(drawings, sources, None if sources == parts else SETS[name])
    return drawings


def _members(source: Path) -> Iterator[tuple[Any, bytes]]:
    """((alphabet, character, drawing), PNG) of an archive or of the folder it was unpacked to."""
    total = 0
    for key, content in _in_folder(source) if source.is_dir() else _in_archive(source):
        total += len(content)
        if total > LARGEST_SET:
            raise ValueError(f"{source} holds more than {LARGEST_SET} bytes; Omniglot is smaller")
        yield key, content


def _in_folder(source: Path) -> Iterator[tuple[Any, bytes]]:
    folder_inside(source.parent, source.name)
    for alphabet in sorted(_inside(source)):
        for character in sorted(_inside(alphabet)):
            for path in sorted(_inside(character, folders=False)):
                if match := MEMBER.fullmatch(path.relative_to(source.parent).as_posix()):
                    with os.fdopen(open_own(path), "rb") as file:
                        yield match.groups(), file.read(LARGEST_PNG)


def _inside(folder: Path, folders: bool = True) -> list[Path]:
    """What is in a folder that might be of Omniglot: its folders, or else its drawings."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if not folders or not entry.is_file()]
    if folders:
        return [folder_inside(folder, name) for name in names]
    return [folder / name for name in names if name.endswith(".png")]


def _in_archive(source: Path) -> Iterator[tuple[Any, bytes]]:
    try:
        with os.fdopen(open_own(source), "rb") as file, archive(file) as opened:
            for member in opened.infolist():
                if match := MEMBER.fullmatch(member.filename):
                    yield match.groups(), unpacked(opened, member, LARGEST_PNG)
    except ValueError as error:
        raise ValueError(f"{source} is not a whole archive of Omniglot: {error}") from error


def _check_complete(drawings: Drawings, sources: list[Path], characters: int | None) -> None:
    where = ", ".join(map(str, sources))
    if sources and not drawings:
        raise ValueError(f"{where} holds no images_*/<alphabet>/characterNN/XXXX_YY.png")
    if characters and len(drawings) != characters:
        raise ValueError(f"{where} holds {len(drawings)} characters; want all {characters}")
    for key, each in drawings.items():
        if len(each) != DRAWINGS:
            raise ValueError(
                f"{where} holds {len(each)} drawings of {'/'.join(key)}; want {DRAWINGS}: fetch "
                "it again"
            )


def _pixels(drawings: Drawings) -> Characters:
    """A set, in the order of the names."""
    keys = sorted(drawings)
    images = np.empty((len(keys), DRAWINGS, PIXELS, PIXELS), np.uint8)
    for place, key in zip(images, keys, strict=True):
        for row, drawing in zip(place, sorted(drawings[key]), strict=True):
            row[...] = _image(drawings[key][drawing], "/".join((*key, drawing)))
    return Characters(images, np.array([alphabet for alphabet, _ in keys]))


def _image(content: bytes, name: str) -> Array:
    """One drawing, resized to 28×28, ink 255 on 0."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            "reading Omniglot's archives needs Pillow: pip install 'numaml[omniglot]'"
        ) from error
    try:
        if not content.startswith(HEADER):
            raise ValueError("it is not a PNG of 105 × 105 pixels")
        with Image.open(io.BytesIO(content), formats=["PNG"]) as drawing:
            small = drawing.convert("L").resize((PIXELS, PIXELS), Image.Resampling.LANCZOS)
            return 255 - np.asarray(small)
    except Exception as error:  # so does Pillow
        raise ValueError(f"{name}.png is not readable as a drawing: {error}") from error
