"""Your own table: from a file to a run folder, by tasks and never by rows."""

import csv
import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from numaml import Learner
from numaml.command import main as cli
from numaml.command import report
from numaml.experiments import runs, table, ways
from numaml.experiments.experiment import Trained
from numaml.experiments.table import OwnTable
from numaml.learning.state import State

pytestmark = pytest.mark.usefixtures("in_turn")

SHORT = ["--iterations", "40", "--every", "20", "--hidden", "6", "--tasks", "4"]
COLUMNS = ["--task", "pig", "--target", "weight"]


def numaml(*arguments):
    return cli.main([str(argument) for argument in arguments])


def pigs(count=12, weeks=11, rng=0):
    """Rows (pig, feed, week, weight); the last pig was weighed three times only."""
    rng, rows = np.random.default_rng(rng), []
    for pig in range(count):
        start, gain, feed = rng.normal(25, 3), rng.normal(7, 1), rng.uniform(1, 2)
        rows += [
            (f"p{pig}", f"{feed:.3f}", week, f"{start + feed * gain * week:.2f}")
            for week in range(1, (weeks if pig < count - 1 else 3) + 1)
        ]
    return rows


def write(path, rows, header=("pig", "feed", "week", "weight")):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def read(path):
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.fixture(autouse=True)
def without_scikit_learn(monkeypatch):
    """Its forest has tests of its own; loading it takes longer than all else here.

    And a network for each task takes a few steps only.
    """
    monkeypatch.setattr(ways, "find_spec", lambda name: None)
    monkeypatch.setattr(ways, "LONG", 4)


@pytest.fixture
def undrawn(monkeypatch):
    monkeypatch.setattr(report, "draw", lambda *_: None)


@pytest.fixture
def data(tmp_path):
    return write(tmp_path / "pigs.csv", pigs())


@pytest.fixture
def config(data):
    return OwnTable(data=str(data), task="pig", target="weight", hidden=(6,)).prepared()


def test_from_a_file_to_predictions(data, tmp_path, capsys):
    run = tmp_path / "run"
    assert numaml("train", data, *COLUMNS, "--out", run, *SHORT) == 0
    said = capsys.readouterr().out
    assert "regression of weight; tasks: 7 to train on, 2 to validate with" in said
    assert ", 2 held out for the test, 1 dropped with too few rows" in said
    assert "root mean square error, in the units of weight; support: 5 rows; 20 draws" in said
    assert (
        "from each of 2 tasks held out; ± 95 % over tasks; choices made on 2 tasks for va" in said
    )
    assert re.search(r"^verdict: .*(take it|excludes 0|hold out more tasks)", said, re.MULTILINE)
    ways = {row["way"] for row in read(run / "results.csv")}
    for name in ("MAML, exact", "first-order MAML", "one network for all, fine-tuned",
                 "mean of the support", "ridge per task", "Gaussian process per task"):  # fmt: skip
        assert name in said
        assert name in ways
    assert len(read(run / "tasks.csv")) == 2 * len(ways)
    for figure in ("learning_curve", "errors", "held_tasks"):
        assert (run / f"{figure}.png").read_bytes().startswith(b"\x89PNG")
    before = sorted(path.name for path in run.iterdir())
    assert numaml("evaluate", run) == 0
    assert capsys.readouterr().out.strip() in said
    assert sorted(path.name for path in run.iterdir()) == before

    learner = Learner.load(run / "learner.npz")
    assert learner.provenance["features"] == ["feed", "week"]
    new = tmp_path / "new.csv"
    new.write_text("week,feed,weight,pig\n1,1.5,33,new\n4,1.5,60,new\n")
    assert numaml("adapt", run, "--support", new, "--query", new, "--out", tmp_path / "p.csv") == 0
    lines = (tmp_path / "p.csv").read_text().splitlines()
    predicted = np.array([row["predicted weight"] for row in csv.DictReader(lines)], float)
    want = learner.adapt([[1.5, 1], [1.5, 4]], [33.0, 60.0]).predict([[1.5, 1], [1.5, 4]])
    assert (predicted == want).all()


@pytest.mark.usefixtures("undrawn")
def test_it_learns_what_a_task_is(tmp_path):
    """Adapted errors far below the unadapted, and below one network for all; α and K are kept."""
    data, run = write(tmp_path / "pigs.csv", pigs(40)), tmp_path / "run"
    some = ["--iterations", "400", "--hidden", "16"]
    assert numaml("train", data, *COLUMNS, "--out", run, *some) == 0
    error = {row["way"]: float(row["error"]) for row in read(run / "results.csv")}
    assert error["MAML, exact"] < 0.7 * error["MAML, exact, before adapting"]
    assert error["MAML, exact"] < 0.7 * error["one network for all"]
    learner = Learner.load(run / "learner.npz")
    chosen = f"α {learner.alpha:g}, K {learner.steps}"
    assert chosen in {
        row["chosen"] for row in read(run / "tasks.csv") if row["way"] == "MAML, exact"
    }
    assert learner.provenance["alpha"] == 0.05


def test_classes_by_text_and_by_choice(tmp_path, capsys):
    rng = np.random.default_rng(1)
    rows = [
        (f"u{user}", *x.round(3), ("no", "yes")[int(x @ taste > 0)], int(x @ taste > 0))
        for user, taste in enumerate(rng.normal(size=(12, 2)))
        for x in rng.normal(size=(14, 2))
    ]
    data = write(tmp_path / "songs.csv", rows, ("user", "a", "b", "likes", "like"))
    common = ["--task", "user", "--features", "a", "b", *SHORT, "--alone"]
    run = tmp_path / "text"
    assert numaml("train", data, "--target", "likes", *common, "--out", run) == 0
    said = capsys.readouterr().out
    assert "accuracy in % for likes; support: 5 rows;" in said
    assert "majority of the support" in said
    assert (run / "reliability.png").read_bytes().startswith(b"\x89PNG")
    assert Learner.load(run / "learner.npz").classes.tolist() == ["no", "yes"]
    run = tmp_path / "number"
    choice = ["--kind", "classification"]
    assert numaml("train", data, "--target", "like", *choice, *common, "--out", run) == 0
    learner = Learner.load(run / "learner.npz")
    assert learner.classes.tolist() == [0, 1]
    assert (learner.scaling.y_mean == 0).all()
    assert (learner.scaling.y_scale == 1).all()
    scores = State.load(run).scores
    assert all(0 <= score <= 1 for _, score in scores)


@pytest.mark.usefixtures("undrawn")
def test_every_task_is_held_out_once_in_folds(data, tmp_path, capsys):
    run = tmp_path / "run"
    more = ["--folds", "3", "--alone", "--support", "first", "--tested", "3", "6"]
    short = ["--iterations", "4", "--every", "2", "--hidden", "3", "--tasks", "2"]
    assert numaml("train", data, *COLUMNS, "--out", run, *short, *more) == 0
    said = capsys.readouterr().out
    for shots in (3, 6):
        assert f"support: the first {shots} rows; 20 draws from each of 11 tasks held out" in said
    rows = [row for row in read(run / "tasks.csv") if row["way"] == "ridge per task"]
    for shots in ("3", "6"):
        own = [(row["task"], row["fold"]) for row in rows if row["shots"] == shots]
        assert sorted(task for task, _ in own) == sorted(f"p{k}" for k in range(11))
        assert sorted(fold for _, fold in own) == ["1"] * 4 + ["2"] * 4 + ["3"] * 3
    for row in read(run / "predictions.csv"):  # the first weeks are known, later ones predicted
        assert float(row["week"]) > int(row["shots"])
    assert numaml("evaluate", run, "--shots", "4") == 0
    said = capsys.readouterr().out
    assert "the first 4 rows" in said
    assert "the first 3 rows" not in said
    config = runs.read(run / "fold-2")
    parts = [config.parts(config.whole()) for config in (runs.read(run), config)]
    held = [set(table.labels(part[2])) for part in parts]
    assert not held[0] & held[1]
    assert held[1] & set(table.labels(parts[1][1])) == set()
    shutil.rmtree(run / "fold-3")
    assert numaml("evaluate", run) == 2
    error = capsys.readouterr().err
    assert f"is not there; finish the run with numaml train table --resume {run}" in error
    assert numaml("train", "--resume", run) == 0
    shutil.copy(run / "config.json", run / "fold-3" / "config.json")
    assert numaml("evaluate", run) == 2
    assert "is of another run than" in capsys.readouterr().err


@pytest.mark.usefixtures("undrawn")
def test_a_table_as_people_have_it(tmp_path, capsys):
    """Semicolons, decimal commas, an index, text, dates, empty cells: said, kept, adapted to."""
    rows = [
        (k, *row[:1], "fm"[k % 2], row[1] if k % 7 else "", f"2026-03-{row[2]:02}", row[3])
        for k, row in enumerate(pigs())
    ]
    lines = [";".join(map(str, row)).replace(".", ",") for row in rows]
    data, run = tmp_path / "pigs.csv", tmp_path / "run"
    data.write_text("\n".join([";pig;sex;feed;day;weight", *lines]) + "\n")
    more = ["--dates", "day", "--missing", "mean", "--alone", *SHORT]
    assert numaml("train", data, *COLUMNS, *more, "--out", run) == 0
    said = capsys.readouterr().out
    for line in ("columns are parted by ';'", "numbers have decimal commas",
                 "its first column has no name, as an index that was written, and is left out",
                 "text, a column for each category: sex (f, m)", "dates, as days since 1970: day",
                 "missing: feed in 18 rows; the mean of the tasks to train on"):  # fmt: skip
        assert f"\n{line}" in said
    config = runs.read(run)
    whole, learner = config.whole(), Learner.load(run / "learner.npz")
    assert learner.provenance["features"] == [
        "sex = f", "sex = m", "feed", "feed is missing", "day",
    ]  # fmt: skip
    train = whole.x[np.isin(whole.groups, table.labels(config.parts(whole)[0]))]
    fill = learner.provenance["columns"][1]["fill"]
    assert fill == pytest.approx(train[train[:, 3] == 0, 2].mean())
    assert set(train[train[:, 3] == 1, 2]) == {fill}
    new = tmp_path / "new.csv"
    new.write_text("day,feed,sex,weight\n2026-03-01,1.5,f,33\n2026-03-02,,m,60\n")
    assert numaml("adapt", run, "--support", new, "--query", new, "--out", tmp_path / "p.csv") == 0
    x = [[1, 0, 1.5, 0, 20513], [0, 1, fill, 1, 20514]]
    want = learner.adapt(x, [33.0, 60.0]).predict(x)
    assert [float(row["predicted weight"]) for row in read(tmp_path / "p.csv")] == list(want)


def test_the_split_is_by_task(config):
    whole = config.whole()
    parts = [set(table.labels(part)) for part in config.parts(whole)]
    assert [len(part) for part in parts] == [7, 2, 2]
    assert len(set.union(*parts)) == 11
    other = dataclasses.replace(config, seed=1)
    assert set(table.labels(other.parts(whole)[0])) != parts[0]


def test_units_are_those_of_the_training_tasks(config, tmp_path):
    whole = config.whole()
    train, held = (set(table.labels(config.parts(whole)[i])) for i in (0, 2))
    scaling = config.scaling(whole)
    mine = np.isin(whole.groups, list(train))
    assert scaling.x_mean == pytest.approx(whole.x[mine].mean(0), rel=1e-14)
    assert scaling.y_scale == pytest.approx(whole.y[mine].std(0), rel=1e-14)
    rows = [(*row[:3], float(row[3]) + 1000 * (row[0] in held)) for row in pigs()]
    changed = dataclasses.replace(config, data=str(write(tmp_path / "held.csv", rows)))
    shifted = changed.prepared()
    assert all(
        (a == b).all() for a, b in zip(shifted.scaling(shifted.whole()), scaling, strict=True)
    )


def test_errors_are_in_the_targets_units(config):
    """The same learner in kilograms and in grams: a thousand times the error."""
    theta = config.model.init(0)

    def outcome(factor):
        folder = Path(config.data).parent
        rows = [(*row[:3], float(row[3]) * factor) for row in pigs()]
        one = dataclasses.replace(config, data=str(write(folder / "unit.csv", rows))).prepared()
        decision = OwnTable.results({"exact": Trained(one, State(theta, None))}, 0)
        errors = decision.errors(5)
        return errors["MAML, exact"], errors["ridge per task"], -one.validator()(theta)

    for kilograms, grams in zip(outcome(1), outcome(1000), strict=True):
        assert grams == pytest.approx(1000 * kilograms, rel=1e-9)


def test_what_the_test_draws_is_bounded(config, monkeypatch):
    monkeypatch.setattr(table, "MOST_NUMBERS", 20 * 10 * 2 * 1)
    one = Trained(config, State(config.model.init(0), None))
    decision = OwnTable.results({"exact": one}, 0)
    assert len(decision.errors(5)["MAML, exact"]) == 1
    assert "tested are 1 of 2 tasks" in decision.text()


def test_the_order_of_rows_does_not_matter(config, tmp_path):
    rows = pigs()
    np.random.default_rng(3).shuffle(rows)
    data = write(tmp_path / "shuffled.csv", rows)
    assert dataclasses.replace(config, data=str(data)).prepared().checksum == config.checksum


@pytest.mark.usefixtures("undrawn")
def test_resuming_goes_on_with_the_same_data_only(data, tmp_path, capsys):
    run, whole = tmp_path / "run", tmp_path / "whole"
    for folder in (run, whole):
        assert numaml("train", data, *COLUMNS, "--out", folder, *SHORT, "--alone") == 0
    # Back to the middle, as a kill would leave it.
    state = State.load(run)
    config = runs.read(run)
    half = []

    def stop(iteration, *_):
        half.append(iteration)
        if iteration == 20:
            raise RuntimeError

    for path in run.iterdir():
        if path.name != "config.json":
            path.unlink()
    (run / "config.json").unlink()
    with pytest.raises(RuntimeError):
        runs.fit(config, run, stop)
    assert numaml("train", "table", "--resume", run, "--alone") == 0
    again = State.load(run)
    assert (again.theta == state.theta).all()
    assert again.values == state.values
    assert again.scores == state.scores
    data.write_text(data.read_text().replace(",1,", ",1.5,", 1))
    assert numaml("evaluate", run) == 2
    assert "does not hold the rows this run was trained on" in capsys.readouterr().err
    content = json.loads((whole / "config.json").read_text())
    assert content["experiment"] == "table"


BAD = {
    "an empty cell": ("p0,1.1,,30\n", "row 2, column 'week'.*is empty"),
    "text in a feature": ("p0,1.1,two,30\n", "row 2, column 'week'.*'two'.*want a number"),
    "a number that is none": ("p0,1.1,nan,30\n", "row 2, column 'week'.*'nan'.*want a number"),
    "an infinite one": (
        "p0,1.1,1,inf\n",
        "row 2, column 'weight'.*'inf', and 124 of 125 cells are numbers",
    ),
    "no task": (",1.1,1,30\n", "row 2, column 'pig'.*is empty"),
    "no target": ("p0,1.1,1,\n", "row 2, column 'weight'.*is empty"),
    "a typing error": (
        "p0,1.1,1,3o\n",
        "row 2, column 'weight'.*'3o'.*mend it, or say --kind classification",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_cell_is_named(data, tmp_path, capsys, case):
    line, message = BAD[case]
    header, rest = data.read_text().split("\n", 1)
    data.write_text(f"{header}\n{line}{rest}")
    assert numaml("train", data, *COLUMNS, "--out", tmp_path / "run") == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "sow"}, "no column 'sow'; it has pig, feed, week, weight"),
        ({"task": ""}, "no task; name its column with --task: pig, feed, week, weight"),
        ({"target": ""}, "no target; name its column with --target: pig"),
        ({"task": "weight"}, "want three kinds of columns"),
        ({"features": ("week", "week")}, "each column once"),
        ({"features": ("week", "weight")}, "want three kinds of columns"),
        ({"shots": 9}, "shots = 9 and queries = 5 need 14"),
        ({"small": "error"}, "group p11 has 3 rows"),
        ({"held": 0.96}, "has 11 tasks with rows enough; want one at least to train on"),
        ({"folds": 12}, "want one at least to train on and one to test, in each of 12 folds"),
        ({"data": ""}, "where is the data"),
        ({"data": "nowhere.csv"}, "nowhere.csv is not there.*; if it has moved.*--data PATH"),
        ({"data": "nowhere.npz"}, "nowhere.npz is not there"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said_before_any_work(config, changes, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        dataclasses.replace(config, **({"features": ()} | changes)).prepared()


def test_labels_that_hardly_repeat_are_no_classes(data, tmp_path, capsys):
    """Decimal commas make text of numbers."""
    rows = [(pig, feed, week, weight.replace(".", ",")) for pig, feed, week, weight in pigs()]
    commas = write(tmp_path / "commas.csv", rows)
    for file, more in ((commas, []), (data, ["--kind", "classification"])):
        assert numaml("train", file, *COLUMNS, *more, "--out", tmp_path / "run") == 2
        error = capsys.readouterr().err
        assert re.search(r"has \d+ different labels in 124 rows, e.g. '.*a decimal point", error)


@pytest.mark.usefixtures("undrawn")
def test_what_is_learned_is_said(tmp_path, capsys):
    rows = [(f"t{i % 6}", i, i // 6 % 7) for i in range(60)]
    file = write(tmp_path / "t.csv", rows, ("t", "x", "y"))
    arguments = ["train", file, "--task", "t", "--target", "y", *SHORT, "--alone", "--held", "0"]
    run = ["--out", tmp_path / "a", "--kind", "classification"]
    assert numaml(*arguments, *run) == 0
    said = capsys.readouterr().out
    assert "classification of y, 7 classes (0, 1, 2, 3, 4, …); tasks: 4 to train on" in said
    assert "20 draws from each of 1 task held out; one task: no interval" in said
    assert not re.search(r"^MAML.*(±|nan)", said, re.MULTILINE)


@pytest.mark.usefixtures("undrawn")
def test_a_column_that_never_varies_is_ignored(tmp_path, capsys):
    rows = [(pig, 5, week, weight) for pig, _, week, weight in pigs()]
    data, run = write(tmp_path / "t.csv", rows), tmp_path / "run"
    assert numaml("train", data, *COLUMNS, "--out", run, *SHORT, "--alone") == 0
    assert "the same in all rows to train on, and ignored: feed" in capsys.readouterr().out
    learner, y = Learner.load(run / "learner.npz"), [26.0, 44.0]
    want = learner.adapt([[5, 1], [5, 4]], y).predict([[5, 8]])
    assert (learner.adapt([[0, 1], [1e6, 4]], y).predict([[-3, 8]]) == want).all()


def test_a_network_for_all_is_chosen_as_it_is_trained(config):
    """Without adapting to the validation tasks."""
    theta = np.random.default_rng(0).normal(size=config.model.size)
    scores = {}
    for learner, steps in (("pretrained", 3), ("exact", 0), ("exact", 3)):
        one = dataclasses.replace(config, learner=learner, steps=steps)
        scores[learner, steps] = one.validator()(theta)
    assert scores["pretrained", 3] == scores["exact", 0] != scores["exact", 3]


def test_rates_of_a_table_are_learned(data, tmp_path, undrawn, capsys):
    run, options = tmp_path / "run", ["--rates", "tensor", "--adapt", "head", "--momentum", 0.3]
    options += ["--iterations", 4]
    assert numaml("train", data, *COLUMNS, "--out", run, *SHORT[2:], *options) == 0
    printed = capsys.readouterr().out
    assert "rates, K " in printed
    one = runs.load(run)["exact"]
    assert len(one.state.theta) == one.experiment.model.size + 3 * 2 + 1
    learner = Learner.load(run / "learner.npz")
    assert learner.alpha["momentum"] == one.alpha["momentum"] != 0.3
    (_, (W, b)), *_ = one.alpha_for(learner.steps or 1)["rates"]
    assert 0.05 not in (W, b)
    assert learner.theta.tobytes() == one.theta.tobytes() != one.vector.tobytes()
    together = runs.load(run)["pretrained"]
    assert together.alpha["rates"] == (None, (0.05, 0.05))


def test_a_configuration_without_columns_is_none(config, tmp_path, capsys):
    runs.write(dataclasses.replace(config, features=()), tmp_path / "run")
    assert numaml("evaluate", tmp_path / "run") == 2
    assert "is not a run's configuration: sizes is (0, 6, 1)" in capsys.readouterr().err


@pytest.mark.usefixtures("undrawn")
def test_what_looks_like_no_label_is_named(tmp_path, capsys):
    rows = [(("NA", "null", "a", "b", "c", "d")[i % 6], i, ("?", "hi", "lo")[i // 6 % 3])
            for i in range(90)]  # fmt: skip
    file = write(tmp_path / "t.csv", rows, ("t", "x", "y"))
    arguments = ["train", file, "--task", "t", "--target", "y", *SHORT, "--alone"]
    assert numaml(*arguments, "--out", tmp_path / "run") == 0
    said = capsys.readouterr().out
    for label, what, count in (("NA", "task", 15), ("null", "task", 15), ("?", "class", 30)):
        assert f"\ntaken for what it says: {label!r} as a {what} ({count} rows)" in said
    assert said.count("taken for what it says") == 3


@pytest.mark.parametrize("how", ["01", "+5", " 7", "9" * 19])
@pytest.mark.usefixtures("undrawn")
def test_adapt_takes_the_labels_that_train_took(tmp_path, how):
    """As they are written, whatever they are as numbers."""
    labels = [how, how.lstrip(" 0+") + "0", "1"]
    rows = [(f"t{i % 6}", i / 9 % 4, labels[i // 6 % 3]) for i in range(90)]
    file, run = write(tmp_path / "t.csv", rows, ("t", "x", "y")), tmp_path / "run"
    arguments = ["--task", "t", "--target", "y", "--kind", "classification", "--alone"]
    assert numaml("train", file, *arguments, "--out", run, *SHORT) == 0
    support = write(tmp_path / "s.csv", [(k, one) for k, one in enumerate(labels)], ("x", "y"))
    out = tmp_path / "p.csv"
    assert numaml("adapt", run, "--support", support, "--query", support, "--out", out) == 0
    predicted = {row["predicted y"] for row in csv.DictReader(out.read_text().splitlines())}
    assert predicted <= {one.strip() for one in labels}
    other = write(tmp_path / "o.csv", [(1, "001")], ("x", "y"))
    assert numaml("adapt", run, "--support", other, "--query", support, "--out", out) == 2


@pytest.mark.parametrize("few", ["--shots", "--queries"])
def test_batch_normalisation_is_not_trained_on_one_row(data, tmp_path, capsys, few):
    arguments = [*COLUMNS, "--norm", "batch", "--out", tmp_path / "run"]
    assert numaml("train", data, *arguments, few, "1") == 2
    error = capsys.readouterr().err
    assert f'{few[2:]} is 1, and norm="batch"' in error
    assert 'or norm="layer"' in error
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("undrawn")
def test_a_learner_that_could_not_be_written_is_told_before_the_training(tmp_path, capsys):
    names = [f"{'x' * 480}{k}" for k in range(1500)]  # names of 0.7 MB, and as much again behind
    rows = [(f"t{i % 6}", i, *range(1500)) for i in range(72)]
    file = write(tmp_path / "t.csv", rows, ("t", "y", *names))
    arguments = ["--task", "t", "--target", "y", *SHORT, "--out", tmp_path / "run"]
    assert numaml("train", file, *arguments, "--held", "0") == 0
    capsys.readouterr()
    more = write(tmp_path / "m.csv", [(*row, *range(9000)) for row in rows],
                 ("t", "y", *names, *(f"{'y' * 480}{k}" for k in range(9000))))  # fmt: skip
    arguments[-1] = tmp_path / "more"
    assert numaml("train", more, *arguments) == 2
    assert re.search(r"takes? \d+ bytes; want at most", capsys.readouterr().err)
    assert not (tmp_path / "more").exists()
