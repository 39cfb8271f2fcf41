"""Tokenizers as they were published: vocab.json with merges.txt, SentencePiece models, vocab.txt with white space in it."""

import json
import shutil
from dataclasses import replace

import pytest
import sentencepiece
from tests.folders import theirs

import bertsmith
from bertsmith.errors import InputError
from bertsmith.text.load import SPECIALS
from bertsmith.text.tokenizer import Tokenizer

ODD = [
    "Ünïcödé accents, naïve café",
    "数 and ☃",
    "tabs\tand  two   spaces ",
    "ﬁ ½ Ⅷ ™",
    "3,141 and 9,",
    "''quoted`` text",
    "a",
    "",
]


def trained(texts, at, kind="unigram", **options):
    """A SentencePiece model at `at`, and its processor."""
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_prefix=str(at.with_suffix("")),
        model_type=kind,
        minloglevel=3,
        num_threads=1,
        **options,
    )
    return sentencepiece.SentencePieceProcessor(model_file=str(at))


@pytest.fixture(scope="module")
def texts(documents):
    return [line for text in documents[:20] for line in text.split("\n")]


@pytest.fixture(scope="module")
def fairseq(texts, tmp_path_factory):
    """As XLM-R's and CamemBERT's: <unk>, <s> and </s> are its first pieces, and it has no mask."""
    at = tmp_path_factory.mktemp("fairseq") / "sentencepiece.bpe.model"
    return at, trained(texts, at, vocab_size=400)


OFFSETS = {"XLMRobertaTokenizer": 1, "CamembertTokenizer": 4}
ROLES = {
    "XLMRobertaTokenizer": (1, 3, 0, 2),
    "CamembertTokenizer": (1, 3, 5, 6),
}  # pad, unk, cls, sep: as fairseq numbers them


def offset_ids(processor, text, offset):
    return [3 if i == 0 else i + offset for i in processor.encode(text)]


@pytest.mark.parametrize("owner", OFFSETS)
@pytest.mark.parametrize("said", ["tokenizer_config.json", "config.json"])
def test_ids_of_fairseq_are_the_pieces_moved_up(owner, said, fairseq, texts, tmp_path):
    at, processor = fairseq
    shutil.copy(at, tmp_path)
    name = owner.removesuffix("Tokenizer").lower().replace("xlmr", "xlm-r")
    (tmp_path / said).write_text(
        json.dumps({"tokenizer_class": owner} if said == "tokenizer_config.json" else {"model_type": name})
    )
    tokenizer = Tokenizer.load(tmp_path)
    vocab, offset = tokenizer.vocab, OFFSETS[owner]
    assert tokenizer.size == 400 + offset + 1 and vocab.mask == tokenizer.size - 1 and tokenizer.mask_token == "<mask>"
    assert (vocab.pad, vocab.unk, vocab.cls, vocab.sep) == ROLES[owner]
    for text, (ids, _) in zip([*texts[:200], *ODD], tokenizer.encode([*texts[:200], *ODD]), strict=True):
        assert ids.tolist() == offset_ids(processor, text, offset), text
    assert tokenizer.encode(["a <mask> b"], specials=True)[0][0].tolist().count(vocab.mask) == 1
    assert vocab.mask not in tokenizer.encode(["a <mask> b"])[0][0]
    tokenizer.save(tmp_path / "again")
    assert Tokenizer.load(tmp_path / "again").vocab == vocab


def test_without_an_owner_a_model_without_a_mask_is_refused(fairseq, tmp_path):
    with pytest.raises(InputError, match=r"without a mask, .*tokenizer_class.*save_pretrained"):
        Tokenizer.load(fairseq[0])
    (tmp_path / "vocab.txt").write_bytes(fairseq[0].read_bytes())
    with pytest.raises(InputError, match=r"vocab.txt: a model of SentencePiece; under a name that ends in .model"):
        Tokenizer.load(tmp_path)
    (tmp_path / "vocab.txt").unlink()
    for data in (b"", b"\0\1\2", b"\n\5\n\3abc", fairseq[0].read_bytes()[:999]):
        (tmp_path / "spiece.model").write_bytes(data)
        with pytest.raises(
            InputError, match=r"spiece.model: (not a model of SentencePiece|a SentencePiece model of)"
        ) as caught:
            Tokenizer.load(tmp_path)
        assert "\n" not in str(caught.value)


NAMED = {
    "pad_id": 0,
    "unk_id": 1,
    "bos_id": -1,
    "eos_id": -1,
    "pad_piece": "<pad>",
    "control_symbols": ["[CLS]", "[SEP]", "[MASK]"],
}


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
@pytest.mark.parametrize("rule", ["nmt_nfkc", "nmt_nfkc_cf"])
def test_a_model_that_has_a_mask_gives_its_own_ids(kind, rule, texts, tmp_path):
    at = tmp_path / "spiece.model"
    processor = trained(texts, at, kind, vocab_size=400, normalization_rule_name=rule, **NAMED)
    for place in (at, tmp_path):
        tokenizer = Tokenizer.load(place)
        for text, (ids, _) in zip([*texts, *ODD], tokenizer.encode([*texts, *ODD]), strict=True):
            assert ids.tolist() == processor.encode(text), text
        assert tokenizer.vocab.special == (0, 1, 2, 3, 4)


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
@pytest.mark.parametrize(
    "flags",
    [
        {"add_dummy_prefix": False},
        {"remove_extra_whitespaces": False},
        {"add_dummy_prefix": False, "remove_extra_whitespaces": False},
    ],
    ids=str,
)
def test_spaces_are_read_as_the_model_says(kind, flags, texts, tmp_path):
    processor = trained(texts, tmp_path / "spiece.model", kind, vocab_size=400, **flags, **NAMED)
    tokenizer = Tokenizer.load(tmp_path)
    for text, (ids, _) in zip([*texts, *ODD], tokenizer.encode([*texts, *ODD]), strict=True):
        assert ids.tolist() == processor.encode(text), text


def test_a_space_behind_words_is_refused(texts, tmp_path):
    trained(texts, tmp_path / "spiece.model", vocab_size=400, treat_whitespace_as_suffix=True, **NAMED)
    with pytest.raises(InputError, match="treat_whitespace_as_suffix"):
        Tokenizer.load(tmp_path)


def test_what_is_unknown_is_what_the_vocabulary_says(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join([*SPECIALS, "a", "b"]) + "\n")
    (tmp_path / "tokenizer_config.json").write_text('{"unk_token": "a"}')
    with pytest.raises(InputError, match=r"unk_token: 'a', but what it does not know becomes '\[UNK\]'"):
        Tokenizer.load(tmp_path)


def test_words_and_characters_are_refused(texts, tmp_path):
    trained(texts, tmp_path / "spiece.model", "char", vocab_size=60, hard_vocab_limit=False, **NAMED)
    with pytest.raises(InputError, match="of words or characters"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize("settings", [{}, {"do_lower_case": False}, {"keep_accents": True}])
def test_alberts_is_as_transformers_had_it(settings, texts, tmp_path):
    """The slow tokenizer of transformers, of which version 5 has none: quotes, then accents and capitals go, then pieces; "9," is two."""
    import unicodedata

    options = {key: value for key, value in NAMED.items() if key != "control_symbols"}
    at = tmp_path / "spiece.model"
    processor = trained(
        texts, at, vocab_size=400, control_symbols=["[CLS]", "[SEP]"], user_defined_symbols=["[MASK]"], **options
    )
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "AlbertTokenizer", **settings}))
    tokenizer = Tokenizer.load(tmp_path)
    for text, (ids, _) in zip([*texts, *ODD], tokenizer.encode([*texts, *ODD]), strict=True):
        text = " ".join(text.split()).replace("``", '"').replace("''", '"')
        if "keep_accents" not in settings:
            text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
        text = text.lower() if settings.get("do_lower_case", True) else text
        assert ids.tolist() == processor.encode(text), text
    assert tokenizer.vocab.mask in tokenizer.vocab.special and tokenizer.mask_token == "[MASK]"


@pytest.mark.parametrize("said", [None, 7])
def test_t5s_pieces_have_sentinels_behind_them_from_the_top_down(said, texts, tmp_path):
    at = tmp_path / "spiece.model"
    processor = trained(texts, at, vocab_size=400, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    settings = {"tokenizer_class": "T5Tokenizer"} | ({} if said is None else {"extra_ids": said})
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer, count = Tokenizer.load(tmp_path), said or 100
    assert tokenizer.size == 400 + count
    assert tokenizer.vocab.sentinels == tuple(400 + count - 1 - k for k in range(count))
    assert (tokenizer.vocab.pad, tokenizer.vocab.sep, tokenizer.vocab.unk, tokenizer.vocab.cls) == (0, 1, 2, 1)
    for text, (ids, _) in zip([*texts[:200], *ODD], tokenizer.encode([*texts[:200], *ODD]), strict=True):
        assert ids.tolist() == processor.encode(text), text
    written = tokenizer.encode(["a <extra_id_0> b <extra_id_1>"], specials=True)[0][0].tolist()
    assert [i for i in written if i >= 400] == [400 + count - 1, 400 + count - 2]
    tokenizer.save(tmp_path / "again")
    assert Tokenizer.load(tmp_path / "again").vocab == tokenizer.vocab


def test_a_t5s_without_sentinels_is_refused_by_naming_them(texts, tmp_path):
    trained(texts, tmp_path / "spiece.model", vocab_size=400, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    settings = {"tokenizer_class": "T5Tokenizer", "extra_ids": 0}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    wanted = r"no cls token: neither \[CLS\] nor <s> nor <cls> is in the vocabulary, nor sentinels \(<extra_id_0>, <extra_id_1>, …\), with which a T5's does without; name it in tokenizer_config\.json"
    with pytest.raises(InputError, match=wanted):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("prefix", [None, True])
def test_robertas_two_files_give_transformers_ids(ending, prefix, texts, tmp_path):
    transformers = pytest.importorskip("transformers")
    tree = json.loads(Tokenizer.train("bpe:400", texts).backend.to_str())["model"]
    names = dict(zip(SPECIALS, ("<pad>", "<unk>", "<s>", "</s>", "<mask>"), strict=True))
    vocab = {names.get(token, token): i for token, i in tree["vocab"].items()}
    merges = [" ".join(merge) for merge in tree["merges"]]
    (tmp_path / "vocab.json").write_text(json.dumps(vocab))
    with pytest.raises(InputError, match=r"no merges\.txt beside it"):
        Tokenizer.load(tmp_path)
    (tmp_path / "merges.txt").write_bytes((ending.join(["#version: 0.2", *merges]) + ending).encode())
    options = {} if prefix is None else {"add_prefix_space": prefix}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(options))
    there = transformers.RobertaTokenizer(vocab=vocab, merges=[tuple(m.split()) for m in merges], **options)
    for place in (tmp_path, tmp_path / "vocab.json", tmp_path / "merges.txt"):
        tokenizer = Tokenizer.load(place)
        for text, (ids, _) in zip([*texts[:100], *ODD], tokenizer.encode([*texts[:100], *ODD]), strict=True):
            assert ids.tolist() == there(text, add_special_tokens=False)["input_ids"], text
        assert tokenizer.mask_token == "<mask>" and tokenizer.vocab.special == (0, 1, 2, 3, 4)
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b</w>\n")
    with pytest.raises(InputError, match=r"not a BPE over bytes \(its merges: 'a b</w>'\); if it is GPT's, name"):
        Tokenizer.load(tmp_path)
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b c\n")
    with pytest.raises(InputError, match=r"merges.txt:2: 'a b c': expected two pieces"):
        Tokenizer.load(tmp_path)


def test_tokens_that_stand_beside_a_vocabulary_are_read(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join([*SPECIALS, "a", "b"]))
    (tmp_path / "added_tokens.json").write_text('{"<x>": 7, "newword": 8}')
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.size == 9 and tokenizer.encode(["a newword b"])[0][0].tolist() == [5, 8, 6]
    (tmp_path / "added_tokens.json").write_text('{"<x>": 9}')
    with pytest.raises(InputError, match="added token '<x>': id 9 there, 7 once loaded"):
        Tokenizer.load(tmp_path)


WHITE = ["\u2028", "\u2029", "\x85", "\xa0", "\u3000"]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_white_space_may_be_a_token_of_a_vocabulary(ending, tmp_path):
    lines = [*SPECIALS, "a", *WHITE, "b", "中"]
    (tmp_path / "vocab.txt").write_bytes(ending.join([*lines, ""]).encode())
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.tokens(range(tokenizer.size)) == lines
    assert tokenizer.encode(["a" + "".join(WHITE) + "b中"])[0][0].tolist() == [5, 11, 12]
    tokenizer.save(tmp_path / "again")
    assert Tokenizer.load(tmp_path / "again").digest == tokenizer.digest
    text = tmp_path / "text.txt"
    text.write_text("a b\n\nb a\n")
    bertsmith.prepare([str(text)], tmp_path / "store", tokenizer=str(tmp_path / "vocab.txt"))
    (tmp_path / "vocab.txt").write_text("\n".join([*SPECIALS, " ", "a"]))
    with pytest.raises(InputError, match=r"vocab\.txt:6: blank line"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize(
    ("more", "cased"),
    [
        ([], False),
        (["<S>", "<T>", "[UNUSED]"], False),
        (["ℝ", "Ⅷ", "Ⓐ"], False),
        (["##A"], True),
        (["É"], True),
        (["[A"], True),
        (["ǅ"], True),
    ],
)
def test_letters_say_whether_a_vocabulary_is_cased(more, cased, tmp_path):
    """<S> and <T> stand in that of bert-base-chinese, ℝ in that of bert-base-uncased: neither keeps capitals."""
    (tmp_path / "vocab.txt").write_text("\n".join([*SPECIALS, "x", *more]), encoding="utf-8")
    assert (Tokenizer.load(tmp_path).encode(["X"])[0][0].tolist() == [1]) is cased


@pytest.mark.parametrize("owner", OFFSETS)
def test_a_model_of_fairseqs_ids_goes_in_and_out(owner, fairseq, texts, tmp_path):
    """The tokenizer.json that transformers itself writes, and the SentencePiece model: the same ids, the same answers."""
    transformers = pytest.importorskip("transformers")
    shutil.copy(fairseq[0], tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": owner}))
    family = owner.removesuffix("Tokenizer").lower().replace("xlmr", "xlm-r")
    there = getattr(transformers, owner).from_pretrained(tmp_path)
    theirs(transformers, family, "token", Tokenizer.load(tmp_path), tmp_path / "hf")
    there.save_pretrained(tmp_path / "hf")
    result = bertsmith.import_(tmp_path / "hf", tmp_path / "model")
    assert result["classes"][0] == family.replace("xlm-roberta", "XLMRoberta").replace("camem", "Camem") + "ForMaskedLM"
    tokenizer = bertsmith.load(tmp_path / "model").tokenizer
    plain = Tokenizer.load(tmp_path)
    found, wanted = ([ids.tolist() for ids, _ in t.encode(texts[:200])] for t in (tokenizer, plain))
    assert found == wanted and replace(tokenizer.vocab, special=()) == replace(plain.vocab, special=())
    made = bertsmith.export(tmp_path / "model", tmp_path / "out")
    assert made["classes"][0] == result["classes"][0]
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["model_type"] == family and config["vocab_size"] == tokenizer.size
    for name in ("hf", "model", "out"):
        assert len(bertsmith.fill(tmp_path / name, "a <mask> is an object")["masks"]) == 1
