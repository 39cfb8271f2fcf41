"""Stores of several languages, and of parallel lines: what is counted, how much of each is read, what a layout makes of them."""

import json

import numpy as np
import pytest

from bertsmith.config import override
from bertsmith.data.batch import IGNORE
from bertsmith.data.draw import Draw
from bertsmith.data.text import Text
from bertsmith.downstream.show import show
from bertsmith.errors import InputError
from bertsmith.recipe import find
from bertsmith.text.multilingual import AND, ByLanguage, languages_of, shares
from bertsmith.text.pairs import SegmentPairs
from bertsmith.text.prepare import prepare
from bertsmith.text.sources import tagged
from bertsmith.text.store import Store
from bertsmith.text.translations import Translations
from bertsmith.training.evaluate import evaluate_run
from bertsmith.training.pretraining import pretrain

POWER = 0.7


def mirrored(text: str) -> str:
    """Another language of the same length: every word from its end."""
    return "\n".join(" ".join(word[::-1] for word in line.split(" ")) for line in text.split("\n"))


@pytest.fixture(scope="module")
def files(documents, tmp_path_factory):
    """English, a fifth as much of its mirror, and 300 lines with their mirrors."""
    folder = tmp_path_factory.mktemp("tongues")
    (folder / "en.txt").write_text("\n\n".join(documents[:40]) + "\n", encoding="utf-8")
    (folder / "ne.txt").write_text("\n\n".join(map(mirrored, documents[40:48])) + "\n", encoding="utf-8")
    lines = [line for text in documents[48:] for line in text.split("\n")][:300]
    (folder / "both.en").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "both.ne").write_text("\n".join(map(mirrored, lines)) + "\n", encoding="utf-8")
    return folder


def sources(folder):
    return [f"en={folder}/en.txt", f"ne={folder}/ne.txt", f"en+ne={folder}/both.en+{folder}/both.ne"]


@pytest.fixture(scope="module")
def tongues(files):
    """A store of all three."""
    prepare(sources(files), files / "store", tokenizer="wordpiece:800", lowercase=True, holdout=0.1)
    return Store.open(files / "store")


def test_shares_are_powers_of_sizes():
    found = shares(np.array([1000.0, 1.0]), POWER)
    assert found[0] / found[1] == pytest.approx(1000**POWER) == pytest.approx(125.9, abs=0.1)
    assert np.allclose(shares(np.array([3.0, 1.0]), 1.0), [0.75, 0.25])
    assert np.allclose(shares(np.array([3.0, 1.0]), 0.0), [0.5, 0.5])


def test_a_language_is_what_stands_before_the_sign_unless_a_file_is_called_so(tmp_path):
    assert tagged("zh-Hant=news.txt") == ("zh-Hant", "news.txt")
    assert tagged("en+de=a.en+a.de") == ("en+de", "a.en+a.de")
    assert tagged("corpus/a=b.txt") == ("", "corpus/a=b.txt")
    (tmp_path / "en=x.txt").write_text("text")
    assert tagged(str(tmp_path / "en=x.txt"))[0] == ""


def test_every_language_is_counted(tongues, files):
    said = tongues.manifest["languages"]
    assert list(said) == ["en", "ne", "en+ne"]
    for split in (tongues.train, tongues.held_out):
        name = "train" if split is tongues.train else "held-out"
        assert sum(of[name]["documents"] for of in said.values()) == len(split.documents) - 1
        assert sum(of[name]["tokens"] for of in said.values()) == split.count
        for part in split.parts:
            assert said[part.language][name]["tokens"] == part.count == len(part.gather(slice(0, part.count)))
    tokens = len(
        np.concatenate(
            [
                ids
                for ids, _ in tongues.tokenizer.encode(
                    [line for line in (files / "ne.txt").read_text(encoding="utf-8").split("\n") if line]
                )
            ]
        )
    )
    assert sum(said["ne"][name]["tokens"] for name in ("train", "held-out")) == tokens
    assert tongues.manifest["account"]["languages"] == said


def test_a_language_named_in_two_places_stands_together(tongues, files, tmp_path, documents):
    (tmp_path / "more.txt").write_text(documents[50] + "\n", encoding="utf-8")
    named = [sources(files)[0], sources(files)[1], f"en={tmp_path}/more.txt"]
    account = prepare(named, tmp_path / "store", tokenizer=str(tongues.path), allow_unknown=True)
    assert list(account["languages"]) == ["en", "ne"]
    assert sum(part["documents"] for part in account["languages"]["en"].values()) == 41


def test_the_sample_of_the_tokenizer_is_smoothed(tongues):
    sample = tongues.manifest["account"]["tokenizer_sample"]
    languages = sample["languages"]
    wanted = shares(np.array([of["of"] for of in languages.values()]), POWER)
    assert sample["smoothing"] == POWER and set(languages) == {"en", "ne"}
    assert np.allclose([of["share"] for of in languages.values()], wanted, atol=0.02)
    assert languages["ne"]["bytes"] > languages["ne"]["of"]  # several times


@pytest.mark.parametrize("portions", [(0.1, 0.9), (3, 1)])
def test_an_epoch_reads_each_language_by_the_share_that_it_was_given_and_the_largest_once(tongues, portions):
    plan = ByLanguage(SegmentPairs(length=64), 1.0, portions=portions).plan(tongues.train, tongues.vocab, 3, 1)
    plain = ByLanguage(SegmentPairs(length=64), 1.0).plan(tongues.train, tongues.vocab, 3, 1)
    read, once = (
        np.bincount(languages_of(one, np.arange(len(one.labels))), weights=one.lengths, minlength=2)[:2]
        for one in (plan, plain)
    )
    assert np.allclose(read / read.sum(), np.array(portions) / sum(portions), atol=0.01)
    largest = int(np.argmax(portions))
    assert read[largest] == once[largest]


def test_shares_that_are_not_of_the_languages_of_a_store_are_refused(tongues, store):
    recipe = override(find("mbert:tiny"), ["layout.length=64", "training.batch=1024", "training.shares=[0.5]"])
    with pytest.raises(InputError, match=r"training.shares: 1 of them, and the store has 2 languages: en, ne$"):
        Text.of(recipe, tongues, 0).epoch(0)
    with pytest.raises(InputError, match=r"training.shares: .* has no languages that they could be of"):
        Text.of(recipe, store, 0)
    with pytest.raises(InputError, match=r"training.shares: .* each must be a number above 0"):
        override(recipe, ["training.shares=[0.5,0]"])


@pytest.mark.parametrize("smoothing", [0.7, 0.3, 1.0])
def test_an_epoch_reads_each_language_by_its_share_in_pairs_of_one_language(tongues, smoothing):
    layout = ByLanguage(SegmentPairs(length=64), smoothing)
    plan = layout.plan(tongues.train, tongues.vocab, 3, 1)
    number = np.arange(len(plan.labels))
    of = languages_of(plan, number)
    read = np.bincount(of, weights=plan.lengths, minlength=3)
    assert read[2] == 0  # parallel lines are no text
    if smoothing != 1:
        sizes = [part.count for part in tongues.train.parts if AND not in part.language]
        assert np.allclose(read[:2] / read.sum(), shares(np.array(sizes), smoothing), atol=0.01)
    edges = tongues.train.sentences[tongues.train.documents[[s.first for s in tongues.train.languages]]]
    pieces = np.searchsorted(edges, plan.begin, "right") - 1
    assert (pieces == np.repeat(of, np.diff(plan.first))).all()
    assert (plan.labels != IGNORE).all()


def test_what_is_read_twice_in_an_epoch_has_other_masks(tongues):
    recipe = override(find("mbert:tiny"), ["layout.length=64", "training.batch=1024", "training.smoothing=0"])
    text = Text.of(recipe.with_vocab(tongues.vocab), tongues, 0)
    plan = text.epoch(0).plan
    pieces = [tuple(plan.begin[plan.first[s] : plan.first[s + 1]]) for s in range(len(plan.labels))]
    twice = {}
    for s, piece in enumerate(pieces):
        twice.setdefault(piece, []).append(s)
    again = next(found for found in twice.values() if len(found) > 1 and plan.lengths[found[0]] > 40)
    row = plan.row(np.array(again[:2]))
    batch = recipe.corruption(row, tongues.vocab, Draw(0))
    first, second = np.split(batch.input.tokens, [row.lengths[0]])
    assert len(first) != len(second) or not np.array_equal(first, second)


def test_epochs_read_other_parts_of_a_large_language(tongues):
    layout = ByLanguage(SegmentPairs(length=64), 0.3)
    found = [layout.plan(tongues.train, tongues.vocab, 0, epoch).begin for epoch in (0, 0, 1)]
    assert np.array_equal(found[0], found[1]) and not np.array_equal(found[0], found[2])


def test_show_counts_languages(tongues):
    *_, last = show("mbert:tiny", tongues, n=400, set=["layout.length=64"])
    found = last["summary"]
    for name in ("en", "ne"):
        assert found["achieved"][f"languages.{name}"] == pytest.approx(
            found["requested"][f"languages.{name}"], abs=0.06
        )


def test_parallel_lines_are_documents_of_two_sentences(tongues, files):
    parts = [part for split in (tongues.train, tongues.held_out) for part in split.parts if AND in part.language]
    assert sum(len(part.documents) - 1 for part in parts) == 300
    lines = (files / "both.ne").read_text(encoding="utf-8").split("\n")
    train = parts[0]
    assert (np.diff(train.documents) == 2).all()
    known = {tuple(ids.tolist()) for ids, _ in tongues.tokenizer.encode(lines)}
    sides = [tuple(train.gather(slice(*train.sentences[i : i + 2])).tolist()) for i in range(1, 2 * 40, 2)]
    assert set(sides) <= known


@pytest.mark.parametrize("kind", ["tsv", "header.tsv", "jsonl", "text.jsonl"])
def test_one_file_of_two_columns_is_as_two_files(tongues, files, tmp_path, kind):
    pairs = list(
        zip(*((files / f"both.{x}").read_text(encoding="utf-8").split("\n")[:50] for x in ("en", "ne")), strict=True)
    )
    keys = ("text", "text2") if kind == "text.jsonl" else ("en", "ne")
    rows = [
        json.dumps(dict(zip(keys, pair, strict=True))) if kind.endswith("jsonl") else "\t".join(pair) for pair in pairs
    ]
    rows = ["ne\ten", *("\t".join(pair[::-1]) for pair in pairs)] if kind == "header.tsv" else rows
    path = tmp_path / f"pairs.{kind.rpartition('.')[2]}"
    path.write_text("\n".join([*rows, "only one side\t" if "tsv" in kind else '{"text": "a", "text2": ""}']) + "\n")
    named = [sources(files)[1], f"en+ne={path}"]
    account = prepare(named, tmp_path / "store", tokenizer=str(tongues.path), holdout=0, allow_unknown=True)
    assert account["languages"]["en+ne"]["train"]["documents"] == 50
    dropped = account["bytes"]["dropped"]
    assert dropped["unpaired"] > 0
    size = account["bytes"]
    assert size["read"] + size["recoded"] == size["used"] + size["newlines"] + size["markup"] + sum(dropped.values())
    train = Store.open(tmp_path / "store").train.parts[1]
    tokenizer = Store.open(tmp_path / "store").tokenizer
    first = [train.gather(slice(*train.sentences[i : i + 2])).tolist() for i in (0, 1)]
    assert first == [ids.tolist() for ids, _ in tokenizer.encode(list(pairs[0]))]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["en=en.txt", "ne.txt"], "ne.txt: has no language"),
        (["en=en.txt", "en+ne=both.en+ne.txt"], "has a line for each|parallel files have a line"),
        (["en=en.txt", "en+ne=en.txt+ne.txt+both.ne"], "one file of two columns, or two files"),
    ],
)
def test_what_does_not_fit_is_said(tongues, files, tmp_path, monkeypatch, given, said):
    monkeypatch.chdir(files)
    with pytest.raises(InputError, match=said):
        prepare(given, tmp_path / "store", tokenizer=str(tongues.path), allow_unknown=True)


def test_languages_and_one_language_exclude_each_other(files, tmp_path):
    with pytest.raises(InputError, match="each source names its own"):
        prepare(sources(files), tmp_path / "store", language="de")
    with pytest.raises(InputError, match="no source names its language"):
        prepare([str(files / "en.txt")], tmp_path / "store", smoothing=0.5)


def test_a_pair_is_whole_and_either_side_is_first(tongues):
    layout = ByLanguage(Translations(length=200), 0.7)
    plan = layout.plan(tongues.train, tongues.vocab, 0, 0)
    part = next(part for part in tongues.train.parts if AND in part.language)
    assert len(plan.labels) == len(part.documents) - 1
    begin = plan.begin.reshape(-1, 2) - part.base
    sentences = np.searchsorted(part.sentences, begin)
    assert (part.sentences[sentences] == begin).all()
    assert (sentences.min(1) % 2 == 0).all() and (abs(np.diff(sentences, axis=1)) == 1).all()
    turned = (sentences[:, 0] > sentences[:, 1]).mean()
    assert 0.35 < turned < 0.65


@pytest.mark.parametrize("reset", [True, False])
def test_the_second_side_counts_positions_anew(tongues, reset):
    recipe = override(
        find("mbert-tlm:tiny"), ["layout.length=64", f"mixture.feeds.0.corruption.rewrite.reset={json.dumps(reset)}"]
    )
    alone = recipe.with_vocab(tongues.vocab).alone("parallel")
    text = Text.of(alone, tongues, 0)
    epoch = text.epoch(0)
    (batch,) = text.batches([[(epoch, epoch.order[:20])]])
    places = np.split(batch.input.positions, np.cumsum(batch.input.lengths)[:-1])
    segments = np.split(batch.input.segments, np.cumsum(batch.input.lengths)[:-1])
    for place, segment in zip(places, segments, strict=True):
        sides = [place[segment == side] for side in (0, 1)]
        assert sides[0].tolist() == list(range(len(sides[0])))
        begin = 0 if reset else len(sides[0])
        assert sides[1].tolist() == list(range(begin, begin + len(sides[1])))
    assert set(batch.targets) == {"token"}


def test_a_store_without_parallel_lines_says_so(store):
    recipe = find("mbert-tlm:tiny").with_vocab(store.vocab)
    with pytest.raises(InputError, match=r"no parallel lines; prepare it with some, en\+de="):
        Text.of(recipe.alone("parallel"), store, 0)


def test_parallel_lines_alone_are_for_members_that_read_them(tongues, files, tmp_path):
    named = [f"en+ne={files}/both.en+{files}/both.ne"]
    prepare(named, tmp_path / "store", tokenizer=str(tongues.path), holdout=0.1, allow_unknown=True)
    lines = Store.open(tmp_path / "store")
    with pytest.raises(
        InputError, match=r"no text in en\+ne; prepare it with text of these languages, too, or take .* \(cove\)"
    ):
        Text.of(find("mbert:tiny").with_vocab(lines.vocab), lines, 0)
    plan = lines.laid(Translations(length=64)).plan(lines.train, lines.vocab, 0, 0)
    assert len(plan.labels) == lines.manifest["languages"]["en+ne"]["train"]["documents"] > 0


def test_held_out_text_is_examined_by_language(tongues, tmp_path):
    sets = ["model.width=16", "model.hidden=32", "layout.length=64", "training.batch=512", "training.held_out=4096"]
    recipe = override(find("mbert:tiny"), sets)
    found = pretrain(recipe, tongues, tmp_path / "run", steps=2, threads=1)["evaluation"]
    assert {"token", "token.en", "token.ne"} <= set(found)
    ours, each = found["token"]["loss"], [found[f"token.{name}"]["loss"] for name in ("en", "ne")]
    assert min(each) < ours < max(each)
    again = evaluate_run(tmp_path / "run", tongues)["evaluation"]
    assert again["token"]["loss"] == ours


def test_a_document_that_is_held_out_afterwards_is_counted_where_it_went(tongues, documents, tmp_path):
    """Where the draw holds none out, one is moved; its language is that of the text, and its capitals go with it."""
    for name, texts in (("en", documents[:2]), ("ne", list(map(mirrored, documents[2:4])))):
        (tmp_path / f"{name}.txt").write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    named = [f"{name}={tmp_path}/{name}.txt" for name in ("en", "ne")]
    options = {"tokenizer": str(tongues.path), "holdout": 1e-6, "allow_unknown": True, "capitals": True}
    said = prepare(named, tmp_path / "store", **options)["languages"]
    store = Store.open(tmp_path / "store")
    assert sum(of["held-out"]["documents"] for of in said.values()) == 1
    for split in (store.train, store.held_out):
        assert sum(part.count for part in split.parts) == split.count
        assert len(split.capitals(np.arange(split.count))) == split.count
    whole = prepare(named, tmp_path / "whole", **{**options, "holdout": 0})["languages"]
    assert {name: of["train"]["tokens"] for name, of in whole.items()} == {
        name: of["train"]["tokens"] + of["held-out"]["tokens"] for name, of in said.items()
    }
