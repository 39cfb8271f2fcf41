"""Tokenizer training: WordPiece, byte-level BPE, character BPE, Unigram, whole words, characters, bytes.  A function of text and options, in any process.

The `tokenizers` trainers number an alphabet with affixes (##a, a</w>) in hash order and break ties between merges by those
numbers, so the alphabet is numbered here, sorted, before training; what remains is exact counting.
Unigram sums floats per thread, so `sentencepiece` always gets the same number of threads.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from bertsmith.errors import InputError, nearest, printable
from bertsmith.spelling import amount, option
from bertsmith.text import likelihood
from bertsmith.text.categories import normalize
from bertsmith.text.normal import BLANK_IN_PIECES, Rules, bytes_of_words, check_accents, cut
from bertsmith.text.paragraph_words import Words, spaced
from bertsmith.text.whole import UNLIMITED, bytes_alone, characters, words_or_characters
from bertsmith.text.words import INVISIBLE, classes, code_points

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # ids 0..4 of everything trained here
KINDS = (
    "wordpiece",
    "bpe",
    "bpe-char",
    "unigram",
    "wordpiece-likelihood",
    "wordpiece-gain",
    "words",
    "words-char",
    "char",
    "byte",
)
FEWEST = 5  # times that a word stands in the text that it is an entry of a list of words for: word2vec's min-count
FORMS = ("char", "char:N", "byte")  # what may be written of kinds that need no size
BY_WORDS = ("words", "words-char")  # kinds whose tokens are words
LONGEST_WORD = 200  # BERT's max_input_chars_per_word; longer words are [UNK]
COVERAGE, LEAST_COVERAGE = 0.9999, 0.99  # share of the text's characters that the alphabet holds: wanted, and accepted
THREADS = 4  # of sentencepiece; fixed, because its sums depend on it


def written() -> list[str]:
    """What a kind that is trained may be written as."""
    return [*(f"{name}:N" for name in KINDS if name not in FORMS), *FORMS]


def parse(kind: str) -> tuple[str, int]:
    """ "wordpiece:8000" -> ("wordpiece", 8000); "char" and "byte" have as many entries as it takes: 0."""
    name, _, number = kind.partition(":")
    if name not in KINDS:
        raise InputError(f"tokenizer {printable(kind)!r}: no kind {printable(name)!r}; {nearest(name, KINDS)}")
    if kind in FORMS:
        return name, 0
    if name == "byte":
        raise InputError(f"tokenizer {printable(kind)!r}: bytes are 256, and their tokenizer is called byte")
    if not (number.isascii() and number.isdigit()) or not 0 < len(number) < 9:
        raise InputError(
            f"tokenizer {printable(kind)!r}: expected {name}:N with N the vocabulary size, such as {name}:8000"
        )
    if int(number) <= len(SPECIALS):
        raise InputError(
            f"tokenizer {kind!r}: {amount(len(SPECIALS), 'entry', 'entries')} are special tokens; N must be larger"
        )
    return name, int(number)


def train(
    kind: str,
    texts: Iterable[str],
    lowercase: bool = False,
    told: dict[str, int] | None = None,
    words: Words | None = None,
    **rules,
) -> Tokenizer:
    """A trained backend with [PAD] [UNK] [CLS] [SEP] [MASK] as ids 0..4 and BERT's template as post-processor.

    `rules`: strip_accents, normalise, language (normal.Rules).  `told` is given the count of what was cut for training alone.  `words`: what a
    list of whole words takes for one; None: the rule, in scripts without blanks a segmenter's.
    """
    name, size = parse(kind)
    rule = Rules(lowercase=lowercase, **rules)
    texts = [text for text in texts if text and not text.isspace()]
    if not texts:
        raise InputError(f"tokenizer {kind!r}: there is no text to train on")
    if rule.strip_accents:
        check_accents(texts)
    told = {} if told is None else told
    texts, told["cut_words"] = cut(texts)
    if name in BY_WORDS:
        texts = _parted(texts, words or Words(rule.language))
    return _joined(_TRAINERS[name](texts, size, rule))


def _joined(backend: Tokenizer) -> Tokenizer:
    """With the special tokens, and BERT's template round a text and between two."""
    backend.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in SPECIALS])
    cls, sep = SPECIALS.index("[CLS]"), SPECIALS.index("[SEP]")
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", cls), ("[SEP]", sep)],
    )
    return backend


def bert(
    vocab: dict[str, int], lowercase: bool, longest: int = LONGEST_WORD, accents: bool | None = None, han: bool = True
) -> Tokenizer:
    """BERT's own pipeline round a WordPiece vocabulary.  `accents`: whether they are stripped (None: as `lowercase`); `han`: set apart."""
    backend = _wordpieces(vocab, longest)
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=han,
        strip_accents=lowercase if accents is None else accents,
        lowercase=lowercase,
    )
    return backend


def _wordpieces(vocab: dict[str, int], longest: int = LONGEST_WORD) -> Tokenizer:
    backend = Tokenizer(
        models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=longest, continuing_subword_prefix="##")
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    return backend


def _by_our_rules(rules: Rules) -> normalizers.Normalizer:
    """Ours, then what BERT does besides: white space, Han set apart, invisible characters gone."""
    rest = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=False, lowercase=False)
    return normalizers.Sequence([*rules.steps(), rest])


def _wordpiece(texts: list[str], size: int, rules: Rules) -> Tokenizer:
    """Merges by pair count, as `tokenizers` does it; by likelihood: `_by_likelihood`."""
    backend = _wordpieces({"[UNK]": 0})
    backend.normalizer = _by_our_rules(rules)
    alphabet, tokens = _alphabet(backend, texts, size, rules, lambda c, alone: [c] if alone else [c, "##" + c])
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        min_frequency=2,
        special_tokens=[*SPECIALS, *tokens],
        continuing_subword_prefix="##",
        **_fixed(alphabet),
    )
    backend.train_from_iterator(texts, trainer)
    made = _wordpieces(json.loads(backend.to_str())["model"]["vocab"])
    made.normalizer = backend.normalizer
    return made


def _characters(texts: list[str], size: int, rules: Rules) -> Tokenizer:
    """BPE over characters with an end-of-word mark (Sennrich et al. 2016), on BERT's words, as the first GPT had it."""
    shape = {"unk_token": "[UNK]", "end_of_word_suffix": "</w>"}
    backend = _marked(models.BPE(**shape), rules)
    alphabet, tokens = _alphabet(backend, texts, size, rules, lambda c, alone: [c, c + "</w>"])
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        special_tokens=[*SPECIALS, *tokens],
        end_of_word_suffix="</w>",
        **_fixed(alphabet),
    )
    backend.train_from_iterator(texts, trainer)
    model = json.loads(backend.to_str())["model"]
    merges = [tuple(merge) for merge in model["merges"]]
    return _marked(models.BPE(model["vocab"], merges, **shape), rules)


def _marked(model: models.BPE, rules: Rules) -> Tokenizer:
    backend = Tokenizer(model)
    backend.normalizer = _by_our_rules(rules)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.BPEDecoder(suffix="</w>")
    return backend


def _bytes(texts: list[str], size: int, rules: Rules) -> Tokenizer:
    """Byte-level BPE as RoBERTa's; a space before the first word, so that a word has one form wherever it stands."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    if size < len(SPECIALS) + len(alphabet):
        raise InputError(f"tokenizer 'bpe:{size}': {len(SPECIALS)} specials and 256 bytes need N of at least 261")
    backend = Tokenizer(models.BPE())
    backend.normalizer = normalizers.Sequence(rules.steps())
    backend.pre_tokenizer = bytes_of_words()
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, min_frequency=2, special_tokens=list(SPECIALS), initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(texts, trainer)
    return backend


def _unigram(texts: list[str], size: int, rules: Rules) -> Tokenizer:
    """SentencePiece's Unigram.  NFKC is done by `tokenizers`, before both training and use, so that one table serves both;
    on normalised text the ids are those of the SentencePiece model."""
    import sentencepiece

    backend = Tokenizer(models.Unigram())
    blank = normalizers.Replace(Regex(BLANK_IN_PIECES), " ")
    backend.normalizer = normalizers.Sequence([blank, *rules.steps("nfkc")])
    clean = [line for t in texts if (line := " ".join(backend.normalizer.normalize_str(t.replace("\0", " ")).split()))]
    written = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(clean),
            model_writer=written,
            model_type="unigram",
            vocab_size=size,
            hard_vocab_limit=False,
            normalization_rule_name="identity",
            max_sentence_length=max(len(line.encode()) for line in clean) + 1 if clean else 1,
            num_threads=THREADS,
            pad_id=0,
            unk_id=1,
            bos_id=-1,
            eos_id=-1,
            pad_piece=SPECIALS[0],
            unk_piece=SPECIALS[1],
            control_symbols=list(SPECIALS[2:]),
            minloglevel=3,
        )
    except (RuntimeError, OSError) as error:
        raise InputError(
            f"tokenizer 'unigram:{size}': {printable(error)}; {option('tokenizer', 'bpe:N')} reads any text"
        ) from None
    pieces = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    scored = [(pieces.id_to_piece(i), settled(pieces.get_score(i))) for i in range(pieces.get_piece_size())]
    backend.model = models.Unigram(scored, unk_id=1, byte_fallback=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    backend.decoder = decoders.Metaspace(prepend_scheme="always")
    return backend


def _by_likelihood(by: likelihood.By, texts: list[str], size: int, rules: Rules) -> Tokenizer:
    """Merges by what they do to the likelihood of the text (likelihood.py), on the words and the alphabet of `_wordpiece`."""
    backend = _wordpieces({"[UNK]": 0})
    backend.normalizer = _by_our_rules(rules)
    _, tokens = _alphabet(backend, texts, size, rules, lambda c, alone: [c] if alone else [c, "##" + c])
    pieces = [*SPECIALS, *tokens]
    pieces += likelihood.learned(_words(backend, texts), tokens, size - len(pieces), by)
    made = _wordpieces({piece: i for i, piece in enumerate(pieces)})
    made.normalizer = backend.normalizer
    return made


def _words(backend: Tokenizer, texts: list[str]) -> Counter[str]:
    """How often each of the tokenizer's words stands in the texts; what stands between two blanks is looked at once."""
    chunks: Counter[str] = Counter()
    for text in texts:
        chunks.update(text.split())
    found: Counter[str] = Counter()
    for chunk, times in chunks.items():
        for word, _ in backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(chunk)):
            if len(word) <= LONGEST_WORD:
                found[word] += times
    return found


def of_words(words: list[str], lowercase: bool) -> Tokenizer:
    """A list of words that stands somewhere already, behind the special tokens."""
    return _joined(_word_level({word: i for i, word in enumerate([*SPECIALS, *words])}, Rules(lowercase=lowercase)))


def _word_level(entries: dict[str, int], rules: Rules) -> Tokenizer:
    backend = Tokenizer(models.WordLevel(entries, unk_token="[UNK]"))
    rest = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    backend.normalizer = normalizers.Sequence([*rules.steps(), rest])
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return backend


def _whole(texts: list[str], size: int, rules: Rules) -> Tokenizer:
    """The commonest words, whole; all others are [UNK].  They part where BERT's do, but Han is not set apart: where a script has no blanks, the
    words are what `words` or a segmenter says (paragraph_words.spaced)."""
    backend = _word_level({"[UNK]": 0}, rules)
    trainer = trainers.WordLevelTrainer(
        vocab_size=size, min_frequency=FEWEST, special_tokens=list(SPECIALS), show_progress=False
    )
    backend.train_from_iterator(texts, trainer)
    if backend.get_vocab_size() <= len(SPECIALS):
        raise InputError(
            f"tokenizer 'words:{size}': no word stands in the text {FEWEST} times; prepare more text, or {option('tokenizer', 'wordpiece:N')}"
        )
    return backend


def _whole_or_spelt(texts: list[str], size: int, rules: Rules) -> Tokenizer:
    """The same, but that others are spelled; the characters of the text have their entries first."""
    reads = words_or_characters([], [], SPECIALS, rules)
    kept, _ = _alphabet(reads, texts, size, rules, lambda c, alone: [c], beside=len(SPECIALS) + 1)
    listed = _whole(texts, max(len(SPECIALS) + 1, size - 1 - len(kept)), rules).get_vocab()
    words = sorted(listed.keys() - set(SPECIALS), key=listed.__getitem__)
    return words_or_characters(words, kept, SPECIALS, rules)


def _parted(texts: list[str], words: Words) -> list[str]:
    """Texts whose words have a blank between them in all scripts."""
    parts, marks, _ = words([[text] for text in texts])
    return [
        text if mark is None else spaced(text, np.frombuffer(mark, bool))[0]
        for (text,), mark in zip(parts, marks, strict=True)
    ]


def _spelt(texts: list[str], size: int, rules: Rules) -> Tokenizer:
    """The commonest characters of the text that fit beside the special tokens and the space; all of them where no size is asked for."""
    reads = characters([], SPECIALS, rules)
    coverage, beside = COVERAGE if size else 1.0, len(SPECIALS) + 1
    kept, _ = _alphabet(reads, texts, size or UNLIMITED, rules, lambda c, alone: [c], coverage, beside)
    return characters(kept, SPECIALS, rules)


def settled(score: float) -> float:
    """A score that survives JSON: the Rust parser is exact up to 15 digits only, and a digest must outlive save and load."""
    return round(score, 10)


def _fixed(alphabet: list[str]) -> dict:
    """Trainer options under which exactly these characters are kept."""
    return {"initial_alphabet": alphabet, "limit_alphabet": len(alphabet), "show_progress": False}


def _alphabet(
    backend: Tokenizer,
    texts: list[str],
    size: int,
    rules: Rules,
    forms,
    coverage: float = COVERAGE,
    beside: int = len(SPECIALS),
) -> tuple[list[str], list[str]]:
    """The characters kept and the vocabulary entries that spell them: `forms(character, stands alone)`.

    The most frequent characters that make up `coverage` of the text, fewer (down to 99 %) where the vocabulary, with what stands `beside` them,
    is too small.
    A character is followed by its form inside words unless BERT's rules always set it apart (punctuation, Han).
    """
    counts = np.zeros(0x110000, np.int64)
    for i in range(0, len(texts), 1024):
        text = "\n".join(texts[i : i + 1024])
        points = code_points(normalize(rules.form(), text) if rules.form() else text)
        values, times = np.unique(points, return_counts=True)
        counts[values] += times
    total: dict[str, int] = {}
    for point in np.flatnonzero(counts).tolist():
        for c in backend.normalizer.normalize_str(chr(point)):
            if classes()[ord(c)] >= INVISIBLE and not c.isspace():
                total[c] = total.get(c, 0) + int(counts[point])
    ranked = sorted(total, key=lambda c: (-total[c], c))
    if not ranked:
        raise InputError("tokenizer: the text holds no visible character to train on")
    spelt = {c: forms(c, _stands_alone(backend, c)) for c in ranked}
    share = np.cumsum([total[c] for c in ranked]) / sum(total.values())
    entries = beside + np.cumsum([len(spelt[c]) for c in ranked])
    wanted = int(np.searchsorted(share, coverage)) + 1
    fits = int(np.searchsorted(entries, size, side="right"))
    keep = min(wanted, fits, len(ranked))
    if keep == 0 or share[keep - 1] < min(LEAST_COVERAGE, share[-1]):
        least = int(entries[min(int(np.searchsorted(share, LEAST_COVERAGE)), len(ranked) - 1)])
        raise InputError(
            f"tokenizer: a vocabulary of {size} cannot spell this text: it has {amount(len(ranked), 'character')}, "
            f"and special tokens and the commonest characters (99 % of the text) need {least}; ask for more than that"
        )
    kept = sorted(ranked[:keep])
    return kept, sorted((form for c in kept for form in spelt[c]), key=lambda form: (len(form), form))


def _stands_alone(backend: Tokenizer, c: str) -> bool:
    text = backend.normalizer.normalize_str(f"a{c}a")
    return len(backend.pre_tokenizer.pre_tokenize_str(text)) > 1


_TRAINERS: dict[str, Callable[[list[str], int, Rules], Tokenizer]] = {
    "wordpiece": _wordpiece,
    "wordpiece-likelihood": partial(_by_likelihood, "ratio"),
    "wordpiece-gain": partial(_by_likelihood, "gain"),
    "bpe": _bytes,
    "bpe-char": _characters,
    "unigram": _unigram,
    "words": _whole,
    "words-char": _whole_or_spelt,
    "char": _spelt,
    "byte": lambda texts, size, rules: bytes_alone(SPECIALS, rules),
}
