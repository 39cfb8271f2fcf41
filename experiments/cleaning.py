"""Do the lines that cleaning keeps belong to the article, and which of the article does it lose?

    python experiments/cleaning.py CORPORA [--clean c4] [--labels experiments/cleaning_labels.json] [--draw FILE]

English web pages, tags stripped naively, with the text of their article (web_messy, file 1).  By that text: a line belongs where it stands
in it, white space aside, or the greater part of a line of it stands in the line.  By hand: 300 lines drawn with a seed, half of those that
were kept and half of those that were dropped, each by its hash with whether it belongs to the article (`--draw` writes them to be read).
Rules that are switched off one by one, and C4's end marks without closing quotes, stand below.
"""

import argparse
import hashlib
import json
import lzma
import random
import re
from collections.abc import Iterator
from pathlib import Path

from bertsmith.text import clean

PAGES = "web_messy/web_pages_with_gold_article.jsonl.xz"
SEED, EACH = 0, 150


def pages(corpora: Path) -> Iterator[dict]:
    with lzma.open(corpora / PAGES, "rt", encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def lines_of(text: str) -> list[str]:
    return [line for line in map(str.strip, text.split("\n")) if line]


def kept_lines(lines: list[str], names: tuple[str, ...]) -> list[bool]:
    """Whether each line of a page stays, in order; a line that citations were taken out of counts as itself."""
    left = ["".join(line) for line in clean.cleaned(lines, clean.Rules(names=names))[0]]
    found, at = [], 0
    for line in lines:
        bare = clean.without_citations(line)[0] if "citations" in names else line
        found.append(at < len(left) and bare == left[at])
        at += found[-1]
    assert at == len(left)
    return found


def belongs(line: str, article: str, parts: list[str]) -> bool:
    """`article`, `parts`: its text and its lines, without white space."""
    bare = squeezed(line)
    return (
        (len(bare) >= 20 and bare in article)
        or bare in parts
        or any(p in bare and 2 * len(p) > len(bare) for p in parts)
    )


def squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)


def digest(page: dict, place: int, line: str) -> str:
    return hashlib.sha256(f"{page['id']} {place} {line}".encode()).hexdigest()[:16]


def rows(corpora: Path, names: tuple[str, ...]) -> list[dict]:
    """Every line of every page: whether it is kept, whether it belongs by the article's text."""
    found = []
    for page in pages(corpora):
        lines = lines_of(page["text"])
        parts = [part for part in map(squeezed, page["article_body"].split("\n")) if len(part) >= 10]
        article = squeezed(page["article_body"])
        for place, (line, kept) in enumerate(zip(lines, kept_lines(lines, names), strict=True)):
            found.append(
                {
                    "sha": digest(page, place, line),
                    "kept": kept,
                    "gold": belongs(line, article, parts),
                    "bytes": clean.size_of(line),
                    "line": line,
                    "page": page,
                }
            )
    return found


def scores(found: list[dict], weight: str) -> str:
    size = lambda chosen: sum(row["bytes"] if weight == "bytes" else 1 for row in chosen)
    kept, gold = size(r for r in found if r["kept"]), size(r for r in found if r["gold"])
    both = size(r for r in found if r["kept"] and r["gold"])
    return f"precision {both / kept:.3f}, recall {both / gold:.3f}"


def drawn(found: list[dict]) -> list[dict]:
    draw = random.Random(SEED)
    chosen = []
    for kept in (True, False):
        chosen += draw.sample([row for row in found if row["kept"] == kept], EACH)
    return chosen


def by_hand(found: list[dict], base: list[dict], labels: dict[str, bool]) -> str:
    """The labelled lines under the rules of `found`, each for as many as it stands for in the half of `base` that it was drawn from."""
    kept = {row["sha"]: row["kept"] for row in found}
    weight = {half: sum(row["kept"] == half for row in base) / EACH for half in (True, False)}
    mine = [(row["sha"], weight[row["kept"]], row["gold"]) for row in drawn(base)]
    total = sum(w for sha, w, _ in mine if kept[sha])
    belonging = sum(w for sha, w, _ in mine if labels[sha])
    both = sum(w for sha, w, _ in mine if kept[sha] and labels[sha])
    agree = sum(labels[sha] == gold for sha, _, gold in mine) / len(mine)
    return f"precision {both / total:.3f}, recall {both / belonging:.3f}; the article's text agrees with {agree:.3f} of the labels"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("corpora", type=Path)
    parser.add_argument("--clean", default="c4")
    parser.add_argument("--labels", type=Path, default=Path(__file__).with_name("cleaning_labels.json"))
    parser.add_argument("--draw", type=Path)
    given = parser.parse_args()
    names = tuple(name for name in clean.named(given.clean) if name != "repeated")
    found = rows(given.corpora, names)
    base = rows(given.corpora, tuple(name for name in clean.C4 if name != "repeated"))
    if given.draw:
        shown = [
            {k: row[k] for k in ("sha", "kept", "gold", "line")} | {"title": row["page"]["text"][:80]}
            for row in drawn(found)
        ]
        given.draw.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in shown), encoding="utf-8")
        return
    kept = sum(row["kept"] for row in found)
    print(
        f"{len(found):,} lines, {kept:,} kept ({sum(r['bytes'] for r in found if r['kept']) / sum(r['bytes'] for r in found):.3f} of the bytes)"
    )
    print(f"by the article's text: of lines {scores(found, 'lines')}; of bytes {scores(found, 'bytes')}")
    labels = {row["sha"]: row["label"] for row in json.loads(given.labels.read_text())}
    print(f"by hand, 300 lines: of lines {by_hand(found, base, labels)}")
    for name in names:
        without = rows(given.corpora, tuple(other for other in names if other != name))
        print(f"without {name}: of bytes {scores(without, 'bytes')}")
    ours = clean._ENDS, clean._OPENS
    clean._ENDS, clean._OPENS = tuple('.?!"'), {}
    theirs = rows(given.corpora, names)
    print(f"C4's own end marks: of lines {scores(theirs, 'lines')}; of bytes {scores(theirs, 'bytes')}")
    print(f"by hand: of lines {by_hand(theirs, base, labels)}")
    clean._ENDS, clean._OPENS = ours


if __name__ == "__main__":
    main()
