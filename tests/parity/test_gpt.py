"""GPT and GPT-2 against transformers: the same random weights both ways, published configurations, a released folder's own tokenizer."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.folders import randomised, recipe_of
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

import bertsmith
from bertsmith.data.batch import Batch, Stream, Target
from bertsmith.deploy.hf import from_hf, to_hf
from bertsmith.deploy.hf_config import hf_config, model_config
from bertsmith.deploy.texts import texts as sampled
from bertsmith.errors import InputError
from bertsmith.nn.member import build, parameters
from bertsmith.recipe import find
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.training.saving import load_weights, weights_of

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.usefixtures("few_texts")
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


def of_gpt(at, kind="LMHeadModel", **fields):
    """A folder as GPT's on the hub: small letters, BPE over characters, one special token for what it does not know."""
    backend = Backend(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    backend.normalizer, backend.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.BPEDecoder(suffix="</w>")
    trainer = trainers.BpeTrainer(
        vocab_size=200, special_tokens=["<unk>"], end_of_word_suffix="</w>", show_progress=False
    )
    backend.train_from_iterator([*TEXTS, *(f"a name {i} in 0" for i in range(120))], trainer)
    config = transformers.OpenAIGPTConfig(
        vocab_size=backend.get_vocab_size(), n_embd=16, n_layer=2, n_head=2, n_positions=48, **fields
    )
    hf = randomised(getattr(transformers, f"OpenAIGPT{kind}")(config)).eval()
    hf.save_pretrained(at)
    backend.save(str(at / "tokenizer.json"))
    (at / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "OpenAIGPTTokenizer"}))
    return hf, backend


def test_a_folder_whose_tokenizer_knows_nothing_but_the_unknown_is_read_bare_and_goes_out_as_it_came(tmp_path):
    hf, backend = of_gpt(tmp_path / "hf")
    bertsmith.import_(tmp_path / "hf", tmp_path / "model")
    bertsmith.export(tmp_path / "model", tmp_path / "out")
    for path in ("hf", "model", "out"):
        model = bertsmith.load(tmp_path / path)
        ids = model.reading().joined(model.vocab, model.tokenizer.encode(TEXTS[:1])[0][0])[0]
        assert model.recipe.name == "gpt" and ids.tolist() == backend.encode(TEXTS[0]).ids
        row = bertsmith.score(tmp_path / path, TEXTS[:1])["texts"][0]
        said = their_logits(hf, backend, TEXTS[0]).log_softmax(-1)
        expected = sum(float(said[i, token]) for i, token in enumerate(ids.tolist()[1:]))
        assert row["tokens"] == len(ids) - 1 and row["logprob"] == pytest.approx(expected, abs=1e-4)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer(TEXTS[0])["input_ids"] == ids.tolist() and tokenizer.eos_token is None


ODD = ["", " ", "Ça VA Bien? Æon ﬁne", "tab\tand\nline\u2028break\u00a0space", "null\x00 byte\ufffd and \u200bzero\u200d width\u00ad", "中文 and 日本語です", "हिन्दी कु में", "naïve e\u0301 é É İ ß ẞ", "🙂👩‍👩‍👧 (((a)))...!?", "l'esprit d’un", "<unk> a </w> b</w>", "x" * 300, "½ ² ﷺ Ⅳ", "a" * 20 + " list"]  # fmt: skip


def test_vocab_json_and_merges_txt_of_gpt_are_read_as_their_class_reads_them(documents, tmp_path):
    at = tmp_path / "hf"
    _, backend = of_gpt(at)
    texts = [*TEXTS, *documents[:30], *ODD]
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<unk>"], end_of_word_suffix="</w>", show_progress=False
    )
    backend.train_from_iterator(documents[:40], trainer)
    (at / "tokenizer.json").unlink()
    backend.model.save(str(at))
    config = {**json.loads((at / "config.json").read_text()), "vocab_size": backend.get_vocab_size()}
    randomised(transformers.OpenAIGPTLMHeadModel(transformers.OpenAIGPTConfig.from_dict(config))).save_pretrained(at)
    there, model = transformers.AutoTokenizer.from_pretrained(at), bertsmith.load(at)
    made = [*texts, *sampled(model.tokenizer, {}, 500)[0]]
    assert len(set(made)) > 500 and type(there).__name__.startswith("OpenAIGPT")
    here = [ids.tolist() for ids, _ in model.tokenizer.encode(made, specials=True)]
    assert here == [there(text)["input_ids"] for text in made]
    some = [ids for ids in here if ids and model.vocab.unk not in ids]  # what is not known stands apart here
    assert [model.tokenizer.decode(ids) for ids in some] == [there.decode(ids) for ids in some]
    result = bertsmith.import_(at, tmp_path / "model")
    assert result["texts_with_other_ids"] == 0 and max(result["largest_difference"].values()) < 1e-5
    bertsmith.export(tmp_path / "model", tmp_path / "out")
    again = bertsmith.load(tmp_path / "out").tokenizer
    assert [ids.tolist() for ids, _ in again.encode(made, specials=True)] == here


def test_merges_that_end_words_are_gpts_only_where_a_folder_says_so(tmp_path):
    _, backend = of_gpt(tmp_path / "hf")
    backend.model.save(str(tmp_path))
    for wrong, said in (
        ({}, 'if it is GPT\'s, name "tokenizer_class": "OpenAIGPTTokenizer" in tokenizer_config.json'),
        ({"tokenizer_class": "GPT2Tokenizer"}, "not a BPE over bytes"),
        ({"tokenizer_class": "XLMTokenizer"}, "its Python code makes the ids"),
        ({"tokenizer_class": "OpenAIGPTTokenizer", "unk_token": "<none>"}, "vocab.json: no <none>, which what is not"),
    ):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(wrong))
        with pytest.raises(InputError) as error:
            Tokenizer.load(tmp_path)
        assert said in str(error.value) and "\n" not in str(error.value)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "OpenAIGPTTokenizer"}))
    assert Tokenizer.load(tmp_path).size == backend.get_vocab_size()
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n")
    with pytest.raises(InputError, match="no piece ends with </w>"):
        Tokenizer.load(tmp_path)


def rows_of(folder, label, count=20):
    """{part: a file of labelled texts}; `label` of a text's number."""
    found = {}
    for name, first in (("train", 0), ("dev", 100)):
        rows = [{"text": f"a name {i} in a list of {i * i}", "label": label(i)} for i in range(first, first + count)]
        found[name] = folder / f"{name}.jsonl"
        found[name].write_text("".join(json.dumps(row) + "\n" for row in rows))
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_a_regression_goes_out_in_the_scale_of_its_labels(family, of_bytes, tmp_path):
    folder(tmp_path / "hf", of_bytes) if family == "gpt2" else of_gpt(tmp_path / "hf")
    files = rows_of(tmp_path, lambda i: 40 + 3.0 * (i % 7))
    bertsmith.finetune(tmp_path / "hf", task="regress", out=tmp_path / "tuned", **files, steps=6, threads=1)
    result = bertsmith.export(tmp_path / "tuned", tmp_path / "out")
    assert max(result["largest_difference"].values()) < 1e-5
    texts = ["a name 7 in a list", "an object"]
    here, there = ([row["label"] for row in bertsmith.predict(tmp_path / name, texts)] for name in ("tuned", "out"))
    assert here == pytest.approx(there, rel=1e-5) and 30 < here[0] < 70


def test_questions_are_answered_from_a_released_folder(of_bytes, tmp_path):
    folder(tmp_path / "hf", of_bytes)
    context = "the value of a name in a class body is an object of a list"
    answer = {"text": ["an object"], "answer_start": [context.index("an object")]}
    rows = [{"id": str(i), "question": f"what is value {i}", "context": context, "answers": answer} for i in range(12)]
    paragraphs = [
        {"context": row["context"], "qas": [{"id": row["id"], "question": row["question"], "answers": [{"text": "an object", "answer_start": answer["answer_start"][0]}]}]}
        for row in rows
    ]  # fmt: skip
    for name, part in (("train", paragraphs[:9]), ("dev", paragraphs[9:])):
        data = {"version": "1.1", "data": [{"title": "t", "paragraphs": part}]}
        (tmp_path / f"{name}.json").write_text(json.dumps(data))
    files = {name: tmp_path / f"{name}.json" for name in ("train", "dev")}
    bertsmith.finetune(
        tmp_path / "hf", task="qa", out=tmp_path / "tuned", **files, steps=60, threads=1, set=["batch=9", "lr=0.01"]
    )
    model = bertsmith.load(tmp_path / "tuned")
    assert model.reading().bare, "nothing stands round question and text, as in transformers"
    said = bertsmith.predict(tmp_path / "tuned", [("what is value 3", context)])
    assert context[said[0]["start"] : said[0]["end"]] == said[0]["label"] == "an object"
    result = bertsmith.export(tmp_path / "tuned", tmp_path / "out")
    assert result["classes"] == ["GPT2ForQuestionAnswering"] and max(result["largest_difference"].values()) < 1e-5


@pytest.mark.parametrize("task", ["classify", "regress"])
def test_a_model_tuned_in_gpts_form_is_read_there_and_back_as_here(task, store, tmp_path):
    from tests.runs import small

    from bertsmith.training.pretraining import pretrain

    pretrain(small(member="gpt2"), store, tmp_path / "run", steps=2, threads=1)
    words = ["list", "class", "name", "value"]
    label = (lambda i: words[i % 2]) if task == "classify" else (lambda i: float(i % 4))
    rows = {name: [{"text": f"the {words[i % 2]} of a {words[i % 4]}", "text2": f"a {words[i % 3]} of {name}s", "label": label(i)} for i in range(12)] for name in ("train", "dev")}  # fmt: skip
    bertsmith.finetune(
        tmp_path / "run", task=task, **rows, out=tmp_path / "tuned", steps=4, threads=1, set=["form=extract"]
    )
    model = bertsmith.load(tmp_path / "tuned")
    vocab, ids = model.vocab, model.tokenizer.encode(["the list", "a name"])
    one, two = (model.reading().joined(vocab, *texts)[0].tolist() for texts in ([ids[0][0]], [ids[0][0], ids[1][0]]))
    assert one == [vocab.sep, *ids[0][0], vocab.cls]
    assert two == [vocab.sep, *ids[0][0], vocab.mask, *ids[1][0], vocab.cls]
    result = bertsmith.export(tmp_path / "tuned", tmp_path / "out")
    assert max(result["largest_difference"].values()) < 1e-5
    assert bertsmith.load(tmp_path / "out").reading() == model.reading()
    pairs = [("the list of a name", "a class"), ("a value", "a value of names")]
    here, there = (bertsmith.predict(tmp_path / name, pairs) for name in ("tuned", "out"))
    for a, b in zip(here, there, strict=True):
        assert list(a["scores"].values()) == pytest.approx(list(b["scores"].values()), abs=1e-5)


def test_gpts_form_wants_a_model_that_reads_from_the_left_and_three_tokens(of_bytes, tmp_path):
    folder(tmp_path / "hf", of_bytes)
    files = rows_of(tmp_path, lambda i: "odd" if i % 2 else "even")
    with pytest.raises(InputError, match="form: extract: the tokenizer has one special token"):
        bertsmith.finetune(
            tmp_path / "hf", task="classify", out=tmp_path / "tuned", **files, steps=1, set=["form=extract"]
        )
