"""GPT and GPT-2 against transformers: the same random weights both ways, published configurations, a released folder's own tokenizer."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.folders import randomised, recipe_of
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

import bertsmith
from bertsmith.data.batch import Batch, Stream, Target
from bertsmith.deploy.hf import from_hf, to_hf
from bertsmith.deploy.hf_config import hf_config, model_config
from bertsmith.errors import InputError
from bertsmith.nn.member import build, parameters
from bertsmith.recipe import find
from bertsmith.training.saving import load_weights, weights_of

transformers = pytest.importorskip("transformers")
FAMILIES = ("openai-gpt", "gpt2")
END = "<|endoftext|>"
TEXTS = ["a list of names", "while the loop runs, it counts", "an object", "the value of a name in a class body"]


def pair(family, direction):
    """(ours, theirs) with the same weights, which are those of ours or of theirs."""
    made = recipe_of(family, "token", 90)
    torch.manual_seed(0)
    member = randomised(build(made))
    config = transformers.AutoConfig.for_model(**hf_config(made))
    hf = randomised(getattr(transformers, config.architectures[0])(config), 1)
    if direction == "there":
        missing, unexpected = hf.load_state_dict(to_hf(weights_of(member), made), strict=False)
        assert not unexpected and set(missing) <= {"lm_head.weight"}
        hf.tie_weights()
    else:
        load_weights(member, from_hf(hf.state_dict(), family), "theirs")
    return member, hf


def inputs(rows=3, length=20):
    tokens = torch.randint(5, 90, (rows, length), generator=torch.Generator().manual_seed(0))
    rank = torch.arange(length).repeat(rows)
    zero = torch.zeros_like(rank)
    stream = Stream(
        tokens=tokens.flatten(), positions=rank, segments=zero, query_rank=rank, key_rank=rank, lengths=(length,) * rows, visibility="causal"
    )  # fmt: skip
    return tokens, stream


@pytest.mark.parametrize("direction", ["there", "back"])
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_agree_both_ways(family, direction):
    member, hf = pair(family, direction)
    tokens, stream = inputs()
    with torch.no_grad():
        mine = member.objective.logits(member.model, stream, torch.arange(tokens.numel()))
        other = hf(input_ids=tokens).logits.flatten(0, 1)
    assert (mine - other).abs().max() < 1e-5 and other.std() > 0.3


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_of_the_loss_equal_theirs(family):
    member, hf = pair(family, "back")
    tokens, stream = inputs()
    at = torch.arange(tokens.numel()).view(tokens.shape)[:, :-1].flatten()
    batch = Batch(input=stream, targets={"token": Target(at=at[:, None], labels=tokens[:, 1:].flatten())})
    loss = member(batch)["token"] / len(at)
    reference = hf(input_ids=tokens, labels=tokens).loss
    assert abs(loss - reference) < 1e-5
    loss.backward()
    reference.backward()
    other = from_hf({name: p.grad for name, p in hf.named_parameters()}, family)
    for name, p in member.named_parameters():
        assert (p.grad - other[name]).abs().max() < 1e-5, name


def released(**fields):
    """config.json as it was published, what nothing depends on left out."""
    return {
        "model_type": "gpt2",
        "activation_function": "gelu_new",
        "n_ctx": 1024,
        "n_positions": 1024,
        "vocab_size": 50257,
    } | fields


@pytest.mark.parametrize(
    ("size", "layers", "width", "heads"),
    [("small", 12, 768, 12), ("medium", 24, 1024, 16), ("large", 36, 1280, 20), ("xl", 48, 1600, 25)],
)
def test_the_published_sizes_of_gpt2_are_theirs(size, layers, width, heads):
    made = find(f"gpt2:{size}")
    theirs = released(n_layer=layers, n_embd=width, n_head=heads, embd_pdrop=0.1, layer_norm_epsilon=1e-05)
    assert model_config(theirs) == model_config(hf_config(made)) == made.model
    with torch.device("meta"):
        hf = transformers.GPT2LMHeadModel(transformers.GPT2Config(n_layer=layers, n_embd=width, n_head=heads))
    assert parameters(made) == sum(p.numel() for p in hf.parameters())


def test_the_published_gpt_is_theirs():
    made = find("gpt:base")
    assert (
        model_config({"model_type": "openai-gpt", **transformers.OpenAIGPTConfig().to_diff_dict(), **NUMBERS})
        == made.model
    )
    with torch.device("meta"):
        hf = transformers.OpenAIGPTLMHeadModel(transformers.OpenAIGPTConfig())
    assert parameters(made) == sum(p.numel() for p in hf.parameters())


NUMBERS = {"vocab_size": 40478, "n_positions": 512, "n_embd": 768, "n_layer": 12, "n_head": 12, "afn": "gelu"}


@pytest.mark.parametrize(
    "field", [{"scale_attn_by_inverse_layer_idx": True}, {"scale_attn_weights": False}, {"add_cross_attention": True}]
)
def test_what_is_not_done_here_is_said(field):
    with pytest.raises(InputError, match=f"config.json: {next(iter(field))}: "):
        model_config({**hf_config(find("gpt2:tiny")), **field})


@pytest.fixture(scope="module")
def of_bytes(documents):
    """GPT-2's tokenizer, trained on other text: one special token, nothing put round a text."""
    backend = Backend(models.BPE())
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    backend.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=[], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    backend.train_from_iterator(documents[:20], trainer)
    backend.add_special_tokens([END])
    return backend


def folder(at, backend, kind="LMHeadModel", files="both", old=False, **fields):
    """A folder as GPT-2's on the hub: `files` of its tokenizer ("both", "json", "vocab"), `old`: tensors under the names of its first release."""
    config = transformers.GPT2Config(
        vocab_size=backend.get_vocab_size(), n_embd=16, n_layer=2, n_head=2, n_positions=48,
        bos_token_id=backend.token_to_id(END), eos_token_id=backend.token_to_id(END), **fields,
    )  # fmt: skip
    hf = randomised(getattr(transformers, f"GPT2{kind}")(config))
    hf.save_pretrained(at)
    if old:
        state = {
            name.removeprefix("transformer."): tensor for name, tensor in load_file(at / "model.safetensors").items()
        }
        state |= {f"h.{i}.attn.bias": torch.ones(1, 1, 48, 48).tril() for i in range(2)}
        save_file(state, at / "model.safetensors", metadata={"format": "pt"})
    if files != "vocab":
        backend.save(str(at / "tokenizer.json"))
    if files != "json":
        backend.model.save(str(at))
        vocab = json.loads((at / "vocab.json").read_text())
        (at / "vocab.json").write_text(json.dumps({**vocab, END: backend.token_to_id(END)}))
    (at / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 48, "tokenizer_class": "GPT2Tokenizer"}))
    return hf


def their_logits(hf, backend, text):
    with torch.no_grad():
        return hf(input_ids=torch.tensor([backend.encode(text).ids])).logits[0]


@pytest.mark.parametrize(("files", "old"), [("both", True), ("json", False), ("vocab", False)])
def test_a_released_folder_opens_with_its_own_tokenizer(files, old, of_bytes, tmp_path):
    hf = folder(tmp_path / "hf", of_bytes, files=files, old=old)
    bertsmith.import_(tmp_path / "hf", tmp_path / "model")
    for path in (tmp_path / "hf", tmp_path / "model"):
        model = bertsmith.load(path)
        end = of_bytes.token_to_id(END)
        assert (
            model.recipe.name == "gpt2" and model.vocab.special == (end,) and model.vocab.mask == model.vocab.sep == end
        )
        for text in TEXTS:
            ids = model.reading().joined(model.vocab, model.tokenizer.encode([text])[0][0])[0]
            assert ids.tolist() == of_bytes.encode(text).ids, "nothing stands round a text"
            n = len(ids)
            rank = torch.arange(n)
            stream = Stream(
                tokens=torch.tensor(ids.tolist()), positions=rank, segments=torch.zeros_like(rank), query_rank=rank, key_rank=rank,
                lengths=(n,), visibility="causal",
            )  # fmt: skip
            with torch.no_grad():
                mine = model.member.objective.logits(model.member.model, stream, rank)
            assert (mine - their_logits(hf, of_bytes, text)).abs().max() < 1e-5


def test_a_released_folder_goes_out_as_it_came(of_bytes, tmp_path):
    hf = folder(tmp_path / "hf", of_bytes)
    bertsmith.import_(tmp_path / "hf", tmp_path / "model")
    bertsmith.export(tmp_path / "model", tmp_path / "out")
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("hf", "out"))
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    opened = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.eos_token == tokenizer.bos_token == END and len(tokenizer) == of_bytes.get_vocab_size()
    assert tokenizer(TEXTS[0])["input_ids"] == of_bytes.encode(TEXTS[0]).ids
    assert (their_logits(opened, of_bytes, TEXTS[1]) - their_logits(hf, of_bytes, TEXTS[1])).abs().max() < 1e-6


def test_a_classifier_of_theirs_reads_the_last_token_here_too(of_bytes, tmp_path):
    end = of_bytes.token_to_id(END)
    hf = folder(tmp_path / "hf", of_bytes, "ForSequenceClassification", num_labels=3, pad_token_id=end)
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS) + "\n")
    bertsmith.import_(tmp_path / "hf", tmp_path / "model")
    bertsmith.predict(tmp_path / "model", input=tmp_path / "texts.txt", out=tmp_path / "said.jsonl")
    said = [json.loads(line) for line in (tmp_path / "said.jsonl").read_text().splitlines()]
    for line, text in zip(said, TEXTS, strict=True):
        with torch.no_grad():
            shares = hf(input_ids=torch.tensor([of_bytes.encode(text).ids])).logits[0].softmax(-1)
        assert list(line["scores"].values()) == pytest.approx(shares.tolist(), abs=1e-5)


def test_a_released_folder_is_fine_tuned_and_goes_back_as_their_classifier(of_bytes, tmp_path):
    folder(tmp_path / "hf", of_bytes)
    for name, count in (("train", 20), ("dev", 10)):
        rows = [{"text": f"{word} {name} {i}", "label": word} for i in range(count) for word in ("yes", "never")]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = {name: tmp_path / f"{name}.jsonl" for name in ("train", "dev")}
    bertsmith.finetune(tmp_path / "hf", task="classify", out=tmp_path / "tuned", **files, steps=3, threads=1)
    result = bertsmith.export(tmp_path / "tuned", tmp_path / "out")
    assert result["classes"] == ["GPT2ForSequenceClassification"] and max(result["largest_difference"].values()) < 1e-5
    assert bertsmith.load(tmp_path / "out").reading() == bertsmith.load(tmp_path / "tuned").reading()
