"""Distillation into a labelled task: what is learned of teachers, of any member and tokenizer, of rows without labels, kept and checked."""

import json
import os
import signal

import numpy as np
import pytest
import torch
from tests.runs import same, small

import bertsmith
from bertsmith.data.batch import IGNORE
from bertsmith.errors import InputError, Interrupted
from bertsmith.objectives.modules.supervised import Classification
from bertsmith.objectives.softened import Softened
from bertsmith.objectives.supervised import Classify

pytestmark = pytest.mark.usefixtures("one_thread")
SETS = ["batch=8", "precision=float32", "lr=0.01"]


def tuned(model, tasks, out, name="classify", **options):
    kind, train, dev = tasks[name]
    options = {"set": SETS, "threads": 1, "epochs": 2, "train": train, "dev": dev, **options}
    return bertsmith.finetune(model, task=kind, out=out, **options)


@pytest.fixture(scope="module")
def teachers(pretrained, store, tasks, tmp_path_factory):
    """Two: one of the student's member, one of another tokenizer and member."""
    folder = tmp_path_factory.mktemp("teachers")
    bertsmith.pretrain(small(member="gpt2"), store, folder / "gpt", steps=1, threads=1)
    tuned(pretrained, tasks, folder / "a", epochs=4)
    tuned(folder / "gpt", tasks, folder / "b", allow_unknown=True)
    return folder / "a", folder / "b"


@pytest.fixture(scope="module")
def student(pretrained, teachers, tasks, tmp_path_factory):
    out, said = tmp_path_factory.mktemp("student") / "run", []
    return out, tuned(pretrained, tasks, out, teacher=[*teachers], seed=1, say=said.append), said


def config(run):
    return json.loads((run / "config.json").read_text())


def test_the_soft_term_is_the_divergence_from_the_mean_of_the_teachers():
    head = object.__new__(Classification)
    logits, said = (
        torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 3.0]]),
        torch.tensor([[0.5, 0.5], [0.2, 0.8], [0.0, 0.0]]),
    )
    own = torch.log_softmax(logits[:2] / 2, 1)
    wanted = 4 * (said[:2] * (said[:2].log() - own)).sum()
    assert Classification.softened(head, logits, said, 2.0) == pytest.approx(wanted.item()), (
        "nothing is asked where none speaks"
    )
    exact = torch.softmax(logits / 2, 1)
    assert Classification.softened(head, logits, exact, 2.0).item() == pytest.approx(0, abs=1e-6)


def test_two_terms_share_a_weight_and_a_model_that_is_used_is_the_objective_alone():
    found = Softened(objective=Classify(classes=3), hard=0.25)
    assert found.weights() == {"label": 0.25, "soft": 0.75}
    with pytest.raises(InputError, match=r"objective.hard: 1.0 is not in \[0, 1\)"):
        Softened(objective=Classify(classes=3), hard=1.0)


def test_an_ensemble_of_any_members_is_asked_once_and_kept_under_its_digest(student, teachers):
    out, _, said = student
    assert any(line.startswith("the mean of 2 teachers: 72 answers about 72 training rows, asked") for line in said)
    about = config(out)["task"]["teacher"]
    (kept,) = out.glob("teacher-*.npy")
    assert about["models"] == [str(run) for run in teachers] and kept.stem.endswith(about["sha256"][:16])
    values = np.load(kept)
    loaded = [bertsmith.load(run) for run in teachers]
    for teacher, of in zip(loaded, values, strict=True):
        rows = bertsmith.predict(teacher, [row[0] for row in _texts()])
        shares = np.array([[row["scores"][name] for name in loaded[0].labels.names] for row in rows])
        ours = np.exp(of / teacher.labels.temperature)
        assert np.allclose(ours / ours.sum(1, keepdims=True), shares, atol=1e-5)
    first = json.loads((out / "metrics.jsonl").read_text().splitlines()[0])
    assert set(first["terms"]) == {"label", "soft"}
    assert first["loss"] == pytest.approx(0.5 * first["terms"]["label"] + 0.5 * first["terms"]["soft"])


_TASKS: dict = {}


@pytest.fixture(autouse=True)
def _remember(tasks):
    _TASKS.update(tasks)


def _texts():
    lines = _TASKS["classify"][1].read_text().splitlines()
    at = lines[0].split("\t").index("text")
    return [(line.split("\t")[at],) for line in lines[1:]]


def test_a_student_is_a_model_like_any_other(student, tasks):
    out, result, _ = student
    found = bertsmith.evaluate(out, tasks["classify"][2])
    assert found["accuracy"]["value"] == pytest.approx(result["dev"]["accuracy"]["value"])
    assert isinstance(bertsmith.load(out).recipe.objective, Classify) and bertsmith.verify(out)["kind"] == "run"


def test_a_student_that_was_killed_goes_on_to_the_same_bytes_and_asks_nobody_again(
    student, pretrained, teachers, tasks, tmp_path
):
    def stop(step, *_):
        if step == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    said: list[str] = []
    with pytest.raises(Interrupted):
        tuned(pretrained, tasks, tmp_path / "run", teacher=[*teachers], seed=1, progress=stop)
    with pytest.raises(InputError, match=r"resume=True: task.teacher.models: the run was begun with"):
        tuned(pretrained, tasks, tmp_path / "run", teacher=teachers[0], seed=1, resume=True)
    tuned(pretrained, tasks, tmp_path / "run", teacher=[*teachers], seed=1, resume=True, say=said.append)
    assert any(line.endswith("72 training rows, read") for line in said)
    same(student[0], tmp_path / "run")
    (kept,) = student[0].glob("teacher-*.npy")
    assert (tmp_path / "run" / kept.name).read_bytes() == kept.read_bytes()


def test_what_teachers_said_is_checked_when_it_is_read(pretrained, teachers, tasks, tmp_path):
    with pytest.raises(Interrupted):
        tuned(
            pretrained,
            tasks,
            tmp_path / "run",
            teacher=teachers[0],
            progress=lambda *_: os.kill(os.getpid(), signal.SIGTERM),
        )
    (kept,) = (tmp_path / "run").glob("teacher-*.npy")
    data = bytearray(kept.read_bytes())
    data[-1] ^= 1
    kept.write_bytes(data)
    with pytest.raises(InputError, match=r"teacher-.*npy: damaged: its SHA-256"):
        bertsmith.verify(tmp_path / "run")
    with pytest.raises(InputError, match=r"teacher-.*npy: damaged: its SHA-256 is not the one in its name"):
        tuned(pretrained, tasks, tmp_path / "run", teacher=teachers[0], resume=True)


@pytest.mark.parametrize("labels", ["none", "half"])
def test_rows_without_a_label_are_learned_of_the_teacher(labels, pretrained, teachers, tasks, tmp_path):
    texts = [text for (text,) in _texts()]
    truth = [line.split("\t") for line in tasks["classify"][1].read_text().splitlines()]
    at = truth[0].index("label")
    rows = [{"text": text} for text in texts]
    if labels == "half":
        rows = [{**row, "label": truth[i + 1][at] if i % 2 else None} for i, row in enumerate(rows)]
    said: list[str] = []
    tuned(pretrained, tasks, tmp_path / "run", train=rows, teacher=teachers[0], say=said.append)
    without = 72 if labels == "none" else 36
    assert any(line.startswith(f"train: {without} of 72 rows without a label") for line in said)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all((line["terms"]["label"] is None) == (labels == "none") for line in lines)
    assert config(tmp_path / "run")["data"]["train"]["unlabelled"] == without
    found = bertsmith.predict(tmp_path / "run", texts)
    theirs = bertsmith.predict(teachers[0], texts)
    assert np.mean([a["label"] == b["label"] for a, b in zip(found, theirs, strict=True)]) > 0.5


def test_a_label_that_is_missing_counts_for_nothing_in_the_labels_own_loss():
    logits, labels = torch.randn(4, 3), torch.tensor([0, IGNORE, 2, IGNORE])
    head = object.__new__(Classification)
    torch.nn.Module.__init__(head)
    head.weighing = None
    assert head.loss(logits, labels) == pytest.approx(head.loss(logits[[0, 2]], labels[[0, 2]]).item())


@pytest.mark.parametrize("name", ["regress", "tag"])
def test_numbers_and_tags_have_teachers_too(name, pretrained, tasks, tmp_path):
    tuned(pretrained, tasks, tmp_path / "teacher", name)
    result = tuned(
        pretrained, tasks, tmp_path / "student", name, teacher=tmp_path / "teacher", set=[*SETS, "hard=0"], epochs=6
    )
    first, *_, last = [json.loads(line) for line in (tmp_path / "student" / "metrics.jsonl").read_text().splitlines()]
    assert last["terms"]["soft"] < first["terms"]["soft"] and result["dev"]


def test_methods_seeds_and_a_search_have_teachers(pretrained, teachers, tasks, tmp_path):
    options = {"teacher": teachers[0], "epochs": 1, "set": SETS}
    tuned(pretrained, tasks, tmp_path / "frozen", method="frozen", **options)
    tuned(pretrained, tasks, tmp_path / "lora", method="lora", seeds=2, **options)
    assert len([*(tmp_path / "lora").glob("teacher-*.npy")]) == 1
    found = tuned(pretrained, tasks, tmp_path / "search", search=["hard=0,0.9"], **options)
    assert len(found["search"]["trials"]) == 2
    assert bertsmith.evaluate(tmp_path / "lora", tasks["classify"][2])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"set": ["hard=0.1"]}, "set={'hard': …}: is of what a teacher says; teacher=RUN names one"),
        ({"teacher": "nowhere"}, "nowhere: no such folder"),
        ({"set": ["hard=1"], "teacher": 0}, "hard: 1.0 is not in [0, 1)"),
        ({"set": ["temperature=0"], "teacher": 0}, "temperature: 0.0 must be above 0"),
        ({"teacher": "pretrained"}, "is a pre-training run"),
        (
            {"teacher": 0, "name": "tag", "set": ["head=crf"]},
            "learns the tags of a sentence together, and a teacher says those of each word",
        ),
        ({"teacher": 0, "name": "regress"}, "is of task='classify'; a teacher of task='regress' is wanted"),
        (
            {"teacher": 0, "name": "qa"},
            "teacher: task='qa' has no teachers; task='classify' or 'regress' or 'tag' or 'relation' has",
        ),
        (
            {"teacher": 0, "train": [{"text": "one"}, {"text": "two"}] * 9, "dev": 0.2},
            "of the training rows have no label",
        ),
        ({"train": [{"text": "one"}, {"text": "two"}] * 9}, "label: is missing"),
        ({"dev": [{"text": "one", "label": "named"}, {"text": "two", "label": ""}], "teacher": 0}, "label: is empty"),
    ],
)
def test_what_cannot_be_taught_is_told_and_nothing_is_written(options, says, pretrained, teachers, tasks, tmp_path):
    options = dict(options)
    given = options.pop("teacher", None)
    if given is not None:
        options["teacher"] = {"pretrained": pretrained, 0: teachers[0]}.get(given, given)
    with pytest.raises(InputError) as raised:
        tuned(pretrained, tasks, tmp_path / "run", **options)
    assert says in str(raised.value) and "\n" not in str(raised.value) and not (tmp_path / "run").exists()
