"""Lines to paragraphs: hard-wrapped lines joined, and whether a source looks hard-wrapped."""

import re
from itertools import pairwise

from bertsmith.text.account import Account

_WITHOUT_SPACES = re.compile(
    r"[\u2e80-\u9fff\uf900-\ufaff\uff00-\uff60\U00020000-\U0003ffff]"
)  # CJK: lines join without a space
_FINAL = tuple(".!?:;…。！？：；”’\"')]»")


def joined(lines: list[str], account: Account, newline: int = 1) -> list[str]:
    """Hard-wrapped lines as one paragraph; a space for each line break, none between two characters of scripts without spaces."""
    if not lines:
        return []
    parts = [lines[0]]
    for before, after in pairwise(lines):
        if not (_WITHOUT_SPACES.match(before[-1]) and _WITHOUT_SPACES.match(after[0])):
            parts.append(" ")
            account.newlines -= newline  # the line end became text
        parts.append(after)
    lines.clear()
    paragraph = "".join(parts)
    account.text += len(paragraph.encode())
    return [paragraph]


def look_at(lines: list[str], account: Account) -> None:
    full = [line for line in lines if line]
    account.sampled += len(full)
    account.long += sum(40 <= len(line) <= 100 for line in full)
    account.longer += sum(len(line) > 100 for line in full)
    account.closed += sum(line.endswith(_FINAL) for line in full)
