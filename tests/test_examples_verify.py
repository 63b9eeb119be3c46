"""The worked examples run, and say of each framework what is true of it."""

import importlib.util
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
# script -> the packages it needs, and what it must report
SCRIPTS = {
    "verify_pytorch": (("torch",), {
        "create_graph=False": "first-order MAML", "create_graph=True": "", "torch.func": "",
    }),
    "verify_jax": (("jax",), {
        "with stop_gradient": "first-order MAML", "as it should be": "",
        "as it should be, in float32": "",
    }),
    "verify_higher": (("torch", "higher"), {
        "the default, copy_initial_weights=True": "zero everywhere",
        "track_higher_grads=False, gradient of the fast weights": "first-order MAML",
        "copy_initial_weights=False": "",
    }),
}  # fmt: skip


@pytest.mark.parametrize("script", SCRIPTS)
def test_example(script):
    packages, wanted = SCRIPTS[script]
    for package in packages:
        pytest.importorskip(package, reason=f"{script} runs where {package} is installed")
    reports = runpy.run_path(str(EXAMPLES / f"{script}.py"))["main"]()
    assert list(reports) == list(wanted)
    for name, words in wanted.items():
        assert reports[name].verdict == ("wrong" if words else "right"), str(reports[name])
        assert words in reports[name].looks_like


def test_import_weights():
    done = runpy.run_path(str(EXAMPLES / "import_weights.py"))["main"]()
    assert set(done) == {p for p in ("torch", "sklearn") if importlib.util.find_spec(p)}
    for differences in done.values():
        assert max(differences) < 1e-14


@pytest.mark.parametrize("script", [*SCRIPTS, "import_weights"])
def test_without_the_framework_an_example_says_a_word(script):
    code = f"""
import runpy, sys
sys.modules.update(dict.fromkeys(("torch", "jax", "higher", "sklearn")))
import importlib.util
importlib.util.find_spec = lambda name: None
runpy.run_path({str(EXAMPLES / f"{script}.py")!r}, run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("skipped: ")
    assert "not installed" in done.stdout
