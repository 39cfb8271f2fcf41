"""Texts that are written from their vectors (TSDAE): what is read of them, what the decoder sees, runs, and what goes out."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from tests.runs import lines, same, small
from tests.test_tuning_runs import broken_off
from tests.test_vectors import pairs, scored

import bertsmith
from bertsmith.data.batch import Batch
from bertsmith.data.decoded import decoded, shifted
from bertsmith.data.denoise import seen
from bertsmith.data.draw import hashed
from bertsmith.downstream.model import load
from bertsmith.errors import InputError
from bertsmith.nn.member import build, parameters
from bertsmith.objectives.denoising import Denoising
from bertsmith.tasks import thinned
from bertsmith.tasks.reading import Reading

pytestmark = pytest.mark.usefixtures("one_thread")
TEXTS = [row["text"] for row in scored(40, 3)] + ["Unbelievable!", "a class of objects, and functions: 12 of them"]


@pytest.fixture(scope="module")
def read(pretrained):
    """read(texts, rate) -> the tokenizer and the encoded texts."""
    loaded = load(pretrained)

    def made(texts, rate=0.6):
        return loaded.tokenizer, thinned.encode(loaded.tokenizer, texts, Reading.of(loaded.recipe, 32), rate)

    return made


def test_most_words_go_with_all_their_tokens_and_one_of_each_text_stays(read):
    tokenizer, encoded = read(TEXTS * 30)
    which = np.arange(len(encoded))
    batch = encoded.batch(which, encoded.asked_for("vector"), hashed(1, "hidden", which))
    whole, words, kept = encoded.batch(which).input, 0, 0
    for text, one, part in zip(
        TEXTS * 30, whole.split([1] * len(which)), batch.input.split([1] * len(which)), strict=True
    ):
        ids, starts = tokenizer.encode([text])[0]
        edges = [*np.flatnonzero(starts), len(ids)]
        pieces = [ids[a:b].tolist() for a, b in pairwise(edges)]
        left = part.tokens.tolist()
        assert (left[0], left[-1]) == (one.tokens[0], one.tokens[-1]), "special tokens stay"
        left, stayed = left[1:-1], 0
        for piece in pieces:  # what is left is whole words in their order
            if left[: len(piece)] == piece:
                left, stayed = left[len(piece) :], stayed + 1
        assert not left and stayed >= 1
        words, kept = words + len(pieces), kept + stayed
    assert kept / words == pytest.approx(0.4, abs=0.05), "and the one that stays of short texts"


def test_the_decoder_reads_the_text_behind_its_beginning_and_is_asked_for_it_and_an_end(read):
    tokenizer, encoded = read(["a class of objects", "a list"])
    vocab = tokenizer.vocab
    batch = encoded.batch(np.array([1, 0]), encoded.asked_for("vector"))
    ids = [tokenizer.encode([text])[0][0].tolist() for text in ("a list", "a class of objects")]
    assert batch.output.tokens.tolist() == [vocab.cls, *ids[0], vocab.cls, *ids[1]]
    assert batch.targets["vector"].labels.tolist() == [*ids[0], vocab.sep, *ids[1], vocab.sep]
    assert batch.output.visibility == "causal" and batch.counts() == {"vector": sum(encoded.sizes)}
    first = np.flatnonzero(~batch.input.hidden)
    assert batch.input.tokens[first].tolist() == [vocab.cls, vocab.cls], "one place of a text says all of it"


def test_other_words_go_in_every_epoch_and_the_same_ones_after_a_resume(read):
    _, encoded = read(TEXTS)
    which = np.arange(len(encoded))
    some, again, other = (
        encoded.batch(
            which, encoded.asked_for("vector"), hashed(1, "hidden", (epoch << 40) + which)
        ).input.tokens.tolist()
        for epoch in (0, 0, 1)
    )
    assert some == again != other
    alone = encoded.batch(
        which[5:6], encoded.asked_for("vector"), hashed(1, "hidden", which[5:6])
    ).input.tokens.tolist()
    assert str(alone)[1:-1] in str(some), "and the same ones whatever stands beside it"


@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_the_loss_is_that_of_transformers_decoder_which_is_told_one_vector(read, pretrained, pool):
    """As sentence-transformers' DenoisingAutoEncoderLoss has it: ties by name, cross-attention to the sentence's vector alone."""
    transformers = pytest.importorskip("transformers")
    from bertsmith.deploy.hf import to_hf
    from bertsmith.deploy.hf_config import hf_config

    loaded = load(pretrained)
    recipe = replace(loaded.recipe, model=replace(loaded.recipe.model, layers=2))
    torch.manual_seed(0)
    member = build(replace(recipe, objective=Denoising(pool=pool))).eval()
    with torch.no_grad():
        for weight in member.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    state = dict(member.state_dict())
    named = {name: x for name, x in state.items() if name.startswith(("model.", "objective.token."))}
    theirs = transformers.AutoConfig.for_model(**hf_config(recipe, loaded.vocab, ()))
    encoder = transformers.BertModel(theirs, add_pooling_layer=False).eval()
    theirs.is_decoder = theirs.add_cross_attention = True
    decoder = transformers.BertLMHeadModel(theirs).eval()
    found = to_hf(named, recipe, loaded.vocab.pad)
    for i in range(2):
        at, own = f"bert.encoder.layer.{i}.crossattention.", f"objective.decoder.layers.{i}.source"
        for kind in ("weight", "bias"):
            found[f"{at}self.query.{kind}"] = state[f"{own}.q.{kind}"]
            found[f"{at}self.key.{kind}"], found[f"{at}self.value.{kind}"] = state[f"{own}.kv.{kind}"].chunk(2)
            found[f"{at}output.dense.{kind}"] = state[f"{own}.out.{kind}"]
            found[f"{at}output.LayerNorm.{kind}"] = state[f"{own}_norm.{kind}"]
    left = decoder.load_state_dict(found, strict=False)
    assert not [name for name in left.missing_keys if "decoder" not in name and "position_ids" not in name]
    body = {name.removeprefix("bert."): x for name, x in found.items() if name.startswith("bert.")}
    assert not encoder.load_state_dict(body, strict=False).missing_keys
    _, encoded = read(TEXTS[:6])
    batch = encoded.batch(np.arange(6), encoded.asked_for("vector")).to("cpu")
    wanted = 0.0
    written, asked = batch.output.split([1] * 6), iter(batch.targets["vector"].labels.split(list(batch.output.lengths)))
    with torch.no_grad():
        for source, output in zip(batch.input.split([1] * 6), written, strict=True):
            states = encoder(source.tokens[None]).last_hidden_state[0]
            vector = states[0] if pool == "cls" else states.mean(0)
            said = decoder(input_ids=output.tokens[None], encoder_hidden_states=vector[None, None], use_cache=False)
            wanted += float(torch.nn.functional.cross_entropy(said.logits[0], next(asked), reduction="sum"))
        assert float(member(batch)["vector"]) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(
    "member", ["bert", "albert", "electra", "roberta", "spanbert", "structbert", "unilm", "xlnet", "ernie1"]
)
def test_every_encoder_writes_from_its_vectors(member):
    """Its parameters are counted, a gradient reaches all that are the decoder's own, and the encoder's."""
    recipe = replace(small(member=member).with_vocab(300), objective=Denoising(pool="mean"))
    made = build(recipe)
    assert parameters(recipe) == sum(p.numel() for p in made.parameters())
    own = {name for name, _ in made.named_parameters() if name.startswith("objective.decoder.")}
    assert own and {name.split(".")[4] for name in own} == {"source", "source_norm"}, "all else is the encoder's"
    flat, lengths = np.array([*range(10, 17), *range(20, 25)]), np.array([7, 5])
    hidden = np.ones(12, bool)
    hidden[[0, 7]] = False
    output, target = decoded(shifted(flat, lengths, 2), flat, lengths)
    batch = Batch(input=replace(seen(flat, lengths), hidden=hidden), output=output, targets={"vector": target}).to(
        "cpu"
    )
    made(batch)["vector"].backward()
    still = {name for name, p in made.named_parameters() if p.grad is None or not p.grad.abs().sum()}
    assert not {name for name in still if ".source" in name and ".q." not in name and ".kv." not in name}
    assert any(name.startswith("model.") and name not in still for name, _ in made.named_parameters())


# -- runs ------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tune(pretrained):
    def run(out, task="similarity", model=pretrained, **options):
        texts = [{"text": row["text2"]} for row in scored(64, 0)]
        dev = (scored if task == "similarity" else pairs)(30, 1)
        options["set"] = {"loss": "tsdae", "batch": 16, "lr": 3e-3, **options.get("set", {})}
        options = {"train": texts, "dev": dev, "steps": 9, "threads": 1, "seed": 3, **options}
        return bertsmith.finetune(model, task=task, out=out, **options)

    return run


@pytest.fixture(scope="module")
def run(tune, tmp_path_factory):
    out, said = tmp_path_factory.mktemp("tsdae") / "run", []
    tune(out, steps=30, say=said.append, set={"evaluations": 0.2})
    return out, said


def test_texts_alone_are_learned_by_writing_them(run):
    out, said = run
    assert "train: texts alone: each is read without 60% of its words, and written from its vector" in said
    losses = [line["loss"] for line in lines(out)]
    assert np.mean(losses[-4:]) < 0.8 * losses[0]
    assert set(json.loads((out / "result.json").read_text())["dev"]) == {"spearman", "pearson"}


@pytest.mark.parametrize(("task", "sets"), [("similarity", {"pool": "cls"}), ("retrieval", {"tokens": 64})])
def test_a_run_that_was_broken_off_ends_as_the_one_that_was_not(tune, tmp_path, task, sets):
    options = {"set": {"checkpoint": 3, "dropout": 0.1, **sets}}
    straight = tune(tmp_path / "straight", task, **options)
    for how, at in (("stop", 2), ("kill", 3)):
        broken_off(lambda **k: tune(tmp_path / "run", task, resume=True, **options, **k), how, at)
    assert tune(tmp_path / "run", task, resume=True, workers=2, **options) == straight
    same(tmp_path / "straight", tmp_path / "run", state=False)


def test_passes_learn_what_one_pass_does(tune, tmp_path):
    sets = {"dropout": 0, "precision": "float32"}
    one, many = tmp_path / "one", tmp_path / "many"
    tune(one, steps=3, set=sets)
    tune(many, steps=3, set={**sets, "accumulate": 4})
    for a, b in zip(lines(one), lines(many), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)


def test_a_method_that_learns_little_learns_what_reads_the_vector_too(tune, tmp_path):
    result = tune(tmp_path / "run", steps=2, method="lora", set={"lora.rank": 2})
    assert result["trained"]["parameters"] < result["trained"]["of"]
    assert bertsmith.embed(tmp_path / "run", ["a class"]).shape == (1, 16)


def test_what_goes_out_and_what_is_gone_on_with_is_the_encoder(run, tune, tmp_path):
    pytest.importorskip("transformers")
    from safetensors.torch import load_file

    out, _ = run
    bertsmith.export(out, tmp_path / "folder")
    wanted = bertsmith.embed(out, TEXTS)
    assert np.allclose(bertsmith.embed(tmp_path / "folder", TEXTS), wanted, atol=1e-6)
    names = load_file(tmp_path / "folder" / "model.safetensors")
    assert not [name for name in names if "decoder" in name or "crossattention" in name or "cls." in name]
    modules = json.loads((tmp_path / "folder" / "modules.json").read_text())
    assert [module["type"].rpartition(".")[2] for module in modules] == ["Transformer", "Pooling", "Normalize"]
    tune(tmp_path / "pairs", model=out, train=scored(40, 0), set={"loss": "cosine", "lr": 1e-12}, steps=1)
    later = load(tmp_path / "pairs")
    assert not [name for name, _ in later.member.named_parameters() if name.startswith("objective.")]
    assert np.allclose(bertsmith.embed(tmp_path / "pairs", TEXTS), wanted, atol=1e-6), "it began where the other ended"


def test_the_token_head_of_pre_training_goes_on(pretrained, tune, tmp_path):
    tune(tmp_path / "run", steps=1, set={"lr": 1e-12})
    before, after = (load(path).member.state_dict() for path in (pretrained, tmp_path / "run"))
    for name in ("objective.token.dense.weight", "objective.token.bias"):
        assert torch.allclose(before[name], after[name], atol=1e-6)


ONE = [{"text": "a class"}, {"text": "an object"}]
TWO = [{"text": "a class", "text2": "an object"}, {"text": "a list", "text2": "a name"}]


@pytest.mark.parametrize(
    ("train", "sets", "said"),
    [
        (TWO, {}, r"train: set={'loss': 'tsdae'} wants texts alone \(text\); text, text2 stand there"),
        (ONE, {"sizes": [8]}, r"sizes: \[8\]: set={'loss': 'tsdae'} writes from whole vectors; leave it out"),
        (ONE, {"delete": 1}, r"delete: 1.* is not a share between 0 and 1"),
        (ONE, {"loss": "negatives", "delete": 0.5}, r"delete: 0\.5: is of set={'loss': 'tsdae'}; leave it out"),
        (ONE, {"loss": "tsda"}, r"set={'loss': 'tsda'}: unknown; did you mean 'tsdae'\?"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_one_line(tune, tmp_path, train, sets, said):
    with pytest.raises(InputError, match=f"^{said}$"):
        tune(tmp_path / "run", train=train, set=sets)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("member", "what"), [("bart", "encoder alone"), ("gpt", "encoder: it writes by itself")])
def test_what_has_a_decoder_or_is_one_is_refused_by_name(short, tune, tmp_path, member, what):
    bertsmith.pretrain(small(member=member), short, tmp_path / "model", steps=1, threads=1)
    with pytest.raises(InputError, match=rf"^set={{'loss': 'tsdae'}}: {member} is no {what}; .*negatives"):
        tune(tmp_path / "run", model=tmp_path / "model")
