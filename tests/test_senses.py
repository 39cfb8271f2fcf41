"""The vectors of one word's uses: which places they are read at, how they are compared and parted, and the page."""

import json

import numpy as np
import pytest
import torch

import bertsmith
from bertsmith import cli
from bertsmith.downstream.model import load
from bertsmith.downstream.senses import parted
from bertsmith.errors import InputError
from bertsmith.tasks.sequences import encode

pytestmark = pytest.mark.usefixtures("one_thread")
ROWS = [
    {"text": "The zebra is a simple zebra, and so on.", "label": "syntax"},
    {"text": "A zebra of the class.", "label": "syntax"},
    {"text": "Zebras and antizebra are other words.", "label": "none"},
    {"text": "The bank made a ZEBRA today", "label": "news"},
]


def test_every_whole_use_is_the_mean_of_its_tokens_states(pretrained):
    found = bertsmith.senses(pretrained, "zebra", input=ROWS)
    assert [(use["text"][use["start"] : use["end"]], use["sense"]) for use in found["uses"]] == [
        ("zebra", "syntax"),
        ("zebra", "syntax"),
        ("zebra", "syntax"),
        ("ZEBRA", "news"),
    ]
    loaded = load(pretrained)
    vectors = []
    for use in found["uses"]:
        encoded = encode(loaded.tokenizer, [use["text"]], None, loaded.reading())
        ((_, spans),) = loaded.tokenizer.located([use["text"]])
        stream = encoded.batch(np.array([0])).input.to("cpu")
        with torch.no_grad():
            hidden = loaded.member.model.eval()(stream)
        own = [1 + i for i, (a, b) in enumerate(spans.tolist()) if a < use["end"] and b > use["start"]]
        assert len(own) > 1, "the word should be several tokens here"
        vectors.append(hidden[own].mean(0).double().numpy())
    unit = np.stack([v / np.linalg.norm(v) for v in vectors])
    cosines = unit @ unit.T
    pairs = [(0, 1), (0, 2), (1, 2)]
    assert found["cosine"]["within"] == pytest.approx(np.mean([cosines[p] for p in pairs]), abs=1e-6)
    assert found["cosine"]["between"] == pytest.approx(cosines[3, :3].mean(), abs=1e-6)
    places = np.array([(use["x"], use["y"]) for use in found["uses"]])
    centred = np.stack(vectors) - np.mean(vectors, 0)
    share = (places**2).sum() / (centred**2).sum()
    assert share == pytest.approx(sum(found["explained"]), rel=1e-5)


def test_the_embedding_without_positions_is_one_vector(pretrained):
    """The embedding knows a token and its place: two texts with the word in the same place have one vector there, and other ones above."""
    texts = ["A zebra of the class", "A zebra is what"]
    assert bertsmith.senses(pretrained, "zebra", input=texts, layer=0)["cosine"]["mean"] == pytest.approx(1)
    found = bertsmith.senses(pretrained, "zebra", input=texts)
    assert found["explained"] and found["cosine"]["mean"] < 1 - 1e-8  # after four updates it is not much below


def test_vectors_that_are_one_are_said_to_be(pretrained, tmp_path):
    texts = ["A zebra of the class", "A zebra is what"]
    found = bertsmith.senses(pretrained, "zebra", input=texts, layer=0, out=tmp_path / "page.html")
    assert found["explained"] == [] and {use["sense"] for use in found["uses"]} == {"group 1"}
    assert {(use["x"], use["y"]) for use in found["uses"]} == {(0.0, 0.0)}
    assert "one and the same vector" in (tmp_path / "page.html").read_text()


def test_groups_are_what_is_near():
    draw = np.random.default_rng(3)
    centres = np.eye(3, 8)[[0, 1, 0, 2, 1, 0, 2, 2, 1]]
    noisy = centres + 0.1 * draw.normal(size=centres.shape)
    unit = noisy / np.linalg.norm(noisy, axis=1, keepdims=True)
    assert parted(unit, 3, seed=0).tolist() == [0, 1, 0, 2, 1, 0, 2, 2, 1]
    assert parted(np.repeat(unit[:1], 5, 0), 3, seed=0).tolist() == [0] * 5


def test_a_store_gives_the_sentences_that_hold_the_word(pretrained, short):
    found = bertsmith.senses(pretrained, "value", data=short.path)
    texts = [use["text"] for use in found["uses"]]
    whole = " ".join(short.tokenizer.decode(short.train.gather(slice(None))).split())
    assert len(texts) == min(400, whole.split().count("value")) or all(" value" in f" {text}" for text in texts)
    assert len(found["uses"]) > 5 and all(u["text"][u["start"] : u["end"]] == "value" for u in found["uses"])


def test_chinese_words_stand_anywhere():
    from bertsmith.downstream.senses import uses_of

    assert uses_of(["看門狗和單身狗", "dog 狗"], "狗") == [(0, 2, 3), (0, 6, 7), (1, 4, 5)]
    assert uses_of(["hotdog dog."], "dog") == [(0, 7, 10)]


def test_the_page_and_the_command_say_the_same(pretrained, tmp_path, capsys):
    path, out = tmp_path / "rows.jsonl", tmp_path / "page.html"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    assert cli.run(["senses", str(pretrained), "zebra", "--input", str(path), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    page = out.read_text(encoding="utf-8")
    found = bertsmith.senses(pretrained, "zebra", input=ROWS)
    assert f"within a sense {found['cosine']['within']:.4f}" in said and "4 uses" in said
    assert page.count('<circle class="c0"') == 3 + 1 and page.count('<circle class="c1"') == 1 + 1
    assert "made a <b>ZEBRA</b> today" in page and "http" not in page
    (tmp_path / "mine.html").write_text("my own page")
    with pytest.raises(InputError, match="no such page of ours"):
        bertsmith.senses(pretrained, "zebra", input=ROWS, out=tmp_path / "mine.html")


@pytest.mark.parametrize(
    "given, said",
    [
        ({"word": "nowhere", "input": ROWS}, "'nowhere' stands nowhere in it"),
        ({"word": "today", "input": ROWS}, "'today' stands once in it"),
        ({"word": " ", "input": ROWS}, "word: is empty"),
        ({"word": "a"}, "texts with the word, or"),
        ({"word": "zebra", "input": ROWS, "layer": 9}, "layers 0"),
    ],
)
def test_what_cannot_be_looked_at_is_told(pretrained, given, said):
    with pytest.raises(InputError, match=said):
        bertsmith.senses(pretrained, **given)


def test_uses_beyond_what_is_read_are_counted(pretrained):
    lines = []
    texts = ["A zebra here.", "word " * 600 + "zebra", "zebra and zebra"]
    found = bertsmith.senses(pretrained, "zebra", input=texts, say=lines.append)
    assert len(found["uses"]) == 3
    assert any("1 use beyond the first 400 or what the model reads is left out" in line for line in lines)
