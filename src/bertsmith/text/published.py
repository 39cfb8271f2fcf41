"""Tokenizer files that models were published with before tokenizer.json: vocab.json with merges.txt (BPE over bytes, or GPT's over
characters), and models of SentencePiece (Unigram, BPE).  Each becomes a backend of the `tokenizers` library that gives the same ids.

A SentencePiece model does not say what its owner puts round it (ids moved to make room, accents stripped): tokenizer_class or model_type do.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Backend

from bertsmith.data.batch import SENTINEL
from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount
from bertsmith.text.train import settled

ENDS = "</w>"  # what the last piece of a word ends with, in GPT's
WAY = (
    "where you trust it, AutoTokenizer.from_pretrained(folder).save_pretrained(folder) of transformers writes a "
    "tokenizer.json, which is read"
)


def byte_level(vocab: dict[str, int], merges: str, settings: Mapping[str, Any], where: str) -> Backend:
    """RoBERTa's: `vocab` is vocab.json, `merges` the text of merges.txt.  InputError for a BPE that is not over bytes."""
    pairs = _pairs(merges, where)
    alphabet, marked = set(pre_tokenizers.ByteLevel.alphabet()), sum(right.endswith(ENDS) for _, right in pairs)
    if marked > 0.1 * len(pairs) or not pairs or not all(alphabet.issuperset(left + right) for left, right in pairs):
        strange = next((f"{a} {b}" for a, b in pairs if b.endswith(ENDS) or not alphabet.issuperset(a + b)), "none")
        named = 'if it is GPT\'s, name "tokenizer_class": "OpenAIGPTTokenizer" in tokenizer_config.json beside it; '
        raise InputError(
            f"{where}: not a BPE over bytes (its merges: {printable(strange, 40)!r}); {named if marked else ''}{WAY}"
        )
    try:
        backend = Backend(models.BPE(vocab, pairs, fuse_unk=False))
    except BaseException as error:  # the Rust code's PanicException is no Exception
        raise _refused(error, where) from None
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=settings.get("add_prefix_space") is True)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(
        [AddedToken(name, normalized=False, special=True, lstrip=name == "<mask>") for name in vocab if _marks(name)]
    )
    return backend


def of_characters(vocab: dict[str, int], merges: str, settings: Mapping[str, Any], where: str) -> Backend:
    """GPT's (Radford et al. 2018): characters of small letters, the last of a word with </w> behind it; words as BERT parts them.

    That is what transformers' OpenAIGPTTokenizer does.  The released code mends text with ftfy and parts words with spaCy, in their versions
    of 2018; no file tells what these did.  InputError for merges of which none ends a word, and without a token for what is not known.
    """
    pairs = _pairs(merges, where)
    if not any(right.endswith(ENDS) for _, right in pairs):
        raise InputError(f"{where}: merges.txt: no piece ends with {ENDS}, as those of GPT's words do; {WAY}")
    named = settings.get("unk_token")
    named = named.get("content") if isinstance(named, dict) else named
    unknown = named if isinstance(named, str) else "<unk>"
    if unknown not in vocab:
        raise InputError(f"{where}: vocab.json: no {printable(unknown)}, which what is not known becomes")
    try:
        backend = Backend(models.BPE(vocab, pairs, unk_token=unknown, end_of_word_suffix=ENDS, fuse_unk=False))
    except BaseException as error:
        raise _refused(error, where) from None
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.BertPreTokenizer(), decoders.BPEDecoder(suffix=ENDS)
    backend.add_special_tokens([AddedToken(unknown, normalized=False, special=True)])
    return backend


def _pairs(merges: str, where: str) -> list[tuple[str, str]]:
    """The lines of merges.txt.  InputError for one that is not two pieces."""
    pairs = []
    for number, line in enumerate(merges.split("\n"), 1):
        line = line.removesuffix("\r")
        if not line or (number == 1 and line.startswith("#version")):
            continue
        left, space, right = line.partition(" ")
        if not (left and space and right) or " " in right:
            raise InputError(
                f"{where}: merges.txt:{number}: {printable(line, 60)!r}: expected two pieces and a space between"
            )
        pairs.append((left, right))
    return pairs


def _marks(name: str) -> bool:
    """Names such as <s> and <mask>, which no merge makes."""
    return len(name) > 2 and name[0] == "<" and name[-1] == ">" and name[1:-1].strip("/").isalpha()


# -- SentencePiece --------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Owner:
    """What a family of models puts round a SentencePiece model."""

    front: tuple[str, ...] = ()  # its first ids, before the pieces from `skip` on; () : ids are those of the pieces
    skip: int = 0
    quotes: bool = False  # `` and '' become ", accents go unless `keep_accents`, "9," is two pieces
    lowercase: bool = False  # where `do_lower_case` is not said
    sentinels: int = 0  # behind the pieces, the first with the highest id, where `extra_ids` does not say how many


OWNERS = {
    "albert": Owner(quotes=True, lowercase=True),
    "xlnet": Owner(quotes=True),
    "xlmroberta": Owner(front=("<s>", "<pad>", "</s>", "<unk>"), skip=3),
    "t5": Owner(sentinels=100),
    "camembert": Owner(front=("<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED"), skip=1),
}
UNIGRAM, BPE = 1, 2  # kinds of model
UNKNOWN, CONTROL, USER, BYTE = 2, 3, 4, 6  # kinds of piece


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """What a SentencePiece model holds: (piece, score, kind) by id, the kind of model, its table of normalisation."""

    pieces: list[tuple[str, float, int]]
    kind: int
    charsmap: bytes
    prefix: bool  # a space before the first word
    trims: bool  # no spaces at the ends, one between words
    suffix: bool  # a space belongs to the word before it


def is_sentencepiece(data: bytes) -> bool:
    try:
        return data[:1] == b"\n" and len(pieces_of(data).pieces) > 2
    except (ValueError, IndexError, struct.error):
        return False


def sentencepiece(data: bytes, settings: Mapping[str, Any], where: str) -> Backend:
    """The backend of a SentencePiece model.  `settings`: tokenizer_config.json, and `model_type` of config.json.

    InputError for what is neither Unigram nor BPE, and for one without a mask whose owner is not named.
    """
    try:
        found = pieces_of(data)
        if len(found.pieces) < 3:
            raise ValueError
    except (ValueError, IndexError, struct.error):
        raise InputError(f"{where}: not a model of SentencePiece; {WAY}") from None
    if found.kind not in (UNIGRAM, BPE):
        raise InputError(f"{where}: a SentencePiece model of words or characters; those of Unigram and BPE are read")
    if found.suffix:
        raise InputError(
            f"{where}: treat_whitespace_as_suffix: a space belongs to the word before it, which no tokenizer.json can say; {WAY}"
        )
    owner = _owner(settings, found, where)
    pieces = found.pieces
    if owner.front:
        first = [
            (name, -100.0 if name == "<unk>NOTUSED" else 0.0, UNKNOWN if name == "<unk>" else CONTROL)
            for name in owner.front
        ]
        pieces = [*first, *pieces[owner.skip :], ("<mask>", 0.0, CONTROL)]
    if owner.sentinels:
        said = settings.get("extra_ids")
        count = said if type(said) is int and 0 <= said < 1 << 16 else owner.sentinels
        pieces = [*pieces, *((SENTINEL.format(i), 0.0, CONTROL) for i in reversed(range(count)))]
    if len({piece for piece, _, _ in pieces}) < len(pieces):
        raise InputError(f"{where}: a piece stands there twice; {WAY}")
    backend = Backend(_model(pieces, found.kind, owner, where))
    backend.normalizer = _normalizer(found, owner, settings)
    scheme = "always" if found.prefix else "never"
    space = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    # Without a prefix the spaces themselves become the pieces' ▁, and white space that is cut first would be lost.
    apart = found.prefix and found.trims
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), space]) if apart else space
    backend.decoder = decoders.Metaspace(prepend_scheme=scheme)
    names = {CONTROL: True, USER: False, UNKNOWN: True}  # special or not
    backend.add_tokens(
        [
            AddedToken(
                piece, normalized=False, special=names[kind] or _marks(piece), lstrip=piece in ("<mask>", "[MASK]")
            )
            for piece, _, kind in pieces
            if kind in names
        ]
    )
    return backend


def _owner(settings: Mapping[str, Any], found: Pieces, where: str) -> Owner:
    for said in (settings.get("tokenizer_class"), settings.get("model_type")):
        name = str(said).lower().replace("-", "").removesuffix("fast").removesuffix("tokenizer")
        if name in OWNERS:
            return OWNERS[name]
    if not {"[MASK]", "<mask>"} & {piece for piece, _, _ in found.pieces}:
        raise InputError(
            f"{where}: a SentencePiece model of {amount(len(found.pieces), 'piece')} without a mask, so that its ids are not the model's; name the "
            'tokenizer_class in tokenizer_config.json beside it ("XLMRobertaTokenizer", "CamembertTokenizer"), or: '
            + WAY
        )
    return Owner()


def _model(pieces: list[tuple[str, float, int]], kind: int, owner: Owner, where: str) -> Any:
    unknown = next((i for i, (_, _, what) in enumerate(pieces) if what == UNKNOWN), None)
    fallback = any(what == BYTE for _, _, what in pieces)
    try:
        if kind == UNIGRAM:
            apart = lambda piece: owner.quotes and len(piece) > 1 and piece[-1] == "," and piece[-2].isdigit()
            scored = [(piece, settled(score - (100 if apart(piece) else 0))) for piece, score, _ in pieces]
            return models.Unigram(scored, unk_id=unknown, byte_fallback=fallback)
        named = None if unknown is None else pieces[unknown][0]
        vocab = {piece: i for i, (piece, _, _) in enumerate(pieces)}
        return models.BPE(vocab, _merges(pieces, vocab), unk_token=named, fuse_unk=True, byte_fallback=fallback)
    except BaseException as error:
        raise _refused(error, where) from None


def _merges(pieces: list[tuple[str, float, int]], vocab: dict[str, int]) -> list[tuple[str, str]]:
    """The pairs that make each piece, best scores first: SentencePiece's order of merging."""
    made = []
    for piece, score, kind in pieces:
        if kind == 1:
            splits = ((piece[:i], piece[i:]) for i in range(1, len(piece)))
            made += [(-score, vocab[a], vocab[b], a, b) for a, b in splits if a in vocab and b in vocab]
    return [(a, b) for _, _, _, a, b in sorted(made)]


def _normalizer(found: Pieces, owner: Owner, settings: Mapping[str, Any]) -> Any:
    steps: list[Any] = []
    if owner.quotes:
        steps += [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
        if settings.get("keep_accents") is not True:
            steps += [normalizers.NFKD(), normalizers.StripAccents()]
        lower = settings.get("do_lower_case")
        steps += [normalizers.Lowercase()] if (lower if isinstance(lower, bool) else owner.lowercase) else []
    steps += [normalizers.Precompiled(found.charsmap)] if found.charsmap else []
    steps += [normalizers.Replace(Regex(" {2,}"), " ")] if owner.quotes or (found.trims and not found.prefix) else []
    steps += [normalizers.Strip()] if found.trims and not found.prefix else []
    return normalizers.Sequence(steps) if steps else None


def _refused(error: BaseException, where: str) -> BaseException:
    if isinstance(error, (KeyboardInterrupt, SystemExit, MemoryError)):
        return error
    return InputError(f"{where}: {printable(error)}")


# -- the file's own format: fields of (number, value), as protocol buffers write them (sentencepiece_model.proto) ---------------------------


def pieces_of(data: bytes) -> Pieces:
    pieces, trainer, normal = [], {}, {}
    for number, value in _fields(data):
        if number == 1:
            fields = dict(_fields(value))
            score = struct.unpack("<f", fields[2])[0] if 2 in fields else 0.0
            pieces.append((fields[1].decode(), score, fields.get(3, 1)))
        elif number == 2:
            trainer = dict(_fields(value))
        elif number == 3:
            normal = dict(_fields(value))
    return Pieces(
        pieces=pieces,
        kind=trainer.get(3, UNIGRAM),
        charsmap=normal.get(2, b""),
        prefix=bool(normal.get(3, 1)),
        trims=bool(normal.get(4, 1)),
        suffix=bool(trainer.get(24, 0)),
    )


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """(number, int or bytes).  ValueError or IndexError for what is cut or not of this format."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(data, at)
        elif kind in (1, 2, 5):
            size, at = (8, at) if kind == 1 else (4, at) if kind == 5 else _varint(data, at)
            value, at = data[at : at + size], at + size
            if at > len(data):
                raise ValueError("cut off")
        else:
            raise ValueError("not of this format")
        yield key >> 3, value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value, at, shift = value | (byte & 127) << shift, at + 1, shift + 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError("not of this format")
