"""The package as others get it: what is in it, that it is the same each time, its page."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

from .house import ROOT

BUILDS = "building needs what pyproject.toml names under build-system"
BUILD = (
    "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"
)
LEFT_OUT = shutil.ignore_patterns(
    ".git", "__pycache__", "*.egg-info", "build", "dist", ".*cache", "runs", ".venv", ".hypothesis"
)


def setup_module_of(root):
    spec = importlib.util.spec_from_file_location("numaml_setup", root / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def leads_nowhere(text):
    """Links and pictures of a page that are no addresses."""
    return re.findall(r"\]\((?!https?://|#)[^)]*\)", text)


def test_the_page_on_an_index_leads_nowhere_that_is_not_there():
    pytest.importorskip("setuptools", reason=BUILDS)
    whole = (ROOT / "README.md").read_text(encoding="utf-8")
    page = setup_module_of(ROOT).on_an_index(whole)
    assert leads_nowhere(whole)
    assert leads_nowhere(page) == []
    assert "![" not in page
    assert "test vectors" in page  # the words of a link stay
    code = re.findall(r"```python\n.*?```", whole, re.DOTALL)
    assert code == re.findall(r"```python\n.*?```", page, re.DOTALL)
    say = setup_module_of(ROOT).on_an_index
    assert say("[a](b.md) [c](https://d.e) [f](#g)\n![h](i.png)\n\nj") == (
        "a [c](https://d.e) [f](#g)\nj"
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Two wheels and an archive of the sources, of copies made at other times."""
    pytest.importorskip("setuptools", minversion="77", reason=BUILDS)
    pytest.importorskip("latex2mathml", reason=BUILDS)
    folder = tmp_path_factory.mktemp("built")
    shutil.copytree(ROOT, folder / "one", ignore=LEFT_OUT)
    shutil.copytree(folder / "one", folder / "two")
    for name in ("one", "two"):
        copy = folder / name
        for path in copy.rglob("*"):
            os.utime(path, (1.2e9, 1.2e9 + 9e4 * len(name + path.name)))
        kinds = ("build_wheel", "build_sdist")[: 2 if name == "one" else 1]
        for kind in kinds:
            done = subprocess.run(
                [sys.executable, "-c", BUILD, kind, str(folder / f"out {name}")],
                cwd=copy, env=os.environ | {"SOURCE_DATE_EPOCH": "1700000000"},
                capture_output=True, text=True,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr[-2000:]
    return folder


def test_a_wheel_is_the_same_each_time(built):
    (one,), (two,) = (list((built / f"out {name}").glob("*.whl")) for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    with zipfile.ZipFile(one) as wheel:
        names = wheel.namelist()
        about = wheel.read(next(name for name in names if name.endswith("METADATA"))).decode()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"numaml"}
    ours = {path.relative_to(ROOT).as_posix() for path in (ROOT / "numaml").rglob("*.py")}
    assert ours <= set(names)
    assert {"numaml/py.typed", "numaml/check/vectors/README.md"} <= set(names)
    assert "numaml/command/side-by-side.html" in names
    assert "Description-Content-Type: text/markdown" in about
    assert leads_nowhere(about) == []


def test_the_archive_of_the_sources_runs_its_tests(built, tmp_path):
    (archive,) = (built / "out one").glob("*.tar.gz")
    with tarfile.open(archive) as file:
        file.extractall(tmp_path, filter="data")
    (root,) = tmp_path.iterdir()
    for folder in ("tests", "derivations", "examples", "numaml"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".md", ".json", ".toml", ".css"):
                assert (root / path.relative_to(ROOT)).is_file(), path
    for what in (["--collect-only", "tests/network"], ["tests/weights/test_theta.py"]):
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *what],
            cwd=root, env=os.environ | {"PYTHONPATH": str(root)}, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:]
