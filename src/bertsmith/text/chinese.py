"""Traditional to simplified characters, or back, by OpenCC's tables (extra `zh-convert`), as a rule of a tokenizer.

Character by character, so that the rule stands in tokenizer.json and every later text is read alike: to simplified that is what OpenCC's
phrases give but for 1 character in 1,000 that change (乾隆); to traditional, where one character has several forms (发: 發, 髮), 3 in 100 take
the commonest.  On a million characters of the Chinese Wikipedia.
"""

from __future__ import annotations

import io
import tempfile
from functools import cache
from pathlib import Path

from tokenizers import normalizers

from bertsmith.errors import InputError, nearest
from bertsmith.spelling import option
from bertsmith.text.segment import HAN

SCRIPTS = {"simplified": "t2s", "traditional": "s2t"}  # by OpenCC's names


def check(script: str) -> None:
    """InputError for a script that there is not, or without OpenCC."""
    if script not in SCRIPTS:
        raise InputError(f"{option('chinese')}: no script {script!r}; {nearest(str(script), SCRIPTS)}")
    try:
        import opencc  # noqa: F401
    except ImportError:
        raise InputError(f"{option('chinese')}: needs OpenCC; pip install 'bertsmith[zh-convert]'") from None


@cache
def table(script: str) -> dict[int, str]:
    """code point -> another character, for those that change; each alone, so that no phrase decides."""
    from opencc import OpenCC

    han = [chr(point) for first, last in HAN for point in range(first, last + 1)]
    changed = OpenCC(SCRIPTS[script]).convert("\n".join(han)).split("\n")
    return {ord(c): other for c, other in zip(han, changed, strict=True) if c != other and len(other) == 1}


def converted(text: str, script: str) -> str:
    """As the rule has it; of the same length."""
    return text.translate(table(script))


@cache
def normalizer(script: str) -> normalizers.Normalizer:
    """The table as a `Precompiled` normaliser, SentencePiece's form of one (a trie over UTF-8)."""
    import sentencepiece

    from bertsmith.text.published import pieces_of

    written = io.BytesIO()
    with tempfile.TemporaryDirectory(prefix="bertsmith-") as folder:
        rules = Path(folder) / "rules.tsv"
        rules.write_text("".join(f"{point:X}\t{ord(c):X}\n" for point, c in sorted(table(script).items())))
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["a b c d e f"]),
            model_writer=written,
            vocab_size=16,
            hard_vocab_limit=False,
            normalization_rule_tsv=str(rules),
            num_threads=1,
            minloglevel=3,
        )
    return normalizers.Precompiled(pieces_of(written.getvalue()).charsmap)
