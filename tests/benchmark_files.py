"""GLUE's and CLUE's official files, a few rows each: their headers, their columns, their oddities."""

import json
from pathlib import Path

WORDS = (
    "the list of a class is an object with names that a module can call and return from its own function body".split()
)
NLI = ("entailment", "neutral", "contradiction")


def text(i: int) -> str:
    return " ".join(WORDS[(i * 7 + j * (1 + i % 3)) % len(WORDS)] for j in range(6 + i % 4))


def glue(folder: Path, rows: int = 8) -> Path:
    """All nine tasks and the diagnostic set.  Every part has texts of its own."""
    tables = {
        "CoLA/train.tsv": ("", lambda i: f"gj04\t{i % 2}\t{'*' * (i % 2 == 0)}\t{text(i)}"),
        "CoLA/dev.tsv": ("", lambda i: f"gj04\t{i % 2}\t\t{text(i)}"),
        "CoLA/test.tsv": ("index\tsentence", lambda i: f"{i}\t{text(i)}"),
        "SST-2/train.tsv": ("sentence\tlabel", lambda i: f"{text(i)} \t{i % 2}"),
        "SST-2/dev.tsv": ("sentence\tlabel", lambda i: f"{text(i)} \t{i % 2}"),
        "SST-2/test.tsv": ("index\tsentence", lambda i: f"{i}\t{text(i)}"),
        **dict.fromkeys(
            ("MRPC/train.tsv", "MRPC/dev.tsv"),
            (
                "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String",
                lambda i: f'{i % 2}\t{i}\t{i + 1}\t"{text(i)}\t{text(i + 1)}',
            ),
        ),
        "MRPC/test.tsv": (
            "\ufeffindex\t#1 ID\t#2 ID\t#1 String\t#2 String",
            lambda i: f"{i}\t{i}\t{i + 1}\t{text(i)}\t{text(i + 1)}",
        ),
        **dict.fromkeys(
            ("STS-B/train.tsv", "STS-B/dev.tsv"),
            (
                "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore",
                lambda i: f"{i}\tmain\tx\t2012\t1\tnone\tnone\t{text(i)}\t{text(i + 2)}\t{i % 6 * 0.9:.3f}",
            ),
        ),
        "STS-B/test.tsv": (
            "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2",
            lambda i: f"{i}\tmain\tx\t2012\t1\tnone\tnone\t{text(i)}\t{text(i + 2)}",
        ),
        "QQP/train.tsv": (
            "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
            # one line is broken, as three of the real file are, and one has no second question
            lambda i: "broken in\ttwo" if i == 3 else f"{i}\t1\t2\t{text(i)}\t{text(i + 3) * (i != 5)}\t{i % 2}",
        ),
        "QQP/dev.tsv": (
            "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
            lambda i: f"{i}\t1\t2\t{text(i)}\t{text(i + 3)}\t{i % 2}",
        ),
        # a question without words stands in the real test file, and wants an answer
        "QQP/test.tsv": ("id\tquestion1\tquestion2", lambda i: f"{i}\t{text(i)}\t{text(i + 3) * (i != 5)}"),
        "MNLI/train.tsv": (
            "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\tsentence2_parse"
            "\tsentence1\tsentence2\tlabel1\tgold_label",
            lambda i: "\t".join([str(i), *"abcdefg", text(i), text(i + 4), NLI[i % 3], NLI[i % 3]]),
        ),
        **dict.fromkeys(
            ("MNLI/dev_matched.tsv", "MNLI/dev_mismatched.tsv"),
            (
                "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\tsentence2_parse"
                "\tsentence1\tsentence2\tlabel1\tlabel2\tlabel3\tlabel4\tlabel5\tgold_label",
                lambda i: "\t".join([str(i), *"abcdefg", text(i), text(i + 4), *"vwxyz", NLI[i % 3]]),
            ),
        ),
        **dict.fromkeys(
            ("MNLI/test_matched.tsv", "MNLI/test_mismatched.tsv"),
            (
                "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\tsentence2_parse"
                "\tsentence1\tsentence2",
                lambda i: "\t".join([str(i), *"abcdefg", text(i), text(i + 4)]),
            ),
        ),
        "diagnostic/diagnostic.tsv": ("index\tsentence1\tsentence2", lambda i: f"{i}\t{text(i)}\t{text(i + 5)}"),
        "diagnostic/diagnostic-full.tsv": (
            "Lexical Semantics\tPredicate-Argument Structure\tLogic\tKnowledge\tDomain\tPremise\tHypothesis\tLabel",
            lambda i: f"\t\tNegation\t\tNews\t{text(i)}\t{text(i + 5)}\t{NLI[i % 3]}",
        ),
    }
    for name, first, second, labels in (
        ("QNLI", "question", "sentence", ("entailment", "not_entailment")),
        ("RTE", "sentence1", "sentence2", ("entailment", "not_entailment")),
        ("WNLI", "sentence1", "sentence2", ("0", "1")),
    ):
        labelled = lambda i, labels=labels: f"{i}\t{text(i)}\t{text(i + 6)}\t{labels[i % 2]}"
        tables[f"{name}/train.tsv"] = tables[f"{name}/dev.tsv"] = (f"index\t{first}\t{second}\tlabel", labelled)
        tables[f"{name}/test.tsv"] = (f"index\t{first}\t{second}", lambda i: f"{i}\t{text(i)}\t{text(i + 6)}")
    for number, (name, (header, row)) in enumerate(tables.items()):
        # texts of all parts differ; indices and the places of odd rows do not
        lines = [row(i).replace(text(i), f"{text(i)} {WORDS[number % len(WORDS)]} {number}") for i in range(rows)]
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(line + "\n" for line in ([header] if header else []) + lines), encoding="utf-8")
    return folder


def clue(folder: Path, rows: int = 8) -> Path:
    """AFQMC, OCNLI, WSC and CSL, without the others."""
    pair = lambda i, part: {"sentence1": f"{text(i)} {part}", "sentence2": text(i + 1)}
    noun = lambda i, part: {
        "target": {"span1_index": 0, "span1_text": text(i)[:3], "span2_index": len(text(i)) + 1, "span2_text": "it"},
        "text": f"{text(i)} it {part}",
    }
    words = lambda i, part: {"abst": f"{text(i)} {part}", "keyword": text(i).split()[:3]}
    kinds = {
        "afqmc_public": (pair, ("0", "1"), "train.json"),
        "ocnli_public": (pair, (*NLI, "-"), "train.50k.json"),
        "cluewsc2020_public": (noun, ("true", "false"), "train.json"),
        "csl_public": (words, ("0", "1"), "train.json"),
    }
    for name, (row, labels, train) in kinds.items():
        (folder / name).mkdir(parents=True)
        for part in (train, "dev.json", "test.json"):
            label = lambda i, part=part, labels=labels: (
                {"id": i} if part == "test.json" else {"label": labels[i % len(labels)]}
            )
            lines = (json.dumps({**row(i, part.split(".")[0]), **label(i)}) for i in range(rows))
            (folder / name / part).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return folder
