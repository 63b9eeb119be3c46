"""The test vectors: regenerated, met by the core, and what the judge says of answers to them."""

import importlib
import json
import subprocess
import sys
import time
import tomllib
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import jsonschema
import mpmath
import numpy as np
import pytest

import numaml
from numaml.check import answers as judge
from numaml.command import main as cli
from numaml.network import network

PACKAGE = Path(numaml.__file__).parent
ROOT = PACKAGE.parent
FOLDER = PACKAGE / "check" / "vectors"
VECTORS = {vector["name"]: vector for vector in judge.vectors()}
RATIONAL = [name for name, vector in VECTORS.items() if vector["kind"] == "rational"]
REAL = [name for name, vector in VECTORS.items() if vector["kind"] == "real"]
SHIPPED = 300_000  # bytes

# Norm-wise; rounding alone gives up to 3e-15 and 8e-7.
FLOAT64, FLOAT32 = 1e-14, 1e-5
UNDERFLOWS = ("softmax-saturated-right",)  # e^-160 is no single
THIRTY_DIGITS = mpmath.mpf(10) ** -29


def elements(answer):
    """Strings as fractions, in the nesting they come in."""
    return [elements(one) for one in answer] if isinstance(answer, list) else Fraction(answer)


def array(answer, dtype):
    return np.array(elements(answer), object).astype(dtype)


def core_answers(vector, dtype):
    """The core's answers to a vector, in arithmetic of that dtype."""
    network, steps = vector["network"], vector["steps"]
    model = numaml.MLP(**network)
    theta, v = array(vector["theta"], dtype), array(vector["v"], dtype)
    alpha = Fraction(vector["alpha"])
    alpha = alpha if dtype is object else float(alpha)

    def batch(part):
        classes = network["loss"] == "cross_entropy"
        y = np.array(part["y"]) if classes else array(part["y"], dtype)
        return numaml.Batch(array(part["x"], dtype), y)

    answers = {field: [] for field in judge.FIELDS}
    for task in vector["tasks"]:
        tasks = numaml.Tasks(batch(task["support"]), batch(task["query"]))
        phis = [numaml.adapt(model, theta, tasks.support, alpha, k) for k in range(steps + 1)]
        linear = [model.linearize(phi, tasks.support) for phi in phis]
        value, exact = numaml.meta_gradient(model, theta, tasks, alpha, steps)
        _, first = numaml.first_order_meta_gradient(model, theta, tasks, alpha, steps)
        rows = (value, [g for _, g, _ in linear[:-1]], phis[-1], linear[0][2](v), exact, first)
        for field, row in zip(judge.FIELDS, rows, strict=True):
            answers[field].append(row)
    for field in ("meta_value", "meta_gradient", "first_order_meta_gradient"):
        answers[field] = sum(answers[field]) / len(vector["tasks"])
    return answers


def as_json(answer):
    """Lists of floats, or of strings p/q."""
    if isinstance(answer, list | np.ndarray):
        return [as_json(one) for one in answer]
    return str(answer) if isinstance(answer, Fraction | int) else float(answer)


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """A row alone under batch norm is refused by calls; its mathematics is among the vectors."""
    monkeypatch.setattr(network, "not_alone", lambda x, model: x)


@pytest.fixture
def judged(tmp_path):
    def verdicts(answers, precision="float64"):
        path = tmp_path / "answers.json"
        content = {"precision": precision, "answers": answers}
        path.write_text(json.dumps(content))
        return judge.verdicts(path)

    return verdicts


# The files.


def test_regenerated_vectors_are_the_same_bytes(tmp_path):
    generator = ROOT / "examples" / "vectors" / "generate.py"
    command = [sys.executable, "-B", "-W", "error", str(generator), "--out", str(tmp_path)]
    command += ["--only", "rational", "real"]  # the family's are made again in test_family_vectors
    subprocess.run([*command, "--digits", "300"], check=True)
    for name in ("rational.json", "real.json"):
        assert (tmp_path / name).read_bytes() == (FOLDER / name).read_bytes(), name


def test_files_fit_their_schema():
    schema = json.loads((FOLDER / "vectors.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    for name in ("rational.json", "real.json"):
        content = json.loads((FOLDER / name).read_text())
        jsonschema.validate(content, schema)
        content["vectors"][0]["theta"][0] = 0.5
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(content, schema)


def test_files_are_shipped_and_small():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = settings["tool"]["setuptools"]["package-data"]["numaml"]
    packed = {path for pattern in patterns for path in PACKAGE.glob(pattern)}
    assert set(FOLDER.iterdir()) <= packed
    assert sum(path.stat().st_size for path in FOLDER.glob("r*.json")) < SHIPPED


def test_edge_cases_are_there():
    everything = VECTORS.values()

    def some(condition):
        return any(map(condition, everything))

    def sizes(vector):
        return [[len(t[part]["x"]) for t in vector["tasks"]] for part in ("support", "query")]

    assert some(lambda v: v["steps"] == 0)
    assert some(lambda v: v["alpha"] == "0" and v["steps"] > 0)
    assert some(lambda v: sizes(v) == [[1], [1]])
    assert some(lambda v: len(set(sizes(v)[0])) == 3 == len(set(sizes(v)[1])))
    assert some(lambda v: len(v["network"]["sizes"]) == 2)
    assert some(lambda v: v["steps"] >= 20)
    assert some(lambda v: "kink_slope_one" in v["wrong"]["meta_gradient"])
    assert some(lambda v: v.get("bits", 99) <= 24)
    assert some(lambda v: v["kind"] == "real" and float(v["right"]["meta_value"]) > 100)
    for choices in (("relu", "square", "identity"), ("tanh", "softplus", "sigmoid")):
        assert set(choices) <= {v["network"]["activation"] for v in everything}
    for norm in ("batch", "layer"):
        for loss in ("squared_error", "cross_entropy"):
            assert some(lambda v: (v["network"]["norm"], v["network"]["loss"]) == (norm, loss))  # noqa: B023
    assert some(lambda v: v["network"]["norm"] == "batch" and 1 in sizes(v)[0])


@pytest.mark.parametrize("name", VECTORS)
def test_right_and_wrong_answers_differ_in_three_digits(name):
    """So a wrong answer is told from the right one and from every other, in single precision."""
    vector = VECTORS[name]
    for field, wrong in vector["wrong"].items():
        answers = {**wrong, "right": vector["right"][field]}
        for a, b in combinations(answers, 2):
            rows = [judge.in_a_row(answers[one]) for one in (a, b)]
            assert judge.agreement(*rows) < 3.3, (field, a, b)
        assert set(wrong) <= set(vector["mistakes"])
    first = vector["wrong"]["meta_gradient"].get("first_order")
    assert first in (None, vector["right"]["first_order_meta_gradient"])


def test_ordinary_vectors_tell_every_mistake_of_the_recursion():
    for name in ("relu-two-steps", "tanh", "tanh-thirty-steps", "softplus-batch-norm"):
        assert set(VECTORS[name]["wrong"]["meta_gradient"]) >= {
            "first_order", "tasks_summed", "stale_hessians", "outer_gradient_at_theta",
            "no_adaptation", "curvature_sign",
        }  # fmt: skip
    assert "tasks_weighted" in VECTORS["ragged"]["wrong"]["meta_gradient"]


@pytest.fixture
def generator(monkeypatch):
    """The generator's modules cases and solve, with 250 digits."""
    monkeypatch.syspath_prepend(ROOT / "examples" / "vectors")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    with mpmath.workdps(250):
        yield importlib.import_module("cases"), importlib.import_module("solve")
    for name in ("cases", "solve", "scalars"):
        sys.modules.pop(name)


def test_thirty_digits_by_differences(generator):
    """Differences with a step of 1e-60 at 250 digits, of the generator's value and gradient."""
    cases, solve = generator
    step = mpmath.mpf(10) ** -60

    def difference(f, at, v):
        ahead, behind = (f(solve.plus(at, sign * step, v)) for sign in (1, -1))
        return [(a - b) / (2 * step) for a, b in zip(ahead, behind, strict=True)]

    def close(got, text, scale=1):
        want = [mpmath.mpf(one) for one in text]
        error = mpmath.norm([g - w for g, w in zip(got, want, strict=True)])
        return error < THIRTY_DIGITS * mpmath.norm(want) * scale

    for case in cases.CASES:
        net = case.net
        if net.rational:
            continue
        theta, v = ([net.number(one) for one in row] for row in (case.theta, case.v))
        right = VECTORS[case.name]["right"]

        def meta_value(at, case=case, net=net):
            total = mpmath.mpf(0)
            for sx, sy, qx, qy in case.tasks:
                phi = at
                for _ in range(case.steps):
                    g = solve.loss_gradient(net, phi, sx, sy)
                    phi = solve.plus(phi, -net.number(case.alpha), g)
                total += solve.loss(net, solve.leaves(phi), qx, qy).value
            return [total / len(case.tasks)]

        assert close(meta_value(theta), [right["meta_value"]])
        along = sum(
            g * v_i for g, v_i in zip(map(mpmath.mpf, right["meta_gradient"]), v, strict=True)
        )
        scale = mpmath.norm([mpmath.mpf(one) for one in right["meta_gradient"]]) * mpmath.norm(v)
        [slope] = difference(meta_value, theta, v)
        assert abs(slope - along) < THIRTY_DIGITS * scale, case.name
        for (sx, sy, _, _), hvp in zip(case.tasks, right["hvp"], strict=True):
            got = difference(lambda at: solve.loss_gradient(net, at, sx, sy), theta, v)  # noqa: B023
            assert close(got, hvp), case.name


# The core meets them.


@pytest.mark.parametrize("name", RATIONAL)
def test_the_core_meets_rational_vectors_exactly(name):
    vector = VECTORS[name]
    for field, answer in core_answers(vector, object).items():
        assert as_json(answer) == vector["right"][field], field


def binary(dtype, bits):
    return [(name, dtype) for name, vector in VECTORS.items() if vector.get("bits", 99) <= bits]


@pytest.mark.parametrize(("name", "dtype"), binary(np.float64, 53) + binary(np.float32, 24))
def test_the_core_meets_binary_vectors_to_the_last_bit(name, dtype):
    vector = VECTORS[name]
    for field, answer in core_answers(vector, dtype).items():
        assert np.array_equal(np.array(answer), array(vector["right"][field], dtype)), field


@pytest.mark.parametrize(("dtype", "bound"), [(np.float64, FLOAT64), (np.float32, FLOAT32)])
@pytest.mark.parametrize("name", VECTORS)
def test_the_core_meets_every_vector_in_floating_point(name, dtype, bound):
    if dtype == np.float32 and name in UNDERFLOWS:
        bound = 1.0  # nothing but zeros: no warning, no NaN
    vector = VECTORS[name]
    for field, answer in core_answers(vector, dtype).items():
        if np.size(answer):
            want = array(vector["right"][field], np.float64)
            assert numaml.check.relative_error(np.array(answer, np.float64), want) <= bound, field


# The judge.


@pytest.mark.parametrize(
    ("dtype", "precision"), [(np.float64, "float64"), (np.float32, "float32"), (object, "exact")]
)
def test_the_cores_answers_are_right(judged, dtype, precision):
    left_out = REAL if dtype is object else UNDERFLOWS if dtype == np.float32 else ()
    answers = {
        name: None
        if name in left_out
        else {field: as_json(a) for field, a in core_answers(vector, dtype).items()}
        for name, vector in VECTORS.items()
    }
    schema = json.loads((FOLDER / "answers.schema.json").read_text())
    jsonschema.validate({"precision": precision, "answers": answers}, schema)
    verdicts = judged(answers, precision)
    assert {one.word for one in verdicts} <= {"right", "left out"}
    assert len(verdicts) == 6 * (len(VECTORS) - len(left_out)) + len(left_out)
    if dtype is object:
        assert {one.reason for one in verdicts if one.word == "right"} == {"exactly"}


@pytest.mark.parametrize("name", VECTORS)
def test_the_right_answers_are_right(judged, name):
    verdicts = [
        one for one in judged({name: VECTORS[name]["right"]}, "exact") if one.vector == name
    ]
    assert [one.field for one in verdicts] == list(judge.FIELDS)
    assert {one.word for one in verdicts} == {"right"}


@pytest.mark.parametrize("precision", judge.DIGITS)
@pytest.mark.parametrize("name", VECTORS)
def test_known_mistakes_are_named(name, precision):
    vector = VECTORS[name]
    for field, wrong in vector["wrong"].items():
        for mistake, answer in wrong.items():
            noisy = [float(one) * (1 + 1e-6) for one in judge.in_a_row(answer)]
            got = noisy[0] if field == "meta_value" else noisy
            said = judge.judged(got, vector, field, precision, Path())
            assert said == ("wrong", f"looks like {vector['mistakes'][mistake]}"), mistake


def said_of(name, field, answer, precision="float64"):
    """The judge's words on one field, as it reads the answer from JSON."""
    answer = json.loads(json.dumps(answer))
    return judge.judged(answer, VECTORS[name], field, precision, Path("mine.json"))


def test_other_mistakes_are_described():
    gradient = [float(Fraction(one)) for one in VECTORS["tanh"]["right"]["meta_gradient"]]
    nearly = [float(one) for one in VECTORS["tanh"]["wrong"]["meta_gradient"]["first_order"]]
    for answer, reason in [
        ([0.0] * len(gradient), "all zero"),
        ([-3 * one for one in gradient], "-3.0000 times the right answer"),
        ([0.3 * one for one in gradient], "0.30000 times the right answer"),
        ([gradient[0] + 1e-7, *gradient[1:]], "only 7.0 digits are right; want 13 in float64"),
        (gradient[::-1], "the right numbers in another order"),
        ([one + 1 for one in gradient], "no known mistake; off in W1, b1, W2, b2"),
        ([*gradient[:-1], 7], "no known mistake; off in b2"),
        ([*gradient[:2], 7, *gradient[3:]], "no known mistake; off in W1"),
        ([*nearly[:-1], nearly[-1] + 1e-3], "no known mistake; off in"),
        (gradient[:-1], "the answer has 12 entries; want a list of 13"),
        ([*gradient[:-1], float("nan")], "holds NaN or infinity"),
        ([*gradient[:-1], "-Infinity"], "holds NaN or infinity"),
        ([*gradient[:-1], [1.0]], "[12] is a list; want a number"),
        (gradient[0], "the answer is not a list; want a list of 13"),
    ]:
        word, said = said_of("tanh", "meta_gradient", answer)
        assert word == "wrong"
        assert said.startswith(reason)
    half = float(VECTORS["tanh"]["right"]["meta_value"]) / 2
    assert said_of("tanh", "meta_value", -half)[1].startswith("-0.50000 times the right answer")
    assert said_of("tanh", "meta_value", 0.1) == ("wrong", "no known mistake; off in its value")
    phi = VECTORS["tanh"]["right"]["phi"]
    assert said_of("tanh", "phi", [phi[0], phi[1][:3]])[1] == "[1] has 3 entries; want a list of 13"
    off = [phi[0], [*phi[1][:-1], "9"]]
    assert said_of("tanh", "phi", off) == ("wrong", "no known mistake; off in b2")


def test_the_last_bit_is_demanded_where_it_can_be_had():
    value = float(Fraction(VECTORS["binary64-relu"]["right"]["meta_value"]))
    for near in (np.nextafter(value, 0), np.nextafter(value, np.inf)):
        word, reason = said_of("binary64-relu", "meta_value", float(near))
        assert (word, reason.split()[-1]) == ("wrong", "them")
        assert said_of("binary64-relu", "meta_value", float(near), "float32")[0] == "right"
    digits = f"{value:.17g}001"
    assert said_of("binary64-relu", "meta_value", digits) == ("right", "to the last bit")
    assert said_of("binary64-relu", "meta_value", digits, "exact")[0] == "wrong"
    # 1/3 and its like cannot be had to the last bit.
    value = float(Fraction(VECTORS["relu"]["right"]["meta_value"]))
    assert said_of("relu", "meta_value", float(np.nextafter(value, 0)))[0] == "right"


def test_fractions_are_exact_or_wrong():
    value = Fraction(VECTORS["relu"]["right"]["meta_value"])
    assert said_of("relu", "meta_value", f"{value}", "exact") == ("right", "exactly")
    near = str(value + Fraction(1, 10**40))
    want = ("wrong", "only 40.7 digits are right; want all of them")
    assert said_of("relu", "meta_value", near, "exact") == want
    assert said_of("relu", "meta_value", near)[0] == "right"


def test_as_many_digits_as_the_precision_has():
    exact = Fraction(VECTORS["tanh"]["right"]["meta_value"])
    for precision, digits in (("float32", 5), ("float64", 13), ("exact", 28)):
        for power, word in ((digits + 0.5, "right"), (digits - 0.5, "wrong")):
            answer = exact * (1 + Fraction(10) ** -40 + Fraction(10**-power))
            text = f"{answer.numerator}/{answer.denominator}"
            assert said_of("tanh", "meta_value", text, precision)[0] == word, (precision, power)


def test_missing_and_left_out(judged):
    value = VECTORS["tanh"]["right"]["meta_value"]
    verdicts = judged({"tanh": {"meta_value": value, "phi": None}, "relu": None, "square": {}})
    words = {(one.vector, one.field): one.word for one in verdicts}
    assert words["tanh", "meta_value"] == "right"
    assert words["tanh", "phi"] == "left out"
    assert words["tanh", "hvp"] == "missing"
    assert words["relu", "every field"] == "left out"
    assert words["square", "every field"] == "missing"
    assert words["ragged", "every field"] == "missing"


# The command.


def check(*arguments):
    return cli.main(["check", "--vectors", *map(str, arguments)])


def test_the_command_says_where_the_vectors_are(capsys):
    assert check() == 0
    folder = Path(capsys.readouterr().out.split(": ")[1].strip())
    assert (folder / "README.md").is_file()
    assert {path.name for path in folder.glob("r*.json")} == {"rational.json", "real.json"}


def test_the_command_prints_a_line_per_field_and_judges(tmp_path, capsys):
    answers = {name: vector["right"] for name, vector in VECTORS.items()}
    path = tmp_path / "answers.json"

    def run(answers):
        path.write_text(json.dumps({"answers": answers}))
        status, lines = check(path), capsys.readouterr().out.splitlines()
        return status, lines[:-1], lines[-1]

    status, lines, summary = run(answers)
    assert status == 0
    assert len(lines) == 6 * len(VECTORS)
    assert summary == f"{len(lines)} right, 0 wrong, 0 missing, 0 left out"

    first = VECTORS["tanh"]["right"]["first_order_meta_gradient"]
    status, lines, summary = run({**answers, "tanh": {**answers["tanh"], "meta_gradient": first}})
    assert status == 1
    [line] = [line for line in lines if " wrong " in line]
    assert line.split()[:3] == ["tanh", "meta_gradient", "wrong"]
    assert "looks like first-order MAML: the inner gradient is detached" in line
    assert summary == f"{len(lines) - 1} right, 1 wrong, 0 missing, 0 left out"

    assert run({name: answers[name] for name in answers if name != "relu"})[0] == 1
    status, lines, summary = run({**answers, "relu": None})
    assert (status, summary.split(", ")[-1]) == (0, "1 left out")
    assert run(dict.fromkeys(answers))[0] == 1  # nothing was judged


HOSTILE = [
    (b"", "is not JSON"),
    (b"\xff\xfe\x00", "is not JSON"),
    (b"[" * 100_000, "is not JSON"),
    (b'{"answers": {"tanh": {"meta_value": ' + b"[" * 100_000, "is not JSON"),
    (b'{"answers": {"tanh": {"meta_value": ' + b"9" * 5000 + b"}}}", "is not JSON"),
    (b'{"answers": {}, "answers": {}}', "'answers' stands twice"),
    (b"[]", "something else than answers"),
    (b"{}", "something else than answers"),
    (b'{"answers": {}, "extra": 1}', "something else than answers"),
    (b'{"answers": []}', "answers is a list"),
    (b'{"answers": {}, "precision": "float16"}', "precision is 'float16'; want one of"),
    (b'{"answers": {}, "precision": ["exact"]}', "precision is a list; want one of"),
    (b'{"answers": {"tnah": {}}}', "there is no vector 'tnah'"),
    (b'{"answers": {"\\u001b[31m": {}}}', r"there is no vector '\x1b[31m'"),
    (b'{"answers": {"' + b"x" * 9999 + b'": {}}}', "xxx\u2026; see"),
    (b'{"answers": {"tanh": [1]}}', "'tanh' is a list; want fields, or null"),
    (b'{"answers": {"tanh": {"metavalue": 1}}}', "there is no field 'metavalue'"),
    (b'{"answers": {"tanh": {"meta_value": true}}}', "tanh, meta_value: True is not a number"),
    (b'{"answers": {"tanh": {"meta_value": {}}}}', "a dict is not a number"),
    (b'{"answers": {"tanh": {"meta_value": ""}}}', "'' is not a number"),
    (b'{"answers": {"tanh": {"meta_value": "1/0"}}}', "'1/0' is not a number"),
    (b'{"answers": {"tanh": {"meta_value": "1_0"}}}', "'1_0' is not a number"),
    (b'{"answers": {"tanh": {"meta_value": "1e99999"}}}', "'1e99999' is not a number"),
    (b'{"answers": {"tanh": {"meta_value": "0x10"}}}', "'0x10' is not a number"),
    (b'{"answers": {"tanh": {"meta_value": "' + b"1" * 5000 + b'"}}}', "is not a number"),
    (b'{"answers": {"tanh": {"meta_value": "\xd9\xa3"}}}', "is not a number"),
]


@pytest.mark.parametrize(("content", "message"), HOSTILE)
def test_a_malformed_file_is_an_error_of_one_line(content, message, tmp_path, capsys):
    path = tmp_path / "answers.json"
    path.write_bytes(content)
    assert check(path) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("numaml: ")
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert len(printed.err) < 600


def test_nesting_near_the_interpreters_limit_is_an_error(tmp_path, capsys):
    path = tmp_path / "answers.json"
    messages = set()
    for depth in range(800, 1000, 2):
        path.write_text(
            '{"answers": {"tanh": {"meta_value": ' + '{"a":' * depth + "1" + "}" * (depth + 3)
        )
        assert check(path) == 2
        messages.add(capsys.readouterr().err.split(";")[0].split(": ", 2)[-1][:30])
    assert "tanh, meta_value: a dict is no" in messages


def test_what_is_no_file_is_an_error(tmp_path, capsys, monkeypatch):
    for path in (tmp_path / "nowhere.json", tmp_path, Path("/dev/zero")):
        assert check(path) == 2
        assert f"{path} is not a file" in capsys.readouterr().err
    path = tmp_path / "long.json"
    path.write_text(" " * 1001)
    monkeypatch.setattr(judge, "LARGEST_FILE", 1000)
    assert check(path) == 2
    assert "long.json has 1001 bytes; want at most 1000" in capsys.readouterr().err


@pytest.mark.parametrize("huge", ["1e999", "-1e-999", "1/" + "7" * 990])
def test_numbers_of_hostile_length_are_judged(huge):
    assert said_of("tanh", "meta_value", huge)[0] == "wrong"
    assert said_of("tanh", "meta_gradient", [huge] * 13)[0] == "wrong"


# A stranger's file costs what it weighs, and its texts are printed safely.


@pytest.mark.parametrize("unit", ["[]", "{}", '"a"', "0", "1.5", '{"a": 1}', "[[[1]]]"])
def test_a_large_file_takes_little_memory_and_time(unit, tmp_path):
    """Ten times its size, 100 MB for the interpreter and NumPy, and five seconds at most."""
    path = tmp_path / "answers.json"
    start = '{"answers": {"tanh": {"meta_value": ['
    count = (judge.LARGEST_FILE - len(start) - 9) // (len(unit) + 1)
    path.write_text(start + f"{unit}," * count + "0]}}}")
    code = (
        "import pathlib, resource, sys, time\n"
        "from numaml.check import answers\n"
        "start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "found = answers.verdicts(pathlib.Path(sys.argv[1]))\n"
        "after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(found[0].word, after - before, time.process_time() - start)\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    word, kilobytes, seconds = done.stdout.split()
    assert int(kilobytes) * 1000 < 10 * path.stat().st_size + 100_000_000
    assert float(seconds) < 5
    assert word in ("missing", "wrong", "left out")


def test_a_file_that_is_too_large_is_refused_unread(tmp_path):
    path = tmp_path / "answers.json"
    with path.open("wb") as file:
        file.truncate(10**12)  # a hole
    with pytest.raises(ValueError, match="has 1000000000000 bytes; want at most"):
        judge.verdicts(path)


@pytest.mark.parametrize(
    "number", ["1e999", "-1e-999", "1/" + "7" * 360, "3" * 180 + "/" + "7" * 180, "1." + "3" * 360]
)
def test_hostile_numbers_everywhere_take_seconds(number, tmp_path):
    def like(answer):
        return [like(one) for one in answer] if isinstance(answer, list) else number

    path = tmp_path / "answers.json"
    answers = {
        name: {field: like(vector["right"][field]) for field in judge.FIELDS}
        for name, vector in VECTORS.items()
    }
    path.write_text(json.dumps({"answers": answers}))
    start = time.process_time()
    words = {one.word for one in judge.verdicts(path) if one.field == "meta_gradient"}
    assert words == {"wrong"}
    assert time.process_time() - start < 5


def test_names_of_files_are_printed_in_a_line_of_plain_text(tmp_path):
    folder = tmp_path / "a\x1b[31m\nb\u202e"
    folder.mkdir()
    path = folder / "answers.json"
    for content, error in (
        (None, FileNotFoundError), ("[", ValueError), ("[]", ValueError),
        (" " * (judge.LARGEST_FILE + 1), ValueError),
        ('{"answers": [], "precision": 1}', ValueError), ('{"answers": []}', ValueError),
        ('{"answers": {"x\\u001b\\n": 1}}', ValueError), ('{"answers": {"x\\n": {}}}', ValueError),
        ('{"answers": {"tanh": {"\\u001b": 1}}}', ValueError),
        ('{"answers": {"tanh": {"phi\\r": 1, "phi\\r": 1}}}', ValueError),
        ('{"answers": {"tanh": {"meta_value": "\\u001b\\n"}}}', ValueError),
    ):  # fmt: skip
        if content is not None:
            path.write_text(content)
        with pytest.raises(error) as caught:
            judge.verdicts(path)
        assert str(caught.value).isprintable(), repr(str(caught.value))
    deep = Path("/".join(["x" * 200] * 15))
    with pytest.raises(OSError, match=r"^\u2026.{300} is not a file"):
        judge.verdicts(deep)


@pytest.mark.parametrize("seed", range(150))
def test_damaged_answers_are_judged_or_refused(seed, tmp_path):
    """Flipped, cut, doubled and stuffed: nothing but a verdict or one line, in little time."""
    random = np.random.default_rng(seed)
    answers = {name: VECTORS[name]["right"] for name in ("relu", "tanh")}
    text = bytearray(json.dumps({"precision": "float64", "answers": answers}).encode())
    junk = [b"\x00", b"\x1b[31m", b"[", b"{", b'"', b"NaN", b"1e999", b"null", b"9" * 600, b"\xff"]
    for _ in range(random.integers(1, 5)):
        at, length = random.integers(len(text)), random.integers(1, 40)
        how = random.integers(4)
        if how == 0:
            text[at] ^= 1 << random.integers(8)
        elif how == 1:
            del text[at : at + length]
        elif how == 2:
            text[at:at] = text[:length]
        else:
            text[at:at] = junk[random.integers(len(junk))]
    path = tmp_path / "answers.json"
    path.write_bytes(text)
    try:
        for one in judge.verdicts(path):
            assert one.word in ("right", "wrong", "missing", "left out")
            assert one.reason.isprintable()
            assert len(one.reason) < 300
    except ValueError as error:
        assert str(error).isprintable()  # noqa: PT017  # either is fine
        assert len(str(error)) < 600  # noqa: PT017
