"""UniLM's rewrite: who sees whom in each view, how views are drawn, and what follows for pairs, `show`, fine-tuning and export."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy import stats
from tests.corpora import VOCAB, random_shape, split_of, whole
from tests.test_show import shown

import bertsmith
from bertsmith.config import override
from bertsmith.data.batch import IGNORE
from bertsmith.data.draw import Draw
from bertsmith.data.loader import Loader
from bertsmith.data.rewrite import InPlace
from bertsmith.data.text import Text
from bertsmith.data.views import FULL, PREFIX, Proportions, Views
from bertsmith.downstream.show import text
from bertsmith.errors import InputError
from bertsmith.nn.member import build
from bertsmith.recipe import find
from bertsmith.text.layout import DocSentences, SegmentPairs

pytestmark = pytest.mark.usefixtures("one_thread")
VIEWS = ("full", "left_to_right", "right_to_left", "prefix")
every_view = pytest.mark.parametrize("view", VIEWS)


def only(view):
    return Views(views=Proportions(**{name: float(name == view) for name in VIEWS}))


def pairs(documents=120, length=64, seed=0):
    return whole(
        SegmentPairs(length=length).plan(split_of(random_shape(documents, 8, 12), numbered=False), VOCAB, seed, 0)
    )


def single(documents=6):
    return whole(DocSentences(length=16).plan(split_of(random_shape(documents, 3, 6), numbered=False), VOCAB, 0, 0))


def corrupted(rewrite, row, seed=0):
    return rewrite(row, find("unilm:tiny").corruption.select(row, Draw(seed)), VOCAB, Draw(seed))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    small = ["model.width=32", "model.hidden=64", "model.heads=2"]
    return build(override(find("unilm:tiny"), small).with_vocab(VOCAB.size)).model.eval()


def opened(view, source):
    """(n, n) bool: row i may see column j, written from the paper's figure; `source` (n,) bool."""
    everything, place = np.ones((len(source), len(source)), bool), np.arange(len(source))
    if view == "prefix":
        return source[None] | ~source[:, None] & (place[None] <= place[:, None])
    return {"full": everything, "left_to_right": np.tril(everything), "right_to_left": np.triu(everything)}[view]


@every_view
def test_a_row_moves_where_the_view_is_open_and_nowhere_else(view, model):
    """Each token of two sequences is changed in turn; all four relations are their own closure, so two layers open nothing more."""
    row = pairs(4, 16)
    row = row.part(0, 2)
    stream = corrupted(only(view), row).to("cpu").input
    source = row.segments == 0
    wanted = opened(view, source) & (row.sequence[:, None] == row.sequence[None])
    assert source[0] and not source[-1]
    assert model.config.layers == 2
    with torch.no_grad():
        clean = model(stream)
        for j in range(len(stream.tokens)):
            tokens = stream.tokens.clone()
            tokens[j] = (tokens[j] + 1) % VOCAB.size
            moved = (model(dataclasses.replace(stream, tokens=tokens)) != clean).any(-1).numpy()
            assert np.array_equal(moved, wanted[:, j]), j


def test_a_prefix_without_a_source_is_left_to_right_on_the_target(model):
    row = single()
    assert not row.segments.any()
    one, other = (corrupted(only(view), row).to("cpu").input for view in ("prefix", "left_to_right"))
    assert torch.equal(one.query_rank, other.query_rank) and torch.equal(one.tokens, other.tokens)
    assert set(one.segments.tolist()) == {5} and set(other.segments.tolist()) == {2}
    with torch.no_grad():
        said = model(dataclasses.replace(one, segments=other.segments))
        torch.testing.assert_close(said, model(other), rtol=1e-5, atol=1e-6)


def test_right_to_left_is_left_to_right_of_the_reversed_text_with_mirrored_positions(model):
    row = pairs(3, 24).part(0, 1)
    right, left = (corrupted(only(view), row).to("cpu").input for view in ("right_to_left", "left_to_right"))
    back = {name: getattr(right, name).flip(0) for name in ("tokens", "positions", "segments")}
    with torch.no_grad():
        mirrored = model(dataclasses.replace(left, **back))
        torch.testing.assert_close(mirrored.flip(0), model(right), rtol=1e-5, atol=1e-6)
        assert not torch.allclose(mirrored, model(right), atol=1e-2)


@every_view
def test_segments_name_the_view(view):
    row = pairs()
    segments = corrupted(only(view), row).input.segments
    wanted = {"full": row.segments, "left_to_right": 2, "right_to_left": 3, "prefix": 4 + row.segments}[view]
    assert segments.dtype == np.uint8 and np.array_equal(segments, np.broadcast_to(wanted, segments.shape))


def test_views_are_drawn_a_third_a_third_a_sixth_a_sixth_whatever_the_pair():
    row = pairs(1500, 32)
    drawn = Views().drawn(row, Draw(3))
    found = np.bincount(drawn, minlength=4)
    assert len(drawn) > 5000
    assert stats.chisquare(found, len(drawn) * np.array([1 / 3, 1 / 6, 1 / 6, 1 / 3])).pvalue > 0.001
    by_label = [np.bincount(drawn[row.labels == label], minlength=4) for label in (0, 1)]
    assert stats.chi2_contingency(by_label).pvalue > 0.001


def test_what_is_hidden_does_not_depend_on_the_view():
    row = pairs()
    plain, batch = corrupted(InPlace(), row), corrupted(Views(), row)
    assert np.array_equal(plain.input.tokens, batch.input.tokens)
    assert np.array_equal(plain.input.positions, batch.input.positions)
    assert np.array_equal(plain.targets["token"].at, batch.targets["token"].at)


def test_pairs_are_asked_where_both_sides_are_seen_and_nowhere_else():
    row = pairs()
    batch, drawn = corrupted(Views(), row), Views().drawn(row, Draw(0))
    assert (row.labels != IGNORE).all()
    pair = batch.targets["pair"]
    assert np.array_equal(pair.at[:, 0], row.offsets[:-1][drawn == FULL])
    assert np.array_equal(pair.labels, row.labels[drawn == FULL])
    assert len(pair) == (drawn == FULL).sum() > 50 and set(pair.labels.tolist()) == {0, 1}
    assert "pair" not in corrupted(only("prefix"), row).targets and "pair" not in corrupted(Views(), single()).targets
    assert len(corrupted(only("full"), row).targets["pair"]) == len(row.lengths)


@pytest.mark.parametrize("rewrite", [Views(), only("full"), only("prefix")], ids=["all", "full", "prefix"])
def test_counts_are_known_without_the_batch(rewrite):
    row, draw = pairs(), Draw(5)
    select = find("unilm:tiny").corruption.select
    for part in (row, row.part(3, 9), row.part(7, 8)):
        spans = select(part, draw)
        assert rewrite.counts(part, spans, draw) == rewrite(part, spans, VOCAB, draw).counts()


def test_a_view_follows_from_seed_epoch_and_example_alone():
    plan = SegmentPairs(length=64).plan(split_of(random_shape(120, 8, 12), numbered=False), VOCAB, 0, 0)
    some = plan.order[:60]
    together = Views().drawn(plan.row(some), Draw(1))
    assert together.tolist() == [Views().drawn(plan.row(some[i : i + 1]), Draw(1))[0] for i in range(60)]
    row = plan.row(some)
    for other in (Views().drawn(row, Draw(2)), Views().drawn(dataclasses.replace(row, epoch=row.epoch + 1), Draw(1))):
        assert 15 < (other != together).sum() < 60  # two views agree by chance with 5/18


def test_batches_do_not_depend_on_how_many_steps_are_prepared_at_once():
    recipe = override(find("unilm:tiny"), ["layout.length=32"])
    split = split_of(random_shape(30, 8, 12), numbered=False)
    made = []
    for block in (1, 1 << 17):
        loader = Loader(Text(split, recipe.layout, recipe.corruption, VOCAB, seed=0, batch=64), block=block)
        made.append([step for step, _ in zip(loader, range(40), strict=False)])
    for one, other in zip(*made, strict=True):
        assert one.counts == other.counts
        a, b = one.batches[0].input, other.batches[0].input
        assert a.visibility == b.visibility == "ranks"
        for name in ("tokens", "segments", "query_rank", "key_rank"):
            assert np.array_equal(getattr(a, name), getattr(b, name)), name


def test_ranks_are_dispatched_only_where_they_are_needed():
    row = pairs(20)
    for view, said in zip(VIEWS, ("full", "causal", "ranks", "ranks"), strict=True):
        assert corrupted(only(view), row).input.visibility == said
    both = Views(views=Proportions(prefix=0.0, right_to_left=0.0))
    assert corrupted(both, row).input.visibility == "ranks"


def test_proportions_are_numbers_of_any_scale_but_not_negative_or_nothing():
    shares = Proportions().shares
    assert list(shares) == list(VIEWS) and list(shares.values()) == pytest.approx([1 / 3, 1 / 6, 1 / 6, 1 / 3])
    assert Proportions(full=1, left_to_right=0, right_to_left=0, prefix=3).shares["prefix"] == 0.75
    row = pairs(400, 32)
    drawn = Views(views=Proportions(full=1.0, left_to_right=0.1, right_to_left=0.1, prefix=0.0)).drawn(row, Draw(0))
    assert PREFIX not in drawn and (drawn == FULL).mean() > 0.75
    with pytest.raises(InputError, match=r"corruption\.rewrite\.views: full -1"):
        override(find("unilm:tiny"), ["corruption.rewrite.views.full=-1"])
    with pytest.raises(InputError, match="one must be above 0"):
        Proportions(full=0, left_to_right=0, right_to_left=0, prefix=0)


def test_a_model_with_too_few_segments_is_refused():
    with pytest.raises(InputError, match=r"model\.embeddings\.segments: 2, .* raise it to 6"):
        override(find("unilm:tiny"), ["model.embeddings.segments=2"])
    assert override(find("unilm:tiny"), ["model.embeddings.segments=0"]).model.segments == 0


def test_show_tells_the_views_of_its_lines():
    *examples, last = shown("unilm", 400)
    requested, achieved = last["summary"]["requested"], last["summary"]["achieved"]
    assert list(requested) == list(achieved)
    counted = dict.fromkeys(VIEWS, 0)
    for line in examples:
        segments, given = line["input"]["segments"], line["input"]
        view = {0: "full", 2: "left_to_right", 3: "right_to_left", 4: "prefix"}[segments[0]]
        counted[view] += 1
        assert ("pair" in line["targets"]) == (view == "full")
        ranks = np.array(given["query_rank"])
        sees = ranks[None] <= ranks[:, None]
        assert given["key_rank"] == given["query_rank"]
        assert np.array_equal(sees, opened(view, np.array(segments) == 4))
    for view, count in counted.items():
        assert achieved[f"views.{view}"] == pytest.approx(count / 400, abs=1e-6)
        assert abs(achieved[f"views.{view}"] - requested[f"views.{view}"]) < 0.1
    asked = [line["targets"]["pair"] for line in examples if "pair" in line["targets"]]
    assert achieved["pair"] == pytest.approx(np.mean(asked), abs=1e-6)
    widths = [end - begin for line in examples for begin, end in line["spans"]]
    assert achieved["span_tokens"] == pytest.approx(np.mean(widths), abs=1e-6) and requested["span_tokens"] == 1.3
    said = "\n".join(text(iter([*examples, last])))
    assert all(words in said for words in ("left to right", "right to left", "source to target", "views.prefix"))


def test_it_is_tuned_and_exported_on_the_full_view_and_not_before(store, tmp_path):
    pytest.importorskip("transformers")
    small = ["model.width=32", "model.hidden=64", "model.heads=2", "layout.length=64", "training.batch=512"]
    recipe = override(find("unilm:tiny"), [*small, "training.held_out=512"])
    bertsmith.pretrain(recipe, store, tmp_path / "run", steps=3, threads=1)
    with pytest.raises(InputError, match=r"Views.*transformers has no class"):
        bertsmith.export(tmp_path / "run", tmp_path / "no")
    assert not (tmp_path / "no").exists()
    assert len(bertsmith.fill(tmp_path / "run", "the [MASK] object")["masks"]) == 1
    words = "module class object value string function method name list type".split()
    lines = [f"{words[i % 10]} {words[i % 7]}\t{('return', 'import')[i % 2]} it\t{i % 2}" for i in range(120)]
    options = {"train": tmp_path / "train.tsv", "dev": tmp_path / "dev.tsv", "threads": 1}
    for name, some in (("train", lines), ("dev", lines[:31])):
        options[name].write_text("\n".join(["text\ttext2\tlabel", *some]) + "\n")
    settings = ["epochs=6", "lr=1e-2", "batch=16"]
    tuned = bertsmith.finetune(tmp_path / "run", task="classify", out=tmp_path / "tuned", set=settings, **options)
    assert tuned["dev"]["accuracy"]["value"] > 0.9
    loaded = bertsmith.load(tmp_path / "tuned")
    assert loaded.recipe.model.segments == 6
    made = bertsmith.export(tmp_path / "tuned", tmp_path / "hf")
    assert "BertForSequenceClassification" in made["classes"]
    assert bertsmith.load(tmp_path / "hf").recipe.model.segments == 6
