"""Tokenizers without merges: a token is a character or a byte, in the words' own order.

Both keep the space as a token of its own and put one before the first word, as their relatives with merges do (`unigram`, `bpe`), so that a
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


def bytes_alone(special: tuple[str, ...], rules: Rules) -> Tokenizer:
    """The 256 bytes in their order behind the special tokens (ByT5, Xue et al. 2022, table 1); nothing is unknown."""
    names = [*special, *sorted(BYTES, key=BYTES.__getitem__)]
    backend = Tokenizer(models.BPE({name: i for i, name in enumerate(names)}, []))
    backend.normalizer = normalizers.Sequence(rules.steps())
    backend.pre_tokenizer = bytes_of_words()
    backend.decoder = decoders.ByteLevel()
    return backend
