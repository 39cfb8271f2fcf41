"""Vectors of a knowledge graph: TransE on the one loop, and its filtered ranks against brute force."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import bertsmith
from bertsmith.data.batch import Vocab
from bertsmith.data.draw import Draw
from bertsmith.data.triples import Ends, Replaced, TriplePlan, TripleSplit
from bertsmith.downstream.graph_ranks import Known, ranks, scores
from bertsmith.errors import InputError
from bertsmith.nn.member import build
from bertsmith.nn.table import TableConfig
from bertsmith.objectives.translation import Translation
from bertsmith.recipes.transe import transe
from bertsmith.text.entities import Entities
from bertsmith.text.graph import Graph

SMALL = ["model.width=8", "training.batch=48", "training.checkpoint=5", "training.evaluate=4", "schedule.lr=0.05"]
SMALL += ["corruption.rewrite.others=2"]


def toy(folder, places=12):
    """A line of places, each beside the next and two before the one after it; a tenth of what follows is for dev and test."""
    lines = [f"p{i}\tnext\tp{i + 1}" for i in range(places - 1)]
    lines += [f"p{i + 1}\tbefore\tp{i}" for i in range(places - 1)]
    lines += [f"p{i}\tsecond\tp{i + 2}" for i in range(places - 2)]
    files = {}
    for part, own in (("train", lines[:-4]), ("dev", lines[-4:-2]), ("test", lines[-2:])):
        files[part] = folder / f"{part}.tsv"
        files[part].write_text("\n".join(own) + "\n")
    return files


def drawn(entities=9, relations=3, count=40, width=5, distance=1):
    rng = np.random.default_rng(0)
    triples = np.unique(
        np.stack(
            [
                rng.integers(0, entities, count),
                entities + rng.integers(0, relations, count),
                rng.integers(0, entities, count),
            ],
            1,
        ),
        axis=0,
    )
    recipe = replace(
        transe(width),
        model=TableConfig(vocab=entities + relations, width=width, unit=entities),
        objective=Translation(distance=distance),
    )
    torch.manual_seed(0)
    return triples, build(recipe)


@pytest.mark.parametrize("distance", [1, 2])
def test_filtered_ranks_are_those_of_counting_one_by_one(distance):
    triples, member = drawn(distance=distance)
    table = member.model.tokens.weight.detach().double().numpy().copy()
    table[:9] /= np.linalg.norm(table[:9], axis=1, keepdims=True)
    true = {tuple(row) for row in triples.tolist()}
    found = ranks(member, triples, Known(triples))
    for row, (head, relation, tail) in enumerate(triples.tolist()):
        far = lambda h, t, r=relation: np.linalg.norm(table[h] + table[r] - table[t], ord=distance)
        heads = [h for h in range(9) if (h, relation, tail) not in true and far(h, tail) < far(head, tail)]
        tails = [t for t in range(9) if (head, relation, t) not in true and far(head, t) < far(head, tail)]
        assert found[row].tolist() == [1 + len(heads), 1 + len(tails)]


def test_entities_that_are_alike_share_their_rank():
    triples, member = drawn()
    with torch.no_grad():
        member.model.tokens.weight[:9] = member.model.tokens.weight[0]
    found = ranks(member, triples[:1], Known(triples[:1]))
    assert found.tolist() == [[1 + 8 / 2, 1 + 8 / 2]], "a model that knows nothing is no first"
    assert scores(found) == {"rank": 5.0, "mrr": 0.2, "hits@1": 0.0, "hits@3": 0.0, "hits@10": 1.0}


def test_a_corrupted_triple_has_another_entity_in_one_of_its_ends():
    triples, _ = drawn(count=2000)
    plan = TriplePlan(split=TripleSplit(triples), seed=0, epoch=0)
    row = plan.row(np.arange(len(triples)))
    vocab = Vocab(size=12, pad=0, unk=0, cls=0, sep=0, mask=0, special=()).linked(9, 5)
    rewrite = Replaced(others=400)
    spans = Ends(head=0.25)(row, Draw(0))
    batch = rewrite(row, spans, vocab, Draw(0))
    asked = batch.targets["triple"]
    assert np.array_equal(batch.input.tokens, triples.ravel()) and len(asked) == 400 * len(triples)
    assert set(asked.at[:, 0] % 3) == {0, 2} and (asked.labels != row.tokens[asked.at[:, 0]]).all()
    assert 0 <= asked.labels.min() and asked.labels.max() == 8, "relations never stand for entities"
    assert rewrite.counts(row, spans, Draw(0)) == batch.counts()


def test_entities_are_read_at_length_one_and_relations_as_they_are():
    _, member = drawn()
    said = member.model.vectors(torch.arange(12))
    torch.testing.assert_close(said[:9].norm(dim=1), torch.ones(9))
    assert torch.equal(said[9:], member.model.tokens.weight[9:])


def test_a_small_graph_is_learned_and_a_resumed_run_is_the_same(tmp_path):
    files = toy(tmp_path)
    options = {"dev": files["train"], "test": files["train"], "set": SMALL, "threads": 1, "steps": 100}

    def stop(step, *_):
        if step == 23:
            raise KeyboardInterrupt

    result = bertsmith.graph(files["train"], tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        bertsmith.graph(files["train"], tmp_path / "again", progress=stop, **options)
    bertsmith.graph(files["train"], tmp_path / "again", resume=True, **options)
    for name in ("metrics.jsonl", "vectors.npy", "entities.txt"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    lines = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["terms"]["triple"] < 0.5 * lines[0]["terms"]["triple"]
    assert result["test"]["rank"] < 4 and bertsmith.verify(tmp_path / "whole")["kind"] == "run"
    vectors = Entities.read(tmp_path / "whole")
    assert len(vectors.names) == 12 and np.allclose(np.linalg.norm(vectors.vectors, axis=1), 1, atol=1e-6)


def test_what_is_no_triple_is_told_with_its_line(tmp_path):
    (tmp_path / "bad.tsv").write_text("a\tr\tb\na\tr\n")
    with pytest.raises(InputError, match=r"bad\.tsv:2: no triple: .*parted by tabs"):
        Graph.read({"train": tmp_path / "bad.tsv"})
    (tmp_path / "count.txt").write_text("3\n0 1 0\n")
    with pytest.raises(InputError, match="first line says 3 triples, it has 1"):
        Graph.read({"train": tmp_path / "count.txt"})
    (tmp_path / "openke.txt").write_text("1\n7 8 0\n")
    assert Graph.read({"train": tmp_path / "openke.txt"}).entities == ("7", "8"), "the relation comes last"


def test_vectors_are_read_from_every_form(tmp_path):
    table = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.save(tmp_path / "x.npy", table)
    (tmp_path / "x.txt").write_text("3\nQ1\t0\nQ2\t1\nQ3\t2\n")
    (tmp_path / "w.vec").write_text("3 2\nQ1 0 1\nQ2 2 3\nQ3 4 5\n")
    for name in ("x.npy", "w.vec"):
        found = Entities.read(tmp_path / name)
        assert found.names == ("Q1", "Q2", "Q3") and np.array_equal(found.vectors, table)
    (tmp_path / "w.vec").write_text("Q1 0 1\nQ1 2 3\n")
    with pytest.raises(InputError, match="Q1 stands there twice"):
        Entities.read(tmp_path / "w.vec")
    (tmp_path / "w.vec").write_text("Q1 0 1\nQ2 2\n")
    with pytest.raises(InputError, match=r"w\.vec:2: a name and 2 numbers"):
        Entities.read(tmp_path / "w.vec")
