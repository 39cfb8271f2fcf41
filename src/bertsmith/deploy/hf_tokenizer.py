"""A tokenizer as transformers opens it: tokenizer.json and tokenizer_config.json, giving the ids that our own encoding gives.

`tokenizer_class` must be PreTrainedTokenizerFast: with BertTokenizer, or with nothing, transformers 5 builds normaliser and
pre-tokeniser from the class's defaults and drops those of tokenizer.json, so that a cased vocabulary comes back lower-cased.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend

from bertsmith.tasks.sequences import Reading
from bertsmith.text.tokenizer import Tokenizer


def hf_tokenizer(tokenizer: Tokenizer, reading: Reading) -> dict[str, bytes]:
    """{file name: content} for a model that reads texts so.  Where [CLS] is last its padding is on the left, as XLNet's classifier needs it."""
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": reading.length,
        "model_input_names": ["input_ids", *(["token_type_ids"] if reading.segments else []), "attention_mask"],
        "padding_side": "right" if reading.lead else "left",
        "clean_up_tokenization_spaces": False,
        **{f"{role}_token": name for role, name in tokenizer.roles.items()},
    }
    return {
        "tokenizer.json": _backend(tokenizer, reading).to_str(pretty=True).encode() + b"\n",
        "tokenizer_config.json": json.dumps(config, indent=2, ensure_ascii=False).encode() + b"\n",
    }


def _backend(tokenizer: Tokenizer, reading: Reading) -> Backend:
    """The same ids for plain text; special tokens are matched where they are written, and set round a text as our models saw them."""
    backend = Backend.from_str(tokenizer.backend.to_str())
    known = {token.content for token in backend.get_added_tokens_decoder().values()}
    roles = [name for name in tokenizer.roles.values() if name not in known]
    backend.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in roles])
    tree = json.loads(backend.to_str())
    if _space_counts(tokenizer):  # a mask takes the space before it, as in `fill`
        for token in tree["added_tokens"]:
            token["lstrip"] |= token["content"] == tokenizer.mask_token
    if not _as_ours(backend, tokenizer, reading):
        tree["post_processor"] = _template(tokenizer, reading)
    return Backend.from_str(json.dumps(tree))


def _space_counts(tokenizer: Tokenizer) -> bool:
    """Whether white space at the end of a text becomes a token."""
    (bare, _), (spaced, _) = tokenizer.encode(["a", "a "])
    return len(bare) != len(spaced)


def _as_ours(backend: Backend, tokenizer: Tokenizer, reading: Reading) -> bool:
    """Whether the tokenizer's own post-processor does what `tasks.sequences` does, for one text and for two."""
    a = np.asarray(tokenizer.encode(["a"])[0][0], np.int32)
    for made, texts in ((backend.encode("a"), (a,)), (backend.encode("a", "a"), (a, a))):
        tokens, segments = reading.joined(tokenizer.vocab, *texts)
        if made.ids != tokens.tolist() or (reading.segments and made.type_ids != segments.tolist()):
            return False
    return True


def _template(tokenizer: Tokenizer, reading: Reading) -> dict[str, Any]:
    """[CLS] A [SEP] B [SEP], with two [SEP] between them where `reading` has two; or A [SEP] B [SEP] [CLS]."""
    cls, sep = tokenizer.roles["cls"], tokenizer.roles["sep"]
    other, last = (1, 2) if reading.told else (0, 0)
    special = lambda name, type_id=0: {"SpecialToken": {"id": name, "type_id": type_id}}
    text = lambda name, type_id=0: {"Sequence": {"id": name, "type_id": type_id}}
    second = [text("B", other), special(sep, other)]
    before, after = ([special(cls)], []) if reading.lead else ([], [special(cls, last)])
    ids = {cls: tokenizer.vocab.cls, sep: tokenizer.vocab.sep}
    return {
        "type": "TemplateProcessing",
        "single": [*before, text("A"), special(sep), *after],
        "pair": [*before, text("A"), *[special(sep)] * reading.between, *second, *after],
        "special_tokens": {name: {"id": name, "ids": [i], "tokens": [name]} for name, i in ids.items()},
    }
