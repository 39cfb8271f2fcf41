"""Encoders that write behind a text by filling masks, as UniLM does: who sees whom, what is hidden, what is kept, and what is learned."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.runs import same
from tests.test_text2text import backwards, corpus_of_letters, rows, shown, tiny_run, tune
from tests.test_tuning_runs import broken_off

import bertsmith
from bertsmith.config import override
from bertsmith.data.hidden import hidden, hidden_of
from bertsmith.downstream.model import load
from bertsmith.downstream.search import How, Rules, write
from bertsmith.errors import InputError
from bertsmith.nn.asks import Asks
from bertsmith.nn.attending import Local
from bertsmith.nn.buckets import Buckets
from bertsmith.nn.member import build
from bertsmith.nn.modules.writing import Again, Filling, asking, writer_of
from bertsmith.nn.relative import Relative
from bertsmith.nn.rotary import Rotary
from bertsmith.tasks import given, kinds
from bertsmith.tasks.reading import Reading

pytestmark = pytest.mark.usefixtures("one_thread")
MEMBERS = ("bert", "unilm", "roberta")
END, MASK = 3, 4


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """{member: a run of one layer after 2 updates}, over letters; `store` beside them."""
    folder = corpus_of_letters(tmp_path_factory.mktemp("models"))
    for name in MEMBERS:
        tiny_run(name, folder)
    return folder


def batch_of(models, name, texts, targets, mask_rate=0.7, keys=None):
    loaded = load(models / name)
    kind = replace(kinds.kind("text2text").asking(), limit=9, mask_rate=mask_rate)
    made = given.source(list(zip(texts, targets, strict=True)), "rows", {}, fields=kind.fields, pair=kind.pair)
    pairs = kind.encode(loaded.tokenizer, kind.read(made), Reading.of(loaded.recipe, 32))
    return loaded, pairs.batch(np.arange(len(texts)), kind.asked(pairs, targets), keys)


# -- what is read and asked in training ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "sides"), [("bert", (0, 1)), ("unilm", (4, 5)), ("roberta", (0, 0))])
def test_a_text_and_its_target_are_one_row_with_the_segments_that_the_member_has_for_them(models, name, sides):
    loaded, batch = batch_of(models, name, ["b c", "d"], ["c b", "d d d"], mask_rate=1.0)
    read = "[CLS] b c [SEP] [MASK] [MASK] [MASK] [CLS] d [SEP] [MASK] [MASK] [MASK] [MASK]"
    assert shown(loaded, batch.input.tokens) == read
    assert shown(loaded, batch.targets["token"].labels) == "c b [SEP] d d d [SEP]"
    assert batch.targets["token"].at[:, 0].tolist() == [4, 5, 6, 10, 11, 12, 13]
    source, target = sides
    assert batch.input.segments.tolist() == [source] * 4 + [target] * 3 + [source] * 3 + [target] * 4


@pytest.mark.parametrize("name", MEMBERS)
def test_a_source_sees_itself_and_a_target_the_source_and_what_is_written_up_to_itself(models, name):
    loaded, batch = batch_of(models, name, ["b c d"], ["c b e"])
    stream, source = batch.input.to("cpu"), 5
    model = loaded.member.model.eval()
    with torch.no_grad():
        before = model(stream)
        for j in range(len(stream.tokens)):
            tokens = stream.tokens.clone()
            tokens[j] = loaded.vocab.unk
            changed = (model(replace(stream, tokens=tokens)) != before).any(1)
            sees = torch.arange(len(tokens)) >= (0 if j < source else j)
            assert torch.equal(changed, sees), f"token {j}"


def test_that_share_of_each_target_is_hidden_its_end_as_often_as_others_and_nothing_else_changes(models):
    sizes = np.full(4000, 7)
    chosen = hidden(np.arange(4000).astype(np.uint64) << np.uint64(32), sizes, 0.7).reshape(4000, 7)
    assert (chosen.sum(1) == 5).all() and np.abs(chosen.mean(0) - 5 / 7).max() < 4 * 0.5 / 4000**0.5
    assert hidden_of(np.array([0, 1, 2, 10]), 0.1).tolist() == [0, 1, 1, 1]
    loaded, plain = batch_of(models, "bert", ["b c d", "e"], ["c b e d", "f"], mask_rate=1.0)
    _, batch = batch_of(models, "bert", ["b c d", "e"], ["c b e d", "f"], mask_rate=0.5)
    whole = np.array(plain.input.tokens)
    whole[plain.targets["token"].at[:, 0]] = plain.targets["token"].labels
    at = batch.targets["token"].at[:, 0]
    assert (whole[at] == batch.targets["token"].labels).all() and (batch.input.tokens[at] == loaded.vocab.mask).all()
    others = np.delete(np.arange(len(whole)), at)
    assert (whole[others] == batch.input.tokens[others]).all() and len(at) == 2 + 1


def test_what_is_hidden_depends_on_the_epoch_and_the_text_and_not_on_the_batch(models):
    task = _task(models, "bert", rows(12, 3, backwards, 0))
    feed, masks = task.feed(3), []
    for epoch in (0, 1):
        alone = [(feed.epoch(epoch), np.array([i])) for i in range(12)]
        one_by_one = [feed.batches([[part]])[0] for part in alone]
        (together,) = feed.batches([[(feed.epoch(epoch), np.arange(12))]])
        parts = {part.examples[0]: part.input.tokens.tolist() for part in one_by_one}
        split = dict(zip(together.examples, [p.tokens.tolist() for p in together.input.split([1] * 12)], strict=True))
        assert split == parts
        counts = feed.counts([[(feed.epoch(epoch), np.arange(12))]])
        assert counts == [together.counts()]
        masks.append([split[(epoch, i)] for i in range(12)])
    assert masks[0] != masks[1]


def _task(models, name, train):
    from bertsmith.downstream.labelled_files import Files
    from bertsmith.downstream.methods import FULL
    from bertsmith.downstream.task import Task
    from bertsmith.downstream.tuning import FineTuning

    loaded = load(models / name)
    files = Files(task="text2text", train=train, dev=rows(5, 3, backwards, 1))
    options = FineTuning().settled(FULL, loaded.recipe, False)
    return Task.read(files, loaded.tokenizer, loaded.recipe, options, lambda line: None)


# -- a token at a time ---------------------------------------------------------------------------------------------------------------


def member_of(tiny, name, **parts):
    recipe = tiny(name, "model.dropout=0").with_vocab(60)
    recipe = replace(recipe, model=replace(recipe.model, **parts))
    torch.manual_seed(1)
    member = build(recipe).eval()
    with torch.no_grad():  # answers that differ from place to place
        for p in member.parameters():
            p.mul_(2 if p.ndim > 1 else 1)
    return member


def writers(member, texts):
    """(with a cache, without) over the same texts."""
    asks = Asks(mask=MASK, segments=(4, 5) if member.model.config.segments > 4 else (0, 1))
    source = asking(texts, [len(text) for text in texts], asks, torch.device("cpu"))
    real = source.tokens != MASK
    lengths = tuple(length - 1 for length in source.lengths)
    names = ("tokens", "positions", "segments", "query_rank", "key_rank")
    stream = replace(source, **{name: getattr(source, name)[real] for name in names}, lengths=lengths)

    def said(now, sizes):
        stream = asking(now, sizes, asks, torch.device("cpu"))
        return member.objective.logits(member.model, stream, torch.tensor(stream.lengths).cumsum(0) - 1)

    kept = writer_of(member, stream, asks)
    return kept, Again(said, texts)


def some_texts(count=5, longest=11, shortest=1):
    draw = np.random.default_rng(0)
    return [draw.integers(5, 60, n).tolist() for n in draw.integers(shortest, longest, count)]


PARTS = {
    "bert": {},
    "unilm": {},
    "roberta": {},
    "albert": {},
    "bert, in buckets": {"positions": Buckets()},
    "bert, in a window": {"attention": Local(window=6)},
}


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("even", [False, True], ids=["ragged", "even"])
def test_what_a_mask_left_is_forgotten_and_a_cache_says_what_reading_everything_again_says(name, even, tiny):
    member = member_of(tiny, name.partition(",")[0], **PARTS[name])
    kept, again = writers(member, some_texts(shortest=10 if even else 1))
    assert isinstance(kept, Filling)
    draw = np.random.default_rng(1)
    with torch.no_grad():
        torch.testing.assert_close(kept.begin(), again.begin(), rtol=1e-5, atol=1e-5)
        for kept_rows in (None, None, [0, 1, 3], [0, 0, 1, 1, 2, 2], None):
            if kept_rows is not None:
                kept.keep(torch.tensor(kept_rows))
                again.keep(torch.tensor(kept_rows))
            tokens = torch.from_numpy(draw.integers(5, 60, len(again.texts)))
            torch.testing.assert_close(kept.step(tokens), again.step(tokens), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("how", [How(limit=12), How(limit=12, beam=3), How(limit=9, sample=True, seed=4)], ids=str)
@pytest.mark.parametrize("name", ["bert", "unilm"])
def test_searches_find_the_same_texts_with_and_without_a_cache(name, how, tiny):
    member, texts = member_of(tiny, name), some_texts(6)
    rules = Rules(size=60, end=END)
    found = [write(writer, how, rules, range(6)) for writer in writers(member, texts)]
    assert [text.tokens for text in found[0]] == [text.tokens for text in found[1]]
    assert np.allclose([t.score for t in found[0]], [t.score for t in found[1]], atol=1e-4)
    alone = [write(writers(member, [text])[0], how, rules, [number])[0] for number, text in enumerate(texts)]
    assert [text.tokens for text in alone] == [text.tokens for text in found[0]]


@pytest.mark.parametrize("positions", [Relative(), Rotary()], ids=["relative", "rotary"])
def test_a_body_whose_layers_keep_nothing_writes_the_same_way_only_slower(tiny, positions):
    member = member_of(tiny, "bert", positions=positions)
    kept, again = writers(member, some_texts(3))
    assert isinstance(kept, Again) and kept is not again
    found = [write(each, How(limit=5, beam=2), Rules(size=60, end=END), range(3)) for each in (kept, again)]
    assert found[0] == found[1]


@pytest.mark.parametrize("name", MEMBERS)
def test_a_step_of_writing_asks_what_training_asked_there(models, name):
    loaded, batch = batch_of(models, name, ["b c d"], ["c b e"], mask_rate=1.0)
    stream, member = batch.input.to("cpu"), loaded.member.eval()
    target = [int(token) for token in batch.targets["token"].labels]
    kind = kinds.kind("text2text").asking()
    reading = Reading.of(loaded.recipe, 32).to_write()
    pairs = replace(kind, limit=9).encode(loaded.tokenizer, kind.read(given.source(["b c d"], "rows"), labelled=False), reading)  # fmt: skip
    writer = writer_of(member, pairs.batch(np.zeros(1, np.int64)).input.to("cpu"), pairs.asks)
    with torch.no_grad():
        for number, token in enumerate([None, *target[:-1]]):
            said = writer.begin() if token is None else writer.step(torch.tensor([token]))
            tokens = stream.tokens.clone()
            tokens[5 : 5 + number] = torch.tensor(target[:number])
            there = member.objective.logits(member.model, replace(stream, tokens=tokens), torch.tensor([5 + number]))
            torch.testing.assert_close(said, there, rtol=1e-5, atol=1e-5)


# -- what is learned -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MEMBERS)
def test_encoders_learn_to_write_and_to_stop(models, tmp_path, name):
    train, dev = rows(400, 2, backwards, 0), rows(30, 2, backwards, 1)
    result = tune(models, name, tmp_path / "run", train, dev, steps=150, metric="exact", set={"evaluations": 0.2})
    assert result["dev"]["exact"]["value"] > 0.9
    found = bertsmith.predict(tmp_path / "run", dev)
    right = np.mean([row["text"] == one["label"] for row, one in zip(found, dev, strict=True)])
    assert right == result["dev"]["exact"]["value"] and {row["stopped"] for row in found} == {"end"}
    scores = bertsmith.evaluate(tmp_path / "run", dev)
    assert {name: dict(score) for name, score in scores.items()} == result["dev"]
    texts = [row["text"] for row in dev][:4]
    for options in ({}, {"beam": 3}, {"answers": [row["label"] for row in dev]}):
        written = bertsmith.generate(tmp_path / "run", input=texts, limit=8, **options)
        assert [row["text"] for row in written] == [row["text"] for row in found[:4]]
    drawn = [bertsmith.generate(tmp_path / "run", input=texts, limit=8, sample=True, batch=n) for n in (1, 4)]
    assert [row["text"] for row in drawn[0]] == [row["text"] for row in drawn[1]]
    assert bertsmith.fill(tmp_path / "run", "b [MASK] d")["masks"][0]["position"] == 2


def test_without_hidden_ends_nothing_would_stop(models, tmp_path, monkeypatch):
    from bertsmith.tasks import written

    def spared(keys, sizes, rate):
        found = hidden(keys, sizes, rate)
        found[np.cumsum(sizes) - 1] = False
        return found

    monkeypatch.setattr(written, "hidden", spared)
    train = rows(400, 2, backwards, 0)
    tune(models, "bert", tmp_path / "run", train, steps=100, set={"evaluations": 0.2, "mask_rate": 1.0})
    found = bertsmith.predict(tmp_path / "run", train[:20])
    assert {row["stopped"] for row in found} == {"limit"}


def test_a_run_that_was_broken_off_ends_as_the_one_that_was_not(models, tmp_path):
    options = {"steps": None, "epochs": 3, "train": rows(24, 3, backwards, 0)}
    options["set"] = {"dropout": 0.1, "smoothing": 0.1, "batch": 8, "beam": 2, "mask_rate": 0.5}
    straight = tune(models, "unilm", tmp_path / "straight", **options)
    for how, at in (("stop", 2), ("kill", 4)):
        broken_off(lambda **k: tune(models, "unilm", tmp_path / "run", resume=True, **k, **options), how, at)
    assert tune(models, "unilm", tmp_path / "run", resume=True, workers=2, **options) == straight
    same(tmp_path / "straight", tmp_path / "run", state=False)
    kept = json.loads((tmp_path / "run" / "config.json").read_text())["task"]
    assert kept["settings"]["mask_rate"] == 0.5
    other = {**options, "set": {**options["set"], "mask_rate": 0.6}}
    with pytest.raises(InputError, match=r"mask_rate: the run was begun with 0\.5, now it is 0\.6"):
        tune(models, "unilm", tmp_path / "run", resume=True, **other)


def test_a_mixture_teaches_to_write_too_and_goes_on_where_it_was(models, tmp_path):
    from bertsmith.downstream.labelled_files import Files

    task = Files(task="text2text", train=rows(40, 3, backwards, 0), dev=rows(9, 3, backwards, 1))
    sets = ["training.evaluate=4", "training.checkpoint=3", "training.batch=256"]
    recipe = override(load(models / "bert").recipe, sets)
    feeds = {"text": models / "store", "back": task}
    options = {"each": "all", "steps": 6, "set": ["batch=8", "mask_rate=0.5"], "threads": 1}
    run = lambda out, **more: bertsmith.multitask(recipe, feeds, tmp_path / out, **options, **more)
    run("straight")
    broken_off(lambda **k: run("run", **k), "stop", 4)
    run("run", resume=True)
    same(tmp_path / "straight", tmp_path / "run", state=False)
    assert "text" in bertsmith.generate(tmp_path / "run", "b c", limit=3)


# -- what may write, and what may not ------------------------------------------------------------------------------------------------


def test_a_pretrained_unilm_writes_for_it_learned_to_see_a_source(models):
    found = bertsmith.generate(models / "unilm", "b c d", limit=4, beam=2)
    assert found["stopped"] in ("end", "limit")
    room = load(models / "unilm").recipe.model.longest
    told = []
    long = "b " * (room + 5)
    with pytest.raises(InputError, match="on_long='truncate' keeps their beginning"):
        bertsmith.generate(models / "unilm", long)
    cut = bertsmith.generate(models / "unilm", long, limit=4, on_long="truncate", say=told.append)
    assert any("were cut" in line for line in told) and cut["stopped"] in ("end", "limit")


@pytest.mark.parametrize("name", ["bert", "unilm"])
def test_an_encoder_that_never_learned_to_write_is_told_what_teaches_it(models, tmp_path, name):
    path = models / name
    if name == "unilm":
        path = tiny_run(name, models, "corruption.rewrite.views.prefix=0", out=tmp_path / "run")
    with pytest.raises(InputError, match="did not learn to write; fine-tuning with task='text2text' teaches") as error:
        bertsmith.generate(path, "b c")
    assert "\n" not in str(error.value)


def test_a_member_whose_tokens_only_ask_needs_a_decoder(models, tmp_path):
    tiny_run("xlnet", models, out=tmp_path / "xlnet")
    with pytest.raises(InputError, match=r"tokens that only ask, and writes nothing; .* or decoder='fresh'"):
        tune(tmp_path, "xlnet", tmp_path / "run")
    with pytest.raises(InputError, match="fine-tuning with task='text2text', decoder='fresh' teaches it"):
        bertsmith.generate(tmp_path / "xlnet", "b c")


def test_what_writes_so_has_no_class_in_transformers(models, tmp_path):
    pytest.importorskip("transformers")
    tune(models, "bert", tmp_path / "run", steps=1)
    with pytest.raises(InputError, match="fills masks behind a text to write about it, for which transformers has no"):
        bertsmith.export(tmp_path / "run", to="hf", out=tmp_path / "out")
