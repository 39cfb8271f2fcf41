"""Chinese characters by their pictures; the font is made here, of rectangles."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

import bertsmith
from bertsmith.config import override
from bertsmith.errors import InputError
from bertsmith.nn.member import build, parameters
from bertsmith.recipe import find
from bertsmith.text import glyphs
from bertsmith.text.prepare import prepare
from bertsmith.text.store import Store
from bertsmith.training.saving import weights_of

builder = pytest.importorskip("fontTools.fontBuilder")
pytest.importorskip("PIL")
pytestmark = pytest.mark.usefixtures("one_thread")

# Two parts to a character, left and right: 明 and 昨 share the left one, 眀 and 明 the right one.
LEFT, RIGHT = (
    {"日": (60, 420, 0, 800), "目": (60, 420, 300, 500)},
    {"月": (560, 940, 0, 800), "乍": (560, 940, -80, 200)},
)
CHARACTERS = {"明": ("日", "月"), "昨": ("日", "乍"), "眀": ("目", "月"), "眨": ("目", "乍")}
TEXT = "明昨眀眨明明昨 the day\n眨昨明眀昨 a word 明昨\n"


def rectangle(pen, left, right, bottom, top):
    pen.moveTo((left, bottom))
    for point in ((left, top), (right, top), (right, bottom)):
        pen.lineTo(point)
    pen.closePath()


@pytest.fixture(scope="module")
def font(tmp_path_factory):
    from fontTools.pens.ttGlyphPen import TTGlyphPen

    shapes = {c: (LEFT[a], RIGHT[b]) for c, (a, b) in CHARACTERS.items()}
    names = {c: f"uni{ord(c):04X}" for c in shapes}
    pens = {name: TTGlyphPen(None) for name in (".notdef", *names.values())}
    rectangle(pens[".notdef"], 100, 900, 0, 700)
    for c, parts in shapes.items():
        for part in parts:
            rectangle(pens[names[c]], *part)
    made = builder.FontBuilder(1000, isTTF=True)
    made.setupGlyphOrder(list(pens))
    made.setupCharacterMap({ord(c): name for c, name in names.items()})
    made.setupGlyf({name: pen.glyph() for name, pen in pens.items()})
    made.setupHorizontalMetrics(
        {name: (1000, 100 if name == ".notdef" else 60) for name in pens}
    )  # where outlines begin
    made.setupHorizontalHeader(ascent=880, descent=-120)
    made.setupNameTable({"familyName": "Rectangles", "styleName": "Regular"})
    made.setupOS2(sTypoAscender=880, sTypoDescender=-120)
    made.setupPost()
    path = tmp_path_factory.mktemp("font") / "rectangles.ttf"
    made.save(path)
    return str(path)


@pytest.fixture(scope="module")
def chinese(tmp_path_factory):
    folder = tmp_path_factory.mktemp("glyphs")
    (folder / "text.txt").write_text("\n".join([TEXT, "丑 is in no font\n"] * 30), encoding="utf-8")
    prepare([str(folder / "text.txt")], folder / "store", tokenizer="wordpiece:60", holdout=0.1)
    return Store.open(folder / "store")


def test_pictures_are_of_single_chinese_characters_that_the_font_has(chinese, font):
    found = glyphs.bitmaps(chinese.tokenizer, 24, font)
    with_ink = {chinese.tokenizer.token(i) for i in np.flatnonzero(found.any((1, 2)))}
    assert with_ink == set(CHARACTERS) and found.dtype == np.uint8 and found.shape == (chinese.vocab.size, 24, 24)
    assert (
        "丑" in glyphs.characters(chinese.tokenizer).values()
    )  # drawn as the font's "no such character", which is no picture
    of = {c: found[chinese.tokenizer.backend.token_to_id(c)] for c in CHARACTERS}
    halves = {c: np.split(picture.astype(float), 2, 1) for c, picture in of.items()}
    apart = lambda a, b, side: np.abs(halves[a][side] - halves[b][side]).mean()
    assert apart("明", "昨", 0) < 10 < 50 < apart("明", "昨", 1)  # hinting moves an edge by less than a point
    assert apart("明", "眀", 1) < 10 < 50 < apart("明", "眀", 0)
    assert np.array_equal(found, glyphs.bitmaps(chinese.tokenizer, 24, font))
    # 日: 60 to 420 of 1,000 units, 0 to 800 above a line that has 0.88 of the square above it.
    rows, columns = np.nonzero(of["明"][:, :12] > 127)
    assert (columns.min(), columns.max()) == (1, 9) and (rows.min(), rows.max()) == (2, 20)


def test_a_font_that_is_not_there_is_refused_in_one_line(chinese, tmp_path, monkeypatch):
    (tmp_path / "font.ttf").write_text("no font")
    for font, says in ((str(tmp_path / "none.ttf"), "no such file"), (str(tmp_path / "font.ttf"), "not a font")):
        with pytest.raises(InputError, match=says) as caught:
            glyphs.bitmaps(chinese.tokenizer, 24, font)
        assert "\n" not in str(caught.value)
    monkeypatch.setattr(glyphs, "PACKAGE", "no-such-package-of-fonts")
    with pytest.raises(InputError, match=r"not installed.*bertsmith\[glyphs\]"):
        bertsmith.pretrain("bert-glyph:tiny", chinese, tmp_path / "run", steps=1)
    assert not (tmp_path / "run").exists()


def test_text_without_chinese_needs_no_font(store, monkeypatch):
    monkeypatch.setattr(glyphs, "_face", None)
    found = glyphs.bitmaps(store.tokenizer, 24)
    assert not found.any() and glyphs.said(found).startswith("warning")


def small(font, how):
    sizes = ["layout.length=32", "training.batch=128", "model.width=32", "model.hidden=64", "model.layers=1"]
    more = [f"model.embeddings.how={how}", f"model.embeddings.font={font}", "schedule.lr=0.01", "training.checkpoint=3"]
    return override(find("bert-glyph:tiny"), [*sizes, *more])


@pytest.mark.parametrize("how", ["beside", "alone"])
def test_a_vector_is_a_function_of_the_picture(chinese, font, how):
    recipe = small(font, how).with_vocab(chinese.vocab)
    torch.manual_seed(0)
    member = build(recipe)
    assert sum(p.numel() for p in member.parameters()) == parameters(recipe)
    embeddings = member.model.embeddings
    pictures = glyphs.bitmaps(chinese.tokenizer, 24, font)
    embeddings.take(pictures)
    ids = torch.tensor([chinese.tokenizer.backend.token_to_id(c) for c in "明昨明丑"])
    vectors, some = embeddings.vectors(ids)
    assert some.tolist() == [True, True, True, False] and not vectors[3].any()
    alone = embeddings.network(torch.from_numpy(pictures)[ids[:1]][:, None].float() / 255)
    torch.testing.assert_close(vectors[0], alone[0])
    assert torch.equal(vectors[0], vectors[2]) and not torch.equal(vectors[0], vectors[1])
    swapped = pictures.copy()
    swapped[ids[:2]] = pictures[ids[:2].flip(0)]
    embeddings.take(swapped)
    torch.testing.assert_close(embeddings.vectors(ids)[0][1], vectors[0])
    stream = type("Stream", (), {"tokens": ids})
    table = embeddings.tokens(ids)
    found = embeddings.looked_up(stream)
    torch.testing.assert_close(found[3], table[3])
    torch.testing.assert_close(found[0], vectors[1] + (table[0] if how == "beside" else 0))


def test_a_run_resumes_and_loads_without_the_font(chinese, font, tmp_path, monkeypatch):
    run = bertsmith.pretrain(small(font, "alone"), chinese, tmp_path / "whole", steps=6, threads=1, seed=3)
    assert run["loss"] > 0
    shutil.copytree(tmp_path / "whole", tmp_path / "two")
    shutil.rmtree(tmp_path / "two" / "steps" / "step-00000006")
    monkeypatch.setattr(glyphs, "bitmaps", None)
    config = json.loads((tmp_path / "two" / "config.json").read_text())
    assert config["recipe"]["model"]["embeddings"]["how"] == "alone"
    bertsmith.pretrain(small(font, "alone"), chinese, tmp_path / "two", steps=6, threads=1, seed=3, resume=True)
    whole, two = (bertsmith.load(tmp_path / name) for name in ("whole", "two"))
    for name, tensor in weights_of(whole.member).items():
        assert torch.equal(tensor, weights_of(two.member)[name]), name
    assert whole.member.model.embeddings.pictures.any()
    changed = weights_of(build(replace(whole.recipe)))["model.embeddings.network.0.weight"]
    assert not torch.equal(changed, weights_of(whole.member)["model.embeddings.network.0.weight"])


def test_fresh_weights_of_a_fine_tuning_keep_the_pictures(chinese, font, tmp_path):
    bertsmith.pretrain(small(font, "beside"), chinese, tmp_path / "run", steps=1, threads=1)
    rows = "".join(f'{{"text": "{c}昨", "label": "{i % 2}"}}\n' for i, c in enumerate("明眀" * 8))
    (tmp_path / "rows.jsonl").write_text(rows, encoding="utf-8")
    (tmp_path / "dev.jsonl").write_text(rows + rows[: rows.index("\n") + 1], encoding="utf-8")
    at = {"train": tmp_path / "rows.jsonl", "dev": tmp_path / "dev.jsonl"}
    bertsmith.finetune(
        tmp_path / "run", task="classify", **at, out=tmp_path / "tuned", steps=2, scratch=True, threads=1
    )
    assert bertsmith.load(tmp_path / "tuned").member.model.embeddings.pictures.any()
