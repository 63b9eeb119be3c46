"""Generate numaml's test vectors: ``python generate.py`` writes them to numaml/check/vectors/.

Nothing here imports numaml. Rational vectors are computed in fractions, real ones with 250 decimal
digits, of which 30 are written. Needs mpmath. The same bytes come out wherever this is run.
"""

import argparse
import decimal
import gc
import json
from fractions import Fraction
from pathlib import Path

import mistakes
import mpmath
from cases import CASES
from family import right
from members import MEMBERS
from scalars import Scalar
from solve import solve

FOLDER = Path(__file__).resolve().parents[2] / "numaml" / "check" / "vectors"
DIGITS = 250  # e^-300 is 1e-130; log(1 + e^-300) then still has more than 100 digits
WRITTEN = decimal.Context(prec=30)
ROUGHLY = decimal.Context(prec=8)  # the family's wrong answers, of which four digits are looked at
FILES = ("rational", "real", "family")
TELLS_APART = Fraction(1, 1000)  # a wrong answer nearer than that to the right one is not listed

MISTAKES = {
    "first_order": "first-order MAML: the inner gradient is detached, no Hessian is there",
    "tasks_summed": "summed over tasks, not averaged",
    "stale_hessians": "every Hessian taken at theta: step k needs H at phi_k",
    "outer_gradient_at_theta": "the query gradient taken at theta: it belongs at phi_K",
    "no_adaptation": "nothing adapted: the query loss at theta, as with K = 0",
    "curvature_sign": "lam + alpha H lam: the curvature's sign is flipped",
    "kink_slope_one": "relu'(0) = 1: the convention here is 0",
    "kink_slope_half": "relu'(0) = 1/2: the convention here is 0",
    "tasks_weighted": "tasks weighted by their number of query examples: each counts the same",
}


def squared_distance(a, b):
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def told_apart(right, wrong):
    """The wrong answers that are not nearly the right one, as where K = 0 or T = 1."""

    def flat(answer):
        return [exact(x) for x in (answer if isinstance(answer, list) else [answer])]

    scale = TELLS_APART**2 * squared_distance(flat(right), [0] * len(flat(right)))
    return {
        name: answer
        for name, answer in wrong.items()
        if squared_distance(flat(answer), flat(right)) > scale
    }


def told_from_each_other(right, wrong):
    """Of these in their order, those that are nearly neither the right one nor one before."""
    kept = {}
    for name in sorted(wrong, key=list(mistakes.SENTENCES).index):
        others = [right, *kept.values()]
        if all(told_apart(other, {name: wrong[name]}) for other in others):
            kept[name] = wrong[name]
    return kept


# Text.


def exact(number):
    """The fraction that a fraction, an mpmath number or an integer is."""
    if not isinstance(number, mpmath.mpf):
        return Fraction(number)
    sign, mantissa, exponent, _ = number._mpf_
    return (-1) ** sign * Fraction(int(mantissa)) * Fraction(2) ** exponent


def text(answer, rational, written=WRITTEN):
    """Numbers as strings, in the nesting they come in."""
    if isinstance(answer, dict):
        return {name: text(entry, rational, written) for name, entry in answer.items()}
    if isinstance(answer, list):
        return [text(entry, rational, written) for entry in answer]
    fraction = exact(answer)
    if rational:
        return str(fraction)
    p, q = map(decimal.Decimal, fraction.as_integer_ratio())
    return str(written.divide(p, q)) if p else "0"


def binary_digits(numbers):
    """Bits that hold every one of these numbers and their sums, or None for 1/3 and its like."""
    numbers = [exact(number) for number in numbers if number]
    if any(q & (q - 1) for q in (number.denominator for number in numbers)):
        return None
    top = max(int(abs(number)).bit_length() for number in numbers)
    return top + max(number.denominator.bit_length() - 1 for number in numbers)


def vector(case):
    """A vector as it stands in the file."""
    gc.collect()
    net = case.net
    Scalar.made.clear()
    right, wrong = solve(case)
    bits = binary_digits(Scalar.made) if net.rational else None
    wrong["meta_gradient"] |= kinked(case)
    return {
        "name": case.name,
        "about": case.about,
        "kind": "rational" if net.rational else "real",
        "network": {name: getattr(net, name) for name in ("sizes", "activation", "loss", "norm")},
        "alpha": text(case.alpha, net.rational),
        "steps": case.steps,
        **({"bits": bits} if bits and bits <= 53 else {}),
        "theta": text(case.theta, net.rational),
        "v": text(case.v, net.rational),
        "tasks": tasks_of(case),
        "right": text(right, net.rational),
        "wrong": {
            field: text(told_apart(right[field], answers), net.rational)
            for field, answers in wrong.items()
        },
    }


def member_vector(m):
    """A member of the family as it stands in the file."""
    gc.collect()
    case, net = m.case, m.case.net
    answers = right(m)
    wrong = mistakes.wrong(m, answers)
    settings = {
        name: text(getattr(m, name), net.rational) for name in ("momentum", "decay", "pull")
    }
    adam = m.adam and {
        **{name: text(getattr(m.adam, name), net.rational) for name in ("b1", "b2", "epsilon")},
        "epsilon_inside": m.adam.inside,
    }
    return {
        "name": case.name,
        "about": case.about,
        "kind": "rational" if net.rational else "real",
        "network": {name: getattr(net, name) for name in ("sizes", "activation", "loss", "norm")},
        "steps": case.steps,
        "rates": text(m.rates, net.rational),
        "which": m.which,
        "weights": text(m.weights, net.rational),
        **settings,
        "buffer": m.buffer and text(m.buffer, net.rational),
        "decoupled": m.decoupled,
        "adam": adam,
        "theta": text(case.theta, net.rational),
        "tasks": tasks_of(case),
        "right": text({f: answers[f] for f in ORDER if f in answers}, net.rational),
        "wrong": {
            field: text(told_from_each_other(answers[field], wrong[field]), False, ROUGHLY)
            for field in ORDER
            if field in wrong
        },
    }


ORDER = (
    "phi", "meta_value", "meta_gradient", "first_order_meta_gradient", "rate_gradient",
    "first_order_rate_gradient", "buffer_gradient", "momentum_gradient", "decay_gradient",
    "pull_gradient", "reptile_direction",
)  # fmt: skip


def tasks_of(case):
    return [
        {"support": batch(case.net, sx, sy), "query": batch(case.net, qx, qy)}
        for sx, sy, qx, qy in case.tasks
    ]


def kinked(case):
    """The meta-gradients for other slopes of ReLU at 0."""
    if not (case.net.rational and case.net.activation == "relu"):
        return {}
    slopes = {"kink_slope_one": Fraction(1), "kink_slope_half": Fraction(1, 2)}
    nets = {name: case.net._replace(kink=slope) for name, slope in slopes.items()}
    return {name: solve(case._replace(net=net))[0]["meta_gradient"] for name, net in nets.items()}


def batch(net, x, y):
    classes = net.loss == "cross_entropy"
    return {"x": text(x, net.rational), "y": y if classes else text(y, net.rational)}


def laid_out(entry, indent=""):
    """JSON with a row of numbers to a line."""
    if isinstance(entry, dict) and entry:
        rows = [
            f"{json.dumps(key)}: {laid_out(value, indent + ' ')}" for key, value in entry.items()
        ]
        return "{\n" + ",\n".join(f"{indent} {row}" for row in rows) + f"\n{indent}}}"
    if isinstance(entry, list) and any(isinstance(one, dict | list) for one in entry):
        rows = [laid_out(one, indent + " ") for one in entry]
        return "[\n" + ",\n".join(f"{indent} {row}" for row in rows) + f"\n{indent}]"
    return json.dumps(entry, ensure_ascii=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write to")
    parser.add_argument("--digits", type=int, default=DIGITS, help="of the real computations")
    parser.add_argument("--only", choices=FILES, nargs="+", default=FILES)
    options = parser.parse_args()
    mpmath.mp.dps = options.digits
    gc.disable()  # a vector's scalars are let go together: to look for them takes a third longer
    for name in options.only:
        if name == "family":
            sentences, vectors = mistakes.SENTENCES, [member_vector(m) for m in MEMBERS]
        else:
            chosen = [case for case in CASES if case.net.rational == (name == "rational")]
            sentences, vectors = MISTAKES, [vector(case) for case in chosen]
        content = laid_out({"format": 1, "mistakes": sentences, "vectors": vectors}) + "\n"
        (options.out / f"{name}.json").write_bytes(content.encode())


if __name__ == "__main__":
    main()
