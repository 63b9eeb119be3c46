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
LEFT_OUT = shutil.ignore_patterns("vectors")  # what is compiled already saves most of the time
counter = itertools.count()

# (file, the line's own text, what is planted, the rows of the audit that must catch it)
BUGS = [
    ("network/activations", "z * relu_prime(z)  # (A1)", "z + relu_prime(z)  # (A1)", "(A1)"),
    ("network/activations", "z * relu_prime(z)  # (A1)", "relu_prime(z)  # (A1)", "(A1)"),
    ("network/activations", "(z.real > 0).astype(z.dtype)", "np.ones_like(z)", "(A1)"),
    ("network/activations", "(z.real > 0).astype(z.dtype)", "(z.real > -2).astype(z.dtype)",
     "(A1)"),
    ("network/smooth", "(positive + exp * ~positive) / (1 + exp)", "positive / (1 + exp)",
     "(A2)"),
    ("network/smooth", "return sigmoid(z) * sigmoid(-z)", "return sigmoid(z)", "(A2)"),
    ("network/smooth", "up * down * (down - up)", "up * down * down", "(A2)"),
    ("network/smooth", "up * down * (down - up)", "up * down * (up - down)", "(A2)"),
    ("network/smooth", "z * positive + np.log1p", "np.log1p", "(A3)"),
    ("network/smooth", "z * positive + np.log1p(exp)", "z * positive", "(A3)"),
    ("network/smooth", "4 * exp / (1 + exp) ** 2", "4 * exp / (1 + exp)", "(A4)"),
    ("network/smooth", "4 * exp / (1 + exp) ** 2", "1 - np.tanh(z) ** 2", "(A4)"),
    ("network/smooth", "-2 * np.tanh(z) * tanh_prime(z)", "-2 * np.tanh(z)", "(A4)"),
    ("network/smooth", "-2 * np.tanh(z) * tanh_prime(z)", "2 * np.tanh(z) * tanh_prime(z)",
     "(A4)"),
    ("network/activations", "lambda z: 2 * z", "lambda z: z", "(A5)"),
    ("network/activations", "np.full_like(z, 2)", "np.full_like(z, 1)", "(A5)"),
    ("network/losses", "count = residual.shape[-2] * residual.shape[-1]",
     "count = residual.shape[-2]", "(L1)"),
    ("network/losses", "value, 2 * residual / count,", "value, residual / count,", "(L1)"),
    ("network/losses", "lambda u_dot: 2 * u_dot / count", "lambda u_dot: 0 * u_dot", "(L1)"),
    ("network/losses", "np.log1p(rest) - shifted * one_hot @ ones", "np.log1p(rest)", "(L2)"),
    ("network/losses", "np.log1p(rest) - shifted", "0 * rest - shifted", "(L2)"),
    ("network/losses", "(others - one_hot * (others @ ones)) / n", "others / n", "(L2)"),
    ("network/losses", "(others - one_hot * (others @ ones)) / n",
     "others - one_hot * (others @ ones)", "(L2)"),
    ("network/losses", "p * (centred - p * centred @ ones) / n", "p * centred / n", "(L2)"),
    ("network/losses", "p * (centred - p * centred @ ones) / n",
     "(centred - p * centred @ ones) / n", "(L2)"),
    ("network/losses", "p = exp / (1 + rest)", "p = exp / (2 + rest)", "(L2)"),
    ("network/losses", ".sum((-2, -1)) / n  # (L2)", ".sum((-2, -1))", "(L2)"),
    ("network/losses", "rest = (exp - top) @ ones", "rest = exp @ ones", "(L2)"),
    ("network/normalisation", "Normalised(r * centred, r, sums", "Normalised(centred, r, sums",
     "(N1)"),
    ("network/normalisation", "centred = a - sums(a) / count", "centred = a", "(N1)"),
    ("network/normalisation", "/ count + EPSILON", "/ count + 0", "(N1)"),
    ("network/normalisation", "sums(centred * centred) / count", "sums(centred * centred)",
     "(N1)"),
    ("network/normalisation", "row_sum, a.shape[-2]", "column_sum, a.shape[-1]", "(N1)"),
    ("network/normalisation", "column_sum, a.shape[-1]", "column_sum, a.shape[-2]", "(N1)"),
    ("network/normalisation", "w - self.mean(w) - self.q", "w - self.q", "(N2)"),
    ("network/normalisation", " - self.q * self.mean(self.q * w))  # (N2)", ")", "(N2)"),
    ("network/normalisation", "self.r * (w - self.mean(w)", "(w - self.mean(w)", "(N2)"),
    ("network/normalisation", "self.mean(self.q * w)", "self.mean(w)", "(N2)"),
    ("network/normalisation", "self.sums(w) / self.count", "self.sums(w)", "(N2)"),
    ("network/normalisation", "bend = mean(q * a_dot) * Jw + ", "bend = ", "(N3)"),
    ("network/normalisation", " + mean(q * w) * q_dot + q * mean(q_dot * w)\n",
     " + q * mean(q_dot * w)\n", "(N3)"),
    ("network/normalisation", " + q * mean(q_dot * w)\n", "\n", "(N3)"),
    ("network/normalisation", "self.J(w_dot) - self.r * bend  # (N3)",
     "self.J(w_dot) + self.r * bend", "(N3)"),
    ("network/normalisation", "self.J(w_dot) - self.r * bend  # (N3)", "self.J(w_dot) - bend",
     "(N3)"),
    ("network/normalisation", "self.J(w_dot) - self.r * bend  # (N3)", "-self.r * bend", "(N3)"),
    ("network/passes", "z[l] = N[l].q + b[l]  # (F1)", "z[l] = N[l].q", "(F1)"),
    ("network/passes", "z[l] = N[l].q + b[l]  # (F1)", "z[l] = N[l].q - b[l]", "(F1)"),
    ("network/passes", "z[l] = N[l].q + b[l]  # (F1)", "z[l] = a + b[l]", "(F1)"),
    ("network/passes", "norm(a) if l < L else Plain(a)", "norm(a)", "(F1)"),
    ("network/passes", "norm(a) if l < L else Plain(a)", "norm(a) if l < L - 1 else Plain(a)",
     "(F1)"),
    ("network/passes", "h.append(s(z[l]))  # (F2)", "h.append(z[l])", "(F2)"),
    ("network/passes", "h.append(s(z[l]))  # (F2)", "h.append(s(s(z[l])))", "(F2)"),
    ("network/passes", "s1[l - 1] * e[l - 1]  # (B1)", "e[l - 1]", "(B1)"),
    ("network/passes", "e[l - 1] = c[l] @ W[l].mT", "e[l - 1] = 2 * c[l] @ W[l].mT", "(B1)"),
    ("network/passes", "e[l - 1] = c[l] @ W[l].mT", "e[l - 1] = delta[l] @ W[l].mT", "(B1)"),
    ("network/passes", "[(h[l - 1], c[l])], delta[l]  # (B2)",
     "[(h[l - 1], c[l])], 0 * delta[l]", "(B2)"),
    ("network/passes", "[(h[l - 1], c[l])], delta[l]  # (B2)", "[(h[l - 1], c[l])], c[l]", "(B2)"),
    ("network/passes", "[(h[l - 1], c[l])], delta[l]  # (B2)",
     "[(h[l - 1], delta[l])], delta[l]", "(B2)"),
    ("network/passes", "[(h[l - 1], c[l])], delta[l]  # (B2)",
     "[(0 * h[l - 1], c[l])], delta[l]", "(B2)"),
    ("weights/products", "return ones(1, a.shape[-2], a.dtype) @ a", "return a[..., :1, :]",
     "(B2)"),
    ("weights/factored", "there), row_sum(delta))", "there), 0 * row_sum(delta))", "(B2)"),
    ("network/passes", "z_dot[l] = q_dot[l] + b_dot[l]  # (R1)", "z_dot[l] = q_dot[l]  # (R1)",
     "(R1)"),
    ("network/passes", "z_dot[l] = q_dot[l] + b_dot[l]  # (R1)",
     "z_dot[l] = a_dot[l] + b_dot[l]  # (R1)", "(R1)"),
    ("network/passes", "a_dot[l] = h[l - 1] @ W_dot[l]", "a_dot[l] = 0 * h[l - 1] @ W_dot[l]",
     "(R1)"),
    ("network/passes", "a_dot[l] = a_dot[l] + h_dot[l - 1] @ W[l]", "pass", "(R1)"),
    ("network/passes", "s1[l] * z_dot[l]  # (R2)", "z_dot[l]  # (R2)", "(R2)"),
    ("network/passes", "c_dot[l] @ W[l].mT + c[l] @ W_dot[l].mT", "c_dot[l] @ W[l].mT", "(R3)"),
    ("network/passes", "c_dot[l] @ W[l].mT + c[l] @ W_dot[l].mT", "c[l] @ W_dot[l].mT", "(R3)"),
    ("network/passes", "c_dot[l] @ W[l].mT + c[l] @ W_dot[l].mT",
     "c_dot[l] @ W[l].mT + delta[l] @ W_dot[l].mT", "(R3)"),
    ("network/passes", "N[l].R_J(delta[l], c[l], delta_dot[l], a_dot[l], q_dot[l])",
     "N[l].J(delta_dot[l])", "(R3)"),
    ("network/passes", "N[l].R_J(delta[l], c[l], delta_dot[l], a_dot[l], q_dot[l])",
     "delta_dot[l]", "(R3)"),
    ("network/passes", "s1[l - 1] * e_dot[l - 1]  # (R3)", "e_dot[l - 1]  # (R3)", "(R3)"),
    ("network/passes", "delta_dot[l - 1] + bend  # (R3)", "delta_dot[l - 1]  # (R3)", "(R3)"),
    ("network/passes", "s_second(z[l - 1]) * z_dot[l - 1] * e[l - 1]",
     "s_second(z[l - 1]) * e[l - 1]",
     "(R3)"),
    ("network/passes", "s_second(z[l - 1]) * z_dot[l - 1] * e[l - 1]",
     "s_second(z[l - 1]) * z_dot[l - 1]",
     "(R3)"),
    ("network/passes", "s_second(z[l - 1]) * z_dot[l - 1] * e[l - 1]", "z_dot[l - 1] * e[l - 1]",
     "(R3)"),
    ("network/passes", "outers[l][0].append((h_dot[l - 1], c[l]))", "pass", "(R4)"),
    ("network/passes", "outers[l][0].append((h_dot[l - 1], c[l]))",
     "outers[l][0].append((h_dot[l - 1], delta[l]))", "(R4)"),
    ("network/passes", "[(h[l - 1], c_dot[l])], delta_dot[l]",
     "[(0 * h[l - 1], c_dot[l])], delta_dot[l]", "(R4)"),
    ("network/passes", "[(h[l - 1], c_dot[l])], delta_dot[l]",
     "[(h[l - 1], c_dot[l])], delta[l]", "(R4)"),
    ("network/passes", "[(h[l - 1], c_dot[l])], delta_dot[l]",
     "[(h[l - 1], c_dot[l])], c_dot[l]", "(R4)"),
    ("network/network", "delta_dot_L = hessian(tangents.z_dot[-1])",
     "delta_dot_L = tangents.z_dot[-1]", "(R4)"),
    ("network/network", "if s_second is None:", "if True:", "(R4)"),
    ("network/convolution", "self.G.gathered(h) @ self.W  # (C1)", "0 * h @ self.W", "(C1)"),
    ("network/convolution", "self.G.scattered(c, self.W)  # (C1)",
     "self.G.scattered(2 * c, self.W)", "(C1)"),
    ("network/convolution", "- beyond // 2", "- (beyond + 1) // 2", "(C1)"),
    ("network/convolution", "- beyond // 2", "", "(C1)"),
    ("network/convolution", "down * G.width + right,", "right * G.height + down,", "(C1)"),
    ("network/convolution", "& (right < G.width)", "", "(C1)"),
    ("network/convolution", "total = total + spots.take(places, -2)", "pass", "(C1)"),
    ("network/convolution", "np.full((counts.max(), pixels), len(pixel))",
     "np.zeros((counts.max(), pixels), int)", "(C1)"),
    ("network/convolution", "_summed(h, self.positions) / self.positions",
     "_summed(h, self.positions)", "(C1)"),
    ("network/convolution", "_spread((c @ WT) / self.positions", "_spread(c @ WT", "(C1)"),
    ("network/convolution", "zeros = np.zeros((*rows.shape", "zeros = np.ones((*rows.shape",
     "(C1)"),
    ("network/convolution", ".swapaxes(1, 2)", "", "(C2)"),
    ("network/convolution", "windows == np.maximum", "windows >= 0 * np.maximum", "(C2)"),
    ("network/convolution", "h.real.reshape(*h.shape[:-2], -1, each, h.shape[-1])",
     "h.real.reshape(*h.shape[:-2], each, -1, h.shape[-1]).swapaxes(-2, -3)", "(C2)"),
    ("network/convolution", "largest & (before @ largest == 0)", "largest", "(C2)"),
    ("network/convolution", "among(s_prime, s, each)", "s_prime", "(C2)"),
    ("network/convolution", "among(s_second, s, each)", "s_second", "(C2)"),
    ("network/convolution", "among(s_second, s, each)", "None", "(C2)"),
    ("network/convolution", "_spread(self.then.scattered(c, WT), self.each)",
     "_spread(self.then.scattered(c, WT) / self.each, self.each)", "(C2)"),
    ("network/convolution", "self.then.gathered(_summed(h, self.each))",
     "self.then.gathered(_summed(h, self.each) / self.each)", "(C2)"),
    ("network/convolution", "return super()._gradient([outers[0], *seen], theta)  # (C1)",
     "return super()._gradient([outers[0], *seen[:-1], ([], seen[-1][1])], theta)", "(C1)"),
    ("network/convolution", "[([(G.gathered(h), c) for", "[([(0 * G.gathered(h), c) for", "(C1)"),
    ("weights/factored", "total = None if base is None else product(h, base)", "total = None",
     "(W1)"),
    ("weights/factored", "total = term if total is None else total + term", "pass", "(W1)"),
    ("weights/factored", "total = term if total is None else total + term", "total = term", "(W1)"),
    ("weights/factored", "turned(base)", "base", "(W1)"),
    ("weights/products", "return W.mT.copy() if", "return W.copy() if", "(W1)"),
    ("weights/factored", "[(V, U) for U, V in pairs]", "pairs", "(W1)"),
    ("weights/factored", "[_stacked(self.pairs, -2)]", "self.pairs[:1]", "(W1)"),
    ("weights/factored", "return self.multiplied_out(), ()", "return self.base, ()",
     "(W1)"),
    ("weights/factored", 'self.__dict__.get("settled", (self.base, self.pairs))', "self.base, ()",
     "(W1)"),
    ("weights/factored", "total = _plus(total, U.mT @ V)", "total = U.mT @ V", "(W1)"),
    ("weights/factored", "pairs[i] = U, V_ - V", "pairs[i] = U, V_ + V", "(W1)"),
    ("weights/factored", "pairs[i] = U, V_ - V", "pairs[i] = U, -V", "(W1)"),
    ("weights/factored", "pairs[i] = U, V_ - V\n                    break",
     "pairs[i] = U, V_ - V", "(W1)"),
    ("weights/factored", "if U_ is U:", "if True:", "(W1)"),
    ("weights/factored", "pairs.append((U, -V))", "pairs.append((U, V))", "(W1)"),
    ("weights/factored", "pairs.append((U, -V))", "pass", "(W1)"),
    ("weights/factored", "_plus(base, -other.base)", "_plus(base, other.base)", "(W1)"),
    ("weights/factored", "_plus(base, -other.base)", "base", "(W1)"),
    ("weights/factored", "[(U, number * V) for U, V in self.pairs]", "self.pairs", "(W1)"),
    ("weights/factored", "else number * self.base", "else self.base", "(W1)"),
    ("weights/factored", "return term if total is None", "return total if total is None", "(W1)"),
    ("weights/choice", "rank * (n_in + n_out) < n_in", "rank * (n_in + n_out) <= n_in", "(W2)"),
    ("weights/choice", "rank * (n_in + n_out) < n_in", "rank * n_in < n_in", "(W2)"),
    ("weights/factored", "U.T @ (V / len(self", "U.T @ (0 * V / len(self", "(W3)"),
    ("weights/factored", "_plus(total, U.T", "_plus(None, U.T", "(W3)"),
    ("weights/factored", "(V / len(self.pairs[0][1])))  # (W3)", "V)", "(W3)"),
    ("weights/factored", "_stacked(pairs[i : i + few], 0) if few > 1 else pairs[i]", "pairs[i]",
     "(W3)"),
    ("weights/factored", "np.add.reduce(self.base, axis) / len(self.base)",
     "self.base[0]", "(W3)"),
    ("weights/factored", "np.add.reduce(b, axis)[0]", "0 * np.add.reduce(b, axis)[0]", "(W3)"),
    ("weights/factored", "(W - W_, b - b_)", "(W - W_, b + b_)", "(W3)"),
    ("weights/factored", "(number * W, number * b)", "(number * W, b)", "(W3)"),
    ("maml", "phi = phi - alpha * g  # (M1)", "phi = phi - -alpha * g", "(M1)"),
    ("maml", "phi = phi - alpha * g  # (M1)", "phi = theta - alpha * g", "(M1)"),
    ("maml", "phi = phi - alpha * g  # (M1)", "phi = phi - 1 * g", "(M1)"),
    ("maml", "model.linearize(phi, support)", "model.linearize(theta, support)", "(M1)"),
    ("maml", "/ len(value), lam.mean(0)", "/ len(value), len(value) * lam.mean(0)", "(M2)"),
    ("maml", "np.add.reduce(value) / len(value)", "np.add.reduce(value)", "(M2)"),
    ("maml", "hvps), Q)[:2]  # (M2)", "hvps), S)[:2]", "(M2)"),
    ("maml", "(inner_loop(model, theta, S, alpha, steps, hvps), Q)[:2]  # (M2)",
     "([inner_loop(model, theta, S, alpha, steps, hvps), theta][1], Q)[:2]", "(M3)"),
    ("maml", "w = w - alpha * hvp(w)  # (M3)", "pass", "(M3)"),
    ("maml", "w = w - alpha * hvp(w)  # (M3)", "w = w - -alpha * hvp(w)", "(M3)"),
    ("maml", "w = w - alpha * hvp(w)  # (M3)", "w = w - 1 * hvp(w)", "(M3)"),
    ("maml", "w = w - alpha * hvp(w)  # (M3)", "w = w - 1 * w - alpha * hvp(w)", "(M3)"),
    ("maml", "yield hvps.pop()", "yield hvps.pop(0)", "(M3)"),
    ("maml", "while hvps:", "for _ in hvps[-1:]:", "(M3)"),
    ("maml", "Q)[:2]  # (M4)\n    return task_means(value, lam)",
     "Q)[:2]\n    return task_means(value, 0 * lam)", "(M4)"),
    ("maml", "model.linearize(inner_loop(model, theta, S, alpha, steps), Q)[:2]  # (M4)",
     "model.linearize(theta, Q)[:2]", "(M4)"),
    ("maml", "Q)[:2]  # (M4)",
     "Q)[:2]\n    return exact(model, np.asarray(theta), S, Q, alpha, steps)", "(M4)"),
    ("engine/parts", "gradient + n * slope", "gradient + sum(sizes) / len(sizes) * slope", "(M5)"),
    ("engine/parts", "gradient / sum(sizes)  # (M5)", "gradient / len(sizes)", "(M5)"),
    ("engine/inner", "move = alpha * u  # (G1)", "move = alpha * g", "(G1)"),
    ("engine/inner", "u = self.p * before.of_d + u", "pass", "(G1)"),
    ("engine/inner", "u = self.m * before.of_u + u", "u = before.of_u + u", "(G1)"),
    ("engine/inner", "self.rule.step(self.k, self.u, g)", "self.rule.step(0, self.u, g)", "(G1)"),
    ("weights/rates", "0 * one if place is None", "one if place is None", "(G1)"),
    ("weights/rates", "NOTHING if place is None", "values[0, ...] if place is None", "(G1)"),
    ("engine/inner", "alpha * lam + after.of_u  # (G2)", "alpha * lam", "(G2)"),
    ("engine/inner", "of_u = NOTHING if self.m is None else self.m * w", "of_u = w", "(G2)"),
    ("engine/inner", "lam = lam + after.of_d if self.p is not None else lam", "pass", "(G2)"),
    ("engine/inner", "after.of_d - self.p * w", "after.of_d + self.p * w", "(G2)"),
    ("engine/inner", "return hvp(w) if self.curved else NOTHING  # (G3)",
     "return factor(self.rule.form.steps[self.k - 1], self.rule.values, self.rule.form.blocks,"
     " self.rule.layered) * hvp(lam)", "(G3)"),
    ("engine/inner", "w = alpha * lam if",
     "alpha = factor(self.form.steps[0], self.values, self.form.blocks, self.layered)\n"
     "            w = alpha * lam if", "(G3)"),
    ("engine/inner", "return hvp(w) if self.curved else NOTHING  # (G3)", "return NOTHING", "(G3)"),
    ("weights/factored", "pairs[:-1] if pairs[-1][0] is NOTHING else pairs", "pairs[:1]", "(G3)"),
    ("engine/inner", "-1 * _task_mean(", "0 * _task_mean(", "(G4)"),
    ("engine/inner", "by_rates(form.steps[k], u, lam, blocks)",
     "by_rates(form.steps[k], u, w, blocks)", "(G4)"),
    ("engine/inner", "by_rates(place, carried, w, blocks)", "by_rates(place, carried, lam, blocks)",
     "(G4)"),
    ("weights/rates", "total + np.add.reduce(c * (h @ b), axes)",
     "np.add.reduce(c * (h @ b), axes)", "(G4)"),
    ("family/gradients", "first * slopes(inner.rule", "slopes(inner.rule", "(G4)"),
    ("family/gradients", "first * slopes(noting", "slopes(noting", "(G4)"),
    ("family/gradients", "by_rates(0, g, lam, ())", "by_rates(0, lam, lam, ())", "(G4)"),
    ("family/gradients", "back(lam) - (v * q if v is not None else q)", "back(lam)", "(G5)"),
    ("family/gradients", "self.weights[batch.k - 1]", "self.weights[batch.k - 2]", "(G5)"),
    ("family/gradients", "v * value, v * vector, back", "v * value, vector, back", "(G5)"),
    ("family/gradients", "self.before = self.before + v * loss", "self.before = v * loss", "(G5)"),
    ("family/directions", "theta - phi.mean(0)", "phi.mean(0) - theta", "(G6)"),
    ("family/directions", "theta - phi.mean(0)", "theta - phi[0]", "(G6)"),
    ("engine/head", "self.of_support - e_dot", "self.of_support + e_dot", "(G7)"),
    ("engine/head", "self.of_support - e_dot", "-1 * e_dot", "(G7)"),
    ("engine/head", "self.of_query = e  # (G7)", "self.of_query = 0 * e  # (G7)", "(G7)"),
    ("engine/head", "[None, NOTHING, weight]", "[None, ONE, weight]", "(G7)"),
    ("engine/head", "[*W[:-1], ONE], [*b[:-1], NOTHING]", "[*W[:-1], ONE], b", "(G7)"),
    ("learning/outer", "0.9 * moments.first + 0.1 * gradient", "gradient", "(O1)"),
    ("learning/outer", "0.001 * (gradient * gradient)", "0.001 * gradient", "(O1)"),
    ("learning/outer", "beta * (1 - 0.999**t) ** 0.5 / (1 - 0.9**t)", "beta", "(O1)"),
    ("learning/outer", "(np.sqrt(second) + 1e-8)  # (O1)", "(second + 1e-8)", "(O1)"),
    ("network/gaussian", "z * z / 2 + log_sigma + math", "z * z / 2 - log_sigma + math", "(L3)"),
    ("network/gaussian", "(-2, -1)) / n  # (L3)", "(-2, -1))  # (L3)", "(L3)"),
    ("network/gaussian", "-2 * weight * z * z_dot]", "-weight * z * z_dot]", "(L3)"),
    ("network/gaussian", "* inverse - z * u_dot[..., d:]", "* inverse", "(L3)"),
    ("network/gaussian", "* inverse - z * u_dot[..., d:]", "* inverse", "(L4)"),
    ("network/gaussian", "(excess + z * z) / 2 + log_sigma - y", "excess / 2 + log_sigma - y",
     "(L4)"),
    ("network/gaussian", "(excess + 1) * log_sigma_dot - z * z_dot", "(excess + 1) * log_sigma_dot",
     "(L4)"),
    ("maml", "v = v - alpha * hvp(v)  # (J1)", "v = v + alpha * hvp(v)  # (J1)", "(J1)"),
    ("family/policies", "moved = push_forward(hvps, self.alpha, v)", "moved = v", "(J2)"),
    ("family/policies", "pull_back(reversed(hvps), self.alpha, fisher(moved))",
     "pull_back(hvps, self.alpha, fisher(moved))", "(J2)"),
    ("family/policies", "self.taken * (self.taken[0].size / taken)", "self.taken * 1.0", "(J2)"),
    ("family/trust_region", "x + length * p, residual - length * F_p", "x + p, residual - F_p",
     "(T1)"),
    ("family/trust_region", "p = residual + square / before * p", "p = residual", "(T1)"),
    ("family/trust_region", "math.sqrt(2 * limit / square)", "math.sqrt(limit / square)", "(T2)"),
    ("family/trust_region", "lower < value and divergence <= limit", "divergence <= limit", "(T2)"),
    ("family/policies", "rewards[..., t] + discount * total", "rewards[..., t] + total", "(P1)"),
    ("family/policies", "+ RIDGE * np.eye(features.shape[-1])", "+ 0", "(P2)"),
    ("family/policies", ".clip(-CLIPPED, CLIPPED)", "", "(P2)"),
    ("family/policies", "(wanted - baseline(paths, wanted)) * taken", "wanted * taken", "(P3)"),
    ("family/policies", "np.sqrt(variance) + LITTLE", "variance + LITTLE", "(P3)"),
    ("family/policies", "(z0 * z0 - z * z) / 2 + then - now", "(z0 * z0 - z * z) / 2", "(P4)"),
    ("family/policies", "-1) / u.shape[-2]  # (P4)", "-1)  # (P4)", "(P4)"),
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
        shutil.copytree(PACKAGE, tmp_path / name, ignore=LEFT_OUT)
        path = tmp_path / name / f"{file}.py"
        source = path.read_text()
        assert source.count(text) == 1, f"{text!r} stands {source.count(text)} times in {file}.py"
        path.write_text(source.replace(text, bug))
        importlib.invalidate_caches()
        return importlib.import_module(f"{name}.check.audit")

    yield copy_with
    for module in list(sys.modules):
        if module.split(".")[0] in names:
            del sys.modules[module]


def error_of(check):
    """The check's error; a bug that makes it crash is caught as well."""
    try:
        with np.errstate(all="ignore"):
            return check()
    except (ValueError, TypeError, IndexError, AttributeError, UnboundLocalError):
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
