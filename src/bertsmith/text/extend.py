"""More words for a tokenizer: tokens behind the present ones that stand for whole words.

The law: put back, for each new token, the pieces that the tokenizer cut its word into, and the ids of any text are what they were.  So a
text without the words keeps its ids, "coronary" too where "corona" is new, and what stands beside a new word is cut as before.
An entry of WordPiece's vocabulary would match inside of words; a new word is an added token there, matched where neither letter, mark,
digit nor underscore is beside it, in Chinese anywhere and the longest first.  (WordPiece does not part every sign: ² or ™ behind a new
word is cut as behind a blank.)  Byte-level BPE takes a word whole before it merges, with and without the space before it: two tokens.
What keeps the law on neither way is refused: Metaspace reads what stands behind an added token as the beginning of a text.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend

from bertsmith.errors import InputError, printable
from bertsmith.spelling import option
from bertsmith.text.categories import category
from bertsmith.text.starts import BYTES, flat, keeps_space
from bertsmith.text.words import UNSPACED, character_starts, classes, code_points

if TYPE_CHECKING:
    from bertsmith.text.tokenizer import Tokenizer

CHARACTER = {byte: character for character, byte in BYTES.items()}
SPACE = CHARACTER[ord(" ")]  # Ġ
AROUND = (
    "{}",
    "a {}",
    "{} a",
    "a {} a",
    "a {}, a",
    "a ({}) a.",
    '"{}"',
    "a. {}. A",
    "a\n{}\na",
    "{}: a",
    "a {}a a",
    "a a{} a",
)
LEAST = 2  # times that a chosen word stands in the text


def extended(tokenizer: Tokenizer, words: Iterable[str]) -> Backend:
    """The backend with `words` as well; those that are one token already, once normalised, are left out.

    InputError naming the word that cannot be one token here, or the tokenizer's rule that stands in the way of all.
    """
    words = list(words)
    for number, word in enumerate(words, 1):
        if not isinstance(word, str) or not word or any(c.isspace() for c in word):
            raise InputError(
                f"new word {number}: {printable(word)!r} is empty or holds white space; give one word each"
            )
        code_points(word)
        if tokenizer.backend.token_to_id(word) in tokenizer.vocab.special:
            raise InputError(f"new word {number}: {printable(word)!r} is a special token, which no text becomes")
    make = _whole if _takes_bytes(tokenizer.backend) else _beside
    if make is _beside and keeps_space(json.loads(tokenizer.backend.to_str())):
        raise InputError(
            "this tokenizer keeps the space with what follows (▁), and would read what stands behind a new word as the beginning of a "
            "text; go on with its own pieces, or take a model with WordPiece or byte-level BPE"
        )
    named = [f"new word {number}: {printable(word, 60)!r}" for number, word in enumerate(words, 1)]
    plain = [_normal(tokenizer.backend, word, name) for word, name in zip(words, named, strict=True)]
    return make(tokenizer, dict(zip(plain, named, strict=True)))


def new_tokens(base: Tokenizer, tokenizer: Tokenizer) -> dict[int, list[int]] | None:
    """{id of a new token: the ids that `base` gives its word}, {} where there is none; None unless `tokenizer` is `base` with more words.

    That it is, is found by adding them again."""
    if tokenizer.reading == base.reading:
        return {}
    names = [tokenizer.token(i) for i in range(base.size, tokenizer.size)]
    if not names:
        return None
    whole = _takes_bytes(base.backend)
    try:
        words = list(dict.fromkeys(_spelt(name) if whole else name for name in names))
        again = base.extend(words)
    except (InputError, KeyError, UnicodeDecodeError):
        return None
    if again.size != tokenizer.size or again.reading != tokenizer.reading:
        return None
    return {base.size + n: _pieces(base, name, whole) for n, name in enumerate(names)}


def commonest(tokenizer: Tokenizer, texts: Iterable[str], number: int) -> tuple[list[str], dict[str, int]]:
    """The `number` words that save most tokens of `texts`: count x (pieces - 1), so that the tokens per word fall fastest (the fragment
    score of Hong et al. 2021, AVocaDo).  Ties by the alphabet.  With it: the tokens of all words, and those that are saved.

    Words hold a letter, stand there twice or more, and none of their pieces is [UNK] (list those in a file)."""
    found: Counter[str] = Counter()
    for text in texts:
        cuts = np.flatnonzero(character_starts(text)).tolist()
        found.update(text[a:b].strip() for a, b in zip(cuts, [*cuts[1:], len(text)], strict=True))
    counts: Counter[str] = Counter()
    rule = tokenizer.backend.normalizer
    for word, count in found.items():
        counts["".join((rule.normalize_str(word) if rule else word).split())] += count
    counts.pop("", None)
    names = sorted(counts)
    pieces = [ids for ids, _ in tokenizer.encode([" " + word for word in names])]
    unknown = tokenizer.vocab.unk
    saved = {
        word: counts[word] * (len(ids) - 1)
        for word, ids in zip(names, pieces, strict=True)
        if len(ids) > 1 and counts[word] >= LEAST and unknown not in ids and any(category(c)[0] == "L" for c in word)
    }
    problem = _parted if _takes_bytes(tokenizer.backend) else _entered
    chosen: list[str] = []
    for word in sorted(saved, key=lambda word: (-saved[word], word)):
        if len(chosen) == number:
            break
        if not problem(tokenizer, word):
            chosen.append(word)
    said = {"sample_tokens": sum(counts[w] * len(ids) for w, ids in zip(names, pieces, strict=True))}
    return chosen, said | {"saved_tokens": sum(saved[word] for word in chosen)}


def fitting(tokenizer: Tokenizer, words: Iterable[str]) -> list[str]:
    """Those of `words` that could be tokens of their own and that the tokenizer's rule leaves as they are."""
    rule = tokenizer.backend.normalizer
    problem = _parted if _takes_bytes(tokenizer.backend) else _entered
    same = lambda word: word and not word.isspace() and (rule is None or rule.normalize_str(word).strip() == word)
    return [word for word in words if same(word) and len(word.split()) == 1 and not problem(tokenizer, word)]


def _normal(backend: Backend, word: str, name: str) -> str:
    """The word as the tokenizer's rule leaves it, without the blanks that BERT's puts around Chinese characters."""
    text = backend.normalizer.normalize_str(word) if backend.normalizer else word
    plain = "".join(text.split())
    again = backend.normalizer.normalize_str(plain) if backend.normalizer else plain
    if not plain or again.split() != text.split():
        raise InputError(f"{name}: the tokenizer's rule makes {printable(text, 60)!r} of it, which is not one word")
    return plain


def _takes_bytes(backend: Backend) -> bool:
    tree = json.loads(backend.to_str())
    steps = {step["type"] for step in flat(tree.get("pre_tokenizer"))}
    return tree["model"]["type"] == "BPE" and "ByteLevel" in steps


# -- byte-level: entries of the vocabulary, each the whole of what the model is given at once -------------------------------------------


def _whole(tokenizer: Tokenizer, words: Mapping[str, str]) -> Backend:
    tree = json.loads(tokenizer.backend.to_str())
    vocab, size = tree["model"]["vocab"], tokenizer.size
    for token in tree["added_tokens"]:  # their ids stay theirs if the vocabulary has them too
        vocab.setdefault(token["content"], token["id"])
    for word, name in words.items():
        if wrong := _parted(tokenizer, word):
            raise InputError(f"{name}: {wrong}")
        for entry in _entries(tokenizer, word):
            if len(tokenizer.backend.model.tokenize(entry)) > 1 and entry not in vocab:
                vocab[entry] = size
                size += 1
    if size == tokenizer.size:
        return Backend.from_str(tokenizer.backend.to_str())
    if not tree["model"].get("ignore_merges"):
        _check_reached(tokenizer.backend)
    tree["model"]["ignore_merges"] = True
    return _kept(tokenizer, Backend.from_str(json.dumps(tree)), words)


def _written(word: str) -> str:
    return "".join(CHARACTER[byte] for byte in word.encode())


def _entries(tokenizer: Tokenizer, word: str) -> list[str]:
    """What the model is given of the word behind a bracket and behind a blank; [] where it gets it in parts."""
    split, bare = tokenizer.backend.pre_tokenizer.pre_tokenize_str, _written(word)
    given = [{piece for piece, _ in split(text)} & {bare, SPACE + bare} for text in (f"({word}", f"a {word} a")]
    return sorted(given[0] | given[1], key=len) if all(given) else []


def _parted(tokenizer: Tokenizer, word: str) -> str:
    """Why the word cannot be an entry, or ""."""
    if _entries(tokenizer, word):
        return ""
    pieces = [piece for piece, _ in tokenizer.backend.pre_tokenizer.pre_tokenize_str(f"({word}")]
    cut = " | ".join(printable(bytes(BYTES[c] for c in piece).decode(errors="replace"), 40) for piece in pieces)
    return f"the tokenizer's rule cuts it or joins it before it looks for tokens ({cut} of {printable('(' + word, 40)}), so that none can hold it"


def _check_reached(backend: Backend) -> None:
    """InputError for an entry that a word is spelt like and never becomes: from now on it would."""
    for entry in backend.get_vocab():
        try:
            found = [token.id for token in backend.model.tokenize(entry)]
            text = bytes(BYTES[c] for c in entry).decode()
        except (KeyError, UnicodeDecodeError):  # part of a character, or a special token
            continue
        if found != [backend.token_to_id(entry)]:
            for before in ("", "a", "("):
                if entry in [piece for piece, _ in backend.pre_tokenizer.pre_tokenize_str(before + text)]:
                    raise InputError(
                        f"this tokenizer's entry {printable(entry)!r} is one that its merges never make of that word, and would "
                        "be once words are taken whole; its ids would not stay as they are"
                    )


def _spelt(name: str) -> str:
    """The word of a byte-level entry, without the space before it."""
    return bytes(BYTES[c] for c in name.removeprefix(SPACE)).decode()


# -- all others: added tokens, matched before the rest is cut ---------------------------------------------------------------------------


def _beside(tokenizer: Tokenizer, words: Mapping[str, str]) -> Backend:
    backend = Backend.from_str(tokenizer.backend.to_str())
    unknown, listed, added = tokenizer.vocab.unk, list(words), []
    for word, (ids, _) in zip(listed, tokenizer.encode(listed), strict=True):
        if len(ids) == 1 and ids[0] != unknown:
            continue
        if wrong := _entered(tokenizer, word):
            raise InputError(f"{words[word]}: {wrong}")
        added.append(AddedToken(word, single_word=not _without_blanks(word), normalized=True))
    backend.add_tokens(added)  # at once: each call looks at all that were added before
    return _kept(tokenizer, backend, words)


def _without_blanks(word: str) -> bool:
    return all(classes()[ord(c)] == UNSPACED for c in word)


def _entered(tokenizer: Tokenizer, word: str) -> str:
    """Why the word cannot be an added token, or ""."""
    if tokenizer.backend.token_to_id(word) is not None:
        return "is an entry of the vocabulary already, which no text becomes"
    if _without_blanks(word):
        text, backend = word[0] + word + word[0], tokenizer.backend
        normal = backend.normalizer.normalize_str(text) if backend.normalizer else text
        split = backend.pre_tokenizer.pre_tokenize_str(normal) if backend.pre_tokenizer else [(text, (0, 0))]
        if [piece for piece, _ in split] != list(text):
            return (
                "is of a script without blanks whose characters this tokenizer does not part, so that what stands beside a new word would "
                "be cut otherwise"
            )
    return ""


def _pieces(base: Tokenizer, name: str, whole: bool) -> list[int]:
    if whole:
        return [token.id for token in base.backend.model.tokenize(name)]
    return base.encode([name])[0][0].tolist()


# -- the law ------------------------------------------------------------------------------------------------------------------------------


def _kept(tokenizer: Tokenizer, backend: Backend, words: Mapping[str, str]) -> Backend:
    """`backend`.  InputError where it gives other ids than `tokenizer` once the pieces are put back, around each of the words."""
    from bertsmith.text.tokenizer import Tokenizer

    made, whole = Tokenizer(backend, tokenizer.roles, tokenizer.segmenter), _takes_bytes(backend)
    back = {i: _pieces(tokenizer, made.token(i), whole) for i in range(tokenizer.size, made.size)}
    texts = [text.format(word) for word in words for text in AROUND] if back else []
    for text, (ids, _), (before, _) in zip(texts, made.encode(texts), tokenizer.encode(texts), strict=True):
        if restored(ids.tolist(), back) != before.tolist():
            raise InputError(
                f"beside a new word this tokenizer would cut texts otherwise than now ({printable(text, 60)!r}), as those with ▁ do, which "
                f"read what stands behind a new word as the beginning of a text; {option('tokenizer')} of another kind, or fine-tune with its own pieces"
            )
    return backend


def restored(ids: Sequence[int], pieces: Mapping[int, Any]) -> list[int]:
    """The ids with the pieces of each new token in its place."""
    return [piece for i in ids for piece in pieces.get(i, (i,))]
