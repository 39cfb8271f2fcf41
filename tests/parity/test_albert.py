"""ALBERT against transformers: the same random weights, both directions; layers that are all one, and layers of their own."""

import dataclasses

import pytest
import torch
from tests.folders import randomised
from tests.parity.test_bert import packed, padded, starts

from bertsmith.data.batch import Batch, Target
from bertsmith.deploy.hf import from_hf, to_hf
from bertsmith.deploy.hf_config import hf_config, model_config
from bertsmith.errors import InputError
from bertsmith.nn.embeddings import Summed
from bertsmith.nn.feedforward import Plain
from bertsmith.nn.modules.member import MemberModel
from bertsmith.nn.positions import Learned
from bertsmith.nn.transformer import TransformerConfig
from bertsmith.objectives.predict import Pair, Predict, Tokens
from bertsmith.objectives.supervised import Classify
from bertsmith.recipe import find
from bertsmith.training.saving import load_weights, weights_of

transformers = pytest.importorskip("transformers")

MODEL = TransformerConfig(
    vocab=90,
    layers=3,
    width=32,
    heads=4,
    hidden=48,
    positions=Learned(length=12),
    dropout=0.0,
    embeddings=Summed(width=8),
    feedforward=Plain(activation="gelu_tanh"),
    share="all",
)


@dataclasses.dataclass
class Shape:
    """The parts of a recipe that names depend on."""

    model: TransformerConfig
    objective: object
    surgery: None = None


OBJECTIVES = [Predict(heads=(Tokens(), Pair())), Predict(heads=(Tokens(),)), Classify(classes=3)]
every_shape = pytest.mark.parametrize("share", ["all", "none"])


def ours(shape):
    torch.manual_seed(0)
    model = shape.model.build()
    return randomised(MemberModel(model, shape.objective.build(model)), 0)


def theirs(shape):
    config = transformers.AutoConfig.for_model(**hf_config(shape))
    return randomised(getattr(transformers, config.architectures[0])(config), 1)


def compare(member, hf, stream):
    inputs = padded(stream)
    real, output = inputs["attention_mask"].bool(), hf(**inputs)
    for term in member.weights():
        everywhere = term == "token"
        at = torch.arange(len(stream.tokens)) if everywhere else starts(stream)
        mine = member.objective.logits(member.model, stream, at, *([] if term == "label" else [term]))
        other = output.sop_logits if term == "pair" else getattr(output, "prediction_logits", None)
        other = output.logits if other is None else other
        assert (mine - (other[real] if everywhere else other)).abs().max() < 1e-5, term
        assert mine.std() > 0.05


@every_shape
@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: "+".join(o.weights()))
def test_logits_agree_both_ways(share, objective):
    shape = Shape(dataclasses.replace(MODEL, share=share), objective)
    member, hf = ours(shape), theirs(shape)
    missing, unexpected = hf.load_state_dict(to_hf(weights_of(member), shape), strict=False)
    assert not unexpected and all("decoder" in name for name in missing)
    hf.tie_weights()
    compare(member, hf, packed())

    member, hf = ours(shape), theirs(shape)
    load_weights(member, from_hf(hf.state_dict(), "albert"), "theirs")
    compare(member, hf, packed())


@every_shape
def test_gradients_of_the_loss_equal_theirs(share):
    """Of a shared layer they are sums over the depth."""
    shape = Shape(dataclasses.replace(MODEL, share=share), OBJECTIVES[0])
    member, hf, stream = ours(shape), theirs(shape), packed()
    load_weights(member, from_hf(hf.state_dict(), "albert"), "theirs")
    at, labels = torch.tensor([0, 5, 8, 17, 22, 30]), torch.tensor([7, 80, 33, 9, 89, 0])
    pairs = Target(at=starts(stream)[:, None], labels=torch.arange(len(stream.lengths)) % 2)
    batch = Batch(input=stream, targets={"token": Target(at=at[:, None], labels=labels), "pair": pairs})
    sums = member(batch)
    loss = sums["token"] / len(at) + sums["pair"] / len(pairs)
    inputs = padded(stream)
    asked, flat = torch.full_like(inputs["input_ids"], -100), torch.full((len(stream.tokens),), -100)
    flat[at] = labels
    asked[inputs["attention_mask"].bool()] = flat
    reference = hf(**inputs, labels=asked, sentence_order_label=pairs.labels).loss
    assert abs(loss - reference) < 1e-5
    loss.backward()
    reference.backward()
    other = from_hf({name: p.grad for name, p in hf.named_parameters()}, "albert")
    for name, p in member.named_parameters():
        assert (p.grad - other[name]).abs().max() < 1e-5, name


@pytest.mark.parametrize(("size", "published"), [("base", 12), ("large", 18), ("xlarge", 60), ("xxlarge", 235)])
def test_sizes_are_the_published_ones(size, published):
    """Table 1 of the paper, in millions; exactly the encoders that transformers builds."""
    model = find(f"albert:{size}").model
    with torch.device("meta"):
        config = transformers.AutoConfig.for_model(**hf_config(Shape(model, OBJECTIVES[1])))
        counted = sum(p.numel() for p in transformers.AlbertModel(config).parameters())
    assert model.parameters() + (model.width + 1) * model.width == counted
    # The paper's figure for xxlarge is above what its own configuration has: 222.6 million.
    assert counted / 1e6 == pytest.approx(published, rel=0.06)


def test_a_model_goes_through_their_configuration_unchanged():
    for share in ("all", "none"):
        model = dataclasses.replace(MODEL, share=share)
        assert model_config(hf_config(Shape(model, OBJECTIVES[0]))) == model
    with pytest.raises(InputError, match="num_hidden_groups 2"):
        model_config({**hf_config(Shape(MODEL, OBJECTIVES[0])), "num_hidden_groups": 2})


def test_what_transformers_does_not_have_is_said():
    for share in ("attention", "feedforward"):
        shape = Shape(dataclasses.replace(MODEL, share=share), OBJECTIVES[0])
        with pytest.raises(InputError, match=f"share {share}.*transformers has no class"):
            hf_config(shape)
