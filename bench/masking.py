"""What masking achieves: rate, 80/10/10 and words split, beside the masking collator of transformers on the same sequences.

    python bench/masking.py CORPUS [--language zh] [--sequences 10000] [--out bench/results/masking-en.json]

One store is prepared for each tokenizer (WordPiece, byte-level BPE, Unigram); rows are printed as a table.
"""

import argparse
import json
import lzma
import tempfile
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from bertsmith.data.batch import IGNORE, Row
from bertsmith.data.draw import Draw
from bertsmith.data.rewrite import InPlace
from bertsmith.data.select import Tokens, Words
from bertsmith.recipe import Corruption
from bertsmith.text.prepare import prepare
from bertsmith.text.store import Store

KINDS = ("wordpiece:8000", "bpe:8000", "unigram:8000")
COLUMNS = ("tokenizer", "masking", "who", "rate", "mask", "random", "kept", "words_split", "sequences_unasked")


def figures(row: Row, asked: np.ndarray, seen: np.ndarray, mask: int) -> dict[str, float]:
    """Shares over `asked` tokens (n,) bool; `words_split`: of the words touched, how many are asked only in part."""
    word = np.cumsum(row.starts | row.special) - 1
    size = np.bincount(word)
    hidden = np.bincount(word, weights=asked, minlength=len(size))
    touched = hidden > 0
    per_sequence = np.add.reduceat(asked, row.offsets[:-1])
    changed, masked = seen != row.tokens, seen == mask
    return {
        "rate": float(asked.sum() / len(asked)),
        "mask": float(masked[asked].mean()),
        "random": float((changed & ~masked)[asked].mean()),
        "kept": float((~changed)[asked].mean()),
        "words_split": float((hidden[touched] < size[touched]).mean()),
        "sequences_unasked": float((per_sequence == 0).mean()),
    }


def ours(row: Row, store: Store, select) -> dict[str, float]:
    batch = Corruption(select=select, rewrite=InPlace())(row, store.vocab, Draw(0))
    asked = np.zeros(len(row.tokens), bool)
    asked[batch.targets["token"].at[:, 0]] = True
    return figures(row, asked, batch.input.tokens, store.vocab.mask)


def theirs(row: Row, store: Store, offsets: list[tuple[int, int]], whole: bool) -> dict[str, float]:
    from transformers import DataCollatorForLanguageModeling, PreTrainedTokenizerFast

    names = {
        f"{role}_token": store.tokenizer.token(getattr(store.vocab, role))
        for role in ("pad", "unk", "cls", "sep", "mask")
    }
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=store.tokenizer.backend, **names)
    collate = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15, whole_word_mask=whole, seed=0)
    asked, seen = np.zeros(len(row.tokens), bool), row.tokens.astype(np.int64)
    for start, end in zip(row.offsets[:-1], row.offsets[1:], strict=True):
        special = row.special[start:end].astype(int).tolist()
        example = {"input_ids": row.tokens[start:end].tolist(), "special_tokens_mask": special}
        if whole:  # its words are runs of touching offsets
            example["offset_mapping"] = offsets[start:end]
        got = collate([example])
        asked[start:end] = (got["labels"][0] != -100).numpy()
        seen[start:end] = got["input_ids"][0].numpy()
    return figures(row, asked, seen, store.vocab.mask)


def read(corpus: str, sequences: int) -> list[str]:
    """Paragraphs of at least 200 characters."""
    opened = lzma.open(corpus, "rt", encoding="utf-8") if corpus.endswith(".xz") else open(corpus, encoding="utf-8")
    with opened as file:
        return list(islice((line.strip() for line in file if len(line) > 200), sequences))


def encode(texts: list[str], store: Store, longest: int = 126) -> tuple[Row, list[tuple[int, int]]]:
    """[CLS] text [SEP] for each text, cut at `longest` tokens, and the offsets as the tokenizer gives them."""
    pieces, offsets = [], []
    for text, (ids, starts) in zip(texts, store.tokenizer.encode(texts), strict=True):
        pieces.append((ids[:longest], starts[:longest]))
        offsets += [(0, 0), *store.tokenizer.backend.encode(text, add_special_tokens=False).offsets[:longest], (0, 0)]
    lengths = np.array([len(ids) + 2 for ids, _ in pieces])
    edge = np.array([True])
    special = np.concatenate([x for ids, _ in pieces for x in (edge, np.zeros(len(ids), bool), edge)])
    count = len(pieces)
    row = Row(
        tokens=np.concatenate([x for ids, _ in pieces for x in ([store.vocab.cls], ids, [store.vocab.sep])]).astype(
            np.int32
        ),
        segments=np.zeros(len(special), np.uint8),
        starts=np.concatenate([x for _, starts in pieces for x in (~edge, starts, ~edge)]),
        special=special,
        sentences=np.zeros(len(special), bool),
        lengths=lengths,
        labels=np.full(count, IGNORE),
        epoch=np.zeros(count, np.int64),
        example=np.arange(count),
    )
    return row, offsets


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("corpus")
    arguments.add_argument("--language", default="en")
    arguments.add_argument("--sequences", type=int, default=10_000)
    arguments.add_argument("--peer", type=int, default=2_000, help="sequences that the collator gets; it is slow")
    arguments.add_argument("--out", type=Path)
    given = arguments.parse_args()
    torch.manual_seed(0)
    texts = read(given.corpus, given.sequences)
    table = []
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            prepare([given.corpus], f"{folder}/store", tokenizer=kind, language=given.language, tokenizer_sample="10MB")
            store = Store.open(f"{folder}/store")
            row, _ = encode(texts, store)
            part, offsets = encode(texts[: given.peer], store)
            for name, select in (("token", Tokens(rate=0.15)), ("whole word", Words(rate=0.15))):
                whole = name == "whole word"
                for who, found in (
                    ("bertsmith", ours(row, store, select)),
                    ("transformers", theirs(part, store, offsets, whole)),
                ):
                    table.append({"tokenizer": kind, "masking": name, "who": who, **found})
                    print(
                        "  ".join(
                            f"{table[-1][c]:.4f}" if isinstance(table[-1][c], float) else f"{table[-1][c]:14}"
                            for c in COLUMNS
                        ),
                        flush=True,
                    )
    if given.out:
        given.out.write_text(json.dumps({"corpus": given.corpus.rsplit("/", 1)[-1], "rows": table}, indent=1) + "\n")


if __name__ == "__main__":
    main()
