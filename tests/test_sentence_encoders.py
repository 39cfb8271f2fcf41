"""Skip-Thought and Quick-Thought: the contract of members that are asked what stands beside a sentence, and the laws of each."""

import dataclasses
import json
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from tests.reading_what import SENTENCES
from tests.runs import Breaking, lines, same, small
from tests.test_distributed import alike, job
from tests.workers import outcome, work

import bertsmith
from bertsmith.config import from_dict, to_dict
from bertsmith.data.batch import Stream
from bertsmith.data.beside import BEFORE, BEHIND, ITSELF, Parts
from bertsmith.data.draw import Draw
from bertsmith.data.loader import Loader
from bertsmith.data.text import Text
from bertsmith.errors import InputError
from bertsmith.nn.bag import Bag
from bertsmith.nn.beside import Beside
from bertsmith.nn.member import build, parameters
from bertsmith.objectives.context import Context
from bertsmith.recipe import find, members
from bertsmith.text.neighbours import Contiguous, Neighbours, stretches
from bertsmith.text.plan import outline
from bertsmith.training.pretraining import pretrain

pytestmark = pytest.mark.usefixtures("one_thread")
OURS = ("quick-thought", "skip-thought")
every_member = pytest.mark.parametrize("name", OURS)


def row_of(recipe, store, sequences=40, epoch=0):
    plan = recipe.layout.plan(store.train, store.vocab, 0, epoch)
    return plan.row(plan.order[:sequences])


def stream(lengths, vocab=90, seed=0):
    rng, total = np.random.default_rng(seed), int(np.sum(lengths))
    zeros = torch.zeros(total, dtype=torch.long)
    places = torch.cat([torch.arange(n) for n in lengths])
    tokens = torch.from_numpy(rng.integers(5, vocab, total))
    return Stream(
        tokens=tokens, positions=places, segments=zeros, query_rank=zeros, key_rank=zeros, lengths=tuple(lengths)
    )


# -- the contract -------------------------------------------------------------------------------------------------------------------------


def test_these_are_members_and_none_that_says_tokens():
    assert {*OURS} <= {*SENTENCES}


@pytest.mark.parametrize("size", [f"{name}:{size}" for name in OURS for size in members()[name].sizes])
def test_every_size_counts_its_parameters_exactly_and_survives_json(size):
    recipe = find(size)
    with torch.device("meta"):
        assert parameters(recipe) == sum(p.numel() for p in build(recipe).parameters())
    assert from_dict(json.loads(json.dumps(to_dict(recipe)))) == recipe


@every_member
def test_its_loss_falls_on_real_text(name, store, tiny, tmp_path):
    recipe = tiny(name, "training.evaluate=0", "schedule.lr=1e-2")
    pretrain(recipe, store, tmp_path / "run", steps=80, threads=1)
    terms = [line["terms"] for line in lines(tmp_path / "run")]
    for term in terms[0]:
        first, last = (np.mean([of[term] for of in part]) for part in (terms[:15], terms[-15:]))
        assert last < first - 0.1, f"{term}: {first} to {last}"


@every_member
def test_a_run_that_was_resumed_equals_one_that_was_not(name, short, tmp_path):
    recipe = small(member=name)
    pretrain(recipe, short, tmp_path / "straight", steps=12, threads=1)
    with pytest.raises(KeyboardInterrupt):
        pretrain(recipe, short, tmp_path / "resumed", steps=12, threads=1, progress=Breaking("kill", 7))
    pretrain(recipe, short, tmp_path / "resumed", steps=12, threads=1, resume=True, workers=2)
    same(tmp_path / "straight", tmp_path / "resumed")


@every_member
def test_accumulation_learns_what_one_big_batch_does(name, short, tmp_path):
    for accumulate in (1, 3):
        settings = [f"training.accumulate={accumulate}", "training.batch=1024", "model.dropout=0.0"]
        recipe = small(*settings, "training.precision=float32", member=name)
        pretrain(recipe, short, tmp_path / str(accumulate), steps=6, threads=1)
    for one, other in zip(lines(tmp_path / "1"), lines(tmp_path / "3"), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-6)
        assert one["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-4)


@pytest.fixture(scope="module")
def two(children, store, tmp_path_factory):
    folder, jobs = tmp_path_factory.mktemp("sentences"), []
    for name in OURS:
        jobs.append(job(store, f"{name}-one", member=name, alone=True, options={"steps": 6}))
        for shard in ("ddp", "fsdp"):
            jobs.append(job(store, f"{name}-{shard}", member=name, options={"steps": 6, "shard": shard}))
    work(children, folder, jobs)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("shard", ["ddp", "fsdp"])
@every_member
def test_two_processes_learn_what_one_does(two, name, shard):
    for run in ("one", shard):
        assert outcome(two, f"{name}-{run}")["code"] == 0, outcome(two, f"{name}-{run}")
    alike(two / f"{name}-one", two / f"{name}-{shard}")


@every_member
def test_counts_are_known_without_making_the_batch(name, store, tiny):
    recipe = tiny(name).with_vocab(store.vocab)
    row = row_of(recipe, store)
    spans = recipe.corruption.select(row, Draw(0))
    assert recipe.corruption.counts(row, spans, Draw(0)) == recipe.corruption(row, store.vocab, Draw(0)).counts()
    assert not len(spans)


@every_member
def test_a_run_is_evaluated_as_it_was_at_its_end(name, store, tmp_path):
    recipe = small("training.held_out=4096", "training.batch=1024", "model.dropout=0.0", member=name)
    pretrain(recipe, store, tmp_path / "run", steps=2, threads=1)
    last = lines(tmp_path / "run")[-1]["evaluation"]
    scores = bertsmith.evaluate(tmp_path / "run", data=store)
    said = {f"{term}.{key}": value for term, found in last.items() for key, value in found.items()}
    assert scores.keys() == said.keys()
    assert all(score["value"] == pytest.approx(said[key], rel=1e-5) for key, score in scores.items())


@every_member
def test_what_needs_a_token_head_is_refused_in_one_line(name, short, tmp_path):
    pretrain(small(member=name), short, tmp_path / "run", steps=1, threads=1)
    for verb in (
        lambda run: bertsmith.fill(run, "a [MASK]"),
        lambda run: bertsmith.generate(run, text="a"),
        lambda run: bertsmith.export(run, to="hf", out=tmp_path / "hf"),
    ):
        with pytest.raises(InputError) as error:
            verb(tmp_path / "run")
        assert "\n" not in str(error.value)
    assert not (tmp_path / "hf").exists()


# -- layouts ------------------------------------------------------------------------------------------------------------------------------


def test_stretches_hold_neighbours_of_one_document_and_every_sentence_once(store):
    layout, found = Contiguous(length=64, together=5), outline(store.train)
    plan = layout.plan(store.train, store.vocab, 3, 0)
    order = plan.shuffled(1)
    assert sorted(order.tolist()) == list(range(len(found.sentences) - 1))
    assert not np.array_equal(order, plan.shuffled(2))
    cuts = stretches(found.documents, 5)
    assert {*found.documents.tolist()} <= {*cuts.tolist()} and (np.diff(cuts) <= 5).all() and (np.diff(cuts) > 0).all()
    at = 0
    while at < len(order):  # what is read one behind the other is a stretch
        first = int(np.searchsorted(cuts, order[at], "right")) - 1
        size = int(cuts[first + 1] - cuts[first])
        assert order[at : at + size].tolist() == list(range(cuts[first], cuts[first + 1]))
        at += size


def test_labels_of_contiguous_sentences_are_their_documents(store):
    plan = Contiguous(length=64).plan(store.train, store.vocab, 0, 0)
    found = outline(store.train)
    owner = np.searchsorted(found.documents, np.arange(len(plan.labels)), "right") - 1
    assert np.array_equal(plan.labels, owner)


def test_every_sentence_has_the_one_before_it_and_the_one_behind_it_of_its_document(store):
    found, tokens = outline(store.train), store.train.gather(np.arange(store.train.count))
    layout = Neighbours(length=12)
    plan = layout.plan(store.train, store.vocab, 0, 0)
    row = plan.row(np.arange(len(plan.labels)))
    parts, sentence = Parts.of(row), 0
    whole = lambda i: tokens[found.sentences[i] : found.sentences[i + 1]][:10].tolist()
    seen = 0
    for first, last in pairwise(found.documents.tolist()):
        for i in range(first, last) if last - first > 1 else ():
            own = np.flatnonzero(parts.sequence == sentence)
            wanted = {BEFORE: i - 1, ITSELF: i, BEHIND: i + 1}
            wanted = {segment: n for segment, n in wanted.items() if first <= n < last}
            assert parts.segment[own].tolist() == sorted(wanted)
            for part in own:
                text = row.tokens[parts.begin[part] : parts.end[part] - 1].tolist()
                assert text == whole(wanted[parts.segment[part]])
            sentence, seen = sentence + 1, seen + 1
    assert seen == len(plan.labels) > 100
    lone = sum(int(found.sentences[b] - found.sentences[a]) for a, b in pairwise(found.documents) if b - a == 1)
    assert plan.account["dropped"] == lone
    assert plan.account["corpus"] == sum(plan.account[name] for name in ("used", "truncated", "dropped"))


def test_documents_of_one_sentence_have_nothing_to_learn(store):
    split = dataclasses.replace(store.train, documents=np.arange(len(store.train.sentences)))
    for layout in (Contiguous(length=64), Neighbours(length=64)):
        with pytest.raises(InputError, match="every document is a single sentence"):
            layout.plan(split, store.vocab, 0, 0)


def test_both_neighbours_can_be_rebuilt_from_what_is_written(store, tiny):
    recipe = tiny("skip-thought").with_vocab(store.vocab)
    row = row_of(recipe, store)
    batch, parts = recipe.corruption(row, store.vocab, Draw(0)), Parts.of(row)
    assert len(batch.output.lengths) == len(batch.input.lengths) == len(row.lengths)
    for name, segment, side in (("previous", BEFORE, 0), ("next", BEHIND, 1)):
        own = parts.segment == segment
        clean = np.concatenate([row.tokens[a:b] for a, b in zip(parts.begin[own], parts.end[own], strict=True)])
        target = batch.targets[name]
        assert np.array_equal(target.labels, clean)
        assert (batch.output.segments[target.at[:, 0]] == side).all()
        read = batch.output.tokens[target.at[:, 0]]  # each token behind the one before it
        starts = batch.output.positions[target.at[:, 0]] == 0
        assert (read[starts] == store.vocab.cls).all() and np.array_equal(
            read[1:][~starts[1:]], clean[:-1][~starts[1:]]
        )


# -- bodies -------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", ["skip-thought:tiny", "skip-thought:uni-tiny", "quick-thought:transformer-tiny"])
def test_a_text_is_read_by_itself_whatever_stands_beside_it(size):
    torch.manual_seed(0)
    body, lengths = find(size).with_vocab(90).model.build().eval(), (7, 1, 19, 7, 3)
    row = stream(lengths)
    with torch.no_grad():
        whole = body(row)
        for alone, states in zip(row.split([1] * len(lengths)), whole.split(lengths), strict=True):
            torch.testing.assert_close(body(alone), states, rtol=1e-5, atol=1e-6)
        read = torch.tensor([0, 7, 8, 30])
        torch.testing.assert_close(body(row, read), whole[read], rtol=1e-5, atol=1e-6)


def test_the_first_token_of_a_gru_says_what_each_direction_says_at_its_end():
    torch.manual_seed(0)
    body = find("skip-thought:tiny").with_vocab(90).model.build().eval()
    layer, row = body.layers[0].gru, stream((6, 4))
    with torch.no_grad():
        said = body(row)
        for (begin, end), part in zip(((0, 6), (6, 10)), row.split([1, 1]), strict=True):
            states, last = layer(body.tokens(part.tokens))
            assert torch.allclose(said[begin], torch.cat([last[0], last[1]]), atol=1e-6)
            assert torch.allclose(said[begin + 1 : end], states[1:], atol=1e-6)


def test_matrices_between_states_begin_orthogonal():
    torch.manual_seed(0)
    body = find("skip-thought:tiny").with_vocab(90).model.build()
    for block in body.layers[0].gru.weight_hh_l0_reverse.detach().chunk(3):
        assert torch.allclose(block @ block.T, torch.eye(len(block)), atol=1e-5)


def test_a_bag_knows_no_order_and_no_neighbour():
    torch.manual_seed(0)
    body, row = Bag(vocab=90, width=8).build(), stream((5, 1, 4))
    swapped = row.tokens.clone()
    swapped[[1, 4]] = swapped[[4, 1]]
    with torch.no_grad():
        said, other = body(row), body(dataclasses.replace(row, tokens=swapped))
        assert torch.allclose(said[0], other[0], atol=1e-7) and not torch.equal(said[1], other[1])
        assert torch.allclose(said[0], body.tokens(row.tokens[1:5]).mean(0), atol=1e-7)
        assert torch.equal(said[5], body.tokens(row.tokens[5]))


def test_bodies_side_by_side_say_what_each_says_and_share_nothing():
    torch.manual_seed(0)
    body, row = find("quick-thought:tiny").with_vocab(90).model.build().eval(), stream((5, 3))
    with torch.no_grad():
        parts = [part(row) for part in body.bodies]
        assert torch.equal(body(row), torch.cat(parts, 1)) and not torch.allclose(parts[0], parts[1])
    names = dict(body.named_parameters())
    assert (
        body.depth_of("body1.layers.0.gru.weight_ih_l0") == 1 and body.depth_of("body0.embeddings.tokens.weight") == 0
    )
    assert len({p.data_ptr() for p in names.values()}) == len(names)
    with pytest.raises(ValueError, match="not a parameter"):
        body.depth_of("tokens.weight")


# -- Quick-Thought ------------------------------------------------------------------------------------------------------------------------


def judge(itself="zero", window=1):
    bag = Bag(vocab=9, width=2)
    model = Beside(vocab=9, layers=1, width=2, bodies=(bag, bag))
    return Context(window=window, itself=itself).build(model.build())


def by_hand(f, g, labels, itself, window):
    """The loss of J2, number by number."""
    total, asked = 0.0, 0
    for i, (document, number) in enumerate(labels):
        scores, right = [], []
        for j, (other, place) in enumerate(labels):
            own = place == number
            scores.append(
                (0.0 if itself == "zero" else -math.inf) if own else sum(a * b for a, b in zip(f[i], g[j], strict=True))
            )
            right.append(not own and document == other and abs(place - number) <= window)
        if any(right):
            whole = math.log(sum(math.exp(s) for s in scores))
            total -= sum(s - whole for s, yes in zip(scores, right, strict=True) if yes) / sum(right)
            asked += 1
    return total * len(labels) / asked


@pytest.mark.parametrize(("itself", "window"), [("zero", 1), ("never", 1), ("zero", 2)])
def test_the_loss_is_the_one_counted_by_hand(itself, window):
    rng = np.random.default_rng(0)
    labels = [(0, 3), (0, 4), (0, 5), (1, 6), (1, 7), (4, 20), (0, 4)]  # one alone, and one that is read twice
    f, g = rng.normal(size=(2, len(labels), 3))
    vectors = torch.from_numpy(np.concatenate([f, g], 1))[:, None]
    found = judge(itself, window).loss(vectors, torch.tensor(labels))
    assert found.item() == pytest.approx(by_hand(f, g, labels, itself, window), rel=1e-9)


def test_at_the_start_a_sentence_may_be_beside_any_other_of_its_update(store, tiny):
    recipe = tiny("quick-thought", "training.batch=2048").with_vocab(store.vocab)
    step = next(iter(Loader(Text.of(recipe, store, 0))))
    torch.manual_seed(0)
    member = build(recipe)
    (batch,) = step.batches
    count = step.counts["sentence"]
    assert count == len(batch.input.lengths) > 40
    loss = member.objective(member.model, batch.to("cpu"))["sentence"].item() / count
    assert abs(loss - math.log(count)) < 0.05


def test_what_is_best_is_half_a_bit_for_two_neighbours_and_nothing_for_one():
    labels = torch.tensor([(0, 0), (0, 1), (0, 2)])
    f = 40.0 * torch.tensor([[0.0, 1, 0], [1, 0, 1], [0, 1, 0]])
    vectors = torch.cat([f, torch.eye(3)], 1)[:, None]
    assert judge("never").loss(vectors, labels).item() == pytest.approx(math.log(2), rel=1e-6)


def test_the_order_of_an_update_changes_nothing_but_who_is_whose_neighbour():
    torch.manual_seed(0)
    vectors, labels = torch.randn(9, 1, 8), torch.stack([torch.arange(9) // 4, torch.arange(9)], 1)
    order = torch.randperm(9)
    whole = judge().loss(vectors, labels)
    torch.testing.assert_close(judge().loss(vectors[order], labels[order]), whole)
    assert abs(judge().loss(vectors[order], labels) - whole) > 1e-3


def test_both_encoders_learn(store, tiny):
    recipe = tiny("quick-thought").with_vocab(store.vocab)
    step = next(iter(Loader(Text.of(recipe, store, 0))))
    member = build(recipe)
    member.objective(member.model, step.batches[0].to("cpu"))["sentence"].backward()
    for number in (0, 1):
        assert member.get_parameter(f"model.body{number}.layers.0.gru.weight_ih_l0").grad.abs().sum() > 0


def test_two_encoders_of_one_width_are_wanted():
    recipe = find("quick-thought:tiny")
    with pytest.raises(InputError, match="two encoders side by side"):
        build(dataclasses.replace(recipe, model=recipe.model.bodies[0]))


# -- Skip-Thought -------------------------------------------------------------------------------------------------------------------------


def test_a_decoder_reads_its_sentence_and_what_it_wrote_and_nothing_else(store, tiny):
    recipe = tiny("skip-thought").with_vocab(store.vocab)
    batch = recipe.corruption(row_of(recipe, store, 3), store.vocab, Draw(0)).to("cpu")
    torch.manual_seed(0)
    member = build(recipe).eval()
    read = lambda b: {name: said[0] for name, said in member.objective._said(member.model, b, b.targets).items()}
    at = batch.targets["next"].at[:, 0]
    with torch.no_grad():
        clean = read(batch)
        for place in range(0, len(batch.output.tokens), 5):
            tokens = batch.output.tokens.clone()
            tokens[place] = (tokens[place] + 1) % store.vocab.size
            changed = dataclasses.replace(batch, output=dataclasses.replace(batch.output, tokens=tokens))
            moved = (read(changed)["next"] != clean["next"]).any(1)
            later = batch.output.positions[at] >= batch.output.positions[place]
            sides = torch.repeat_interleave(torch.arange(3), torch.tensor(batch.output.lengths))
            mine = (sides[at] == sides[place]) & (batch.output.segments[place] == 1)
            assert torch.equal(moved, mine & later)
        tokens = batch.input.tokens.clone()
        tokens[1] = (tokens[1] + 1) % store.vocab.size  # of the first sentence
        changed = dataclasses.replace(batch, input=dataclasses.replace(batch.input, tokens=tokens))
        for name, said in read(changed).items():
            sides = torch.repeat_interleave(torch.arange(3), torch.tensor(batch.output.lengths))
            assert torch.equal((said != clean[name]).any(1), sides[batch.targets[name].at[:, 0]] == 0)


def test_combine_skip_learns_each_encoder_by_decoders_of_its_own(store, tiny):
    recipe = find("skip-thought:combine-tiny").with_vocab(store.vocab)
    batch = recipe.corruption(row_of(recipe, store, 4), store.vocab, Draw(0)).to("cpu")
    member = build(recipe)
    parts = [name for name, _ in member.named_parameters()]
    member.objective(member.model, batch)["next"].backward()
    assert any(name.startswith("objective.decoders1") for name in parts)
    first = {name: p.grad.clone() for name, p in member.named_parameters() if "0." in name and p.grad is not None}
    with torch.no_grad():
        for name, p in member.named_parameters():
            if name.startswith(("model.body1", "objective.decoders1")):
                p.mul_(1.5)
    member.zero_grad()
    member.objective(member.model, batch)["next"].backward()
    own = [name for name in first if name.startswith(("model.body0", "objective.decoders0"))]
    assert own and all(torch.allclose(member.get_parameter(name).grad, first[name], atol=1e-6) for name in own)


def test_vectors_of_texts_are_read_where_they_were_learned(short, tmp_path):
    pretrain(small(member="skip-thought"), short, tmp_path / "run", steps=1, threads=1)
    texts = ["The value of a name.", "An expression is a list", "x"]
    found = bertsmith.embed(tmp_path / "run", texts)
    assert np.array_equal(found, bertsmith.embed(tmp_path / "run", texts, pool="cls"))
    assert not np.allclose(found, bertsmith.embed(tmp_path / "run", texts, pool="mean"))


# -- as models ----------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(short, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    for name in OURS:
        pretrain(small(member=name), short, folder / name, steps=2, threads=1)
    return folder


@pytest.mark.parametrize(
    ("method", "task"), [("full", "classify"), ("frozen", "classify"), ("full", "tag"), ("bias", "pairs")]
)
@every_member
def test_it_is_tuned_like_any_other(trained, tune_by, tasks, tmp_path, name, method, task):
    found = tune_by(tmp_path / "run", method, task, ("length=96",), model=trained / name)
    scores = bertsmith.evaluate(tmp_path / "run", tasks[task][2])
    for key, score in scores.items():
        assert score["value"] == pytest.approx(found["dev"][key]["value"], abs=1e-6), key


@pytest.mark.parametrize("method", ["adapter", "lora", "prefix", "pal"])
@every_member
def test_what_is_put_into_layers_of_attention_is_refused_in_one_line(trained, tune_by, tmp_path, name, method):
    with pytest.raises(InputError) as error:
        tune_by(tmp_path / "run", method, "classify", model=trained / name)
    assert "\n" not in str(error.value) and not (tmp_path / "run").exists()


@every_member
def test_it_goes_on_from_its_own_weights(trained, short, tmp_path, name):
    pretrain(small(member=name), short, tmp_path / "more", steps=1, threads=1, from_=trained / name)
    assert json.loads((tmp_path / "more" / "config.json").read_text())["from"]
    fresh = tmp_path / "fresh"
    pretrain(small(member=name), short, fresh, steps=1, threads=1)
    assert lines(tmp_path / "more")[0]["loss"] != lines(fresh)[0]["loss"]
