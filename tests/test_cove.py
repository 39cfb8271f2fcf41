"""CoVe: a recurrent encoder whose states are vectors of words, and a decoder that attends to them and writes a translation."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import bertsmith
from bertsmith.config import from_dict, override, to_dict
from bertsmith.data.draw import Draw
from bertsmith.data.loader import Loader
from bertsmith.data.text import Text
from bertsmith.downstream.search import How, Rules, write
from bertsmith.errors import InputError
from bertsmith.nn.attentive import Attentive
from bertsmith.nn.member import build, parameters
from bertsmith.nn.modules.writing import Again, Decoder
from bertsmith.recipe import find
from bertsmith.text.prepare import prepare
from bertsmith.text.store import Store
from bertsmith.training.pretraining import pretrain

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = ["model.width=16", "model.hidden=16", "layout.length=48", "training.batch=512", "training.evaluate=0"]
SCORES = ("dot", "general", "additive")
END = 3
WORDS = [a + b + c for a in "bdfgk" for b in "ae" for c in "lm"]
DRAWN = np.random.default_rng(1)
SENTENCES = [" ".join(DRAWN.choice(WORDS, DRAWN.integers(2, 7))) for _ in range(8)]


def translated(text):
    """Every word from its end, in the other order."""
    return text[::-1]


def small(*settings):
    return override(find("cove:tiny"), [*SMALL, *settings])


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    """A store of 8 sentences of made words and their translations, again and again."""
    folder, draw = tmp_path_factory.mktemp("lines"), np.random.default_rng(0)
    rows = [SENTENCES[i] for i in draw.permutation(np.arange(1200) % len(SENTENCES))]
    told = "".join(f"{text}\t{translated(text)}\n" for text in rows)
    (folder / "both.tsv").write_text(told, encoding="utf-8")
    prepare([f"aa+bb={folder}/both.tsv"], folder / "store", tokenizer="wordpiece:200", lowercase=True, holdout=0.05)
    return Store.open(folder / "store")


def batch_of(recipe, store, count=6, shuffled=True):
    layout = store.laid(recipe.layout)
    plan = layout.plan(store.train, store.vocab, 0, 0)
    row = plan.row(plan.order[:count] if shuffled else np.arange(count))
    return recipe.corruption(row, store.vocab, Draw(0)), row


def member_of(store, *settings):
    recipe = small(*settings).with_vocab(store.vocab)
    torch.manual_seed(1)
    member = build(recipe).eval()
    with torch.no_grad():
        for p in member.parameters():  # answers that differ from place to place
            p.mul_(2 if p.ndim > 1 else 1)
    return recipe, member


def test_the_first_side_is_read_and_the_second_is_written(lines):
    recipe = small().with_vocab(lines.vocab)
    batch, row = batch_of(recipe, lines)
    reads = np.split(batch.input.tokens, np.cumsum(batch.input.lengths)[:-1])
    gives = np.split(batch.output.tokens, np.cumsum(batch.output.lengths)[:-1])
    asks = np.split(batch.targets["token"].labels, np.cumsum(batch.output.lengths)[:-1])
    for i, (read, given, asked) in enumerate(zip(reads, gives, asks, strict=True)):
        whole = row.tokens[row.offsets[i] : row.offsets[i + 1]]
        assert np.array_equal(np.concatenate([read, asked]), whole)
        assert read[0] == lines.vocab.cls and read[-1] == asked[-1] == lines.vocab.sep
        assert given[0] == lines.vocab.cls and np.array_equal(given[1:], asked[:-1])
        first, second = (lines.tokenizer.decode(side, specials=False).split() for side in (read, asked))
        assert " ".join(second) == translated(" ".join(first))
    assert batch.output.visibility == "causal"
    spans = recipe.corruption.select(row, Draw(0))
    assert recipe.corruption.counts(row, spans, Draw(0)) == batch.counts() == {"token": sum(batch.output.lengths)}


def test_text_without_a_second_side_is_refused(store):
    recipe = small()
    with pytest.raises(InputError, match=r"no parallel lines; prepare it with some, en\+de="):
        Text.of(recipe.with_vocab(store.vocab), store, 0)
    from bertsmith.text.layout import DocSentences

    row = DocSentences(length=32).plan(store.train, store.vocab, 0, 0).row(np.arange(2))
    with pytest.raises(InputError, match=r"no second side to be written; parallel lines are wanted"):
        recipe.corruption(row, store.vocab, Draw(0))


# -- what is computed ----------------------------------------------------------------------------------------------------------------------


def by_hand(model, source, given, score):
    """(m, d) of one sentence by torch's own modules with the same weights, a step at a time, attention by plain loops."""
    config = model.config
    lstm = torch.nn.LSTM(config.inner, config.width, config.layers, bidirectional=True, batch_first=True).double()
    for i, ways in enumerate(model.encoder.layers):
        for cell, end in zip(ways, ("", "_reverse"), strict=True):
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                getattr(lstm, f"{name}_l{i}{end}").data.copy_(getattr(cell, name))
    states, (h, c) = lstm(model.encoder.embeddings.tokens(source)[None])
    states = states[0]
    begin = [
        (torch.cat([h[2 * i], h[2 * i + 1]], 1), torch.cat([c[2 * i], c[2 * i + 1]], 1)) for i in range(len(h) // 2)
    ]
    decoder, cells = model.decoder, []
    for layer in decoder.layers:
        cell = torch.nn.LSTMCell(layer.weight_ih.shape[1], decoder.width).double()
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(cell, name).data.copy_(getattr(layer, name))
        cells.append(cell)
    fed, said = torch.zeros(1, decoder.width, dtype=torch.float64), []
    for token in given:
        x = torch.cat([decoder.tokens(token)[None], fed], 1)
        for i, cell in enumerate(cells):
            begin[i] = cell(x, begin[i])
            x = begin[i][0]
        scores = []
        for state in states:
            if score == "dot":
                scores.append(torch.dot(x[0], state))
            elif score == "general":
                scores.append(torch.dot(decoder.score.query(x)[0], state))
            else:
                inner = torch.tanh(decoder.score.query(x)[0] + decoder.score.key.weight @ state)
                scores.append(torch.dot(decoder.score.out.weight[0], inner))
        share = torch.stack(scores).exp() / torch.stack(scores).exp().sum()
        found = sum(a * state for a, state in zip(share, states, strict=True))
        fed = torch.tanh(decoder.out.weight @ torch.cat([found, x[0]]) + decoder.out.bias)[None]
        said.append(fed[0])
    return states, torch.stack(said)


@pytest.mark.parametrize("score", SCORES)
def test_it_computes_what_torchs_own_cells_and_loops_do(lines, score):
    recipe, member = member_of(lines, f"model.topology.score={score}")
    batch = batch_of(recipe, lines, 7)[0].to("cpu")
    model = member.model.double()
    with torch.no_grad():
        states, said = model(batch.input), model(batch.input, None, batch.output)
        parts = zip(
            batch.input.tokens.split(batch.input.lengths),
            batch.output.tokens.split(batch.output.lengths),
            states.split(batch.input.lengths),
            said.split(batch.output.lengths),
            strict=True,
        )
        for source, given, ours, written in parts:
            theirs, wanted = by_hand(model, source, given, score)
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)
            torch.testing.assert_close(written, wanted, rtol=1e-9, atol=1e-11)


def test_a_decoder_of_more_layers_begins_the_others_with_nothing(lines):
    recipe, member = member_of(lines, "model.topology.layers=3")
    batch = batch_of(recipe, lines, 3)[0].to("cpu")
    begin = member.model.source(batch.input).begin
    assert len(begin) == 3 and not begin[2][0].any() and begin[1][1].any()
    assert member.model.depth_of("decoder.layers.2.weight_ih") == recipe.model.depth == 5
    assert member.model.depth_of("decoder.out.weight") == 5
    assert member.model.depth_of("encoder.layers.1.0.weight_hh") == 2
    assert (
        member.model.depth_of("decoder.tokens.weight") == member.model.depth_of("encoder.embeddings.tokens.weight") == 0
    )
    with pytest.raises(ValueError, match="not a parameter"):
        member.model.depth_of("decoder.none")


@pytest.mark.parametrize(
    "settings", [(), ("model.topology.layers=1",), ("model.topology.score=dot",), ("model.topology.score=additive",)]
)
def test_parameters_are_counted_exactly(lines, settings):
    recipe = small(*settings).with_vocab(lines.vocab)
    assert parameters(recipe) == sum(p.numel() for p in build(recipe).parameters())


def test_no_prediction_reads_its_own_answer_and_all_of_the_source_is_read(lines):
    recipe, member = member_of(lines)
    batch = batch_of(recipe, lines, 4)[0].to("cpu")
    sides = [np.repeat(np.arange(4), side.lengths) for side in (batch.input, batch.output)]
    with torch.no_grad():
        before = member.model(batch.input, None, batch.output)
        for place in range(len(batch.output.tokens)):
            tokens = batch.output.tokens.clone()
            tokens[place] = (tokens[place] + 1) % lines.vocab.size
            after = member.model(batch.input, None, replace(batch.output, tokens=tokens))
            moved = (after != before).any(-1).numpy()
            assert not moved[:place].any() and moved[place] and not moved[sides[1] != sides[1][place]].any()
        for place in range(len(batch.input.tokens)):
            tokens = batch.input.tokens.clone()
            tokens[place] = (tokens[place] + 1) % lines.vocab.size
            after = member.model(replace(batch.input, tokens=tokens), None, batch.output)
            moved = (after != before).any(-1).numpy()
            assert np.array_equal(moved, sides[1] == sides[0][place])


def test_the_other_sentences_of_a_batch_change_nothing(lines):
    recipe, member = member_of(lines)
    batch = batch_of(recipe, lines, 90)[0].to("cpu")  # more than go on in one step on a CPU
    with torch.no_grad():
        whole = member.model.double()(batch.input, None, batch.output).split(batch.output.lengths)
        for i, (a, b) in enumerate(zip(batch.input.split([1] * 90), batch.output.split([1] * 90), strict=True)):
            torch.testing.assert_close(member.model(a, None, b), whole[i], rtol=1e-9, atol=1e-11)
        read = torch.tensor([0, 3, 17, len(batch.output.tokens) - 1])
        assert torch.equal(member.model(batch.input, read, batch.output), torch.cat(whole)[read])


def test_what_a_decoder_must_not_read_it_does_not(lines):
    recipe, member = member_of(lines)
    batch = batch_of(recipe, lines, 3)[0].to("cpu")
    hidden = batch.input.positions == 1
    stream = replace(batch.input, hidden=hidden)
    heard = member.model.source(stream)
    assert [int((row == 0).sum()) for row in heard.unseen] == [n - 1 for n in batch.input.lengths]
    states = member.model(batch.input)
    torch.testing.assert_close(
        heard.values[1][heard.unseen[1, 0] == 0],
        states.split(batch.input.lengths)[1][batch.input.positions.split(batch.input.lengths)[1] != 1],
    )


# -- learning ------------------------------------------------------------------------------------------------------------------------------


def test_an_untrained_member_knows_nothing(lines):
    recipe = small().with_vocab(lines.vocab)
    step = next(iter(Loader(Text.of(recipe, lines, 0))))
    torch.manual_seed(0)
    member = build(recipe)
    sums = member.objective(member.model, step.batches[0].to("cpu"))
    assert abs(sums["token"].item() / step.counts["token"] - math.log(recipe.model.vocab)) < 0.3


def test_accumulation_equals_one_big_batch(lines):
    gradients = []
    for accumulate in (1, 3):
        recipe = small(f"training.accumulate={accumulate}").with_vocab(lines.vocab)
        step = next(iter(Loader(Text.of(recipe, lines, 0), accumulate=accumulate)))
        torch.manual_seed(0)
        member = build(recipe).double()
        for batch in step.batches:
            sums = member.objective(member.model, batch.to("cpu"))
            sum(loss / step.counts[term] for term, loss in sums.items()).backward()
        gradients.append({key: p.grad for key, p in member.named_parameters()})
    assert all(grad is not None for grad in gradients[0].values())
    for key, one in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], one, rtol=1e-6, atol=1e-9)


def test_counts_are_known_without_the_batch(lines):
    text = Text.of(small().with_vocab(lines.vocab), lines, 0)
    epoch = text.epoch(0)
    rows = [[(epoch, epoch.order[a : a + 5])] for a in (0, 5, 10)]
    assert text.counts(rows) == [batch.counts() for batch in text.batches(rows)]


def test_the_recipe_survives_its_json():
    for size in ("tiny", "mini", "base"):
        recipe = find(f"cove:{size}")
        assert from_dict(json.loads(json.dumps(to_dict(recipe)))) == recipe
    base = find("cove:base").model
    assert (base.layers, base.outer, base.inner) == (2, 600, 300), "section 3 of the paper"


class StopAfter:
    def __init__(self, step):
        self.step = step

    def __call__(self, step, *_):
        if step == self.step:
            raise KeyboardInterrupt


def test_a_run_that_was_resumed_equals_one_that_was_not(lines, tmp_path):
    recipe = small("model.dropout=0.2", "training.checkpoint=3", "training.evaluate=4", "training.held_out=512")
    pretrain(recipe, lines, tmp_path / "straight", steps=8, threads=1)
    with pytest.raises(KeyboardInterrupt):
        pretrain(recipe, lines, tmp_path / "resumed", steps=8, threads=1, progress=StopAfter(5))
    pretrain(recipe, lines, tmp_path / "resumed", steps=8, threads=1, resume=True, workers=2)
    for file in ("metrics.jsonl", "steps/step-00000008/model.safetensors"):
        assert (tmp_path / "straight" / file).read_bytes() == (tmp_path / "resumed" / file).read_bytes(), file


@pytest.fixture(scope="module")
def run(lines, tmp_path_factory) -> Path:
    """It has learned these sentences."""
    out = tmp_path_factory.mktemp("cove") / "run"
    settings = [
        "model.width=32",
        "model.hidden=32",
        "schedule.lr=0.01",
        "schedule.decay=constant",
        "training.batch=256",
    ]
    pretrain(small(*settings), lines, out, steps=600, threads=1)
    return out


def test_it_learns_to_translate(run, lines):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [row["terms"]["token"] for row in rows]
    assert np.mean(losses[-20:]) < 0.3 * lines.unigram_entropy() < losses[0]
    written = bertsmith.generate(run, input=SENTENCES, beam=2, limit=30)
    assert all(row["stopped"] == "end" for row in written)
    right = [row["text"] == translated(text) for row, text in zip(written, SENTENCES, strict=True)]
    assert np.mean(right) > 0.8


# -- writing -------------------------------------------------------------------------------------------------------------------------------


def test_writing_on_equals_reading_everything_again(lines):
    recipe, member = member_of(lines)
    batch = batch_of(recipe, lines, 5)[0].to("cpu")
    start, texts = lines.vocab.cls, batch.input.tokens.split(batch.input.lengths)

    def said(now, sizes):
        """Of `now`, lists of [number of the source, tokens …]."""
        from bertsmith.data.decoded import decoded
        from bertsmith.data.denoise import seen

        sources = [texts[row[0]].numpy() for row in now]
        written = [np.array([start, *row[1:]], np.int32) for row in now]
        stream = seen(np.concatenate(sources), np.array([len(s) for s in sources])).to("cpu")
        flat, lengths = np.concatenate(written), np.array([len(w) for w in written])
        output = decoded(flat, flat, lengths)[0].to("cpu")
        at = torch.tensor(np.cumsum(lengths) - 1)
        return member.objective.logits(member.model, stream, at, output=output)

    rules = Rules(size=lines.vocab.size, end=END)
    for how in (How(limit=7), How(limit=7, beam=3), How(limit=7, sample=True, seed=4)):
        ours = write(Decoder(member, batch.input, start), how, rules, range(5))
        theirs = write(Again(said, [[i] for i in range(5)]), how, rules, range(5))
        assert [text.tokens for text in ours] == [text.tokens for text in theirs]
        assert [text.score for text in ours] == pytest.approx([text.score for text in theirs], rel=1e-4)


# -- what others take ----------------------------------------------------------------------------------------------------------------------


def test_vectors_of_words_are_the_encoders_states(run, lines):
    loaded = bertsmith.load(run)
    vectors = bertsmith.embed(loaded, ["bal dem", "dem bal"])
    assert vectors.shape == (2, 64) and not np.allclose(vectors[0], vectors[1])
    stream = loaded.tokenizer.encode(["bal dem"])[0][0]
    assert bertsmith.embed(loaded, ["bal dem"], layer=0).shape == (1, 64) and len(stream) >= 2
    one, other = (bertsmith.senses(loaded, "bal", input=["bal dem", "bal gem kal"], layer=layer) for layer in (0, None))
    assert one["cosine"]["mean"] == pytest.approx(1) and other["cosine"]["mean"] < 0.9999


def test_it_is_tuned_to_classes_and_to_writing(run, tmp_path):
    rows = [
        {"text": f"{a} {b}", "label": a} for b in ("gem", "kal", "gal", "fal", "bem", "kem") for a in ("bal", "dem")
    ]
    options = {"out": tmp_path / "full", "epochs": 12, "threads": 1, "set": ["lr=0.01", "pool=mean", "batch=4"]}
    found = bertsmith.finetune(run, task="classify", train=rows[:-2], dev=rows[-2:] + rows[:2], **options)
    assert found["dev"]["accuracy"]["value"] == 1.0
    assert [row["label"] for row in bertsmith.predict(tmp_path / "full", ["bal fel", "dem fel"])] == ["bal", "dem"]
    pairs = [{"text": "bal gem", "target": "kal"}, {"text": "dem gem", "target": "fel"}]
    task = {"task": "text2text", "template": "{text}", "target": "{target}", "steps": 60, "threads": 1}
    bertsmith.finetune(run, **task, train=pairs * 4, dev=pairs, out=tmp_path / "writes", set=["lr=0.01"])
    assert [row["text"] for row in bertsmith.predict(tmp_path / "writes", pairs)] == ["kal", "fel"]


def test_what_a_topology_cannot_be_is_told():
    with pytest.raises(InputError, match=r"model\.topology\.layers: 0"):
        Attentive(layers=0)
    with pytest.raises(InputError, match=r"model\.topology\.score: 'none' is not one of dot, general, additive"):
        Attentive(score="none")


def test_what_its_layers_do_not_have_is_told(run, tmp_path):
    with pytest.raises(InputError, match="its layers read a text from token to token"):
        bertsmith.attention(run, "bal dem")
    with pytest.raises(InputError, match="it fills no masks; `generate` writes about a text"):
        bertsmith.fill(run, "bal [MASK]")
