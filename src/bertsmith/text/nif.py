"""Linked text as RDF: the NLP Interchange Format (Hellmann et al. 2013) in Turtle, as N3, KORE 50 and GERBIL's sets are published.

A `nif:Context` holds a text; a mention says its places in characters, its context and, as `itsrdf:taIdentRef`, what it means.  Read are
statements of IRIs, prefixed names and literals; blank nodes and lists in brackets are not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any, NamedTuple
from urllib.parse import unquote

from bertsmith.errors import InputError, printable
from bertsmith.text.word_list import contents

ENDING = ".ttl"
TOKEN = re.compile(
    r"""
    (?P<space>\s+|\#[^\n]*)
  | <(?P<iri>[^<>"{}|^`\\\s]*)>
  | (?P<text>\"\"\"(?:[^"\\]|\\.|"(?!\"\"))*\"\"\"|"(?:[^"\\\n]|\\.)*")(?:\^\^(?:<[^>]*>|[\w.-]*:[\w.-]*)|@[A-Za-z-]+)?
  | (?P<prefix>@prefix|@base|PREFIX\b|BASE\b)
  | (?P<name>[A-Za-z][\w.-]*?:(?:[\w%-](?:[\w.%-]*[\w%-])?)?|:[\w-]+)
  | (?P<number>[+-]?[0-9]+)
  | (?P<word>a\b)
  | (?P<mark>[.;,])
    """,
    re.VERBOSE | re.DOTALL,
)
CONTEXT, BEGIN, END, STRING, MEANS = "referenceContext", "beginIndex", "endIndex", "isString", "taIdentRef"
READ = (CONTEXT, BEGIN, END, STRING, MEANS)
ESCAPES = re.compile(r"\\(u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|.)", re.DOTALL)
PLAIN = {"t": "\t", "b": "\b", "n": "\n", "r": "\r", "f": "\f"}


class Token(NamedTuple):
    kind: str
    value: str
    at: int  # of the file's characters


def is_at(path: str) -> bool:
    """By its name, compressed or not."""
    return ENDING in PurePath(path).suffixes[-2:]


def documents(path: str) -> list[dict[str, Any]]:
    """`{"text": ..., "links": [[begin, end, id], ...]}` for each text of a file, in its order, compressed or not; an id is what stands behind
    the last / or # of the IRI, `%26` as `&`.  InputError naming the line of what is no Turtle, or no place of a text."""
    try:
        turtle = contents(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{printable(path)}: byte {error.start}: not UTF-8") from None
    said = _statements(turtle, path)
    texts: dict[str, dict[str, Any]] = {
        of: {"text": facts[STRING], "links": []} for of, (facts, _) in said.items() if STRING in facts
    }
    for facts, at in said.values():
        if MEANS not in facts or CONTEXT not in facts:
            continue
        where = f"{printable(path)}:{_line(turtle, at)}"
        if facts[CONTEXT] not in texts:
            raise InputError(f"{where}: {printable(facts[CONTEXT], 80)}: a context that has no nif:isString here")
        found = texts[facts[CONTEXT]]
        begin, end = (facts.get(name, "") for name in (BEGIN, END))
        if not (begin.isdecimal() and end.isdecimal() and int(begin) < int(end) <= len(found["text"])):
            raise InputError(f"{where}: nif:beginIndex {begin}, nif:endIndex {end}: no part of its text")
        found["links"].append([int(begin), int(end), unquote(re.split("[/#]", facts[MEANS].rstrip("/#"))[-1])])
    if not texts:
        raise InputError(f"{printable(path)}: no nif:isString: linked text in NIF is wanted")
    for found in texts.values():
        found["links"].sort()
    return list(texts.values())


def jsonl(path: str) -> str:
    """The same as lines of JSON, which `prepare` reads as a corpus and as its links."""
    return "".join(f"{json.dumps(found, ensure_ascii=False)}\n" for found in documents(path))


def _statements(turtle: str, path: str) -> dict[str, tuple[dict[str, str], int]]:
    """{subject: (what is said of it by the last name of its predicate, where it begins)}."""
    found: dict[str, tuple[dict[str, str], int]] = {}
    tokens = _tokens(turtle, path)
    for token in tokens:
        if token.kind == "prefix":
            _skip(tokens, token.value)
            continue
        if token.kind not in ("iri", "name"):
            raise _strange(turtle, path, token.at)
        facts, _ = found.setdefault(token.value, ({}, token.at))
        predicate = ""
        for part in tokens:
            if part.kind == "mark":
                predicate = predicate if part.value == "," else ""
                if part.value == ".":
                    break
            elif not predicate:
                predicate = "type" if part.kind == "word" else re.split("[/#:]", part.value)[-1]
            elif predicate in READ:
                facts.setdefault(predicate, part.value)
        else:
            raise InputError(f"{printable(path)}: ends within a statement")
    return found


def _skip(tokens: Iterator[Token], name: str) -> None:
    """A prefix, which tells nothing that is read here: names are known by their ends.  SPARQL's have no point behind them."""
    for token in tokens:
        if (name[0] == "@" and token.kind == "mark") or (name[0] != "@" and token.kind == "iri"):
            return


def _tokens(turtle: str, path: str) -> Iterator[Token]:
    at = 0
    while at < len(turtle):
        match = TOKEN.match(turtle, at)
        if match is None:
            raise _strange(turtle, path, at)
        kind, value = str(match.lastgroup), match[str(match.lastgroup)]
        if kind == "text":
            value = _unescaped(value[3:-3] if value.startswith('"""') else value[1:-1])
        if kind != "space":
            yield Token(kind, value, at)
        at = match.end()


def _unescaped(text: str) -> str:
    def one(match: re.Match) -> str:
        said = match[1]
        return chr(int(said[1:], 16)) if said[0] in "uU" and len(said) > 1 else PLAIN.get(said, said)

    return ESCAPES.sub(one, text)


def _strange(turtle: str, path: str, at: int) -> InputError:
    shown = printable(turtle[at : at + 40].partition("\n")[0])
    return InputError(
        f"{printable(path)}:{_line(turtle, at)}: {shown}: statements of IRIs, names and literals are read"
    )


def _line(turtle: str, at: int) -> int:
    return turtle.count("\n", 0, at) + 1
