"""`adapt`: what is measured before and after, stages, new words, broken off and gone on with, and what is refused before any work."""

import hashlib
import json
import math

import numpy as np
import pytest
from tests.folders import theirs, tokenizer_of
from tests.runs import small

import bertsmith
from bertsmith.downstream import adapted, adapting, surprise
from bertsmith.downstream.adaptation import PARTS, RESULT, Adaptation, result_of
from bertsmith.downstream.domain_texts import rows_source
from bertsmith.errors import InputError
from bertsmith.text.store import Store
from bertsmith.training.start import recipe_for

SETTINGS = ["training.batch=256", "training.precision=float32", "training.held_out=512", "schedule.lr=3e-3"]
MORE = {"threads": 1, "passages": 6, "holdout": 0.2, "set": SETTINGS}


@pytest.fixture(scope="module")
def texts(documents, tmp_path_factory):
    """An old text, and a new one: its documents are others, with two words that no old one has."""
    folder = tmp_path_factory.mktemp("texts")
    (folder / "old.txt").write_text("\n\n".join(text[:1500] for text in documents[:14]) + "\n")
    new = [text[:1500].replace("object", "haematocrit").replace("class", "sigmoidoscopy") for text in documents[20:36]]
    (folder / "new.txt").write_text("\n\n".join(new) + "\n")
    words = [text.split()[:12] for text in documents[40:64]]
    rows = [f"{' '.join([*part, 'yes' if i % 2 else 'no'])}\t{i % 2}" for i, part in enumerate(words)]
    (folder / "train.tsv").write_text("\n".join(["text\tlabel", *rows]) + "\n")
    return folder


def task(texts):
    return {"task": "classify", "train": texts / "train.tsv", "dev": 0.25, "seeds": 2, "epochs": 1}


@pytest.fixture(scope="module")
def asked(texts, pretrained):
    """An old text, new words, a corpus and then the texts of a task."""
    how = {"keep": texts / "old.txt", "new_words": 3, "texts_of": texts / "train.tsv", "steps": 8}
    return {"model": pretrained, "corpus": texts / "new.txt", **how, **task(texts), **MORE}


@pytest.fixture(scope="module")
def run(asked, tmp_path_factory):
    out, said = tmp_path_factory.mktemp("adapted") / "run", []
    return out, bertsmith.adapt(**asked, out=out, say=said.append), said


def weights(out):
    (step,) = (out / "steps").iterdir()
    return hashlib.sha256((step / "model.safetensors").read_bytes()).hexdigest()


# -- what is made -----------------------------------------------------------------------------------------------------------------------


def test_the_run_is_a_model_with_the_words_and_its_folder_verifies(run, pretrained):
    out, found, _ = run
    old, new = bertsmith.load(pretrained), bertsmith.load(out)
    assert (
        new.kind == "pretrain"
        and new.tokenizer.size == old.tokenizer.size + 3 == old.tokenizer.size + found["new_words"]["tokens"]
    )
    assert new.tokenizer.token(old.tokenizer.size) in ("haematocrit", "sigmoidoscopy")
    plain = ["the value of an operator is what it was"]
    assert np.array_equal(old.tokenizer.encode(plain)[0][0], new.tokenizer.encode(plain)[0][0])
    assert bertsmith.verify(out)["kind"] == "run"
    assert bertsmith.fill(out, "the [MASK] of an operator")["masks"]
    assert result_of(out)["stages"] == found["stages"] and [*found["stages"]] == ["domain", "task"]
    assert all(stage["steps"] <= 4 and 1 <= stage["best"] <= stage["steps"] for stage in found["stages"].values())
    (step,) = (out / "steps").iterdir()
    assert step.name == f"step-{found['stages']['task']['best']:08d}"


def test_what_adapt_json_says_is_what_is_printed(run):
    out, found, said = run
    kept = json.loads((out / RESULT).read_text())
    assert {name: kept[name] for name in found} == found
    lines = [*adapted.table(found)]
    assert lines == said[-len(lines) :] and lines[-len(found["says"]) :] == found["says"]
    assert [line.split(",")[0] for line in lines[1:4]] == ["old text", "new text", "texts of the task"]


def test_bits_are_those_of_the_score_of_passages_that_were_held_out(run, asked, texts):
    out, found, _ = run
    passages = json.loads((out / PARTS / "text" / "looked-at.json").read_text())["texts"]
    for name, file in (("old", "old.txt"), ("domain", "new.txt")):
        whole = (texts / file).read_text()
        assert passages[name]["passages"] and all(passage in whole for passage in passages[name]["passages"])
        for when, model in (("before", asked["model"]), ("after", out)):
            total = bertsmith.score(model, [{"text": text} for text in passages[name]["passages"]])["total"]
            assert found["bits_per_byte"][name][when]["value"] == pytest.approx(total["bits_per_byte"], rel=1e-6)
    assert found["forgetting"] == found["bits_per_byte"]["old"]["difference"]
    bits = found["bits_per_byte"]["domain"]
    assert bits["difference"]["value"] == pytest.approx(bits["after"]["value"] - bits["before"]["value"])


def test_what_is_held_out_of_each_text_is_what_its_store_holds_out(run):
    out, found, _ = run
    for stage in ("domain", "task"):
        languages = Store.open(out / PARTS / "text" / stage).manifest["languages"]
        for name, language in (("old", "en-old"), (stage, "en-new")):
            assert found["texts"][name]["held_out"] == languages[language]["held-out"]["documents"]
            total = sum(split["documents"] for split in languages[language].values())
            assert found["texts"][name]["documents"] == total


def test_the_old_text_is_read_by_its_share(run):
    out, _, _ = run
    config = json.loads((out / PARTS / "stages" / "domain" / "config.json").read_text())
    assert config["recipe"]["training"]["shares"] == [0.1, 0.9]
    assert config["from"]["new_tokens"]["count"] == 3


def test_a_task_is_tuned_from_both_with_the_same_seeds(run):
    out, found, _ = run
    runs = [out / PARTS / "task" / when for when in ("after", "before")]
    compared = bertsmith.compare(*runs, changed=0)
    assert found["task"]["difference"] == compared["difference"] and found["task"]["seeds"] == 2
    begins = [json.loads((run / "seed-0" / "config.json").read_text())["from"]["path"] for run in runs]
    assert begins[0].startswith(str(out)) and not begins[1].startswith(str(out))


def test_an_export_of_it_opens_elsewhere_with_the_words(run, tmp_path):
    transformers = pytest.importorskip("transformers")
    bertsmith.export(run[0], to="hf", out=tmp_path / "hf")  # logits are compared before it says so
    tokens = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf").tokenize("a haematocrit of sigmoidoscopy")
    assert len(tokens) < len(bertsmith.load(tmp_path / "hf").tokenizer.encode(["a haematocrit of xyzzqw"])[0][0])
    assert "haematocrit" in tokens or "sigmoidoscopy" in tokens


# -- broken off -------------------------------------------------------------------------------------------------------------------------


class Broken(Exception):
    pass


SLOW = pytest.mark.slow
STEPS = ("text/looked-at", "measured/before-old", "measured/after-task", "measured/task")


@pytest.mark.parametrize("at", ["stages/learned", *(pytest.param(at, marks=SLOW) for at in STEPS)])
def test_broken_off_behind_any_step_it_ends_in_the_same_bytes(at, run, asked, tmp_path, monkeypatch):
    kept = Adaptation.kept

    def until(self, name, make):
        found = kept(self, name, make)
        if name == at:
            raise Broken
        return found

    with monkeypatch.context() as patch, pytest.raises(Broken):
        patch.setattr(Adaptation, "kept", until)
        bertsmith.adapt(**asked, out=tmp_path / "run")
    found = bertsmith.adapt(**asked, out=tmp_path / "run", resume=True)
    assert found == run[1] and weights(tmp_path / "run") == weights(run[0])
    assert (tmp_path / "run" / RESULT).read_bytes() == (run[0] / RESULT).read_bytes()


@pytest.mark.parametrize("updates", [6, *(pytest.param(n, marks=SLOW) for n in (2, 9))])
def test_broken_off_in_a_stage_or_a_fine_tuning_it_ends_in_the_same_bytes(updates, run, asked, tmp_path):
    done = []

    def progress(step, *_):
        done.append(step)
        if len(done) == updates:
            raise Broken

    with pytest.raises(Broken):
        bertsmith.adapt(**asked, out=tmp_path / "run", progress=progress)
    found = bertsmith.adapt(**asked, out=tmp_path / "run", resume=True)
    assert found == run[1] and weights(tmp_path / "run") == weights(run[0])


def test_what_was_begun_is_gone_on_with_as_it_was_asked_or_not_at_all(run, asked, texts):
    out, _, _ = run
    with pytest.raises(InputError, match=r"holds an adaptation already; resume=True goes on"):
        bertsmith.adapt(**asked, out=out)
    for change, says in (
        ({"steps": 9}, "steps: the adaptation was begun with 8, now it is 9"),
        ({"keep": texts / "new.txt"}, "text of old"),
    ):
        with pytest.raises(InputError, match=says):
            bertsmith.adapt(**{**asked, **change, "corpus": texts / "new.txt"}, out=out, resume=True)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    bertsmith.adapt(**asked, out=out, resume=True)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == before


# -- models of others -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "family, head, objective, fresh",
    [
        ("bert", "none", "roberta", ["token"]),
        ("bert", "token+pair", "bert", []),
        ("roberta", "token", "roberta", []),
        ("xlm-roberta", "token", "roberta", []),
        ("electra", "replaced", "electra", ["generator", "token"]),
        ("deberta-v2", "none", "deberta-v3", ["generator", "token", "replaced"]),
        ("modernbert", "token", "modernbert", []),
    ],
)
def test_folders_of_others_go_on_with_a_fresh_head_where_they_lack_one(
    family, head, objective, fresh, documents, texts, tmp_path
):
    transformers = pytest.importorskip("transformers")
    theirs(transformers, family, head, tokenizer_of(documents[:20]), tmp_path / "hf")
    said = []
    settings = [*SETTINGS, "layout.length=32"]
    found = bertsmith.adapt(
        tmp_path / "hf", texts / "new.txt", steps=5, out=tmp_path / "run", say=said.append, **{**MORE, "set": settings}
    )
    assert found["objective"] == objective and sorted(found["fresh"]) == sorted(fresh)
    assert [*found["stages"]] == (["head", "domain"] if fresh else ["domain"])
    assert any("begin" in line and "fresh" in line for line in said) == bool(fresh)
    assert bertsmith.load(tmp_path / "run").recipe.name == objective
    assert found["forgetting"] is None and "was not measured" in found["says"][2 if fresh else 1]
    assert ("under a fresh head" in found["says"][0]) == bool(fresh)


def test_a_fresh_head_is_taught_over_the_trunk_as_it_was(documents, texts, tmp_path):
    transformers = pytest.importorskip("transformers")
    theirs(transformers, "bert", "none", tokenizer_of(documents[:20]), tmp_path / "hf")
    how = {**MORE, "set": [*SETTINGS, "layout.length=32"]}
    bertsmith.adapt(tmp_path / "hf", texts / "new.txt", steps=10, out=tmp_path / "run", **how)
    old, head, new = (
        dict(bertsmith.load(path).member.named_parameters())
        for path in (tmp_path / "hf", tmp_path / "run" / PARTS / "stages" / "head", tmp_path / "run")
    )
    trunk = [name for name in old if name.startswith("model.")]
    assert trunk and all(old[name].equal(head[name]) for name in trunk)
    assert any(not old[name].equal(new[name]) for name in trunk)


def test_another_members_objective_is_asked_where_one_is_named(pretrained, texts, tmp_path):
    found = bertsmith.adapt(pretrained, texts / "new.txt", objective="spanbert", steps=2, out=tmp_path / "run", **MORE)
    assert found["objective"] == "spanbert" and found["fresh"] == ["boundary"]


# -- what is refused, before anything is written ------------------------------------------------------------------------------------------


def refused(texts, pretrained, tmp_path, says, **change):
    given = {"model": pretrained, "corpus": texts / "new.txt", "steps": 4, "out": tmp_path / "run", **MORE, **change}
    with pytest.raises(InputError, match=says) as caught:
        bertsmith.adapt(**given)
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()


def test_options_that_cannot_be_are_refused(texts, pretrained, tmp_path):
    see = lambda says, **change: refused(texts, pretrained, tmp_path, says, **change)
    see("a text to adapt to is wanted", corpus=())
    see("give one of steps=N, tokens=N, minutes=N", steps=None)
    see("give only one of", minutes=1)
    see("keep_share=1: expected a share", keep_share=1)
    see("holdout=0: expected a share above 0", holdout=0)
    see("patience=0: expected a number from 1", patience=0)
    see("task='classify': train=FILE is wanted beside it", task="classify")
    see("task=KIND says what they are", train=texts / "train.tsv")
    see("objective='brt'.*did you mean 'bert'", objective="brt")
    see("no field 'lyout'|lyout", set=["lyout.length=32"])
    see("no such folder", model=tmp_path / "nothing")
    see("nothing.txt: no file matches|nothing.txt", corpus=tmp_path / "nothing.txt")
    see("objective='bart': it wants a decoder, which .* has not", objective="bart")
    see("objective='xlnet': it wants tokens that only ask", objective="xlnet")
    see("objective='ulmfit': it wants a body that is a Recurrent", objective="ulmfit")
    see("unknown|known", task="clasify", train=texts / "train.tsv", dev=0.2)


def test_a_corpus_that_is_the_old_domain_already_is_refused(texts, pretrained, documents, tmp_path):
    part = tmp_path / "part.txt"
    part.write_text("\n\n".join(text[:1500] for text in documents[2:9]) + "\n")
    refused(texts, pretrained, tmp_path, "corpus: 100% of it stands in keep", corpus=part, keep=texts / "old.txt")
    copy = tmp_path / "copy.txt"
    copy.write_bytes((texts / "new.txt").read_bytes())
    refused(texts, pretrained, tmp_path, "it is the old domain already", keep=copy)


def test_a_text_that_is_partly_in_the_old_one_is_said(texts, pretrained, documents, tmp_path):
    both = tmp_path / "both.txt"
    both.write_text((texts / "new.txt").read_text() + "\n" + documents[2][:1500] + "\n")
    said = []
    bertsmith.adapt(pretrained, both, keep=texts / "old.txt", steps=1, out=tmp_path / "run", say=said.append, **MORE)
    assert any(line.startswith("warning: corpus: ") and "stands in keep too" in line for line in said)


def test_new_words_that_are_tokens_or_cannot_be_are_refused(texts, pretrained, documents, tmp_path):
    known = tmp_path / "known.txt"
    known.write_text("the\nof\n")
    refused(texts, pretrained, tmp_path, "new_words: no word of them is new", new_words=known)
    refused(texts, pretrained, tmp_path, "no such file; a word list", new_words=tmp_path / "none.txt")
    transformers = pytest.importorskip("transformers")
    theirs(transformers, "xlm-roberta", "token", tokenizer_of(documents[:20], "unigram:300"), tmp_path / "hf")
    refused(
        texts, pretrained, tmp_path, "new_words: this tokenizer keeps the space", model=tmp_path / "hf", new_words=3
    )


def test_a_text_that_the_tokenizer_does_not_know_is_refused(texts, pretrained, tmp_path):
    (tmp_path / "zh.txt").write_text(
        "\n\n".join(f"我们在学习语言模型{i}。它们很有用，今天天气也很好。" for i in range(20))
    )
    refused(texts, pretrained, tmp_path, r"corpus: .*are \[UNK\].*allow_unknown=True", corpus=tmp_path / "zh.txt")


def test_a_text_of_which_nothing_is_held_out_is_refused(texts, pretrained, tmp_path):
    (tmp_path / "one.txt").write_text("One document of a sentence. And of another one.\n")
    refused(texts, pretrained, tmp_path, "of 1 document none is held out", corpus=tmp_path / "one.txt", holdout=0.01)


def test_a_place_that_is_taken_is_refused(pretrained, texts, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    given = {"model": pretrained, "corpus": texts / "new.txt", "steps": 4, **MORE}
    with pytest.raises(InputError, match="is a folder that is not a run"):
        bertsmith.adapt(**given, out=tmp_path / "mine")
    with pytest.raises(InputError, match="holds a run"):
        bertsmith.adapt(**given, out=pretrained)
    with pytest.raises(InputError, match="holds a run"):
        bertsmith.adapt(**given, out=pretrained, resume=True)


# -- what it says -----------------------------------------------------------------------------------------------------------------------


def score(value, low, high):
    return {"value": value, "low": low, "high": high}


def result(new, old=None, task=None):
    bits = {"domain": {"before": score(2.0, 1, 3), "after": score(1.9, 1, 3), "difference": score(*new)}}
    bits |= {"old": {"before": score(2.0, 1, 3), "after": score(1.9, 1, 3), "difference": score(*old)}} if old else {}
    found = {"task": "classify", "chosen_by": "accuracy", "difference": {"accuracy": score(*task)}} if task else None
    helped = {"domain": new[2] < 0} | ({"score": task[1] > 0} if task else {})
    return {
        "stages": {},
        "bits_per_byte": bits,
        "forgetting": bits["old"]["difference"] if old else None,
        "task": found,
        "helped": helped,
    }


def test_it_says_so_where_it_did_not_help():
    says = lambda *given: [*adapted.says(result(*given))]
    good, bad, even = (-0.2, -0.3, -0.1), (0.2, 0.1, 0.3), (0.0, -0.1, 0.1)
    assert says(good, good) == [
        "new text: 0.2000 bits a byte fewer than before (10.0%)",
        "nothing is forgotten: 0.2000 bits a byte fewer on the old text",
    ]
    assert says(good, bad)[1] == "forgotten: 0.2000 bits a byte more on the old text"
    assert "nothing is forgotten that can be seen" in says(good, even)[1]
    assert "cannot be told apart" in says(even)[0] and says(even)[-1].startswith("it did not help: new text no better")
    assert says(bad)[0] == "new text: 0.2000 bits a byte more than before" and "it did not help" in says(bad)[-1]
    assert says(good, good, even)[-1].startswith("it did not help: score of classify no better than before")
    assert "the task after is better than before by 0.200" in says(good, good, bad)[-1]


def test_bits_per_byte_are_paired():
    before = {"method": "pll", "logprob": [-8 * math.log(2), -4 * math.log(2)], "bytes": [4, 4], "tokens": [2, 2]}
    after = {**before, "logprob": [-6 * math.log(2), -2 * math.log(2)]}
    found = surprise.held_against(before, after)
    assert found["before"]["value"] == pytest.approx(1.5) and found["after"]["value"] == pytest.approx(1.0)
    assert all(found["difference"][key] == pytest.approx(-0.5) for key in ("value", "low", "high"))
    assert surprise.perplexity(before) == pytest.approx(2**3)


# -- parts ------------------------------------------------------------------------------------------------------------------------------


def test_a_run_ends_when_its_held_out_loss_turns_and_keeps_the_best_step(short, tmp_path):
    recipe = small("training.evaluate=1", "schedule.lr=0.5", "schedule.warmup=5", "schedule.decay=constant")
    found = bertsmith.pretrain(recipe, short, tmp_path / "run", steps=60, patience=2, threads=1)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["evaluation"]["token"]["loss"] for line in lines]
    assert found["steps"] == len(losses) == found["best"] + 2 < 60
    assert min(losses) == losses[found["best"] - 1]
    assert (tmp_path / "run" / "steps" / f"step-{found['best']:08d}").is_dir()
    again = bertsmith.pretrain(recipe, short, tmp_path / "run", steps=60, patience=2, threads=1, resume=True)
    assert {**again, "seconds": 0} == {**found, "seconds": 0}
    for how, says in (
        ({"patience": 0}, "patience=0: expected a number of exams"),
        ({"watch": "de"}, "watch='de': says whose loss ends a run early"),
        ({"watch": "de", "patience": 2}, "watch='de': no language of the held-out text"),
    ):
        with pytest.raises(InputError, match=says):
            bertsmith.pretrain(recipe, short, tmp_path / "other", steps=2, **how)


def test_texts_of_labelled_files_are_documents_once_each(tmp_path):
    (tmp_path / "pairs.tsv").write_text("a\tb\tlabel\none text\tanother\tx\none text\ta third\ty\n")
    columns = {"text": "a", "text2": "b"}
    assert rows_source(tmp_path / "pairs.tsv", None, columns, True, "utf-8").rows == ("one text", "another", "a third")
    (tmp_path / "tags.conll").write_text("Paris B\nis O\n\nRome B\n")
    assert rows_source(tmp_path / "tags.conll", "tag", None, True, "utf-8").rows == ("Paris is", "Rome")


def test_a_model_that_goes_on_keeps_its_own_rate_in_a_run_of_minutes(pretrained):
    recipe = recipe_for("bert", pretrained)
    assert recipe.brief.fields(recipe, 1_000_000)["schedule.lr"] == recipe.schedule.lr == 1e-4


def test_what_a_resumed_command_must_ask_again_are_arguments_of_the_verb():
    import inspect

    names = inspect.signature(bertsmith.adapt).parameters
    assert {*adapting.SAME, *adapting.TEXT, *adapting.ROWS, *adapting.TUNED} <= names.keys()
