"""What a newcomer is told of a fine-tuning that cannot be: before a row is read, by the name of what was asked, and what can be had in its place."""

import json
import logging
from collections import Counter
from itertools import pairwise, product
from pathlib import Path

import pytest

import bertsmith
from bertsmith.downstream import grid
from bertsmith.downstream.asked import check_out
from bertsmith.downstream.unseen import learned
from bertsmith.errors import InputError
from bertsmith.files import check_place
from bertsmith.tasks import kinds
from bertsmith.tasks.doubts import doubts
from bertsmith.tasks.given import source
from bertsmith.tasks.readers import json_object
from bertsmith.tasks.reading import Reading, windows
from bertsmith.tasks.table import Table
from bertsmith.text.hub import alone
from bertsmith.training.run import Run

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


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"set": ["stride=4"]}, "stride: 4: is of windows, and on_long='truncate' reads none; on_long='window' does"),
        ({"set": ["length=16", "stride=16"], "on_long": "window"}, "stride: 16: windows of length=16 would leave out"),
        ({"set": ["unfreeze=2"], "steps": 2}, "unfreeze: the second layer would begin to learn after 2 steps in a run"),
        (
            {"set": ["prefix.length=9999"], "method": "prefix"},
            "prefix.length: 9999 in front of each text are more than",
        ),
        ({"set": ["pal.size=3"], "method": "pal"}, "pal.size: 3: the model's 2 heads must divide it; nearest: 4"),
        ({"set": ["orders=both"], "task": "choice"}, "orders: both: task='choice' reads each choice once"),
        ({"set": ["orders=both"], "method": "frozen"}, "orders: both: is for pairs of texts"),
        ({"set": ["form=extract"]}, "sees both sides of a token"),
        ({"set": ["auxiliary=0.5"]}, "has no language model's loss to go on with"),
        ({"device": "tpu"}, "device: 'tpu' is not one of cpu, cuda, cuda:N"),
        ({"task": "relation", "method": "lora"}, "method='lora': the marks [HD] and [TL] are new tokens"),
        ({"columns": "text=text,label=text"}, "columns='label=text': text is that column"),
    ],
)
def test_what_a_model_cannot_do_is_told_before_a_row_is_read(options, says, pretrained, tmp_path):
    told, before = refused(pretrained, tmp_path, **options)
    assert says in told and before == []


def test_a_run_without_a_saved_step_is_told_before_the_rows_are_read(pretrained, tmp_path):
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "config.json").write_bytes((pretrained / "config.json").read_bytes())
    told, before = refused(tmp_path / "begun", tmp_path)
    assert told.endswith("begun: holds no saved step yet; go on with its run first, by resume=True") and before == []


@pytest.mark.parametrize(
    ("member", "says"),
    [
        ("nope", "members='nope': no such module"),
        ("a..b", "no such module"),
        ("os", "members='os': has no dataclass of its own"),
    ],
)
def test_a_module_that_is_none_or_has_no_class_is_told(member, says, pretrained, tmp_path):
    assert says in refused(pretrained, tmp_path, members=(member,))[0]


def test_one_column_is_never_text_and_label(tmp_path):
    (tmp_path / "a.tsv").write_text("text\tlabel\na\tx\nb\ty\n")
    (tmp_path / "a.jsonl").write_text('{"text": "a", "label": "x"}\n')
    (tmp_path / "a.conll").write_text("a O\n\n")
    kind = kinds.kind("classify")
    for name, column in (("a.tsv", "label"), ("a.tsv", "2"), ("a.jsonl", "label")):
        with pytest.raises(InputError, match="text and label are one column"):
            kind.read(tmp_path / name, columns={"text": column})
    assert kind.read(tmp_path / "a.tsv", columns={"text": "label"}, labelled=False).columns == {"text": ["x", "y"]}
    with pytest.raises(InputError, match="text and label are one column, number 2"):
        kinds.kind("tag").read(tmp_path / "a.conll", columns={"text": "2"})


def test_one_number_written_in_two_ways_is_no_two_classes_in_order():
    kind, rows = kinds.kind("ordinal"), lambda *labels: Table(path="f", columns={"label": [*labels]}, lines=[1, 2, 3])
    with pytest.raises(InputError, match=r"f:2: label: 4 and 4\.0 are the same number"):
        kind.learn(rows("4", "4.0", "5"))
    known = kind.learn(rows("3", "4", "5"))
    with pytest.raises(InputError, match=r'f:1: label: "4\.0" is not one of: 3, 4, 5; "4" is the same number'):
        kind.targets(rows("4.0", "4", "5"), known)
    assert any("classes that are the same number" in line for line in doubts(Counter({"4": 1, "4.0": 2})))
    huge = Table(path="f", columns={"text": [*"abc"], "label": ["1" * 5000, "-2", "3"]}, lines=[1, 2, 3])
    assert kinds.kind("classify").learn(huge).names[:2] == ("-2", "3")


def test_a_number_of_too_many_digits_is_told_with_its_line_and_field():
    with pytest.raises(InputError, match=r"^f:3: label: a whole number of 5,000 digits; at most 4,300 are read$"):
        json_object('{"label": ' + "1" * 5000 + ', "more": {"a": 1}}', "f:3")
    with pytest.raises(InputError, match="a number where an object is expected"):
        json_object("1" * 5000, "f:1")


def test_labels_of_choices_name_one_of_them():
    kind = kinds.kind("choice")

    def learned(*rows):
        return kind.learn(kind.read(source([*rows], "train", fields=kind.fields, pair=kind.pair)))

    equal = {"text": "a", "choices": ["x", "x", "y"], "label": "x"}
    with pytest.raises(InputError, match=r"train\[0\]: label: 'x' names 2 of its 3 choices, which are one text"):
        learned(equal)
    assert learned({**equal, "label": "y"}).counted == "text"
    with pytest.raises(InputError, match="label: -1 says that the answer is not known; here a label is its text, its"):
        learned({**equal, "label": -1})
    read = kind.read(source([equal], "train", fields=kind.fields, pair=kind.pair))
    assert "1 row offers one text twice" in read.notes[0]


def test_a_file_of_choices_given_for_questions_is_told_as_such(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a", "choices": ["x", "y"], "label": 1}\n')
    with pytest.raises(InputError, match=r"to choose from, but task='qa' reads .*; task='choice' reads such"):
        kinds.kind("qa").read(tmp_path / "a.jsonl")


def test_every_token_stands_in_a_window_however_far_apart_they_are_asked_to_be():
    for size, room, stride in product((1, 17, 64), (1, 5, 31), (None, 1, 5, 80, 999)):
        found = windows(size, room, stride)
        assert {at for start, end in found for at in range(start, end)} == {*range(size)} and len(found) <= size


def test_windows_that_cannot_be_as_far_apart_as_asked_are_told(pretrained):
    row = {"question": "what is a list", "context": "the list of a class " * 20, "answers": [], "id": "1"}
    kind = kinds.kind("qa")
    rows = kind.read(source([row], "train", fields=kind.fields, pair=kind.pair), labelled=False)
    reading = Reading(length=24, on_long="window", stride=22)
    encoded = kind.encode(bertsmith.load(pretrained).tokenizer, rows, reading)
    assert "without a gap or an overlap" in encoded.notes[0]
    ends = encoded.key.rows[:, 2:].tolist()
    assert ends[0][0] == 0 and all(start <= end for (_, end), (start, _) in pairwise(ends))


def test_outputs_of_one_call_are_several_files_and_none_is_the_input(classifiers, tmp_path):
    asked = tmp_path / "rows.jsonl"
    asked.write_text('{"text": "the list"}\n')
    out = tmp_path / "out.jsonl"
    with pytest.raises(InputError, match="out and explain are one file"):
        bertsmith.predict(classifiers[0], asked, out, explain=tmp_path / "." / "x" / ".." / "out.jsonl")
    with pytest.raises(InputError, match="explain is the input file"):
        bertsmith.predict(classifiers[0], asked, out, explain=asked)
    with pytest.raises(InputError, match="out is the input file"):
        bertsmith.augment(classifiers[0], asked, asked)
    assert not out.exists() and asked.read_text() == '{"text": "the list"}\n'


def test_a_place_where_nothing_can_stand_is_told_as_such(pretrained, tmp_path):
    (tmp_path / "a.tsv").write_text("")
    for out, says in (
        (tmp_path / "a.tsv" / "x", "a.tsv is a file, and nothing can stand in it"),
        ("/proc/x", "nothing can be made in /proc"),
    ):
        with pytest.raises(InputError, match=says):
            check_out(Path(out), 0, 1, False)
        with pytest.raises(InputError, match=says):
            bertsmith.predict(pretrained, ["a"], out)
    check_place(tmp_path / "b" / "c")
    assert not (tmp_path / "b").exists()


def test_a_run_of_another_kind_is_told_as_what_it_is(pretrained, classifiers, tmp_path):
    for resume in (False, True):
        with pytest.raises(InputError, match="out holds a pre-training run; choose another place"):
            check_out(pretrained, 0, 1, resume)
        with pytest.raises(InputError, match="out holds a fine-tuning; choose another place"):
            Run(classifiers[0]).check_free(resume)
        with pytest.raises(InputError, match="out holds a fine-tuning to one task; choose another place"):
            check_out(classifiers[0], 0, 1, resume, several=True)
