"""Which models are graphs: those whose attention is a matrix of what sees what.  Others are refused, each with its reason and another way."""

from __future__ import annotations

from typing import Any

from bertsmith.downstream.model import Loaded
from bertsmith.downstream.several import check_named
from bertsmith.errors import InputError, printable
from bertsmith.nn.chunks import ByLayer, Chunks
from bertsmith.nn.hashed import Hashed
from bertsmith.nn.knowledge import Knowledge
from bertsmith.nn.prefixes import Prefixes
from bertsmith.nn.transformer import TransformerConfig
from bertsmith.objectives.compared import Compare
from bertsmith.spelling import option, setting


def check_fits(loaded: Loaded, headed: bool) -> None:
    """InputError for a model that is no graph of padded texts; `headed`: with what its head says."""
    check_named(loaded)
    why = _why(loaded, headed)
    if why is not None:
        raise InputError(f"{printable(loaded.run)}: {option('to', 'onnx')}: {why}")


def _why(loaded: Loaded, headed: bool) -> str | None:
    recipe = loaded.recipe
    model: Any = recipe.model
    if recipe.reads != "tokens":
        return "reads frames of sound, which are cut from a file before any graph; `predict` and `embed` read them"
    if model.depth == 0:
        return f"is a table of vectors and has no layers; {option('to', 'word2vec')} writes it"
    if not isinstance(model, TransformerConfig):
        return (
            "reads a text token after token, and what is traced has no loop over texts of any length; "
            "`predict` and `embed` run it, or take a Transformer"
        )
    if isinstance(model.topology, Knowledge):
        return "reads entities that a text was linked to, which no tokenizer makes; `predict` reads them"
    if isinstance(model.attention, (ByLayer, Chunks, Hashed)):
        return (
            "cuts a text into chunks by their size and by hashes, which a graph of texts of any length does not; "
            f"take a member whose attention is whole, or {option('to', 'hf')}"
        )
    if isinstance(recipe.surgery, Prefixes):
        return f"has places before each text that no token stands at; {option('method', 'full')} tunes without"
    return _head(loaded) if headed else None


def _head(loaded: Loaded) -> str | None:
    objective: Any = loaded.recipe.objective
    objective = getattr(objective, "objective", objective)  # of a head over layers
    if loaded.signs:
        marks = " and ".join(loaded.signs)
        return f"reads {marks} round places of a text, which no tokenizer puts there; `predict` does"
    if getattr(objective, "san", None) is not None:
        return f"its head reads a pair in steps (head=san); {setting('head', value='linear')} is a graph"
    if isinstance(objective, Compare):
        return f"its head reads the two texts of a pair apart (head=infersent); {option('pool', 'mean')} gives their vectors"
    if "lstm" in getattr(objective, "head", "linear"):
        return f"its tags come through an LSTM over words (head={objective.head}); {setting('head', value='crf')} and linear are graphs"
    writing = loaded.writing
    if writing is not None and loaded.reading().fills:
        return "fills masks behind a text to write about it, each step of which sees otherwise; bart, t5 and gpt2 write as graphs"
    if getattr(writing, "visibility", "causal") == "prefix":
        return f"its text sees all of itself (visibility prefix); {setting('visibility', value='causal')} is a graph"
    return None
