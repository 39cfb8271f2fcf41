"""The model card of an export: what the model is, what it learned from, how it scored, how to open it.  No path of the machine is in it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

from bertsmith import __version__, files
from bertsmith.config import to_dict
from bertsmith.deploy.snippets import code, reading_note, snippet, tokenizer_note
from bertsmith.deploy.texts import store_of
from bertsmith.downstream.model import Loaded
from bertsmith.downstream.several import result_of
from bertsmith.downstream.tuned import RESULT
from bertsmith.errors import printable
from bertsmith.spelling import amount, an
from bertsmith.training.run import METRICS

PIPELINES = {
    "token": "fill-mask",
    "label": "text-classification",
    "tag": "token-classification",
    "span": "question-answering",
}


def card(loaded: Loaded, compared: dict[str, Any]) -> str:
    """The text of README.md; `compared` is what the export found."""
    terms = tuple(loaded.member.weights())
    first = next((term for term in PIPELINES if term in terms), None)
    if first == "token" and loaded.recipe.model.asks:  # by perm_mask and target_mapping: no pipeline does
        first = None
    if first == "token" and loaded.recipe.model.decodes:
        first = None
    tag = "text-generation" if first == "token" and loaded.reading().causal else PIPELINES.get(first or "")
    head = {"library_name": "transformers", "tags": ["bertsmith", loaded.recipe.name]}
    head |= {"pipeline_tag": tag} if tag else {}
    sections = {
        "": _what(loaded, terms),
        "How to open it": _use(loaded, compared),
        "How texts are read": reading_note(loaded),
        "Data": _data(loaded),
        "Scores": _scores(loaded),
        "Settings": _settings(loaded),
        "Checked": _checked(compared),
        "Licence": [
            "Not stated. Before you publish it, name one (`license:` at the top of this page) that fits the data, too."
        ],
    }
    front = "".join(f"{name}: {json.dumps(value)}\n" for name, value in head.items())
    written = {title: list(lines) for title, lines in sections.items()}
    body = "\n".join(
        "\n".join([*([f"## {title}", ""] if title else []), *lines, ""]) for title, lines in written.items() if lines
    )
    return f"---\n{front}---\n\n# {loaded.recipe.name}, {_size(loaded)}\n\n{body}"


def _size(loaded: Loaded) -> str:
    model = loaded.recipe.model
    return f"{amount(model.layers, 'layer')}, width {model.width}"


def _what(loaded: Loaded, terms: tuple[str, ...]) -> Iterator[str]:
    made = {"pretrain": "pre-trained", "finetune": "fine-tuned", "import": "imported"}[loaded.kind]
    count = sum(p.numel() for p in loaded.member.parameters())
    heads = ", ".join(terms) or "none"
    yield f"{an(loaded.recipe.name).capitalize()} of {amount(count, 'parameter')}, {made} by bertsmith {__version__}; heads: {heads}."
    kind = (loaded.task or {}).get("kind")
    if kind == "tag":
        yield f"It tags words as one of: {_listed(loaded.labels.names)}."
    elif kind == "qa":
        yield f"It answers questions with a piece of a text{', or says that there is no answer' * loaded.labels.nulls}."
    elif kind is not None and (writes := loaded.writing) is not None:
        wanted = "what its training file has" if writes.target is None else code(writes.target.text)
        yield f"It reads a text and writes another: {wanted}."
    elif kind == "choice":
        yield "It chooses one of several texts, each of which it reads as a pair with another."
    elif kind == "ordinal":
        yield f"It gives {_texts(loaded)} one of these classes, from the lowest to the highest: {_listed(loaded.labels.names)}."
    elif kind == "multilabel":
        yield f"It gives {_texts(loaded)} any of these labels, or none: {_listed(loaded.labels.names)}."
    elif loaded.kind == "finetune" and (vectors := loaded.config.get("vectors")):
        yield f"It gives vectors, near each other where texts belong together (pooling: {vectors['pool']})."
        if "sizes" in vectors:
            yield f"The first {' or '.join(map(str, vectors['sizes']))} numbers of one are a vector, too."
    elif loaded.task is not None and loaded.labels.names:
        yield f"It classifies {_texts(loaded)} as one of: {_listed(loaded.labels.names)}."
    elif loaded.task is not None:
        yield f"It gives a number for {_texts(loaded)}, in the scale of its training file."
    if loaded.kind == "import":
        source = loaded.config["source"]
        yield f"It came as {', '.join(source.get('architectures') or [str(source.get('model_type'))])} and was not trained further."
    elif loaded.kind == "finetune" and "from" in loaded.config:
        yield f"It began with {_began(loaded)}."
    if "precision" in loaded.config:
        yield f"It learned in {loaded.config['precision']}; the tensors here are float32."


def _listed(names: Sequence[str]) -> str:
    return ", ".join(printable(name, 60) for name in names)


def _texts(loaded: Loaded) -> str:
    return {True: "pairs of texts", False: "texts", None: "texts, or pairs of them,"}[(loaded.task or {}).get("pairs")]


def _imported(loaded: Loaded) -> bool:
    """Whether the trunk was pre-trained elsewhere, in a way that we do not know."""
    return loaded.kind == "import" or loaded.recipe.tokenizer == "loaded"


def _began(loaded: Loaded) -> str:
    weights = (loaded.config.get("from") or {}).get("weights")
    if weights is None:
        return "fresh weights"
    sums = weights.values() if isinstance(weights, dict) else [weights]
    whose = "a model that was imported" if _imported(loaded) else "a model that was pre-trained by bertsmith"
    return f"the weights of {whose} (SHA-256 {', '.join(f'`{one}`' for one in sums)})"


def _use(loaded: Loaded, compared: dict[str, Any]) -> Iterator[str]:
    yield f"```python\n{snippet(loaded)}```"
    yield ""
    yield from tokenizer_note(loaded, compared)
    verb = "embed FOLDER --input texts.txt --out vectors"
    verb = "predict FOLDER --input rows.tsv --out answers.jsonl" if loaded.writing else verb
    if compared["classes"] != ["EncoderDecoderModel"]:
        yield f"bertsmith itself takes the folder as a model: `bertsmith {verb}`, and so on."


def _data(loaded: Loaded) -> Iterator[str]:
    data = loaded.config.get("data") or {}
    if loaded.kind == "finetune":
        counts = _result(loaded).get("texts") or {}
        for part in ("train", "dev"):
            share, fold = data[part].get("share"), data[part].get("fold")
            of = f"a share of {share:g} of the training file, " if share else ""
            of = f"fold {fold['number']} of {fold['of']} of the training file, " if fold else of
            read = _read(counts.get(part) or {}, loaded)
            yield f"- {part}:{_named(data[part])} {of}{amount(data[part]['rows'], 'row')}{read}, SHA-256 {'of their numbers ' if of else ''}`{data[part]['sha256']}`"
    elif loaded.kind == "pretrain":
        yield f"- token store{_named(data)} with the digest `{data.get('digest')}`"
        store = store_of(loaded.config)
        if store is not None:
            for name, split in (("training", store.train), ("held out", store.held_out)):
                sentences, documents = len(split.sentences) - 1, len(split.documents) - 1
                yield f"- {name}: {amount(split.count, 'token')}, {amount(sentences, 'sentence')}, {amount(documents, 'document')}"
    else:
        yield "- not known: the folder that it was imported from does not say"
    kind = type(loaded.tokenizer.backend.model).__name__
    yield f"- tokenizer: {kind}, {amount(loaded.vocab.size, 'token')}; texts of up to {amount(loaded.length(), 'token')}"


def _named(data: dict[str, Any]) -> str:
    """The last part of a path, which is no path of the machine."""
    name = os.path.basename(str(data.get("path") or "").rstrip("/"))
    return f" `{printable(name, 60).replace('`', '')}`," if name else ""


def _read(counts: dict[str, int], loaded: Loaded) -> str:
    """What became of them on the way to the model."""
    said = f", {amount(counts['tokens'], 'token')}" if "tokens" in counts else ""
    if counts.get("long"):
        how = (
            f"{amount(counts['cut'], 'token')} cut"
            if counts.get("cut")
            else f"{counts.get('windows', 0):,} windows in all"
        )
        said += f", {amount(counts['long'], 'row')} longer than {amount(loaded.length(), 'token')} ({how})"
    return said


def _result(loaded: Loaded) -> dict[str, Any]:
    """result.json of a fine-tuning, or nothing."""
    path = loaded.run / RESULT
    found = files.unsealed(path.read_bytes(), path) if loaded.kind == "finetune" and path.is_file() else {}
    return result_of(found, loaded.named)


def _scores(loaded: Loaded) -> Iterator[str]:
    if result := _result(loaded):
        yield "On the dev file, which also chose the epoch; with 95 % intervals over its rows:"
        yield ""
        for name, score in result["dev"].items():
            yield f"- {name} {score['value']:.4f} [{score['low']:.4f}, {score['high']:.4f}]"
        yield from _classes(result)
        return
    line = _evaluated(loaded)
    for term, means in line.get("evaluation", {}).items():
        yield f"- held-out {term}: " + ", ".join(f"{name} {value:.4f}" for name, value in means.items())
    if not line:
        yield "- none: it was not evaluated on held-out text"


def _classes(result: dict[str, Any]) -> Iterator[str]:
    """A table, where the result tells of each class."""
    if not isinstance(found := result.get("classes"), dict) or not found:
        return
    yield from ("", "| class | precision | recall | F1 | rows |", "|---|---|---|---|---|")
    for name, row in found.items():
        cells = (printable(name, 60).replace("|", "\\|"), *(f"{row[key]:.3f}" for key in ("precision", "recall", "f1")))
        yield f"| {' | '.join(cells)} | {row['support']:,} |"


def _evaluated(loaded: Loaded) -> dict[str, Any]:
    """The newest line of metrics.jsonl with an evaluation, up to the step that is exported."""
    path, found = loaded.run / METRICS, {}
    last = int(loaded.path.name.removeprefix("step-")) if loaded.kind == "pretrain" else 0
    for line in path.read_text(encoding="utf-8").splitlines() if last and path.is_file() else ():
        if '"evaluation"' in line and (row := json.loads(line))["step"] <= last:
            found = row
    return found


def _settings(loaded: Loaded) -> Iterator[str]:
    """Of what happened here, and of nothing else: how an imported trunk was pre-trained we do not know."""
    recipe, config = to_dict(loaded.recipe), dict[str, Any]()
    if loaded.kind == "pretrain":
        config["recipe"] = recipe
    else:
        config["model"] = recipe["model"]
    if loaded.kind == "finetune":
        task = loaded.task or {}
        own = {name: task[name] for name in ("method", "scratch", "on_long") if name in task}
        config["fine-tuning"] = {**own, **task["settings"], "objective": recipe["objective"]}
        if not _imported(loaded) and not task.get("scratch"):
            config["pre-training"] = {"layout": recipe["layout"], "corruption": recipe["corruption"]}
    config |= {key: loaded.config[key] for key in ("steps", "seed", "precision", "versions") if key in loaded.config}
    yield "```json"
    yield json.dumps(config, indent=1, ensure_ascii=False)
    yield "```"


def _checked(compared: dict[str, Any]) -> Iterator[str]:
    classes = ", ".join(dict.fromkeys(compared["classes"]))
    apart = max(compared["largest_difference"].values())
    yield f"transformers {compared['transformers']} opened it as {classes} with no tensor missing; largest difference of any answer in float32"
    yield f"{apart:.1e} of the largest; the same token ids for {amount(compared['texts'], 'text')} ({compared['texts_from']})."
