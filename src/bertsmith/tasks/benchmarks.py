"""GLUE and CLUE as data: where each task's official files lie, what stands in which column, what is scored, and what is sent in.

Wang et al. 2019 (arXiv:1804.07461) and the archives of gluebenchmark.com; Xu et al. 2020 (arXiv:2004.05986) and cluebenchmarks.com.  What
people reach is the published line, in points, where it could be confirmed (None: it could not; CLUE's are those of the table in
github.com/CLUEbenchmark/FewCLUE); the scores of models are those of the dev files, as test labels are kept by the servers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bertsmith.errors import InputError, printable

YES, NLI, ENTAILS = ("0", "1"), ("contradiction", "entailment", "neutral"), ("not_entailment", "entailment")
Columns = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file: the first of `names` that is there, in the task's own folder or (`folders`) in one of these; `columns` as `--columns`."""

    names: tuple[str, ...]
    columns: Columns
    header: bool = True
    folders: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Dev(Source):
    """Labelled rows: `metrics` are their scores and `human` what people reach in them; one that does not count stands beside the score."""

    metrics: tuple[str, ...]
    human: tuple[float, ...] = ()
    name: str = ""  # where a task has several
    counts: bool = True


@dataclass(frozen=True, kw_only=True)
class Test(Source):
    """Rows without labels, and the file of the archive that has their answers, each with the number in the column `index`."""

    archived: str
    index: str = "index"  # "": rows are counted from 0
    more: dict[str, Any] = field(default_factory=dict)  # what the server wants beside an answer


@dataclass(frozen=True, kw_only=True)
class Official:
    """A task of a benchmark.  The first of `devs` chooses the step."""

    name: str
    folders: tuple[str, ...]  # what the task's may be called, case aside
    train: Source
    devs: tuple[Dev, ...]
    tests: tuple[Test, ...]
    kind: str = "classify"
    labels: tuple[str, ...] = ()  # all there are, the positive one last; (): those of the training file
    bounds: tuple[float, float] = (0.0, 1.0)  # of a number that is sent in
    undecided: tuple[str, ...] = ()  # labels of rows that nobody agreed about: left out
    broken: bool = False  # whether the training and dev files are known to have lines with too few columns: left out
    made: Callable[[dict[str, Any], str], dict[str, Any]] | None = None  # a row of JSON as one of plain columns

    @property
    def human(self) -> float | None:
        """The published score of people, in points; None where there is none."""
        each = [sum(dev.human) / len(dev.human) for dev in self.devs if dev.counts and dev.human]
        return sum(each) / len(each) if each else None


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    name: str
    tasks: tuple[Official, ...]
    written: Callable[[Test, Sequence[Any], Sequence[str]], bytes]  # (test, indices, answers) -> a file of the archive
    others: dict[str, str] = field(default_factory=dict)  # tasks that are not run here, and what can be done


def _tsv(test: Test, indices: Sequence[Any], answers: Sequence[str]) -> bytes:
    rows = (f"{index}\t{answer}\n" for index, answer in zip(indices, answers, strict=True))
    return ("index\tprediction\n" + "".join(rows)).encode()


def _jsonl(test: Test, indices: Sequence[Any], answers: Sequence[str]) -> bytes:
    pairs = zip(indices, answers, strict=True)
    return "".join(json.dumps({"id": index, "label": answer, **test.more}) + "\n" for index, answer in pairs).encode()


def _glue(name: str, columns: Columns, dev: Dev, *folders: str, index: str = "index", **more: Any) -> Official:
    """A task whose three files have the same columns under the same names."""
    texts = {role: column for role, column in columns.items() if role != "label"}
    return Official(
        name=name,
        folders=(name, *folders),
        train=Source(names=("train.tsv",), columns=columns),
        devs=(dev,),
        tests=(Test(names=("test.tsv",), columns=texts, archived=f"{name}.tsv", index=index),),
        **more,
    )


def _dev(columns: Columns, metrics: tuple[str, ...], *human: float) -> Dev:
    return Dev(names=("dev.tsv",), columns=columns, metrics=metrics, human=human)


SENTENCE = {"text": "sentence", "label": "label"}
PAIR = {"text": "sentence1", "text2": "sentence2", "label": "label"}
QUESTION = {"text": "question", "text2": "sentence", "label": "label"}
SIMILAR = {**PAIR, "label": "score"}
QUESTIONS = {"text": "question1", "text2": "question2", "label": "is_duplicate"}
STRINGS = {"text": "#1 String", "text2": "#2 String", "label": "Quality"}
GENRES = {**PAIR, "label": "gold_label"}
PREMISE = {"text": "sentence1", "text2": "sentence2"}
LABELLED_AX = {"text": "Premise", "text2": "Hypothesis", "label": "Label"}
ACCURACY, BOTH, CORRELATIONS = ("accuracy",), ("f1", "accuracy"), ("pearson", "spearman")
DIAGNOSTIC = ("diagnostic", "diagnostics", "AX")

# CoLA's labelled files have no header: source, label, the author's mark, sentence.
COLA = {"text": "4", "label": "2"}
GLUE = Benchmark(
    name="GLUE",
    written=_tsv,
    tasks=(
        Official(
            name="CoLA",
            folders=("CoLA",),
            labels=YES,
            train=Source(names=("train.tsv",), columns=COLA, header=False),
            devs=(Dev(names=("dev.tsv",), columns=COLA, header=False, metrics=("matthews",), human=(66.4,)),),
            tests=(Test(names=("test.tsv",), columns={"text": "sentence"}, archived="CoLA.tsv"),),
        ),
        _glue("SST-2", SENTENCE, _dev(SENTENCE, ACCURACY, 97.8), "SST2", labels=YES),
        _glue("MRPC", STRINGS, _dev(STRINGS, BOTH, 86.3, 80.8), labels=YES),
        _glue(
            "STS-B",
            SIMILAR,
            _dev(SIMILAR, CORRELATIONS, 92.7, 92.6),
            "STSB",
            kind="regress",
            bounds=(0.0, 5.0),
        ),
        _glue("QQP", QUESTIONS, _dev(QUESTIONS, BOTH, 59.5, 80.4), index="id", labels=YES, broken=True),
        Official(
            name="MNLI",
            folders=("MNLI",),
            labels=NLI,
            train=Source(names=("train.tsv",), columns=GENRES),
            devs=(
                Dev(names=("dev_matched.tsv",), columns=GENRES, metrics=ACCURACY, human=(92.0,), name="matched"),
                Dev(names=("dev_mismatched.tsv",), columns=GENRES, metrics=ACCURACY, human=(92.8,), name="mismatched"),
                Dev(
                    names=("diagnostic-full.tsv",),
                    folders=DIAGNOSTIC,
                    columns=LABELLED_AX,
                    metrics=("matthews",),
                    name="AX",
                    counts=False,
                ),
            ),
            tests=(
                Test(names=("test_matched.tsv",), columns=PREMISE, archived="MNLI-m.tsv"),
                Test(names=("test_mismatched.tsv",), columns=PREMISE, archived="MNLI-mm.tsv"),
                Test(
                    names=("diagnostic.tsv", "AX.tsv", "test.tsv"),
                    folders=DIAGNOSTIC,
                    columns=PREMISE,
                    archived="AX.tsv",
                ),
            ),
        ),
        _glue("QNLI", QUESTION, _dev(QUESTION, ACCURACY, 91.2), labels=ENTAILS),
        _glue("RTE", PAIR, _dev(PAIR, ACCURACY, 93.6), labels=ENTAILS),
        _glue("WNLI", PAIR, _dev(PAIR, ACCURACY, 95.9), labels=YES),
    ),
)


def marked(row: dict[str, Any], where: str) -> dict[str, Any]:
    """CLUEWSC's text with the noun between _ and the pronoun between [ and ], as CLUE's own code has it."""
    text, target = row.get("text"), row.get("target")
    if not isinstance(text, str) or not isinstance(target, dict):
        raise InputError(f"{where}: 'text' and 'target' with its two spans are expected")
    spans = []
    for number, marks in ((1, "__"), (2, "[]")):
        start, words = target.get(f"span{number}_index"), target.get(f"span{number}_text")
        if type(start) is not int or not isinstance(words, str) or not text.startswith(words, start):
            raise InputError(f"{where}: {printable(words, 40)!r} does not stand at character {start} of its text")
        spans.append((start, words, marks))
    for start, words, marks in sorted(spans, reverse=True):  # the later one first: it moves nothing
        text = text[:start] + marks[0] + words + marks[1] + text[start + len(words) :]
    return {**{key: value for key, value in row.items() if key != "target"}, "text": text}


def keywords(row: dict[str, Any], where: str) -> dict[str, Any]:
    """CSL's list of keywords as one text."""
    words = row.get("keyword")
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise InputError(f"{where}: keyword: a list of texts is expected")
    return {**row, "keyword": " ".join(words)}


def _clue(
    name: str, columns: Columns, human: float | None, *train: str, archived: str = "", more: Any = None, **options: Any
) -> Official:
    texts = {role: column for role, column in columns.items() if role != "label"}
    low = name.lower()
    options.setdefault("folders", (name, f"{low}_public"))
    return Official(
        name=name,
        train=Source(names=(*train, "train.json"), columns=columns),
        devs=(Dev(names=("dev.json",), columns=columns, metrics=ACCURACY, human=() if human is None else (human,)),),
        tests=(
            Test(
                names=("test.json",),
                columns=texts,
                archived=f"{archived or low}_predict.json",
                index="id",
                more=more or {},
            ),
        ),
        **options,
    )


SPANS, ABSTRACT = {"text": "text", "label": "label"}, {"text": "keyword", "text2": "abst", "label": "label"}
ELSEWHERE = "`bertsmith finetune --task qa` reads its files"
CHOICE = "`bertsmith finetune --task choice` reads its questions, once they stand as rows"
OCNLI_TRAIN = ("train.50k.json", "train.30k.json", "train.10k.json", "train.3k.json")
CLUE = Benchmark(
    name="CLUE",
    written=_jsonl,
    tasks=(
        _clue("AFQMC", PAIR, None, labels=YES),
        _clue("TNEWS", SENTENCE, 71.0, archived="tnews11", more={"label_desc": ""}),
        _clue("IFLYTEK", SENTENCE, None),
        _clue("CMNLI", PAIR, None, labels=NLI, undecided=("-",)),
        _clue("OCNLI", PAIR, 90.3, *OCNLI_TRAIN, archived="ocnli_50k", labels=NLI, undecided=("-",)),
        _clue(
            "WSC",
            SPANS,
            98.0,
            archived="cluewsc11",
            folders=("WSC", "CLUEWSC2020", "cluewsc2020_public", "CLUEWSC"),
            labels=("false", "true"),
            made=marked,
        ),
        _clue("CSL", ABSTRACT, 84.0, labels=YES, made=keywords),
    ),
    others={"CMRC2018": ELSEWHERE, "DRCD": ELSEWHERE, "CHID": CHOICE, "C3": CHOICE},
)
