"""Filling masks by models that write with a decoder: what is read, what it is asked for, what may be a span, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.runs import small

import bertsmith
from bertsmith import cli
from bertsmith.data.batch import Row, Stream
from bertsmith.data.decoded import decoded, shifted
from bertsmith.data.draw import Draw
from bertsmith.errors import InputError
from bertsmith.training.pretraining import pretrain

pytestmark = pytest.mark.usefixtures("one_thread")
KINDS = {
    "bart": (),
    "mass": (),
    "t5": (),
    "masked": ("corruption.rewrite.stand=masks",),  # BART's token masking
    "dropped": ("corruption.rewrite.random=0", "corruption.rewrite.stand=nothing"),
}
TEXT = "a class is an [MASK] of the [MASK][MASK] language"


@pytest.fixture(scope="module")
def models(store, tmp_path_factory):
    found = {}
    for name, more in KINDS.items():
        out = tmp_path_factory.mktemp(name) / "run"
        pretrain(small("model.layers=1", "training.held_out=128", *more, member=name if name in ("mass", "t5") else "bart"), store, out, steps=1, threads=1)  # fmt: skip
        found[name] = bertsmith.load(out)
        draw = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for weight in found[name].member.parameters():
                weight.add_(torch.randn(weight.shape, generator=draw) * 0.2)
    return found


def logits(model, stream, read, positions=None):
    """(m, V) of a decoder that has been given `read`."""
    read = np.array(read)
    output, _ = decoded(read, read, np.array([len(read)]), positions)
    at = torch.arange(len(read))
    with torch.no_grad():
        return model.member.objective.logits(model.member.model.eval(), stream, at, "token", output.to("cpu")).double()


def encoder(model, text, hidden=()):
    """The text as the encoder reads it, masks as they stand in the vocabulary."""
    pieces = [model.tokenizer.encode([piece])[0][0].tolist() for piece in text.split("[MASK]")]
    ids = [*pieces[0], *(x for piece in pieces[1:] for x in [model.vocab.mask, *piece])]
    tokens, segments = model.reading().joined(model.vocab, np.array(ids))
    place, zeros = np.arange(len(tokens)), np.zeros(len(tokens), np.int64)
    mask = tokens == model.vocab.mask
    stream = Stream(
        tokens=tokens.astype(np.int64), positions=place, segments=segments.astype(np.int64), query_rank=zeros, key_rank=zeros,
        lengths=(len(tokens),), hidden=mask if hidden else None,
    )  # fmt: skip
    return stream.to("cpu"), tokens.tolist(), np.flatnonzero(mask).tolist()


@pytest.mark.parametrize("name", ["bart", "masked"])
def test_a_decoder_that_says_whole_texts_is_asked_behind_what_stands_before_the_mask(name, models):
    model = models[name]
    found = bertsmith.fill(model, TEXT, top=model.vocab.size)["masks"]
    stream, tokens, places = encoder(model, TEXT)
    assert [row["position"] for row in found] == places
    said = logits(model, stream, [model.vocab.sep, *tokens[: places[0]]])[-1].softmax(-1)
    assert [guess["p"] for guess in found[0]["top"]] == pytest.approx(said[: model.vocab.size].sort(descending=True).values.tolist(), abs=1e-7)  # fmt: skip
    assert all(("written" in row) == (name == "bart") for row in found), "a mask for each token is one token"


def test_a_span_is_as_long_as_makes_the_whole_text_most_probable(models):
    model = models["bart"]
    text = "a class is an [MASK] of the language"
    (row,) = bertsmith.fill(model, text)["masks"]
    stream, tokens, (place,) = encoder(model, text)
    before, behind, text_ids = tokens[:place], tokens[place + 1 :], {*range(model.vocab.size)} - {*model.vocab.special}
    span, scores = [], []
    for _ in range(17):
        whole = np.array([*before, *span, *behind])
        said = logits(model, stream, shifted(whole, np.array([len(whole)]), model.vocab.sep)).log_softmax(-1)
        scores.append(float(said[np.arange(len(whole)), whole][place:].sum()))
        best = int(max(text_ids, key=lambda i: float(said[place + len(span)][i])))
        span.append(best)
    size = int(np.argmax(scores))
    assert row["written"] == (model.tokenizer.decode(span[:size]) if size else "")


def test_masks_in_a_row_are_one_fragment_of_which_each_token_is_told_the_one_before(models):
    model = models["mass"]
    found = bertsmith.fill(model, TEXT, top=3)["masks"]
    stream, tokens, places = encoder(model, TEXT, hidden=True)
    first = logits(model, stream, [tokens[places[0] - 1]], np.array([places[0] - 1]))[-1]
    second = logits(model, stream, [tokens[places[1] - 1]], np.array([places[1] - 1]))[-1]
    text_ids = sorted({*range(model.vocab.size)} - {*model.vocab.special})
    said = text_ids[int(second[text_ids].argmax())]
    third = logits(model, stream, [tokens[places[1] - 1], said], np.array([places[1] - 1, places[1]]))[-1]
    for row, wanted in zip(found, (first, second, third), strict=True):
        best = wanted.softmax(-1)[: model.vocab.size].topk(3)
        assert [guess["id"] for guess in row["top"]] == best.indices.tolist() and "written" not in row
        assert [guess["p"] for guess in row["top"]] == pytest.approx(best.values.tolist(), abs=1e-6)


def test_a_fragment_is_asked_as_in_pre_training(models):
    model = models["mass"]
    ids = model.tokenizer.encode(["a class is an object of the language"])[0][0]
    tokens, _ = model.reading().joined(model.vocab, ids)
    n, one = len(tokens), np.zeros(1, np.int64)
    row = Row(
        tokens=tokens.astype(np.int32), segments=np.zeros(n, np.uint8), special=np.isin(tokens, model.vocab.special), lengths=np.array([n]),
        starts=np.ones(n, bool), sentences=np.zeros(n, bool), labels=one, epoch=one, example=one,
    )  # fmt: skip
    batch = model.recipe.corruption.rewrite(row, np.array([[3, 4]]), model.vocab, Draw(0))
    kept = batch.input.tokens.copy()
    kept[3] = model.vocab.mask  # which a tenth of them is not
    stream = replace(batch.input, tokens=kept).to("cpu")
    with torch.no_grad():
        said = model.member.objective.logits(model.member.model, stream, torch.arange(1), "token", batch.output.to("cpu"))[0]  # fmt: skip
    text = model.tokenizer.decode(ids[:2]) + " [MASK] " + model.tokenizer.decode(ids[3:])
    (row_,) = bertsmith.fill(model, text, top=1)["masks"]
    assert row_["position"] == 3 and row_["top"][0]["id"] == int(said[: model.vocab.size].argmax())


def test_sentinels_of_a_tokenizer_without_them_are_written_by_their_names(models):
    model = models["t5"]
    one, two = (bertsmith.fill(model, text)["masks"] for text in ("a [MASK] of the [MASK]", "a <extra_id_0> of the <extra_id_1>"))  # fmt: skip
    assert one == two and len(one) == 2 and all(isinstance(row["written"], str) for row in one)
    assert all("extra_id" not in guess["token"] for row in one for guess in row["top"])
    rows = bertsmith.score(model, [("a <extra_id_0> of", "<extra_id_0> list <extra_id_1>")], each=True)["texts"]
    assert [token for token, _ in rows[0]["each"]][:: len(rows[0]["each"]) - 1] == ["<extra_id_0>", "[SEP]"]


def test_what_a_decoder_cannot_fill_is_said_in_one_line(models, store, tmp_path):
    rows = [{"text": f"a class {i}", "label": f"an object {i}"} for i in range(8)]
    bertsmith.finetune(models["bart"].run, task="text2text", train=rows, dev=0.3, out=tmp_path / "tuned", steps=1, threads=1)  # fmt: skip
    pretrain(small(member="gpt2"), store, tmp_path / "gpt2", steps=1, threads=1)
    for model, text, said in (
        (models["dropped"], "a [MASK]", "nothing stands in its place, so it fills no masks; `generate` writes"),
        (models["bart"], "a class", "no mask in"),
        (models["bart"], "a [MASK]" * 400, "and the model takes"),
        (tmp_path / "tuned", "a [MASK]", "was tuned to write about texts, so it fills no masks; give the run"),
        (tmp_path / "gpt2", "a [MASK]", "`score` says how probable a text is, `generate` goes on with one"),
    ):
        with pytest.raises(InputError) as error:
            bertsmith.fill(model, text)
        assert said in str(error.value) and "\n" not in str(error.value)


def test_the_command_shows_what_is_written(models, capsys):
    with pytest.raises(SystemExit) as code:
        cli.main(["fill", str(models["t5"].run), "a [MASK] of the language"])
    assert code.value.code == 0
    assert 'written  "' in capsys.readouterr().out
