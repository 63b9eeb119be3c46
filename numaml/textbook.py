"""Exact MAML on one page: one task, dense matrices, plain loops, every formula with its tag.

This is the specification: written to be read, copied and ported, not to be fast. A tag such as (R3)
names a formula that is derived in ``derivations/`` in these letters. Layers count from 1 to L: W[l]
(n_in, n_out), b[l] (n_out,), and for n examples h[l], z[l], delta[l], … (n, n_out), h[0] being the
input x. θ is one vector: W[1] row by row, b[1], W[2], … A task is (support, query), each a (x, y).
"""

from typing import NamedTuple

import numpy as np

# Activations (s, s′, s″): any other triple will do as well.
square = (lambda z: z * z, lambda z: 2 * z, lambda z: 2 + 0 * z)  # (A5)
relu = (lambda z: z * (z.real > 0), lambda z: 1 * (z.real > 0), lambda z: 0 * z)  # (A1)
sigma, sigma_prime = lambda z: 1 / (1 + np.exp(-z)), lambda z: sigma(z) * sigma(-z)
sigmoid = (sigma, sigma_prime, lambda z: sigma_prime(z) * (sigma(-z) - sigma(z)))  # (A2)
softplus = (lambda z: np.log(1 + np.exp(z)), sigma, sigma_prime)  # (A3)
tanh = (np.tanh, lambda z: 1 - np.tanh(z) ** 2, lambda z: -2 * np.tanh(z) * tanh[1](z))  # (A4)


def squared_error(u, y):
    """Mean of (u − y)² over examples and outputs: the value, δ_L = ∂loss/∂u, u_dot ↦ δ_dot_L."""
    count, value = u.size, ((u - y) * (u - y)).sum() / u.size  # (L1)
    return value, 2 * (u - y) / count, lambda u_dot: 2 * u_dot / count


def cross_entropy(u, y):
    """Mean over examples of −ln softmax(u)[y], y being classes 0, 1, …"""
    n, is_y = len(u), y[:, None] == np.arange(u.shape[1])
    exp = np.exp(u - u.real.max(1, keepdims=True))
    p = exp / exp.sum(1, keepdims=True)
    value = -(np.log(p) * is_y).sum() / n  # (L2)
    return value, (p - is_y) / n, lambda u_dot: p * (u_dot - (p * u_dot).sum(1, keepdims=True)) / n


def mean(a, axis):
    """Mean along the axis of a normalisation, which stays: 0 over examples, 1 over features."""
    return a.sum(axis, keepdims=True) / a.shape[axis]


def normalise(a, axis):
    """(q, r, axis) with q = N(a); without a normalisation, axis None, q is a."""
    if axis is None:
        return a, None, None
    centred = a - mean(a, axis)
    r = (mean(centred * centred, axis) + 1e-5) ** -0.5
    return r * centred, r, axis  # (N1)


def J(w, q, r, axis):
    """The Jacobian of N, where q = N(a), times w; it is its own transpose."""
    return w if axis is None else r * (w - mean(w, axis) - q * mean(q * w, axis))  # (N2)


def R_J(w, w_dot, a_dot, q, r, axis):
    """R{J w}: how J w moves when w moves with w_dot and a with a_dot."""
    if axis is None:
        return w_dot
    q_dot, Jw = J(a_dot, q, r, axis), J(w, q, r, axis)
    bend = mean(q * a_dot, axis) * Jw + mean(q * w, axis) * q_dot + q * mean(q_dot * w, axis)
    return J(w_dot, q, r, axis) - r * bend  # (N3)


class Net(NamedTuple):
    """A network: widths (n_in, …, n_out), (s, s′, s″), a loss, and the axis of its N, if any."""

    sizes: tuple
    activation: tuple = tanh
    loss: object = squared_error
    axis: int | None = None


def unpack(net, theta):
    """L, and W[l] and b[l] for l = 1, …, L."""
    W, b, rest = {}, {}, theta
    for l, (n_in, n_out) in enumerate(zip(net.sizes, net.sizes[1:], strict=False), 1):
        W[l], b[l], rest = np.split(rest, [n_in * n_out, (n_in + 1) * n_out])
        W[l] = W[l].reshape(n_in, n_out)
    return len(W), W, b


def pack(W, b):
    """The flat vector again."""
    return np.concatenate([block.ravel() for l in sorted(W) for block in (W[l], b[l])])


def forward(net, theta, x):
    """Of every layer h, N = (q, r, its axis) with q = N(a), and z; the last z is u."""
    L, W, b = unpack(net, theta)
    h, N, z = {0: x}, {}, {}
    for l in range(1, L + 1):
        N[l] = normalise(h[l - 1] @ W[l], net.axis if l < L else None)
        z[l] = N[l][0] + b[l]  # (F1)
        h[l] = net.activation[0](z[l]) if l < L else z[l]  # (F2)
    return h, N, z


def r_forward(net, theta, v, h, N, z):
    """R{forward}: the tangents of h, a and z when θ moves with v."""
    (L, W, _), (_, W_dot, b_dot) = unpack(net, theta), unpack(net, v)
    h_dot, a_dot, z_dot = {0: 0 * h[0]}, {}, {}
    for l in range(1, L + 1):
        a_dot[l] = h_dot[l - 1] @ W[l] + h[l - 1] @ W_dot[l]
        z_dot[l] = J(a_dot[l], *N[l]) + b_dot[l]  # (R1)
        h_dot[l] = net.activation[1](z[l]) * z_dot[l] if l < L else z_dot[l]  # (R2)
    return h_dot, a_dot, z_dot


def backward(net, theta, h, N, z, delta_L):
    """The cotangents δ of z, c of a and e of h, and the gradient of W and b."""
    L, W, _ = unpack(net, theta)
    delta, c, e, grad_W, grad_b = {L: delta_L}, {}, {}, {}, {}
    for l in range(L, 0, -1):
        c[l] = J(delta[l], *N[l])
        grad_W[l], grad_b[l] = h[l - 1].T @ c[l], delta[l].sum(0)  # (B2)
        if l > 1:
            e[l - 1] = c[l] @ W[l].T
            delta[l - 1] = net.activation[1](z[l - 1]) * e[l - 1]  # (B1)
    return delta, c, e, grad_W, grad_b


def r_backward(net, theta, v, h, N, z, delta, c, e, h_dot, a_dot, z_dot, delta_dot_L):
    """R{backward}: the tangents of all these."""
    (L, W, _), (_, W_dot, _) = unpack(net, theta), unpack(net, v)
    (_, s_prime, s_second), delta_dot, c_dot, e_dot = net.activation, {L: delta_dot_L}, {}, {}
    grad_W_dot, grad_b_dot = {}, {}
    for l in range(L, 0, -1):
        c_dot[l] = R_J(delta[l], delta_dot[l], a_dot[l], *N[l])
        grad_W_dot[l] = h_dot[l - 1].T @ c[l] + h[l - 1].T @ c_dot[l]  # (R4)
        grad_b_dot[l] = delta_dot[l].sum(0)
        if l > 1:
            e_dot[l - 1] = c_dot[l] @ W[l].T + c[l] @ W_dot[l].T
            bend = s_second(z[l - 1]) * z_dot[l - 1] * e[l - 1]
            delta_dot[l - 1] = bend + s_prime(z[l - 1]) * e_dot[l - 1]  # (R3)
    return delta_dot, c_dot, e_dot, grad_W_dot, grad_b_dot


def linearize(net, theta, batch):
    """The loss, its gradient, and its Hessian as the product v ↦ H v."""
    h, N, z = forward(net, theta, batch[0])
    value, delta_L, hessian = net.loss(z[len(z)], batch[1])
    delta, c, e, grad_W, grad_b = backward(net, theta, h, N, z, delta_L)

    def hvp(v):
        h_dot, a_dot, z_dot = r_forward(net, theta, v, h, N, z)
        trace = h, N, z, delta, c, e, h_dot, a_dot, z_dot
        return pack(*r_backward(net, theta, v, *trace, hessian(z_dot[len(z)]))[-2:])

    return value, pack(grad_W, grad_b), hvp


def inner_loop(net, theta, support, alpha, steps):
    """φ_0 = θ, …, φ_K, and the products with the Hessians H_0, …, H_{K-1}."""
    phis, hvps = [theta], []
    for _ in range(steps):
        _, g, hvp = linearize(net, phis[-1], support)
        phis.append(phis[-1] - alpha * g)  # (M1)
        hvps.append(hvp)
    return phis, hvps


def adjoints(net, theta, support, query, alpha, steps):
    """The query loss after adaptation, and λ_K, …, λ_0: its gradients by φ_K, …, φ_0 = θ."""
    phis, hvps = inner_loop(net, theta, support, alpha, steps)
    value, gradient, _ = linearize(net, phis[-1], query)
    lams = [gradient]  # (M2)
    for hvp in reversed(hvps):
        lams.append(lams[-1] - alpha * hvp(lams[-1]))  # (M3)
    return value, lams


def meta_gradient(net, theta, tasks, alpha, steps):
    """The meta-value and its exact gradient, means over the tasks."""
    value, gradient = 0, 0
    for support, query in tasks:
        loss, lams = adjoints(net, theta, support, query, alpha, steps)
        value, gradient = value + loss, gradient + lams[-1]
    return value / len(tasks), gradient / len(tasks)  # (M5)


def first_order_meta_gradient(net, theta, tasks, alpha, steps):
    """The meta-value, and in place of its gradient the mean of λ_K: FOMAML."""
    value, gradient = 0, 0
    for support, query in tasks:
        phi_K = inner_loop(net, theta, support, alpha, steps)[0][-1]
        loss, lam_K, _ = linearize(net, phi_K, query)
        value, gradient = value + loss, gradient + lam_K
    return value / len(tasks), gradient / len(tasks)  # (M4)


def train(net, theta, draw_tasks, alpha, steps, iterations, beta):
    """The outer loop: Adam on the exact meta-gradient of fresh tasks."""
    first, second = 0 * theta, 0 * theta
    for t in range(1, iterations + 1):
        _, gradient = meta_gradient(net, theta, draw_tasks(), alpha, steps)
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        rate = beta * (1 - 0.999**t) ** 0.5 / (1 - 0.9**t)
        theta = theta - rate * first / (np.sqrt(second) + 1e-8)  # (O1)
    return theta
