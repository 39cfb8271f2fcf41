import json
import re

import numpy as np
import pytest
from tests.corpora import VOCAB, random_shape
from tests.corpora import split_of as numbers

from bertsmith.config import override
from bertsmith.downstream import show as page
from bertsmith.downstream.show import lines, split_of, text
from bertsmith.errors import InputError
from bertsmith.recipe import find

SPLIT = numbers(random_shape(150, 6, 12), numbered=False)


class Spelled:
    """The tokenizer's part that `show` uses; `encode` makes a token of each character."""

    def tokens(self, ids):
        return [{2: "[CLS]", 3: "[SEP]", 4: "[MASK]"}.get(i, f"t{i}") for i in ids]

    def encode(self, texts):
        return [
            (np.array([ord(c) for c in t], np.int64), np.array([i == 0 or t[i - 1] == " " for i in range(len(t))]))
            for t in texts
        ]


def shown(name, n, *assignments, seed=0, epoch=0):
    recipe = override(find(f"{name}:tiny"), ["layout.length=64", *assignments])
    return [json.loads(json.dumps(line)) for line in lines(recipe, SPLIT, VOCAB, Spelled(), n, seed, epoch)]


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_each_line_has_the_keys_of_the_contract_and_can_be_restored(name):
    *examples, last = shown(name, 40)
    assert [line["index"] for line in examples] == list(range(40))
    for line in examples:
        assert list(line) == ["index", "epoch", "source", "input", "output", "spans", "targets"]
        source, given = line["source"], line["input"]
        assert list(source) == ["tokens", "ids", "words", "sentences"]
        assert list(given) == ["tokens", "ids", "segments", "positions", "sequence", "query_rank", "key_rank"]
        count = len(source["ids"])
        assert all(len(given[key]) == count for key in given) and line["output"] is None
        assert given["positions"] == list(range(count)) and set(given["sequence"]) == {0}
        rebuilt = list(given["ids"])
        for position, token, number in line["targets"]["token"]:
            rebuilt[position] = number
            assert token == f"t{number}"
        assert rebuilt == source["ids"]
        assert [p for p, _, _ in line["targets"]["token"]] == [i for a, b in line["spans"] for i in range(a, b)]
        special = {i for i, token in enumerate(source["tokens"]) if token in ("[CLS]", "[SEP]")}
        assert not special & {*source["words"], *source["sentences"], *(p for p, _, _ in line["targets"]["token"])}
        assert set(source["sentences"]) <= set(source["words"])
        assert all(i + 1 in source["words"] for i in special if i + 1 < count and i + 1 not in special)
        assert line["targets"].get("pair") in ((0, 1) if name == "bert" else (None,))
    assert list(last) == ["summary"]


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_the_summary_counts_exactly_the_lines(name):
    *examples, last = shown(name, 300)
    summary = last["summary"]
    assert list(summary) == ["requested", "achieved", "examples", "tokens"]
    assert list(summary["requested"]) == list(summary["achieved"])
    asked = [(line["input"]["ids"][p], i) for line in examples for p, _, i in line["targets"]["token"]]
    total = sum(len(line["input"]["ids"]) for line in examples)
    achieved = summary["achieved"]
    assert summary["examples"] == 300 and summary["tokens"]["used"] == total and summary["tokens"]["padding"] == 0
    assert achieved["rate"] == pytest.approx(len(asked) / total, abs=1e-6)
    assert achieved["mask"] == pytest.approx(np.mean([w == VOCAB.mask for w, _ in asked]), abs=1e-6)
    assert achieved["kept"] == pytest.approx(np.mean([w == i for w, i in asked]), abs=1e-6)
    assert achieved["mask"] + achieved["kept"] + achieved["random"] == pytest.approx(1, abs=1e-5)
    assert abs(achieved["rate"] - summary["requested"]["rate"]) < 0.004
    assert (summary["requested"]["mask"], summary["requested"]["kept"], summary["requested"]["random"]) == (
        0.8,
        0.1,
        0.1,
    )
    assert ("pair" in achieved) == (name == "bert")
    if name == "bert":
        assert achieved["pair"] == pytest.approx(np.mean([line["targets"]["pair"] for line in examples]), abs=1e-6)
        assert abs(achieved["pair"] - summary["requested"]["pair"]) < 0.12


def test_the_first_lines_do_not_depend_on_n_and_it_runs_on_into_the_next_epoch():
    few, many = shown("bert", 5), shown("bert", 2000)
    assert few[:5] == many[:5]
    epochs = [line["epoch"] for line in many[:-1]]
    assert epochs == sorted(epochs) and epochs[-1] > 0
    start = epochs.index(1)
    later = shown("bert", 5, epoch=1)
    assert [dict(line, index=0) for line in later[:5]] == [dict(line, index=0) for line in many[start : start + 5]]


def test_what_was_cut_is_counted_as_dropped():
    assert shown("bert", 50, "layout.length=16")[-1]["summary"]["tokens"]["dropped"] > 0
    assert shown("roberta", 50, "layout.length=16")[-1]["summary"]["tokens"]["dropped"] == 0


def test_static_masks_show_the_same_in_every_epoch():
    by_source = lambda found: {tuple(line["source"]["ids"]): line["input"]["ids"] for line in found[:-1]}
    first, later = (by_source(shown("roberta", 250, "corruption.copies=1", epoch=epoch)) for epoch in (0, 3))
    common = first.keys() & later.keys()
    assert len(common) > 20 and all(first[key] == later[key] for key in common)


def test_people_read_marks_and_a_table():
    page_text = "\n".join(text(shown("bert", 20)))
    assert "[MASK:t" in page_text and "<-t" in page_text and "[=t" in page_text
    assert "requested" in page_text and "achieved" in page_text and "pair" in page_text


def test_a_split_in_memory_is_the_text():
    split = split_of([["ab c", "d"], ["ef"]], Spelled())
    assert split.count == 7 and split.sentences.tolist() == [0, 4, 5, 7] and split.documents.tolist() == [0, 2, 3]
    assert split.gather(np.arange(7)).tolist() == [ord(c) for c in "ab cdef"]
    assert split.starts(np.arange(7)).tolist() == [True, False, False, True, True, True, False]
    assert split_of([], Spelled()).count == 0


def test_neither_or_both_sources_are_refused():
    for options in ({}, {"data": "a", "text": "b"}, {"text": "b"}):
        with pytest.raises(InputError, match="data=STORE"):
            page.show("bert:tiny", **options)


@pytest.mark.parametrize("name", ["albert", "electra", "electra-all-tokens", "structbert"])
def test_what_other_members_hide_can_be_restored_and_what_a_generator_decides_is_not_shown(name):
    *examples, last = shown(name, 40)
    terms = {term for line in examples for term in line["targets"]}
    assert terms == {"token"} | {"albert": {"pair"}, "structbert": {"pair", "order"}}.get(name, set())
    for line in examples:
        rebuilt = list(line["input"]["ids"])
        for term in ("token", "order"):
            for position, _, number in line["targets"].get(term, []):
                rebuilt[position] = number
        assert rebuilt == line["source"]["ids"]
    summary = last["summary"]
    assert list(summary["requested"]) == list(summary["achieved"])
    assert summary["requested"]["mask"] == (0.85 if name.startswith("electra") else 0.8)
    assert abs(summary["achieved"]["rate"] - summary["requested"]["rate"]) < 0.02


def test_people_read_what_a_pair_says_and_what_was_moved():
    for name, words in (("albert", "B precedes A"), ("structbert", "B is random")):
        said = "\n".join(text(shown(name, 30), page.meanings(f"{name}:tiny")))
        assert words in said and ("~t" in said) == (name == "structbert")


def test_a_run_shows_what_its_generator_writes(store, tmp_path):
    import bertsmith
    from bertsmith.downstream.model import load

    recipe = override(
        find("electra:tiny"), ["model.width=32", "model.heads=2", "layout.length=64", "training.batch=512"]
    )
    bertsmith.pretrain(recipe, store, tmp_path / "run", steps=2, threads=1)
    *examples, last = page.show(recipe, store, n=20, model=tmp_path / "run")
    assert load(tmp_path / "run").member.weights()["replaced"] == 50.0
    written = 0
    for line in examples:
        asked = {position: number for position, _, number in line["targets"]["token"]}
        for position, _, number in line["targets"]["replaced"]:
            assert position in asked and asked[position] != number
        written += len(line["targets"]["replaced"])
    total = sum(len(line["targets"]["token"]) for line in examples)
    said = "\n".join(page.printed(recipe, store, n=20, model=tmp_path / "run"))
    assert said.count("->") == total + 1 and "[x->y]" in said and "[MASK:" not in said.partition("example 0")[2]
    assert f"wrote another token in {written:,} of {total:,} places" in said and "##" not in said
    for line in examples[:3]:
        for place, _, number in line["targets"]["replaced"]:
            shown = store.tokenizer.shown
            assert f"[{shown(line['source']['ids'][place])}->{shown(number)}]" in said
    assert 0.9 < written / total <= 1 and last["summary"]["achieved"]["rate"] > 0.1
    bertsmith.pretrain(
        override(find("roberta:tiny"), ["model.width=32", "model.heads=2"]), store, tmp_path / "b", steps=1
    )
    for verb in (page.show, page.printed):
        with pytest.raises(InputError, match="a roberta has no generator; only ELECTRA"):
            verb(recipe, store, model=tmp_path / "b")
        with pytest.raises(InputError, match="roberta has no generator that writes"):
            verb("roberta:tiny", store, model=tmp_path / "run")


def test_xlnets_questions_stand_behind_the_text():
    *examples, last = shown("xlnet", 60, "training.batch=512")
    backward = 0
    for line in examples:
        source, given = line["source"], line["input"]
        count = len(source["ids"])
        assert given["ids"][:count] == source["ids"] and set(given["tokens"][count:]) == {"[MASK]"}
        assert given["positions"][:count] == list(range(count)) and source["tokens"][-1] == "[CLS]"
        assert given["query_rank"][:count] == given["key_rank"][:count] and set(given["key_rank"][count:]) == {None}
        asked = [i for a, b in line["spans"] for i in range(a, b)]
        assert [p for p, _, _ in line["targets"]["token"]] == list(range(count, count + len(asked)))
        for (place, _, answer), at in zip(line["targets"]["token"], asked, strict=True):
            assert source["ids"][at] == answer and given["positions"][place] == at
            assert given["segments"][place] == given["segments"][at]
            assert given["query_rank"][place] == given["query_rank"][at] - 1
        backward += source["words"][0] > 0
    assert backward < len(examples)
    summary = last["summary"]
    assert list(summary["requested"]) == list(summary["achieved"]) == ["rate"]
    assert summary["achieved"]["rate"] == pytest.approx(11 / 64, abs=1e-3)  # 64 / 6 is 10.7
    assert summary["tokens"]["used"] == 60 * (64 + 11)


def test_a_language_model_shows_what_it_reads():
    *examples, last = shown("transformer-xl", 12, "training.batch=256")
    for line in examples:
        ids, given = line["source"]["ids"], line["input"]
        assert given["ids"] == ids and given["query_rank"] == given["key_rank"] == list(range(64))
        assert [[p, answer] for p, _, answer in line["targets"]["token"]] == [[p, ids[p + 1]] for p in range(63)]
        assert line["spans"] == [[1, 64]]
    assert last["summary"]["requested"] == {} == last["summary"]["achieved"]
    # Four columns: the first sequence of each, then the second, which begins with the last token of the first.
    assert [examples[i + 4]["source"]["ids"][0] for i in range(4)] == [
        examples[i]["source"]["ids"][-1] for i in range(4)
    ]


def test_gpt_shows_its_input_as_it_stands_and_asks_nothing_at_the_last_row():
    *examples, last = shown("gpt2", 12, "training.batch=256")
    for line in examples:
        ids = line["source"]["ids"]
        assert line["input"]["ids"] == ids and line["input"]["query_rank"] == line["input"]["key_rank"] == list(
            range(64)
        )
        assert [[p, answer] for p, _, answer in line["targets"]["token"]] == [[p, ids[p + 1]] for p in range(63)]
        assert set(line["targets"]) == {"token"} and line["output"] is None and "[CLS]" not in line["source"]["tokens"]
    assert last["summary"]["requested"] == {} == last["summary"]["achieved"]


def test_people_read_orders_and_plain_text():
    page_lines = list(text(shown("xlnet", 1, "training.batch=256")))
    marked = next(line for line in page_lines if line.startswith("t") or "[1:" in line)
    assert all(f"[{k}:t" in marked for k in range(1, 12)) and "11 asked" in page_lines[1]
    plain = list(text(shown("transformer-xl", 1, "training.batch=256")))
    assert "63 asked · left to right" in plain[1] and "[t" not in plain[2]


@pytest.mark.parametrize("kind", ["wordpiece:100", "bpe:300", "unigram:150"])
@pytest.mark.parametrize("name", ["roberta", "xlnet", "structbert"])
def test_people_read_text_and_programs_the_tokens(name, kind, tmp_path):
    """Everything that is asked stands in brackets; what remains is the text, without marks of the tokenizer."""
    from bertsmith.text.prepare import prepare

    text = "北京大学的学生在图书馆里读书。Привет, мир! Words that are split, 🙂 too."
    (tmp_path / "t.txt").write_text(
        "\n\n".join(f"{text}\nwords{i * 97}split, {text}" for i in range(20)), encoding="utf-8"
    )
    prepare([str(tmp_path / "t.txt")], tmp_path / "store", tokenizer=kind, holdout=0)
    options = {"data": tmp_path / "store", "n": 4, "set": ["layout.length=48"]}
    *examples, _ = page.show(f"{name}:tiny", **options)
    marked = [line for line in page.printed(f"{name}:tiny", **options) if "[CLS]" in line]
    assert len(marked) == len(examples)
    for line in marked:
        assert not {*line} & {*"Ġ▁Ð"} and "##" not in line and not re.search("[一-鿿] [一-鿿]", line)
    tokens = {token for line in examples for token in line["source"]["tokens"]}
    assert any(token.startswith(("##", "Ġ", "▁")) for token in tokens)
