"""The family's vectors: made again, met by complex steps of numaml's values, and judged."""

import importlib
import json
import sys
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import jsonschema
import mpmath
import numpy as np
import pytest

import numaml
from numaml import check
from numaml.check import answers as judge
from numaml.command import main as cli

FOLDER = Path(numaml.__file__).parent / "check" / "vectors"
GENERATOR = Path(numaml.__file__).parents[1] / "examples" / "vectors"
VECTORS = {vector["name"]: vector for vector in judge.vectors("family")}
SHIPPED = 175_000  # bytes
ROUNDING = 1e-12  # of some thousand operations
MADE_AGAIN = (
    "rates-per-parameter", "momentum-buffer", "weight-decay-decoupled", "adam-zero-gradient",
    "minimum-linear", "adam-decay-decoupled", "minimum-tanh",
)  # fmt: skip
# What has to be told, and the vector that shows it.
TOLD = {
    "maml": {"detached_after_first", "head_only", "alpha_off", "support_summed", "next_hessians"},
    "maml-classification": {"examples_summed", "tasks_summed", "divided_by_shots", "tasks_chained"},
    "rates-per-layer": {"rates_outside"},
    "rates-per-tensor-and-step": {"rates_outside", "rates_reversed"},
    "multi-step-loss": {"last_weight_missing"},
    "momentum": {"momentum_detached", "dampened"},
    "weight-decay": {"decay_detached"},
    "weight-decay-decoupled": {"decay_other"},
    "proximal-pull": {"no_pull", "anchor_detached"},
    "adam": {"epsilon_other", "epsilon_hat", "root_detached", "moments_detached", "uncorrected"},
    "adam-zero-gradient": {"zero_slope"},
    "adam-decay-decoupled": {"decay_other", "decay_detached", "no_decay"},
    "minimum-linear": {"first_order", "pull_missing", "unscaled", "one_step_solve", "cg_stopped"},
    "minimum-tanh": {"neumann_stopped", "cg_old_residual"},
}


@pytest.fixture(scope="module")
def generator():
    """The generator's modules, with 60 digits, which is enough for the family's thirty."""
    names = ("scalars", "solve", "cases", "family", "mistakes", "members", "generate")
    with pytest.MonkeyPatch.context() as patch, mpmath.workdps(60):
        patch.syspath_prepend(GENERATOR)
        patch.setattr(sys, "dont_write_bytecode", True)
        yield {name: importlib.import_module(name) for name in names}
        for name in names:
            sys.modules.pop(name)


def test_made_again_they_are_the_same_bytes(generator):
    text = (FOLDER / "family.json").read_text()
    content = json.loads(text)
    make = generator["generate"]
    assert make.laid_out(content) + "\n" == text
    assert content["mistakes"] == generator["mistakes"].SENTENCES
    members = {m.case.name: m for m in generator["members"].MEMBERS}
    assert list(members) == [one["name"] for one in content["vectors"]]
    for one in content["vectors"]:
        if one["name"] in MADE_AGAIN:
            assert make.laid_out(make.member_vector(members[one["name"]])) == make.laid_out(one)


def test_the_file_fits_its_schema_and_is_small():
    schema = json.loads((FOLDER / "family.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    content = json.loads((FOLDER / "family.json").read_text())
    jsonschema.validate(content, schema)
    content["vectors"][0]["which"][0][0] = "0"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, schema)
    assert (FOLDER / "family.json").stat().st_size < SHIPPED


@pytest.mark.parametrize("name", VECTORS)
def test_wrong_answers_differ_from_each_other(name):
    vector = VECTORS[name]
    for field, wrong in vector["wrong"].items():
        rows = [judge.in_a_row(one) for one in ({"": vector["right"][field]} | wrong).values()]
        assert all(judge.agreement(a, b) < 3.3 for a, b in combinations(rows, 2)), field
    assert TOLD.get(name, set()) <= set(vector["wrong"]["meta_gradient"])


# Answers by another way: values in complex numbers, of which one is moved by a tiny step.


def array(answer):
    return np.array([float(Fraction(one)) for one in answer])


class Values:
    """A vector's value as a function of all that it depends on, by numaml's inner gradients."""

    def __init__(self, vector, *, first_order=False):
        self.vector, self.first_order = vector, first_order
        self.model = numaml.MLP(**vector["network"])
        self.tasks = [
            [self.batch(task[part]) for part in ("support", "query")] for task in vector["tasks"]
        ]
        self.at = {
            "theta": array(vector["theta"]),
            "rates": array(vector["rates"]),
            "buffer": array(vector["buffer"] or [0] * self.model.size),
            **{name: array([vector[name]]) for name in ("momentum", "decay", "pull")},
        }

    def batch(self, part):
        classes = self.vector["network"]["loss"] == "cross_entropy"
        y = np.array(part["y"]) if classes else np.array([array(row) for row in part["y"]])
        return numaml.Batch(np.array([array(row) for row in part["x"]]), y)

    def gradient(self, phi, support):
        return self.model.linearize(phi.real if self.first_order else phi, support)[1]

    def derivative(self, name):
        def value(one):
            return self.total({**self.at, name: one})

        x = self.at[name]
        return np.array([check.complex_step(value, x, e) for e in np.eye(len(x))])

    def total(self, at):
        return sum(self.of_task(at, *task)[0] for task in self.tasks) / len(self.tasks)

    def of_task(self, at, support, query):
        if not self.vector["steps"]:
            phi = self.minimum(at, support)
            return self.model.value(phi, query), phi
        phi, u, v, total = at["theta"], at["buffer"], 0, 0
        for k, which in enumerate(self.vector["which"]):
            g = self.gradient(phi, support)
            decayed = at["decay"] * phi
            g, beside = (g, decayed) if self.vector["decoupled"] else (g + decayed, 0)
            if self.vector["adam"]:
                u, v, move = self.adam(u, v, g, k)
            else:
                u = at["momentum"] * u + g + at["pull"] * (phi - at["theta"])
                move = u
            phi = phi - at["rates"][which] * (move + beside)
            total = total + float(Fraction(self.vector["weights"][k])) * self.model.value(
                phi, query
            )
        return total, phi

    def adam(self, m, v, g, k):
        b1, b2, epsilon = (
            float(Fraction(self.vector["adam"][name])) for name in ("b1", "b2", "epsilon")
        )
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        v_hat = v / (1 - b2 ** (k + 1)) + 0j
        inside = self.vector["adam"]["epsilon_inside"]
        scale = np.sqrt(v_hat + epsilon) if inside else np.sqrt(v_hat) + epsilon
        return m, v, m / (1 - b1 ** (k + 1)) / scale

    def minimum(self, at, support):
        theta = phi = at["theta"] + 0j
        unit = np.eye(len(theta))
        for _ in range(12):
            _, g, hvp = self.model.linearize(phi, support)
            H = np.array([hvp(one) for one in unit]) + at["pull"] * unit
            phi = phi - np.linalg.solve(H, g + at["pull"] * (phi - theta))
        assert np.linalg.eigvalsh(H.real).min() > 0  # no saddle
        return phi


BY = {
    "meta_gradient": "theta", "rate_gradient": "rates", "buffer_gradient": "buffer",
    "momentum_gradient": "momentum", "decay_gradient": "decay", "pull_gradient": "pull",
}  # fmt: skip


@pytest.mark.parametrize("name", VECTORS)
def test_right_answers_are_the_derivatives_of_the_value(name):
    vector = VECTORS[name]
    exact, flat = Values(vector), Values(vector, first_order=True)
    phi = np.array([exact.of_task(exact.at, *task)[1].real for task in exact.tasks])
    found = {"phi": phi, "meta_value": exact.total(exact.at).real}
    for field in judge.fields_of(vector):
        if field in BY:
            found[field] = exact.derivative(BY[field])
        if field.startswith("first_order") and vector["steps"]:
            found[field] = flat.derivative(BY[field.removeprefix("first_order_")])
    found["reptile_direction"] = exact.at["theta"] - phi.mean(0)
    for field in judge.fields_of(vector):
        if field in found:
            want = array(judge.in_a_row(vector["right"][field]))
            assert check.relative_error(np.ravel(found[field]), want) < ROUNDING, field
    assert set(judge.fields_of(vector)) - set(found) <= {"first_order_meta_gradient"}


def test_members_that_are_maml_are_numamls():
    """Plain MAML and what the mean gradient at a minimum is, by the library's own functions."""
    vector = VECTORS["maml"]
    case = Values(vector)
    found = [
        numaml.meta_gradient(case.model, case.at["theta"], numaml.Tasks(*task), 0.1, 2)[1]
        for task in case.tasks
    ]
    want = array(vector["right"]["meta_gradient"])
    assert check.relative_error(np.mean(found, axis=0), want) < ROUNDING
    case = Values(VECTORS["minimum-tanh"])
    at_phi = [
        case.model.linearize(case.minimum(case.at, support).real, query)[1]
        for support, query in case.tasks
    ]
    want = array(case.vector["right"]["first_order_meta_gradient"])
    assert check.relative_error(np.mean(at_phi, axis=0), want) < ROUNDING


# The judge.


@pytest.mark.parametrize("precision", judge.DIGITS)
@pytest.mark.parametrize("name", VECTORS)
def test_right_answers_are_right_and_mistakes_have_names(name, precision):
    vector = VECTORS[name]
    for field in judge.fields_of(vector):
        word, _ = judge.judged(vector["right"][field], vector, field, precision, Path())
        assert word == "right"
    for field, wrong in vector["wrong"].items():
        for mistake, answer in wrong.items():
            said = judge.judged(answer, vector, field, precision, Path())
            zero = not any(judge.in_a_row(answer))
            assert said[0] == "wrong"
            assert zero or said[1] == f"looks like {vector['mistakes'][mistake]}", mistake


def test_zeros_say_what_is_not_moved():
    for name, field, words in (
        ("rates-per-layer", "rate_gradient", "rates that never change"),
        ("minimum-linear", "meta_gradient", "a minimum that forgets where its search began"),
        ("momentum", "meta_gradient", "all zero"),
    ):
        vector = VECTORS[name]
        zeros = [0] * len(vector["right"][field])
        word, said = judge.judged(zeros, vector, field, "float64", Path())
        assert word == "wrong"
        assert words in said


def command(*arguments):
    return cli.main(["check", *map(str, arguments)])


def test_a_template_is_filled_in_and_judged(tmp_path, capsys):
    path = tmp_path / "mine.json"
    only = ["--only", "rates-*", "--only", "tanh"]
    assert command("--template", path, *only) == 0
    capsys.readouterr()
    content = json.loads(path.read_text())
    schema = json.loads((FOLDER / "answers.schema.json").read_text())
    jsonschema.validate(content, schema)
    names = [name for name in VECTORS if name.startswith("rates-")]
    assert list(content["answers"]) == [*names, "tanh"]
    assert command("--vectors", path, *only) == 1  # nothing was judged
    assert "0 right, 0 wrong, 0 missing" in capsys.readouterr().out

    rights = {**VECTORS, "tanh": {one["name"]: one for one in judge.vectors()}["tanh"]}
    for name, fields in content["answers"].items():
        for field in fields:
            fields[field] = rights[name]["right"][field]
    content["answers"]["tanh"]["phi"] = [[*row] for row in rights["tanh"]["right"]["phi"]]
    content["answers"]["tanh"]["phi"][1][2] = None
    path.write_text(json.dumps(content))
    assert command("--vectors", path, *only) == 2
    assert "tanh, phi: None is not a number" in capsys.readouterr().err
    content["answers"]["tanh"]["phi"] = rights["tanh"]["right"]["phi"]
    path.write_text(json.dumps(content))
    assert command("--vectors", path, *only) == 0
    assert command("--vectors", path, "--only", "tanh") == 0
    assert command("--vectors", path, "--only", "maml") == 1  # the others of MAML's are missing
    assert command("--vectors", path) == 1
    printed = capsys.readouterr().out
    assert len([line for line in printed.splitlines() if line.startswith("momentum ")]) == 1


def test_a_file_is_asked_for_the_collections_that_it_answers(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"answers": {"adam": {"meta_value": 1}}}))
    assert {one.vector for one in judge.verdicts(path)} == set(VECTORS)
    path.write_text(json.dumps({"answers": {"tanh": {"meta_value": 1}}}))
    assert not {one.vector for one in judge.verdicts(path)} & set(VECTORS)


@pytest.mark.parametrize(
    ("arguments", "content", "message"),
    [
        (["--only", "tanh"], None, "want --vectors FILE too"),
        (["--template", "t.json", "--vectors", "v.json"], None, "want one of them"),
        (["--template", "there.json"], None, "is there already"),
        (["--template", "new.json", "--only", "tnah"], None, "there is no vector 'tnah'"),
        (["--vectors", "v.json"], {"tanh": {"rate_gradient": [1]}}, "tanh has no field"),
        (["--vectors", "v.json"], {"adam": {"rate_gradient": ["x"]}}, "adam, rate_gradient: "),
    ],
)
def test_what_does_not_fit_is_refused(arguments, content, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("there.json").touch()
    Path("v.json").write_text(json.dumps({"answers": content or {}}))
    assert command(*arguments) == 2
    assert message in capsys.readouterr().err
    assert not Path("new.json").exists()
