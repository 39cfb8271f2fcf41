"""What closes a sentence: quotes and brackets behind its last sign stay with it, in every language."""

import re
from itertools import pairwise

from bertsmith.text.categories import category

OPENING = dict(zip("([{（［｛【〔〖「『《〈", ")]}）］｝】〕〗」』》〉", strict=True))
CLOSING = frozenset(OPENING.values()) | {"”"}
EITHER = frozenset("\"'“‘«‹»›’＂＇")  # these close where no word begins behind them
_SIGNS = CLOSING | EITHER | OPENING.keys()
_ENDS = frozenset(".!?…。！？؟۔।॥։።᙮។៕။⸮｡")


def settled(pieces: list[str]) -> list[str]:
    """Pieces whose concatenation is the same, with what closes a sentence in it and a bracketed sentence apart from the next."""
    if _SIGNS.isdisjoint([piece[0] for piece in pieces]):
        return pieces
    found: list[str] = []
    for piece in pieces:
        if found and (piece[0] in CLOSING or piece[0] in EITHER):
            taken = _closing(found[-1], piece)
            if taken:
                found[-1] += piece[:taken]
                piece = piece[taken:]
                if piece and not _begins(piece):
                    piece = found.pop() + piece
            if not piece:
                continue
        found += _bracketed(piece) if piece[0] in OPENING else [piece]
    return found


def _closing(before: str, piece: str) -> int:
    """How many characters of the piece, white space behind them included, belong to the sentence before."""
    end = 0
    while end < len(piece) and (piece[end] in CLOSING or piece[end] in EITHER):
        end += 1
    follows = piece[end : end + 1]
    if before[-1].isspace():
        if piece[0] in "\"'“‘«‹" or not (not follows or follows.isspace()):
            return 0  # »Warum?« opens with what closes « Non ! »
    elif follows and (category(follows)[0] in "LN" or follows in OPENING):
        while end and piece[end - 1] in EITHER:
            end -= 1
    while 0 < end < len(piece) and piece[end].isspace():
        end += 1
    return end


def _begins(piece: str) -> bool:
    """Whether a sentence may begin so: not with a small letter, nor with a sign that goes on."""
    return not (piece[0].islower() or piece[0] in ",;:，；：、")


def _bracketed(piece: str) -> list[str]:
    """(It was late.) Then …: what begins with a bracket round whole sentences ends with it."""
    found, at = [], 0
    while piece[at] in OPENING:
        end = _bracket(piece, at)
        if not end:
            break
        found.append(piece[at:end])
        at = end
    return [*found, piece[at:]]


def _bracket(piece: str, begin: int) -> int:
    """Where what follows the bracket that opens here begins; 0 where that is no sentence of its own."""
    opens, closes, depth, at = piece[begin], OPENING[piece[begin]], 0, begin
    for at in range(begin, len(piece)):
        depth += (piece[at] == opens) - (piece[at] == closes)
        if not depth:
            break
    end = at + 1
    while end < len(piece) and piece[end].isspace():
        end += 1
    spaced = end > at + 1 or ord(closes) > 0x2E80
    whole = not depth and piece[at - 1] in _ENDS and spaced and end < len(piece)
    return end if whole and _begins(piece[end:]) and piece[end] not in CLOSING else 0


def khmer(pieces: list[str]) -> list[str]:
    return [part for piece in pieces for part in _khmer(piece)]


def _khmer(piece: str) -> list[str]:
    cut = [match.end() for match in re.finditer(r"[។៕]+[”’»)\]]*\s*", piece)]
    edges = [0, *(at for at in cut if at < len(piece)), len(piece)]
    return [piece[a:b] for a, b in pairwise(edges)]
