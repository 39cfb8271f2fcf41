"""BART and T5 against transformers: the same random weights both ways, published configurations, folders as they are released, what `generate`
begins with; T5's buckets and its optimiser."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.folders import loaded, randomised, tokenizer_of
from tests.parity.test_bodies import packed, padded, real
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Backend
from torch import nn

import bertsmith
from bertsmith.deploy.hf import from_hf, to_hf
from bertsmith.deploy.hf_config import hf_config, model_config
from bertsmith.errors import InputError
from bertsmith.nn.attending import Full
from bertsmith.nn.buckets import Buckets
from bertsmith.nn.decoder import EncoderDecoder
from bertsmith.nn.member import build, parameters
from bertsmith.nn.norms import LayerNorm
from bertsmith.objectives.predict import Predict, Tokens
from bertsmith.recipe import find
from bertsmith.training.saving import load_weights, weights_of

transformers = pytest.importorskip("transformers")
LENGTHS, SOURCES = (7, 40, 3, 25), (9, 4, 33, 17)
TEXTS = ["a list of names", "while the loop runs, it counts", "an object", "the value of a name in a class body"]
NAMES = [f"<extra_id_{k}>" for k in range(100)]


def head(**fields):
    return Predict(heads=(Tokens(**{"transform": False, "bias": False, **fields}),))


def small(name, decoder, **fields):
    """Of width 32, with stacks of 2 and `decoder` layers."""
    made = find(name)
    model = replace(
        made.model, vocab=90, layers=2, width=32, heads=4, hidden=48, dropout=0.0, topology=EncoderDecoder(layers=decoder), **fields
    )  # fmt: skip
    return replace(made, model=model)


# Every head that there is, stacks of other heights, heads that are no part of the width.
KINDS = {
    "bart": small("bart:tiny", 3),
    "bart with a bias": replace(small("bart:tiny", 1), objective=head(bias=True)),
    "t5": small("t5:tiny", 3, attention=Full(bias=False, head=7, scaled=False)),
    "t5 v1.1": small("t5:v1.1-small", 1, attention=Full(bias=False, head=16, scaled=False)),
    "t5 v1.1 with the tokens' table": replace(small("t5:v1.1-small", None), objective=head()),
    "t5 of few buckets": small("t5:tiny", None, positions=Buckets(buckets=8, distance=20)),
}


def theirs(made):
    """transformers' model of a recipe; since version 5 it ties the table of a T5's head on its own, whatever its config says."""
    config = transformers.AutoConfig.for_model(**hf_config(made))
    hf = getattr(transformers, config.architectures[0])(config)
    if not made.objective.heads[0].tied:
        hf.lm_head.weight = nn.Parameter(torch.empty_like(hf.lm_head.weight).normal_())
    hf = randomised(hf, 1)
    if made.objective.heads[0].bias:
        hf.final_logits_bias.normal_()
    return hf


def pair(name, direction):
    """(ours, theirs) with the same weights, which are those of ours or of theirs."""
    made = KINDS[name]
    torch.manual_seed(0)
    member, hf = randomised(build(made)), theirs(made)
    if direction == "there":
        missing, unexpected = hf.load_state_dict(to_hf(weights_of(member), made), strict=False)
        assert not unexpected and all("embed_tokens" in n or "lm_head" in n or "bias" in n for n in missing)
    else:
        kind = hf_config(made)
        load_weights(member, from_hf(hf.state_dict(), kind["model_type"], architecture=kind["architectures"][0]), name)
    return member, hf


@pytest.mark.parametrize("direction", ["there", "back"])
@pytest.mark.parametrize("name", KINDS)
def test_logits_and_the_states_of_both_stacks_agree_both_ways(name, direction):
    member, hf = pair(name, direction)
    source, output = packed(SOURCES, seed=3), packed(LENGTHS, causal=True)
    (tokens, mask), (asked, seen) = padded(source), padded(output)
    with torch.no_grad():
        said = hf(
            input_ids=tokens, attention_mask=mask, decoder_input_ids=asked, decoder_attention_mask=seen, output_hidden_states=True
        )  # fmt: skip
        every = torch.arange(sum(LENGTHS))
        ours = {
            "logits": (member.objective.logits(member.model, source, every, output=output), said.logits, seen),
            "encoder": (member.model(source), said.encoder_last_hidden_state, mask),
            "decoder": (member.model(source, None, output), said.decoder_hidden_states[-1], seen),
        }
    for part, (mine, other, where) in ours.items():
        other = real(other, where)
        assert (mine - other).abs().max() < 1e-5 * max(1.0, float(other.abs().max())) and other.std() > 0.1, part


@pytest.mark.parametrize("ahead", [True, False])
@pytest.mark.parametrize(("buckets", "distance"), [(32, 128), (8, 20), (64, 500)])
def test_every_distance_is_in_their_bucket(buckets, distance, ahead):
    from transformers.models.t5.modeling_t5 import T5Attention

    far = torch.arange(-300, 301)
    place = Buckets(buckets=buckets, distance=distance, ahead=ahead).build(find("t5:tiny").model)
    wanted = T5Attention._relative_position_bucket(far, ahead, buckets, distance)
    assert torch.equal(place.bucket(far), wanted)


RELEASED = {
    "bart:base": ("bart", {"encoder_layers": 6, "decoder_layers": 6, "d_model": 768, "encoder_attention_heads": 12, "decoder_attention_heads": 12, "encoder_ffn_dim": 3072, "decoder_ffn_dim": 3072, "normalize_before": False, "normalize_embedding": True, "scale_embedding": False, "vocab_size": 50265, "add_final_layer_norm": False, "max_position_embeddings": 1024}),
    "bart:large": ("bart", {"encoder_layers": 12, "decoder_layers": 12, "d_model": 1024, "encoder_attention_heads": 16, "decoder_attention_heads": 16, "encoder_ffn_dim": 4096, "decoder_ffn_dim": 4096, "vocab_size": 50265}),
    "t5:small": ("t5", {"d_ff": 2048, "d_kv": 64, "d_model": 512, "num_heads": 8, "num_layers": 6, "vocab_size": 32128, "layer_norm_epsilon": 1e-06, "relative_attention_num_buckets": 32}),
    "t5:11b": ("t5", {"d_ff": 65536, "d_kv": 128, "d_model": 1024, "num_heads": 128, "num_layers": 24, "vocab_size": 32128}),
    "t5:v1.1-small": ("t5", {"d_ff": 1024, "d_kv": 64, "d_model": 512, "num_heads": 6, "num_layers": 8, "num_decoder_layers": 8, "dropout_rate": 0.0, "vocab_size": 32128, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    "t5:v1.1-xl": ("t5", {"d_ff": 5120, "d_kv": 64, "d_model": 2048, "num_heads": 32, "num_layers": 24, "num_decoder_layers": 24, "dropout_rate": 0.0, "vocab_size": 32128, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
}  # fmt: skip


@pytest.mark.parametrize("name", RELEASED)
def test_the_published_sizes_are_theirs(name):
    made, (kind, fields) = find(name), RELEASED[name]
    assert model_config({"model_type": kind, **fields}) == model_config(hf_config(made)) == made.model
    with torch.device("meta"):
        config = transformers.AutoConfig.for_model(kind, **fields)
        hf = transformers.AutoModelForSeq2SeqLM.from_config(config)
    own = 0 if made.objective.heads[0].tied else made.model.vocab * made.model.width  # which version 5 ties
    own -= 4 * made.model.width if kind == "bart" else 0  # rows of places that no token reads
    assert parameters(made) == sum(p.numel() for p in hf.parameters()) + own


# -- folders as they are released ---------------------------------------------------------------------------------------------------


def of_bytes(at, documents, **fields):
    """A folder as BART's on the hub."""
    tokens = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    backend = Backend(models.BPE())
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=tokens, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    backend.train_from_iterator(documents[:20], trainer)
    backend.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True, normalized=False)])
    backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    config = transformers.BartConfig(
        vocab_size=backend.get_vocab_size(), d_model=16, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24, max_position_embeddings=48, **fields,
    )  # fmt: skip
    hf = randomised(transformers.BartForConditionalGeneration(config)).eval()
    hf.save_pretrained(at)
    backend.save(str(at / "tokenizer.json"))
    (at / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 48, "tokenizer_class": "BartTokenizer"}))
    return hf, backend


def of_pieces(at, documents, **fields):
    """A folder as T5's on the hub: pieces, an end, a hundred sentinels from the top, no mask, rows that are no token's."""
    backend = Backend(models.Unigram())
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    backend.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    backend.train_from_iterator(documents[:20], trainer)
    backend.add_special_tokens(NAMES[::-1])
    backend.post_processor = processors.TemplateProcessing("$A </s>", "$A </s> $B </s>", [("</s>", 1)])
    config = transformers.T5Config(
        vocab_size=backend.get_vocab_size() + 28, d_model=16, d_kv=8, d_ff=24, num_layers=1, num_decoder_layers=2, num_heads=3,
        decoder_start_token_id=0, **fields,
    )  # fmt: skip
    hf = randomised(transformers.T5ForConditionalGeneration(config)).eval()
    hf.save_pretrained(at)
    backend.save(str(at / "tokenizer.json"))
    settings = {"model_max_length": 512, "tokenizer_class": "T5Tokenizer", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", "extra_ids": 100}  # fmt: skip
    (at / "tokenizer_config.json").write_text(json.dumps(settings))
    return hf, backend


FOLDERS = {"bart": of_bytes, "t5": of_pieces}


@pytest.mark.parametrize("family", FOLDERS)
def test_a_released_folder_opens_with_its_own_tokenizer_and_goes_out_as_it_came(family, documents, tmp_path):
    _, backend = FOLDERS[family](tmp_path / "hf", documents)
    bertsmith.import_(tmp_path / "hf", tmp_path / "model")
    result = bertsmith.export(tmp_path / "model", tmp_path / "out")
    assert {"hidden", "decoded", "token"} == result["largest_difference"].keys()
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("hf", "out"))
    unread = [name for name in one if "embed_positions" in name or name == "final_logits_bias"]
    assert {*one} - {"final_logits_bias"} == {*two}
    assert all(torch.equal(one[name], two[name]) for name in one.keys() - unread)
    assert all(torch.equal(one[name][2:], two[name][2:]) for name in unread if "places" in name)
    for path in ("hf", "model", "out"):
        model = bertsmith.load(tmp_path / path)
        rows = [row for row, _ in model.tokenizer.encode(TEXTS)]
        for text, row in zip(TEXTS, rows, strict=True):
            assert model.reading().joined(model.vocab, row)[0].tolist() == backend.encode(text).ids
        ids = model.reading().joined(model.vocab, rows[0], rows[1])[0]
        assert ids.tolist() == backend.encode(*TEXTS[:2]).ids
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer(TEXTS[0])["input_ids"] == backend.encode(TEXTS[0]).ids
    assert tokenizer.eos_token == "</s>" and tokenizer.pad_token == "<pad>"


def test_t5s_tokenizer_has_sentinels_and_neither_a_beginning_nor_a_mask(documents, tmp_path):
    _, backend = of_pieces(tmp_path / "hf", documents)
    model = bertsmith.load(tmp_path / "hf")
    vocab = model.vocab
    assert vocab.sentinels == tuple(backend.token_to_id(name) for name in NAMES)
    assert list(vocab.sentinels) == sorted(vocab.sentinels, reverse=True)
    assert vocab.cls == vocab.mask == vocab.sep == 1 and (vocab.pad, vocab.unk) == (0, 2)
    rewrite = model.recipe.corruption.rewrite
    assert rewrite.marks(vocab).tolist() == list(vocab.sentinels) and rewrite.start == "pad"
    assert model.recipe.name == "t5" and model.recipe.objective.heads[0].scaled


def test_pre_training_goes_on_with_a_released_t5_on_text_of_its_own_tokenizer(documents, tmp_path):
    of_pieces(tmp_path / "hf", documents)
    (tmp_path / "text.txt").write_text("\n\n".join(documents[:40]))
    bertsmith.prepare([tmp_path / "text.txt"], tmp_path / "store", tokenizer=str(tmp_path / "hf"), holdout=0.1)
    bertsmith.pretrain(
        "t5", tmp_path / "store", tmp_path / "run", from_=tmp_path / "hf", steps=2, threads=1, set=["training.batch=512"]
    )  # fmt: skip
    result = bertsmith.export(tmp_path / "run", tmp_path / "out")
    assert max(result["largest_difference"].values()) < 1e-5
    with pytest.raises(InputError, match="takes? a member|mask token"):
        bertsmith.pretrain("bart:tiny", tmp_path / "store", tmp_path / "no", steps=2, threads=1)
