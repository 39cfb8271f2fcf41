"""Runs of models that read token by token, by every verb: what they do, and what they refuse in one line."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from tests.runs import small

import bertsmith
from bertsmith.data.causal import Causal, Everything
from bertsmith.data.draw import Draw
from bertsmith.downstream.predict import judged
from bertsmith.downstream.tree import bracketed, written
from bertsmith.errors import InputError
from bertsmith.nn.cells import LSTM
from bertsmith.nn.embeddings import Summed
from bertsmith.nn.modules.writing import Again, Running, _behind, texts_of
from bertsmith.nn.recurrent import Recurrent
from bertsmith.recipe import find
from bertsmith.tasks.sequences import encode

ROWS = [{"text": f"a {word} thing that stands here", "label": word} for word in ("good", "bad") * 8]
QUIET = {"threads": 1}
MEMBERS = ("lstm", "on-lstm", "ulmfit", "ulmfit-backward", "elmo", "bert-lstm")


@pytest.fixture(scope="module")
def runs(short, tmp_path_factory):
    """One of each, after three updates."""
    folder = tmp_path_factory.mktemp("runs")
    for name in MEMBERS:
        more = ["model.cell.chunk=4"] if name == "on-lstm" else []
        layers = "model.layers=2" if name != "on-lstm" else "model.layers=3"
        bertsmith.pretrain(small(layers, *more, member=name), short, folder / name, steps=3, **QUIET)
    return folder


@pytest.fixture(scope="module")
def tuned(runs, tmp_path_factory):
    """Classifiers of both directions."""
    folder = tmp_path_factory.mktemp("tuned")
    for name in ("ulmfit", "ulmfit-backward"):
        settings = ["pool=concat", "decay=slanted", "layer_decay=0.385", "unfreeze=0.1", "dropout=0.2"]
        how = {"task": "classify", "train": ROWS, "dev": ROWS[:6], "steps": 6, "set": settings}
        bertsmith.finetune(runs / name, out=folder / name, allow_unknown=True, **how, **QUIET)
    return folder


def tuning(run, **options):
    return bertsmith.finetune(
        run,
        task="classify",
        train=ROWS,
        dev=ROWS[:6],
        out=run.parent / "none",
        steps=1,
        allow_unknown=True,
        **options,
        **QUIET,
    )


def test_every_one_embeds_finds_its_layers_and_is_planned_shown_and_reported(runs, short, tmp_path):
    for name in MEMBERS:
        found = bertsmith.embed(runs / name, ["a thing", "another thing that stands here"])
        assert np.isfinite(found).all() and len(found) == 2, name
        assert found.shape[1] == bertsmith.load(runs / name).recipe.model.outer
    said = bertsmith.plan(small("model.layers=2", member="lstm"), short, steps=10, **QUIET)
    assert said["parameters"] == bertsmith.load(runs / "lstm").recipe.model.parameters() + short.vocab.size
    assert list(bertsmith.show(small(member="elmo"), short, n=1))
    page = bertsmith.report([runs / "lstm", runs / "elmo"], tmp_path / "report.html")
    assert "on-lstm" not in page.read_text() and "elmo" in page.read_text()


def test_probing_reads_every_layer_of_elmo(runs):
    found = bertsmith.probe(runs / "elmo", task="classify", train=ROWS, dev=ROWS[:6], control=False)
    assert [line["layer"] for line in found["layers"]] == [0, 1, 2]
    uneven = bertsmith.probe(runs / "lstm", task="classify", train=ROWS, dev=ROWS[:6], control=False)
    assert len(uneven["layers"]) == 3  # of 16, 32 and 16 numbers
    assert bertsmith.embed(runs / "lstm", ["a thing"], layer=1).shape == (1, 32)


def test_a_task_is_learned_beside_the_language_model_and_a_text_is_written_about_another(runs, tmp_path):
    for name in ("ulmfit", "ulmfit-backward"):
        how = {"task": "classify", "train": ROWS, "dev": ROWS[:6], "steps": 1, "set": ["auxiliary=0.5"]}
        bertsmith.finetune(runs / name, out=tmp_path / name, allow_unknown=True, **how, **QUIET)
        terms = json.loads((tmp_path / name / "metrics.jsonl").read_text().splitlines()[0])["terms"]
        assert terms["token"] > 0 and terms["activation"] is None
    rows = [{"text": f"a thing {n}", "label": "good one"} for n in range(8)]
    how = {"task": "text2text", "train": rows, "dev": rows[:3], "steps": 1}
    bertsmith.finetune(runs / "lstm", out=tmp_path / "writes", allow_unknown=True, **how, **QUIET)
    assert isinstance(bertsmith.generate(tmp_path / "writes", "a thing", limit=3, beam=2)["text"], str)


@pytest.mark.parametrize("name", ["lstm", "on-lstm", "ulmfit"])
def test_a_language_model_goes_on_with_a_text_as_if_it_read_all_of_it_again(name, runs):
    loaded = bertsmith.load(runs / name)
    member = loaded.member.eval()
    encoded = encode(loaded.tokenizer, ["a thing", "one that stands here", "b"], None, loaded.reading().to_write())
    stream = encoded.batch(np.arange(3)).input
    with torch.no_grad():
        one = Running(member, stream.to("cpu"))
        other = Again(lambda now, sizes: _behind(member, now, sizes, stream.to("cpu")), texts_of(stream.to("cpu")))
        a, b = one.begin(), other.begin()
        for _ in range(3):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
            tokens = a.argmax(-1)
            a, b = one.step(tokens), other.step(tokens)
        rows = torch.tensor([2, 0, 0])
        one.keep(rows), other.keep(rows)
        torch.testing.assert_close(one.step(tokens), other.step(tokens), atol=1e-5, rtol=1e-5)
    assert bertsmith.generate(runs / name, "a thing", limit=3)


def test_a_language_model_scores_texts_and_the_sum_is_what_its_head_says(runs):
    found = bertsmith.score(runs / "lstm", ["a thing that stands"], each=True)
    [row] = found["texts"]
    assert found["method"] == "causal" and abs(sum(p for _, p in row["each"]) - row["logprob"]) < 1e-6


@pytest.mark.parametrize(
    "name, verb, message",
    [
        ("lstm", lambda run: bertsmith.fill(run, "a [MASK]"), "sees only what comes before a token"),
        ("elmo", lambda run: bertsmith.fill(run, "a [MASK]"), "nothing was hidden from this model"),
        ("ulmfit-backward", lambda run: bertsmith.score(run, ["a"]), "reads what stands behind a token"),
        ("elmo", lambda run: bertsmith.generate(run, "a"), "reads what stands behind a token"),
        ("lstm", lambda run: bertsmith.attention(run, "a thing"), "its layers read a text from token to token"),
        ("lstm", lambda run: bertsmith.tree(run, "a thing"), "no order of units"),
        ("on-lstm", lambda run: bertsmith.tree(run, "a thing", layer=4), "layers are 1 to 3"),
        ("lstm", lambda run: tuning(run, method="mix"), "those of this model are 32 and 16 numbers wide"),
        ("lstm", lambda run: tuning(run, set=["layers=[1]"], method="frozen"), "32 and 16 numbers wide"),
        ("lstm", lambda run: tuning(run, method="lora"), "no layers of attention and feed-forward to tune"),
    ],
)
def test_what_it_cannot_do_is_refused_in_a_line(name, verb, message, runs):
    with pytest.raises(InputError, match=message) as caught:
        verb(runs / name)
    assert "\n" not in str(caught.value)


def test_bert_with_another_body_is_pretrained_loaded_and_fills(runs, short, tmp_path):
    """One recipe, the other body: the rest of it does not know."""
    recipe = small("training.evaluate=0")
    body = Recurrent(
        vocab=recipe.model.vocab, layers=1, width=8, hidden=16, dropout=0.1, embeddings=Summed(segments=2),
        cell=LSTM(projection=True), directions="both",
    )  # fmt: skip
    bertsmith.pretrain(dataclasses.replace(recipe, model=body), short, tmp_path / "run", steps=2, **QUIET)
    loaded = bertsmith.load(tmp_path / "run")
    assert isinstance(loaded.recipe.model, Recurrent) and loaded.recipe.objective == recipe.objective
    for run in (tmp_path / "run", runs / "bert-lstm"):
        assert len(bertsmith.fill(run, "a [MASK] thing", top=3)["masks"][0]["top"]) == 3
        assert bertsmith.score(run, ["a thing"])["method"] == "pll-word"


def test_a_model_that_would_read_what_it_is_asked_for_is_refused():
    recipe = small(member="lstm")
    with pytest.raises(InputError, match=r"model\.directions: both, .*set model\.directions=forward"):
        dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, memory=None, directions="both"))
    with pytest.raises(InputError, match=r"set model\.directions=backward"):
        small("model.directions=forward", member="ulmfit-backward")


def test_what_is_read_from_the_end_asks_for_every_token_but_the_last(short):
    recipe = small(member="ulmfit-backward").with_vocab(short.vocab)
    plan = recipe.layout.plan(short.train, short.vocab, 0, 0)
    row = plan.row(plan.order[:5])
    batch = recipe.corruption(row, short.vocab, Draw(0))
    target, tokens = batch.targets["token"], batch.input.tokens
    assert np.array_equal(tokens[target.at[:, 0] - 1], target.labels)
    assert batch.counts() == recipe.corruption.counts(row, recipe.corruption.select(row, Draw(0)), Draw(0))
    some = Everything(rate=0.5, backward=True)(row, Draw(0))
    assert not np.isin(some[:, 0], row.offsets[1:] - 1).any()
    asked = Causal(backward=True).beside.asked(batch.input)
    assert np.array_equal(tokens[asked.at[:, 0] - 1], asked.labels) and len(asked) == len(target)


def test_columns_from_the_end_are_those_from_the_beginning_in_turn(short):
    forward, backward = (small(member=name).layout for name in ("ulmfit", "ulmfit-backward"))
    plans = [layout.plan(short.train, short.vocab, 0, 0) for layout in (forward, backward)]
    assert plans[0].columns == plans[1].columns and plans[0].turns > 2
    for column in range(plans[0].columns):
        numbers = column * plans[0].turns + np.arange(plans[0].turns)
        a, b = plans[0].row(numbers), plans[1].row(numbers)
        length = plans[0].length
        assert np.array_equal(a.tokens.reshape(-1, length)[::-1], b.tokens.reshape(-1, length))
        assert np.array_equal(b.thread.turn, np.arange(plans[0].turns))


def test_concat_pooling_is_the_last_state_the_largest_and_the_mean_of_a_text(tuned):
    for name, at in (("ulmfit", -1), ("ulmfit-backward", 0)):
        loaded = bertsmith.load(tuned / name)
        member = loaded.member.eval()
        encoded = encode(loaded.tokenizer, ["a thing", "another thing that stands here"], None, loaded.reading())
        batch = encoded.batch(np.arange(2)).input.to("cpu")
        heard = {}
        member.objective.head.register_forward_hook(lambda part, given, said, heard=heard: heard.update(read=given[0]))
        with torch.no_grad():
            states = [part.numpy() for part in member.model(batch).split(batch.lengths)]
            ends = np.cumsum(batch.lengths)
            asked = torch.from_numpy(ends - 1 if at == -1 else ends - batch.lengths)
            member.objective.logits(member.model, batch, asked)
        for x, read in zip(states, heard["read"].numpy(), strict=True):
            np.testing.assert_allclose(read, np.concatenate([x[at], x.max(0), x.mean(0)]), atol=1e-6)


def test_several_answer_with_the_mean_of_their_probabilities(tuned, tmp_path):
    runs = [tuned / "ulmfit", tuned / "ulmfit-backward"]
    alone = [bertsmith.predict(run, ROWS) for run in runs]
    both = bertsmith.predict(runs[0], ROWS, tmp_path / "said.jsonl", ensemble=runs[1])
    for one, other, mean in zip(*alone, both, strict=True):
        for name, p in mean["scores"].items():
            assert abs(p - (one["scores"][name] + other["scores"][name]) / 2) < 1e-5
        assert mean["label"] == max(mean["scores"], key=mean["scores"].get)
    found = bertsmith.evaluate(runs[0], ROWS, ensemble=[runs[1]])
    right = np.mean([row["label"] == said["label"] for row, said in zip(ROWS, both, strict=True)])
    assert found["accuracy"]["value"] == pytest.approx(right)
    assert json.loads((tmp_path / "said.jsonl").read_text().splitlines()[0])["scores"] == both[0]["scores"]
    assert len(judged(runs[0], ROWS)[1]) == len(ROWS)


def test_an_ensemble_of_another_task_is_refused(tuned, runs, tmp_path):
    with pytest.raises(InputError, match="is a pre-training run"):
        bertsmith.predict(tuned / "ulmfit", ROWS, ensemble=runs / "ulmfit")
    numbers = [{"text": row["text"], "label": float(i)} for i, row in enumerate(ROWS)]
    bertsmith.finetune(
        runs / "ulmfit",
        task="regress",
        train=numbers,
        dev=numbers[:6],
        out=tmp_path / "run",
        steps=1,
        allow_unknown=True,
        **QUIET,
    )
    with pytest.raises(InputError, match="is of task='regress'"):
        bertsmith.evaluate(tuned / "ulmfit", ROWS, ensemble=tmp_path / "run")
    one = bertsmith.predict(tmp_path / "run", ROWS)
    both = bertsmith.predict(tmp_path / "run", ROWS, ensemble=tmp_path / "run")
    assert [row["label"] for row in both] == pytest.approx([row["label"] for row in one], rel=1e-5)


def test_layers_unfreeze_from_the_head_down_and_learn_less_the_lower_they_stand(runs):
    from bertsmith.nn.member import build
    from bertsmith.recipe import Schedule
    from bertsmith.training.optim import share_of

    recipe = bertsmith.load(runs / "ulmfit").recipe
    member, schedule = build(recipe), Schedule(layer_decay=1 / 2.6, unfreeze=10)
    rates = [
        share_of(name, member, schedule)
        for name in ("model.layers.1.0.weight_hh", "model.layers.0.0.weight_hh", "model.embeddings.tokens.weight")
    ]
    assert [share.rate * 2.6**n for n, share in enumerate(rates, 1)] == pytest.approx([1, 1, 1])
    assert [[share.at(step, 100) > 0 for share in rates] for step in (5, 15, 25, 35)] == [
        [False] * 3, [True, False, False], [True, True, False], [True] * 3,
    ]  # fmt: skip


def test_a_tree_parts_before_the_word_with_the_greatest_distance(runs):
    words, distances = ["the", "dog", "that", "barked", "ran"], [9.0, 0.1, 0.5, 0.2, 0.7]
    made = bracketed(words, distances)
    assert made == [[["the", "dog"], ["that", "barked"]], "ran"]
    assert written(made) == "(((the dog) (that barked)) ran)"
    found = bertsmith.tree(runs / "on-lstm", "a thing that stands")
    assert found["words"] == ["a", "thing", "that", "stands"] and found["layer"] == 2
    assert found["distances"][0] == 0 and all(0 < d < 1 for d in found["distances"][1:])
    assert found["brackets"] == written(bracketed(found["words"], found["distances"]))


def test_distances_are_what_the_master_gate_forgets(runs):
    """Against the gate itself, run over the text once more."""
    loaded = bertsmith.load(runs / "on-lstm")
    body = loaded.member.eval().model
    stream = encode(loaded.tokenizer, ["a thing that stands", "one"], None, loaded.reading()).batch(np.arange(2)).input
    stream = stream.to("cpu")
    with torch.no_grad():
        found = body.distances(stream, 1).split(stream.lengths)
        cell = body.layers[0][0]
        for tokens, distances in zip(stream.tokens.split(stream.lengths), found, strict=True):
            state = cell.fresh(1, body.tokens.weight)
            for token, distance in zip(tokens, distances, strict=True):
                gates = torch.nn.functional.linear(body.tokens.weight[token][None], cell.weight_ih, cell.bias_ih)
                gates = gates + torch.nn.functional.linear(state[0], cell.weight_hh, cell.bias_hh)
                assert abs(1 - cell.master(gates)[1].mean() - distance) < 1e-6
                state = cell.step(gates, state)


def test_activations_are_kept_small_and_slow_as_the_paper_says(short):
    from bertsmith.nn.member import build

    recipe = small("model.layers=2", "model.dropout=0", member="ulmfit").with_vocab(short.vocab)
    plan = recipe.layout.plan(short.train, short.vocab, 0, 0)
    batch = recipe.corruption(plan.row(plan.order[:4]), short.vocab, Draw(0))
    assert batch.counts()["activation"] == batch.counts()["temporal"] == batch.counts()["token"]
    torch.manual_seed(0)
    member = build(recipe)
    sums = member(batch.to("cpu"))
    states = [x[:-1] for x in member.model.states(batch.to("cpu").input)[-1].split(batch.input.lengths)]
    assert sums["activation"].item() == pytest.approx(sum(x.pow(2).mean(-1).sum().item() for x in states), rel=1e-5)
    slow = sum((x[1:] - x[:-1]).pow(2).mean(-1).sum().item() for x in states)
    assert sums["temporal"].item() == pytest.approx(slow, rel=1e-5)
    assert member.objective.weights() == {"token": 1.0, "activation": 2.0, "temporal": 1.0}
    assert find("ulmfit:base").model.noise.weights * 0.4 == pytest.approx(0.5)
