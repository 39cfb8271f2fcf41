"""Models that learn to write about texts: what they learn, read, keep and refuse; classes that a decoder reads; encoders that get a decoder."""

import json
import random

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.runs import lines, same
from tests.test_distributed import alike
from tests.test_tuning_runs import broken_off
from tests.workers import outcome, work

import bertsmith
from bertsmith.config import override
from bertsmith.data.decoded import decoded, shifted
from bertsmith.downstream.model import load
from bertsmith.downstream.written_answers import MOST
from bertsmith.errors import InputError
from bertsmith.nn.member import build, parameters
from bertsmith.recipe import find
from bertsmith.tasks import kinds
from bertsmith.tasks.reading import Reading
from bertsmith.training.run import Run

pytestmark = pytest.mark.usefixtures("one_thread")
LETTERS = "bcdefg"
MEMBERS = ("bart", "mass", "t5", "gpt2", "roberta", "bert")
ALL = {"dropout": 0, "batch": 32, "precision": "float32"}


def rows(count, longest, said, seed):
    draw = random.Random(seed)
    texts = [[draw.choice(LETTERS) for _ in range(draw.randint(1, longest))] for _ in range(count)]
    return [{"text": " ".join(text), "label": said(text)} for text in texts]


def backwards(text):
    return " ".join(text[::-1])


def twice(text):
    return " ".join(text * 2)


def has_b(text):
    return "yes" if "b" in text else "no"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """{member: a run of one layer after 2 updates}, over letters; `store` beside them."""
    folder = corpus_of_letters(tmp_path_factory.mktemp("models"))
    for name in MEMBERS:
        tiny_run(name, folder)
    return folder


def corpus_of_letters(folder):
    """The folder, with a store."""
    draw = random.Random(0)
    text = "\n\n".join("\n".join(" ".join(draw.choices(LETTERS + "yno", k=9)) for _ in range(4)) for _ in range(30))
    (folder / "corpus.txt").write_text(text + " yes no 0123456789.\n")
    bertsmith.prepare([str(folder / "corpus.txt")], folder / "store", tokenizer="wordpiece:60", holdout=0.1)
    return folder


def tiny_run(name, folder, *further, out=None):
    """A run of one layer after 2 updates, on the folder's store."""
    shape = ["model.layers=1", "model.width=64", "model.hidden=128", "model.heads=2", "model.dropout=0"]
    sets = [*shape, "layout.length=32", "training.batch=512", "training.held_out=256", "training.precision=float32"]
    out = folder / name if out is None else out
    bertsmith.pretrain(override(find(f"{name}:tiny"), [*sets, *further]), folder / "store", out, steps=2, threads=1)
    return out


def tune(models, name, out, train=None, dev=None, **options):
    train = rows(60, 3, backwards, 0) if train is None else train
    dev = rows(12, 3, backwards, 1) if dev is None else dev
    options["set"] = {**ALL, "lr": 2e-3, **options.get("set", {})}
    options = {"task": "text2text", "steps": 3, "threads": 1, "seed": 3, **options}
    return bertsmith.finetune(models / name, train=train, dev=dev, out=out, **options)


@pytest.mark.parametrize(
    ("name", "said", "longest", "steps"),
    [("bart", twice, 2, 200), ("gpt2", backwards, 2, 100), ("mass", twice, 1, 100), ("t5", twice, 1, 300)],
)
def test_models_learn_to_write(models, tmp_path, name, said, longest, steps):
    train, dev = rows(400, longest, said, 0), rows(30, longest, said, 1)
    result = tune(models, name, tmp_path / "run", train, dev, steps=steps, metric="exact", set={"evaluations": 0.2})
    assert result["dev"]["exact"]["value"] >= 0.9
    found = bertsmith.predict(tmp_path / "run", dev)
    right = np.mean([row["text"] == given["label"] for row, given in zip(found, dev, strict=True)])
    assert right == result["dev"]["exact"]["value"] and {row["stopped"] for row in found} == {"end"}
    assert list(found[0])[:4] == ["index", "text", "score", "stopped"] and all(row["score"] <= 0 for row in found)
    scores = bertsmith.evaluate(tmp_path / "run", dev)
    assert {name: dict(score) for name, score in scores.items()} == result["dev"]
    found = bertsmith.predict(tmp_path / "run", [row["text"] for row in dev][:3])
    assert [row["text"] for row in found] == [row["label"] for row in dev[:3]]


def batch_of(models, name, texts, targets, **options):
    loaded = load(models / name)
    reading = Reading.of(loaded.recipe, 32)
    made = kinds.kind("text2text").asking()
    from dataclasses import replace

    kind = replace(made, limit=6, **options)
    from bertsmith.tasks import given

    table = kind.read(
        given.source(list(zip(texts, targets, strict=True)), "rows", {}, fields=kind.fields, pair=kind.pair)
    )
    pairs = kind.encode(loaded.tokenizer, table, reading)
    return loaded, pairs, pairs.batch(np.arange(len(texts)), kind.asked(pairs, targets))


def shown(loaded, tokens):
    return loaded.tokenizer.decode(tokens)


def test_a_decoder_reads_what_is_written_behind_its_start_and_is_asked_for_all_of_it(models):
    for name, start, read in (("bart", "[SEP]", "[CLS] b c [SEP] [CLS] d [SEP]"), ("t5", "[PAD]", "b c [SEP] d [SEP]")):
        loaded, pairs, batch = batch_of(models, name, ["b c", "d"], ["c b", "d d d"])
        assert shown(loaded, batch.input.tokens) == read
        assert shown(loaded, batch.output.tokens) == f"{start} c b {start} d d d"
        assert shown(loaded, batch.targets["token"].labels) == "c b [SEP] d d d [SEP]"
        assert batch.output.visibility == "causal" and pairs.lengths.tolist() == [2 + 1 + (name == "bart") + 3, 1 + 1 + (name == "bart") + 4]  # fmt: skip


def test_a_language_model_is_asked_for_the_target_alone_behind_the_text(models):
    for visibility in ("causal", "prefix"):
        loaded, _, batch = batch_of(models, "gpt2", ["b c", "d"], ["c b", "d d d"], visibility=visibility)
        assert shown(loaded, batch.input.tokens) == "b c [SEP] c b [SEP] d [SEP] d d d [SEP]"
        target = batch.targets["token"]
        assert shown(loaded, target.labels) == "c b [SEP] d d d [SEP]"
        assert (batch.input.tokens[target.at[:, 0] + 1] == target.labels).all()
        ranks = batch.input.query_rank[:6].tolist()
        assert ranks == ([0, 0, 0, 3, 4, 5] if visibility == "prefix" else [*range(6)])


def test_a_prefix_sees_all_of_itself_and_nothing_of_what_is_written(models):
    loaded, _, batch = batch_of(models, "gpt2", ["b c d"], ["c b"], visibility="prefix")
    stream = batch.input.to("cpu")
    before = loaded.member.model(stream).detach()
    for at, changed in ((2, {0, 1, 2, 3, 4, 5, 6}), (5, {5, 6})):
        tokens = stream.tokens.clone()
        tokens[at] = tokens[3]
        from dataclasses import replace

        after = loaded.member.model(replace(stream, tokens=tokens)).detach()
        assert set(torch.nonzero((after != before).any(1))[:, 0].tolist()) == changed


def test_targets_that_are_too_long_are_cut_counted_and_said_or_refused(models, tmp_path):
    said: list[str] = []
    train = [*rows(20, 1, backwards, 0), {"text": "b c d e", "label": "e d c b"}, {"text": "b c d", "label": "d c b"}]
    result = tune(models, "bart", tmp_path / "run", train, say=said.append, set={"target_length": 3})
    assert any("train: 2 of 22 targets (9.1%) are longer than 3 tokens; 3 tokens cut" in line for line in said), said
    assert result["texts"]["train"]["long_targets"] == 2
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["task"]["target_length"] == 3
    with pytest.raises(InputError, match=r"train\[20\]: target: 5 tokens, its end included, and 3 are written at most"):
        tune(models, "bart", tmp_path / "no", train, set={"target_length": 3}, on_long="error")
    tune(models, "bart", tmp_path / "all", train)
    assert json.loads((tmp_path / "all" / "config.json").read_text())["task"]["target_length"] == 5


@pytest.mark.parametrize("name", ["bart", "gpt2"])
def test_a_run_that_was_broken_off_ends_as_the_one_that_was_not(models, tmp_path, name):
    options = {"steps": None, "epochs": 3, "set": {"dropout": 0.1, "smoothing": 0.1, "batch": 8, "beam": 2}}
    options |= {"template": "b {text}", "train": rows(24, 3, backwards, 0)}
    straight = tune(models, name, tmp_path / "straight", **options)
    for how, at in (("stop", 2), ("kill", 4)):
        broken_off(lambda **k: tune(models, name, tmp_path / "run", resume=True, **k, **options), how, at)
    assert tune(models, name, tmp_path / "run", resume=True, workers=2, **options) == straight
    same(tmp_path / "straight", tmp_path / "run", state=False)
    with pytest.raises(InputError, match=r"resume=True: task\.template"):
        tune(models, name, tmp_path / "run", resume=True, **{**options, "template": "c {text}"})


def test_two_processes_learn_what_one_does_in_copies_and_in_slices(children, models, tmp_path):
    jobs = []
    for part, seed, count in (("train", 0, 40), ("dev", 1, 9)):
        text = "".join(json.dumps(row) + "\n" for row in rows(count, 3, backwards, seed))
        (tmp_path / f"{part}.jsonl").write_text(text)
    task = {"task": "text2text", **{part: str(tmp_path / f"{part}.jsonl") for part in ("train", "dev")}}
    sets = ["batch=8", "lr=0.002", "dropout=0", "precision=float32"]
    for name in ("bart", "gpt2", "bert"):
        common = {"model": str(models / name), "task": task, "set": sets, "options": {"steps": 8}}
        jobs += [{"name": f"{name}-one", "alone": True, **common}, {"name": f"{name}-two", **common}]
        jobs.append({"name": f"{name}-slices", **common, "options": {"steps": 8, "shard": "fsdp"}})
    work(children, tmp_path, jobs)
    for name in ("bart", "gpt2", "bert"):
        found = [outcome(tmp_path, f"{name}-{many}") for many in ("one", "two", "slices")]
        assert [each["code"] for each in found] == [0, 0, 0], found
        for many in ("two", "slices"):
            alike(tmp_path / f"{name}-one", tmp_path / f"{name}-{many}")
        assert all(each["result"]["dev"] == found[0]["result"]["dev"] for each in found)


def test_a_mixture_asks_the_head_of_pre_training_and_goes_on_where_it_was(models, tmp_path):
    from bertsmith.downstream.labelled_files import Files

    task = Files(task="text2text", train=rows(40, 3, backwards, 0), dev=rows(9, 3, backwards, 1))
    recipe = override(
        load(models / "bart").recipe, ["training.evaluate=4", "training.checkpoint=3", "training.batch=256"]
    )
    run = lambda out, **more: bertsmith.multitask(
        recipe,
        {"text": models / "store", "back": task},
        tmp_path / out,
        each="all",
        steps=6,
        set=["batch=8"],
        threads=1,
        **more,
    )
    run("straight")
    broken_off(lambda **k: run("run", **k), "stop", 4)
    run("run", resume=True)
    same(tmp_path / "straight", tmp_path / "run", state=False)
    last = lines(tmp_path / "run")[-1]
    assert {"exact", "f1", "loss"} <= last["evaluation"]["back.token"].keys() and "back.token" in last["terms"]
    assert not [name for name in load_file(Run(tmp_path / "run").step(6) / "model.safetensors") if "feed_back" in name]


def test_on_the_way_a_part_of_the_dev_texts_is_written_about_and_all_at_the_end(models, tmp_path):
    said: list[str] = []
    dev = rows(MOST + 50, 2, backwards, 5)
    result = tune(models, "gpt2", tmp_path / "run", dev=dev, say=said.append, steps=2)
    assert any(
        f"dev: {MOST} of the {MOST + 50} texts, always the same, are written about on the way" in s for s in said
    )
    assert result["epochs"][-1]["count"] == MOST
    right = [
        row["text"] == given["label"] for row, given in zip(bertsmith.predict(tmp_path / "run", dev), dev, strict=True)
    ]
    assert result["dev"]["exact"]["value"] == pytest.approx(np.mean(right))


def test_words_as_labels_and_numbers_are_scored_as_such(models, tmp_path):
    train, dev = rows(60, 3, has_b, 0), rows(12, 3, has_b, 1)
    result = tune(models, "gpt2", tmp_path / "words", train, dev)
    assert result["chosen_by"] == "accuracy" and {"macro_f1", "other", "exact"} <= result["dev"].keys()
    assert "yes" in result["classes"]
    assert "label" in bertsmith.predict(tmp_path / "words", dev)[0]
    numbered = [{"text": row["text"], "label": 1.1 * len(row["text"])} for row in train]
    result = tune(models, "gpt2", tmp_path / "numbers", numbered, numbered[:9], target="{label:.1f}", target_step=None)
    assert result["chosen_by"] == "pearson" and {"spearman", "other"} <= result["dev"].keys()
    kept = json.loads((tmp_path / "numbers" / "config.json").read_text())["task"]
    assert kept["target"] == "{label:.1f}" and kept["numbers"] is True
    compared = bertsmith.compare(tmp_path / "words", tmp_path / "words", dev)
    assert compared["difference"]["accuracy"]["value"] == 0


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("bart", {"set": {"mask_rate": 0.5}}, "mask_rate: 0.5: is for an encoder that fills masks"),
        ("roberta", {"set": {"mask_rate": 0}}, "mask_rate: 0.0 is not a share above 0 and at most 1"),
        ("roberta", {"set": {"target_length": 30}}, "target_length: 30 is more than the model writes: 16 or fewer"),
        ("roberta", {"set": {"visibility": "prefix"}}, "visibility: prefix: of a language model alone"),
        ("roberta", {"encoder": "fesh"}, "encoder='fesh': unknown; did you mean 'fresh'"),
        ("roberta", {"encoder": "fresh"}, "encoder='fresh': is for a decoder that begins .* add decoder='copy'"),
        ("roberta", {"encoder": "fresh", "decoder": "share"}, "add decoder='copy'"),
        ("roberta", {"encoder": "fresh", "decoder": "fresh"}, "nothing of the model would be left; scratch=True"),
        ("roberta", {"encoder": "fresh", "decoder": "copy", "scratch": True}, "nothing of the model would be left"),
        ("bart", {"decoder": "copy"}, "decoder='copy': bart is no encoder alone"),
        ("gpt2", {"decoder": "copy"}, "decoder='copy': gpt2 is no encoder: it writes by itself"),
        ("roberta", {"decoder": "cpoy"}, "none of the ways; did you mean 'copy'"),
        ("bart", {"task": "classify", "decoder": "copy"}, "decoder: task='classify' writes nothing"),
        ("bart", {"task": "classify", "metric": "bleu"}, "metric: task='classify' has none; task='text2text' has"),
        ("bart", {"method": "frozen"}, "method='frozen': task='text2text' has no head beside the model's own"),
        ("bart", {"on_long": "window"}, "on_long='window': task='text2text' reads each text once"),
        ("bart", {"set": {"visibility": "prefix"}}, "visibility: prefix: of a language model alone"),
        ("bart", {"set": {"target_length": 600}}, "target_length: 600 is more than the model writes"),
        ("gpt2", {"set": {"target_length": 40}}, "target_length: 40 is more than the model writes"),
        ("bart", {"baseline": True}, "baseline=True: task='text2text' has none"),
    ],
)
def test_what_cannot_be_is_one_line(models, tmp_path, name, options, says):
    with pytest.raises(InputError, match=says) as error:
        tune(models, name, tmp_path / "run", **options)
    assert "\n" not in str(error.value) and not (tmp_path / "run").exists()


# -- classes, tags and answers of a decoder ------------------------------------------------------------------------------------------


def test_a_decoder_that_says_whole_texts_reads_a_text_behind_its_own_end(tiny):
    recipe = tiny("bart", "model.dropout=0").with_vocab(60).for_task()
    torch.manual_seed(0)
    model = build(recipe).eval().model
    flat, lengths = np.array([2, 7, 8, 9, 3, 2, 5, 3], np.int32), np.array([5, 3])
    from bertsmith.data.denoise import seen

    stream = seen(flat, lengths).to("cpu")
    output, _ = decoded(shifted(flat, lengths, 3), flat, lengths)
    with torch.no_grad():
        torch.testing.assert_close(model(stream), model(stream, None, output.to("cpu")))
        read = torch.tensor([4, 7])
        torch.testing.assert_close(model(stream, read), model(stream)[read])


def test_how_members_with_two_stacks_read_a_class(models, tmp_path):
    reads = {}
    for name in ("bart", "mass", "t5"):
        train, dev = rows(60, 3, has_b, 0), rows(12, 3, has_b, 1)
        result = tune(models, name, tmp_path / name, train, dev, task="classify", steps=12, set={"lr": 5e-3})
        config = json.loads((tmp_path / name / "config.json").read_text())
        reads[name] = config["recipe"]["model"]["topology"]["alone"], config["task"]["settings"]["pool"]
        found = bertsmith.evaluate(tmp_path / name, dev)
        assert found["accuracy"]["value"] == result["dev"]["accuracy"]["value"]
    assert reads == {"bart": ("decoder", "cls"), "mass": ("encoder", "cls"), "t5": ("encoder", "mean")}
    encoded = kinds.kind("classify").encode(
        load(tmp_path / "bart").tokenizer,
        kinds.kind("classify").read(_given(["b c", "d"]), labelled=False),
        load(tmp_path / "bart").reading(),
    )
    assert encoded.places.tolist() == [3, 2], "the last [SEP] of each"


def _given(texts):
    from bertsmith.tasks import given

    return given.source(texts, "rows")


@pytest.mark.parametrize("task", ["tag", "qa", "regress"])
def test_tags_answers_and_numbers_are_read_off_a_decoder_too(models, tmp_path, task):
    if task == "tag":
        made = [{"text": ["b", "c", "d"], "label": ["X", "Y", "X"]}, {"text": ["d"], "label": ["Y"]}] * 8
    elif task == "qa":
        answer = {"text": ["c"], "answer_start": [2]}
        made = [{"id": f"{i}", "question": f"{'bcd'[i % 3]}", "context": "b c d", "answers": answer} for i in range(12)]
    else:
        made = [{"text": row["text"], "label": len(row["text"])} for row in rows(30, 3, has_b, 0)]
    result = tune(models, "bart", tmp_path / "run", made, made[:9], task=task, steps=2)
    assert result["dev"] and load(tmp_path / "run").recipe.model.topology.alone == "decoder"


# -- encoders that get a decoder -----------------------------------------------------------------------------------------------------


# Rothe et al. 2020: which of the two begin with the model's weights; the token table is one, and the model's in all of them.
BEGUN = {
    "BERT2RND": ({"decoder": "fresh"}, (True, False)),
    "RND2BERT": ({"decoder": "copy", "encoder": "fresh"}, (False, True)),
    "BERT2BERT": ({"decoder": "copy"}, (True, True)),
    "BERTSHARE": ({"decoder": "share"}, (True, True)),
}


@pytest.mark.parametrize("name", BEGUN)
def test_what_each_of_the_four_beginnings_takes_from_the_model(models, tmp_path, name):
    options, begun = BEGUN[name]
    said: list[str] = []
    tune(models, "bert", tmp_path / "run", steps=1, set={"lr": 1e-12}, say=said.append, **options)
    before, after = load(models / "bert"), load(tmp_path / "run")
    own = dict(before.member.model.named_parameters())
    theirs = dict(after.member.model.named_parameters(remove_duplicate=False))
    drawn = [part for part in own if part.endswith("weight") and own[part].ndim > 1]  # biases and norms begin alike
    for part in drawn:
        kept = [torch.allclose(theirs[f"{side}.{part}"], own[part], atol=1e-6) for side in ("encoder", "decoder")]
        assert tuple(kept) == ((True, True) if part == "embeddings.tokens.weight" else begun), part
    assert theirs["encoder.embeddings.tokens.weight"] is theirs["decoder.embeddings.tokens.weight"]
    head = dict(before.member.objective.named_parameters())
    for part, tensor in after.member.objective.named_parameters():
        torch.testing.assert_close(tensor, head[part], rtol=0, atol=1e-6)
    task = json.loads((tmp_path / "run" / "config.json").read_text())["task"]
    assert {k: task[k] for k in ("decoder", "encoder") if k in task} == options
    assert any("the encoder's fresh" in line for line in said) == (name == "RND2BERT")


@pytest.mark.parametrize("how", ["fresh", "copy", "share", "model"])
def test_an_encoder_gets_a_decoder_and_keeps_its_weights(models, tmp_path, how):
    decoder = str(models / "roberta") if how == "model" else how
    tune(models, "roberta", tmp_path / "run", decoder=decoder, steps=1, set={"lr": 1e-12})
    before, after = load(models / "roberta"), load(tmp_path / "run")
    own = dict(before.member.model.named_parameters())
    theirs = dict(after.member.model.named_parameters(remove_duplicate=False))
    for name, tensor in own.items():
        torch.testing.assert_close(theirs[f"encoder.{name}"], tensor, rtol=0, atol=1e-6)
        like = torch.allclose(theirs[f"decoder.{name}"], tensor, atol=1e-6)
        assert like or how == "fresh", name
    fresh = theirs["decoder.layers.0.attention.qkv.weight"]
    assert (fresh is theirs["encoder.layers.0.attention.qkv.weight"]) == (how == "share")
    assert torch.allclose(fresh, own["layers.0.attention.qkv.weight"], atol=1e-6) == (how != "fresh")
    assert sum(p.numel() for p in after.member.parameters()) == parameters(after.recipe)
    head = dict(before.member.objective.named_parameters())
    for name, tensor in after.member.objective.named_parameters():
        torch.testing.assert_close(tensor, head[name], rtol=0, atol=1e-6)
    assert len(bertsmith.predict(tmp_path / "run", ["b c"])) == 1


def test_smoothing_spreads_a_share_of_each_answer(tiny):
    from bertsmith.data.batch import Batch
    from bertsmith.data.denoise import seen
    from bertsmith.objectives.smoothed import Smoothed

    recipe = tiny("bart", "model.dropout=0").with_vocab(60)
    flat, lengths = np.array([2, 7, 8, 3, 2, 5, 3], np.int32), np.array([4, 3])
    output, target = decoded(shifted(flat, lengths, 3), flat, lengths)
    batch = Batch(input=seen(flat, lengths), output=output, targets={"token": target}).to("cpu")
    losses = []
    for smoothing in (0.0, 0.1):
        torch.manual_seed(0)
        member = build(override(recipe, [])).eval()
        objective = Smoothed.of(recipe.objective, smoothing).build(member.model)
        losses.append(objective(member.model, batch)["token"].item())
        logits = objective.logits(member.model, batch.input, torch.arange(7), output=batch.output)
    p = logits.log_softmax(-1)
    plain = -p.gather(1, batch.targets["token"].labels[:, None])[:, 0]
    assert losses[0] == pytest.approx(plain.sum().item(), rel=1e-5)
    assert losses[1] == pytest.approx((0.9 * plain - 0.1 * p.mean(1)).sum().item(), rel=1e-5)


def test_a_model_without_a_token_head_is_refused(models, tmp_path):
    tune(models, "bart", tmp_path / "class", rows(30, 2, has_b, 0), rows(9, 2, has_b, 1), task="classify", steps=1)
    with pytest.raises(InputError, match="no head that says tokens; give the run that it was fine-tuned from"):
        bertsmith.finetune(
            tmp_path / "class",
            task="text2text",
            train=rows(30, 2, backwards, 0),
            dev=rows(9, 2, backwards, 1),
            out=tmp_path / "x",
            steps=1,
        )


def test_generate_writes_by_the_tasks_own_template(models, tmp_path):
    rows = [{"first": "b c", "second": "d", "label": "c"}, {"first": "d", "second": "b", "label": "d"}] * 4
    options = {"train": rows, "dev": [*rows[:1]] * 2, "template": "{first} {second}", "steps": 2, "threads": 1}
    bertsmith.finetune(models / "bart", task="text2text", out=tmp_path / "run", allow_unknown=True, **options)
    plain = [{"first": row["first"], "second": row["second"]} for row in rows[:2]]
    written = bertsmith.generate(tmp_path / "run", input=plain, limit=4)
    said = bertsmith.predict(tmp_path / "run", plain)
    for one, other in zip(written, said, strict=True):
        assert other["text"].startswith(one["text"]) or one["text"].startswith(other["text"])
    with pytest.raises(InputError, match="second"):
        bertsmith.generate(tmp_path / "run", input=[{"first": "b"}])
