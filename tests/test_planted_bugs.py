"""Every term of every formula is dropped or bent in turn, and the check named beside it must fail.

A copy of the package with one line changed is imported under another name, and its own audit is
run on it: a checker nobody has seen fail is not a checker.
"""

import importlib
import itertools
import math
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import numaml
from numaml.check.audit import CHECKS

PACKAGE = Path(numaml.__file__).parent
counter = itertools.count()

# (file, the line's own text, what is planted, the rows of the audit that must catch it)
BUGS = [
    ("primitives", "z * (z.real > 0)  # (A1)", "z * (z.real > -2)", "(A1)"),
    ("primitives", "np.maximum(z, 0)", "np.maximum(z, 0.1)", "(A1)"),
    ("primitives", "(z.real > 0).astype(z.dtype)", "np.ones_like(z)", "(A1)"),
    ("primitives", "(positive + e * ~positive) / (1 + e)", "positive / (1 + e)", "(A2)"),
    ("primitives", "return sigmoid(z) * sigmoid(-z)", "return sigmoid(z)", "(A2)"),
    ("primitives", "s * t * (t - s)", "s * t * t", "(A2)"),
    ("primitives", "s * t * (t - s)", "s * t * (s - t)", "(A2)"),
    ("primitives", "z * positive + np.log1p", "np.log1p", "(A3)"),
    ("primitives", "z * positive + np.log1p(e)", "z * positive", "(A3)"),
    ("primitives", "4 * e / (1 + e) ** 2", "4 * e / (1 + e)", "(A4)"),
    ("primitives", "4 * e / (1 + e) ** 2", "1 - np.tanh(z) ** 2", "(A4)"),
    ("primitives", "-2 * np.tanh(z) * tanh_prime(z)", "-2 * np.tanh(z)", "(A4)"),
    ("primitives", "-2 * np.tanh(z) * tanh_prime(z)", "2 * np.tanh(z) * tanh_prime(z)", "(A4)"),
    ("primitives", "lambda z: 2 * z", "lambda z: z", "(A5)"),
    ("primitives", "np.full_like(z, 2)", "np.full_like(z, 1)", "(A5)"),
    ("primitives", "count = residual.shape[-2] * residual.shape[-1]",
     "count = residual.shape[-2]", "(L1)"),
    ("primitives", "value, 2 * residual / count,", "value, residual / count,", "(L1)"),
    ("primitives", "lambda u_dot: 2 * u_dot / count", "lambda u_dot: 0 * u_dot", "(L1)"),
    ("primitives", "np.log1p(rest) - shifted * one_hot @ ones", "np.log1p(rest)", "(L2)"),
    ("primitives", "np.log1p(rest) - shifted", "0 * rest - shifted", "(L2)"),
    ("primitives", "(others - one_hot * (others @ ones)) / n", "others / n", "(L2)"),
    ("primitives", "(others - one_hot * (others @ ones)) / n",
     "others - one_hot * (others @ ones)", "(L2)"),
    ("primitives", "p * (centred - p * centred @ ones) / n", "p * centred / n", "(L2)"),
    ("primitives", "p * (centred - p * centred @ ones) / n",
     "(centred - p * centred @ ones) / n", "(L2)"),
    ("primitives", "p = e / (1 + rest)", "p = e / (2 + rest)", "(L2)"),
    ("primitives", ".sum((-2, -1)) / n  # (L2)", ".sum((-2, -1))", "(L2)"),
    ("primitives", "rest = (e - top) @ ones", "rest = e @ ones", "(L2)"),
    ("normalisation", "Normalised(r * a, r, axis)  # (N1)", "Normalised(a, r, axis)", "(N1)"),
    ("normalisation", "a = a - one.mean(a)", "pass", "(N1)"),
    ("normalisation", "one.mean(a * a) + EPSILON", "one.mean(a * a) + 0", "(N1)"),
    ("normalisation", "w - self.mean(w) - self.x * m), m", "w - self.x * m), m", "(N2)"),
    ("normalisation", "w - self.mean(w) - self.x * m), m", "w - self.mean(w)), m", "(N2)"),
    ("normalisation", "self.r * (w - self.mean(w)", "(w - self.mean(w)", "(N2)"),
    ("normalisation", "m = self.mean(self.x * w)", "m = self.mean(w)", "(N2)"),
    ("normalisation", "bend = m_dot * Jw + m * x_dot", "bend = m * x_dot", "(N3)"),
    ("normalisation", "bend = m_dot * Jw + m * x_dot", "bend = m_dot * Jw", "(N3)"),
    ("normalisation", " + self.x * self.mean(x_dot * w)", "", "(N3)"),
    ("normalisation", "[0] - self.r * bend  # (N3)", "[0] + self.r * bend", "(N3)"),
    ("normalisation", "[0] - self.r * bend  # (N3)", "[0] - bend", "(N3)"),
    ("normalisation", "self.jacobian(w_dot)[0] - self.r", "-self.r", "(N3)"),
    ("mlp", "plus(n.x if n else a, b,", "plus(n.x if n else a, 0,", "(F1)"),
    ("mlp", "plus(n.x if n else a, b,", "plus(n.x if n else a, -b,", "(F1)"),
    ("mlp", "plus(n.x if n else a, b,", "plus(a, b,", "(F1)"),
    ("mlp", "if axis and hidden else", "if axis else", "(F1)"),
    ("mlp", "hs.append(s(zs[l]))  # (F2)", "hs.append(zs[l])", "(F2)"),
    ("mlp", "hs.append(s(zs[l]))  # (F2)", "hs.append(s(s(zs[l])))", "(F2)"),
    ("mlp", "times(es[-1], s1[l - 1], spare=not s2)", "es[-1]", "(B1)"),
    ("mlp", "times(es[-1], s1[l - 1], spare=not s2)", "times(es[-1], s1[l - 1])", "(R3)"),
    ("mlp", "es.append(cs[-1][0] @ layers", "es.append(2 * cs[-1][0] @ layers", "(B1)"),
    ("mlp", "es.append(cs[-1][0] @ layers", "es.append(deltas[-1] @ layers", "(B1)"),
    ("mlp", "[(hs[l], cs[-1][0])], deltas[-1]))  # (B2)",
     "[(hs[l], cs[-1][0])], 0 * deltas[-1]))", "(B2)"),
    ("mlp", "[(hs[l], cs[-1][0])], deltas[-1]))  # (B2)",
     "[(hs[l], cs[-1][0])], cs[-1][0]))", "(B2)"),
    ("mlp", "[(hs[l], cs[-1][0])], deltas[-1]))  # (B2)",
     "[(hs[l], deltas[-1])], deltas[-1]))", "(B2)"),
    ("mlp", "[(hs[l], cs[-1][0])], deltas[-1]))  # (B2)",
     "[(0 * hs[l], cs[-1][0])], deltas[-1]))", "(B2)"),
    ("factored", "np.matmul(ones, delta, out=b[..., None, :])", "b[...] = 0", "(B2)"),
    ("mlp", "plus(n_dots[l][0], b_dot,", "plus(n_dots[l][0], 0,", "(R1)"),
    ("mlp", "plus(n_dots[l][0], b_dot,", "plus(a_dot, b_dot,", "(R1)"),
    ("mlp", "b_dot, spare=not n)", "b_dot)", "(R3)"),
    ("mlp", "a_dot = trace.hs[l] @ W_dot", "a_dot = 0 * trace.hs[l] @ W_dot", "(R1)"),
    ("mlp", "a_dot += h_dots[l] @ W", "pass", "(R1)"),
    ("mlp", "times(z_dots[l], trace.s1[l], spare=not trace.zs)", "z_dots[l]", "(R2)"),
    ("mlp", "trace.s1[l], spare=not trace.zs)", "trace.s1[l])", "(R1)"),
    ("mlp", "plus(c_dot @ W.mT, c @ W_dot.mT)", "c_dot @ W.mT", "(R3)"),
    ("mlp", "plus(c_dot @ W.mT, c @ W_dot.mT)", "c @ W_dot.mT", "(R3)"),
    ("mlp", "plus(c_dot @ W.mT, c @ W_dot.mT)", "c_dot @ W.mT + deltas[l] @ W_dot.mT", "(R3)"),
    ("mlp", "ns[l].r_jacobian(deltas[l], c, m, delta_dot, *n_dots[l])",
     "ns[l].jacobian(delta_dot)[0]", "(R3)"),
    ("mlp", "ns[l].r_jacobian(deltas[l], c, m, delta_dot, *n_dots[l])", "delta_dot", "(R3)"),
    ("mlp", "delta_dot = times(e_dot, s1[l - 1])", "delta_dot = e_dot", "(R3)"),
    ("mlp", "delta_dot += s2(zs[l - 1]) * z_dots[l - 1] * es[l - 1]", "pass", "(R3)"),
    ("mlp", "s2(zs[l - 1]) * z_dots[l - 1] * es[l - 1]", "s2(zs[l - 1]) * es[l - 1]", "(R3)"),
    ("mlp", "s2(zs[l - 1]) * z_dots[l - 1] * es[l - 1]", "s2(zs[l - 1]) * z_dots[l - 1]", "(R3)"),
    ("mlp", "s2(zs[l - 1]) * z_dots[l - 1] * es[l - 1]", "z_dots[l - 1] * es[l - 1]", "(R3)"),
    ("mlp", "pairs.append((h_dots[l], c))", "pass", "(R4)"),
    ("mlp", "pairs.append((h_dots[l], c))", "pairs.append((h_dots[l], deltas[l]))", "(R4)"),
    ("mlp", "pairs = [(hs[l], c_dot)]", "pairs = [(0 * hs[l], c_dot)]", "(R4)"),
    ("mlp", "outers.append((pairs, delta_dot))", "outers.append((pairs, deltas[l]))", "(R4)"),
    ("mlp", "outers.append((pairs, delta_dot))", "outers.append((pairs, c_dot))", "(R4)"),
    ("mlp", "delta_dot = hessian(tangents[1][-1])", "delta_dot = tangents[1][-1]", "(R4)"),
    ("factored", "None if self.base is None else self._once(h, self.base, _product)", "None",
     "(W1)"),
    ("factored", "product = _sum(product, self._once(h, U, _gram) @ V)  # (W1)", "pass", "(W1)"),
    ("factored", "np.ascontiguousarray(W.T) if turn", "W if turn", "(W1)"),
    ("factored", "base, known, turned = _sum(base, -number * other.base), None, None",
     "base = _sum(base, -number * other.base)", "(W1)"),
    ("factored", "self.known = self.turned = None", "self.known = None", "(W1)"),
    ("factored", "self._transposed().multiplied_out().mT", "self._transposed().multiplied_out()",
     "(W1)"),
    ("factored", "total = _sum(total, U.mT @ V)", "total = U.mT @ V", "(W1)"),
    ("factored", "key, swapped = (id(h), id(M)),", "key, swapped = (0, 0),", "(W1)"),
    ("factored", "known[swapped][2].mT", "known[swapped][2]", "(W1)"),
    ("factored", "[(V, U) for U, V in self.pairs]", "self.pairs", "(W1)"),
    ("factored", "[_stacked(self.pairs)]", "self.pairs[:1]", "(W1)"),
    ("factored", "V_ - number * V", "V_ + number * V", "(W1)"),
    ("factored", "V_ - number * V", "number * V", "(W1)"),
    ("factored", "pairs.append((U, -number * V))", "pairs.append((U, -V))", "(W1)"),
    ("factored", "pairs.append((U, -number * V))", "pass", "(W1)"),
    ("factored", "rank * (n_in + n_out) < n_in", "rank * (n_in + n_out) <= n_in", "(W2)"),
    ("factored", "rank * (n_in + n_out) < n_in", "rank * n_in < n_in", "(W2)"),
    ("factored", "np.divide(total, len(b_), out=total)", "total", "(W3)"),
    ("factored", "out += U.T @ V  # (W3)", "pass", "(W3)"),
    ("factored", "pairs[i : i + 3]", "pairs[i : i + 1]", "(W3)"),
    ("factored", "if i or self.base is not None", "if i", "(W3)"),
    ("factored", "np.add.reduce(self.base, out=out)", "out[...] = 0", "(W3)"),
    ("factored", "np.add.reduce(b_, (axis, 1), out=b)", "b[...] = 0", "(W3)"),
    ("factored", "ones @ delta)", "0 * ones @ delta)", "(W3)"),
    ("factored", "b - number * b_)", "b + number * b_)", "(W3)"),
    ("factored", "base, known, turned = _sum(base, -number * other.base), None, None", "pass",
     "(W3)"),
    ("maml", "phi = phi - alpha * g  # (M1)", "phi = phi - -alpha * g", "(M1)"),
    ("maml", "phi = phi - alpha * g  # (M1)", "phi = theta - alpha * g", "(M1)"),
    ("maml", "phi = phi - alpha * g  # (M1)", "phi = phi - 1 * g", "(M1)"),
    ("maml", "model.linearize(phi, support)", "model.linearize(theta, support)", "(M1)"),
    ("maml", "/ len(value), lam.mean(axis=0)",
     "/ len(value), len(value) * lam.mean(axis=0)", "(M2)"),
    ("maml", "np.add.reduce(value) / len(value)", "np.add.reduce(value)", "(M2)"),
    ("maml", "model.linearize(phi, Q)[:2]  # (M2)",
     "model.linearize(phi, S)[:2]  # (M2)", "(M2)"),
    ("maml", "model.linearize(phi, Q)[:2]  # (M2)",
     "model.linearize(start, Q)[:2]  # (M2)", "(M3)"),
    ("maml", "lam = lam - alpha * hvps.pop()(lam)  # (M3)", "hvps.pop()", "(M3)"),
    ("maml", "lam = lam - alpha * hvps.pop()(lam)  # (M3)",
     "lam = lam - -alpha * hvps.pop()(lam)", "(M3)"),
    ("maml", "lam = lam - alpha * hvps.pop()(lam)  # (M3)",
     "lam = lam - 1 * hvps.pop()(lam)", "(M3)"),
    ("maml", "lam = lam - alpha * hvps.pop()(lam)  # (M3)",
     "lam = lam - 1 * lam - alpha * hvps.pop()(lam)", "(M3)"),
    ("maml", "hvps.pop()(lam)", "hvps.pop(0)(lam)", "(M3)"),
    ("maml", "while hvps:", "for _ in hvps[-1:]:", "(M3)"),
    ("maml", "return _task_mean(*model.linearize(phi, Q)[:2])  # (M4)",
     "v, lam, hvp = model.linearize(phi, Q)\n    return _task_mean(v, lam - alpha * hvp(lam))",
     "(M4)"),
    ("maml", "return _task_mean(*model.linearize(phi, Q)[:2])  # (M4)",
     "return _task_mean(*model.linearize(theta, Q)[:2])", "(M4)"),
    ("maml", "return _task_mean(*model.linearize(phi, Q)[:2])  # (M4)",
     "return meta_gradient(model, np.asarray(theta), tasks, alpha, steps)", "(M4)"),
    ("blocks", "sum(n * result[i] for", "sum(sum(sizes) / len(sizes) * result[i] for", "(M5)"),
    ("blocks", "strict=True)) / sum(sizes)", "strict=True)) / len(sizes)", "(M5)"),
    ("training", "0.9 * moments.first + 0.1 * gradient", "gradient", "(O1)"),
    ("training", "0.001 * (gradient * gradient)", "0.001 * gradient", "(O1)"),
    ("training", "beta * (1 - 0.999**t) ** 0.5 / (1 - 0.9**t)", "beta", "(O1)"),
    ("training", "(np.sqrt(second) + 1e-8)  # (O1)", "(second + 1e-8)", "(O1)"),
]  # fmt: skip


@pytest.fixture
def plant(tmp_path, monkeypatch):
    """Import a copy of the package with one piece of text replaced; give its audit."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    names = []

    def copy_with(file, text, bug):
        name = f"numaml_planted_{next(counter)}"
        names.append(name)
        shutil.copytree(PACKAGE, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        path = tmp_path / name / f"{file}.py"
        source = path.read_text()
        assert source.count(text) == 1, f"{text!r} stands {source.count(text)} times in {file}.py"
        path.write_text(source.replace(text, bug))
        importlib.invalidate_caches()
        return importlib.import_module(f"{name}.audit")

    yield copy_with
    for module in list(sys.modules):
        if module.split(".")[0] in names:
            del sys.modules[module]


def error_of(check):
    """The check's error; a bug that makes it crash is caught as well."""
    try:
        with np.errstate(all="ignore"):
            return check()
    except (ValueError, TypeError, IndexError, UnboundLocalError):
        return math.inf


@pytest.mark.parametrize(("file", "text", "bug", "tag"), BUGS)
def test_the_named_check_catches(plant, file, text, bug, tag):
    audit = plant(file, text, bug)
    caught = [
        error_of(check) > bound
        for formula, (_, bound, check) in audit.CHECKS.items()
        if formula.startswith(tag)
    ]
    assert caught
    assert all(caught), f"{tag} does not see {bug!r}"


def test_the_copy_without_a_bug_passes(plant):
    audit = plant("maml", "# (M3)", "# (M3) ")
    assert all(row.passed for row in audit.audit())


def test_every_formula_has_a_planted_bug():
    assert {formula.split()[0] for formula in CHECKS} == {tag for *_, tag in BUGS}
