"""Fine-tuning by transformers and torch alone, as its examples do it: classes and numbers of texts, tags of words, answers in a text.

A side is built with nothing loaded; `said()` trains, keeps the epoch that is best on the dev file, and answers the test file.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from seven_tasks import Parts

from bertsmith.tasks import conll, squad
from bertsmith.tasks.answer_scores import WORDS

BATCH, WARMUP, DECAY, CLIP = 32, 0.1, 0.01, 1.0


class Side:
    """`batch` (inputs with labels), `answers` of rows, and `good`, a score of answers, are a task's own."""

    auto: str
    rows: dict[str, list]

    def __init__(self, model: Path, parts: Parts, seed: int, given: argparse.Namespace, rate: float, length: int):
        self.path, self.parts, self.seed, self.given, self.rate, self.length = model, parts, seed, given, rate, length

    def said(self) -> list:
        import transformers

        self.tokenizer = transformers.AutoTokenizer.from_pretrained(self.path)
        self.rows = {part: self.read(getattr(self.parts, part)) for part in ("train", "dev", "test")}
        torch.manual_seed(self.seed)
        self.model = getattr(transformers, self.auto).from_pretrained(self.path, **self.head())
        train = self.examples(self.rows["train"])
        decayed = [p for p in self.model.parameters() if p.ndim > 1]
        rest = [p for p in self.model.parameters() if p.ndim < 2]
        groups = [{"params": decayed, "weight_decay": DECAY}, {"params": rest, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=self.rate, eps=1e-6)
        steps = self.given.epochs * -(-len(train) // BATCH)
        schedule = transformers.get_linear_schedule_with_warmup(optimizer, int(WARMUP * steps), steps)
        best, kept = -2.0, None
        for _ in range(self.given.epochs):
            self.model.train()
            order = torch.randperm(len(train)).tolist()
            for i in range(0, len(train), BATCH):
                inputs = self.batch([train[j] for j in order[i : i + BATCH]])
                with torch.autocast("cpu", torch.bfloat16, enabled=self.given.precision == "bfloat16"):
                    loss = self.model(**inputs).loss
                loss.backward()
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
            if (score := self.good(self.answered("dev"))) > best:
                best, kept = score, {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        self.model.load_state_dict(kept)
        return self.answered("test")

    @torch.no_grad()
    def answered(self, part: str) -> list:
        self.model.eval()
        return self.answers(self.rows[part])

    def examples(self, rows: list) -> list:
        return rows

    def by_length(self, rows: list, size) -> list[list[int]]:
        order = sorted(range(len(rows)), key=lambda i: size(rows[i]))
        return [order[i : i + 2 * BATCH] for i in range(0, len(order), 2 * BATCH)]


class Texts(Side):
    auto = "AutoModelForSequenceClassification"

    def read(self, path: Path) -> list[dict]:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    def head(self) -> dict[str, Any]:
        self.names = sorted({row["label"] for row in self.rows["train"]})
        return {"num_labels": len(self.names)}

    def encoded(self, rows: list[dict]) -> Any:
        second = [row["text2"] for row in rows] if "text2" in rows[0] else None
        first = [row["text"] for row in rows]
        return self.tokenizer(first, second, padding=True, truncation=True, max_length=self.length, return_tensors="pt")

    def batch(self, rows: list[dict]) -> dict:
        return {**self.encoded(rows), "labels": torch.tensor([self.names.index(row["label"]) for row in rows])}

    def answers(self, rows: list[dict]) -> list:
        said: list = [None] * len(rows)
        for which in self.by_length(rows, lambda row: len(row["text"]) + len(row.get("text2", ""))):
            logits = self.model(**self.encoded([rows[i] for i in which])).logits
            for i, row in zip(which, logits, strict=True):
                said[i] = self.label(row)
        return said

    def label(self, logits: torch.Tensor) -> Any:
        return self.names[int(logits.argmax())]

    def good(self, said: list) -> float:
        return float(np.mean([a == row["label"] for a, row in zip(said, self.rows["dev"], strict=True)]))


class Numbers(Texts):
    """Of labels with mean 0 and deviation 1, as ours learns them."""

    def head(self) -> dict[str, Any]:
        labels = [row["label"] for row in self.rows["train"]]
        self.mean, self.deviation = float(np.mean(labels)), float(np.std(labels))
        return {"num_labels": 1, "problem_type": "regression"}

    def batch(self, rows: list[dict]) -> dict:
        labels = [[(row["label"] - self.mean) / self.deviation] for row in rows]
        return {**self.encoded(rows), "labels": torch.tensor(labels)}

    def label(self, logits: torch.Tensor) -> float:
        return float(logits[0])

    def good(self, said: list) -> float:
        return float(np.corrcoef(said, [row["label"] for row in self.rows["dev"]])[0, 1])


class Tags(Side):
    auto = "AutoModelForTokenClassification"

    def read(self, path: Path) -> list[tuple]:
        found = conll.read(path)
        return [*zip(found.words, found.tags, strict=True)]

    def head(self) -> dict[str, Any]:
        self.names = sorted({tag for _, tags in self.rows["train"] for tag in tags})
        return {"num_labels": len(self.names)}

    def encoded(self, rows: list) -> Any:
        how = {"padding": True, "truncation": True, "max_length": self.length, "return_tensors": "pt"}
        return self.tokenizer([[*words] for words, _ in rows], is_split_into_words=True, **how)

    def batch(self, rows: list) -> dict:
        inputs = self.encoded(rows)
        labels = torch.full_like(inputs["input_ids"], -100)
        for i, (_, tags) in enumerate(rows):
            for word, place in self.first(inputs.word_ids(i)).items():
                labels[i, place] = self.names.index(tags[word])
        return {**inputs, "labels": labels}

    @staticmethod
    def first(words: list) -> dict[int, int]:
        """{word: its first token}"""
        return {word: place for place, word in reversed([*enumerate(words)]) if word is not None}

    def answers(self, rows: list) -> list:
        said: list = [None] * len(rows)
        for which in self.by_length(rows, lambda row: len(row[0])):
            inputs = self.encoded([rows[i] for i in which])
            best = self.model(**inputs).logits.argmax(-1)
            for k, i in enumerate(which):
                places = self.first(inputs.word_ids(k))
                said[i] = [
                    self.names[int(best[k, places[word]])] if word in places else "O" for word in range(len(rows[i][0]))
                ]
        return said

    def good(self, said: list) -> float:
        from seqeval.metrics import f1_score

        return float(f1_score([[*tags] for _, tags in self.rows["dev"]], said))


class Answers(Side):
    """transformers' example of questions: windows that overlap by a half, the best start and end of 20 each, 30 tokens at most."""

    auto = "AutoModelForQuestionAnswering"

    def read(self, path: Path) -> list[dict]:
        tree = json.loads(path.read_text(encoding="utf-8"))
        return [
            {"context": paragraph["context"], **asked}
            for article in tree["data"]
            for paragraph in article["paragraphs"]
            for asked in paragraph["qas"]
        ]

    def head(self) -> dict[str, Any]:
        return {}

    def windows(self, row: dict) -> list[tuple[dict, list]]:
        """[(ids, types, mask), places in the text or None] of each window of a row."""
        encoded = self.tokenizer(
            row["question"],
            row["context"],
            truncation="only_second",
            max_length=self.length,
            stride=self.length // 2,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        found = []
        for i in range(len(encoded["input_ids"])):
            told = encoded.sequence_ids(i)
            places = [place if of == 1 else None for place, of in zip(encoded["offset_mapping"][i], told, strict=True)]
            found.append(
                ({name: encoded[name][i] for name in ("input_ids", "token_type_ids", "attention_mask")}, places)
            )
        return found

    def examples(self, rows: list[dict]) -> list:
        made = []
        for row in rows:
            answer = row["answers"][0]
            begin, end = answer["answer_start"], answer["answer_start"] + len(answer["text"])
            for inputs, places in self.windows(row):
                known = [i for i, place in enumerate(places) if place is not None]
                inside = places[known[0]][0] <= begin and end <= places[known[-1]][1]
                start = max((i for i in known if places[i][0] <= begin), default=0) if inside else 0
                stop = min((i for i in known if places[i][1] >= end), default=0) if inside else 0
                made.append((inputs, start, stop))
        return made

    def batch(self, rows: list) -> dict:
        padded = self.tokenizer.pad([inputs for inputs, *_ in rows], return_tensors="pt")
        ends = {"start_positions": [s for _, s, _ in rows], "end_positions": [e for *_, e in rows]}
        return {**padded, **{name: torch.tensor(values) for name, values in ends.items()}}

    def answers(self, rows: list[dict]) -> list[str]:
        cut = [(number, *window) for number, row in enumerate(rows) for window in self.windows(row)]
        best = [(-np.inf, "")] * len(rows)
        for which in self.by_length(cut, lambda window: len(window[1]["input_ids"])):
            found = self.model(**self.tokenizer.pad([cut[i][1] for i in which], return_tensors="pt"))
            for k, i in enumerate(which):
                number, _, places = cut[i]
                start, end = found.start_logits[k].numpy(), found.end_logits[k].numpy()
                for s in np.argsort(-start)[:20]:
                    for e in np.argsort(-end)[:20]:
                        whole = max(s, e) < len(places) and places[s] is not None and places[e] is not None
                        if whole and s <= e < s + 30 and start[s] + end[e] > best[number][0]:
                            text = rows[number]["context"][places[s][0] : places[e][1]]
                            best[number] = (start[s] + end[e], text)
        return [text for _, text in best]

    def good(self, said: list) -> float:
        golds = [[answer.text for answer in answers] for answers in squad.read(self.parts.dev).answers]
        return float(np.mean([WORDS.overlap(answer, gold) for answer, gold in zip(said, golds, strict=True)]))


SIDES = {"classify": Texts, "regress": Numbers, "tag": Tags, "qa": Answers}
