"""`adapt`: go on with a model on one's own text, and see what it bought."""

import argparse
import json
from typing import Any

import bertsmith
from bertsmith.cli.common import add_columns, add_member, command, natural, positive, table
from bertsmith.console import Console


def add_adapt(commands: Any) -> None:
    example = "bertsmith adapt folder --corpus reports/ --keep wiki.txt --out run --minutes 10"
    about = "go on with a model on one's own text, and see what it bought"
    made = command(commands, "adapt", adapt, about, example)
    made.add_argument("model", metavar="MODEL")
    made.add_argument("--corpus", nargs="+", default=[], metavar="SOURCE", help="the new text, as prepare takes it")
    made.add_argument("--texts-of", metavar="FILE", help="texts of a labelled file: alone, or after the corpus")
    made.add_argument("--out", required=True, metavar="RUN", help="the adapted MODEL, and adapt.json")
    made.add_argument("--keep", nargs="+", default=[], metavar="SOURCE", help="a text of the old domain")
    made.add_argument("--keep-share", type=float, default=0.1, metavar="P", help="of what is read, that is of --keep")
    made.add_argument("--new-words", metavar="N|FILE", help="words that become tokens: how many, or a list")
    made.add_argument("--objective", metavar="MEMBER", help="asked as this member is, and not as the model's own")
    made.add_argument("--steps", type=positive, help="of all stages together")
    made.add_argument("--tokens", type=positive)
    made.add_argument("--minutes", type=float)
    made.add_argument("--patience", type=positive, default=3, metavar="N", help="exams without a lower held-out loss")
    _add_text(made)
    _add_task(made)
    made.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="such as schedule.lr=5e-5")
    made.add_argument("--seed", type=natural, default=0)
    made.add_argument("--workers", type=natural, default=1, help="loader workers; 0 loads between the steps")
    made.add_argument("--threads", type=positive, help="CPU threads; the same number gives the same bits")
    made.add_argument("--device", help="cpu, cuda or cuda:N")
    made.add_argument("--allow-unknown", action="store_true", help="accept more than 5 %% of [UNK]")
    made.add_argument("--resume", action="store_true", help="go on where it was stopped")
    add_member(made)


def _add_text(made: Any) -> None:
    made.add_argument("--holdout", type=float, default=0.05, metavar="SHARE", help="of the documents, that is measured")
    made.add_argument("--passages", type=positive, default=48, metavar="N", help="of each text that are measured")
    made.add_argument("--documents", choices=("blank", "file"), default="blank", help="what parts documents")
    made.add_argument("--lines", choices=("paragraph", "sentence", "wrapped"), default="paragraph")
    made.add_argument("--field", default="text", metavar="NAME", help="of records, the one that holds the text")
    made.add_argument("--language", metavar="CODE", help="whose rules part sentences")


def _add_task(made: Any) -> None:
    made.add_argument("--task", metavar="KIND", help="fine-tuned from the model before and after: classify, tag, …")
    made.add_argument("--train", metavar="FILE")
    made.add_argument("--dev", metavar="FILE", help="or a share of the training rows: 0.1")
    add_columns(made)
    made.add_argument("--seeds", type=positive, default=1, metavar="N", help="fine-tunings of each")
    made.add_argument("--epochs", type=float, help="of fine-tuning")
    made.add_argument("--task-set", action="append", default=[], metavar="FIELD=VALUE", help="settings of fine-tuning")


def adapt(arguments: argparse.Namespace, console: Console) -> None:
    names = ("texts_of", "keep", "keep_share", "new_words", "objective", "steps", "tokens", "minutes", "patience")
    names += ("holdout", "passages", "documents", "lines", "field", "language")
    names += ("task", "train", "dev", "seeds", "epochs", "task_set")
    names += ("set", "seed", "workers", "threads", "device", "allow_unknown", "resume")
    options = {name: getattr(arguments, name) for name in names} | table(arguments)
    found = bertsmith.adapt(
        arguments.model,
        arguments.corpus,
        out=arguments.out,
        members=tuple(arguments.member),
        say=console.say,
        progress=console.progress,
        **options,
    )
    if arguments.json:
        console.out(json.dumps(found))
