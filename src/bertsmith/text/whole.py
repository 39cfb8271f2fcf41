"""Tokenizers without merges: a token is a character or a byte, in the words' own order, or a word, and characters where there is none.

The first two keep the space as a token of its own and put one before the first word, as their relatives with merges do (`unigram`, `bpe`), so that a
word has one form wherever it stands.  What spells a text is all that there is to learn; sequences are four to six times as long in scripts
with letters.
"""

from __future__ import annotations

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from bertsmith.text.normal import BLANK_IN_PIECES, Rules, bytes_of_words
from bertsmith.text.starts import BYTES

SPACE_TOKEN = "▁"  # SentencePiece's
UNLIMITED = 0x110000  # characters: all that Unicode has


def characters(kept: list[str], special: tuple[str, ...], rules: Rules) -> Tokenizer:
    """One token for each of the characters `kept`, and one for the space between words (`sentencepiece --model_type=char`); others are
    [UNK], each for itself."""
    names = [*special, SPACE_TOKEN, *kept]
    backend = Tokenizer(models.BPE({name: i for i, name in enumerate(names)}, [], unk_token="[UNK]"))
    blank = normalizers.Replace(Regex(BLANK_IN_PIECES), " ")  # a literal ▁ is no space
    backend.normalizer = normalizers.Sequence([blank, *rules.steps()])
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    backend.decoder = decoders.Metaspace(prepend_scheme="always")
    return backend


def words_or_characters(words: list[str], kept: list[str], special: tuple[str, ...], rules: Rules) -> Tokenizer:
    """A token for each of `words`; any other word is ▁ and its characters, one of `kept` each (Wu et al. 2016, section 4.2).

    They part where those of a list of words do (train._word_level).  Nothing is merged: a word is looked up as a whole, and else spelled.
    """
    names = [*special, SPACE_TOKEN, *kept, *(SPACE_TOKEN + word for word in words)]
    backend = Tokenizer(
        models.BPE({name: i for i, name in enumerate(names)}, [], unk_token="[UNK]", ignore_merges=True)
    )
    rest = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    blank = normalizers.Replace(Regex(BLANK_IN_PIECES), " ")
    backend.normalizer = normalizers.Sequence([blank, *rules.steps(), rest])
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Metaspace(prepend_scheme="always", split=False)]
    )
    backend.decoder = decoders.Metaspace(prepend_scheme="always")
    return backend


def bytes_alone(special: tuple[str, ...], rules: Rules) -> Tokenizer:
    """The 256 bytes in their order behind the special tokens (ByT5, Xue et al. 2022, table 1); nothing is unknown."""
    names = [*special, *sorted(BYTES, key=BYTES.__getitem__)]
    backend = Tokenizer(models.BPE({name: i for i, name in enumerate(names)}, []))
    backend.normalizer = normalizers.Sequence(rules.steps())
    backend.pre_tokenizer = bytes_of_words()
    backend.decoder = decoders.ByteLevel()
    return backend
