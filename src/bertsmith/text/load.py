"""Tokenizers of others: tokenizer.json, vocab.txt, vocab.json with merges.txt, SentencePiece models, a Hugging Face folder.  Checked in
Python before the Rust code sees them.

What comes back is a backend and its roles: which token is pad, unk, cls, sep and mask, by name ("<s>", "</s>", "<mask>").  Ids run
without gaps: one that a tokenizer.json gives to no token is [unused0…] here, which no text becomes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend

from bertsmith.data.batch import SENTINEL
from bertsmith.errors import InputError, ResourceError, printable
from bertsmith.spelling import amount, an
from bertsmith.text import owners, published
from bertsmith.text.categories import category, lower
from bertsmith.text.forms import inward
from bertsmith.text.train import SPECIALS, bert, settled

ROLES = ("pad", "unk", "cls", "sep", "mask")
_NAMES = {  # where no file says: the names that published models use
    "pad": ("[PAD]", "<pad>"),
    "unk": ("[UNK]", "<unk>"),
    "cls": ("[CLS]", "<s>", "<cls>"),
    "sep": ("[SEP]", "</s>", "<sep>"),
    "mask": ("[MASK]", "<mask>"),
}
UNKNOWN = _NAMES["unk"]
END = "<|endoftext|>"  # GPT-2's, in folders whose tokenizer_config.json names none
LONGEST_WORD_THERE = 100  # characters; BERT's own code has 200
TOKENIZER, VOCAB, BPE_VOCAB, MERGES = "tokenizer.json", "vocab.txt", "vocab.json", "merges.txt"
# What a folder may hold, the fullest first; the last are SentencePiece's.
FILES = (TOKENIZER, VOCAB, BPE_VOCAB, "spiece.model", "sentencepiece.bpe.model", "tokenizer.model", "spm.model")
_GAP = re.compile(r"\[unused0(\d+)\]")
_MODELS = ("BPE", "Unigram", "WordPiece", "WordLevel")


def load(
    path: str | Path, lowercase: bool | None = None, roles: Mapping[str, str] | None = None
) -> tuple[Backend, dict[str, str]]:
    """The backend and its roles.  `lowercase` concerns vocab.txt alone, which does not say; None: as tokenizer_config.json
    beside it says, else whether the vocabulary has no capitals."""
    path = Path(path)
    if path.is_dir():
        found = [path / name for name in FILES if (path / name).is_file()]
        if not found:
            raise InputError(
                f"{printable(path)}: no tokenizer.json and no vocab.txt in this folder, nor any of {', '.join(FILES[2:])}; {published.WAY}"
            )
        path = found[0]
    settings = settings_of(path.parent)
    owners.check(path, settings)
    if path.name == MERGES or path.name == BPE_VOCAB:
        backend = _merged(path.parent, settings)
    elif path.suffix == ".json":
        backend = parsed(_read(path), printable(path))
    elif path.suffix == ".model":
        backend = published.sentencepiece(_bytes(path), {**_model_type(path.parent), **settings}, printable(path))
    else:
        vocab = _vocab(path)
        if lowercase is None:
            lowercase = settings.get("do_lower_case")
        if not isinstance(lowercase, bool):
            lowercase = not any(map(_cased, vocab))
        backend = bert(vocab, lowercase, **_pipeline(settings))
        backend.add_special_tokens(list(SPECIALS))
    if path.name != TOKENIZER:
        _add(backend, path.parent, settings)
    settings |= {f"{k}_token": v for k, v in (roles or {}).items()}
    found = _roles(backend, settings, printable(path), _alone(backend, settings, path.parent))
    own = getattr(backend.model, "unk_token", None)
    if own and own != found["unk"] and backend.token_to_id(own) is not None:
        raise InputError(
            f"{printable(path)}: unk_token: {printable(repr(found['unk']))}, but what it does not know becomes {printable(repr(own))}"
        )
    return backend, found


def _cased(token: str) -> bool:
    """Whether it holds a capital letter: one that has a small one.  Names in brackets ([CLS], <S>) are no words."""
    if token[0] + token[-1] in ("[]", "<>"):
        return False
    return any(category(c) in ("Lu", "Lt") and lower(c) != c for c in token)


def _merged(folder: Path, settings: Mapping[str, Any]) -> Backend:
    """vocab.json and merges.txt."""
    where, merges = printable(folder / BPE_VOCAB), folder / MERGES
    ids = _json(_read(folder / BPE_VOCAB), where)
    if not merges.is_file():
        raise InputError(f"{where}: no merges.txt beside it, without which a BPE cannot be read; {published.WAY}")
    for token, i in ids.items():
        _id(i, f"{where}: {printable(token)!r}")
    _contiguous(ids, where)
    read = published.of_characters if owners.marks_nothing(folder, settings) else published.byte_level
    return read(ids, _read(merges), settings, printable(folder))


def _model_type(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    return {"model_type": _json(_read(path), printable(path)).get("model_type")} if path.is_file() else {}


def _add(backend: Backend, folder: Path, settings: Mapping[str, Any]) -> None:
    """Tokens that stand beside a vocabulary: added_tokens.json, and added_tokens_decoder of tokenizer_config.json."""
    path, found = folder / "added_tokens.json", {}
    if path.is_file():
        for token, i in _json(_read(path), printable(path)).items():
            _id(i, f"{printable(path)}: {printable(token)!r}")
            found[i] = AddedToken(token, normalized=False)
    listed, where = settings.get("added_tokens_decoder"), f"{printable(folder)}: added_tokens_decoder"
    for i, said in (listed if isinstance(listed, dict) else {}).items():
        if not i.isdecimal() or not isinstance(said, dict) or not isinstance(said.get("content"), str):
            raise InputError(f"{where}: {printable(i)}: expected an id and a token")
        flags = {name: said.get(name) is True for name in ("lstrip", "rstrip", "single_word", "normalized", "special")}
        found[int(i)] = AddedToken(said["content"], **flags)
    for i, token in sorted(found.items()):
        if token.content and backend.token_to_id(token.content) is None:
            backend.add_tokens([token])
        if backend.token_to_id(token.content) != i:
            raise InputError(
                f"{printable(folder)}: added token {printable(token.content)!r}: id {i} there, {backend.token_to_id(token.content)} once loaded"
            )


def _pipeline(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What tokenizer_config.json says beside vocab.txt; a folder that has one means transformers' limit for a word, too."""
    options = {"accents": settings.get("strip_accents"), "han": settings.get("tokenize_chinese_chars")}
    options = {name: value for name, value in options.items() if isinstance(value, bool)}
    return {**options, **({"longest": LONGEST_WORD_THERE} if settings else {})}


def parsed(text: str, where: str) -> Backend:
    """The backend of a tokenizer.json.  Raises InputError naming the field."""
    tree = _json(text, where)
    model = tree.get("model")
    kind = model.get("type") if isinstance(model, dict) else None
    if kind not in _MODELS:
        raise InputError(
            f"{where}: model.type: {printable(repr(kind), 60)} is not a tokenizer model; known: {', '.join(_MODELS)}"
        )
    ids = _model_ids(model, where)
    added = tree.get("added_tokens")
    if added is not None and not isinstance(added, list):
        raise InputError(f"{where}: added_tokens: is not a list of tokens")
    for n, token in enumerate(added if added is not None else []):
        field = f"{where}: added_tokens[{n}]"
        if not isinstance(token, dict) or not isinstance(token.get("content"), str):
            raise InputError(f"{field}.content: is not a string")
        if not token["content"]:
            raise InputError(f"{field}.content: is empty; an added token needs at least one character")
        _id(token.get("id"), f"{field}.id")
        if ids.setdefault(token["content"], token["id"]) != token["id"]:
            raise InputError(
                f"{field}.id: {token['id']}, but {printable(token['content'])!r} is {ids[token['content']]} in model.vocab"
            )
    gaps = _contiguous(ids, where)
    stored = inward(tree)
    if kind == "Unigram":
        model["vocab"] = [[piece, settled(score)] for piece, score in model["vocab"]]
    if gaps:
        ids |= _fill(model, gaps)
    if gaps or kind == "Unigram" or stored is not tree:
        text = json.dumps({**stored, "model": model})
    try:
        backend = Backend.from_str(text)
    except BaseException as error:  # the Rust code's PanicException is no Exception
        raise refused(error, where) from None
    backend.no_padding()
    backend.no_truncation()
    wrong = next((token for token, i in ids.items() if backend.token_to_id(token) != i), None)
    if wrong is not None:
        raise InputError(
            f"{where}: {printable(wrong)!r}: id {ids[wrong]} in the file, {backend.token_to_id(wrong)} once loaded"
        )
    return backend


def refused(error: BaseException, where: str) -> BaseException:
    """What to raise for an error of the Rust library: InputError, unless it was not about its input."""
    if isinstance(error, (KeyboardInterrupt, SystemExit, MemoryError, InputError)):
        return error
    return InputError(f"{where}: {printable(error)}")


def _model_ids(model: dict[str, Any], where: str) -> dict[str, int]:
    vocab = model.get("vocab")
    if model["type"] == "Unigram":
        if not isinstance(vocab, list) or not all(
            isinstance(e, list) and len(e) == 2 and isinstance(e[0], str) and isinstance(e[1], (int, float))
            for e in vocab
        ):
            raise InputError(f"{where}: model.vocab: is not a list of [piece, score]")
        ids: dict[str, int] = {}
        for i, (piece, _) in enumerate(vocab):
            if ids.setdefault(piece, i) != i:
                raise InputError(f"{where}: model.vocab[{i}]: {printable(piece)!r} stands at {ids[piece]} already")
        unk = model.get("unk_id")
        if unk is not None and not (isinstance(unk, int) and 0 <= unk < len(vocab)):
            raise InputError(f"{where}: model.unk_id: {printable(unk)} is outside the {amount(len(vocab), 'piece')}")
        return ids
    if not isinstance(vocab, dict):
        raise InputError(f"{where}: model.vocab: is not an object of token: id")
    for token, i in vocab.items():
        _id(i, f"{where}: model.vocab[{printable(token)!r}]")
    return dict(vocab)


def _id(i: Any, field: str) -> None:
    if not isinstance(i, int) or isinstance(i, bool) or not 0 <= i < 2**31:
        raise InputError(f"{field}: {printable(repr(i), 60)} is not an id; ids are integers from 0")


def _fill(model: dict[str, Any], gaps: list[int]) -> dict[str, int]:
    """Names for ids that are no token's, in the model's vocabulary; in Unigram's with a score that leaves that of [UNK] as it is."""
    names = {f"[unused0{i}]": i for i in gaps}
    if isinstance(model["vocab"], list):
        least = min(score for _, score in model["vocab"])
        model["vocab"] += [[name, least] for name in names]
    else:
        model["vocab"] |= names
    return names


def gaps(backend: Backend) -> int:
    """How many ids are no token's."""
    return sum(
        found is not None and int(found[1]) == i
        for name, i in backend.get_vocab().items()
        if (found := _GAP.fullmatch(name))
    )


def _contiguous(ids: dict[str, int], where: str) -> list[int]:
    """The ids that are no token's.  InputError where there are more of them than tokens, or two tokens of one id."""
    if len(ids) < 2:
        raise InputError(
            f"{where}: {amount(len(ids), 'token')}; a vocabulary needs the five special tokens and some text"
        )
    by_id: dict[int, str] = {}
    for token, i in ids.items():
        if by_id.setdefault(i, token) != token:
            raise InputError(
                f"{where}: id {i} is given to {printable(by_id[i])!r} and to {printable(token)!r}; ids are unique"
            )
    missing = max(by_id) + 1 - len(by_id)
    if missing > len(by_id):
        gap = next(i for i in range(len(by_id)) if i not in by_id)
        worst = max(by_id)
        raise InputError(
            f"{where}: id {gap} is missing, {printable(by_id[worst])!r} has id {worst} of {amount(len(by_id), 'token')}; ids must run from 0, with fewer gaps than tokens"
        )
    return [i for i in range(max(by_id)) if i not in by_id]


def _vocab(path: Path) -> dict[str, int]:
    text = _read(path)
    where = printable(path)
    lines = text.removesuffix("\n").split("\n") if text else []  # other white space, U+2028 as well, may be a token
    if not lines:
        raise InputError(f"{where}: is empty; a vocabulary has one token per line")
    vocab: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        token = line.removesuffix("\r")
        if not token.strip(" \t\r\v\f"):
            raise InputError(
                f"{where}:{number}: blank line; a vocabulary has one token per line and its id is the line's number"
            )
        if token in vocab:
            raise InputError(
                f"{where}:{number}: {printable(token)!r} stands on line {vocab[token] + 1} already; tokens are unique"
            )
        vocab[token] = number - 1
    missing = [name for name in SPECIALS if name not in vocab]
    if missing:
        raise InputError(
            f"{where}: {amount(len(vocab), 'line')}, none of them {' or '.join(missing)}; BERT's vocabulary holds {' '.join(SPECIALS)}"
        )
    if len(vocab) == len(SPECIALS):
        raise InputError(
            f"{where}: {amount(len(vocab), 'line')}, all of them special tokens; nothing is left to write text with"
        )
    return vocab


def settings_of(folder: Path) -> dict[str, Any]:
    """tokenizer_config.json over special_tokens_map.json; only strings and booleans are looked at, nothing names code."""
    settings: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            settings |= _json(_read(folder / name), printable(folder / name))
    return settings


def _roles(backend: Backend, settings: dict[str, Any], where: str, alone: str | None) -> dict[str, str]:
    roles = {}
    for role in ROLES:
        named = _named(settings, role)
        if isinstance(named, str):
            if backend.token_to_id(named) is None:
                raise InputError(
                    f"{where}: {role}_token: {printable(named)!r} is not in the vocabulary of {amount(backend.get_vocab_size(), 'token')}"
                )
            roles[role] = named
            continue
        known = [name for name in _NAMES[role] if backend.token_to_id(name) is not None]
        if not known and alone is not None:
            known = [alone]
        if not known and role in ("cls", "mask") and backend.token_to_id(SENTINEL.format(0)) is not None:
            # T5's: a text has an end and no beginning, and sentinels stand where words are hidden.
            known = [name for name in _NAMES["sep"] if backend.token_to_id(name) is not None]
        if not known:
            ends = role == "cls" and any(backend.token_to_id(name) is not None for name in _NAMES["sep"])
            t5 = (
                f", nor sentinels ({SENTINEL.format(0)}, {SENTINEL.format(1)}, …), with which a T5's does without"
                * ends
            )
            raise InputError(
                f"{where}: no {role} token: neither {' nor '.join(_NAMES[role])} is in the vocabulary{t5}; "
                f'name it in tokenizer_config.json beside it ("{role}_token": "…")'
            )
        roles[role] = known[0]
    return roles


def _named(settings: Mapping[str, Any], role: str) -> Any:
    named = settings.get(f"{role}_token")
    return named.get("content") if isinstance(named, dict) else named


def _alone(backend: Backend, settings: Mapping[str, Any], folder: Path) -> str | None:
    """The one special token of a language model's tokenizer that has no other, which takes every role: GPT-2's ends a text, GPT's is for what
    it does not know.  Members that hide words or read at [CLS] are refused such a tokenizer (data/text.py)."""
    for role in ("cls", "sep", "mask"):
        if _named(settings, role) is not None or any(backend.token_to_id(name) is not None for name in _NAMES[role]):
            return None
    named = _named(settings, "eos")
    end = named if isinstance(named, str) else END
    known = (end, *(UNKNOWN if owners.marks_nothing(folder, settings) else ()))
    return next((name for name in known if backend.token_to_id(name) is not None), None)


def well_known(backend: Backend, roles: Mapping[str, str]) -> bool:
    """Whether the vocabulary alone tells the roles."""
    return all(next((n for n in _NAMES[r] if backend.token_to_id(n) is not None), None) == roles[r] for r in ROLES)


def _json(text: str, where: str) -> dict[str, Any]:
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not JSON: {printable(error)}") from None
    if not isinstance(tree, dict):
        raise InputError(f"{where}: holds {an(type(tree).__name__)}, not an object")
    return tree


def _read(path: Path) -> str:
    data = _bytes(path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if published.is_sentencepiece(data):
            raise InputError(
                f"{printable(path)}: a model of SentencePiece; under a name that ends in .model it is read as one"
            ) from None
        line = data[: error.start].count(b"\n") + 1
        raise InputError(
            f"{printable(path)}:{line}: not UTF-8 (byte 0x{data[error.start]:02x} at {error.start})"
        ) from None


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise InputError(
            f"{printable(path)}: no such file; expected vocab.txt, tokenizer.json, or a folder that holds one"
        ) from None
    except OSError as error:
        raise ResourceError(f"{printable(path)}: {error.strerror}") from None
