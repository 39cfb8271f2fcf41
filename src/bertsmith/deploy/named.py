"""Tokenizer classes that users call by name: whether they read an export as AutoTokenizer does.

transformers 5 builds them anew from the vocabulary and the class's own rules, of which tokenizer_config.json can choose some; what it
cannot choose (our rules for invisible characters, words of bytes with their marks, NFKC before pieces) is told, here and on the card.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Backend

from bertsmith.deploy.check import differing_ids, quiet
from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount
from bertsmith.tasks.reading import Reading
from bertsmith.text.tokenizer import Tokenizer

# By model_type; both spellings, where a release has both.
CLASSES = {
    "bert": ("BertTokenizer", "BertTokenizerFast"),
    "ernie": ("BertTokenizer", "BertTokenizerFast"),
    "distilbert": ("DistilBertTokenizer", "DistilBertTokenizerFast"),
    "mobilebert": ("MobileBertTokenizer", "MobileBertTokenizerFast"),
    "deberta-v2": ("DebertaV2Tokenizer", "DebertaV2TokenizerFast"),
    "electra": ("ElectraTokenizer", "ElectraTokenizerFast"),
    "roberta": ("RobertaTokenizer", "RobertaTokenizerFast"),
    "xlm-roberta": ("XLMRobertaTokenizer", "XLMRobertaTokenizerFast"),
    "camembert": ("CamembertTokenizer", "CamembertTokenizerFast"),
    "albert": ("AlbertTokenizer", "AlbertTokenizerFast"),
    "gpt2": ("GPT2Tokenizer", "GPT2TokenizerFast"),
    "openai-gpt": ("OpenAIGPTTokenizer", "OpenAIGPTTokenizerFast"),
    "bart": ("BartTokenizer", "BartTokenizerFast"),
    "t5": ("T5Tokenizer", "T5TokenizerFast"),
    "xlnet": ("XLNetTokenizer", "XLNetTokenizerFast"),
}


def by_name(
    transformers: Any, folder: Path, model_type: str, ours: Tokenizer, texts: Sequence[str], reading: Reading
) -> dict[str, int | str]:
    """{class: how many of the texts it gives other ids for, or why it does not open the folder}."""
    found: dict[str, int | str] = {}
    tried: dict[Any, str] = {}  # both spellings are one class in transformers 5
    for name in CLASSES.get(model_type, ()):
        made = getattr(transformers, name, None)
        if made is None:
            continue
        if made in tried:
            found[name] = found[tried[made]]
            continue
        tried[made] = name
        try:
            with quiet(transformers):
                opened = made.from_pretrained(folder, local_files_only=True)
                found[name] = len(differing_ids(opened, ours, texts, reading))
        except Exception as error:  # whatever its code makes of a vocabulary of another kind
            found[name] = printable(str(error).strip().partition("\n")[0], 120)
    return found


def check_backend(folder: Path, ours: Tokenizer, texts: Sequence[str], reading: Reading) -> None:
    """InputError where tokenizers.Tokenizer.from_file, which clients without transformers call, gives other ids."""
    backend = Backend.from_file(str(folder / "tokenizer.json"))
    backend.no_padding()
    backend.no_truncation()
    read = lambda batch: {"input_ids": [encoding.ids for encoding in backend.encode_batch(batch)]}
    wrong = differing_ids(read, ours, texts, reading)
    if wrong:
        shown = printable(repr(texts[wrong[0]]), 60)
        raise InputError(
            f"tokenizers.Tokenizer.from_file gives other ids for {len(wrong)} of {amount(len(texts), 'text')}: {shown}"
        )


def otherwise(found: dict[str, int | str], count: int) -> str | None:
    """The line that says which class to take; None where all read alike."""
    wrong = [name for name, apart in found.items() if apart]
    if not wrong:
        return None
    first = found[wrong[0]]
    what = (
        f"does not open it ({first})"
        if isinstance(first, str)
        else f"gives other ids for {first} of {amount(count, 'text')}"
    )
    also = "" if len(wrong) == 1 else f" (and {', '.join(wrong[1:])})"
    return f"open it with AutoTokenizer: {wrong[0]}{also} {what}"
