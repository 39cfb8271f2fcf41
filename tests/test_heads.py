"""What each head looks at: shares of every member, equal to transformers', in pairs and windows, and the page of them."""

import base64
import json
import re
import zlib

import numpy as np
import pytest
import torch
from tests.runs import small

import bertsmith
from bertsmith import cli
from bertsmith.downstream.attention_page import MOST
from bertsmith.downstream.model import load
from bertsmith.errors import InputError
from bertsmith.nn.member import build
from bertsmith.nn.modules.attention import watched
from bertsmith.tasks.sequences import encode

pytestmark = pytest.mark.usefixtures("one_thread")
TEXT = "a class of objects and a list of names"


@pytest.fixture(scope="module")
def trained(short, tmp_path_factory):
    """trained("xlnet") -> a run of one update."""
    folder, made = tmp_path_factory.mktemp("heads"), {}

    def run(member, *sets):
        key = (member, *sets)
        if key not in made:
            made[key] = folder / str(len(made))
            bertsmith.pretrain(small("model.layers=2", *sets, member=member), short, made[key], steps=1, threads=1)
        return made[key]

    return run


def test_the_shares_equal_transformers_attentions(trained, tmp_path):
    transformers = pytest.importorskip("transformers")
    run = trained("bert")
    with torch.no_grad():  # shares that tell tokens apart
        loaded = load(run)
        for weight in loaded.member.parameters():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)) * 0.3)
    bertsmith.export(loaded, tmp_path / "folder")
    body = transformers.AutoModel.from_pretrained(tmp_path / "folder", attn_implementation="eager").eval()
    found = bertsmith.attention(loaded, TEXT, "a loop")
    (window,) = found["windows"]
    ids, segments = (torch.tensor(x)[None] for x in _read(loaded, TEXT, "a loop"))
    with torch.no_grad():
        theirs = body(input_ids=ids, token_type_ids=segments, output_attentions=True).attentions
    assert found["heads"] == 2 and len(window["layers"]) == len(theirs) == 2
    for layer, wanted in zip(window["layers"], theirs, strict=True):
        assert np.abs(layer["weights"] - wanted[0].numpy()).max() < 1e-5
    assert max(layer["weights"].max() for layer in window["layers"]) > 0.5, "no even spread"


def _read(loaded, *texts):
    encoded = encode(loaded.tokenizer, [texts[0]], [texts[1]], loaded.reading())
    return encoded.tokens.astype(np.int64), encoded.segments.astype(np.int64)


MEMBERS = ["albert", "bart", "electra", "gpt", "mass", "roberta", "structbert", "t5", "transformer-xl", "unilm", "xlnet"]  # fmt: skip


@pytest.mark.parametrize("member", MEMBERS)
def test_every_member_says_where_it_looks_and_rows_sum_to_one(member, trained):
    loaded = load(trained(member))
    (window,) = bertsmith.attention(loaded, TEXT)["windows"]
    n, layers = len(window["tokens"]), window["layers"]
    assert len(layers) == 2 and layers[1]["name"].endswith("layer 2")
    for layer in layers:
        assert layer["weights"].shape == (2, n, n) and np.allclose(layer["weights"].sum(-1), 1, atol=1e-5)
        if loaded.reading().causal:
            assert not np.triu(layer["weights"][0], 1).any(), "nothing of what comes after"


def test_a_decoder_that_says_a_text_anew_looks_at_itself_and_at_what_the_encoder_says(trained, tasks, tmp_path):
    kind, train, dev = tasks["classify"]
    options = {"task": kind, "train": train, "dev": dev, "steps": 1, "threads": 1, "allow_unknown": True}
    bertsmith.finetune(trained("bart"), out=tmp_path / "run", **options)
    (window,) = bertsmith.attention(tmp_path / "run", TEXT, out=tmp_path / "page.html")["windows"]
    assert [(layer["name"], layer["source"]) for layer in window["layers"]] == [
        ("encoder, layer 1", False),
        ("encoder, layer 2", False),
        ("decoder, layer 1, itself", False),
        ("decoder, layer 1, what the encoder says", True),
        ("decoder, layer 2, itself", False),
        ("decoder, layer 2, what the encoder says", True),
    ]
    for layer in window["layers"]:
        assert np.allclose(layer["weights"].sum(-1), 1, atol=1e-5)
    assert not np.triu(window["layers"][2]["weights"][0], 1).any() and window["layers"][3]["weights"].all()
    page = (tmp_path / "page.html").read_text()
    assert page.count("<defs>") == 3, "axes of the encoder, of the decoder's own tokens, and of both"


def test_texts_that_stand_in_one_row_take_nothing_of_each_other(trained):
    loaded = load(trained("bert"))
    encoded = encode(loaded.tokenizer, [TEXT, "a loop", "one more list"], None, loaded.reading())
    body, at = loaded.member.model.eval(), 0
    with torch.no_grad(), watched() as together:
        body.states(encoded.batch(np.arange(3)).input.to("cpu"))
    for number, length in enumerate(encoded.lengths.tolist()):
        with torch.no_grad(), watched() as alone:
            body.states(encoded.batch(np.array([number])).input.to("cpu"))
        for (_, many), (_, one) in zip(together, alone, strict=True):
            own = many[at : at + length]
            assert torch.allclose(own[..., at : at + length], one, atol=1e-6)
            assert float(own.sum(-1).sub(1).abs().max()) < 1e-5, "and none is left for the others"
        at += length


def test_what_is_read_is_the_same_whether_it_is_watched_or_not(trained):
    loaded = load(trained("xlnet"))
    stream = encode(loaded.tokenizer, [TEXT], None, loaded.reading()).batch(np.array([0])).input.to("cpu")
    body = loaded.member.model.eval()
    with torch.no_grad():
        plain = body(stream)
        with watched():
            seen = body(stream)
    assert torch.equal(plain, seen)


def test_a_long_text_is_read_in_windows_and_a_page_draws_the_first_tokens(trained, tmp_path):
    run, said = trained("roberta", "layout.length=100"), []
    found = bertsmith.attention(run, "a class of lists. " * 30, out=tmp_path / "page.html", say=said.append)
    assert len(found["windows"]) > 1 and len(found["windows"][0]["tokens"]) == 100
    assert said[0].startswith(f"the text is read in {len(found['windows'])} windows of up to 100 tokens")
    page = (tmp_path / "page.html").read_text()
    assert f"The first {MOST} tokens are drawn; the last column is what goes to the other {100 - MOST}." in page
    level = _pixels(page)[0]
    assert level.shape == (MOST, MOST + 1)
    wanted = found["windows"][0]["layers"][0]["weights"][0][:MOST]
    drawn = np.concatenate([wanted[:, :MOST], wanted[:, MOST:].sum(1, keepdims=True)], 1)
    assert np.abs(level - 255 * np.sqrt(drawn)).max() <= 0.51


def _pixels(page):
    """The pictures of a page, (n, m) from 0 to 255."""
    for data in re.findall(r"data:image/png;base64,([^\"]+)", page):
        png = base64.b64decode(data)
        wide, high = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
        begin = png.index(b"IDAT") + 4
        lines = zlib.decompress(png[begin:])
        found = np.frombuffer(lines, np.uint8).reshape(high, wide + 1)
        return [found[:, 1:]]
    return []


def test_the_page_names_every_token_once_for_all_heads_and_loads_nothing(trained, tmp_path, capsys):
    run, out = trained("bert"), tmp_path / "page.html"
    assert cli.run(["attention", str(run), "a <b> list", "--out", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    page = out.read_text()
    assert page.count("<figure>") == 4 and page.count("head 1</figcaption>") == 2
    assert page.count("&lt;") >= 1 and "<b>" not in page
    assert not re.search(r"(src|href)=\"(?!#|data:)", page) and "<script" not in page
    assert len(found["windows"][0]["layers"][0]["weights"][0]) == len(found["windows"][0]["tokens"])
    assert cli.run(["attention", str(run), "a list", "--out", str(out)]) == 0, "a page of ours is replaced"


def test_what_cannot_be_drawn_is_refused_in_one_line(trained, tmp_path, capsys, monkeypatch):
    run, other = trained("bert"), tmp_path / "notes.html"
    other.write_text("mine")
    with pytest.raises(
        InputError, match=r"notes\.html: stands here and is no such page of ours; out says where it goes$"
    ):
        bertsmith.attention(run, "a list", out=other)
    with pytest.raises(InputError, match=r"^attention: the text is empty; one with words is wanted$"):
        bertsmith.attention(run, " ")
    assert cli.run(["attention", str(run), "a list"]) == 2
    assert "attention: --out FILE.html draws it, --json prints the numbers; take one" in capsys.readouterr().err
    loaded = load(run)

    class Recurrent(torch.nn.Module):
        """A body whose layers read from token to token."""

        def states(self, stream):
            return [torch.zeros(len(stream.tokens), 16)]

    loaded.member.model = Recurrent()
    with pytest.raises(InputError, match=r"has no attention: its layers read a text from token to token$"):
        bertsmith.attention(loaded, "a list")


def test_layers_that_share_weights_are_each_watched():
    made = build(small("model.layers=3", member="albert").with_vocab(50))
    from bertsmith.data.denoise import seen

    with torch.no_grad(), watched() as found:
        made.model.eval().states(seen(np.arange(5, 12), np.array([7])).to("cpu"))
    assert len(found) == 3
