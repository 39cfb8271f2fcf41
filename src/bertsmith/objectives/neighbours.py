"""Which words stand together?  The objectives of word2vec and fastText (a word and its neighbours) and of GloVe (how often two were neighbours)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from bertsmith.config import require
from bertsmith.errors import InputError
from bertsmith.nn.body import Body, BodyConfig

if TYPE_CHECKING:
    from bertsmith.objectives.modules.cells import CellsObjective
    from bertsmith.objectives.modules.neighbours import NeighboursObjective
    from bertsmith.recipe import Recipe

TERM, CELL = "word", "cell"
LONGEST = 10_000  # gensim's MAX_SENTENCE_LEN


@dataclass(frozen=True, kw_only=True)
class Neighbourhood:
    """`predict`: a word's vector is asked for each of its neighbours (skip-gram), or the mean of its neighbours' for the word (centre: CBOW).

    `by`: against words that are drawn, or by the inner nodes of a Huffman tree (Mikolov et al. 2013a, section 3; 2013b, sections 2.1 and 2.2), where it is the
    neighbours' vectors that are asked for the word in both.  `negatives`: words that stand against each pair, each drawn in proportion to its count to the
    `power`; a sequence draws `shared` of them, and each counts negatives / shared, so that products of matrices compute them
    (Ji et al. 2016, arXiv:1604.04661); one that is the word asked for is skipped.

    Online (training/online.py) it is word2vec's own descent, by gensim: each pair draws its `negatives` for itself, and a window's words are asked for the
    word, whatever stands against it.
    """

    predict: Literal["neighbours", "centre"] = "neighbours"
    by: Literal["negatives", "huffman"] = "negatives"
    negatives: int = 5
    power: float = 0.75
    shared: int = 64
    knows_corpus: ClassVar[bool] = True  # training/given.py

    def __post_init__(self):
        for name in ("negatives", "shared"):
            require(getattr(self, name) > 0, f"objective.{name}: {getattr(self, name)} must be above 0")
        require(0 <= self.power <= 1, f"objective.power: {self.power} is not from 0 (all words alike) to 1 (by count)")

    def build(self, model: Body) -> NeighboursObjective:
        from bertsmith.objectives.modules.neighbours import NeighboursObjective

        return NeighboursObjective(self, model.config.vocab, model.config.width)

    def parameters(self, model: BodyConfig) -> int:
        return model.vocab * model.width

    @property
    def online_pays(self) -> bool:
        return self.predict == "centre" or self.by == "huffman"

    def online(self, recipe: Recipe) -> dict[str, str]:
        """InputError without gensim, for vectors that are not one row of one table, and for rows of more words than its code reads at once."""
        from importlib.metadata import PackageNotFoundError, version

        require(
            getattr(recipe.model, "grams", None) is None,
            f"schedule.optimizer: online learns one vector of each word, and {recipe.name} has stretches of letters, too; adagrad learns both",
        )
        require(
            recipe.layout.length <= LONGEST,
            f"layout.length: {recipe.layout.length}: gensim reads {LONGEST:,} words of a row; lower it, or schedule.optimizer=adagrad",
        )
        try:
            return {"gensim": version("gensim")}
        except PackageNotFoundError:
            raise InputError("schedule.optimizer: online: needs gensim; pip install 'bertsmith[static]'") from None

    def weights(self) -> dict[str, float]:
        return {TERM: 1.0}


@dataclass(frozen=True, kw_only=True)
class LogCounts:
    """f(X) (w . w~ + b + b~ - log X)^2 of each cell, f = min(1, (X / most)^power) (Pennington et al. 2014, equations 8 and 9)."""

    most: float = 100.0
    power: float = 0.75

    def __post_init__(self):
        require(self.most > 0, f"objective.most: {self.most} must be above 0")
        require(0 <= self.power <= 1, f"objective.power: {self.power} is not from 0 to 1")

    def build(self, model: Body) -> CellsObjective:
        from bertsmith.objectives.modules.cells import CellsObjective

        require(
            getattr(model.config, "context", False), "model.context: the objective asks over two tables; set it true"
        )
        return CellsObjective(self, model.config.vocab)

    def parameters(self, model: BodyConfig) -> int:
        return 2 * model.vocab

    def weights(self) -> dict[str, float]:
        return {CELL: 1.0}
