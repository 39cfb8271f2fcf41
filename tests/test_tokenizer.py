"""Tokenizers: trained, loaded, extended; ids, word starts, bytes."""

import json
import lzma
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import bertsmith
from bertsmith.errors import InputError
from bertsmith.text import load
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.text.train import SPECIALS
from bertsmith.text.words import word_starts

KINDS = ("wordpiece:400", "bpe:400", "bpe-char:400", "unigram:200", "char", "byte")
DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
ENGLISH = [
    "The quick brown fox jumps over the lazy dog; it doesn't care.",
    "Words are runs of letters, marks and digits: naïve café, 3.14 and $20 (twenty).",
    "Pre-training hides fifteen of a hundred tokens, and asks for them again.",
    "A fox's tale: the foxes jumped, jumping over lazily dogged dogs — again and again!",
    "Zażółć gęślą jaźń, Übergröße, Ελληνικά και ρωσικά: привет мир.",
] * 4
TEXTS = [
    *ENGLISH,
    *["我们在北京大学学习机器学习。", "人工智能改变世界，学习语言模型。", "東京大学で勉強します。", "สวัสดีชาวโลก"] * 2,
]


@pytest.fixture(scope="module")
def trained():
    return {(kind, lower): Tokenizer.train(kind, TEXTS, lowercase=lower) for kind in KINDS for lower in (False, True)}


def reference(tokenizer, text):
    """Ids and starts by offsets alone, one text at a time."""
    encoding = tokenizer._plain.encode(text, add_special_tokens=False)
    blank = np.array([not tokenizer.token(i).strip("▁Ġ ") for i in encoding.ids], bool)
    return encoding.ids, word_starts(text, encoding.offsets, tokenizer.segmenter, blank).tolist()


ODDITIES = "ab Zé\u0301ıİßﬁ½™№¨≠≮²Ⅷ①…“”`~^_-'\t\n\r\x00\x0b\x1c\x85\xa0\u00ad\u200b\u200c\u200d\u2028\u2581\u3000\ufe0f\ufeff\ufffd中国語カナかなー々ไทยเด็ก한국가❤👍🏽🇩Ġ#[]</w>09"
PIECES = ["the", " the", "fox", "n't", "[MASK]", "[UNK]", "##a", "</w>", "▁", " ", "  ", "学习", "naïve", "$20"]
STRANGE = st.one_of(
    st.text(max_size=40),
    st.text(alphabet=ODDITIES, max_size=30),
    st.lists(st.one_of(st.sampled_from(PIECES), st.sampled_from(ODDITIES)), max_size=20).map("".join),
)


@pytest.mark.parametrize("lower", [False, True], ids=["cased", "uncased"])
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=150, deadline=None)
@given(texts=st.lists(STRANGE, max_size=4))
@example(texts=["", "a", " ", "a\u0338<\u0338a", "¨a", "a▁b", "a\x0bb c", "[MASK]"])
def test_tables_say_what_offsets_say_on_any_unicode(trained, kind, lower, texts):
    tokenizer = trained[kind, lower]
    for text, (ids, starts) in zip(texts, tokenizer.encode(texts), strict=True):
        wanted, begun = reference(tokenizer, text)
        assert ids.dtype == np.int32 and ids.tolist() == wanted
        assert starts.tolist() == begun, (text, tokenizer.tokens(ids))


@pytest.mark.parametrize("kind", KINDS)
def test_plain_english_takes_the_fast_way(trained, kind):
    tokenizer = trained[kind, False]
    points = np.array([ord(c) for c in ENGLISH[0]], np.uint32)
    assert not tokenizer._table.odd(points, np.array([0, len(points)])).any()
    ids, starts = tokenizer.encode([ENGLISH[0]])[0]
    words = "The quick brown fox jumps over the lazy dog ; it doesn ' t care .".split()
    assert starts.sum() == len(words) - tokenizer.tokens(ids).count("'t")  # one token that spans two words joins them


@pytest.mark.parametrize("kind", KINDS)
def test_specials_come_first_and_text_never_becomes_one(trained, kind):
    tokenizer = trained[kind, False]
    assert tokenizer.tokens(range(5)) == list(SPECIALS)
    vocab = tokenizer.vocab
    assert (vocab.pad, vocab.unk, vocab.cls, vocab.sep, vocab.mask) == (0, 1, 2, 3, 4) and vocab.special == (
        0,
        1,
        2,
        3,
        4,
    )
    assert tokenizer.mask_token == "[MASK]"
    ids, _ = tokenizer.encode(["a [MASK] b [CLS]"])[0]
    assert not np.isin(ids, [0, 2, 3, 4]).any()
    ids, starts = tokenizer.encode(["the [MASK] fox"], specials=True)[0]
    assert (ids == 4).sum() == 1 and not starts[ids == 4].any() and starts.sum() == 2


@pytest.mark.parametrize("lower", [False, True], ids=["cased", "uncased"])
@pytest.mark.parametrize("kind", KINDS)
def test_save_and_load_keep_ids_and_bytes(trained, kind, lower, tmp_path):
    tokenizer = trained[kind, lower]
    (path,) = tokenizer.save(tmp_path)
    again = Tokenizer.load(tmp_path)
    assert again.digest == tokenizer.digest and again.roles == tokenizer.roles and again.size == tokenizer.size
    assert [i.tolist() for i, _ in again.encode(TEXTS)] == [i.tolist() for i, _ in tokenizer.encode(TEXTS)]
    again.save(tmp_path / "b")
    assert (tmp_path / "b/tokenizer.json").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("kind", ["bpe:400", "unigram:200", "bpe-char:400"])
def test_decoding_gives_the_text_back(trained, kind):
    tokenizer = trained[kind, False]
    text = "The quick brown fox jumps over the lazy dog"
    assert tokenizer.decode(tokenizer.encode([text])[0][0]).strip() == text
    if kind.startswith("bpe:"):
        assert tokenizer.decode(tokenizer.encode(["naïve 我们 👍🏽 x"])[0][0]) == " naïve 我们 👍🏽 x"


@pytest.mark.parametrize("kind", KINDS)
def test_training_gives_the_same_bytes_in_any_process(kind, trained):
    code = (
        "import sys, json; from bertsmith.text.tokenizer import Tokenizer;"
        "kind, texts = json.load(sys.stdin); print(Tokenizer.train(kind, texts).digest)"
    )
    digests = {trained[kind, False].digest}
    for seed in "01":
        env = {
            **os.environ,
            "PYTHONHASHSEED": seed,
            "PYTHONPATH": str(Path(bertsmith.__file__).parents[1]),
            "RAYON_NUM_THREADS": seed + "1",
        }
        out = subprocess.run(
            [sys.executable, "-c", code], input=json.dumps([kind, TEXTS]), env=env, capture_output=True, text=True
        )
        assert out.returncode == 0, out.stderr
        digests.add(out.stdout.strip())
    assert len(digests) == 1


def test_unigram_ids_are_those_of_sentencepiece(monkeypatch):
    import sentencepiece

    kept = {}
    real = sentencepiece.SentencePieceTrainer.train
    monkeypatch.setattr(
        sentencepiece.SentencePieceTrainer,
        "train",
        lambda **k: (real(**k), kept.update(model=k["model_writer"].getvalue())),
    )
    tokenizer = Tokenizer.train("unigram:200", TEXTS)
    theirs = sentencepiece.SentencePieceProcessor(model_proto=kept["model"])
    for text in [*TEXTS, "unseen wörds ☃☃ here", "½ … №"]:
        clean = " ".join(tokenizer.backend.normalizer.normalize_str(text).split())
        assert tokenizer.encode([text])[0][0].tolist() == theirs.encode(clean)


def test_wordpiece_is_berts():
    tokenizer = load.bert({t: i for i, t in enumerate([*SPECIALS, "un", "##aff", "##able", "a"])}, lowercase=True)
    assert tokenizer.encode("Unaffable ä", add_special_tokens=False).tokens == ["un", "##aff", "##able", "a"]
    assert tokenizer.encode("a" * 201, add_special_tokens=False).tokens == ["[UNK]"]


def test_extended_words_are_whole_words_after_the_others(trained):
    for (kind, _), tokenizer in trained.items():
        if kind.startswith(("unigram", "char")):  # test_extend.py says why
            continue
        more = tokenizer.extend(["zyzzyva", "zyzzyvb", "zyzzyva"])
        each = 2 if kind.startswith(("bpe:", "byte")) else 1  # with the space before it, and without
        assert (
            more.size == tokenizer.size + 2 * each
            and more.token(tokenizer.size) == "zyzzyva"
            and more.digest != tokenizer.digest
        )
        text = "the zyzzyva jumps, zyzzyvas jump"
        ids, starts = more.encode([text])[0]
        assert (ids == tokenizer.size + each - 1).sum() == 1 and starts[ids == tokenizer.size + each - 1].all()
        assert starts.sum() == 6
        assert more.decode(ids).split()[:2] == ["the", "zyzzyva"]
        assert tokenizer.size not in tokenizer.encode([text])[0][0]
    with pytest.raises(InputError, match="new word 2"):
        tokenizer.extend(["a", "b c"])


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("wordpeice:8000", "wordpiece"),
        ("bpe:x", "bpe:N"),
        ("bpe", "bpe:N"),
        ("unigram:-3", "unigram:N"),
        ("bpe:260", "261"),
        ("wordpiece:5", "special"),
        ("wordpiece:12", "a vocabulary of 12 cannot spell .* need [0-9]+"),
        ("bpe-char:12", "a vocabulary of 12 cannot spell"),
        ("unigram:12", "unigram:12"),
    ],
)
def test_kinds_that_cannot_be_are_refused(kind, says):
    with pytest.raises(InputError, match=says) as caught:
        Tokenizer.train(kind, TEXTS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_no_text_is_refused(kind):
    with pytest.raises(InputError, match=r"no text|no visible"):
        Tokenizer.train(kind, ["", "  \n"])


GOOD = [*SPECIALS, "a", "##a"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "vocab.txt: is empty"),
        ("\n".join([*SPECIALS, "a", "b", "a"]), "vocab.txt:8: 'a' stands on line 6"),
        ("\n".join(["[PAD]", "[CLS]", "[SEP]", "a"]), "none of them \\[UNK\\] or \\[MASK\\]"),
        ("\n".join([*SPECIALS, "", "a"]), "vocab.txt:6: blank line"),
        ("a", "1 line, none of them"),
        ("\n".join(SPECIALS), "all of them special"),
        (b"[PAD]\n\xff\n", "vocab.txt:2: not UTF-8"),
    ],
)
def test_bad_vocab_files_are_refused_with_file_and_line(tmp_path, content, says):
    (tmp_path / "vocab.txt").write_bytes(content if isinstance(content, bytes) else content.encode())
    for path in (tmp_path, tmp_path / "vocab.txt"):
        with pytest.raises(InputError, match=says) as caught:
            Tokenizer.load(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_vocab_files_load_whatever_their_line_ends(tmp_path, ending):
    (tmp_path / "vocab.txt").write_bytes((ending.join(GOOD) + ending).encode())
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.size == 7 and tokenizer.encode(["AAA"])[0][0].tolist() == [5, 6, 6]
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert Tokenizer.load(tmp_path).encode(["AAA"])[0][0].tolist() == [1]


def damaged(change):
    tree = json.loads(Tokenizer.train("wordpiece:100", ["aaa bbb aaa"]).backend.to_str())
    change(tree)
    return json.dumps(tree)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (lambda: "{", "not JSON"),
        (lambda: "[" * 100_000, "not JSON"),
        (lambda: "[]", "not an object"),
        (lambda: "{}", "model.type: None"),
        (lambda: damaged(lambda t: t["model"].update(type="Nonsense")), "model.type: 'Nonsense'"),
        (lambda: damaged(lambda t: t["model"].update(vocab=[1])), "model.vocab"),
        (lambda: damaged(lambda t: t["model"]["vocab"].update(z=99)), "id [0-9]+ is missing"),
        (lambda: damaged(lambda t: t["model"]["vocab"].update(z=-1)), "'z'.*-1 is not an id"),
        (lambda: damaged(lambda t: t["model"]["vocab"].update(z=2**33)), "is not an id"),
        (lambda: damaged(lambda t: t["model"]["vocab"].update(z=1.5)), "is not an id"),
        (lambda: damaged(lambda t: t["model"]["vocab"].update(z=1)), "id 1 is given to"),
        (
            lambda: damaged(lambda t: t["added_tokens"].append({**t["added_tokens"][0], "content": "", "id": 9})),
            "added_tokens\\[5\\].content: is empty",
        ),
        (
            lambda: damaged(lambda t: t["added_tokens"].append({**t["added_tokens"][0], "content": "[X]", "id": 500})),
            "\\[X\\]' has id 500",
        ),
        (lambda: damaged(lambda t: t["added_tokens"][4].update(id=7)), "added_tokens\\[4\\].id: 7"),
        (lambda: damaged(lambda t: t.update(normalizer={"type": "Nope"})), "tokenizer.json: "),
        (lambda: json.dumps({"model": {"type": "Unigram", "unk_id": 7, "vocab": [["a", 0.0], ["b", 0.0]]}}), "unk_id"),
        (lambda: json.dumps({"model": {"type": "WordPiece", "vocab": {"a": 0}}}), "1 token;"),
    ],
)
def test_bad_tokenizer_json_is_refused_in_one_line(tmp_path, text, says):
    (tmp_path / "tokenizer.json").write_text(text())
    with pytest.raises(InputError, match=says) as caught:
        Tokenizer.load(tmp_path)
    assert "\n" not in str(caught.value) and "tokenizer.json" in str(caught.value)


def test_roles_go_by_name_and_names_are_kept(tmp_path, trained):
    text = trained["bpe:400", False].backend.to_str()
    names = {"[PAD]": "<pad>", "[UNK]": "<unk>", "[CLS]": "<s>", "[SEP]": "</s>", "[MASK]": "<blank>"}
    for old, new in names.items():
        text = text.replace(json.dumps(old), json.dumps(new))
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(InputError, match="no mask token"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"mask_token": {"content": "<none>"}}')
    with pytest.raises(InputError, match="mask_token: '<none>' is not in the vocabulary"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"mask_token": {"content": "<blank>"}}')
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.mask_token == "<blank>" and tokenizer.token(tokenizer.vocab.cls) == "<s>"
    assert [p.name for p in tokenizer.save(tmp_path / "again")] == ["tokenizer.json", "special_tokens_map.json"]
    assert Tokenizer.load(tmp_path / "again").roles == tokenizer.roles
    assert tokenizer.vocab.mask not in tokenizer.encode(["a <blank> b"])[0][0]


def test_missing_files_and_impossible_text_are_input_errors(tmp_path, trained):
    for path in (tmp_path, tmp_path / "none", tmp_path / "none.json"):
        with pytest.raises(InputError):
            Tokenizer.load(path)
    for tokenizer in trained.values():
        assert tokenizer.encode([]) == [] and len(tokenizer.encode([""])[0][0]) == 0
        with pytest.raises(InputError, match="lone surrogate"):
            tokenizer.encode(["a\ud800"])
        with pytest.raises(InputError, match="outside the vocabulary"):
            tokenizer.token(tokenizer.size)


@pytest.mark.parametrize("name", ["en_wiki", "zh_wiki"])
@pytest.mark.parametrize("kind", ["wordpiece:3000", "bpe:3000", "unigram:3000"])
def test_real_text_has_the_starts_that_offsets_give(name, kind):
    path = DATA / name / f"{name}.txt.xz"
    if not path.is_file():
        pytest.skip(f"{name} is not beside this repository")
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        texts = [line.strip() for _, line in zip(range(600), lines, strict=False) if line.strip()]
    tokenizer = Tokenizer.train(kind, texts)
    for text, (ids, starts) in zip(texts, tokenizer.encode(texts), strict=True):
        wanted, begun = reference(tokenizer, text)
        assert ids.tolist() == wanted and starts.tolist() == begun
