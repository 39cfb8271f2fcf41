"""RoBERTa against transformers: the same random weights, both directions; positions from pad + 1, one folded segment row."""

import dataclasses

import pytest
import torch

from bertsmith.data.batch import Batch, Stream, Target, Vocab
from bertsmith.deploy.hf import from_hf, to_hf
from bertsmith.deploy.hf_config import hf_config, model_config
from bertsmith.errors import InputError
from bertsmith.nn.embeddings import Summed
from bertsmith.nn.modules.member import MemberModel
from bertsmith.nn.norms import LayerNorm
from bertsmith.nn.positions import Learned
from bertsmith.nn.transformer import TransformerConfig
from bertsmith.objectives.predict import Predict, Tokens
from bertsmith.objectives.supervised import Classify

transformers = pytest.importorskip("transformers")

LENGTHS = (7, 12, 3, 9)
MODEL = TransformerConfig(
    vocab=90,
    layers=3,
    width=32,
    heads=4,
    hidden=48,
    positions=Learned(length=12),
    dropout=0.0,
    embeddings=Summed(segments=0),
    norm=LayerNorm(eps=1e-5),
)


@dataclasses.dataclass
class Shape:
    """The parts of a recipe that names depend on."""

    model: TransformerConfig
    objective: object


ROBERTA = Shape(MODEL, Predict(heads=(Tokens(),)))
CLASSIFIER = Shape(MODEL, Classify(classes=3))


def vocab(pad):
    return Vocab(size=90, pad=pad, unk=5, cls=2, sep=3, mask=4, special=(0, 1, 2, 3, 4, 5))


def randomised(module, seed):
    torch.manual_seed(seed)
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    return module.eval()


def ours(shape):
    torch.manual_seed(0)
    model = shape.model.build()
    return randomised(MemberModel(model, shape.objective.build(model)), 0)


def theirs(shape, pad):
    config = transformers.AutoConfig.for_model(**hf_config(shape, vocab(pad)))
    return randomised(getattr(transformers, config.architectures[0])(config), 1)


def packed():
    g = torch.Generator().manual_seed(0)
    zeros = torch.zeros(sum(LENGTHS), dtype=torch.long)
    return Stream(
        tokens=torch.randint(6, 90, (sum(LENGTHS),), generator=g),
        positions=torch.cat([torch.arange(length) for length in LENGTHS]),
        segments=zeros,
        query_rank=zeros,
        key_rank=zeros,
        lengths=LENGTHS,
    )


def padded(stream, pad):
    rows = lambda x, fill: torch.nn.utils.rnn.pad_sequence(x.split(LENGTHS), batch_first=True, padding_value=fill)
    return {"input_ids": rows(stream.tokens, pad), "attention_mask": rows(torch.ones_like(stream.tokens), 0)}


def compare(member, hf, pad):
    stream = packed()
    real = padded(stream, pad)["attention_mask"].bool()
    mine = member.objective.logits(member.model, stream, torch.arange(len(stream.tokens)))
    assert (mine - hf(**padded(stream, pad)).logits[real]).abs().max() < 1e-5
    assert mine.std() > 0.3


@pytest.mark.parametrize("pad", [1, 0])
def test_our_weights_give_their_logits(pad):
    member, hf = ours(ROBERTA), theirs(ROBERTA, pad)
    missing, unexpected = hf.load_state_dict(to_hf(member.state_dict(), ROBERTA, pad), strict=False)
    assert not unexpected and all(name.startswith("lm_head.decoder.") for name in missing)
    hf.tie_weights()
    compare(member, hf, pad)


@pytest.mark.parametrize("pad", [1, 0])
def test_their_weights_give_our_logits(pad):
    member, hf = ours(ROBERTA), theirs(ROBERTA, pad)
    assert hf.roberta.embeddings.token_type_embeddings.weight.abs().max() > 0.1
    member.load_state_dict(from_hf(hf.state_dict(), "roberta", pad))
    compare(member, hf, pad)


def test_names_there_and_back_are_the_same_tensors():
    for shape in (ROBERTA, CLASSIFIER):
        state = ours(shape).state_dict()
        back = from_hf(to_hf(state, shape), "roberta")
        assert back.keys() == state.keys()
        assert all(torch.equal(back[name], state[name]) for name in state)


def test_classifiers_agree_both_ways():
    stream = packed()
    starts = torch.tensor((0, *LENGTHS[:-1])).cumsum(0)
    for out in (True, False):
        member, hf = ours(CLASSIFIER), theirs(CLASSIFIER, 1)
        if out:
            hf.load_state_dict(to_hf(member.state_dict(), CLASSIFIER))
        else:
            member.load_state_dict(from_hf(hf.state_dict(), "roberta"))
        mine = member.objective.logits(member.model, stream, starts)
        assert (mine - hf(**padded(stream, 1)).logits).abs().max() < 1e-5


def test_gradients_of_the_loss_equal_theirs():
    member, hf = ours(ROBERTA), theirs(ROBERTA, 1)
    member.load_state_dict(from_hf(hf.state_dict(), "roberta"))
    stream = packed()
    at = torch.tensor([0, 5, 8, 17, 22, 30])
    labels = torch.tensor([7, 80, 33, 9, 89, 0])
    batch = Batch(input=stream, targets={"token": Target(at=at[:, None], labels=labels)})
    loss = member(batch)["token"] / len(at)
    inputs = padded(stream, 1)
    asked, flat = torch.full_like(inputs["input_ids"], -100), torch.full((sum(LENGTHS),), -100)
    flat[at] = labels
    asked[inputs["attention_mask"].bool()] = flat
    reference = hf(**inputs, labels=asked).loss
    assert abs(loss - reference) < 1e-5
    loss.backward()
    reference.backward()
    # The folded row is not a parameter of ours: without it, gradients go through the same names as weights do.
    slopes = {name: p.grad for name, p in hf.named_parameters()}
    slopes["roberta.embeddings.token_type_embeddings.weight"].zero_()
    other = from_hf(slopes, "roberta")
    for name, p in member.named_parameters():
        assert (p.grad - other[name]).abs().max() < 1e-5, name


def test_positions_start_behind_the_pad_row():
    state = ours(ROBERTA).state_dict()
    out = to_hf(state, ROBERTA)["roberta.embeddings.position_embeddings.weight"]
    assert out.shape == (14, 32)
    assert (out[:2] == 0).all()
    assert torch.equal(out[2:], state["model.positions.table.weight"])
    assert hf_config(ROBERTA)["max_position_embeddings"] == 14
    assert hf_config(ROBERTA, vocab(0))["max_position_embeddings"] == 13


def test_a_model_goes_through_their_configuration_unchanged():
    for pad in (0, 1):
        assert model_config(hf_config(ROBERTA, vocab(pad))) == MODEL


def test_more_than_one_segment_is_not_roberta():
    state = to_hf(ours(ROBERTA).state_dict(), ROBERTA)
    name = "roberta.embeddings.token_type_embeddings.weight"
    with pytest.raises(InputError, match="2 segments; roberta has 1"):
        from_hf({**state, name: torch.zeros(2, 32)}, "roberta")
