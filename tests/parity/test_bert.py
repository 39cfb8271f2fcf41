"""BERT against transformers: the same random weights, both directions; their padded batch, our packed row."""

import dataclasses

import pytest
import torch

from bertsmith.data.batch import Batch, Stream, Target, Vocab
from bertsmith.deploy.hf import family_of, from_hf, to_hf
from bertsmith.deploy.hf_config import hf_config, model_config
from bertsmith.errors import InputError
from bertsmith.nn.blocks import PreNorm
from bertsmith.nn.decoder import EncoderDecoder
from bertsmith.nn.embeddings import Summed
from bertsmith.nn.feedforward import Plain
from bertsmith.nn.memory import Recurrence
from bertsmith.nn.modules.member import MemberModel
from bertsmith.nn.positions import Learned
from bertsmith.nn.transformer import TransformerConfig
from bertsmith.objectives.predict import Pair, Predict, Tokens
from bertsmith.objectives.supervised import Classify, Regress

transformers = pytest.importorskip("transformers")

LENGTHS = (7, 12, 3, 9)
MODEL = TransformerConfig(vocab=90, layers=3, width=32, heads=4, hidden=48, positions=Learned(length=12), dropout=0.1)
VOCAB = Vocab(size=90, pad=0, unk=1, cls=2, sep=3, mask=4, special=(0, 1, 2, 3, 4))


@dataclasses.dataclass
class Shape:
    """The parts of a recipe that names depend on."""

    model: TransformerConfig
    objective: object
    surgery: None = None


BERT = Shape(MODEL, Predict(heads=(Tokens(), Pair())))


def ours(shape, seed=0):
    """Random in every tensor, biases and norms too: a swapped pair of names must show."""
    torch.manual_seed(seed)
    model = shape.model.build()
    member = MemberModel(model, shape.objective.build(model)).eval()
    return randomised(member)


def randomised(module, seed=0):
    torch.manual_seed(seed)
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    return module.eval()


def theirs(shape, seed=1):
    config = transformers.AutoConfig.for_model(**hf_config(shape, VOCAB))
    torch.manual_seed(seed)
    return randomised(getattr(transformers, config.architectures[0])(config), seed)


def packed(lengths=LENGTHS, seed=0):
    g = torch.Generator().manual_seed(seed)
    n = sum(lengths)
    zeros = torch.zeros(n, dtype=torch.long)
    return Stream(
        tokens=torch.randint(5, 90, (n,), generator=g),
        positions=torch.cat([torch.arange(length) for length in lengths]),
        segments=torch.randint(2, (n,), generator=g),
        query_rank=zeros,
        key_rank=zeros,
        lengths=lengths,
    )


def padded(stream):
    """Their input; the mask also says where the real tokens stand, row by row as ours."""
    rows = lambda x: torch.nn.utils.rnn.pad_sequence(x.split(stream.lengths), batch_first=True)
    mask = rows(torch.ones_like(stream.tokens))
    return {"input_ids": rows(stream.tokens), "token_type_ids": rows(stream.segments), "attention_mask": mask}


def starts(stream):
    return torch.tensor((0, *stream.lengths[:-1])).cumsum(0)


def load(module, state, **how):
    """Every tensor has its place and none is left without."""
    missing, unexpected = module.load_state_dict(state, **how)
    assert not unexpected
    return missing


def compare(member, hf, stream):
    out, inputs = hf(**padded(stream)), padded(stream)
    real = inputs["attention_mask"].bool()
    objective = member.objective
    token = objective.logits(member.model, stream, torch.arange(len(stream.tokens)))
    pair = objective.logits(member.model, stream, starts(stream), "pair")
    assert (token - out.prediction_logits[real]).abs().max() < 1e-5
    assert (pair - out.seq_relationship_logits).abs().max() < 1e-5
    assert token.std() > 0.3
    assert pair.std() > 0.1


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "relu"])
def test_our_weights_give_their_logits(activation):
    shape = dataclasses.replace(BERT, model=dataclasses.replace(MODEL, feedforward=Plain(activation=activation)))
    member, hf = ours(shape), theirs(shape)
    assert type(hf).__name__ == "BertForPreTraining"
    missing = load(hf, to_hf(member.state_dict(), shape), strict=False)
    assert all(name.startswith("cls.predictions.decoder.") for name in missing)
    hf.tie_weights()
    compare(member, hf, packed())


def test_their_weights_give_our_logits():
    member, hf = ours(BERT), theirs(BERT)
    load(member, from_hf(hf.state_dict(), "bert"))
    compare(member, hf, packed())


def test_names_there_and_back_are_the_same_tensors():
    state = ours(BERT).state_dict()
    back = from_hf(to_hf(state, BERT), "bert")
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)


def test_a_folder_of_ours_opens_with_nothing_missing(tmp_path):
    import json

    from safetensors.torch import save_file

    member = ours(BERT)
    save_file(to_hf(member.state_dict(), BERT), tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps(hf_config(BERT, VOCAB)))
    hf, info = transformers.BertForPreTraining.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    compare(member, hf.eval(), packed())


def test_gradients_of_both_losses_equal_theirs():
    shape = dataclasses.replace(BERT, model=dataclasses.replace(MODEL, dropout=0.0))
    member, hf = ours(shape), theirs(shape)
    member.load_state_dict(from_hf(hf.state_dict(), "bert"))
    stream, g = packed(), torch.Generator().manual_seed(3)
    at = torch.tensor([1, 4, 8, 9, 20, 25, 30])
    labels = torch.randint(90, (len(at),), generator=g)
    pair = torch.tensor([0, 1, 1, 0])
    batch = Batch(
        input=stream,
        targets={
            "token": Target(at=at[:, None], labels=labels),
            "pair": Target(at=starts(stream)[:, None], labels=pair),
        },
    )
    sums = member(batch)
    loss = sum(sums[name] / count for name, count in batch.counts().items())

    inputs = padded(stream)
    asked = torch.full_like(inputs["input_ids"], -100)
    flat = torch.full((len(stream.tokens),), -100)
    flat[at] = labels
    asked[inputs["attention_mask"].bool()] = flat
    reference = hf(**inputs, labels=asked, next_sentence_label=pair).loss
    assert abs(loss - reference) < 1e-5

    loss.backward()
    reference.backward()
    mine = {name: p.grad for name, p in member.named_parameters()}
    other = from_hf({name: p.grad for name, p in hf.named_parameters()}, "bert")
    assert mine.keys() == other.keys()
    for name in mine:
        assert (mine[name] - other[name]).abs().max() < 1e-5, name
        assert mine[name].abs().max() > 1e-5 or name.endswith("qkv.bias"), name


@pytest.mark.parametrize("objective", [Classify(classes=3), Regress()])
def test_classifiers_agree_both_ways(objective):
    shape = Shape(MODEL, objective)
    stream = packed()
    for out in (True, False):
        member, hf = ours(shape), theirs(shape)
        assert type(hf).__name__ == "BertForSequenceClassification"
        if out:
            assert load(hf, to_hf(member.state_dict(), shape)) == []
        else:
            load(member, from_hf(hf.state_dict(), "bert"))
        mine = member.objective.logits(member.model, stream, starts(stream))
        assert (mine - hf(**padded(stream)).logits).abs().max() < 1e-5
        assert mine.std() > 0.05


def test_states_equal_their_hidden_states():
    member, hf = ours(BERT), theirs(BERT)
    member.load_state_dict(from_hf(hf.state_dict(), "bert"))
    stream = packed()
    real = padded(stream)["attention_mask"].bool()
    out = hf(**padded(stream), output_hidden_states=True).hidden_states
    for mine, other in zip(member.model.states(stream), out, strict=True):
        assert (mine - other[real]).abs().max() < 1e-5


def test_published_sizes_have_their_parameter_count():
    from bertsmith.nn.member import parameters

    model = TransformerConfig(vocab=30522, layers=12, width=768, heads=12, hidden=3072)
    shape = Shape(model, BERT.objective)
    with torch.device("meta"):
        config = transformers.AutoConfig.for_model(**hf_config(shape))
        hf = transformers.BertForPreTraining(config)
    assert parameters(shape) == sum(p.numel() for p in hf.parameters())


def test_a_model_goes_through_their_configuration_unchanged():
    assert model_config(hf_config(BERT, VOCAB)) == MODEL


def test_what_cannot_be_read_or_written_is_said():
    good = to_hf(ours(BERT).state_dict(), BERT)
    cut = {name: tensor for name, tensor in good.items() if "layer.1.output.dense.bias" not in name}
    with pytest.raises(InputError, match=r"encoder\.layer\.1\.output\.dense\.bias: missing"):
        from_hf(cut, "bert")
    with pytest.raises(InputError, match=r"bert\.extra: not a tensor of a bert"):
        from_hf({**good, "bert.extra": torch.zeros(1)}, "bert")
    untied = good["bert.embeddings.word_embeddings.weight"] + 1
    with pytest.raises(InputError, match="only decoders tied"):
        from_hf({**good, "cls.predictions.decoder.weight": untied}, "bert")
    with pytest.raises(InputError, match="did you mean"):
        from_hf(good, "berta")
    with pytest.raises(InputError, match="no head for it"):
        to_hf({**ours(BERT).state_dict(), "objective.boundary.bias": torch.zeros(1)}, BERT)
    with pytest.raises(InputError, match=r"objective\.token\.extra: bert has no name for it"):
        to_hf({**ours(BERT).state_dict(), "objective.token.extra": torch.zeros(1)}, BERT)
    with pytest.raises(InputError, match="transformers has no class"):
        family_of(dataclasses.replace(BERT, model=dataclasses.replace(MODEL, embeddings=Summed(segments=0, width=8))))
    with pytest.raises(InputError, match="nearest encoder-decoder is its bart, and this one has"):
        family_of(dataclasses.replace(BERT, model=dataclasses.replace(MODEL, topology=EncoderDecoder())))
    for change in ({"memory": Recurrence(length=4)}, {"block": PreNorm()}):
        with pytest.raises(InputError, match="transformers has no class"):
            family_of(dataclasses.replace(BERT, model=dataclasses.replace(MODEL, **change)))
    with pytest.raises(InputError, match="hidden_act: 'silu': layers with gelu"):
        model_config({**hf_config(BERT), "hidden_act": "silu"})
    with pytest.raises(InputError, match="hidden_size is missing"):
        model_config({k: v for k, v in hf_config(BERT).items() if k != "hidden_size"})
