"""ERNIE 2.0's tasks, each label counted again from the text; its curriculum; embeddings that are told the task."""

import itertools
import json
import re

import numpy as np
import pytest
import torch
from tests.test_several import knowing  # noqa: F401  (a fixture)

import bertsmith
from bertsmith.config import override
from bertsmith.data.draw import Draw
from bertsmith.data.mixture import Curriculum
from bertsmith.data.told import Reordered, orders
from bertsmith.downstream.show import show
from bertsmith.errors import InputError
from bertsmith.nn.member import build, parameters
from bertsmith.recipe import find
from bertsmith.text.connectives import CONNECTIVES
from bertsmith.text.distances import APART, NEXT, STRANGE, Distances, Joined
from bertsmith.text.recurring import Recurring


def made(store, feed, *settings, sequences=60):
    """(the row, the batch, the recipe of the feed) of the first sequences."""
    recipe = override(find("ernie2:tiny"), ["layout.length=64", *settings]).with_vocab(store.vocab).alone(feed)
    plan = recipe.layout.plan(store.train, store.vocab, 0, 0)
    row = plan.row(np.arange(min(sequences, len(plan.labels))))
    return row, recipe.corruption(row, store.vocab, Draw(0)), recipe, plan


def test_capitals_are_those_of_the_text(knowing):  # noqa: F811
    """The text is lower case in the store; where a word stood with a capital is told by the file."""
    store, path = knowing
    row, batch, _, _ = made(store, "capital", sequences=400)
    target = batch.targets["capital"]
    words = {}
    for word in re.findall(r"[A-Za-z]+", path.read_text(encoding="utf-8")):
        words.setdefault(word.lower(), set()).add(word[0].isupper())
    always = {word: next(iter(seen)) for word, seen in words.items() if len(seen) == 1}
    edge = np.append(np.flatnonzero(row.starts | row.special), len(row.tokens))
    checked = 0
    for at, label in zip(target.at[:, 0].tolist(), target.labels.tolist(), strict=True):
        assert row.starts[at]
        end = edge[np.searchsorted(edge, at) + 1]
        pieces = store.tokenizer.tokens(row.tokens[at:end].tolist())
        word = "".join(piece.removeprefix("##") for piece in pieces)
        before = store.tokenizer.tokens([int(row.tokens[at - 1])])[0]
        if word in always and before not in ("_", "-", "'", "’", "."):
            assert label == always[word], word
            checked += 1
    assert checked > 1000 and 0.02 < target.labels.mean() < 0.4


def test_a_store_without_capitals_says_so(store):
    recipe = find("ernie2:tiny").with_vocab(store.vocab).alone("capital")
    with pytest.raises(InputError, match="which words begin with a capital letter; prepare it with capitals=True"):
        recipe.corruption.check(store.train)


def test_a_token_recurs_where_its_document_has_it_outside_of_the_sequence(knowing):  # noqa: F811
    store, _ = knowing
    row, batch, recipe, plan = made(store, "relation")
    assert isinstance(recipe.layout, Recurring)
    target, edges = batch.targets["relation"], store.train.sentences[store.train.documents]
    assert len(target) == int((~row.special).sum())
    said = dict(zip(target.at[:, 0].tolist(), target.labels.tolist(), strict=True))
    for s in range(len(row.lengths)):
        begin, end = int(plan.begin[s]), int(plan.end[s])
        document = int(np.searchsorted(edges, begin, "right")) - 1
        whole = store.train.gather(slice(int(edges[document]), int(edges[document + 1])))
        others = {*whole[: begin - edges[document]].tolist(), *whole[end - edges[document] :].tolist()}
        for place in range(int(row.offsets[s]), int(row.offsets[s + 1])):
            if not row.special[place]:
                assert said[place] == (int(row.tokens[place]) in others)
    assert 0 < target.labels.mean() < 1


def test_there_are_as_many_classes_as_orders():
    assert [orders(n) for n in (1, 2, 3, 4)] == [1, 3, 9, 33]


def test_the_label_of_an_order_puts_the_pieces_back(knowing):  # noqa: F811
    store, _ = knowing
    row, batch, _, _ = made(store, "reorder", "layout.length=128", sequences=200)
    target = batch.targets["reorder"]
    assert len(target) == len(row.lengths) and (target.at[:, 0] == row.offsets[:-1]).all()
    classes = [order for n in (1, 2, 3) for order in itertools.permutations(range(n))]
    for s, label in enumerate(target.labels.tolist()):
        part = slice(int(row.offsets[s]) + 1, int(row.offsets[s + 1]) - 1)
        clean, moved, starts = row.tokens[part], batch.input.tokens[part], row.sentences[part]
        order = classes[label]
        inner = [i for i in np.flatnonzero(starts).tolist() if i]
        found = False
        for cuts in itertools.combinations(inner, len(order) - 1):
            pieces = np.split(clean, cuts)
            found |= np.array_equal(np.concatenate([pieces[i] for i in order]), moved)
        assert found, (s, label)
    counts = np.bincount(target.labels, minlength=9)
    assert (counts[:3] > 0).all() and counts[3:].sum() > 0


def test_orders_are_alike(knowing):  # noqa: F811
    store, _ = knowing
    plan = made(store, "reorder", "layout.length=128")[3]
    counts = np.zeros(9)
    for seed in range(6):
        row = plan.row(np.arange(len(plan.labels)))
        many = np.add.reduceat(row.sentences, row.offsets[:-1]) >= 3
        labels = Reordered(pieces=3)(row, np.zeros((0, 2)), store.vocab, Draw(seed)).targets["reorder"].labels
        counts += np.bincount(labels[many], minlength=9)
    wanted = np.array([1 / 3, *[1 / 6] * 2, *[1 / 18] * 6]) * counts.sum()
    assert ((counts - wanted) ** 2 / wanted).sum() < 30  # chi square, 8 degrees of freedom: p < 0.001 above 26.1


def test_distances_are_those_of_the_text(knowing):  # noqa: F811
    store, _ = knowing
    layout = Distances(length=4000)
    plan = layout.plan(store.train, store.vocab, 0, 0)
    sentences, documents = store.train.sentences, store.train.documents
    number = np.searchsorted(sentences, plan.begin.reshape(-1, 2))
    assert (sentences[number] == plan.begin.reshape(-1, 2)).all()
    of = np.searchsorted(documents, number, "right") - 1
    apart = number[:, 1] - number[:, 0]
    for label, holds in (
        (NEXT, (apart == 1) & (of[:, 0] == of[:, 1])),
        (APART, (abs(apart) > 1) & (of[:, 0] == of[:, 1])),
        (STRANGE, of[:, 0] != of[:, 1]),
    ):
        assert holds[plan.labels == label].all()
    assert np.allclose(np.bincount(plan.labels) / len(plan.labels), 1 / 3, atol=0.04)
    later = number[plan.labels == APART]
    assert (later[:, 1] < later[:, 0]).any() and (later[:, 1] > later[:, 0]).any()


def test_connectives_are_found_again_by_words(knowing):  # noqa: F811
    """By text: sentences that begin with a listed connective and have one before them; the connective is not shown."""
    store, _ = knowing
    layout = Joined(length=4000)
    plan = layout.plan(store.train, store.vocab, 0, 0)
    sentences, documents = store.train.sentences, store.train.documents
    listed = {word: sense for sense, of in enumerate(CONNECTIVES) for word in of.words}
    wanted = {}
    for number in range(len(sentences) - 1):
        if number in documents:
            continue
        text = store.tokenizer.decode(store.train.gather(slice(int(sentences[number]), int(sentences[number + 1]))))
        text = text.replace(" ,", ",").lower()
        words = [word for word in listed if text.startswith(word + (" " if word.endswith(",") else ""))]
        if words:
            wanted[number] = listed[max(words, key=len)]
    second = np.searchsorted(sentences, plan.begin.reshape(-1, 2)[:, 1], "right") - 1
    assert dict(zip(second.tolist(), plan.labels.tolist(), strict=True)) == wanted and len(wanted) > 20
    first = plan.begin.reshape(-1, 2)
    assert (first[:, 0] == sentences[second - 1]).all() and (first[:, 1] > sentences[second]).all()
    assert (plan.end.reshape(-1, 2)[:, 1] == sentences[second + 1]).all()


def test_a_text_without_connectives_says_so(knowing):  # noqa: F811
    store, _ = knowing
    from bertsmith.text.connectives import Sense

    layout = Joined(length=64, senses=(Sense("a", ("zzyzx,",)), Sense("b", ("qwrtz,",))))
    with pytest.raises(InputError, match="connectives"):
        layout.check(store.train)


@pytest.mark.parametrize("feeds", [2, 4, 6])
def test_every_task_has_the_same_share_of_a_run_whatever_the_order(feeds):
    for order in ("added", "turns", "together"):
        table = Curriculum(order=order).table(feeds)
        assert len(set(table.sum(0).tolist())) == 1
        steps = 100_000
        shares = Curriculum(order=order).of(steps)
        begins = shares.begins(feeds)
        read = sum(shares.at(a + 1, np.ones(feeds)) * (b - a) for a, b in itertools.pairwise(begins))
        assert np.allclose(read, steps / feeds, rtol=1e-3)


def test_four_tasks_are_added_as_in_the_paper():
    thousand = Curriculum().table(4) / Curriculum().table(4).sum(0) * 50
    assert thousand.T.tolist() == [[20, 10, 10, 10], [0, 30, 10, 10], [0, 0, 40, 10], [0, 0, 0, 50]]


def test_stages_begin_and_end_where_the_table_says():
    shares = Curriculum(order="added").of(20)
    assert shares.begins(4) == [0, 2, 6, 12, 20]
    reads = [np.flatnonzero(shares.at(step, np.ones(4))).tolist() for step in range(1, 21)]
    assert reads == [[0]] * 2 + [[0, 1]] * 4 + [[0, 1, 2]] * 6 + [[0, 1, 2, 3]] * 8
    turns = Curriculum(order="turns").of(8)
    assert [np.flatnonzero(turns.at(step, np.ones(4)))[0] for step in range(1, 9)] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert np.allclose(Curriculum(order="together").of(8).at(1, np.ones(4)), 0.25)
    assert Curriculum().at(1, np.ones(4)).tolist() == [1, 0, 0, 0]  # before anybody knows how long the run is


def test_the_model_is_told_which_task_it_is(knowing):  # noqa: F811
    store, _ = knowing
    for number, feed in enumerate(("knowledge", "capital", "relation", "reorder", "distance", "discourse")):
        _, batch, _, _ = made(store, feed, sequences=5)
        assert set((batch.input.segments // 2).tolist()) == {number}
    recipe = override(find("ernie2:tiny"), ["model.width=32", "model.hidden=64", "model.heads=2"]).with_vocab(
        store.vocab
    )
    torch.manual_seed(0)
    model = build(recipe).model.eval()
    _, batch, _, _ = made(store, "distance", sequences=3)
    stream = batch.to("cpu").input
    part = model.embeddings
    x = part.tokens(stream.tokens) + part.segments(stream.segments - 8) + part.tasks(torch.tensor(4))
    x = part.norm(model.positions.embed(x, stream))
    torch.testing.assert_close(part(stream, model.positions), x)


def test_embeddings_are_those_of_the_ernie_of_transformers(knowing):  # noqa: F811
    """Word, position, segment and task, then a norm: the peer has the tables and sums them so."""
    transformers = pytest.importorskip("transformers")
    store, _ = knowing
    recipe = override(find("ernie2:tiny"), ["model.width=32", "model.hidden=64", "model.heads=2"]).with_vocab(
        store.vocab
    )
    torch.manual_seed(0)
    ours = build(recipe).model.eval()
    config = transformers.ErnieConfig(
        vocab_size=recipe.model.vocab,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        hidden_act="relu",
        max_position_embeddings=513,
        task_type_vocab_size=7,
        use_task_id=True,
        layer_norm_eps=1e-5,
    )
    theirs = transformers.ErnieModel(config).eval()
    table = theirs.embeddings
    with torch.no_grad():
        for mine, other in (
            (ours.embeddings.tokens, table.word_embeddings),
            (ours.embeddings.segments, table.token_type_embeddings),
            (ours.embeddings.tasks, table.task_type_embeddings),
            (ours.embeddings.norm, table.LayerNorm),
            (ours.positions, table.position_embeddings),
        ):
            (own,) = [p for p in mine.parameters() if p.ndim == 2] or [mine.weight]
            other.weight.copy_(own)
        _, batch, _, _ = made(store, "distance", sequences=1)
        stream = batch.to("cpu").input
        said = table(
            input_ids=stream.tokens[None],
            token_type_ids=stream.segments[None] % 2,
            task_type_ids=stream.segments[None] // 2,
            position_ids=stream.positions[None],
        )
        torch.testing.assert_close(ours.embeddings(stream, ours.positions), said[0], atol=1e-6, rtol=1e-5)


def test_parameters_are_counted_exactly(knowing):  # noqa: F811
    store, _ = knowing
    for name in ("ernie2:tiny", "mbert-tlm:tiny"):
        recipe = find(name).with_vocab(store.vocab)
        assert parameters(recipe) == sum(p.numel() for p in build(recipe).parameters())


def test_show_tells_classes(knowing):  # noqa: F811
    store, _ = knowing
    *lines, last = show("ernie2:tiny", store, feed="distance", n=30)
    assert all(line["targets"]["distance"] in (0, 1, 2) for line in lines)
    counts = last["summary"]["classes"]["distance"]
    assert sum(counts.values()) == 30
    line, _ = show("ernie2:tiny", store, feed="capital", n=1)
    words = line["source"]["words"]
    assert [at for at, _ in line["targets"]["capital"]] == words
    with pytest.raises(InputError, match="no feed 'distanc'"):
        next(show("ernie2:tiny", store, feed="distanc"))


@pytest.fixture(scope="module")
def together(knowing, tmp_path_factory):  # noqa: F811
    """A run of all tasks at once, and its store."""
    store, _ = knowing
    run = tmp_path_factory.mktemp("together") / "run"
    small = ["model.width=32", "model.hidden=64", "model.heads=2", "layout.length=64", "training.batch=512"]
    exact = ["training.evaluate=0", "training.precision=float32"]
    recipe = override(find("ernie2:tiny"), [*small, *exact, "mixture.shares.order=together"])
    bertsmith.pretrain(recipe, store, run, steps=12, threads=1)
    return run, store


def test_a_run_of_several_tasks_is_evaluated_in_each_of_them(together):
    run, store = together
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["evaluation"]
    said = {f"{term}.{key}": value for term, found in last.items() for key, value in found.items()}
    scores = bertsmith.evaluate(run, data=store)
    assert list(scores) == list(said) and {"knowledge.token.loss", "distance.distance.loss"} <= scores.keys()
    assert {key: score["value"] for key, score in scores.items()} == pytest.approx(said, rel=1e-5)


def test_it_is_exported_as_an_ernie_that_says_the_same(together, tmp_path):
    """Task 0's row goes into those of the segments; the folder, read again, has the same probabilities."""
    pytest.importorskip("transformers")
    run, _ = together
    found = bertsmith.export(run, to="hf", out=tmp_path / "folder")
    config = json.loads((tmp_path / "folder" / "config.json").read_text())
    assert config["model_type"] == "ernie" and config["architectures"] == ["ErnieForMaskedLM"]
    assert not config.get("use_task_id") and found
    text = ["a [MASK] of the class is a method"]
    ours, theirs = (bertsmith.fill(at, text, top=5)[0]["masks"][0]["top"] for at in (run, tmp_path / "folder"))
    assert [guess["token"] for guess in ours] == [guess["token"] for guess in theirs]
    assert np.allclose([guess["p"] for guess in ours], [guess["p"] for guess in theirs], rtol=1e-4)
