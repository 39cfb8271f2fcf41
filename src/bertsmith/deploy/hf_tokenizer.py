"""A tokenizer as transformers opens it: tokenizer.json and tokenizer_config.json, giving the ids that our own encoding gives.

`tokenizer_class` must be PreTrainedTokenizerFast: with BertTokenizer, or with nothing, transformers 5 builds normaliser and
pre-tokeniser from the class's defaults and drops those of tokenizer.json, so that a cased vocabulary comes back lower-cased.
"""

from __future__ import annotations

import json
from typing import Any

from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend

from bertsmith.text.tokenizer import Tokenizer


def hf_tokenizer(tokenizer: Tokenizer, segments: int, length: int) -> dict[str, bytes]:
    """{file name: content} for a model with `segments` segments that reads `length` tokens, special ones included."""
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": length,
        "model_input_names": ["input_ids", *(["token_type_ids"] if segments else []), "attention_mask"],
        "padding_side": "right",
        "clean_up_tokenization_spaces": False,
        **{f"{role}_token": name for role, name in tokenizer.roles.items()},
    }
    return {
        "tokenizer.json": _backend(tokenizer, segments).to_str(pretty=True).encode() + b"\n",
        "tokenizer_config.json": json.dumps(config, indent=2, ensure_ascii=False).encode() + b"\n",
    }


def _backend(tokenizer: Tokenizer, segments: int) -> Backend:
    """The same ids for plain text; special tokens are matched where they are written, and set round a text as our models saw them."""
    backend = Backend.from_str(tokenizer.backend.to_str())
    known = {token.content for token in backend.get_added_tokens_decoder().values()}
    roles = [name for name in tokenizer.roles.values() if name not in known]
    backend.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in roles])
    tree = json.loads(backend.to_str())
    if _space_counts(tokenizer):  # a mask takes the space before it, as in `fill`
        for token in tree["added_tokens"]:
            token["lstrip"] |= token["content"] == tokenizer.mask_token
    if not _as_ours(backend, tokenizer, segments):
        tree["post_processor"] = _template(tokenizer, segments)
    return Backend.from_str(json.dumps(tree))


def _space_counts(tokenizer: Tokenizer) -> bool:
    """Whether white space at the end of a text becomes a token."""
    (bare, _), (spaced, _) = tokenizer.encode(["a", "a "])
    return len(bare) != len(spaced)


def _as_ours(backend: Backend, tokenizer: Tokenizer, segments: int) -> bool:
    """Whether the tokenizer's own post-processor does what `tasks.sequences.encode` does, for one text and for two."""
    vocab, a = tokenizer.vocab, tokenizer.encode(["a"])[0][0].tolist()
    one, two = backend.encode("a"), backend.encode("a", "a")
    first, second = [vocab.cls, *a, vocab.sep], [*([] if segments else [vocab.sep]), *a, vocab.sep]
    types = [0] * len(first) + [1 if segments else 0] * len(second)
    return one.ids == first and two.ids == first + second and (not segments or two.type_ids == types)


def _template(tokenizer: Tokenizer, segments: int) -> dict[str, Any]:
    """[CLS] A [SEP] B [SEP]; without segments [CLS] A [SEP] [SEP] B [SEP]."""
    cls, sep = tokenizer.roles["cls"], tokenizer.roles["sep"]
    other = 1 if segments else 0
    special = lambda name, type_id=0: {"SpecialToken": {"id": name, "type_id": type_id}}
    single = [special(cls), {"Sequence": {"id": "A", "type_id": 0}}, special(sep)]
    second = [{"Sequence": {"id": "B", "type_id": other}}, special(sep, other)]
    ids = {cls: tokenizer.vocab.cls, sep: tokenizer.vocab.sep}
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, *([] if segments else [special(sep)]), *second],
        "special_tokens": {name: {"id": name, "ids": [i], "tokens": [name]} for name, i in ids.items()},
    }
