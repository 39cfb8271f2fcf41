"""What an answer leans on: gradient x input of each token, as a coloured page."""

import re

import numpy as np
import pytest
import torch

import bertsmith
from bertsmith import cli
from bertsmith.downstream.answering import said_at
from bertsmith.downstream.model import load
from bertsmith.downstream.saliency import saliency
from bertsmith.errors import InputError
from bertsmith.tasks import kinds

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def runs(pretrained, tasks, tmp_path_factory):
    folder = tmp_path_factory.mktemp("explained")
    for name in ("classify", "regress", "tag"):
        kind, train, dev = tasks[name]
        options = {"task": kind, "train": train, "dev": dev, "threads": 1, "allow_unknown": True, "steps": 3}
        bertsmith.finetune(pretrained, out=folder / name, set=["batch=16", "lr=0.003"], **options)
    return folder


@pytest.mark.parametrize("name", ["classify", "regress"])
def test_a_tokens_share_is_the_slope_of_the_answer_along_its_own_vector(name, runs, tasks):
    loaded, kind = load(runs / name), kinds.kind(name)
    rows = kind.read(tasks[name][2]).picked([0, 3, 5])
    encoded = kind.encode(loaded.tokenizer, rows, loaded.reading(on_long="truncate"), False)
    scores = saliency(loaded, encoded, kind.leaning)
    assert scores.shape == encoded.tokens.shape and np.abs(scores).max() > 0
    table, place = loaded.member.model.embeddings.tokens, 2
    begins = np.cumsum(encoded.lengths) - encoded.lengths
    for number in range(3):
        sides, which = [], np.array([number])
        for share in (1.01, 0.99):

            def scaled(part, given, out, share=share):
                out = out.clone()
                out[place] *= share
                return out

            hook = table.register_forward_hook(scaled)
            with torch.no_grad(), loaded.exact.policy():
                sides.append(float(kind.leaning(said_at(loaded.member, encoded, which, loaded.device))))
            hook.remove()
        slope = (sides[0] - sides[1]) / 0.02
        assert scores[begins[number] + place] == pytest.approx(slope, rel=0.05, abs=2e-4)


def test_the_page_holds_every_text_once_and_what_was_said_of_it(runs, tmp_path, capsys):
    texts = [f"the <list> number {i}" for i in range(120)]
    (tmp_path / "texts.txt").write_text("\n".join(texts) + "\n")
    page, out = tmp_path / "page.html", tmp_path / "out.jsonl"
    arguments = ["predict", runs / "classify", "--input", tmp_path / "texts.txt", "--out", out, "--explain", page]
    assert cli.run([str(argument) for argument in arguments]) == 0 and "100 texts, coloured" in capsys.readouterr().out
    written = page.read_text()
    assert written.count('<p dir="auto">') == 100, "the first hundred"
    plain = re.sub(r"<[^>]*>", "", written.split('<p dir="auto">')[8]).strip()
    rows = bertsmith.predict(runs / "classify", texts, explain=page)
    assert plain.startswith(f"{rows[7]['label']} {rows[7]['scores'][rows[7]['label']]:.2f}")
    assert "&lt;" in plain and "list" in plain and not re.search(r"<script|https?://|src=", written)
    assert page.read_text() == written, "the same again"


def test_what_has_no_answer_of_one_number_and_what_is_no_page_is_refused(runs, tasks, tmp_path):
    (tmp_path / "taken.html").write_text("mine")
    with pytest.raises(InputError, match="explain: task='tag' has no answer of one number; classify, ordinal, regress"):
        bertsmith.predict(runs / "tag", tasks["tag"][2], explain=tmp_path / "page.html")
    with pytest.raises(InputError, match="is no such page of ours; explain says where it goes"):
        bertsmith.predict(runs / "classify", ["text"], explain=tmp_path / "taken.html")
    assert (tmp_path / "taken.html").read_text() == "mine"
