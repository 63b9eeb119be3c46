"""One task as two CSV files: what is read, what is written, and which cell an error names."""

import dataclasses
import os
import re

import numpy as np
import pytest

from numaml import MLP, Learner, MAMLRegressor, Scaling
from numaml.command import main as cli
from numaml.data import columns
from numaml.data.csvfile import read_csv
from numaml.experiments import runs
from numaml.experiments.sinusoid import Sinusoid

pytestmark = pytest.mark.usefixtures("in_turn")

BOTH = ("support", "query")
UNITS = Scaling([20.0, 5.0], [3.0, 2.0], [1000.0], [50.0])
ABOUT = {"features": ["heat", "rain"], "target": "yield", "task": "field"}
REGRESSION = Learner(
    MLP((2, 6, 1), "tanh"), MLP((2, 6, 1)).init(0, np.float32), 0.1, 3, UNITS, provenance=ABOUT
)
KINDS = MLP((2, 6, 3), loss="cross_entropy")
CLASSIFIER = Learner(KINDS, KINDS.init(0), 0.5, 4, classes=np.array(["ant", "bee", "cow"]))
SUPPORT = "yield,heat,rain,field\n990,21,4,b\n1010,18,6.5,b\n1e3,2.2e1,5,b\n"
QUERY = 'name,rain,heat\nfirst,5,20\n\n"a,\nb",4.5,17\n'


@pytest.fixture
def adapt(tmp_path, capsys):
    """Run the command; give its exit status, what it said, and the file it was to write."""

    def run(learner, support, query, *more):
        learner.save(tmp_path / "learner.npz")
        for name, text in zip(BOTH, (support, query), strict=True):
            content = text if isinstance(text, bytes) else text.encode()
            (tmp_path / f"{name}.csv").write_bytes(content)
        files = [f"--{name}={tmp_path}/{name}.csv" for name in BOTH]
        out = tmp_path / "out.csv"
        status = cli.main(["adapt", str(tmp_path), *files, f"--out={out}", *more])
        said = capsys.readouterr()
        return status, said.out + said.err, out

    return run


def test_columns_are_found_by_name_and_rows_keep_their_order(adapt):
    status, said, out = adapt(REGRESSION, SUPPORT, QUERY)
    assert status == 0, said
    x = np.array([[21, 4], [18, 6.5], [22, 5]])
    y = REGRESSION.adapt(x, np.array([990.0, 1010, 1000])).predict([[20.0, 5], [17, 4.5]])
    assert out.read_text() == (
        "name,rain,heat,predicted yield\n"
        f"first,5,20,{y[0]}\n\"a,\nb\",4.5,17,{y[1]}\n"
    )  # fmt: skip
    assert 800 < min(y) < max(y) < 1200  # in the user's own units


@pytest.mark.parametrize("steps", [0, 9])
def test_steps_may_be_others_than_the_learners(adapt, steps):
    _, _, out = adapt(REGRESSION, SUPPORT, QUERY, f"--steps={steps}")
    x = np.array([[21, 4], [18, 6.5], [22, 5]])
    adapted = REGRESSION.adapt(x, np.array([990.0, 1010, 1000]), steps)
    predicted = [row[-1] for row in read_csv(out).rows]
    assert predicted == [str(y) for y in adapted.predict([[20.0, 5], [17, 4.5]])]


def test_labels_and_their_probabilities_without_names_in_the_learner(adapt):
    support = "a,b,kind\n1,2,cow\n-1,0.5,ant\n3,-2,bee\n"
    _, _, out = adapt(CLASSIFIER, support, "b,a\n2,1\n-2,3\n")
    x, y = np.array([[1, 2], [-1, 0.5], [3, -2]]), np.array(["cow", "ant", "bee"])
    adapted = CLASSIFIER.adapt(x, y)
    query = np.array([[1.0, 2], [3, -2]])
    found = read_csv(out)
    kinds = ("ant", "bee", "cow")
    assert found.header == ["b", "a", "predicted kind", *(f"probability of {k}" for k in kinds)]
    assert found.texts("predicted kind") == adapted.predict(query).tolist()
    p = found.floats([f"probability of {k}" for k in kinds])
    np.testing.assert_array_equal(p, adapted.predict_proba(query))


def test_a_byte_order_mark_and_carriage_returns_are_no_content(adapt):
    _, _, plain = adapt(REGRESSION, SUPPORT, QUERY)
    wanted = plain.read_text()
    plain.unlink()
    windows = ["\ufeff" + text.replace("\n", "\r\n") for text in (SUPPORT, "rain,heat\n5,20\n")]
    status, said, out = adapt(REGRESSION, *windows)
    assert status == 0, said
    assert out.read_text().splitlines()[1].split(",")[-1] == wanted.splitlines()[1].split(",")[-1]


def test_columns_of_an_estimators_table_are_found_by_name(adapt):
    """Also where y had no name: then it is the one that is left."""

    class Table:
        columns = ("heat", "rain")

        def __array__(self, dtype=None, copy=None):
            return X

    X = np.random.default_rng(0).normal(size=(40, 2))
    groups = np.repeat(np.arange(4), 10)
    small = {"hidden": (3,), "iterations": 2, "shots": 2, "queries": 2, "random_state": 0}
    learner = MAMLRegressor(**small).fit(Table(), X[:, 0] - X[:, 1], groups).learner_
    want = learner.adapt([[1.0, 2], [3, 4]], np.array([5.0, 6])).predict([[7.0, 8]])
    for support in ("heat,rain,y\n1,2,5\n3,4,6\n", "y,rain,heat\n5,2,1\n6,4,3\n"):
        _, said, out = adapt(learner, support, "rain,other,heat\n8,-,7\n")
        assert said.endswith("1 row\n"), said
        assert out.read_text().splitlines()[1] == f"8,-,7,{want[0]}"
        out.unlink()
    _, said, _ = adapt(learner, "heat,rain\n1,2\n", QUERY)
    assert "names 2 features, and of" in said
    assert "0 columns () are left for y; want 2 and 1" in said
    _, said, _ = adapt(learner, "heat,y\n1,2\n", "heat\n1\n")
    assert "support.csv has no column 'rain'" in said


def test_a_target_that_is_several_columns(adapt):
    model = MLP((1, 3, 2), "tanh")
    about = {"features": ["x"], "targets": ["low", "high"]}
    learner = Learner(model, model.init(0), 0.1, 2, provenance=about)
    _, said, out = adapt(learner, "high,x,low\n1,2,3\n", "x\n4\n")
    (low, high), *_ = learner.adapt([[2.0]], [[3.0, 1.0]]).predict([[4.0]])
    assert out.read_text() == f"x,predicted low,predicted high\n4,{low},{high}\n", said


@pytest.mark.parametrize(
    "about",
    [
        {"features": [["heat"], {}], "target": "yield"}, {"features": {"heat": 1}},
        {"features": ["heat", "rain"], "target": {"a": 1}, "task": ["b"]},
        {"features": "heat", "target": "yield"}, {"features": ["heat"] * 50_000, "target": "yield"},
        {"features": ["\x1b[31m" + "x" * 10_000] * 2, "target": "yield"},
    ],
)  # fmt: skip
def test_whatever_a_learner_says_of_columns(adapt, about):
    model = MLP((2, 3, 1))
    learner = Learner(model, model.init(0), 0.1, 2, provenance=about)
    status, said, _ = adapt(learner, SUPPORT, QUERY)
    assert status in (0, 2)
    assert len(said) < 2000
    assert said.count("\n") == 1
    assert said.replace("\n", "").isprintable()


BATCHED = Learner(
    MLP((2, 6, 1), norm="batch"), MLP((2, 6, 1)).init(0), 0.1, 3, provenance=ABOUT
)  # fmt: skip
BAD = {
    "one row of a batch": (BATCHED, "yield,heat,rain\n1,2,3\n", "heat,rain\n1,2\n1,3\n",
                           'support.csv has 1 row, and norm="batch"'),
    "one row to predict": (BATCHED, SUPPORT, "heat,rain\n1,2\n",
                           'query.csv has 1 row, and norm="batch" normalises by the rows at hand'),
    "the same rows to predict": (BATCHED, SUPPORT, "heat,rain\n1,2\n1,2.0\n",
                                 "query.csv has 2 rows that are all the same"),
    "an integer no float holds": (REGRESSION, SUPPORT, "heat,rain\n9007199254740993,2\n",
                                  "query.csv, row 2, column 'heat': got 9007199254740993, an int"),
    "no number": (REGRESSION, SUPPORT, "heat,rain\n1,2\n3,abc\n",
                  "query.csv, row 3, column 'rain': got 'abc', want a number"),
    "infinite": (REGRESSION, SUPPORT, "heat,rain\ninf,2\n", "row 2, column 'heat': got 'inf'"),
    "underscores": (REGRESSION, SUPPORT, "heat,rain\n1_0,2\n", "got '1_0', want a number"),
    "missing value": (REGRESSION, "yield,heat,rain\n1,2,3\n\n4,,5\n", QUERY,
                      "support.csv, row 4, column 'heat': is empty, want a number"),
    "ragged": (REGRESSION, "yield,heat,rain\n1,2,3\n1,2\n", QUERY,
               "support.csv, row 3: got 2 cells, want the header's 3"),
    "column twice": (REGRESSION, SUPPORT, "heat,rain,heat\n1,2,3\n",
                     "column 'heat' is there twice"),
    "column without a name": (REGRESSION, SUPPORT, "heat,,rain\n1,2,3\n", "column 2 has no name"),
    "column missing": (REGRESSION, "yield,heat\n1,2\n", QUERY,
                       "support.csv has no column 'rain'; it has yield, heat"),
    "target missing": (REGRESSION, "heat,rain\n1,2\n", QUERY, "no column 'yield'"),
    "empty": (REGRESSION, "\n\n", QUERY, "support.csv is empty; want a header"),
    "two tasks": (REGRESSION, SUPPORT + "1,2,3,c\n", QUERY, "are 2 tasks (b, c); want one"),
    "no rows": (REGRESSION, "yield,heat,rain\n", QUERY, "support.csv has no rows; want one"),
    "open quote": (REGRESSION, SUPPORT, 'heat,rain\n"1,2\n', "query.csv, line 2, is not CSV"),
    "latin-1": (REGRESSION, SUPPORT.encode() + b"\xe9", QUERY, "is not a CSV file in UTF-8"),
    "too large": (REGRESSION, SUPPORT, "heat,rain\n1,2\n3,1e300\n", "query.csv: x[1, 1] is 1e+300"),
    "runs away": (REGRESSION, SUPPORT + "1e30,1,1,b\n", QUERY, "support.csv: adaptation ran away"),
    "label": (CLASSIFIER, "a,b,kind\n1,2,ant\n1,2,dog\n", "a,b\n1,2\n",
              "support.csv, row 3, column 'kind': got 'dog', want one of ant, bee, cow"),
    "no label": (CLASSIFIER, "a,b,kind\n1,2,\n", "a,b\n1,2\n", "row 2, column 'kind': is empty"),
    "by place, too many": (CLASSIFIER, "a,b,c,kind\n1,2,3,ant\n", "a,b\n1,2\n",
                           "support.csv has 4 columns; want 2 of x, then 1 of y"),
    "already predicted": (CLASSIFIER, "a,b,k\n1,2,ant\n", "a,b,predicted k\n1,2,3\n",
                          "has a column 'predicted k' already"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_with_their_place(adapt, name):
    *arguments, wanted = BAD[name]
    status, said, out = adapt(*arguments)
    assert (status, wanted in said) == (2, True), said
    assert said.count("support.csv") + said.count("query.csv") == 1, said
    assert not out.exists()


SITES = ("yield,heat,rain,field\n990,21,4,b\n1010,18,6.5,b\n1e3,22,5,a\n985,20,3,a\n"
         "1015,25,7,a\n900,19,3,c\n")  # fmt: skip
ASKED = "field,heat,rain,yield\na,20,5,1000\nb,17,4.5,\na,23,6,1020\nb,31,6,980\n"


def test_many_tasks_are_adapted_to_each_by_itself(adapt):
    learner = dataclasses.replace(
        REGRESSION, provenance=ABOUT | {"range": {"least": [17, 3.0], "most": [25.0, 7]}}
    )
    status, said, out = adapt(learner, SITES, ASKED, "--task=field", "--steps=2")
    assert status == 0, said
    x = {"a": [[22, 5], [20, 3], [25, 7.0]], "b": [[21, 4], [18, 6.5]]}
    y = {"a": [1000, 985, 1015], "b": [990, 1010]}
    adapted = {name: learner.adapt(x[name], np.array(y[name], float), 2) for name in "ab"}
    rows = [("a", [20, 5]), ("b", [17, 4.5]), ("a", [23, 6]), ("b", [31, 6])]
    want = [adapted[name].predict([row])[0] for name, row in rows]
    predicted = [float(row[-1]) for row in read_csv(out).rows]
    assert predicted == pytest.approx(want, rel=1e-6)  # one by one they round otherwise
    lines = said.splitlines()
    assert lines[0] == "α 0.1, 2 inner steps"
    assert re.search(r"warning: .*query.csv goes beyond training: heat \(1 rows, training had 17 "
                     r"… 25\)$", lines[1])  # fmt: skip
    before = learner.adapt(x["a"], np.array(y["a"], float), 0).predict(x["a"])
    after = adapted["a"].predict(x["a"])
    errors = [np.sqrt(np.mean((one - y["a"]) ** 2)) for one in (before, after)]
    query = np.sqrt(np.mean((adapted["a"].predict([[20, 5], [23, 6]]) - [1000, 1020]) ** 2))
    assert lines[2] == (
        f"a: root mean square error on 3 support rows {errors[0]:.4g} before, {errors[1]:.4g} after"
        f"; on 2 query rows {query:.4g}"
    )
    assert "b: root mean square error on 2 support rows" in lines[3]
    assert "; on 1 query rows" in lines[3]
    assert lines[4].startswith("c: ")
    assert "query rows" not in lines[4]
    out.unlink()
    status, said, _ = adapt(learner, SUPPORT, ASKED, "--task=field")
    assert (status, "has rows of a, of which" in said) == (2, True), said
    status, said, _ = adapt(learner, SITES, ASKED)
    assert "take the rows of one task, or adapt to each with --task field" in said


def test_labels_of_the_query_are_judged(adapt):
    support = "a,b,kind,who\n1,2,cow,x\n-1,0.5,ant,x\n3,-2,bee,y\n"
    _, said, _ = adapt(CLASSIFIER, support, "b,a,who,kind\n2,1,x,cow\n-2,3,y,\n", "--task=who")
    right = CLASSIFIER.adapt([[1, 2], [-1, 0.5]], ["cow", "ant"]).predict([[1.0, 2]])[0] == "cow"
    assert re.search(rf"x: right on 2 support rows .*; on 1 query rows {100 * right:.1f} %", said)


def test_categories_and_missing_cells_are_taken_as_in_training(adapt):
    about = columns.kept([columns.Column("sex", "category", ("f", "m")),
                          columns.Column("age", fill=40.0)])  # fmt: skip
    model = MLP((4, 3, 1), "tanh")
    learner = Learner(model, model.init(0), 0.1, 2, provenance={
        "columns": about, "features": ["sex = f", "sex = m", "age", "age is missing"],
        "target": "y"})  # fmt: skip
    support = "age;y;sex\n31,5;1,5;m\nNA;2;f\n"
    _, said, out = adapt(learner, support, "sex;age\nf;\nm;50\n")
    assert "columns are parted by ';'" in said
    assert "numbers have decimal commas" in said
    x = [[0, 1, 31.5, 0], [1, 0, 40, 1]]
    want = learner.adapt(x, np.array([1.5, 2])).predict([[1.0, 0, 40, 1], [0, 1, 50, 0]])
    assert [float(row.split(",")[-1]) for row in out.read_text().splitlines()[1:]] == list(want)
    _, said, _ = adapt(learner, support, "sex;age\nx;3\n", "--out=elsewhere")
    assert "row 2, column 'sex': got 'x', want one of f, m, which training knew" in said
    _, said, _ = adapt(learner, support, "sex;age\n;3\n", "--out=elsewhere")
    assert "row 2, column 'sex': is empty" in said


@pytest.mark.parametrize("said", [
    [{}], [1], "age", [{"name": "a", "kind": "wing", "categories": [], "fill": None}],
    [{"name": "a", "kind": "number", "categories": ["b"], "fill": None}] * 2,
    [{"name": "a", "kind": "category", "categories": ["b"], "fill": [1]}],
])  # fmt: skip
def test_whatever_a_learner_says_of_how_columns_are_read(adapt, said):
    model = MLP((2, 3, 1))
    about = ABOUT | {"columns": said, "range": said}
    learner = Learner(model, model.init(0), 0.1, 2, provenance=about)
    status, text, _ = adapt(learner, SUPPORT, QUERY)
    assert (status, "the columns are" in text) == (2, True), text


def test_a_run_that_is_not_finished_says_how_to_finish_it(tmp_path, capsys):
    runs.write(Sinusoid(), tmp_path)
    assert cli.main(["adapt", str(tmp_path), "--support=s.csv", "--query=q.csv"]) == 2
    said = capsys.readouterr().err
    assert f"not there yet; finish the run with numaml train sinusoid --resume {tmp_path}" in said


def test_a_learner_that_is_none_or_not_there(tmp_path, capsys):
    command = ["adapt", str(tmp_path), "--support=s.csv", "--query=q.csv"]
    assert cli.main(command) == 2
    assert "learner.npz is not there; want a file that" in capsys.readouterr().err
    (tmp_path / "learner.npz").write_bytes(b"no such thing")
    assert cli.main(command) == 2
    assert "learner.npz is not a learner: " in capsys.readouterr().err


@pytest.mark.parametrize("how", ["link", "hard link", "pipe", "folder"])
def test_a_name_in_a_run_that_leads_elsewhere_is_not_followed(adapt, tmp_path, capsys, how):
    status, said, out = adapt(REGRESSION, SUPPORT, QUERY)
    assert status == 0, said
    out.unlink()
    path, other = tmp_path / "learner.npz", tmp_path / "other.npz"
    path.rename(other)
    make = {"link": path.symlink_to, "hard link": path.hardlink_to}
    if how in make:
        make[how](other)
    else:
        os.mkfifo(path) if how == "pipe" else path.mkdir()
    files = [f"--{name}={tmp_path}/{name}.csv" for name in BOTH]
    assert cli.main(["adapt", str(tmp_path), *files, f"--out={out}"]) == 2
    wanted = {"link": "is a link", "pipe": "is a pipe", "folder": "is a folder"}.get(how, "2 names")
    assert wanted in capsys.readouterr().err
    assert not out.exists()
    if how == "link":  # one that the user named
        assert cli.main(["adapt", str(path), *files, f"--out={out}"]) == 0
