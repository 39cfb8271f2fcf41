"""BART and T5 against transformers: the same random weights both ways, published configurations, folders as they are released, what `generate`
begins with; T5's buckets and its optimiser."""

import json
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from safetensors.torch import load_file
from tests.folders import randomised
from tests.parity.test_bodies import packed, padded, real
from tests.test_cards import ran
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
from bertsmith.objectives.predict import Predict, Tokens
from bertsmith.recipe import find
from bertsmith.training.saving import load_weights, weights_of

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.usefixtures("few_texts")
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
        vocab_size=backend.get_vocab_size() + 28, d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=3, decoder_start_token_id=0,
        **{"num_decoder_layers": 2, **fields},
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
    with pytest.raises(InputError, match=r"mask token"):
        bertsmith.pretrain("bart:tiny", tmp_path / "store", tmp_path / "no", steps=2, threads=1)


def test_embed_is_the_mean_of_the_encoders_states_and_what_has_no_sense_is_refused(documents, tmp_path):
    hf, backend = of_bytes(tmp_path / "hf", documents)
    found = bertsmith.embed(tmp_path / "hf", TEXTS)
    for row, text in zip(found, TEXTS, strict=True):
        with torch.no_grad():
            states = hf.model.encoder(input_ids=torch.tensor([backend.encode(text).ids])).last_hidden_state[0]
        assert (torch.from_numpy(row) - states.mean(0)).abs().max() < 1e-5
    for given, wanted in (
        ({"input": TEXTS}, "what is written about them .text2."),
        ({"pairs": PAIRS}, "a column source"),
    ):
        with pytest.raises(InputError, match=f"writes with a decoder about a text that it reads: give .*{wanted}"):
            bertsmith.score(tmp_path / "hf", **given)
    with pytest.raises(InputError, match=r"method='pll': .* writes with a decoder; take decoder"):
        bertsmith.score(tmp_path / "hf", [("a", "b")], method="pll")


@pytest.mark.parametrize("family", FOLDERS)
def test_what_a_decoder_says_of_a_text_about_another_is_their_loss(family, documents, tmp_path):
    hf, backend = FOLDERS[family](tmp_path / "hf", documents)
    start, marks = hf.config.decoder_start_token_id, "the <extra_id_0> list" if family == "t5" else "the list"
    rows = [*pairwise(TEXTS), (marks, TEXTS[0]), ("", "a name"), (TEXTS[0], "")]
    found = bertsmith.score(tmp_path / "hf", rows, each=True)
    assert found["method"] == "decoder"
    for (source, text), row in zip(rows, found["texts"], strict=True):
        labels = [*backend.encode(text, add_special_tokens=False).ids, hf.config.eos_token_id]
        ids = torch.tensor([backend.encode(source).ids])
        with torch.no_grad():
            said = hf(input_ids=ids, decoder_input_ids=torch.tensor([[start, *labels[:-1]]])).logits[0].log_softmax(-1)
        each = said[torch.arange(len(labels)), torch.tensor(labels)].tolist()
        assert [value for _, value in row["each"]] == pytest.approx(each, abs=1e-4)
        assert row["logprob"] == pytest.approx(sum(each), abs=1e-4) and row["tokens"] == len(each)
        assert row["bytes"] == len(text.encode())
    alone = bertsmith.score(tmp_path / "hf", rows[:1])["texts"][0]
    assert alone["logprob"] == pytest.approx(found["texts"][0]["logprob"], abs=1e-5), "by no other row"
    pairs = [{"source": a, "good": b, "bad": c} for (a, b), c in zip(rows[:3], TEXTS[::-1], strict=False)]
    better = bertsmith.score(tmp_path / "hf", pairs=pairs)
    for row, pair in zip(better["rows"], pairs, strict=True):
        both = bertsmith.score(tmp_path / "hf", [(pair["source"], pair["good"]), (pair["source"], pair["bad"])])
        assert [row[side]["logprob"] for side in ("good", "bad")] == pytest.approx([one["logprob"] for one in both["texts"]], abs=1e-4)  # fmt: skip
    asked = [{"text": TEXTS[0], "label": "name"}, {"text": TEXTS[1], "label": "list"}]
    told = bertsmith.score(tmp_path / "hf", asked, written="{text} is a {label}.")["rows"]
    one = bertsmith.score(tmp_path / "hf", [(f"{TEXTS[0]} is a", "name.")])["texts"][0]["logprob"]
    assert told[0]["scores"]["name"] == pytest.approx(one, abs=1e-4)


def test_a_text_scores_as_it_is_written_where_nothing_else_may_be(documents, tmp_path):
    of_bytes(tmp_path / "hf", documents)
    row = bertsmith.generate(tmp_path / "hf", TEXTS[0], answers=["a name of it"])
    found = bertsmith.score(tmp_path / "hf", [(TEXTS[0], row["text"])])["texts"][0]
    assert row["stopped"] == "end" and found["logprob"] == pytest.approx(row["score"], abs=1e-4)


def test_what_a_decoder_has_no_room_for_is_refused_by_its_row(documents, tmp_path):
    of_bytes(tmp_path / "hf", documents)
    for row, name in (((documents[0], "a"), "text: .* reads 48"), (("a", documents[0]), "text2: .* writes 48")):
        with pytest.raises(InputError, match=rf"input\[0\]: {name}"):
            bertsmith.score(tmp_path / "hf", [row])


def said_there(hf, backend, text, written):
    """(V,) what their decoder expects behind `written`, ids, about a text."""
    with torch.no_grad():
        ids = torch.tensor([backend.encode(text).ids])
        return hf(input_ids=ids, decoder_input_ids=torch.tensor([written])).logits[0, -1].softmax(-1)


def test_what_stands_at_a_mask_is_what_their_decoder_expects_behind_the_text_before_it(documents, tmp_path):
    hf, backend = of_bytes(tmp_path / "hf", documents)
    text = "a list<mask> of names and the<mask> loop"
    found = bertsmith.fill(tmp_path / "hf", text, top=4)["masks"]
    encoded, before = backend.encode(text).ids, []
    assert [row["position"] for row in found] == [i for i, token in enumerate(encoded) if token == backend.token_to_id("<mask>")]  # fmt: skip
    assert bertsmith.fill(tmp_path / "hf", text.replace("<mask>", "[MASK]"), top=4)["masks"] == found
    said = [row["written"] for row in found]
    for row, piece in zip(found, ("a list", f"a list{said[0]} of names and the"), strict=True):
        before = [2, 0, *backend.encode(piece, add_special_tokens=False).ids]
        shares = said_there(hf, backend, text, before)
        best = shares[: backend.get_vocab_size()].topk(4)
        assert [guess["id"] for guess in row["top"]] == best.indices.tolist()
        assert [guess["p"] for guess in row["top"]] == pytest.approx(best.values.tolist(), abs=1e-6)


def test_sentinels_are_filled_in_turn_as_their_decoder_writes_them(documents, tmp_path):
    hf, backend = of_pieces(tmp_path / "hf", documents, num_decoder_layers=1)
    text = "a <extra_id_0> of names, and the <extra_id_1> loop"
    found = bertsmith.fill(tmp_path / "hf", text, top=3)["masks"]
    assert bertsmith.fill(tmp_path / "hf", text.replace("<extra_id_0>", "[MASK]").replace("<extra_id_1>", "[MASK]"), top=3)["masks"] == found  # fmt: skip
    marks = [backend.token_to_id(name) for name in NAMES]
    encoded = backend.encode(text).ids
    assert [row["position"] for row in found] == [encoded.index(mark) for mark in marks[:2]]
    with torch.no_grad():
        written = hf.generate(torch.tensor([encoded]), decoder_input_ids=torch.tensor([[0, marks[0]]]), max_new_tokens=16, do_sample=False, use_cache=False)[0].tolist()  # fmt: skip
    first = written[2:]
    stop = next((i for i, token in enumerate(first) if token in (*marks, 0, 1, 2)), len(first))
    assert found[0]["written"] == backend.decode(first[:stop])
    for row, before in zip(found, ([0, marks[0]], [0, marks[0], *first[:stop], marks[1]]), strict=True):
        best = said_there(hf, backend, text, before)[: backend.get_vocab_size()].topk(3)
        assert [guess["id"] for guess in row["top"]] == best.indices.tolist()
        assert [guess["p"] for guess in row["top"]] == pytest.approx(best.values.tolist(), abs=1e-5)
    for wrong, why in (("a <extra_id_1> b", "<extra_id_1> stands where <extra_id_0> is next"), ("a b", "no mask in"), ("[MASK] " * 101, "101 masks in the text, and the model learned 100 sentinels")):  # fmt: skip
        with pytest.raises(InputError, match=why):
            bertsmith.fill(tmp_path / "hf", wrong)


def change(folder, **fields):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **fields}))


def test_an_encoder_alone_and_heads_over_a_decoder_are_refused_by_name(documents, tmp_path):
    of_pieces(tmp_path / "t5", documents)
    transformers.T5EncoderModel.from_pretrained(tmp_path / "t5").save_pretrained(tmp_path / "alone")
    transformers.T5ForSequenceClassification.from_pretrained(tmp_path / "t5").save_pretrained(tmp_path / "head")
    for name, of in (("alone", "t5"), ("head", "t5")):
        for file in ("tokenizer.json", "tokenizer_config.json"):
            (tmp_path / name / file).write_bytes((tmp_path / of / file).read_bytes())
    with pytest.raises(InputError, match="T5EncoderModel: a t5 without its other stack"):
        bertsmith.load(tmp_path / "alone")
    change(tmp_path / "alone", is_encoder_decoder=True)
    with pytest.raises(InputError, match="T5EncoderModel: a t5 without its decoder"):
        bertsmith.load(tmp_path / "alone")
    with pytest.raises(InputError, match="T5ForSequenceClassification: a head over a decoder's states"):
        bertsmith.load(tmp_path / "head")


# -- a head over what the decoder says of a text that it reads again --------------------------------------------------------------------

PAIRS = [("a list of names", "an object"), ("while the loop runs", "the value of a name in a class body")]


@pytest.mark.parametrize("outputs", [1, 3])
def test_a_classifier_of_theirs_over_the_decoder_answers_here_as_there_and_goes_out_as_it_came(
    outputs, documents, tmp_path
):
    _, backend = of_bytes(tmp_path / "bart", documents)
    config = transformers.BartConfig.from_pretrained(tmp_path / "bart", num_labels=outputs)
    hf = randomised(transformers.BartForSequenceClassification(config)).eval()
    hf.save_pretrained(tmp_path / "hf")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "hf" / file).write_bytes((tmp_path / "bart" / file).read_bytes())
    bertsmith.import_(tmp_path / "hf", tmp_path / "model")
    result = bertsmith.export(tmp_path / "model", tmp_path / "out")
    assert result["classes"] == ["BartForSequenceClassification"] and result["largest_difference"]["label"] < 1e-5
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("hf", "out"))
    assert {*one} == {*two} and torch.equal(
        one["classification_head.out_proj.weight"], two["classification_head.out_proj.weight"]
    )
    for rows in (TEXTS, PAIRS):
        said = bertsmith.predict(tmp_path / "model", rows)
        for row, text in zip(said, rows, strict=True):
            ids = backend.encode(*text).ids if isinstance(text, tuple) else backend.encode(text).ids
            with torch.no_grad():
                logits = hf(input_ids=torch.tensor([ids])).logits[0]
            if outputs == 1:
                assert row["label"] == pytest.approx(float(logits[0]), abs=1e-5)
            else:
                assert list(row["scores"].values()) == pytest.approx(logits.softmax(-1).tolist(), abs=1e-5)
    change(tmp_path / "hf", decoder_start_token_id=0)
    with pytest.raises(
        InputError, match="decoder_start_token_id: 0: a decoder that reads a text again begins with its end"
    ):
        bertsmith.load(tmp_path / "hf")


def labelled(label):
    return {part: [{"text": f"a name {i} in a list of {i * i}", "label": label(i)} for i in range(at, at + 20)] for part, at in (("train", 0), ("dev", 100))}  # fmt: skip


@pytest.mark.parametrize("task", ["classify", "regress"])
def test_what_was_tuned_here_goes_out_as_their_classifier_and_comes_back(task, data, tmp_path, capsys):
    made("bart", data, tmp_path / "run")
    rows = labelled((lambda i: "odd" if i % 2 else "even") if task == "classify" else (lambda i: 40 + 3.0 * (i % 7)))
    bertsmith.finetune(tmp_path / "run", task=task, **rows, out=tmp_path / "tuned", steps=4, threads=1)
    result = bertsmith.export(tmp_path / "tuned", tmp_path / "out")
    assert result["classes"] == ["BartForSequenceClassification"] and result["largest_difference"]["label"] < 1e-5
    here, there = (bertsmith.predict(tmp_path / name, TEXTS) for name in ("tuned", "out"))
    for a, b in zip(here, there, strict=True):
        if task == "regress":
            assert a["label"] == pytest.approx(b["label"], rel=1e-5)
        else:
            assert a["label"] == b["label"] and [*a["scores"].values()] == pytest.approx(
                [*b["scores"].values()], abs=1e-5
            )
    assert "'label'" in ran(tmp_path / "out", capsys)


def test_answers_in_a_text_go_out_as_their_class_and_come_back(data, tmp_path):
    made("bart", data, tmp_path / "run")
    context = "the value of a name in a class body is an object of a list"
    answer = {"text": ["an object"], "answer_start": [context.index("an object")]}
    rows = [{"question": f"what is value {i}", "context": context, "answers": answer} for i in range(12)]
    bertsmith.finetune(tmp_path / "run", task="qa", train=rows[:9], dev=rows[9:], out=tmp_path / "tuned", steps=3, threads=1)  # fmt: skip
    result = bertsmith.export(tmp_path / "tuned", tmp_path / "out")
    assert result["classes"] == ["BartForQuestionAnswering"] and max(result["largest_difference"].values()) < 1e-5
    asked = [("what is value 3", context), ("what is a name", "a name is a list of objects")]
    here, there = (bertsmith.predict(tmp_path / name, asked) for name in ("tuned", "out"))
    assert [row["label"] for row in here] == [row["label"] for row in there]


def test_a_head_over_the_encoder_or_over_each_token_of_the_decoder_has_no_class_there(data, tmp_path):
    for name, more in (("t5", ()), ("mass", ("model.norm.eps=1e-5",)), ("bart", ())):
        made(name, data, tmp_path / name, *more)
        rows = labelled(lambda i: "odd" if i % 2 else "even")
        options = {"task": "classify", **rows}
        if name == "bart":
            words = [(["a", "list"], ["O", "A"]), (["names"], ["A"])] * 8
            options = {
                "task": "tag",
                **{part: [{"text": w, "label": t} for w, t in words] for part in ("train",)},
                "dev": 0.2,
            }
        said = "no architecture with the terms tag" if name == "bart" else "its head reads the encoder's states"
        bertsmith.finetune(tmp_path / name, **options, out=tmp_path / f"{name}-tuned", steps=2, threads=1)
        with pytest.raises(InputError, match=said):
            bertsmith.export(tmp_path / f"{name}-tuned", tmp_path / "out")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"scale_embedding": True}, "config.json: scale_embedding: True"),
        ({"normalize_before": True}, "config.json: normalize_before: True"),
        ({"add_final_layer_norm": True}, "config.json: add_final_layer_norm: True"),
        ({"decoder_ffn_dim": 48}, "config.json: decoder_ffn_dim: 48, but encoder_ffn_dim is 24"),
        ({"decoder_layers": 1}, "its decoder's number of config.json means 1 layer of tensors, and 2 are there"),
        ({"decoder_start_token_id": 7}, "decoder_start_token_id: 7: a decoder begins with the pad, "),
        ({"is_encoder_decoder": False}, "config.json: is_encoder_decoder: False"),
        ({"model_type": "mbart"}, "model_type 'mbart' cannot be read; norms stand before each part"),
        ({"model_type": "marian"}, "model_type 'marian' cannot be read; it has other places or norms than BART's"),
    ],
)
def test_what_is_another_encoder_decoder_is_refused_by_name(fields, said, documents, tmp_path):
    of_bytes(tmp_path / "hf", documents)
    change(tmp_path / "hf", **fields)
    with pytest.raises(InputError) as error:
        bertsmith.load(tmp_path / "hf")
    assert said in str(error.value) and "\n" not in str(error.value)


# -- trained here --------------------------------------------------------------------------------------------------------------------

SMALL = ["model.layers=2", "model.width=32", "model.hidden=64", "model.heads=2", "layout.length=48", "training.batch=512"]  # fmt: skip


@pytest.fixture(scope="module")
def data(documents, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    (folder / "text.txt").write_text("\n\n".join(documents[:40]))
    bertsmith.prepare([folder / "text.txt"], folder / "store", tokenizer="wordpiece:300", holdout=0.1)
    return folder / "store"


def made(name, data, out, *more):
    bertsmith.pretrain(f"{name}:tiny", data, out, steps=2, seed=1, threads=1, set=[*SMALL, *more])
    return bertsmith.load(out)


def test_a_t5_trained_here_has_its_sentinels_there_by_the_ids_that_it_learned(data, tmp_path):
    model = made("t5", data, tmp_path / "run")
    said = []
    bertsmith.export(tmp_path / "run", tmp_path / "out", say=said.append)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    size = model.vocab.size
    ids = [size + 99 - k for k in range(100)]
    assert model.recipe.corruption.rewrite.marks(model.vocab).tolist() == ids
    assert tokenizer.convert_tokens_to_ids(NAMES) == ids and len(tokenizer) == size + 100 == model.recipe.model.vocab
    assert all(i in tokenizer.all_special_ids or name in tokenizer.get_added_vocab() for i, name in zip(ids, NAMES, strict=True))  # fmt: skip
    written = tokenizer("a <extra_id_0> of <extra_id_1>.")["input_ids"]
    assert [i for i in written if i in ids] == ids[:2] and written[-1] == model.vocab.sep
    again = bertsmith.load(tmp_path / "out")
    assert again.vocab.sentinels == tuple(ids) and again.tokenizer.reading == model.tokenizer.reading
    assert again.recipe.corruption.rewrite.marks(again.vocab).tolist() == ids
    here, there = (bertsmith.evaluate(tmp_path / name, data=data) for name in ("run", "out"))
    assert here["token.loss"]["value"] == pytest.approx(there["token.loss"]["value"], abs=1e-4)


@pytest.mark.parametrize(("name", "more"), [("bart", []), ("t5", []), ("mass", ["model.norm.eps=1e-05"])])
def test_generate_begins_and_ends_as_the_decoder_learned_to(name, more, data, tmp_path):
    model = made(name, data, tmp_path / "run", *more)
    result = bertsmith.export(tmp_path / "run", tmp_path / "out")
    assert max(result["largest_difference"].values()) < 1e-5
    start = {"bart": model.vocab.sep, "t5": model.vocab.pad, "mass": model.vocab.cls}[name]
    hf = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "out").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    found = hf.generation_config
    assert (found.decoder_start_token_id, found.eos_token_id, found.pad_token_id) == (start, model.vocab.sep, model.vocab.pad)  # fmt: skip
    assert found.forced_bos_token_id is None
    inputs = tokenizer(TEXTS[:2], padding=True, return_tensors="pt")
    written = hf.generate(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], max_length=12)
    assert (written[:, 0] == start).all()


def test_a_mass_whose_norms_are_its_papers_is_refused_by_the_field(data, tmp_path):
    made("mass", data, tmp_path / "run")
    with pytest.raises(InputError, match=r"nearest encoder-decoder is its bart, and this one has norm .*eps=1e-12"):
        bertsmith.export(tmp_path / "run", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# -- the optimiser -------------------------------------------------------------------------------------------------------------------


def batches(steps):
    for step in range(steps):
        yield packed((9, 20, 14, 17), seed=2 * step), packed((7, 12, 3, 25), causal=True, seed=2 * step + 1)


@pytest.mark.parametrize("name", ["t5", "t5 v1.1"])
def test_fifty_updates_of_adafactor_move_every_matrix_as_theirs_does(name):
    """With T5's settings; queries, keys and values are one tensor here, and three there."""
    from transformers.optimization import Adafactor

    from bertsmith.data.batch import Batch, Target
    from bertsmith.training.optim import build_optimizer, rate_at, set_rate

    recipe, steps = KINDS[name], 50
    torch.manual_seed(0)
    member, hf = build(recipe), theirs(recipe)
    hf.load_state_dict(to_hf(weights_of(member), recipe), strict=False)
    before = {key: tensor.clone() for key, tensor in to_hf(weights_of(member), recipe).items()}
    mine = build_optimizer(member, recipe.schedule)
    other = Adafactor(hf.parameters(), lr=1.0, scale_parameter=True, relative_step=False, warmup_init=False)
    for step, (source, output) in enumerate(batches(steps), 1):
        rate, labels = rate_at(recipe.schedule, step, steps), output.tokens * 7 % 89 + 1
        target = Target(at=torch.arange(len(labels))[:, None], labels=labels)
        (member(Batch(input=source, output=output, targets={"token": target}))["token"] / len(labels)).backward()
        set_rate(mine, rate)
        (tokens, mask), (asked, seen) = padded(source), padded(output)
        said = hf(input_ids=tokens, attention_mask=mask, decoder_input_ids=asked, decoder_attention_mask=seen)
        nn.functional.cross_entropy(real(said.logits, seen), labels).backward()
        other.param_groups[0]["lr"] = rate
        for optimizer in (mine, other):
            optimizer.step()
            optimizer.zero_grad()
    after = hf.state_dict()
    for key, tensor in to_hf(weights_of(member), recipe).items():
        moved = (after[key] - before[key]).norm()
        assert (tensor - after[key]).norm() < 1e-3 * moved and moved > 0.01 * before[key].norm(), key
