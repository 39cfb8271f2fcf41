"""What each argument of a verb may be.  An argument has one meaning in all verbs, or stands under `verb.argument` too.

`None` is what an argument may be whose default it is; what only the verb can judge (rows, settings, feeds) is left to it.
"""

from __future__ import annotations

import operator
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from inspect import Parameter
from typing import Any

from bertsmith.errors import InputError, printable
from bertsmith.face.corpora import corpora
from bertsmith.tasks.given import kind_of
from bertsmith.training.job import silent


@dataclass(frozen=True)
class Kind:
    """`words`: what is wanted; `made`: the argument as the verb takes it, TypeError or ValueError for another."""

    words: str
    made: Callable[[Any], Any]


def checked(verb: str, parameter: Parameter, value: Any) -> Any:
    """InputError that names the argument, what it is and what is wanted."""
    kind = WANTED.get(f"{verb}.{parameter.name}") or WANTED.get(parameter.name)
    if kind is None or (value is None and parameter.default is None):
        return value
    try:
        return kind.made(value)
    except (TypeError, ValueError):
        parts = value if isinstance(value, (list, tuple)) else [value]
        plain = all(part is None or isinstance(part, (str, int, float)) for part in parts)
        what = repr(value) if plain else kind_of(value)
        raise InputError(f"{parameter.name}: {printable(what, 60)} given; {kind.words} is wanted") from None


def _is(value: Any, *types: type) -> Any:
    if not isinstance(value, types):
        raise TypeError
    return value


def _path(value: Any) -> Any:
    if "\0" in os.fspath(_is(value, str, os.PathLike)) or not os.fspath(value):
        raise ValueError
    return value


def _paths(value: Any) -> list[str]:
    found = [value] if isinstance(value, (str, os.PathLike)) else [*_is(value, Iterable)]
    return [os.fspath(_path(part)) for part in found]


def _names(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(_is(name, str) for name in _is(value, Iterable))


def _classes(value: Any) -> tuple[str, ...]:
    if isinstance(value, (str, Mapping)):
        raise TypeError
    return tuple(str(name) if isinstance(name, str) else str(_whole(None)(name)) for name in _is(value, Iterable))


def _named(value: Any) -> Any:
    return value if isinstance(value, Mapping) else _classes(value)


def _not_text(value: Any) -> Any:
    if isinstance(value, str):
        raise TypeError
    return value


def _whole(least: int | None) -> Callable[[Any], int]:
    def made(value: Any) -> int:
        number = operator.index(value)
        if isinstance(value, bool) or (least is not None and number < least):
            raise ValueError
        return number

    return made


def _number(value: Any) -> Any:
    if isinstance(value, (bool, str)) or not (hasattr(value, "__float__") or hasattr(value, "__index__")):
        raise TypeError
    return value if isinstance(value, int) else float(value)


def _flag(value: Any) -> bool:
    if not (isinstance(value, bool) or type(value).__name__ in ("bool", "bool_")):  # NumPy's too
        raise TypeError
    return bool(value)


def _silence(value: Any) -> Any:
    if value is not None and not callable(value):
        raise TypeError
    return silent if value is None else value


def _device(value: Any) -> str:
    torch = sys.modules.get("torch")
    return str(value) if torch is not None and isinstance(value, torch.device) else _is(value, str)


def _model(value: Any) -> Any:
    from bertsmith.downstream.model import Loaded

    return value if isinstance(value, Loaded) else _path(value)


def _rows(value: Any) -> Any:
    """What else rows may be, the verb judges.  A text with blanks that is no file was meant as one."""
    if isinstance(value, str) and len(value.split()) > 1 and "." not in value[-8:-1] and not os.path.exists(value):
        raise ValueError
    return value


def _recipe(value: Any) -> Any:
    from bertsmith.recipe import Recipe

    return _is(value, str, Recipe)


def _any_model(value: Any) -> Any:
    from bertsmith.recipe import Recipe

    return value if isinstance(value, Recipe) else _model(value)


def _store(value: Any) -> Any:
    from bertsmith.audio.store import FrameStore
    from bertsmith.text.store import Store

    if isinstance(value, Mapping):
        return {_store(one): weight for one, weight in value.items()}
    if isinstance(value, (list, tuple)):
        return [_store(one) for one in value]
    return value if isinstance(value, (Store, FrameStore)) else _path(value)


def _columns(value: Any) -> Any:
    if isinstance(value, Mapping):
        for role, column in value.items():
            _is(role, str), _is(column, str, int)
        return value
    return _is(value, str)


def _settings(value: Any) -> Any:
    if isinstance(value, str):
        raise TypeError
    return value if isinstance(value, Mapping) else [_is(part, str) for part in _is(value, Iterable)]


def _numbers(value: Any) -> Any:
    return value if isinstance(value, (str, int)) and not isinstance(value, bool) else _is(value, list, tuple)


def _teachers(value: Any) -> Any:
    return [_model(part) for part in (value if isinstance(value, (list, tuple)) else [value])]


def _models(value: Any) -> Any:
    return [_model(part) for part in _is(value, list, tuple)]


def _served(value: Any) -> Any:
    return _models(value if isinstance(value, (list, tuple)) else [value])


def _mixed(value: Any) -> Any:
    return value if isinstance(value, str) else [_whole(1)(part) for part in _is(value, list, tuple)]


def _search(value: Any) -> Any:
    return [value] if isinstance(value, str) else _is(value, Mapping, list, tuple)


def _compared(value: Any) -> Any:
    from bertsmith.downstream.report_compared import Difference

    return [_is(part, Difference) for part in _is(value, Iterable)]


def _word_list(value: Any) -> Any:
    return os.fspath(_path(value))


def _words_or_count(value: Any) -> Any:
    return _word_list(value) if isinstance(value, (str, os.PathLike)) else _whole(1)(value)


def _one_of(*names: str) -> Kind:
    def made(value: Any) -> str:
        if value not in names:
            raise ValueError
        return value

    return Kind(f"one of {', '.join(map(repr, names))}", lambda value: made(_is(value, str)))


PATH = Kind("a path (str or Path)", _path)
PATHS = Kind("a path (str or Path) or several", _paths)
FILE = Kind("a path (str or Path)", _word_list)
TEXT = Kind("a text", lambda value: _is(value, str))
NAMES = Kind("a name or several", _names)
FLAG = Kind("True or False", _flag)
NATURAL, POSITIVE = Kind("a whole number from 0", _whole(0)), Kind("a whole number from 1", _whole(1))
WHOLE, NUMBER = Kind("a whole number", _whole(None)), Kind("a number", _number)
CALL = Kind("a function (such as print) or None, for silence,", _silence)
ASIDE = Kind("whatever the verb judges", lambda value: value)

FLAGS = ("lowercase", "capitals", "strip_accents", "segmented", "allow_unknown", "force", "resume", "tensorboard")
FLAGS += ("append", "keep_hashes", "int8")
FLAGS += ("scratch", "header", "normalise", "private", "baseline", "per_class", "score.each", "sample", "control")
FLAGS += ("glue.plan", "clue.plan", "study.plan")
WANTED = {
    # what is worked on
    **dict.fromkeys(
        ("model", "a", "b", "against", "base"), Kind("a path (str or Path), hf:NAME or what load() gave", _model)
    ),
    **dict.fromkeys(("recipe",), Kind("a recipe, such as 'bert:mini',", _recipe)),
    **dict.fromkeys(
        ("data",), Kind("the folder of a store (str or Path), or several: a list, or {folder: weight}", _store)
    ),
    **dict.fromkeys(
        ("out", "path", "folder", "from_", "cache", "show.text", "show.tokenizer", "show.model", "decoder", "explain"),
        PATH,
    ),
    **dict.fromkeys(("generate.text", "attention.text", "tree.text", "similar.text", "text2", "word"), TEXT),
    **dict.fromkeys(("similar.pairs", "analogies"), FILE),
    "among": Kind("a file, or a list of texts", _rows),
    "analogy": Kind("three words", lambda value: _names(_not_text(value))),
    "way": TEXT,
    **dict.fromkeys(("runs",), PATHS),
    "prepare_audio.sources": PATHS,
    **dict.fromkeys(("prepare_audio.rate", "prepare_audio.mels"), POSITIVE),
    "prepare_audio.dtype": TEXT,
    **dict.fromkeys(("triples", "test", "graph.dev", "links", "entity_vectors"), FILE),
    "sources": Kind("paths, or rows (a list of texts or of dicts, a DataFrame)", corpora),
    **dict.fromkeys(
        ("adapt.corpus", "adapt.keep"), Kind("paths, or rows (a list of texts or of dicts, a DataFrame)", corpora)
    ),
    **dict.fromkeys(("tokenizer", "words", "phrases", "entities", "bad_words", "clean_sample"), FILE),
    **dict.fromkeys(
        ("corpus", "queries", "relevant", "study.file"),
        FILE,
    ),
    **dict.fromkeys(
        ("input", "texts", "texts_of", "train", "dev"), Kind("a file, or rows (of one text: a list of one)", _rows)
    ),
    **dict.fromkeys(("text", "feeds", "shares", "pairs"), ASIDE),
    "multitask.recipe": Kind(
        "a MODEL (a path, hf:NAME or what load() gave) or a recipe, such as 'bert:mini',", _any_model
    ),
    **dict.fromkeys(("set", "task_set"), Kind("{'model.layers': 6} or ['model.layers=6']", _settings)),
    "columns": Kind("text=NAME,label=NAME or a dict", _columns),
    "learning_curve": Kind("numbers of rows and 'all', such as [50, 500, 'all'],", _numbers),
    **dict.fromkeys(("teacher", "ensemble"), Kind("a fine-tuning, or a list of several", _teachers)),
    "pretrain.teacher": PATH,
    "models": Kind("a list of models (paths, hf:NAME or what load() gave)", _models),
    "mix": Kind("'all' or a list of numbers from 1", _mixed),
    "vectors": PATH,
    "search": Kind("{'lr': [1e-5, 3e-5]} or ['lr=1e-5,3e-5']", _search),
    "compared": Kind("a list of Differences", _compared),
    "new_words": Kind("a word list (str or Path) or a whole number", lambda value: _is(value, str, os.PathLike, int)),
    **dict.fromkeys(
        ("tokenizer_sample", "hash_memory"), Kind("a size such as '100MB' or a whole number of bytes", _words_or_count)
    ),
    # how much
    **dict.fromkeys(
        (
            "steps",
            "tokens",
            "seeds",
            "folds",
            "trials",
            "eta",
            "n",
            "layer",
            "dim",
            "top",
            "budget",
            "stride",
            "limit",
            "beam",
            "no_repeat",
            "top_k",
            "batch",
            "changed",
            "samples",
            "surface.rows",
            "convert.length",
            "convert.window",
            "points",
            "groups",
            "patience",
            "passages",
        ),
        WHOLE,
    ),
    **dict.fromkeys(("seed", "epoch", "workers", "port"), NATURAL),
    **dict.fromkeys(("threads", "jobs", "prepare.tasks"), POSITIVE),
    "retries": NATURAL,
    "engine_set": Kind("{'partition': 'cpu'} or ['partition=cpu']", _settings),
    **dict.fromkeys(
        (
            *("minutes", "epochs", "holdout", "timeout", "length_penalty", "temperature", "top_p", "target_step"),
            *("amount", "tolerance", "rate", "smoothing", "keep_share", "power"),
        ),
        NUMBER,
    ),
    # how
    **dict.fromkeys(FLAGS, FLAG),
    **dict.fromkeys(
        ("language", "documents", "lines", "field", "encoding", "on_bad_line", "chinese", "name", "clean_language"),
        TEXT,
    ),
    **dict.fromkeys(("task", "method", "shard", "pool", "prompt", "precision", "to", "half", "push", "on"), TEXT),
    **dict.fromkeys(("host",), TEXT),
    "serve.models": Kind("a model (a path, hf:NAME or what load() gave), or a list of them", _served),
    "limits": Kind("{'texts': 32} or ['texts=32']", _settings),
    "serve.token": FILE,
    **dict.fromkeys(("per", "join", "written", "stop", "pieces"), TEXT),
    "objective": TEXT,
    **dict.fromkeys(("template", "target", "metric", "encoder", "feed", "executor", "engine"), TEXT),
    **dict.fromkeys(("prepare.normalise", "on_bad_answer"), TEXT),
    **dict.fromkeys(
        ("only", "new_heads", "watch", "drop", "members", "names", "clean", "glue.tasks", "clue.tasks"), NAMES
    ),
    "finetune.baseline": Kind(
        "True, False, 'tfidf' or 'fasttext'", lambda value: value if isinstance(value, str) else _flag(value)
    ),
    "labels": Kind("a list of classes or tags", _classes),
    "score.labels": Kind("a list of labels, or {'label': 'its words'}", _named),
    "answers": Kind("a list of texts", lambda value: _names(_not_text(value))),
    "on_long": _one_of("truncate", "window", "error"),
    "each": _one_of("one", "all"),
    "device": Kind("'cpu', 'cuda' or 'cuda:N'", _device),
    **dict.fromkeys(("say", "progress", "told"), CALL),
}
