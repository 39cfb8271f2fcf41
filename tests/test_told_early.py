"""What a newcomer is told of a fine-tuning that cannot be: before a row is read, by the name of what was asked, and what can be had in its place."""

import json
import logging

import pytest

import bertsmith
from bertsmith.downstream import grid
from bertsmith.downstream.unseen import learned
from bertsmith.errors import InputError
from bertsmith.tasks.given import source
from bertsmith.text.hub import alone

pytestmark = pytest.mark.usefixtures("one_thread")
SETS = ["batch=8", "precision=float32"]
WORDS = ("list", "class", "call", "name", "body", "module")


def rows(count, second=False):
    found = [{"text": f"the {WORDS[i % 6]} of {WORDS[i // 6]}", "label": "ab"[i % 2]} for i in range(count)]
    return [{**row, "text2": f"a {row['text']}"} for row in found] if second else found


def refused(model, tmp_path, **options):
    """What it says, and every line that was said before."""
    said = []
    options = {"task": "classify", "train": rows(12), "dev": rows(8)[:6], "set": SETS, "threads": 1, **options}
    options["train"] = options["train"] if "train" in options else rows(12)
    with pytest.raises(InputError) as raised:
        bertsmith.finetune(model, out=tmp_path / "run", say=said.append, **options)
    assert "\n" not in str(raised.value) and not (tmp_path / "run").exists()
    return str(raised.value), said


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"set": ["length=2"]}, "length: 2 tokens leave no room for a text"),
        ({"set": ["length=9999"]}, "length: 9999 is more than the model's 512 positions"),
        ({"set": ["warmup=-1"]}, "warmup: -1.0 is negative"),
        ({"set": ["warmup=5"], "steps": 3}, "warmup: 5 steps of warm-up in a run of 3; at most 3"),
        ({"set": ["layer_decay=0"]}, "layer_decay: 0.0 is not above 0 and at most 1"),
        ({"set": ["unfreeze=-1"]}, "unfreeze: -1.0 is negative"),
        ({"set": ["weight_decay=-1"]}, "weight_decay: -1.0 is below 0"),
        ({"set": ["reinit=99"]}, "reinit: 99: the model has 1 layer; lower it"),
        ({"set": ["layers=[7]"], "method": "frozen"}, "layers: 7: this model has 0 (the embedding) to 1"),
        ({"set": {"class_weights": {"a": -1}}}, "class_weights: a: -1 is not a number above 0"),
        ({"set": ["sizes=[16]"], "task": "similarity"}, "sizes: 16: the vectors have 16 numbers"),
        ({"set": ["loss=cosin"], "task": "similarity"}, "did you mean 'cosine'"),
        (
            {"task": "retrieval", "baseline": True},
            "baseline=True: task='retrieval' has none; classify, multilabel, ordinal, ",
        ),
        ({"teacher": "nowhere"}, "teacher: nowhere: no such folder"),
        ({"against": "nowhere"}, "nowhere: no such folder"),
        ({"learning_curve": ["all"]}, "learning_curve: one number is no curve; give several, such as 50,500,all"),
        ({"learning_curve": [8]}, "learning_curve: one number is no curve; give several, such as 8,all"),
        ({"learning_curve": [8, 8]}, "learning_curve: 8: stands there twice"),
        ({"folds": 3, "dev": None, "set": ["length=2"]}, "length: 2 tokens leave no room"),
        ({"folds": 13, "dev": None}, "folds=12 at most"),
        ({"search": ["reinit=1,99"]}, "search=reinit=99: reinit: 99: "),
        ({"search": ["head=linear,crf"]}, "search=head=crf: head: crf: task='classify' has linear, san"),
        ({"search": ["on_long=window,cut"]}, "search=on_long: cut: unknown; known: error, truncate, window"),
        ({"search": ["lora.rank=2,4"]}, "search=lora.rank=2: set={'lora': …}: method='full' has none"),
        ({"search": ["epoch=2,3"]}, "search=epoch: no such setting; did you mean 'epochs'?"),
    ],
)
def test_what_can_be_known_before_a_row_is_read_is_told_before(options, says, pretrained, tmp_path):
    told, before = refused(pretrained, tmp_path, **options)
    assert says in told and before == []


@pytest.mark.parametrize(
    ("part", "says"), [("nothing", "begin with model or objective"), ("model.layer", "did you mean")]
)
def test_parts_that_stay_and_are_none_are_told_as_what_was_set(part, says, pretrained, tmp_path):
    told, _ = refused(pretrained, tmp_path, set={"frozen": [part]})
    assert told.startswith("frozen: ") and says in told


def test_a_model_that_is_not_there_is_told_before_the_rows_are_read(tmp_path):
    told, before = refused(tmp_path / "nothing", tmp_path)
    assert "no such folder" in told and before == []


def test_every_setting_that_can_be_searched_is_listed_once():
    with pytest.raises(InputError) as raised:
        grid.parsed(["xyz=1,2"])
    names = str(raised.value).partition("known: ")[2].split(", ")
    assert len(names) == len({*names}) and "epochs" in names


@pytest.mark.parametrize("task", ["classify", "tag", "qa", "choice", "similarity", "text2text"])
def test_a_folder_in_place_of_a_file_is_told_as_one_with_a_file_that_is_in_it(task, pretrained, tmp_path):
    (tmp_path / "data").mkdir()
    told, _ = refused(pretrained, tmp_path, task=task, train=tmp_path / "data")
    assert told.endswith("data: is a folder, where a file is wanted")
    (tmp_path / "data" / "train.tsv").write_text("text\tlabel\na\tx\n")
    told, _ = refused(pretrained, tmp_path, task=task, train=tmp_path / "data")
    assert told.endswith(f"is a folder, where a file is wanted, such as {tmp_path / 'data' / 'train.tsv'}")


def test_a_folder_that_is_called_like_a_file_and_a_file_that_is_not_there_are_told_as_what_they_are(
    pretrained, tmp_path
):
    (tmp_path / "dev.tsv").mkdir()
    assert "dev.tsv: is a folder, where" in refused(pretrained, tmp_path, dev=tmp_path / "dev.tsv")[0]
    assert "nowhere: no such file" in refused(pretrained, tmp_path, dev=tmp_path / "nowhere")[0]
    (tmp_path / "dev").write_text("text\tlabel\na\tx\n")
    assert "dev: its name does not end with a kind of file" in refused(pretrained, tmp_path, dev=tmp_path / "dev")[0]


@pytest.fixture(scope="module")
def classifiers(pretrained, tmp_path_factory):
    """Of single texts, and of pairs."""
    folder = tmp_path_factory.mktemp("classifiers")
    for name in ("single", "pairs"):
        train, dev = rows(12, name == "pairs"), rows(20, name == "pairs")[12:]
        bertsmith.finetune(
            pretrained, task="classify", train=train, dev=dev, out=folder / name, steps=2, set=SETS, threads=1
        )
    return folder / "single", folder / "pairs"


def test_second_texts_that_a_model_does_not_read_are_told_and_left_out_where_the_columns_say_so(classifiers, tmp_path):
    single, _ = classifiers
    pairs = rows(4, second=True)
    for ask in (bertsmith.predict, bertsmith.evaluate):
        with pytest.raises(InputError, match=r"text2: .*single reads single texts, and these are pairs; columns='text"):
            ask(single, pairs)
    with pytest.raises(InputError, match="reads single texts"):
        bertsmith.predict(single, [("a", "b")])
    path = tmp_path / "rows.tsv"
    path.write_text("text\ttext2\n" + "".join(f"{row['text']}\t{row['text2']}\n" for row in pairs))
    alone = bertsmith.predict(single, [row["text"] for row in pairs])
    assert bertsmith.predict(single, path, columns="text=text") == alone


def test_single_texts_given_to_a_model_of_pairs_are_told_to_be_wanted_as_pairs(classifiers):
    with pytest.raises(InputError, match=r"text2: is missing; the row has: text; .*; .*pairs reads pairs of texts"):
        bertsmith.predict(classifiers[1], ["a text"])


def test_a_teacher_or_a_model_that_learned_the_rows_of_the_folds_is_refused(classifiers, pretrained, tmp_path):
    folds = {"folds": 3, "dev": None}
    told, before = refused(pretrained, tmp_path, **folds, teacher=classifiers[0])
    assert "teacher" in told and "learned rows of the training file that are dev rows here" in told and before == []
    told, before = refused(classifiers[0], tmp_path, **folds)
    assert "folds=3 with" in told and "it learned the same file" in told and before == []


def test_a_teacher_that_learned_the_dev_rows_is_refused_and_one_that_held_out_the_same_is_not(
    classifiers, pretrained, tmp_path
):
    told, _ = refused(pretrained, tmp_path, train=rows(20)[12:], dev=rows(12), teacher=classifiers[0])
    assert "learned the dev file" in told
    told, _ = refused(pretrained, tmp_path, dev=0.25, teacher=classifiers[0])
    assert "one that was tuned with the same dev=0.25 did not" in told
    file, held = {"sha256": "a"}, {"sha256": "rows", "share": 0.1}
    mine = {"train": file, "dev": held}
    assert not learned({"train": file, "dev": held}, mine) and learned({"train": file, "dev": {"sha256": "b"}}, mine)
    assert learned({"feeds": {"one": {"train": file}}}, mine) and not learned({}, mine)


def test_a_model_that_learned_the_dev_rows_goes_on_with_a_warning(classifiers, tmp_path):
    said = []
    options = {"task": "classify", "steps": 1, "set": SETS, "threads": 1, "say": said.append}
    bertsmith.finetune(classifiers[0], train=rows(20)[12:], dev=rows(12), out=tmp_path / "run", **options)
    assert any("learned dev rows before" in line and line.startswith("warning") for line in said)


def test_the_file_that_a_model_learned_is_warned_of_where_it_is_scored_on(classifiers):
    for asked, many in ((rows(12), 1), (rows(20)[12:], 0)):
        said = []
        bertsmith.evaluate(classifiers[0], asked, say=said.append)
        assert sum("learned these rows" in line for line in said) == many


def test_libraries_of_the_hub_log_nothing_while_they_are_asked(capfd):
    logger = logging.getLogger("huggingface_hub.utils._http")
    before = logging.getLogger("huggingface_hub").level
    with alone():
        logger.warning("Retrying in 1s [Retry 1/5].")
    assert "Retrying" not in capfd.readouterr().err and logging.getLogger("huggingface_hub").level == before


def test_rows_of_a_kind_name_the_keys_that_they_may_have(pretrained, tmp_path):
    told, _ = refused(pretrained, tmp_path, task="similarity", train=[("a", "b", 1)] * 4, dev=0.5)
    assert "a text, a pair (text, text2) or a dict (text, text2, label, negative) is wanted" in told
    told, _ = refused(pretrained, tmp_path, task="similarity", train=[{"text": "a", "text2": "b"}] * 4, dev=0.5)
    assert "no column 'label', which task='similarity' wants of dev" in told
    assert source([("a", "b")], "rows").lines == [json.dumps({"text": "a", "text2": "b"})]


def test_spans_within_others_of_a_dev_file_are_told_with_what_to_do(pretrained, tmp_path):
    one = {"text": "the list of a class", "label": [[0, 8, "X"], [4, 8, "Y"]]}
    good = [{"text": "the list of a class", "label": [[4, 8, "Y"]]}] * 4
    told, _ = refused(pretrained, tmp_path, task="tag", train=good, dev=[one], on_bad_answer="mend")
    assert told.endswith("leave one of the two out, as on_bad_answer mends training files alone")


def test_a_table_of_texts_given_to_a_tagger_is_told_where_texts_go(pretrained, tmp_path):
    path = tmp_path / "new.tsv"
    path.write_text("text\nthe list of a class\nthe name of a call\n")
    told, _ = refused(pretrained, tmp_path, task="tag", train=path)
    assert "looks like a table of texts" in told and 'texts go into .jsonl, {"text": …} a line' in told
