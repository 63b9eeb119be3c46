"""``numaml train omniglot``: what a user types, sees, and finds in the folder afterwards."""

import csv
import dataclasses
import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import numaml
from numaml import omniglot
from numaml.command import main as cli
from numaml.command import report
from numaml.experiments import omniglot as characters
from numaml.experiments import runs
from numaml.experiments.omniglot import Omniglot
from numaml.experiments.sinusoid import Sinusoid
from numaml.learning.evaluation import accuracies
from numaml.learning.state import State

pytestmark = pytest.mark.usefixtures("in_turn")

SHORT = [
    "--iterations", "60", "--every", "20", "--tasks", "4", "--hidden", "16", "12",
    "--characters", "30", "--validation", "7",
]  # fmt: skip


def command(*arguments):
    return cli.main([str(argument) for argument in arguments])


def write_data(path, seed=0, classes=(26, 19)):
    """Glyphs in the place of Omniglot's drawings: 8×8 pixels as 24×24 in a frame of two.

    Three alphabets to learn from, "p" with six characters of 26 and "q" and "r" with the others,
    and two to judge by.
    """
    p, q, s = 6 * classes[0] // 26, 9 * classes[0] // 26, 7 * classes[1] // 19
    background_alphabet = np.repeat(["p", "q", "r"], [p, q, classes[0] - p - q])
    evaluation_alphabet = np.repeat(["s", "t"], [s, classes[1] - s])
    x, _ = numaml.glyphs(seed, sum(classes), 20)
    images = np.pad(np.kron(x, np.ones((3, 3), np.uint8)), ((0, 0), (2, 2), (2, 2)))
    background, evaluation = np.split(images.reshape(-1, 20, 28, 28), [classes[0]])
    np.savez(
        path,
        background=background, background_alphabet=background_alphabet,
        evaluation=evaluation, evaluation_alphabet=evaluation_alphabet,
    )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_data(folder / "omniglot28.npz")
    return folder


TEST_TASKS = characters.TEST_TASKS


@pytest.fixture(scope="module", autouse=True)
def fewer_test_tasks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(characters, "TEST_TASKS", 200)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("characters") / "run"
    assert command("train", "omniglot", "--data", data, "--out", folder, *SHORT) == 0
    return folder


def test_a_run_folder_has_everything(trained):
    assert {path.name for path in trained.iterdir()} == {
        "config.json", "checkpoint.npz", "learner.npz", "metrics.csv", "validation.csv",
        "results.csv",
        "learning_curve.png", "accuracy.png", "task.png", "first-order",
    }  # fmt: skip
    names = {path.name for path in (trained / "first-order").iterdir()}
    assert names == {
        "config.json", "checkpoint.npz", "learner.npz", "metrics.csv", "validation.csv",
    }  # fmt: skip
    config = json.loads((trained / "config.json").read_text())
    assert (config["experiment"], config["norm"], config["alpha"]) == ("omniglot", "batch", 2.0)
    for figure in ("learning_curve.png", "accuracy.png", "task.png"):
        assert (trained / figure).read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader((trained / "results.csv").read_text().splitlines()))
    assert [row["steps"] for row in rows] == [str(k) for k in range(11)] * 2
    for learner in ("", "first-order"):
        state = State.load(trained / learner)
        assert [iteration for iteration, _ in state.scores] == [20, 40, 60]
        assert state.iteration == 60


def test_the_defaults_are_the_papers():
    config = Omniglot()
    assert config.model == numaml.MLP(
        (784, 256, 128, 64, 64, 5), "relu", "cross_entropy", norm="batch"
    )
    assert (config.tasks, config.shots, config.steps, config.beta) == (32, 1, 1, 1e-3)
    assert (config.iterations, config.characters) == (60_000, 1200)
    assert TEST_TASKS >= 1000
    theta = config.start(np.random.default_rng(0))
    for W, b in config.model.unpack(theta):
        assert abs(W.std() - 0.01) < 5 * 0.01 / (2 * W.size) ** 0.5  # five standard errors
        assert not b.any()
    assert theta.dtype == np.float32


def test_alpha_is_that_of_mamls_code():
    """Its inner loss, softmax_cross_entropy_with_logits(…) / shots, is a vector over the ways ·
    shots examples, whose gradient TensorFlow sums."""
    config = Omniglot(hidden=(6,), shots=3)
    model, rng = config.model, np.random.default_rng(0)
    theta, rows = model.init(0), 5 * config.shots
    batch = numaml.Batch(rng.normal(size=(rows, 784)), rng.integers(0, 5, rows))

    def summed(theta):
        u = model.predict(theta, batch.x)
        p = np.exp(u) / np.exp(u).sum(-1, keepdims=True)
        return -np.log(p[np.arange(rows), batch.y]).sum() / config.shots

    v = rng.normal(size=model.size)
    theirs = 0.4 * numaml.check.complex_step(summed, theta, v)
    ours = config.alpha * model.linearize(theta, batch)[1] @ v
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)  # both exact to rounding


def test_training_and_test_have_no_character_in_common(data):
    config = Omniglot(data=str(data), characters=30, validation=7, shots=2)
    parts = config.parts()
    assert [len(part.images) for part in parts] == [23, 7, 15]
    seen = [{drawing.tobytes() for drawing in part.images.reshape(-1, 28 * 28)} for part in parts]
    assert len(set.union(*seen)) == sum(map(len, seen))
    source = config.source()
    assert len(source.x) == 4 * 23 * 20
    assert (source.ways, source.shots, source.queries, source.scale) == (5, 2, 2, 1 / 255)
    other = Omniglot(data=str(data), characters=30, validation=7, seed=1)
    assert not np.array_equal(other.parts()[2].images, parts[2].images)


def test_training_and_test_have_no_alphabet_in_common(data):
    config = Omniglot(data=str(data), split="alphabets", validation=7)
    sets = numaml.omniglot.sets(data)
    seen = set()
    for seed in range(9):
        train, validation, test = dataclasses.replace(config, seed=seed).parts()
        assert np.array_equal(test.images, sets["evaluation"].images)
        names = set(train.alphabets), set(validation.alphabets)
        assert names[0] | names[1] == {"p", "q", "r"}
        assert not names[0] & names[1]
        assert len(validation.images) >= 7
        for part in (train, validation):
            of = np.isin(sets["background"].alphabets, part.alphabets)
            assert np.array_equal(part.images, sets["background"].images[of])
        seen.add(tuple(sorted(names[1])))
    assert {("q",), ("r",), ("p", "q"), ("p", "r")} & seen > {("q",)}
    assert len(dataclasses.replace(config, validation=0).parts()[1].images) == 0


def test_tasks_of_one_alphabet(data):
    config = Omniglot(data=str(data), split="alphabets", validation=6, within=True, tasks=40)
    train = config.parts()[0]
    image = {one.tobytes(): name for one, name in zip(train.images, train.alphabets, strict=True)}
    turned = {
        np.rot90(drawing, turn).tobytes(): (name, turn)
        for character, name in zip(train.images, train.alphabets, strict=True)
        for drawing in character
        for turn in range(4)
    }
    assert len(image) == len(train.images)
    tasks = config.source()(np.random.default_rng(0))
    drawn = np.rint(tasks.support.x * 255).astype(np.uint8)
    found = [{turned[one.tobytes()] for one in task} for task in drawn]
    assert {len(one) for one in found} == {1}
    assert set.union(*found) == {(name, turn) for name in set(train.alphabets) for turn in range(4)}
    across = dataclasses.replace(config, within=False).source()(np.random.default_rng(0))
    drawn = np.rint(across.support.x * 255).astype(np.uint8)
    assert max(len({turned[one.tobytes()] for one in task}) for task in drawn) > 2


def test_alphabets_from_the_command_line(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(report, "draw", lambda *_: None)
    monkeypatch.setattr(characters, "TEST_TASKS", 100)
    small = ["--hidden", 5, "--tasks", 2, "--iterations", 4, "--every", 2, "--validation", 6]
    options = ["--data", data, "--out", tmp_path / "run", *small, "--alone", "--within"]
    assert command("train", "omniglot", *options, "--split", "alphabets") == 0
    printed = capsys.readouterr().out
    assert "accuracy in % on alphabets never trained on, one a task (100 tasks" in printed
    assert "paper" not in printed
    assert command("evaluate", tmp_path / "run") == 0
    assert capsys.readouterr().out in printed
    cache = np.load(data / "omniglot28.npz")
    other = dict(cache) | {"evaluation_alphabet": np.roll(cache["evaluation_alphabet"], 1)}
    np.savez(tmp_path / "omniglot28.npz", **other)
    assert command("evaluate", tmp_path / "run", "--data", tmp_path) == 2
    assert "are not those this run was trained on" in capsys.readouterr().err


def test_the_table_shows_what_was_measured(trained, capsys):
    learners = runs.load(trained)
    one = learners["first-order"]
    rows = Omniglot.results(learners, seed=0)
    got = characters.accuracies_on_fresh_tasks(one, 0)
    assert got.shape == (11, 200)
    row = next(r for r in rows if (r["learner"], r["steps"]) == ("first-order", 3))
    assert row["accuracy"] == got[3].mean()
    assert row["ci95"] == 1.96 * got[3].std() / 200**0.5
    assert f"{100 * row['accuracy']:.1f} ± {100 * row['ci95']:.1f}" in Omniglot.table(rows)
    source = one.experiment.tasks_from(one.experiment.parts()[2], characters.CHUNK, 1)
    first = source(np.random.default_rng([0, 2]))
    want = accuracies(one.experiment.model, one.theta, first, one.experiment.alpha, 10)
    assert np.array_equal(got[:, : characters.CHUNK], want)


def test_the_best_in_validation_is_tested(trained):
    one = runs.load(trained)["exact"]
    iterations, scores = zip(*one.state.scores, strict=True)
    assert one.theta is one.state.best
    assert one.experiment.validator()(one.theta) == max(scores)
    assert one.experiment.validator()(one.state.theta) == scores[iterations.index(60)]


def test_evaluate_prints_the_same_table_again(trained, data, tmp_path, capsys):
    assert command("evaluate", trained) == 0
    first = capsys.readouterr().out
    for text in ("5-way 1-shot", "(200 tasks", "MAML, exact", "first-order MAML", "10 steps",
                 "89.7 ± 1.1", "88.9"):  # fmt: skip
        assert text in first
    moved = shutil.copytree(data, tmp_path / "moved")
    assert command("evaluate", trained, "--data", moved) == 0
    assert capsys.readouterr().out == first
    assert command("evaluate", trained, "--seed", 7) == 0
    assert capsys.readouterr().out != first


def test_other_images_are_refused(trained, tmp_path, capsys):
    write_data(tmp_path / "omniglot28.npz", seed=1)
    for arguments in (["evaluate", trained], ["train", "omniglot", "--resume", trained]):
        assert command(*arguments, "--data", tmp_path) == 2
        assert "are not those this run was trained on" in capsys.readouterr().err


def test_resume_extends_a_run_to_the_bits_of_a_longer_one(trained, data, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "draw", lambda *_: None)
    shutil.copytree(trained, tmp_path / "run")
    assert command("train", "omniglot", "--resume", tmp_path / "run", "--iterations", 90) == 0
    longer = ["--out", tmp_path / "longer", *SHORT, "--iterations", 90]
    assert command("train", "omniglot", "--data", data, *longer) == 0
    for name in ("", "first-order"):
        a, b = State.load(tmp_path / "run" / name), State.load(tmp_path / "longer" / name)
        assert np.array_equal(a.theta, b.theta)
        assert np.array_equal(a.best, b.best)
        assert (a.values, a.scores) == (b.values, b.scores)
        assert len(a.scores) == 4
    for name in ("config.json", "results.csv", "validation.csv", "metrics.csv", "learner.npz"):
        files = [(tmp_path / run / name).read_bytes() for run in ("run", "longer")]
        assert files[0] == files[1], name


def test_other_ways_and_shots(data, tmp_path, capsys):
    more = [
        "--ways", 6, "--shots", 2, "--norm", "layer", "--alone", "--validation", 0, "--alpha", 1,
    ]  # fmt: skip
    arguments = ["--data", data / "omniglot28.npz", "--out", tmp_path / "run", *SHORT, *more]
    assert command("train", "omniglot", *arguments, "--first-order") == 0
    printed = capsys.readouterr()
    assert "6-way 2-shot" in printed.out
    assert "paper" not in printed.out
    assert "MAML, exact" not in printed.out
    assert "validation" not in printed.err
    assert not (tmp_path / "run" / "validation.csv").exists()
    assert (tmp_path / "run" / "task.png").is_file()
    one = runs.load(tmp_path / "run")["first-order"]
    assert one.theta is one.state.theta
    assert one.experiment.model.norm == "layer"
    assert one.experiment.source().queries == 2


def test_convolutions_by_two_processes(data, tmp_path, monkeypatch, plain):
    """To the bits of the same shards on threads; judged at rates of its own."""
    monkeypatch.setattr(characters, "TEST_TASKS", 100)
    experiment = Omniglot(
        data=str(data), conv=True, filters=(5, 4), processes=2, alone=True, tasks=3, queries=2,
        iterations=4, every=2, characters=30, validation=7, test_alpha=(0.7, 0.5),
        validation_tasks=41,
    ).prepared()  # fmt: skip
    model = experiment.model
    convolutions = ((5, 3, 2), (4, 3, 2))
    assert model == numaml.ConvNet((28, 28, 1), convolutions, 5, "relu", "cross_entropy", "batch")
    state = runs.fit(experiment, tmp_path, lambda *_: None)
    learner = numaml.Learner.load(tmp_path / "learner.npz")
    assert (learner.model, learner.steps, experiment.alpha) == (model, 3, 2.0)
    assert learner.alpha == {"steps": [0.7, 0.5, 0.5]}
    tasks = experiment.tasks_from(experiment.parts()[1], 41, 1)(np.random.default_rng([0, 1]))
    share = accuracies(model, state.best, tasks, [0.7, 0.5, 0.5], 3)[-1].mean()
    assert max(score for _, score in state.scores) == share
    rows = Omniglot.results(runs.load(tmp_path), 0)
    assert "98.7 ± 0.4" in Omniglot.table(rows)
    tasks = experiment.tasks_from(experiment.parts()[2], 100, 1)(np.random.default_rng([0, 2]))
    again = accuracies(model, state.best, tasks, [0.7, *[0.5] * 9], 10).mean(1)
    assert [row["accuracy"] for row in rows] == pytest.approx(again, abs=1e-12)
    rng = np.random.default_rng(0)
    start = experiment.start(rng)
    *seen, (head, _) = model.unpack(start)
    assert not head.any()
    for W, _ in seen:  # He's
        assert W.std() * (len(W) / 2) ** 0.5 == pytest.approx(1, abs=0.5)
    with ThreadPoolExecutor(2) as executor:
        want = numaml.train(
            model, start, experiment.source(), alpha=2.0, steps=1, iterations=4, every=2,
            rng=rng, gradient=numaml.sharded(executor, 2),
        )  # fmt: skip
    assert np.array_equal(state.theta, want.theta)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "DATA", *SHORT, "--conv"], "hidden is (16, 12), and without effect with conv"),
        (["--data", "DATA", "--spread", 1, "--conv"], "spread is 1.0, and without effect with"),
        (["--data", "DATA", "--filters", 3], "filters is (3,), and without effect without conv"),
        (["--data", "DATA", "--processes", 2], "processes is 2; want it with --alone"),
        (["--data", "DATA", *SHORT, "--alone", "--processes", 5], "processes is 5 for 4 tasks"),
        ([], "images_evaluation.zip: --data PATH"),
        (["--data", "nowhere"], "nowhere holds neither images_background.zip nor"),
        (["--data", "DATA", "--characters", 45], "at least one class left for the test"),
        (["--data", "DATA"], "got 45 classes for train = 1100 and validation = 100"),
        (["--data", "DATA", *SHORT, "--ways", 8], "y has 7 classes; 8-way tasks need as many"),
        (["--data", "DATA", *SHORT, "--shots", 11], "has 20 examples; shots = 11 and queries"),
        (["--data", "DATA", *SHORT, "--validation", 30], "want train >= 1"),
        (
            ["--data", "DATA", *SHORT, "--split", "alphabets"],
            "characters is 30, and without effect",
        ),
        (["--data", "DATA", "--split", "alphabets"], "which all 3 background alphabets are needed"),
        (["--data", "DATA", "--within"], "want it with split 'alphabets'"),
        (
            ["--data", "DATA", "--split", "alphabets", "--validation", 6, "--within", "--ways", 7],
            "there are 6 classes; 7-way tasks",
        ),
        (["--resume", "nowhere"], "nowhere/config.json is not there"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(
    arguments, message, data, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    arguments = [data if argument == "DATA" else argument for argument in arguments]
    assert command("train", "omniglot", *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_missing_pillow_is_an_error_of_one_line(tmp_path, monkeypatch, capsys):
    def load(_path):
        raise ImportError("reading Omniglot's archives needs Pillow")

    monkeypatch.setattr(omniglot, "sets", load)
    assert command("train", "omniglot", "--data", tmp_path, "--out", tmp_path / "run") == 2
    assert capsys.readouterr().err == "numaml: reading Omniglot's archives needs Pillow\n"


@pytest.mark.parametrize(
    "arguments",
    [["--ways", "1"], ["--norm", "group"], ["--characters", "0"], ["--every", "0"]],
)
def test_bad_options_are_refused_with_usage(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        command("train", "omniglot", *arguments)
    assert stop.value.code == 2
    assert "usage: numaml" in capsys.readouterr().err


def test_a_preset_is_named_settings_that_others_override(data, tmp_path, capsys):
    run = tmp_path / "run"
    arguments = ["--data", data, "--out", run, "--alone", *SHORT, "--preset", "1-shot"]
    assert command("train", "omniglot", *arguments, "--shots", "2") == 0
    config = runs.read(run)
    assert (config.queries, config.decay, config.iterations) == (5, True, 60)
    assert config.shots == 2
    capsys.readouterr()
    assert command("train", "omniglot", "--resume", run, "--preset", "1-shot") == 2
    assert "--preset cannot change in a resumed run" in capsys.readouterr().err
    assert command("train", "omniglot", "--resume", run, "--iterations", "90") == 2
    assert "--iterations cannot change in a resumed run" in capsys.readouterr().err
    assert command("train", "omniglot", "--resume", run) == 0


def test_help_says_every_default_once(capsys):
    with pytest.raises(SystemExit):
        command("train", "omniglot", "--help")
    text = " ".join(capsys.readouterr().out.split())
    assert "None" not in text
    for part in ("(default: 256 128 64 64)", "(default: as many as shots)", "(default: 2.0)",
                 "(default: batch)", "(default: 1200)", "images_evaluation.zip"):  # fmt: skip
        assert text.count(part) == 1, part


def test_a_run_of_another_experiment_is_not_resumed(trained, tmp_path, capsys):
    assert command("train", "sinusoid", "--resume", trained) == 2
    assert "not of the experiment sinusoid, but omniglot" in capsys.readouterr().err
    runs.write(Sinusoid(), tmp_path)
    assert command("evaluate", tmp_path, "--data", tmp_path) == 2
    assert "is a sinusoid run, which needs no --data" in capsys.readouterr().err
