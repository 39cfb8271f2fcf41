"""The outward form of a tokenizer gives a text the ids of the stored one, reads what follows a mask as `fill` does, and comes back."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.folders import LENGTH, loaded, tokenizer_of
from tokenizers import Tokenizer as Backend
from tokenizers import pre_tokenizers

import bertsmith
from bertsmith.deploy import check
from bertsmith.deploy.hf_tokenizer import hf_tokenizer
from bertsmith.tasks.reading import Reading
from bertsmith.text.forms import inward, outward
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.text.words import PARTING, REMOVED

KINDS = ("bpe:400", "unigram:300")
RULES = ({}, {"lowercase": True}, {"normalise": "nfc"}, {"normalise": "nfkc", "lowercase": True, "language": "tr"})
TEXT = "Ünïcode déjà vu, नमस्ते कुछ हिन्दी, สวัสดี, Привет мир! 你好世界 a1 (b) don't x² ﬁ"


def tree(tokenizer):
    return json.loads(tokenizer.backend.to_str())


@pytest.fixture(scope="module")
def made(documents):
    texts = [*documents[:20], *[TEXT] * 20]
    return {
        (kind, i): Tokenizer.train(kind, texts, **{"lowercase": False, **rules})
        for kind in KINDS
        for i, rules in enumerate(RULES)
    }


@pytest.mark.parametrize("rules", range(len(RULES)))
@pytest.mark.parametrize("kind", KINDS)
def test_every_character_at_every_place_has_the_ids_of_the_stored_form(kind, rules, made):
    tokenizer = made[kind, rules]
    form = outward(tree(tokenizer))
    assert form != tree(tokenizer) and inward(form) == tree(tokenizer)
    backend = Backend.from_str(json.dumps(form))
    step = 1 if rules == 0 else 7
    points = [i for i in (*range(0, 0x3100), *range(0x3100, 0x20000, 97)) if not 0xD800 <= i < 0xE000][::step]
    texts = [text.format(chr(i)) for i in points for text in ("{0}b", "a{0}b {0} {0}c", "b{0}")]
    texts += ["", " ", "\n", " a ", "\n a\t b", *(f"{a}{b}x" for a in REMOVED for b in PARTING + REMOVED + " \n")]
    found = backend.encode_batch_fast(texts, add_special_tokens=False)
    wrong = [t for t, (ids, _), e in zip(texts, tokenizer.encode(texts), found) if ids.tolist() != e.ids]
    assert wrong == []


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=f"ab .\u0301\u200b{REMOVED[:3]}\n\u00adé▁", max_size=12), st.sampled_from(KINDS))
def test_any_text_has_the_ids_of_the_stored_form(made, text, kind):
    backend = Backend.from_str(json.dumps(outward(tree(made[kind, 0]))))
    assert backend.encode(text, add_special_tokens=False).ids == made[kind, 0].encode([text])[0][0].tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_patterns_are_spelt_for_javascript_too(kind, made):
    text = json.dumps(outward(tree(made[kind, 0])), ensure_ascii=False)
    assert "x{" not in text and "\\A" not in text and "\\z" not in text and "Nmt" not in text


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_is_loaded_as_the_tokenizer_that_it_was(kind, made, tmp_path):
    tokenizer = made[kind, 0]
    for name, data in hf_tokenizer(tokenizer, Reading(length=LENGTH)).items():
        (tmp_path / name).write_bytes(data)
    again = Tokenizer.load(tmp_path)
    assert again.reading == tokenizer.reading and again.roles == tokenizer.roles
    assert again._table.scheme == tokenizer._table.scheme is not None
    (tmp_path / "tokenizer.json").unlink()
    if kind.startswith("bpe"):  # from vocab.json and merges.txt alone, by GPT-2's words
        assert (
            Tokenizer.load(tmp_path).encode(["plain words"])[0][0].tolist()
            == tokenizer.encode(["plain words"])[0][0].tolist()
        )


def test_nmt_is_spelt_out_in_its_own_two_steps(made):
    """Unigram as earlier versions trained it."""
    old = tree(made["unigram:300", 0])
    old["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "Nmt"}, {"type": "NFKC"}, {"type": "Lowercase"}]}
    form = outward(old)
    assert "Nmt" not in json.dumps(form) and inward(form) == old
    texts = [text.format(chr(i)) for i in range(0x3100) for text in ("{0}b", "a{0}b {0} c")]
    texts += [f"a{c}b" for c in "\ufeff\ufffd\ufffe"]
    one, two = (Backend.from_str(json.dumps(t)).encode_batch(texts, add_special_tokens=False) for t in (old, form))
    assert [t for t, a, b in zip(texts, one, two) if a.ids != b.ids] == []


def test_a_prefix_space_is_named_where_it_is(documents):
    """transformers 4 takes it away from ByteLevel where tokenizer_config.json does not ask for it."""
    named = lambda made: json.loads(hf_tokenizer(made, Reading(length=LENGTH))["tokenizer_config.json"])[
        "add_prefix_space"
    ]
    assert named(tokenizer_of(documents[:20], "bpe:400")) is True
    for prefix in (True, False):
        theirs = tokenizer_of(documents[:20], "bpe:400")
        theirs.backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
        assert named(theirs) is prefix


def test_what_strips_accents_or_comes_from_elsewhere_stays_as_it_is(documents):
    stripped = tree(Tokenizer.train("unigram:300", documents[:20], True, strip_accents=True))
    assert outward(stripped) == stripped == inward(stripped)
    wordpiece = tree(tokenizer_of(documents[:20]))
    assert outward(wordpiece) == wordpiece == inward(wordpiece)


@pytest.mark.parametrize("kind", ["wordpiece:300", *KINDS])
def test_transformers_reads_what_stands_beside_a_mask_as_fill_does(kind, documents, tmp_path):
    transformers = pytest.importorskip("transformers")
    family = "bert" if kind.startswith("word") else "roberta"
    model = loaded(family, "token", tokenizer_of(documents[:20], kind), tmp_path / "run")
    result = bertsmith.export(model, tmp_path / "out")
    assert result["masks_read_otherwise"] == []
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert check.differing_masks(theirs, model) == []


def test_masks_that_are_read_otherwise_are_said(documents, tmp_path):
    pytest.importorskip("transformers")
    stripped = Tokenizer.train("unigram:300", documents[:20], True, strip_accents=True)
    said = []
    result = bertsmith.export(loaded("roberta", "token", stripped, tmp_path / "run"), tmp_path / "out", say=said.append)
    assert (
        "a list [MASK]." in result["masks_read_otherwise"]
        and "the [MASK] of a list" not in result["masks_read_otherwise"]
    )
    assert any(line.startswith("transformers reads what stands beside a mask otherwise") for line in said)
    assert "`bertsmith fill` puts none" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("kind", ["bpe:400", "unigram:300"])
def test_offsets_of_a_tagger_leave_the_blank_out(kind, documents, tmp_path):
    transformers = pytest.importorskip("transformers")
    model = loaded("roberta", "tag", tokenizer_of(documents[:20], kind), tmp_path / "run")
    bertsmith.export(model, tmp_path / "out")
    text = "the list of  names, and a tuple"
    found = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")(text, return_offsets_mapping=True)
    assert all(text[a:b] == text[a:b].strip() for a, b in found["offset_mapping"])
    assert {text[a] for a, b in found["offset_mapping"] if b > a} >= {"t", "l", "o", "n", "a"}
