"""The mistakes that members of the family invite, each as an algorithm with one thing changed."""

from fractions import Fraction

import mpmath
from family import Bent, answers, chained, freeze, hessian, lowest, shifted, solved
from scalars import value
from solve import loss_gradient, plus

SENTENCES = {
    "first_order": "first order: the inner gradients are detached, no Hessian is there",
    "detached_after_first": "detached after the first step: only its Hessian is there",
    "truncated": "truncation: only the last inner step is differentiated",
    "stale_hessians": "every Hessian taken at theta: step k needs H at phi_k",
    "next_hessians": "the adjoint of the wrong step: H at phi_{k+1} where step k needs H at phi_k",
    "rates_outside": "alpha times (H lam), the rates outside: it is H (alpha times lam)",
    "rates_reversed": "the adjoint with the rates of the wrong step: they run backwards there too",
    "head_only": "curvature of the last layer only: the other layers' steps are detached",
    "curvature_sign": "lam + alpha H lam: the curvature's sign is flipped",
    "rates_of_theta": "the rates moved by theta's gradient: they have one of their own",
    "alpha_off": "alpha 10 % off: every rate is 1.1 times what it should be",
    "no_adaptation": "nothing adapted: the query loss at theta, as with K = 0",
    "one_step_less": "one inner step too few",
    "tasks_summed": "summed over tasks, not averaged",
    "tasks_chained": "each task goes on from where the last one ended: the module is not reset",
    "first_task_only": "the first task alone: the others' gradients go to copies",
    "last_task_only": "the last task alone: gradients are zeroed between tasks",
    "examples_summed": "losses summed over their examples: alpha acts n times as strongly",
    "support_summed": "the support loss summed over its examples, the query loss averaged",
    "outputs_summed": "squared errors summed over outputs, averaged over examples",
    "divided_by_shots": "losses summed over examples and divided by shots: ways times the mean",
    "last_weight_missing": "the query loss after the last step is missing from the multi-step loss",
    "last_weight_only": "only the query loss after the last step: the other weights are missing",
    "momentum_detached": "momentum's adjoint dropped: the buffer is detached between steps",
    "no_momentum": "no momentum: plain gradient steps",
    "dampened": "dampened momentum: new gradients enter the buffer times (1 - momentum)",
    "decay_detached": "weight decay in the gradient only: its own derivative is missing",
    "no_decay": "no weight decay",
    "decay_other": "the other weight decay: in the gradient (L2) for beside it, or reversed",
    "pull_detached": "the proximal term not differentiated",
    "anchor_detached": "theta detached in the proximal term: half of its derivative is missing",
    "no_pull": "the proximal term is missing",
    "epsilon_other": "Adam's epsilon on the other side of the root",
    "epsilon_hat": "Adam's epsilon before the bias correction: divide it by sqrt(1 - b2^k)",
    "uncorrected": "Adam without bias correction",
    "root_detached": "Adam's second moment detached: only the first is differentiated",
    "moments_detached": "Adam's moments detached between steps",
    "zero_slope": "Adam's step at a zero gradient taken for flat: its slope there is 1/epsilon",
    "unscaled": "(I + H) in place of (I + H/p): the proximal term's weight is missing",
    "damped": "(I + H/p) damped by another I",
    "pull_missing": "the proximal term missing in the solve: H in place of H + p I",
    "solve_sign": "(I - H/p) in place of (I + H/p)",
    "one_step_solve": "one step in place of the solve, as in DARTS: p times the query gradient",
    "neumann_stopped": "a Neumann series of two terms: it needs as many as make it converge",
    "cg_stopped": "conjugate gradients stopped after one step: solve to the end",
    "cg_old_residual": "conjugate gradients along the residual of the step before, twenty steps",
}  # fmt: skip


# Jacobians that mistakes put in the place of a step's I − α H, with J[i][j] = ∂φ_{k+1,i}/∂φ_{k,j}.


def rates_at(m, k):
    return [m.case.net.number(m.rates[j]) for j in m.which[k]]


def jacobian(rates, H, sign=-1):
    return [[(i == j) + sign * rates[i] * h for j, h in enumerate(row)] for i, row in enumerate(H)]


def with_hessian_at(where, sign=-1):
    def of(m, path, k, support):
        return jacobian(rates_at(m, k), hessian(m.case.net, path[where(k)], support), sign)

    return of


def rates_outside(m, path, k, support):
    J = jacobian(rates_at(m, k), hessian(m.case.net, path[k], support))
    return [list(column) for column in zip(*J, strict=True)]


def rates_reversed(m, path, k, support):
    return jacobian(rates_at(m, m.case.steps - 1 - k), hessian(m.case.net, path[k], support))


def head_only(m, path, k, support):
    net, H = m.case.net, hessian(m.case.net, path[k], support)
    body = net.length - (net.sizes[-2] + 1) * net.sizes[-1]
    H = [[h * (i >= body <= j) for j, h in enumerate(row)] for i, row in enumerate(H)]
    return jacobian(rates_at(m, k), H)


JACOBIANS = {
    "stale_hessians": with_hessian_at(lambda _: 0),
    "next_hessians": with_hessian_at(lambda k: k + 1),
    "rates_outside": rates_outside,
    "rates_reversed": rates_reversed,
    "head_only": head_only,
    "curvature_sign": with_hessian_at(lambda k: k, sign=1),
}


# Solves that mistakes put in the place of p (H + p I)⁻¹.


def solving(matrix):
    """∂φ/∂θ as the inverse of a matrix made of H and p."""

    def of(m, H, p):
        A, n = matrix(H, p), len(H)
        return [solved(A, [p / p * (i == j) for i in range(n)]) for j in range(n)]

    return of


def times(H, factor):
    return [[h * factor for h in row] for row in H]


SOLVES = {
    "unscaled": solving(lambda H, p: shifted(H, p / p)),
    "damped": solving(lambda H, p: shifted(times(H, 1 / p), 2 * p / p)),
    "pull_missing": solving(lambda H, p: times(H, 1 / p)),
    "solve_sign": solving(lambda H, p: shifted(times(H, -1 / p), p / p)),
}


# What stands in the place of (H + p I)⁻¹ q where that is not solved to the end, with A = H + p I.


def neumann(A, q, terms):
    """The first terms of q + (I − A) q + (I − A)² q + …"""
    total = term = q
    for _ in range(terms - 1):
        term = plus(term, -1, product(A, term))
        total = plus(total, 1, term)
    return total


def conjugate_gradients(A, q, steps, old):
    """From 0; where ``old``, the next direction is made of the residual of the step before."""
    x, r, d = [0] * len(q), q, q
    for _ in range(steps):
        moved = product(A, d)
        step = product([r], r)[0] / product([d], moved)[0]
        x, after = plus(x, step, d), plus(r, -step, moved)
        more = product([after], after)[0] / product([r], r)[0]
        d, r = plus(r if old else after, more, d), after
    return x


def product(A, v):
    return [sum(a * b for a, b in zip(row, v, strict=True)) for row in A]


STOPPED = {
    "one_step_solve": lambda A, q: neumann(A, q, 1),
    "neumann_stopped": lambda A, q: neumann(A, q, 2),
    "cg_stopped": lambda A, q: conjugate_gradients(A, q, 1, old=False),
    "cg_old_residual": lambda A, q: conjugate_gradients(A, q, 20, old=True),
}


def not_solved(m, solve):
    """The meta-gradient by such a solve, in decimals: its fractions would fill pages."""
    net, rows = m.case.net, []
    for task in m.case.tasks:
        phi, p = lowest(m, task[:2]), net.number(m.pull)
        A = shifted(hessian(net, phi, task[:2]), p)
        A, q = [decimals(row) for row in A], decimals(loss_gradient(net, phi, *task[2:]))
        rows.append([decimals([p])[0] * one for one in solve(A, q)])
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def decimals(numbers):
    """Of fractions, or of what is one."""
    return [
        mpmath.mpf(one.numerator) / one.denominator if isinstance(one, Fraction) else one
        for one in numbers
    ]


def bent_steps(m):
    """Steps with something detached or replaced, by the name of the mistake."""
    found = {
        "first_order": Bent(gradient=freeze),
        "detached_after_first": Bent(gradient=lambda g, k, K: freeze(g) if k else g),
        "truncated": Bent(gradient=lambda g, k, K: freeze(g) if k < K - 1 else g),
    }
    plain = not (m.momentum or m.decay or m.pull or m.adam)
    if plain:
        found |= {name: Bent(jacobian=J) for name, J in JACOBIANS.items()}
    if len(m.case.net.sizes) < 3:
        found.pop("head_only", None)
    if m.momentum or m.adam:
        name = "moments_detached" if m.adam else "momentum_detached"
        found[name] = Bent(buffer=freeze)
    if m.decay:
        found["decay_detached"] = Bent(decayed=freeze)
    if m.pull:
        found |= {"pull_detached": Bent(pulled=freeze), "anchor_detached": Bent(anchor=freeze)}
    if m.adam:
        found["root_detached"] = Bent(second=freeze)
        found["zero_slope"] = Bent(gradient=lambda g, k, K: [one if value(one) else 0 for one in g])
    return found


def other_algorithms(m):
    """Members with one thing changed, by the name of the mistake."""
    case, net = m.case, m.case.net
    K = case.steps
    less = case._replace(steps=K - 1)
    changed = {
        "alpha_off": m._replace(rates=[one * Fraction(11, 10) for one in m.rates]),
        "no_adaptation": m._replace(rates=[one * 0 for one in m.rates]),
        "examples_summed": m._replace(support_scale=examples, query_scale=examples),
        "support_summed": m._replace(support_scale=examples),
    }
    if K > 1 and m.weights[:-1] == [0] * (K - 1):
        changed["one_step_less"] = m._replace(case=less, weights=m.weights[1:])
    if net.loss == "squared_error":
        changed["outputs_summed"] = m._replace(support_scale=outputs, query_scale=outputs)
    else:
        changed["divided_by_shots"] = m._replace(support_scale=outputs, query_scale=outputs)
    if any(m.weights[:-1]):
        changed["last_weight_missing"] = m._replace(weights=[*m.weights[:-1], 0])
        changed["last_weight_only"] = m._replace(weights=[*[0] * (K - 1), m.weights[-1]])
    if m.momentum:
        changed["no_momentum"] = m._replace(momentum=Fraction(0))
        changed["dampened"] = m._replace(fresh=1 - m.momentum)
    if m.decay:
        changed["no_decay"] = m._replace(decay=Fraction(0))
        changed["decay_other"] = m._replace(decoupled=not m.decoupled)
    if m.pull:
        changed["no_pull"] = m._replace(pull=Fraction(0))
    if m.adam:
        changed["uncorrected"] = m._replace(adam=m.adam._replace(corrected=False))
        if not m.adam.inside:
            changed["epsilon_hat"] = m._replace(adam=m.adam._replace(hat=True))
        if not net.rational:
            changed["epsilon_other"] = m._replace(adam=m.adam._replace(inside=not m.adam.inside))
    return changed


def examples(net, n):
    return n


def outputs(net, n):
    """Both "summed over outputs" and, with as many classes as ways, "divided by shots"."""
    return net.sizes[-1]


def wrong(m, right):
    """What each mistake gives, by field and name."""
    found = {
        "tasks_summed": {field: times_number(right[field], len(m.case.tasks)) for field in right}
    }
    if m.case.steps:
        found |= {name: answers(other) for name, other in other_algorithms(m).items()}
        found |= {name: answers(m, bent) for name, bent in bent_steps(m).items()}
        found["tasks_chained"] = chained(m)
    else:
        found["first_order"] = answers(
            m, Bent(jacobian=lambda m, H, p: shifted(times(H, 0), p / p))
        )
        found |= {name: answers(m, Bent(jacobian=J)) for name, J in SOLVES.items()}
        found |= {name: {"meta_gradient": not_solved(m, one)} for name, one in STOPPED.items()}
    for name, task in (("first_task_only", 0), ("last_task_only", -1)):
        alone = answers(m._replace(case=m.case._replace(tasks=[m.case.tasks[task]])))
        share = m.case.net.number(Fraction(1, len(m.case.tasks)))
        found[name] = {f: times_number(alone[f], share) for f in alone if f.endswith("gradient")}
    if len(m.rates) == m.case.net.length:
        found["rates_of_theta"] = {"rate_gradient": right["meta_gradient"]}
    fields = [f for f in found["first_order"] if f != "phi"]
    return {
        field: {name: one[field] for name, one in found.items() if field in one} for field in fields
    }


def times_number(answer, count):
    return (
        [times_number(one, count) for one in answer] if isinstance(answer, list) else answer * count
    )
