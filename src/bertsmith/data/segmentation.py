"""How a run cuts the text of a store in training: as it stands there, or drawn anew in every epoch (text/cutting.py)."""

from dataclasses import dataclass

from bertsmith.config import require


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """`dropout`: the probability with which a merge of BPE is left out (Provilkov et al. 2020: 0.1).  `alpha`: segmentations by Unigram are drawn
    with their probability to this power (Kudo 2018: 0.1 to 0.5); large numbers are the best one, 0 draws all alike, null draws nothing."""

    dropout: float = 0.0
    alpha: float | None = None

    def __post_init__(self):
        require(
            0 <= self.dropout < 1,
            f"tokenizer.dropout: {self.dropout} is not a probability below 1; 0 cuts text as it was stored",
        )
        require(
            self.alpha is None or self.alpha >= 0,
            f"tokenizer.alpha: {self.alpha} is negative; 0 draws all segmentations alike, null none",
        )
        require(
            not self.dropout or self.alpha is None,
            "tokenizer: dropout leaves out merges of BPE, alpha draws pieces of Unigram; one of the two",
        )

    @property
    def draws(self) -> bool:
        return self.dropout > 0 or self.alpha is not None
