"""The language that a page is written in, by py3langid (extra `clean`)."""

from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

from bertsmith.errors import InputError, nearest, printable
from bertsmith.spelling import option

LEAST = 0.5  # probability: C4's 0.99 is langdetect's, these are calibrated (docs/decisions/2026-11-27-cleaning.md)
ENDS = 1000  # characters of the beginning and of the end of a page that are looked at: of long ones that is sure enough


@dataclass(frozen=True)
class Spoken:
    """`code`: ISO 639-1, as py3langid names languages."""

    code: str

    def fits(self, text: str) -> bool:
        found, probability = _identifier().classify(
            text if len(text) <= 2 * ENDS else text[:ENDS] + "\n" + text[-ENDS:]
        )
        return found == self.code and probability >= LEAST

    @property
    def by(self) -> str:
        return f"py3langid {version('py3langid')}"


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def spoken(code: str) -> Spoken:
    """InputError for a language that is not known, and where the library is missing."""
    try:
        known = _identifier().labels
    except (ImportError, AttributeError):  # before 0.4 its model is a pickle
        raise InputError(f"{option('clean_language')}: needs py3langid; pip install 'bertsmith[clean]'") from None
    if code not in known:
        raise InputError(
            f"{option('clean_language')}: {printable(repr(code), 60)} is not a language; {nearest(code, known)}"
        )
    return Spoken(code)
