"""Vectors of texts: what is learned from pairs, triplets and texts alone, how it is scored, kept, cut, exported and refused."""

import json
import math
import random
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.runs import SMALL, lines, same, small
from tests.test_distributed import alike
from tests.test_tuning_runs import broken_off
from tests.workers import outcome, work

import bertsmith
from bertsmith.config import override
from bertsmith.data.batch import Target
from bertsmith.downstream.model import load
from bertsmith.errors import InputError
from bertsmith.nn.member import build
from bertsmith.objectives.modules.vectors import VectorsObjective, belonging, negatives, ranked
from bertsmith.objectives.vectors import Vectors
from bertsmith.recipe import find
from bertsmith.tasks import kinds, ranking
from bertsmith.tasks.labels import Labels
from bertsmith.tasks.reading import Reading
from bertsmith.training.precision import Precision
from bertsmith.training.step import train_step

pytestmark = pytest.mark.usefixtures("one_thread")
WORDS = "class object list name function module value string loop file error type method package import test".split()
FLOAT32 = Precision(compute="float32", device=torch.device("cpu"), matmul="highest")


def sentence(draw, topic, n=5):
    """Mostly of one word: what it is about."""
    return " ".join(topic if draw.random() < 0.6 else draw.choice(WORDS) for _ in range(n))


def scored(count, seed):
    """Pairs, 5 where they are about one thing and 0 where they are not."""
    draw, rows = random.Random(seed), []
    for i in range(count):
        a, b = draw.sample(WORDS, 2)
        other = a if i % 2 else b
        rows.append({"text": sentence(draw, a), "text2": sentence(draw, other), "label": 5.0 * (other == a)})
    return rows


def pairs(count, seed, negative=False):
    draw, rows = random.Random(seed), []
    for _ in range(count):
        a, b = draw.sample(WORDS, 2)
        row = {"text": sentence(draw, a, 4), "text2": sentence(draw, a, 7)}
        rows.append(row | ({"negative": sentence(draw, b, 7)} if negative else {}))
    return rows


@pytest.fixture(scope="module")
def tune(pretrained):
    def run(out, task="similarity", train=None, dev=None, **options):
        made = {"similarity": scored, "retrieval": pairs}[task]
        train, dev = made(60, 0) if train is None else train, made(30, 1) if dev is None else dev
        options["set"] = {"batch": 16, "lr": 3e-3, **options.get("set", {})}
        options = {"steps": 6, "threads": 1, "seed": 3, **options}
        return bertsmith.finetune(pretrained, task=task, train=train, dev=dev, out=out, **options)

    return run


# -- losses ------------------------------------------------------------------------------------------------------------------------


def vectors(m, k, d=8, seed=0):
    return torch.randn(m, k, d, generator=torch.Generator().manual_seed(seed))


def test_cosent_is_the_sum_over_all_pairs_of_pairs_that_stand_the_wrong_way():
    cosines, labels = torch.tensor([0.9, 0.1, 0.5, 0.5, -0.3]), torch.tensor([0.0, 1.0, 0.5, 0.5, 0.2])
    total = sum(
        math.exp(20 * float(cosines[i] - cosines[j])) for i in range(5) for j in range(5) if labels[i] < labels[j]
    )
    assert float(ranked(cosines, labels, 20.0)) == pytest.approx(math.log1p(total), rel=1e-6)
    assert ranking.cosent(cosines.numpy(), labels.numpy(), 20.0) == pytest.approx(math.log1p(total), rel=1e-6)
    assert float(ranked(cosines[:1], labels[:1], 20.0)) == 0, "one pair has nothing to be compared with"


def test_a_text_that_stands_twice_is_no_negative_of_itself():
    texts = torch.tensor([[0, 1, 9], [2, 3, 1], [0, 4, 8], [5, 1, 7], [6, 0, 2]])
    assert negatives(texts).int().tolist() == [
        # second texts   | third texts
        [0, 1, 0, 0, 0, 1, 0, 1, 1, 1],  # 4 belongs to the same first text, 1 is its own, 0 is the first text itself
        [1, 0, 1, 1, 1, 1, 1, 1, 1, 0],
        [0, 1, 0, 1, 0, 1, 1, 1, 1, 1],
        [0, 1, 1, 0, 1, 1, 0, 1, 1, 1],
        [1, 1, 1, 1, 0, 1, 1, 1, 1, 1],
    ]


@pytest.mark.parametrize("k", [2, 3])
def test_the_loss_of_pairs_that_belong_together_is_the_cross_entropy_over_what_does_not(k):
    found, texts = vectors(6, k), torch.arange(6 * k).reshape(6, k)
    texts[4, 1] = texts[0, 1]  # the same second text, and its vector
    unit = F.normalize(found, dim=-1)
    total = 0.0
    for i in range(6):
        wrong = [(j, p) for j in range(6) for p in range(1, k) if texts[j, p] != texts[i, 1]]
        scores = 20 * torch.stack([unit[i, 0] @ unit[j, p] for j, p in [(i, 1), *wrong]])
        total += float(scores.logsumexp(0) - scores[0])
    objective = VectorsObjective(Vectors(loss="negatives", parts=k))
    assert float(objective.loss(found, texts)) == pytest.approx(total, rel=1e-5)
    assert ranking.belonging(found.numpy(), texts.numpy(), 20.0) == pytest.approx(total / 6, rel=1e-5)
    order = torch.randperm(6)
    assert float(objective.loss(found[order], texts[order])) == pytest.approx(total, rel=1e-5)


def test_pairs_that_are_all_alike_cost_what_guessing_does():
    scores = torch.full((7, 7), 20.0)
    assert float(belonging(scores, torch.ones(7, 7, dtype=torch.bool))) == pytest.approx(7 * math.log(7))


def test_a_symmetric_loss_is_the_mean_of_both_directions():
    found, texts = vectors(5, 2), torch.arange(10).reshape(5, 2)
    one = VectorsObjective(Vectors(loss="negatives"))
    both = VectorsObjective(Vectors(loss="symmetric"))
    turned = one.loss(found.flip(1), texts.flip(1))
    assert torch.allclose(both.loss(found, texts), (one.loss(found, texts) + turned) / 2)


def test_triplets_cost_what_is_missing_of_the_margin():
    found = torch.tensor([[[0.0, 0.0], [3.0, 4.0], [0.0, 5.5]], [[0.0, 0.0], [1.0, 0.0], [0.0, 9.0]]])
    objective = VectorsObjective(Vectors(loss="triplet", parts=3, margin=1.0))
    assert float(objective.loss(found, torch.arange(6).reshape(2, 3))) == pytest.approx(0.5)


def test_the_loss_of_sizes_is_the_sum_over_first_numbers():
    found, numbers = vectors(5, 2), torch.rand(5)
    whole = VectorsObjective(Vectors(sizes=(4, 2)))
    one = VectorsObjective(Vectors())
    assert torch.allclose(whole.loss(found, numbers), sum(one.loss(found[..., :n], numbers) for n in (8, 4, 2)))


# -- one gradient in many passes -----------------------------------------------------------------------------------------------------


def batches(kind, encoded, targets, sizes):
    """The first rows, cut into passes of so many."""
    asked, edges = kind.asked(encoded, targets), np.cumsum([0, *sizes])
    return [encoded.batch(np.arange(a, b), asked) for a, b in pairwise(edges)]


def gradient(member, parts, sets=()):
    counts = {"vector": sum(len(part.targets["vector"]) for part in parts)}
    kept = [p.detach().clone() for p in member.parameters()]
    optimizer = torch.optim.SGD(member.parameters(), lr=0.0)
    done = train_step(member, parts, counts, optimizer, precision=FLOAT32, clip=0.0, seed=1, step=1)
    assert all(torch.equal(a, b) for a, b in zip(kept, member.parameters(), strict=True))
    return done.loss, torch.cat([p.grad.flatten() for p in member.parameters() if p.grad is not None])


@pytest.fixture(scope="module")
def read(pretrained):
    """read(loss, dropout, rows) -> the member, the kind, its rows encoded and their targets."""
    loaded = load(pretrained)

    def made(loss, dropout, rows):
        from dataclasses import replace

        kind = replace(kinds.kind("similarity" if "label" in rows[0] else "retrieval"), goal=loss)
        recipe = replace(
            loaded.recipe,
            model=replace(loaded.recipe.model, dropout=dropout),
            objective=Vectors(loss=loss, parts=3 if "negative" in rows[0] else 2),
        )
        torch.manual_seed(0)
        member = build(recipe)
        table = kind.read(bertsmith.tasks.given.source(rows, "train", fields=kind.fields))
        encoded = kind.encode(loaded.tokenizer, table, Reading.of(recipe, 32))
        return member, kind, encoded, kind.targets(table, kind.learn(table))

    return made


@pytest.mark.parametrize("loss", ["cosine", "cosent", "negatives", "symmetric", "triplet"])
def test_passes_have_the_gradient_of_one_big_batch(read, loss):
    rows = scored(12, 0) if loss in ("cosine", "cosent") else pairs(12, 0, negative=loss == "triplet")
    member, *data = read(loss, 0.0, rows)
    whole, one = gradient(member, batches(*data, [12]))
    for sizes in ([6, 6], [5, 4, 2, 1]):
        cached, found = gradient(member, batches(*data, sizes))
        assert cached == pytest.approx(whole, rel=1e-6)
        assert torch.allclose(found, one, rtol=1e-4, atol=1e-6 * float(one.abs().max()))


def test_passes_with_dropout_have_the_gradient_of_what_each_of_them_drew(read):
    member, *data = read("negatives", 0.1, pairs(12, 0, negative=True))
    parts = batches(*data, [5, 4, 3])
    whole, found = gradient(member, parts)
    from bertsmith.training.step import _dropout_seed

    member.train()
    member.zero_grad(set_to_none=True)
    held = []
    for i, part in enumerate(parts):
        torch.manual_seed(_dropout_seed(1, 1, i))
        held.append(member.objective.vectors(member.model, part.to("cpu")))
    texts = torch.cat([torch.from_numpy(part.targets["vector"].labels) for part in parts])
    loss = member.objective.loss(torch.cat(held), texts) / 12
    loss.backward()
    one = torch.cat([p.grad.flatten() for p in member.parameters() if p.grad is not None])
    assert whole == pytest.approx(loss.item(), rel=1e-6)
    assert torch.allclose(found, one, rtol=1e-4, atol=1e-6 * float(one.abs().max()))


def test_rows_that_ask_nothing_change_nothing():
    found, texts = vectors(4, 2), torch.arange(8).reshape(4, 2)
    more = torch.cat([found, vectors(1, 2, seed=1)])
    objective = VectorsObjective(Vectors(loss="negatives"))
    assert torch.equal(objective.loss(more, torch.cat([texts, torch.full((1, 2), -100)])), objective.loss(found, texts))
    assert float(objective.loss(more[4:], torch.full((1, 2), -100))) == float(more[4:].sum() * 0)


def test_a_known_gradient_is_what_a_pass_goes_back_from(read):
    member, *data = read("negatives", 0.0, pairs(6, 0))
    (part,) = batches(*data, [6])
    batch, pull = part.to("cpu"), torch.randn(6, 2, member.model.config.width)
    target = batch.targets["vector"]
    batch.targets["vector"] = Target(at=target.at, labels=target.labels, pull=pull)
    read_ = member.objective.vectors(member.model, batch)
    assert torch.allclose(member(batch)["vector"], (read_ * pull).sum())


# -- runs --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["cosine", "cosent"])
def test_pairs_with_numbers_are_learned(tune, tmp_path, loss):
    result = tune(tmp_path / "run", train=scored(200, 0), steps=60, set={"loss": loss, "evaluations": 0.2})
    assert result["dev"]["spearman"]["value"] > 0.6 and result["chosen_by"] == "spearman"


def test_models_of_other_sizes_and_a_baseline_are_compared_by_whole_vectors(tune, tmp_path):
    pytest.importorskip("sklearn")
    result = tune(tmp_path / "sizes", set={"sizes": [8, 4]}, baseline=True)
    assert set(result["baseline"]["difference"]) == {"spearman", "pearson"}
    assert result["baseline"]["method"] == "TF-IDF of words and word pairs, cosine"
    tune(tmp_path / "whole", set={"loss": "cosent"})
    found = bertsmith.compare(tmp_path / "whole", tmp_path / "sizes", scored(30, 1))
    assert set(found["difference"]) == {"spearman", "pearson"} and found["chosen_by"] == "spearman"


@pytest.mark.parametrize("loss", ["negatives", "symmetric", "triplet"])
def test_pairs_that_belong_together_are_learned(tune, tmp_path, loss):
    rows, sets = pairs(200, 0, negative=loss != "symmetric"), {"loss": loss, "evaluations": 0.2}
    before = tune(tmp_path / "before", "retrieval", rows, steps=1, set={**sets, "lr": 1e-9})
    result = tune(tmp_path / "run", "retrieval", rows, steps=60, set=sets)
    assert result["dev"]["ndcg@10"]["value"] > before["dev"]["ndcg@10"]["value"] + 0.03
    assert [*result["dev"]] == [*ranking.NAMES] and result["chosen_by"] == "ndcg@10"


def test_texts_alone_are_read_twice_through_dropout_and_judged_by_pairs_with_numbers(tune, tmp_path):
    said = []
    texts = [{"text": row["text"]} for row in scored(64, 0)]
    result = tune(tmp_path / "run", train=texts, steps=8, set={"dropout": 0.2}, say=said.append)
    assert "train: texts alone: each is learned as its own pair, read twice through dropout" in said
    assert set(result["dev"]) == {"spearman", "pearson"}
    losses = [line["loss"] for line in lines(tmp_path / "run")]
    assert losses[-1] < losses[0] and losses[0] > 0.1, "dropout tells the two apart, and equal texts would cost nothing"


@pytest.mark.parametrize(("name", "sets"), [("similarity", {"loss": "cosent"}), ("retrieval", {"sizes": [8, 4]})])
def test_a_run_in_passes_that_was_broken_off_ends_as_the_one_that_was_not(tune, tmp_path, name, sets):
    options = {"steps": 9, "set": {"tokens": 64, "checkpoint": 3, "dropout": 0.1, **sets}}
    straight = tune(tmp_path / "straight", name, **options)
    for how, at in (("stop", 2), ("kill", 3), ("stop", 2)):
        broken_off(lambda **k: tune(tmp_path / "run", name, resume=True, **options, **k), how, at)
    assert tune(tmp_path / "run", name, resume=True, workers=2, **options) == straight
    same(tmp_path / "straight", tmp_path / "run", state=False)


def test_processes_and_passes_learn_what_one_pass_does(children, pretrained, tune, tmp_path):
    """The whole batch is compared whoever reads its rows."""
    sets, jobs = ["batch=16", "lr=0.002", "dropout=0", "precision=float32"], []
    alone = lambda count, seed: [{"text": row["text"]} for row in pairs(count, seed)]
    learned = {"similarity": (scored, scored, ["loss=cosent"]), "retrieval": (pairs, pairs, [])}
    learned["written"] = alone, scored, ["loss=tsdae"]
    for name, (train, dev, own) in learned.items():
        task = {"task": name if name == "retrieval" else "similarity"}
        for part, made, count in (("train", train, 30), ("dev", dev, 12)):  # the last update of an epoch has 14 rows
            path = tmp_path / f"{name}-{part}.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in made(count, count)))
            task[part] = str(path)
        own = [*sets, *own]
        common = {"model": str(pretrained), "task": task, "options": {"steps": 3}}
        jobs += [
            {"name": f"{name}-one", "alone": True, "set": own, **common},
            {"name": f"{name}-two", "set": own, **common},
        ]
        jobs.append({"name": f"{name}-passes", "alone": True, "set": [*own, "accumulate=4"], **common})
        jobs.append({"name": f"{name}-slices", "set": own, **common, "options": {"steps": 3, "shard": "fsdp"}})
    work(children, tmp_path, jobs)
    for name in learned:
        for many in ("two", "passes", "slices"):
            assert outcome(tmp_path, f"{name}-{many}")["code"] == 0, outcome(tmp_path, f"{name}-{many}")
            alike(tmp_path / f"{name}-one", tmp_path / f"{name}-{many}")


@pytest.fixture(scope="module")
def run(tune, tmp_path_factory):
    """A model of search with sizes, and its dev rows."""
    out = tmp_path_factory.mktemp("search") / "run"
    tune(out, "retrieval", pairs(100, 0, negative=True), steps=20, set={"sizes": [8, 4]})
    return out


def test_the_dev_scores_are_those_of_evaluate_at_every_size(run):
    result = json.loads((run / "result.json").read_text())
    found = bertsmith.evaluate(run, pairs(30, 1))
    assert [*found] == [f"{name}{end}" for end in ("", "_8", "_4") for name in ranking.NAMES]
    assert {name: score["value"] for name, score in found.items()} == pytest.approx(
        {name: score["value"] for name, score in result["dev"].items()}
    )


def test_embed_gives_the_vectors_that_were_tuned(run):
    rows = pairs(8, 5)
    first, second = (bertsmith.embed(run, [row[name] for row in rows]) for name in ("text", "text2"))
    assert np.allclose(np.linalg.norm(first, axis=1), 1, atol=1e-6) and first.shape == (8, 16)
    cosines = (first * second).sum(1)
    predicted = bertsmith.predict(run, [{"text": row["text"], "text2": row["text2"]} for row in rows])
    assert np.allclose([row["label"] for row in predicted], cosines, atol=1e-6)
    cut = bertsmith.embed(run, [row["text"] for row in rows], dim=4)
    assert np.allclose(cut, first[:, :4] / np.linalg.norm(first[:, :4], axis=1, keepdims=True), atol=1e-6)
    smaller = (cut * bertsmith.embed(run, [row["text2"] for row in rows], dim=4)).sum(1)
    assert np.allclose([row["scores"]["cosine_4"] for row in predicted], smaller, atol=1e-6)
    plain = bertsmith.embed(run, [row["text"] for row in rows], normalise=False)
    assert np.array_equal(bertsmith.embed(run, [row["text"] for row in rows], normalise=False, dim=4), plain[:, :4])


def test_a_size_that_was_not_learned_is_said_and_one_that_there_is_not_refused(run):
    said = []
    bertsmith.embed(run, ["a class"], dim=5, say=said.append)
    assert said == ["warning: dim=5: the model was tuned to 8, 4; set={'sizes': [5]} of finetune does that"]
    with pytest.raises(InputError, match=r"^dim=17: the vectors have 16 numbers; from 1 to 16 can be taken$"):
        bertsmith.embed(run, ["a class"], dim=17)


def test_vectors_go_out_as_sentence_transformers_reads_them(run, tmp_path):
    transformers = pytest.importorskip("transformers")
    bertsmith.export(run, tmp_path / "folder")
    texts = [row["text2"] for row in pairs(8, 5)] + [" White space ", "class " * 60]
    wanted = bertsmith.embed(run, texts)
    assert np.allclose(bertsmith.embed(tmp_path / "folder", texts), wanted, atol=1e-6), "and comes back"
    modules = [module["type"] for module in json.loads((tmp_path / "folder" / "modules.json").read_text())]
    assert [name.rpartition(".")[2] for name in modules] == ["Transformer", "Pooling", "Normalize"]
    said = json.loads((tmp_path / "folder" / "1_Pooling" / "config.json").read_text())
    assert said["word_embedding_dimension"] == 16 and said["pooling_mode_mean_tokens"] is True
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "folder")
    body = transformers.AutoModel.from_pretrained(tmp_path / "folder").eval()
    length = json.loads((tmp_path / "folder" / "sentence_bert_config.json").read_text())["max_seq_length"]
    for text, vector in zip(texts, wanted, strict=True):
        inputs = tokenizer(text.strip(), truncation=True, max_length=length, return_tensors="pt")
        with torch.no_grad():
            mean = body(**inputs).last_hidden_state[0].mean(0)
        assert np.allclose((mean / mean.norm()).numpy(), vector, atol=1e-5)
    library = pytest.importorskip("sentence_transformers")
    theirs = library.SentenceTransformer(str(tmp_path / "folder"), device="cpu")
    assert np.allclose(theirs.encode(texts), wanted, atol=1e-5)


# -- search --------------------------------------------------------------------------------------------------------------------------


def by_definition(ranked, judged, depth=10):
    """nDCG and reciprocal rank within ten, and recall, of names, in plain loops."""
    gain = sum(judged.get(name, 0) / math.log2(rank + 1) for rank, name in enumerate(ranked[:depth], 1))
    ideal = sum(g / math.log2(rank + 1) for rank, g in enumerate(sorted(judged.values(), reverse=True)[:depth], 1))
    first = next((1 / rank for rank, name in enumerate(ranked[:depth], 1) if judged.get(name)), 0.0)
    recall = {k: sum(name in judged for name in ranked[:k]) / len(judged) for k in (1, 10, 100)}
    return {"ndcg@10": gain / ideal, "mrr@10": first, **{f"recall@{k}": v for k, v in recall.items()}}


def test_scores_of_search_are_their_definitions():
    draw = np.random.default_rng(0)
    queries, corpus = draw.normal(size=(40, 6)), draw.normal(size=(250, 6))
    corpus[7] = corpus[3]  # equals: the earlier one first
    judged = [
        {int(i): float(draw.integers(1, 4)) for i in draw.choice(250, draw.integers(1, 15), replace=False)}
        for _ in queries
    ]
    but = [int(draw.integers(250)) if i % 3 else -1 for i in range(40)]
    but = [-1 if out in own else out for out, own in zip(but, judged, strict=True)]
    found = ranking.measured(ranking.first(queries, corpus, but), judged)
    cosines = ranking.unit(queries) @ ranking.unit(corpus).T
    for i in range(40):
        order = [j for j in sorted(range(250), key=lambda j: (-round(cosines[i, j], 9), j)) if j != but[i]]
        for name, value in by_definition(order, judged[i]).items():
            assert found[name][i] == pytest.approx(value), (name, i)


def test_dev_pairs_are_a_corpus_and_queries_of_different_texts():
    """The first text of two rows is one query with two relevant texts; a query that stands in the corpus too is not found there."""
    kind = kinds.kind("retrieval")
    texts = np.array([[0, 1], [0, 2], [3, 4], [1, 5], [6, 6]])
    states = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    found = kind.score(texts, states[texts], Labels(), resamples=0)
    cosines = ranking.unit(states) @ ranking.unit(states).T
    relevant, corpus = {0: {1: 1, 2: 1}, 3: {4: 1}, 1: {5: 1}, 6: {6: 1}}, [1, 2, 4, 5, 6]
    wanted = [
        by_definition(sorted((t for t in corpus if t != q or t in own), key=lambda t: -cosines[q, t]), own)
        for q, own in relevant.items()
    ]
    for name in ranking.NAMES:
        assert found[name]["value"] == pytest.approx(np.mean([one[name] for one in wanted]))


@pytest.fixture
def search(tmp_path):
    """search(corpus=…, queries=…, relevant=…) -> the three files, as BEIR has them unless given."""
    corpus = [
        {"_id": f"d{i}", "title": "On" if i % 2 else "", "text": row["text2"]} for i, row in enumerate(pairs(30, 7))
    ]
    queries = [{"_id": f"q{i}", "text": row["text"]} for i, row in enumerate(pairs(30, 7))][:12]
    judged = [f"q{i}\td{i}\t1" for i in range(10)] + ["q0\td5\t2", "q1\td9\t0"]
    usual = {
        "corpus": "".join(json.dumps(row) + "\n" for row in corpus),
        "queries": "".join(json.dumps(row) + "\n" for row in queries),
        "relevant": "query-id\tcorpus-id\tscore\n" + "\n".join(judged) + "\n",
    }

    def made(**given):
        paths = {}
        for name, text in {**usual, **given}.items():
            paths[name] = tmp_path / f"{name}.{'tsv' if name == 'relevant' else 'jsonl'}"
            paths[name].write_text(text)
        return paths

    return made


def test_a_corpus_is_searched_by_the_model_s_own_vectors(run, search):
    paths, said = search(), []
    found = bertsmith.evaluate(run, **paths, say=said.append)
    assert "10 of 12 queries with 11 relevant texts among 30" in said
    rows = [json.loads(line) for line in paths["corpus"].read_text().splitlines()]
    texts = bertsmith.embed(run, [f"{row['title']} {row['text']}".strip() for row in rows])
    asked = bertsmith.embed(run, [json.loads(line)["text"] for line in paths["queries"].read_text().splitlines()])[:10]
    for end, size in (("", 16), ("_8", 8), ("_4", 4)):
        cosines = ranking.unit(asked[:, :size]) @ ranking.unit(texts[:, :size]).T
        wanted = [
            by_definition(np.argsort(-own, kind="stable").tolist(), {0: {0: 1, 5: 2}}.get(i, {i: 1}))
            for i, own in enumerate(cosines)
        ]
        for name in ranking.NAMES:
            assert found[f"{name}{end}"]["value"] == pytest.approx(np.mean([one[name] for one in wanted]))
    assert found["ndcg@10"]["low"] <= found["ndcg@10"]["value"] <= found["ndcg@10"]["high"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"corpus": '{"text": "a"}\n'},
            r'corpus\.jsonl:1: _id: is missing or no text; rows are {"_id": "…", "text": "…"}',
        ),
        ({"corpus": '{"_id": 1, "text": "a"}\n{"_id": "1", "text": "b"}\n'}, r"corpus\.jsonl:2: _id: 1 stands twice"),
        ({"queries": ""}, r"queries\.jsonl: holds no rows"),
        ({"queries": '{"_id": "q0", "text": " "}\n'}, r"queries\.jsonl:1: text: is empty; leave it out"),
        (
            {"relevant": "q0\td0\n"},
            r"relevant\.tsv:1: 2 columns; query-id, corpus-id and score are wanted, parted by tabs",
        ),
        ({"relevant": "q0\td0\t1\nq0\td1\tx\n"}, r"relevant\.tsv:2: score: 'x' is not a number"),
        ({"relevant": "q0\td99\t1\n"}, r"relevant\.tsv:1: 'd99' is not an _id of corpus"),
        ({"relevant": "q0\td0\t0\n"}, r"relevant\.tsv: no query has a relevant text \(a score above 0\)"),
    ],
)
def test_files_of_a_search_that_are_wrong_are_named_with_their_line(run, search, given, said):
    with pytest.raises(InputError, match=f"{said}$"):
        bertsmith.evaluate(run, **search(**given))


def test_judgements_in_trec_s_four_columns_are_read(run, search):
    paths = search(relevant="".join(f"q{i} 0 d{i} 1\n" for i in range(10)))
    assert bertsmith.evaluate(run, **paths)["recall@100"]["value"] == 1


# -- what is refused -----------------------------------------------------------------------------------------------------------------

ONE = [{"text": "a class"}, {"text": "an object"}]
TWO = [{"text": "a class", "text2": "an object"}, {"text": "a list", "text2": "a name"}]
NUMBERED = [{**row, "label": i} for i, row in enumerate(TWO)]
THREE = [{**row, "negative": "a file"} for row in TWO]


@pytest.mark.parametrize(
    ("task", "train", "options", "said"),
    [
        ("similarity", NUMBERED, {"dev": TWO}, r"dev: no column 'label', which task='similarity' wants of dev; columns=label=NAME says which it is; task='retrieval' takes pairs without numbers"),
        ("retrieval", TWO, {"dev": NUMBERED}, r"dev: label: is there, and task='retrieval' takes all pairs of dev as belonging together; task='similarity' reads numbers"),
        ("similarity", NUMBERED, {"set": {"loss": "cosinus"}}, r"set={'loss': 'cosinus'}: unknown; did you mean 'cosine' or 'cosent'\?"),
        ("similarity", TWO, {"dev": NUMBERED, "set": {"loss": "cosent"}}, r"train: set={'loss': 'cosent'} wants pairs with numbers \(text, text2, label\); text, text2 stand there"),
        ("similarity", NUMBERED, {"set": {"loss": "negatives"}}, r"train: label: is there, and set={'loss': 'negatives'} takes all pairs as belonging together; .*"),
        ("retrieval", TWO, {"set": {"loss": "triplet"}}, r"train: set={'loss': 'triplet'} wants a column negative beside text and text2; .*"),
        ("retrieval", ONE, {"dev": TWO, "set": {"dropout": 0}}, r"dropout: 0: train has texts alone, and a text that is read twice is one vector; take 0.1"),
        ("retrieval", TWO, {"set": {"batch": 1}}, r"batch: 1: set={'loss': 'negatives'} compares the rows of an update; 2 or more are wanted"),
        ("retrieval", TWO, {"set": {"sizes": [16]}}, r"sizes: 16: the vectors have 16 numbers; .*"),
        ("retrieval", TWO, {"set": {"sizes": [0]}}, r"sizes: \[0\]: numbers above 0 are wanted"),
        ("retrieval", TWO, {"set": {"scale": 0}}, r"scale: 0.* must be above 0"),
        ("retrieval", TWO, {"method": "frozen"}, r"method='frozen': task='retrieval' has no head, and nothing would learn; use method='full'"),
        ("retrieval", TWO, {"on_long": "window"}, r"on_long='window': a text is one vector here, and read once; on_long='truncate' or on_long='error'"),
        ("retrieval", [{"text": "a", "negative": "b"}] * 2, {"dev": TWO}, r"train: negative: is there without text2, which belongs to text"),
        ("retrieval", [{**TWO[0], "text2": " "}], {"dev": TWO}, r"train\[0\]: text2: is empty, in 1 of 1 row; leave them out"),
        ("similarity", [{**row, "label": 1} for row in TWO], {"dev": NUMBERED}, r"train: label: every row says 1; there is nothing to learn"),
        ("retrieval", TWO, {"baseline": True}, r"baseline=True: task='retrieval' has none; classify, .*, tag, similarity, relation, typing have"),
        ("classify", NUMBERED, {"set": {"sizes": [4]}}, r"sizes: task='classify' has none; task='similarity' or 'retrieval' has"),
        ("classify", NUMBERED, {"columns": "negative=x"}, r"columns='negative': is not a column of this task; .*"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_one_line(pretrained, tmp_path, task, train, options, said):
    dev = {"similarity": scored, "retrieval": pairs, "classify": lambda *_: NUMBERED[::-1]}[task](12, 9)
    options = {"dev": dev, "steps": 1, "threads": 1, **options}
    with pytest.raises(InputError, match=f"^{said}$") as error:
        bertsmith.finetune(pretrained, task=task, train=train, out=tmp_path / "run", **options)
    assert "\n" not in str(error.value) and not (tmp_path / "run").exists()


def test_a_mixture_has_no_vectors(short, tmp_path):
    from bertsmith.downstream.labelled_files import Files

    task = Files(task="retrieval", train=pairs(12, 0), dev=pairs(12, 1))
    said = "^multitask: pairs: task='retrieval' compares the rows of an update, .*; finetune learns it$"
    with pytest.raises(InputError, match=said):
        bertsmith.multitask(small(), {"text": short, "pairs": task}, tmp_path / "run", steps=1)


def test_a_model_of_other_tasks_is_unchanged_by_the_kinds_of_vectors(pretrained, tmp_path):
    rows = [{"text": row["text"], "label": "ab"[i % 2], "negative": None} for i, row in enumerate(scored(20, 0))]
    bertsmith.finetune(pretrained, task="classify", train=rows[:12], dev=rows[12:], out=tmp_path / "run", steps=1)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert "vectors" not in config and not {"loss", "scale", "sizes"} & config["task"]["settings"].keys()


# -- a text that has to be said from its vector ------------------------------------------------------------------------------------------


def test_a_decoder_that_reads_one_vector_reads_the_first_state_alone(short, tmp_path):
    """TSDAE (Wang et al. 2021): 60 % of the tokens are deleted, and all are written from one state."""
    from dataclasses import replace

    from bertsmith.data.denoise import Denoise
    from bertsmith.data.select import Tokens
    from bertsmith.recipe import Corruption
    from bertsmith.training.evaluate import fixed_batches_of

    usual = override(find("bart:tiny"), [*SMALL, "training.precision=float32"])
    corruption = Corruption(select=Tokens(rate=0.6), rewrite=Denoise(stand="nothing", reads="first"))
    bertsmith.pretrain(replace(usual, corruption=corruption), short, tmp_path / "run", steps=6, threads=1)
    loaded = load(tmp_path / "run")
    batch = next(iter(fixed_batches_of(loaded.recipe, short)))
    read, written = batch.input, batch.output
    lengths = np.array(written.lengths)
    assert np.array_equal(np.array(read.lengths), lengths - np.rint(0.6 * lengths))
    body, stream = loaded.member.model, batch.to("cpu").input
    source = body.source(stream)
    assert set(source.stream.lengths) == {1} and len(source.stream.lengths) == len(stream.lengths)
    first = torch.tensor(np.cumsum([0, *stream.lengths[:-1]]))
    assert torch.equal(source.stream.tokens, torch.full_like(first, loaded.vocab.cls))
    assert torch.allclose(source.hidden[: len(first)], body.encoder(stream)[first], atol=1e-6)
    tuned = bertsmith.finetune(
        loaded,
        task="similarity",
        train=scored(40, 0),
        dev=scored(20, 1),
        out=tmp_path / "tuned",
        steps=3,
        set={"pool": "cls"},
    )
    assert "spearman" in tuned["dev"] and bertsmith.embed(tmp_path / "tuned", ["a class"]).shape == (1, 16)
