"""Text with linked entities: mentions by a dictionary or by linked text, in the store and in what a model reads."""

import json

import numpy as np
import pytest

import bertsmith
import bertsmith.downstream.show
from bertsmith.errors import InputError
from bertsmith.text import annotations, nif
from bertsmith.text.layout import DocSentences
from bertsmith.text.store import Store

TEXT = [
    "New York is large. York is old. Paris is in France.",
    "The mayor of Paris met the mayor of York in New York.",
    "Springfield is anywhere. Atlantis is nowhere. Nobody knows York City.",
]
VECTORS = "Q60 1 0\nQ42462 0 1\nQ90 1 1\nQ142 2 1\nQ1 3 3\nQ2 4 4\n"
MENTIONS = "New York\tQ60\nYork\tQ42462\nParis\tQ90\nFrance\tQ142\nSpringfield\tQ1\nSpringfield\tQ2\nAtlantis\tQ999\n"
MENTIONS += "York City\tQ1\nYork City\tQ2\n"


def prepared(folder, links, text=TEXT, **options):
    (folder / "text.txt").write_text("\n\n".join(text) + "\n")
    (folder / "vectors.vec").write_text(VECTORS)
    given = {"links": str(folder / links), "entity_vectors": str(folder / "vectors.vec"), **options}
    said = []
    options = {"tokenizer": "wordpiece:120", "holdout": 0, "say": said.append, "force": True}
    account = bertsmith.prepare([str(folder / "text.txt")], folder / "store", **options, **given)
    return Store.open(folder / "store"), account, said


def mentions(store):
    links, split = store.train.links, store.train
    words = lambda a, b: store.tokenizer.people.text(split.gather(slice(a, b)).tolist())
    rows = zip(links.begin.tolist(), links.end.tolist(), links.entity.tolist(), strict=True)
    return [(words(a, b), links.names[entity]) for a, b, entity in rows]


def test_a_dictionary_links_the_longest_mention_and_counts_what_it_leaves_out(tmp_path):
    (tmp_path / "mentions.tsv").write_text(MENTIONS)
    store, account, said = prepared(tmp_path, "mentions.tsv")
    assert mentions(store) == [
        ("New York", "Q60"),
        ("York", "Q42462"),
        ("Paris", "Q90"),
        ("France", "Q142"),
        ("Paris", "Q90"),
        ("York", "Q42462"),
        ("New York", "Q60"),
    ], "and York City, which is ambiguous, is no York"
    links = account["links"]
    assert (links["mentions"], links["entities"], links["ambiguous"], links["unknown"]) == (7, 4, 2, 1)
    assert (links["vectors"], links["width"]) == (6, 2) and store.vocab.entities == (6, 2)
    assert any(line.startswith("links: mentions 7, ") for line in said)
    assert np.array_equal(store.vectors[:3], [[1, 0], [0, 1], [1, 1]])
    assert bertsmith.verify(tmp_path / "store")["kind"] == "store"


def test_linked_text_is_found_again_wherever_its_sentences_stand(tmp_path):
    records = [
        {"text": "York is old. Paris is in France.", "links": [[0, 4, "Q42462"], [13, 18, "Q90"], [25, 31, "Q7"]]},
        {"text": "Nobody knows York City.", "links": [[13, 22, "Q1"]]},
        {"text": "Nobody knows York City.", "links": [[13, 22, "Q2"]]},
    ]
    (tmp_path / "linked.jsonl").write_text("\n".join(map(json.dumps, records)) + "\n")
    store, account, _ = prepared(tmp_path, "linked.jsonl")
    assert mentions(store) == [("York", "Q42462"), ("Paris", "Q90")]
    links = account["links"]
    assert links["unknown"] == 1 and links["ambiguous"] >= 1, "France has no vector, York City two meanings"


def test_links_that_overlap_are_counted(tmp_path):
    """Of two the one from the left stands."""
    record = {"text": TEXT[0], "links": [[0, 8, "Q60"], [4, 8, "Q42462"]]}
    (tmp_path / "linked.jsonl").write_text(json.dumps(record) + "\n")
    store, account, said = prepared(tmp_path, "linked.jsonl")
    assert mentions(store) == [("New York", "Q60")] and account["links"]["overlapping"] == 1
    assert any("overlapping 1" in line for line in said)


def test_a_row_knows_where_mentions_begin_and_go_on_and_a_cut_one_is_none(tmp_path):
    (tmp_path / "mentions.tsv").write_text(MENTIONS)
    store, _, _ = prepared(tmp_path, "mentions.tsv")
    plan = DocSentences(length=64).plan(store.train, store.vocab, 0, 0)
    row = plan.row(np.arange(3))
    begins = np.flatnonzero(row.entities > 0)
    links, text = store.train.links, store.train.gather(slice(0, store.train.count))
    assert (row.entities[begins] - 1).tolist() == links.entity.tolist()
    assert row.tokens[begins].tolist() == text[links.begin].tolist()
    assert (row.entities != 0).sum() == (links.end - links.begin).sum() and not row.entities[row.special].any()
    assert np.array_equal(row.part(1, 2).entities, row.entities[row.offsets[1] : row.offsets[2]])
    short = DocSentences(length=6).plan(store.train, store.vocab, 0, 0)
    whole = short.row(np.arange(len(short.labels)))
    for number in range(len(short.labels)):
        one = short.row(np.array([number]))
        assert np.array_equal(one.entities, whole.part(number, number + 1).entities)
        assert one.entities[1] >= 0, "what a sequence begins within is not known there"


def test_show_marks_entities(tmp_path):
    (tmp_path / "mentions.tsv").write_text(MENTIONS)
    store, _, _ = prepared(tmp_path, "mentions.tsv")
    options = {
        "data": store,
        "n": 12,
        "set": ["layout.length=64", "layout.negatives=swap", "corruption.rewrite.mask=0"],
    }
    options["set"] += ["corruption.rewrite.random=0"]
    *found, last = bertsmith.show("ernie-thu:tiny", **options)
    links = {name for line in found for *_, name in line["source"]["entities"]}
    assert links == {"Q60", "Q42462", "Q90", "Q142"}
    given = {tuple(one) for line in found for one in line["input"]["entities"]}
    assert given and all(line["source"]["tokens"] for line in found)
    for line in found:
        names = {begin: name for begin, _, name in line["source"]["entities"]}
        assert all(names[at] == name for at, name, _ in line["targets"].get("entity", []))
    requested, achieved = last["summary"]["requested"], last["summary"]["achieved"]
    assert (requested["links.wrong"], requested["links.hidden"]) == (0.05, 0.15) and achieved.keys() == requested.keys()
    options["set"] += ["corruption.rewrite.wrong=0", "corruption.rewrite.hidden=0"]
    text = "\n".join(bertsmith.downstream.show.printed("ernie-thu:tiny", **options))
    assert "|Q60}" in text and "{" in text and "linked to Q" in text
    options["set"][-1] = "corruption.rewrite.hidden=1"
    assert "|[MASK:Q60]}" in "\n".join(bertsmith.downstream.show.printed("ernie-thu:tiny", **options))


def test_links_and_vectors_come_together(tmp_path):
    (tmp_path / "mentions.tsv").write_text(MENTIONS)
    with pytest.raises(InputError, match="links: needs entity_vectors"):
        prepared(tmp_path, "mentions.tsv", entity_vectors=None)
    (tmp_path / "mentions.tsv").write_text("York Q1\n")
    with pytest.raises(InputError, match=r"mentions\.tsv:1: a mention and an id"):
        prepared(tmp_path, "mentions.tsv")
    (tmp_path / "linked.jsonl").write_text('{"text": "York", "links": [[0, 4]]}\n')
    with pytest.raises(InputError, match=r"\[start, end, id\]"):
        prepared(tmp_path, "linked.jsonl")


NIF = '''@prefix nif: <http://persistence.uni-leipzig.org/nlp2rdf/ontologies/nif-core#> .
@prefix itsrdf: <http://www.w3.org/2005/11/its/rdf#> .
# the text stands behind what is said of it
<http://x.org/1#char=0,3> a nif:RFC5147String ; nif:anchorOf "Ada"@en ;
  nif:beginIndex "0"^^<http://www.w3.org/2001/XMLSchema#int> ; nif:endIndex "3"^^xsd:int ;
  nif:referenceContext <http://x.org/1#char=0,19> ; itsrdf:taIdentRef <http://dbpedia.org/resource/Ada_%26_co> .
<http://x.org/1#char=0,19> a nif:String , nif:Context ; nif:isString """Ada read
"it" , twice .""" .
<http://x.org/2#char=0,6> a nif:Context ; nif:isString "Caf\\u00e9 ." .
'''


def test_text_linked_in_nif_is_what_it_is_as_lines_of_json(tmp_path):
    (tmp_path / "a.ttl").write_text(NIF)
    first, second = nif.documents(str(tmp_path / "a.ttl"))
    assert first == {"text": 'Ada read\n"it" , twice .', "links": [[0, 3, "Ada_&_co"]]}
    assert second == {"text": "Café .", "links": []}
    (tmp_path / "a.jsonl").write_text(nif.jsonl(str(tmp_path / "a.ttl")))
    read = [list(annotations._records(str(tmp_path / name), "links", tuple)) for name in ("a.ttl", "a.jsonl")]
    assert [row[1:] for row in read[0]] == [row[1:] for row in read[1]]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("a nif:RFC", "[] nif:RFC", r"a.ttl:4: \[\] nif:RFC"),
        ('"3"^^', '"300"^^', "a.ttl:4: nif:beginIndex 0, nif:endIndex 300: no part of its text"),
        ("1#char=0,19> ;", "3#char=0,19> ;", "a context that has no nif:isString here"),
        ("isString", "isText", "no nif:isString|a context that has no"),
        ('é ." .', 'é ."', "ends within a statement"),
    ],
)
def test_what_is_no_linked_text_in_nif_is_named_by_line(tmp_path, old, new, says):
    (tmp_path / "a.ttl").write_text(NIF.replace("\\u00e9", "é").replace(old, new))
    with pytest.raises(InputError, match=says):
        nif.documents(str(tmp_path / "a.ttl"))
