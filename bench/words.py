"""Where words start, against the words of treebanks: ours, the rules alone, and other libraries; F1, and MB/s over the text.

    python bench/words.py TREEBANKS...

TREEBANKS are files or folders of Universal Dependencies, named as they are shipped (ja_gsd-ud-test.conllu, also .xz); the language is the name's
first part, and of a folder the test files are read.  A word is a surface token (a multiword token is one); a start is a character of `# text`.
Each is given the sentences apart, one after the other; ours all of them at once, as `prepare` reads them.
Peers that are not installed are skipped with a word: icu4py, fugashi, sudachipy, pythainlp, nlpo3, budoux, jieba, spacy.
"""

import argparse
import lzma
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from harness import machine, record

from bertsmith.text import segment
from bertsmith.text.paragraph_words import Words
from bertsmith.text.words import character_starts

LANGUAGES = ("ar", "de", "hi", "ja", "ko", "th", "tr", "zh")
Starts = Callable[[str], set[int]]


def sentences(path: Path) -> Iterator[tuple[str, set[int]]]:
    """(text, the characters at which its words start)"""
    opened = lzma.open(path, "rt", encoding="utf-8") if path.suffix == ".xz" else path.open(encoding="utf-8")
    with opened as file:
        for block in file.read().split("\n\n"):
            lines = block.split("\n")
            text = next((line[9:] for line in lines if line.startswith("# text = ")), None)
            if text is None:
                continue
            starts, at, within = set(), 0, 0
            for number, word in (line.split("\t")[:2] for line in lines if line[:1].isdigit()):
                first, _, last = number.partition("-")
                if "." in number or (not last and int(first) <= within):
                    continue
                within = int(last or within)
                at = text.index(word, at)
                starts.add(at)
                at += len(word)
            yield text, starts


def of_words(words: Callable[[str], list[str]]) -> Starts:
    """The starts of a list of words, blanks left out."""

    def starts(text: str) -> set[int]:
        found, at = set(), 0
        for word in words(text):
            if word.strip():
                at = text.index(word, at)
                found.add(at)
                at += len(word)
        return found

    return starts


def icu(language: str) -> tuple[str, Starts]:
    from icu4py.breakers import WordBreaker

    return "icu4py", of_words(lambda text: list(WordBreaker(text, language)))


def fugashi(language: str) -> tuple[str, Starts]:
    import fugashi

    tagger = fugashi.Tagger()
    return "fugashi", of_words(lambda text: [node.surface for node in tagger(text)])


def sudachi(language: str) -> tuple[str, Starts]:
    import sudachipy

    tokenizer = sudachipy.Dictionary().tokenizer(mode=sudachipy.SplitMode.A)
    return "sudachipy", lambda text: {m.begin() for m in tokenizer.tokenize(text) if m.surface().strip()}


def newmm(language: str) -> tuple[str, Starts]:
    from pythainlp.tokenize import word_tokenize

    return "pythainlp", of_words(lambda text: word_tokenize(text, engine="newmm", join_broken_num=False))


def nlpo3(language: str) -> tuple[str, Starts]:
    import nlpo3  # noqa: F401
    from pythainlp.tokenize import word_tokenize

    return "nlpo3", of_words(lambda text: word_tokenize(text, engine="nlpo3", join_broken_num=False))


def budoux(language: str) -> tuple[str, Starts]:
    import budoux

    return "budoux", of_words(budoux.load_default_thai_parser().parse)


def jieba(language: str) -> tuple[str, Starts]:
    import jieba

    jieba.setLogLevel(60)
    return "jieba", of_words(jieba.lcut)


def spacy(language: str) -> tuple[str, Starts]:
    import spacy

    nlp = spacy.blank(language)
    return "spacy", lambda text: {token.idx for token in nlp.make_doc(text) if not token.is_space}


PEERS = {"ja": (fugashi, sudachi, icu), "th": (icu, newmm, nlpo3, budoux), "zh": (jieba, icu)}


def scored(found: list[set[int]], pairs: list[tuple[str, set[int]]]) -> dict[str, float]:
    hits = sum(len(mine & gold) for mine, (_, gold) in zip(found, pairs, strict=True))
    mine, gold = sum(map(len, found)), sum(len(gold) for _, gold in pairs)
    return {"precision": hits / mine, "recall": hits / gold, "f1": 2 * hits / (mine + gold)}


def ours(language: str, pairs: list[tuple[str, set[int]]]) -> list[set[int]]:
    texts = [text for text, _ in pairs]
    _, known, _ = Words(language)([texts])
    rule = lambda text, starts: character_starts(text) if starts is None else np.frombuffer(starts, bool)
    return [set(np.flatnonzero(rule(text, starts)).tolist()) for text, starts in zip(texts, known, strict=True)]


def each(starts: Starts, pairs: list[tuple[str, set[int]]]) -> list[set[int]]:
    return [starts(text) for text, _ in pairs]


def measured(work: Callable[[], list[set[int]]], pairs: list[tuple[str, set[int]]]) -> dict[str, float]:
    work()  # loads dictionaries
    start = time.perf_counter()
    found = work()
    size = sum(len(text.encode()) for text, _ in pairs) / 1e6
    return scored(found, pairs) | {"megabytes_per_second": size / (time.perf_counter() - start)}


def rules(language: str, pairs: list[tuple[str, set[int]]]) -> list[set[int]]:
    """As without the extras."""
    before = segment.mecab, segment.icu, segment.simplified
    segment.mecab = segment.icu = segment.simplified = lambda: None
    try:
        return ours(language, pairs)
    finally:
        segment.mecab, segment.icu, segment.simplified = before


def row(path: Path) -> dict[str, Any]:
    language, pairs = path.name[:2], list(sentences(path))
    ways = {
        "ours": measured(lambda: ours(language, pairs), pairs),
        "rules": measured(lambda: rules(language, pairs), pairs),
    }
    for peer in PEERS.get(language, (icu, spacy)):
        try:
            name, starts = peer(language)
            ways[f"{name} {version(name)}"] = measured(partial(each, starts, pairs), pairs)
        except ImportError as error:
            print(f"  {peer.__name__}: not installed ({error.name}), skipped", flush=True)
    found = {
        "bench": f"word starts, {path.name.split('.')[0]}",
        "language": language,
        "sentences": len(pairs),
        "ways": ways,
    }
    for name, way in ways.items():
        print(f"{found['bench']:36} {name:20} F1 {way['f1']:.4f}  {way['megabytes_per_second']:6.2f} MB/s", flush=True)
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("treebanks", nargs="+", type=Path)
    paths: list[Path] = []
    for given in arguments.parse_args().treebanks:
        paths += sorted(given.glob("*-ud-test.conllu*")) if given.is_dir() else [given]
    rows = [row(path) for path in sorted(paths, key=lambda path: path.name) if path.name[:2] in LANGUAGES]
    print(record("words", machine(1), rows))


if __name__ == "__main__":
    main()
