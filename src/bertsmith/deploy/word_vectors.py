"""Vectors of words as files that gensim and others open, and such files as models."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bertsmith import __version__, files
from bertsmith.config import to_dict
from bertsmith.errors import InputError, printable
from bertsmith.recipe import Recipe, find
from bertsmith.spelling import amount, flag, option
from bertsmith.text import word_vectors
from bertsmith.training.run import CONFIG, FORMAT, METRICS, STEPS, TOKENIZER, Imported

if TYPE_CHECKING:
    from bertsmith.text.tokenizer import Tokenizer

FORMS = ("word2vec", "word2vec-bin", "glove")


def export_vectors(
    model: Any,
    out: str | Path,
    form: Any,
    *,
    force: bool = False,
    base: Any = None,
    members: tuple[str, ...] = (),
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Write the words of a model and their vectors (static ones as they are, else the rows of the token table), the commonest first.

    Words that hold a blank are left out, which is said, and so are vectors of words that are none of the vocabulary's.
    """
    out = Path(out)
    if out.is_dir():
        raise InputError(f"{printable(out)}: {option('out')} is a folder; {option('to', form)} writes a file")
    if out.exists() and not force:
        raise InputError(f"{printable(out)}: {option('out')} exists already; {flag('force')} replaces it")
    files.check_place(out)
    from bertsmith.downstream.model import opened
    from bertsmith.downstream.similar import Words

    loaded = opened(model, members=members, say=say, base=base)
    words = Words(loaded)
    first = [i for i, name in enumerate(words.names) if words.index[name] == i]
    kept = [i for i in first if not word_vectors.BLANK.search(words.names[i])]
    if len(kept) < len(first):
        say(
            f"warning: {amount(len(first) - len(kept), 'word holds', 'words hold')} a blank and {'is' if len(first) - len(kept) == 1 else 'are'} left out"
        )
    if getattr(loaded.recipe.model, "grams", None) is not None:
        say(
            "the file has the vectors of the vocabulary; those of other words, which their letters give, stay with the model"
        )
    with files.writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    word_vectors.write(out, [words.names[i] for i in kept], words.raw[kept], form)
    say(f"{printable(out)}: {amount(len(kept), 'word')} of {words.raw.shape[1]} numbers")
    return {"out": str(out), "to": form, "words": len(kept), "width": words.raw.shape[1]}


def import_vectors(path: Path, out: str | Path, *, say: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
    """Write a file of word vectors as the model `out`: a word2vec of whole words, small letters where the file has no others.

    Special tokens have vectors of zeros.
    """
    words, vectors, form = word_vectors.read(path)
    import torch

    from bertsmith.nn.member import blank
    from bertsmith.text.load import ROLES
    from bertsmith.text.tokenizer import Tokenizer
    from bertsmith.text.train import SPECIALS, of_words

    lowercase = all(word == word.lower() for word in words)
    own = [i for i, word in enumerate(words) if word not in SPECIALS]
    tokenizer = Tokenizer(of_words([words[i] for i in own], lowercase), dict(zip(ROLES, SPECIALS, strict=True)))
    recipe = find("word2vec:base")
    recipe = replace(
        recipe,
        tokenizer=f"words:{tokenizer.size}",
        model=replace(recipe.model, vocab=tokenizer.size, width=vectors.shape[1]),
    )
    member = blank(recipe).eval()
    with torch.no_grad():
        member.model.tokens.weight[len(SPECIALS) :] = torch.from_numpy(vectors[own])
    with files.partial(out) as temporary, files.writing(Path(out)):
        _write(Imported(temporary), recipe, member, tokenizer, path)
        files.publish(temporary, Path(out))
    if len(own) < len(words):
        say(
            f"warning: {amount(len(words) - len(own), 'word is', 'words are')} named as a special token is, and left out"
        )
    say(
        f"{printable(path)}: {form}, {amount(len(own), 'word')} of {vectors.shape[1]} numbers{', small letters alone' if lowercase else ''}"
    )
    say(f"{printable(out)}: imported")
    return {"out": str(out), "form": form, "words": len(own), "width": vectors.shape[1], "lowercase": lowercase}


def _write(run: Imported, recipe: Recipe, member: Any, tokenizer: Tokenizer, path: Path) -> None:
    import numpy as np
    import torch

    from bertsmith.training.checkpoint import State
    from bertsmith.training.saving import save_step

    versions = {"bertsmith": __version__, "torch": torch.__version__, "numpy": np.__version__}
    source = {
        "path": str(path),
        "weights": files.sha256(path),
        "dropped": [],
        "new_heads": [],
        "model_type": "word2vec",
        "architectures": [],
    }
    config = {
        "format": FORMAT,
        "recipe": to_dict(recipe),
        "kind": "import",
        "task": None,
        "vectors": None,
        "data": {"tokenizer": tokenizer.digest, "vocab": asdict(tokenizer.vocab)},
        "source": source,
        "steps": 0,
        "seed": 0,
        "from": None,
        "versions": {**versions, "python": platform.python_version()},
    }
    files.create(run / CONFIG, files.sealed(config))
    files.create(run / TOKENIZER, tokenizer.backend.to_str().encode())
    files.create(run / METRICS, b"")
    (run / STEPS).mkdir()
    nothing = torch.optim.SGD(member.parameters(), lr=0.0)  # holds no state
    metrics = {"bytes": 0, "sha256": files.sha256(run / METRICS)}
    save_step(run, State(step=0, tokens=0, cursor=(0, 0)), member, nothing, metrics, {}, keep=1)
