"""XLNet against transformers: the same random weights, both directions; asked in an order, remembered over turns, and read to the end."""

import dataclasses
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.folders import loaded, randomised, recipe_of, theirs, tokenizer_of
from tests.runs import small

import bertsmith
from bertsmith.config import override
from bertsmith.data.batch import NEVER, Batch, Stream, Target
from bertsmith.data.thread import Thread
from bertsmith.deploy.hf import family_of, from_hf, to_hf
from bertsmith.deploy.hf_config import hf_config, model_config
from bertsmith.errors import InputError
from bertsmith.nn.member import build, parameters
from bertsmith.nn.memory import Recurrence
from bertsmith.recipe import find
from bertsmith.training.saving import load_weights, weights_of
from bertsmith.training.start import recipe_for

transformers = pytest.importorskip("transformers")

ROWS, LENGTH, ASKED, REUSE, MEMORY = 2, 12, 4, 5, 8
TURNS = 3


@pytest.fixture(scope="module")
def tokenizer(documents):
    return tokenizer_of(documents[:20])


def recipe(*sets):
    sizes = ["model.layers=3", "model.width=32", "model.heads=4", "model.hidden=48", f"model.memory.length={MEMORY}"]
    return override(find("xlnet:tiny"), [*sizes, f"layout.length={LENGTH}", f"layout.reuse={REUSE}", *sets]).with_vocab(
        90
    )


def pair(made, direction):
    """(ours, theirs) with the same weights, which are those of ours or of theirs."""
    torch.manual_seed(0)
    member = randomised(build(made))
    config = transformers.AutoConfig.for_model(**hf_config(made))
    hf = randomised(getattr(transformers, config.architectures[0])(config), 1)
    if direction == "there":
        missing, unexpected = hf.load_state_dict(to_hf(weights_of(member), made), strict=False)
        assert not unexpected and missing in ([], ["lm_loss.weight"])
        hf.tie_weights()
    else:
        load_weights(member, from_hf(hf.state_dict(), "xlnet"), "theirs")
    return member, hf


def asked(turn):
    """A turn's rows, asked for some tokens in a random order: our stream with a token that asks for each, their masks; where they ask."""
    g = torch.Generator().manual_seed(turn)
    tokens = torch.randint(5, 90, (ROWS, LENGTH), generator=g)
    segments = torch.zeros_like(tokens)
    segments[:, 7:], segments[:, -1] = 1, 2
    targets = torch.stack([torch.randperm(LENGTH, generator=g)[:ASKED].sort().values for _ in range(ROWS)])
    order = torch.stack([torch.randperm(ASKED, generator=g) for _ in range(ROWS)]) + 1
    rank = torch.zeros_like(tokens).scatter_(1, targets, order)
    later = (rank[:, None, :] >= rank[:, :, None]) & (rank > 0)[:, None, :]
    inputs = {"input_ids": tokens, "token_type_ids": segments, "perm_mask": later.float()}
    inputs["target_mapping"] = F.one_hot(targets, LENGTH).float()
    both = lambda content, asking: torch.cat([content, asking], 1).flatten()
    positions = torch.arange(LENGTH).expand(ROWS, LENGTH)
    stream = Stream(
        tokens=both(tokens, torch.full_like(targets, 4)),
        positions=both(positions, targets),
        segments=both(segments, segments.gather(1, targets)),
        query_rank=both(rank, rank.gather(1, targets) - 1),
        key_rank=both(rank, torch.full_like(targets, NEVER)),
        lengths=(LENGTH + ASKED,) * ROWS,
        visibility="ranks",
        thread=Thread(column=np.arange(ROWS), turn=np.full(ROWS, turn), backward=np.zeros(ROWS, bool), stride=REUSE),
    )
    at = torch.arange(ROWS)[:, None] * (LENGTH + ASKED) + LENGTH + torch.arange(ASKED)
    return stream, inputs, at.flatten(), tokens.gather(1, targets)


@pytest.mark.parametrize("direction", ["there", "back"])
@pytest.mark.parametrize("sets", [(), ("model.positions.clamp=4",)], ids=["", "clamp"])
def test_what_is_asked_in_an_order_agrees_over_three_turns_of_memory(direction, sets):
    member, hf = pair(recipe(*sets), direction)
    mems, alone = None, []
    for turn in range(TURNS):
        stream, inputs, at, _ = asked(turn)
        with torch.no_grad():
            output = hf(**inputs, mems=mems, use_mems=True)
            mine = member.objective.logits(member.model, stream, at)
            alone.append(hf(**inputs).logits)
        mems = output.mems
        assert mems[0].shape[0] == min(MEMORY, (turn + 1) * REUSE)
        assert (mine.view(output.logits.shape) - output.logits).abs().max() < 1e-5
        assert mine.std() > 0.3
    assert (alone[-1] - output.logits).abs().max() > 1e-2, "what is remembered tells"


def test_gradients_of_the_loss_equal_theirs():
    member, hf = pair(recipe(), "back")
    stream, inputs, at, labels = asked(0)
    batch = Batch(input=stream, targets={"token": Target(at=at[:, None], labels=labels.flatten())})
    loss = member(batch)["token"] / len(at)
    reference = hf(**inputs, labels=labels).loss
    assert abs(loss - reference) < 1e-5
    loss.backward()
    reference.backward()
    other = from_hf({name: p.grad for name, p in hf.named_parameters()}, "xlnet")
    for name, p in member.named_parameters():
        assert (p.grad - other[name]).abs().max() < 1e-5, name
        assert p.grad.abs().max() > 0, name


def test_the_published_sizes_are_theirs():
    for size, layers, width in (("base", 12, 768), ("large", 24, 1024)):
        made = find(f"xlnet:{size}")
        config = hf_config(made)
        assert [config[key] for key in ("n_layer", "d_model", "n_head", "d_inner")] == [
            layers,
            width,
            width // 64,
            4 * width,
        ]
        assert [config[key] for key in ("mem_len", "reuse_len", "bi_data", "attn_type")] == [384, 256, False, "bi"]
        with torch.device("meta"):
            hf = transformers.XLNetLMHeadModel(transformers.AutoConfig.for_model(**config))
        assert parameters(made) == sum(p.numel() for p in hf.parameters())
        assert model_config(config) == made.model


@pytest.mark.parametrize(
    "field", [{"attn_type": "uni"}, {"bi_data": True}, {"untie_r": False}, {"d_head": 16}, {"summary_type": "mean"}]
)
def test_what_is_not_done_here_is_said(field):
    with pytest.raises(InputError, match=f"config.json: {next(iter(field))}: .*can be read"):
        model_config({**hf_config(recipe()), **field})


def test_published_configurations_are_read():
    """The shapes of xlnet-base-cased's config.json: without memory, with fields that nothing asks for."""
    theirs_ = {"model_type": "xlnet", "vocab_size": 32000, "d_model": 768, "n_layer": 12, "n_head": 12, "d_inner": 3072}
    theirs_ |= {
        "d_head": 64,
        "ff_activation": "gelu",
        "attn_type": "bi",
        "untie_r": True,
        "bi_data": False,
        "dropout": 0.1,
    }
    theirs_ |= {"clamp_len": -1, "mem_len": None, "reuse_len": None, "same_length": False, "start_n_top": 5}
    theirs_ |= {"summary_type": "last", "summary_use_proj": True, "summary_activation": "tanh", "layer_norm_eps": 1e-12}
    assert model_config(theirs_) == dataclasses.replace(find("xlnet:base").model, memory=Recurrence(length=0))


def test_runs_go_out_with_their_memory_and_come_back(store, tmp_path):
    bertsmith.pretrain(small("layout.reuse=10", member="xlnet"), store, tmp_path / "run", steps=2, threads=1)
    made = bertsmith.export(tmp_path / "run", tmp_path / "hf")
    assert made["classes"] == ["XLNetLMHeadModel", "XLNetModel"]
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert (config["mem_len"], config["reuse_len"], config["use_mems_eval"]) == (96, 10, True)
    bertsmith.import_(tmp_path / "hf", tmp_path / "model")
    back = bertsmith.load(tmp_path / "model")
    assert (back.recipe.name, back.recipe.model.memory.length, back.recipe.layout.stride) == ("xlnet", 96, 10)
    text = "a [MASK] is an object, and [MASK] finds it"
    found = [bertsmith.fill(tmp_path / name, text)["masks"] for name in ("run", "hf", "model")]
    assert found[0] == found[1] == found[2]
    on = override(recipe_for("xlnet", tmp_path / "hf"), ["training.batch=512", "training.held_out=512"])
    assert on.model == back.recipe.model
    bertsmith.pretrain(on, store, tmp_path / "on", steps=1, threads=1, from_=tmp_path / "hf")


def test_masks_are_filled_as_their_masks_of_permutations_fill_them(tokenizer, tmp_path):
    model = loaded("xlnet", "token", tokenizer, tmp_path / "run")
    bertsmith.export(model, tmp_path / "hf")
    hf = transformers.XLNetLMHeadModel.from_pretrained(tmp_path / "hf")
    made = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    assert made.padding_side == "left"
    inputs = made("the [MASK] of a list [MASK]", return_tensors="pt")
    holes = inputs["input_ids"][0] == made.mask_token_id
    length = len(holes)
    inputs["perm_mask"] = holes.float().expand(1, length, length)
    inputs["target_mapping"] = F.one_hot(holes.nonzero()[:, 0], length).float()[None]
    with torch.no_grad():
        logits = hf(**inputs).logits[0]
    mine = bertsmith.fill(model, "the [MASK] of a list [MASK]", top=3)["masks"]
    assert [mask["position"] for mask in mine] == holes.nonzero()[:, 0].tolist()
    for mask, row in zip(mine, torch.softmax(logits, -1), strict=True):
        assert np.allclose(
            [guess["p"] for guess in mask["top"]], [row[guess["id"]] for guess in mask["top"]], atol=1e-6
        )
        assert [guess["id"] for guess in mask["top"]] == row.topk(3).indices.tolist()


def test_predictions_do_not_depend_on_the_padding_of_a_batch(tokenizer, tmp_path):
    """Padded on the left, the last token of every text is its [CLS]."""
    model = loaded("xlnet", "classify", tokenizer, tmp_path / "run")
    bertsmith.export(model, tmp_path / "hf")
    texts = ["a list of names", "while the loop runs over all of the values", "an object"]
    pipe = transformers.pipeline("text-classification", model=str(tmp_path / "hf"), batch_size=3, top_k=None)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    for mine, found in zip(bertsmith.predict(model, tmp_path / "rows.jsonl"), pipe(texts), strict=True):
        assert all(abs(mine["scores"][row["label"]] - row["score"]) < 1e-5 for row in found)


def test_texts_may_be_shorter_than_a_row_of_the_layout(tokenizer, tmp_path):
    """Eleven tokens have no room for reused text and two segments: the task has this length, the layout its own."""
    model = loaded("xlnet", "classify", tokenizer, tmp_path / "run")
    model.task["length"] = 11
    bertsmith.export(model, tmp_path / "hf")
    bertsmith.import_(tmp_path / "hf", tmp_path / "model")
    back = bertsmith.load(tmp_path / "model")
    assert back.length() == 11 and back.recipe.layout.length > 11


def test_new_heads_are_made_for_an_xlnet(tokenizer, tmp_path):
    theirs(transformers, "xlnet", "none", tokenizer, tmp_path / "hf")
    bertsmith.import_(tmp_path / "hf", tmp_path / "model", new_heads=["token"])
    made = bertsmith.load(tmp_path / "model")
    assert list(made.member.weights()) == ["token"] and made.member.objective.token.dense is None
    assert len(bertsmith.fill(made, "a [MASK]")["masks"]) == 1
    with pytest.raises(InputError, match="new_heads='pair': cannot be made for an xlnet; known: token"):
        bertsmith.import_(tmp_path / "hf", tmp_path / "other", new_heads=["pair"])


@pytest.mark.parametrize(
    "change", ["model.positions.tied=true", "model.positions.segments=false", "model.block.dropout_last=false"]
)
def test_a_body_that_only_resembles_it_has_no_class(change):
    made = override(recipe_of("xlnet", "token", 90), [change])
    with pytest.raises(InputError, match=r"Relative positions, .* transformers has no class"):
        family_of(made)


def test_transformer_xl_stays_here(short, tmp_path):
    gone = "transformers has had no Transformer-XL since version 5, nor an adaptive softmax"
    bertsmith.pretrain(small(member="transformer-xl"), short, tmp_path / "run", steps=1, threads=1)
    with pytest.raises(InputError, match=gone) as refused:
        bertsmith.export(tmp_path / "run", tmp_path / "out")
    assert "\n" not in str(refused.value) and not (tmp_path / "out").exists()
    folder = tmp_path / "hf"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "transfo-xl", "architectures": ["TransfoXLModel"]}))
    with pytest.raises(InputError, match=f"model_type .*transfo-xl.* cannot be read; {gone}"):
        bertsmith.import_(folder, tmp_path / "model")
