"""Connectives that a sentence may begin with, by the relation to the sentence before that they most often mark.

The four relations are the first level of the Penn Discourse Treebank's senses (Prasad et al. 2008).  English: adverbial connectives of the
kind that its list of explicit connectives has, put under a relation by hand; what marks several alike (since, as, while) is left out, and so
is what seldom opens a sentence.  They count with the comma that sets them off, as the markers of Sileo et al. 2019 (arXiv:1903.11850) do, so
that "However hard it is" is none.  Chinese: what opens a clause, by hand as well, with or without a comma.  `layout.senses` of a recipe of
one's own is another list.
"""

from dataclasses import dataclass

from bertsmith.config import require


@dataclass(frozen=True)
class Sense:
    """A relation, and the words that a sentence begins with where it holds."""

    name: str
    words: tuple[str, ...]

    def __post_init__(self):
        require(bool(self.words), f"layout.senses: {self.name}: needs a connective")


COMPARISON = (
    "however, nevertheless, nonetheless, by contrast, in contrast, on the contrary, on the other hand, conversely, still, yet, "
    "by comparison, instead, rather"
)
CONTINGENCY = (
    "therefore, thus, consequently, as a result, hence, accordingly, so, thereby, as a consequence, for this reason"
)
EXPANSION = (
    "for example, for instance, in addition, moreover, furthermore, additionally, besides, also, likewise, similarly, indeed, in fact, "
    "in other words, specifically, in particular, in sum, in short, overall, otherwise, alternatively"
)
TEMPORAL = (
    "then, later, meanwhile, in the meantime, afterward, afterwards, thereafter, subsequently, previously, earlier, "
    "simultaneously, finally, ultimately, next, at the same time"
)
CHINESE = {
    "comparison": "但是 但 然而 可是 不过 却 相反 反之",
    "contingency": "因此 所以 因而 于是 故此 结果 由此",
    "expansion": "例如 比如 此外 另外 而且 并且 同样 事实上 其实 换句话说 也就是说",
    "temporal": "然后 随后 后来 之后 此后 接着 最后 同时 与此同时",
}


def _senses() -> tuple[Sense, ...]:
    english = {"comparison": COMPARISON, "contingency": CONTINGENCY, "expansion": EXPANSION, "temporal": TEMPORAL}
    found = []
    for name, words in english.items():
        chinese = [word + comma for word in CHINESE[name].split() for comma in ("", "，")]
        found.append(Sense(name, (*(f"{word}," for word in words.split(", ")), *chinese)))
    return tuple(found)


CONNECTIVES = _senses()
