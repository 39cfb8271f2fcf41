"""`fill`, `finetune`, `predict`, `evaluate`, `compare`, `embed`: what trained models are used for."""

import argparse
import json
from pathlib import Path
from typing import Any

import bertsmith
from bertsmith.cli.common import (
    WORK,
    add_base,
    add_columns,
    add_member,
    add_work,
    command,
    launched,
    loading,
    natural,
    positive,
    table,
)
from bertsmith.console import Console
from bertsmith.errors import InputError
from bertsmith.spelling import amount
from bertsmith.training import launch


def add_fill(commands: Any) -> None:
    made = command(commands, "fill", fill, "fill masks", 'bertsmith fill run "Paris is the [MASK] of France."')
    made.add_argument("model", metavar="MODEL")
    made.add_argument("text")
    made.add_argument("--top", type=positive, default=5, metavar="K")
    add_base(made)
    add_member(made)


def fill(arguments: argparse.Namespace, console: Console) -> None:
    result = bertsmith.fill(arguments.model, arguments.text, top=arguments.top, **loading(arguments, console))
    if arguments.json:
        console.out(json.dumps(result, ensure_ascii=False))
        return
    for mask in result["masks"]:
        console.out(f"{result['text']}  (token {mask['position']})")
        texts = [guess["text"] for guess in mask["top"]]
        for guess in mask["top"]:  # a word, and what goes on with one, may be the same text
            token = f"  ({guess['token']})" if texts.count(guess["text"]) > 1 else ""
            console.out(f"  {guess['p']:7.2%}  {guess['text']}{token}")
        if "written" in mask:
            console.out(f'  written  "{mask["written"]}"')


def add_finetune(commands: Any) -> None:
    example = "bertsmith finetune run --task classify --train train.tsv --dev dev.tsv --out classifier"
    made = command(commands, "finetune", finetune, "fine-tune a model on a labelled task", example)
    made.add_argument("model", metavar="MODEL")
    made.add_argument(
        "--task",
        required=True,
        metavar="KIND",
        help="classify, multilabel, ordinal or regress (texts; pairs where there is a column text2), choice (of several texts), tag (CoNLL files), qa (SQuAD's json), text2text, similarity or retrieval (vectors), relation (of two places in a text) or typing (of one)",
    )
    made.add_argument("--train", required=True, metavar="FILE")
    made.add_argument("--dev", metavar="FILE|SHARE", help="a file, or a share of the training file, such as 0.1")
    made.add_argument(
        "--folds",
        type=positive,
        metavar="N",
        help="cross-validation in place of --dev: each of N parts of the training file by the others",
    )
    made.add_argument(
        "--learning-curve",
        metavar="50,500,all",
        help="with so many training rows each the model, fresh weights and, with --baseline, TF-IDF",
    )
    made.add_argument(
        "--search",
        nargs="+",
        metavar="FIELD=A,B,…",
        help="settings, epochs, steps or method: the best of all combinations on the dev file, by successive halving",
    )
    made.add_argument("--trials", type=positive, metavar="N", help="of the search's combinations that are tried")
    made.add_argument(
        "--eta", type=positive, default=2, metavar="N", help="of N trials one goes on: 2, 3, …; 2 unless given"
    )
    made.add_argument(
        "--labels",
        type=names,
        default=(),
        metavar="A,B,…",
        help="all labels there are, where the training file need not hold every one",
    )
    made.add_argument("--out", required=True, metavar="RUN")
    add_columns(made)
    made.add_argument(
        "--template", metavar="TEXT", help="text2text: what is read: 'premise: {premise} hypothesis: {hypothesis}'"
    )
    made.add_argument("--target", metavar="TEXT", help="text2text: what is to be written: '{label}', '{score:.1f}'")
    made.add_argument("--target-step", type=float, metavar="X", help="text2text: round a target's numbers, such as 0.2")
    made.add_argument("--metric", metavar="NAME", help="text2text: exact, f1, accuracy, pearson, bleu, chrf, rouge, …")
    made.add_argument(
        "--decoder",
        metavar="HOW|MODEL",
        help="text2text with an encoder: fresh, copy (of it), share, or another encoder",
    )
    made.add_argument(
        "--encoder",
        default="given",
        metavar="given|fresh",
        help="beside --decoder copy: fresh weights for the encoder, MODEL's for the decoder",
    )
    made.add_argument(
        "--method",
        default="full",
        help="full; frozen: the head over features that are computed once; mix: and over a mixture of all layers; adapter, lora, prefix, pal, bias: what is small learns and is saved alone; int8: all of it, on the grid of the eight bits that `compress --method int8` then writes",
    )
    made.add_argument("--scratch", action="store_true", help="MODEL's architecture and tokenizer with fresh weights")
    made.add_argument("--seeds", type=positive, default=1, metavar="N", help="runs with N seeds, their mean and spread")
    made.add_argument(
        "--epochs",
        type=float,
        metavar="N",
        help="unless a length is given: 3 (20 of a frozen trunk), or as many more as small files need",
    )
    made.add_argument("--steps", type=positive)
    made.add_argument("--tokens", type=positive)
    made.add_argument("--minutes", type=float)
    made.add_argument(
        "--teacher",
        nargs="+",
        metavar="RUN",
        help="fine-tunings of the same task, whose mean is learned beside the labels",
    )
    made.add_argument("--on-long", choices=("truncate", "window", "error"))
    made.add_argument(
        "--on-bad-answer",
        choices=("error", "mend", "skip"),
        default="error",
        help="of answers of a training file (qa) that do not stand where it says: mend takes the nearest place; of spans within others (tag): mend takes the longer",
    )
    made.add_argument("--allow-unknown", action="store_true", help="accept more than 5 %% of [UNK]")
    made.add_argument(
        "--baseline",
        nargs="?",
        const=True,
        default=False,
        metavar="tfidf|fasttext",
        help="what a simple method reaches, beside it: TF-IDF with a linear model, or fastText's classifier",
    )
    made.add_argument("--against", metavar="RUN", help="another fine-tuning with this dev file: the paired difference")
    made.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="such as batch=16 or lr=3e-5")
    add_work(made)
    add_member(made)


def names(text: str) -> tuple[str, ...]:
    """A list of labels, as it is typed."""
    found = tuple(name.strip() for name in text.split(","))
    if not all(found) or len({*found}) < len(found):
        raise argparse.ArgumentTypeError(f"{text!r}: different names are wanted, with commas between them")
    return found


def finetune(arguments: argparse.Namespace, console: Console) -> None:
    if launched(arguments):
        return
    names = (
        "task",
        "train",
        "dev",
        "folds",
        "learning_curve",
        "search",
        "trials",
        "eta",
        "labels",
        "out",
        "template",
        "target",
        "target_step",
        "metric",
        "decoder",
        "encoder",
        "method",
        "scratch",
        "seeds",
        "teacher",
        "on_long",
        "on_bad_answer",
        "allow_unknown",
        "baseline",
        "against",
        "set",
    )
    lengths = ("epochs", "steps", "tokens", "minutes")
    options = {name: getattr(arguments, name) for name in (*names, *lengths, *WORK)} | table(arguments)
    result = bertsmith.finetune(
        arguments.model, members=tuple(arguments.member), say=console.say, progress=console.progress, **options
    )
    if arguments.json and launch.rank() == 0:
        console.out(json.dumps(result))


def add_predict(commands: Any) -> None:
    example = "bertsmith predict classifier --input new.tsv --out predictions.jsonl"
    made = command(commands, "predict", predict, "JSON lines {index, label, scores}", example)
    made.add_argument("model", metavar="MODEL")
    made.add_argument("--input", required=True, metavar="FILE")
    made.add_argument("--out", required=True, metavar="FILE")
    made.add_argument("--top", type=positive, metavar="N", help="qa: the N best answers a question, as `answers`")
    made.add_argument(
        "--explain", metavar="FILE.html", help="the first 100 texts, coloured by what the answers lean on"
    )
    add_ensemble(made)
    add_columns(made)
    add_base(made)
    add_member(made)


def add_ensemble(made: Any) -> None:
    made.add_argument(
        "--ensemble",
        action="append",
        default=[],
        metavar="MODEL",
        help="a further fine-tuning of the task; what is answered is the mean of all (may be repeated)",
    )


def predict(arguments: argparse.Namespace, console: Console) -> None:
    options = {"top": arguments.top, "explain": arguments.explain, "ensemble": arguments.ensemble}
    options |= {**table(arguments), **loading(arguments, console)}
    rows = bertsmith.predict(arguments.model, arguments.input, arguments.out, **options)
    if arguments.json:
        console.out(json.dumps({"predictions": len(rows), "out": arguments.out}))


def add_evaluate(commands: Any) -> None:
    example = "bertsmith evaluate classifier --input test.tsv"
    made = command(
        commands, "evaluate", evaluate, "{metric: {value, low, high}} with 95 % bootstrap intervals", example
    )
    made.add_argument("model", metavar="MODEL")
    made.add_argument("--input", metavar="FILE", help="labelled rows, for a fine-tuned model")
    made.add_argument("--data", metavar="STORE", help="for a pre-training run: loss on the held-out documents")
    made.add_argument(
        "--corpus", metavar="FILE", help="with --queries and --relevant: how well vectors find texts (BEIR's files)"
    )
    made.add_argument("--queries", metavar="FILE")
    made.add_argument("--relevant", metavar="FILE", help="query-id, corpus-id, score")
    made.add_argument("--per-class", action="store_true", help="with --json: class by class, and the confusion matrix")
    add_ensemble(made)
    add_columns(made)
    add_base(made)
    add_member(made)


def evaluate(arguments: argparse.Namespace, console: Console) -> None:
    searched = {name: getattr(arguments, name) for name in ("corpus", "queries", "relevant")}
    if (arguments.input is not None) + (arguments.data is not None) + any(searched.values()) != 1:
        raise InputError(
            "evaluate: give --input FILE for a fine-tuned model, --data STORE for a pre-training run, or --corpus, --queries and --relevant FILE for vectors"
        )
    options = {"data": arguments.data} if arguments.data else {"input": arguments.input, **table(arguments)}
    options = searched if any(searched.values()) else options
    options["per_class"] = arguments.per_class or not arguments.json
    options["ensemble"] = arguments.ensemble
    result = bertsmith.evaluate(arguments.model, **options, **loading(arguments, console))
    if arguments.json:
        console.out(json.dumps(result))
        return
    from bertsmith.tasks import breakdown

    for name, figure in result.items():
        if name not in breakdown.KEYS:
            shown = f"{figure['value']:.4f}  [{figure['low']:.4f}, {figure['high']:.4f}]"
            console.out(f"{name:20} {shown}{breakdown.beside(result, name)}")
    for line in breakdown.lines(result):
        console.out(line)


def add_compare(commands: Any) -> None:
    example = "bertsmith compare classifier scratch --input test.tsv"
    about = "the paired difference of two fine-tuned models, with 95 % intervals over texts and seeds"
    made = command(commands, "compare", compare, about, example)
    made.add_argument("a", metavar="A")
    made.add_argument("b", metavar="B")
    made.add_argument("--input", metavar="FILE", help="labelled rows; the dev file of both unless given")
    made.add_argument(
        "--changed", type=natural, default=20, metavar="N", help="texts that changed most; the first five are shown"
    )
    made.add_argument("--out", metavar="FILE.jsonl", help="all of these, a JSON line each")
    add_columns(made)
    add_base(made)
    add_member(made)


def compare(arguments: argparse.Namespace, console: Console) -> None:
    a, b = arguments.a, arguments.b
    options = {"changed": arguments.changed, "out": arguments.out, **table(arguments)}
    result = bertsmith.compare(a, b, arguments.input, **options, **loading(arguments, console))
    if arguments.json:
        console.out(json.dumps(result))
        return
    from bertsmith.downstream import changed
    from bertsmith.downstream.compare import table as lines
    from bertsmith.tasks import kinds

    seeds = (
        f"{result['seeds']['a']} and {amount(result['seeds']['b'], 'seed')}"
        if max(result["seeds"].values()) > 1
        else ""
    )
    over = "texts and seeds" if seeds else "texts"
    console.out(
        ", ".join(
            filter(None, (f"{result['input']}: {amount(result['texts'], 'row')}", seeds, f"95 % intervals over {over}"))
        )
    )
    for line in lines(a, b, result):
        console.out(line)
    console.out(result["says"])
    for line in (*changed.said(a, b, result), *changed.shown(a, b, result["changed"], kinds.kind(result["task"]))):
        console.out(line)
    if len(result["changed"]) > changed.SHOWN:
        more = len(result["changed"]) - changed.SHOWN
        console.out(f"  … {more:,} more" + ("" if arguments.out else "; --out FILE has them"))


def add_embed(commands: Any) -> None:
    made = command(
        commands,
        "embed",
        embed,
        "vectors as .npy, in input order",
        "bertsmith embed run --input texts.txt --out vectors",
    )
    made.add_argument("model", metavar="MODEL")
    made.add_argument("--input", required=True, metavar="FILE")
    made.add_argument("--out", required=True, metavar="DIR")
    made.add_argument(
        "--pool",
        help="mean, cls, max, mean_sqrt_len, weightedmean, lasttoken, or several (cls+mean); mean, unless an imported sentence encoder says otherwise",
    )
    made.add_argument(
        "--prompt",
        metavar="NAME|TEXT",
        help="what stands before each text: a prompt that the encoder has by name, or a text",
    )
    made.add_argument(
        "--normalise", choices=("yes", "no"), help="vectors of length 1; no, unless such an encoder says so"
    )
    made.add_argument("--dim", type=positive, metavar="N", help="the first N numbers of each vector, to length 1")
    made.add_argument("--layer", type=int, help="0 = embeddings, 1 = first layer, ...; the last unless given")
    made.add_argument(
        "--precision",
        choices=("exact", "auto", "float32", "bfloat16"),
        default="exact",
        help="bfloat16 is several times faster and good to 2 or 3 digits",
    )
    add_columns(made)
    add_base(made)
    add_member(made)


def embed(arguments: argparse.Namespace, console: Console) -> None:
    options = {name: getattr(arguments, name) for name in ("pool", "prompt", "layer", "dim", "precision")} | table(
        arguments
    )
    options |= {"normalise": arguments.normalise == "yes"} if arguments.normalise else {}
    shape = bertsmith.embed(
        arguments.model, arguments.input, out=arguments.out, **options, **loading(arguments, console)
    ).shape
    if arguments.json:
        console.out(json.dumps({"rows": shape[0], "width": shape[1], "out": str(Path(arguments.out))}))
        return
    console.out(
        f"{arguments.out}: {amount(shape[0], 'vector')} of {amount(shape[1], 'number')} in vectors.npy; what they are in embed.json"
    )
