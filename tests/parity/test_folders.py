"""Folders that people have: each opens to what transformers makes of it, ids, segments and answers, or is refused for its real reason.

One row for each layout; the texts are single ones and pairs (tests/oracle.py).  What is opened although transformers reads it otherwise
must be said.
"""

import json
import re
import shutil
from functools import partial

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.folders import randomised, recipe_of, theirs, tokenizer_of
from tests.oracle import apart

import bertsmith
from bertsmith.deploy.hf_config import hf_config
from bertsmith.downstream.fill import encoded_masks
from bertsmith.errors import InputError
from bertsmith.text.tokenizer import Tokenizer

transformers = pytest.importorskip("transformers")
CONFIG, WEIGHTS, TOKENIZER, SAID = "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"
OPENS = None  # what is expected where nothing is to be said


@pytest.fixture(scope="module")
def tokenizers(documents):
    return {kind: tokenizer_of(documents[:20], kind) for kind in ("wordpiece:300", "bpe:400", "unigram:400")}


@pytest.fixture(scope="module")
def made(tokenizers, tmp_path_factory):
    """made(family, head, **fields) -> a folder of transformers' own, which is not to be changed."""
    known = {}

    def make(family, head, kind="wordpiece:300", **fields):
        key = json.dumps([family, head, kind, fields])
        if key not in known:
            known[key] = tmp_path_factory.mktemp("made") / "hf"
            theirs(transformers, family, head, tokenizers[kind], known[key], **fields)
        return known[key]

    return make


def change(folder, name=CONFIG, **fields):
    tree = {**json.loads((folder / name).read_text()), **fields}
    (folder / name).write_text(json.dumps({key: value for key, value in tree.items() if value is not ...}))


def config(**fields):
    return partial(change, **fields)


def said(**fields):
    """Of the tokenizer; the segments that its class feeds by itself are those of the class."""
    return partial(change, name=SAID, model_input_names=..., **fields)


def tensors(edit):
    def apply(folder):
        save_file(edit(load_file(folder / WEIGHTS)), folder / WEIGHTS, metadata={"format": "pt"})

    return apply


def vocab(**fields):
    """BERT's vocab.txt alone, with this tokenizer_config.json."""

    def apply(folder):
        tree = json.loads((folder / TOKENIZER).read_text())
        tokens = sorted(tree["model"]["vocab"], key=tree["model"]["vocab"].get)
        (folder / TOKENIZER).unlink()
        (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")
        (folder / SAID).write_text(json.dumps(fields))

    return apply


def capital(folder):
    """One word of its vocab.txt gets a capital letter."""
    tokens = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    tokens[-2] = "Xyz"
    (folder / "vocab.txt").write_text("\n".join(tokens), encoding="utf-8")


def joined(pair, single="[CLS] A [SEP]", **fields):
    """A tokenizer.json with that template; a name with ' is of segment 1."""

    def parts(text):
        for name in text.split():
            kind, name, types = (
                ("Sequence" if name[0] in "AB" else "SpecialToken"),
                name.rstrip("'"),
                name.endswith("'"),
            )
            yield {kind: {"id": name, "type_id": int(types)}}

    def apply(folder):
        tree = json.loads((folder / TOKENIZER).read_text())
        ids = {name: tree["model"]["vocab"][name] for name in ("[CLS]", "[SEP]")}
        tree["post_processor"] = pair and {
            "type": "TemplateProcessing",
            "single": list(parts(single)),
            "pair": list(parts(pair)),
            "special_tokens": {name: {"id": name, "ids": [i], "tokens": [name]} for name, i in ids.items()},
        }
        (folder / TOKENIZER).write_text(json.dumps(tree))
        change(folder, SAID, **fields)

    return apply


def file(name, data=b"x", instead_of=None):
    def apply(folder):
        (folder / name).write_bytes(data)
        if instead_of:
            (folder / instead_of).unlink()

    return apply


BERT, SEQUENCES = ("bert", "token+pair"), ("bert", "classify")
NO_SEGMENTS = {"model_input_names": ["input_ids", "attention_mask"]}
ONE, TWO = "[CLS] A [SEP] B' [SEP]'", "[CLS] A [SEP] [SEP] B [SEP]"
# name: (family and head, fields of the config that the model is made of, what is done to the folder, what is said: OPENS, or "refused: …")
LAYOUTS = {
    # numbers
    **{
        f"{family} {head} {act}": ((family, head), {key: act}, None, OPENS)
        for family, head, key in (
            (*BERT, "hidden_act"),
            ("roberta", "token", "hidden_act"),
            ("xlm-roberta", "token", "hidden_act"),
            ("albert", "token+pair", "hidden_act"),
            ("electra", "token", "hidden_act"),
            ("electra", "replaced", "hidden_act"),
            ("electra", "classify", "hidden_act"),
            ("distilbert", "token", "activation"),
            ("xlnet", "token", "ff_activation"),
        )
        for act in ("gelu_new", "gelu_fast", "gelu_pytorch_tanh", "relu")
    },
    "an activation that is not known": (BERT, {"hidden_act": "silu"}, None, "refused: hidden_act: 'silu': layers with gelu"),
    "no activation said": (BERT, {}, config(hidden_act=...), OPENS),
    "no activation said, of an albert": (("albert", "token"), {"hidden_act": "gelu_new"}, config(hidden_act=...), OPENS),
    "no dropout said, of an albert": (("albert", "token"), {}, config(hidden_dropout_prob=...), OPENS),
    "no eps said": (("roberta", "token"), {"layer_norm_eps": 1e-12}, config(layer_norm_eps=...), OPENS),
    "chunks": (BERT, {}, config(chunk_size_feed_forward=1), OPENS),
    "half precision said": (BERT, {}, config(torch_dtype="float16", dtype="bfloat16"), OPENS),
    "five segments": (BERT, {"type_vocab_size": 5}, None, OPENS),
    "one segment": (BERT, {"type_vocab_size": 1}, None, "refused: type_vocab_size: 1; a bert needs at least 2"),
    "no segments": (BERT, {}, config(type_vocab_size=0), "refused: type_vocab_size: 0; a bert needs at least 2"),
    "a roberta of two segments": (("roberta", "token"), {"type_vocab_size": 2}, None, "refused: type_vocab_size: 2; a roberta has 1"),
    "a roberta whose pad is the end": (("roberta", "token"), {"pad_token_id": 3}, None, "refused: pad_token_id: 3 is '.SEP.'"),
    "a roberta whose pad is a letter": (("roberta", "token"), {"pad_token_id": 9}, None, "said: pad_token_id: 9 is .*not count its position"),
    "an electra without a projection": (("electra", "token"), {"embedding_size": 16}, None, OPENS),
    "a token table of another width": (SEQUENCES, {}, config(hidden_size=32), "refused: config.json means"),
    "an albert of two groups": (("albert", "classify"), {"num_hidden_groups": 2}, None, OPENS),
    "positions by sines": (("distilbert", "token"), {"sinusoidal_pos_embds": True}, None, OPENS),
    "fewer layers said": (BERT, {}, config(num_hidden_layers=1), "refused: num_hidden_layers of config.json means 1 layer of tensors, and 2"),
    "more layers said": (BERT, {}, config(num_hidden_layers=3), "refused: num_hidden_layers of config.json means 3 layers of tensors, and 2"),
    # what is not done here, by its field and by no other
    "relative positions": (
        BERT, {}, config(position_embedding_type="relative_key_query", hidden_act="gelu_new"),
        "refused: position_embedding_type: 'relative_key_query'",
    ),
    "a decoder": (BERT, {}, config(is_decoder=True, hidden_act="silu"), "refused: is_decoder: True"),
    "across": (BERT, {}, config(add_cross_attention=True), "refused: add_cross_attention: True"),
    "pruned": (BERT, {}, config(pruned_heads={"0": [1]}), "refused: pruned_heads: .*0"),
    "quantised": (BERT, {}, config(quantization_config={"quant_method": "x"}), "refused: quantization_config: "),
    "a class of its own": (BERT, {}, config(auto_map={"AutoModel": "x.Y"}), "refused: config.json: auto_map: "),
    # heads
    "a choice by a tagger's name": (
        ("roberta", "tag"), {}, config(architectures=["RobertaForMultipleChoice"]), "refused: its tensors are not those of a roberta"
    ),
    "a class of other answers": (
        SEQUENCES, {}, config(architectures=["BertForMaskedLM"]), "refused: architectures: BertForMaskedLM: .* a class for SequenceClassification"
    ),
    "a class nobody knows": (SEQUENCES, {}, config(architectures=["MyBert"]), "refused: architectures: MyBert"),
    "next sentences": (("bert", "pair"), {}, None, OPENS),
    "answers": (("bert", "qa"), {}, None, OPENS),
    "tags": (("electra", "tag"), {}, None, OPENS),
    "a tied table that is not there": (
        ("roberta", "token"), {}, config(tie_word_embeddings=False), "refused: tie_word_embeddings: False, but lm_head.decoder.weight is missing"
    ),
    "a decoder of its own": (BERT, {"tie_word_embeddings": False}, None, "refused: decoder.weight: differs from"),
    "nothing said of tying": (BERT, {}, config(tie_word_embeddings=...), OPENS),
    "a tied table under a classifier": (SEQUENCES, {}, config(tie_word_embeddings=False), OPENS),
    # tensors
    "no room": (("roberta", "token"), {}, config(max_position_embeddings=3), "refused: max_position_embeddings: room for "),
    "a head that is not there": (
        ("xlnet", "token"),
        {},
        tensors(lambda s: {k: t for k, t in s.items() if not k.startswith("lm_loss")}),
        "said: architectures: XLNetLMHeadModel, but there are no tensors of its token head",
    ),
    "gamma and beta": (
        BERT, {},
        tensors(lambda s: {k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): t for k, t in s.items()}),
        OPENS,
    ),
    "half tensors": (BERT, {}, tensors(lambda s: {k: t.half() for k, t in s.items()}), OPENS),
    "bfloat16 tensors": (BERT, {}, tensors(lambda s: {k: t.bfloat16() for k, t in s.items()}), OPENS),
    "eighths": (BERT, {}, tensors(lambda s: {k: t.to(torch.float8_e4m3fn) for k, t in s.items()}), "refused: holds float8_e4m3fn, not floats"),
    "wrapped": (BERT, {}, tensors(lambda s: {f"module.{k}": t for k, t in s.items()}), "refused: names of all tensors begin with 'module'"),
    "a pickle": (BERT, {}, file("pytorch_model.bin", instead_of=WEIGHTS), "refused: pytorch_model.bin: a pickle .*save_pretrained"),
    "tensorflow": (BERT, {}, file("tf_model.h5", instead_of=WEIGHTS), "refused: tf_model.h5: .* another format.*save_pretrained"),
    "flax": (BERT, {}, file("flax_model.msgpack", instead_of=WEIGHTS), "refused: flax_model.msgpack: .* another format"),
    "tensorflow's first": (BERT, {}, file("bert_model.ckpt.index", instead_of=WEIGHTS), "refused: bert_model.ckpt.index: .* another format"),
    "an adapter beside": (BERT, {}, file("adapter_config.json", b"{}"), "refused: adapter_config.json: an adapter.*merge_and_unload"),
    "an adapter alone": (BERT, {}, file("adapter_model.safetensors", instead_of=CONFIG), "refused: adapter_model.safetensors: an adapter"),
    # pairs
    **{
        f"{family}: {name}": ((family, "classify"), {}, joined(pair, **fields), OPENS)
        for family in ("bert", "albert", "roberta", "distilbert")
        for name, pair, fields in (
            ("one separator", ONE, NO_SEGMENTS if family in ("roberta", "distilbert") else {}),
            ("two separators", TWO, {}),
            ("one separator, one segment", "[CLS] A [SEP] B [SEP]", {}),
            ("segments that are not fed", ONE, NO_SEGMENTS),
        )
    },
    "bert by xlm-r's class": (SEQUENCES, {}, lambda at: [joined(TWO)(at), said()(at)], OPENS),
    "segments from the separator on": (SEQUENCES, {}, joined("[CLS] A [SEP] [SEP]' B' [SEP]'"), "refused: post_processor: segments"),
    "no beginning": (SEQUENCES, {}, joined(ONE, "A [SEP]"), "refused: post_processor: makes "),
    "an end of another kind": (SEQUENCES, {}, joined("[CLS] A [SEP] B [CLS]"), "refused: post_processor: makes "),
    "no template": (SEQUENCES, {}, joined(None), "said: tokenizer.json has no post_processor: texts are read with"),
    "segments of version 4": (SEQUENCES, {}, said(), "said: no model_input_names: pairs are read with segments"),
    "an xlnet's of version 4": (("xlnet", "classify"), {}, said(), "said: no model_input_names: texts are read with segments"),
    "an xlnet without segments": (
        ("xlnet", "classify"), {}, partial(change, name=SAID, **NO_SEGMENTS), "refused: model_input_names: without token_type_ids"
    ),
    # tokenizers
    "vocab.txt": (SEQUENCES, {}, vocab(), OPENS),
    **{
        f"vocab.txt, {name}": (SEQUENCES, {}, vocab(tokenizer_class=name), OPENS)
        for name in ("BertTokenizer", "BertTokenizerFast", "DistilBertTokenizer", "ElectraTokenizer")
    },
    **{
        f"vocab.txt, {name}": (SEQUENCES, {}, vocab(tokenizer_class=name), f"refused: tokenizer_class: {name}: ")
        for name in map("{}Tokenizer".format, "BertJapanese Bertweet Phobert Herbert Flaubert XLM KoBert MecabBert My Roberta".split())
    },
    "a class in config.json": (
        SEQUENCES, {}, lambda at: [vocab()(at), change(at, tokenizer_class="BertJapaneseTokenizer")],
        "refused: tokenizer_class: BertJapaneseTokenizer: its Python code",
    ),
    "mecab": (SEQUENCES, {}, vocab(word_tokenizer_type="mecab"), "refused: word_tokenizer_type: 'mecab'"),
    "characters": (SEQUENCES, {}, vocab(subword_tokenizer_type="character"), "refused: subword_tokenizer_type: 'character'"),
    "no words": (SEQUENCES, {}, vocab(do_basic_tokenize=False), "refused: do_basic_tokenize: False"),
    "code of its own": (SEQUENCES, {}, vocab(auto_map={"AutoTokenizer": ["a.B", None]}), "refused: auto_map: .*code of its own"),
    "code beside tokenizer.json": (SEQUENCES, {}, said(auto_map={"AutoTokenizer": [None, "a.B"]}), "refused: auto_map: "),
    "phobert's files": (SEQUENCES, {}, lambda at: [vocab()(at), file("bpe.codes")(at)], "refused: bpe.codes: "),
    "japanese with a tokenizer.json": (
        SEQUENCES, {}, said(tokenizer_class="BertJapaneseTokenizer"), "refused: tokenizer_class: BertJapaneseTokenizer"
    ),
    "a space that contradicts": (
        ("roberta", "classify", "bpe:400"),
        {},
        said(tokenizer_class="RobertaTokenizer", add_prefix_space=False),
        "said: reads with add_prefix_space True, which is followed",
    ),
    "capitals of which nothing is said": (
        SEQUENCES,
        {},
        lambda at: [vocab()(at), capital(at)],
        "said: vocab.txt reads with do_lower_case False, which is followed",
    ),
    "rules that contradict": (
        SEQUENCES, {}, said(tokenizer_class="BertTokenizer", do_lower_case=False), "said: reads with do_lower_case True, which is followed"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_folder_opens_as_transformers_opens_it_or_says_why_not(name, made, tmp_path):
    (family, head, *kind), fields, edit, expected = LAYOUTS[name]
    folder = shutil.copytree(made(family, head, *kind, **fields), tmp_path / "hf")
    if edit is not None:
        edit(folder)
    told = []
    what, _, rule = (expected or "").partition(": ")
    if what == "refused":
        with pytest.raises(InputError, match=rule) as caught:
            bertsmith.load(folder)
        assert "\n" not in str(caught.value) and str(folder) in str(caught.value)
        assert "hidden_act" in rule or "hidden_act" not in str(caught.value)
        return
    bertsmith.load(folder, say=told.append)
    if what == "said":
        assert len(told) == 1 and re.search(rule, told[0]), told
        return
    assert not told
    for pairs in (False, True):
        assert max(apart(transformers, folder, pairs).values()) < 1e-5, pairs


def put(tokenizer, family, at, **fields):
    """A folder of that family's classifier with the files that a tokenizer of transformers writes itself."""
    tokenizer.save_pretrained(at)
    config = {
        **hf_config(recipe_of(family, "classify", len(tokenizer)), Tokenizer.load(at).vocab, ("a", "b", "c")),
        **fields,
    }
    torch.manual_seed(1)
    made = transformers.AutoModelForSequenceClassification.from_config(transformers.AutoConfig.for_model(**config))
    randomised(made, 1).save_pretrained(at)
    return at


def pieces(*specials):
    return lambda unigram: [(name, 0.0) for name in specials] + [tuple(piece) for piece in unigram]


# The class, what it is made of, the family beside it, and whether it gives what its version 4 gave.
CLASSES = {
    "XLMRobertaTokenizer": (
        pieces("<s>", "<pad>", "</s>", "<unk>", "<mask>"),
        ("bert", "xlm-roberta", "roberta"),
        True,
    ),
    "AlbertTokenizer": (pieces("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"), ("albert",), False),
    "XLNetTokenizer": (
        pieces("<unk>", "<s>", "</s>", "<cls>", "<sep>", "<pad>", "<mask>", "<eod>", "<eop>"),
        ("xlnet",),
        False,
    ),
    "BertTokenizer": (None, ("bert", "electra", "albert", "ernie"), True),
}


@pytest.mark.parametrize("name", CLASSES)
def test_the_files_of_their_own_classes_are_read_as_these_read(name, tokenizers, tmp_path):
    make, families, whole = CLASSES[name]
    if make is None:
        tokens = tokenizers["wordpiece:300"].backend.get_vocab()
    else:
        tokens = make(json.loads(tokenizers["unigram:400"].backend.to_str())["model"]["vocab"][5:])
    for family in families:
        folder = put(getattr(transformers, name)(vocab=tokens), family, tmp_path / family)
        for pairs in (False, True):
            assert max(apart(transformers, folder, pairs, told=whole).values()) < 1e-5, (family, pairs)
        lines = []
        bertsmith.load(folder, say=lines.append)
        assert [line for line in lines if "read with segments" in line] == lines and len(lines) == (not whole)
        if not whole:  # what they feed by themselves is something else, and that is what is said
            assert max(apart(transformers, folder, pairs=True, segments=False).values()) > 1e-5


def rows(folder, name, words):
    at = folder / name
    at.write_text(
        "".join(
            json.dumps({"text": f"a {word}", "text2": "a list", "label": "ny"[i % 2]}) + "\n"
            for i, word in enumerate(words)
        )
    )
    return at


def test_a_template_stays_with_what_is_made_of_the_folder(made, tmp_path):
    """An import, what is fine-tuned from it, and their exports: all join pairs as the folder's tokenizer does."""
    folder = shutil.copytree(made(*SEQUENCES), tmp_path / "hf")
    joined(TWO)(folder)
    assert bertsmith.load(folder).reading().between == 2 and not bertsmith.load(folder).reading().told
    bertsmith.import_(folder, tmp_path / "model")
    train, dev = rows(tmp_path, "train.jsonl", "abcdef"), rows(tmp_path, "dev.jsonl", "uvwxyz")
    assert bertsmith.predict(folder, dev) == bertsmith.predict(tmp_path / "model", dev)
    task = {"task": "classify", "train": train, "dev": dev, "epochs": 1, "threads": 1}
    bertsmith.finetune(tmp_path / "model", out=tmp_path / "tuned", **task)
    for name in ("model", "tuned"):
        bertsmith.export(tmp_path / name, tmp_path / f"{name}-out")
        assert (
            bertsmith.load(tmp_path / name).reading(9).template
            == bertsmith.load(tmp_path / f"{name}-out").reading(9).template
        )
        assert max(apart(transformers, tmp_path / f"{name}-out", pairs=True).values()) < 1e-5


def test_segments_that_are_not_fed_are_not_fed_by_an_export(made, tmp_path):
    folder = shutil.copytree(made(*SEQUENCES), tmp_path / "hf")
    change(folder, SAID, **NO_SEGMENTS)
    bertsmith.import_(folder, tmp_path / "model")
    bertsmith.export(tmp_path / "model", tmp_path / "out")
    assert max(apart(transformers, tmp_path / "out", pairs=True).values()) < 1e-5


def test_a_head_of_its_own_activation_is_gone_on_with_as_it_is(made, corpus, tmp_path):
    folder = made("roberta", "token", hidden_act="relu")
    bertsmith.import_(folder, tmp_path / "model")
    bertsmith.export(tmp_path / "model", tmp_path / "out")
    assert max(apart(transformers, tmp_path / "out", pairs=False).values()) < 1e-5
    bertsmith.prepare([str(corpus)], tmp_path / "store", tokenizer=str(folder), holdout=0.05)
    from bertsmith.config import override
    from bertsmith.training.start import recipe_for

    for there in (folder, tmp_path / "model"):
        recipe = override(recipe_for("roberta", there), ["schedule.lr=1e-30", "training.batch=256"])
        go = {"steps": 1, "threads": 1, "from_": there}
        with pytest.raises(
            InputError, match=r"its token head has gelu .* set={'objective.heads.0.activation': 'gelu'}"
        ):
            bertsmith.pretrain(recipe, tmp_path / "store", tmp_path / "run", **go)
    recipe = override(recipe, ["objective.heads.0.activation=gelu"])
    bertsmith.pretrain(recipe, tmp_path / "store", tmp_path / "run", **go)
    mine, theirs_ = (bertsmith.fill(at, "a [MASK] is", top=3)["masks"] for at in (tmp_path / "run", folder))
    assert mine == theirs_
    bertsmith.export(tmp_path / "run", tmp_path / "again")
    other = override(recipe, ["objective.heads.0.activation=gelu_tanh"])
    assert other.objective.heads[0].activation == "gelu_tanh"
    with pytest.raises(InputError, match="not one of gelu, gelu_tanh, relu"):
        override(recipe, ["objective.heads.0.activation=silu"])


GONE = object()
VALUES = (GONE, None, 0, 3, -1, "relu", [], 1e-5)
IDLE = (
    "initializer_range",
    "dtype",
    "transformers_version",
    "use_cache",
    "label2id",
    "eos_token_id",
    "bos_token_id",
    "problem_type",
)


@pytest.mark.parametrize(("family", "head"), [("roberta", "token"), ("xlnet", "classify")])
def test_any_field_may_be_gone_or_another(family, head, made, tmp_path):
    """Each gives what transformers gives of the same folder, which may refuse it, or one line."""
    good = made(family, head)
    tree, counts = json.loads((good / CONFIG).read_text()), {"opened": 0, "refused": 0}
    for name, value in ((name, value) for name in tree for value in VALUES):
        folder = shutil.copytree(good, tmp_path / "hf", dirs_exist_ok=True)
        other = {key: old for key, old in tree.items() if key != name} | ({} if value is GONE else {name: value})
        (folder / CONFIG).write_text(json.dumps(other))
        try:
            bertsmith.load(folder)
        except InputError as error:
            counts["refused"] += 1
            assert "\n" not in str(error) and str(folder) in str(error), (name, value)
            continue
        if name in ("architectures", *IDLE) or other == tree:  # no class to ask, or nothing to compute with
            continue
        try:
            found = apart(transformers, folder, pairs=False)
        except (AssertionError, InputError):
            raise
        except Exception:  # what transformers itself makes nothing of
            continue
        counts["opened"] += 1
        assert max(found.values()) < 1e-5, (name, value)
    assert counts["opened"] > 30 and counts["refused"] > 60, counts


@pytest.mark.parametrize(("family", "head"), [BERT, ("roberta", "classify"), ("xlnet", "classify"), ("albert", "tag")])
def test_any_tensor_may_be_gone_or_another(family, head, made, tmp_path):
    folder = shutil.copytree(made(family, head), tmp_path / "hf")
    state = load_file(folder / WEIGHTS)
    changes = [
        lambda name: {},
        lambda name: {f"{name}s": state[name]},
        lambda name: {name: state[name][:-1].contiguous()},
        lambda name: {name: torch.full_like(state[name], float("nan"))},
        lambda name: {name: state[name].to(torch.int64)},
    ]
    for number, name in enumerate(state):  # each is gone, and one other thing
        for edit in (changes[0], changes[1 + number % 4]):
            save_file({key: t for key, t in state.items() if key != name} | edit(name), folder / WEIGHTS)
            with pytest.raises(InputError, match=re.escape(str(folder))) as caught:
                bertsmith.load(folder)
            assert "\n" not in str(caught.value), (name, number)


# -- masks ------------------------------------------------------------------------------------------------------------------------------

MASKED = (
    "a [MASK] list",
    "a  [MASK]  list",
    "[MASK] a",
    "a list [MASK]",
    "[MASK][MASK] a",
    "x [SEP] y [MASK] z",
    "a list [MASK] .",
)
FLAGS = (
    {},
    {"lstrip": True},
    {"rstrip": True},
    {"lstrip": True, "rstrip": True},
    {"normalized": True},
    {"single_word": True},
)


@pytest.mark.parametrize("kind", ["bpe:400", "unigram:400", "wordpiece:300"])
def test_fill_reads_a_mask_as_its_tokenizer_does(kind, made, tmp_path):
    for number, flags in enumerate(FLAGS):
        folder = shutil.copytree(made("roberta", "token", kind), tmp_path / str(number))
        tree = json.loads((folder / TOKENIZER).read_text())
        (mask,) = (token for token in tree["added_tokens"] if token["content"] == "[MASK]")
        mask.update({"lstrip": False, "rstrip": False, **flags})
        (folder / TOKENIZER).write_text(json.dumps(tree))
        loaded = bertsmith.load(folder)
        other = transformers.AutoTokenizer.from_pretrained(folder)
        for text in MASKED:
            if kind != "wordpiece:300" and (flags.get("rstrip") or flags.get("normalized")):
                continue  # no such mask is ever written in the form that our exports have, in which a text goes on behind it
            if flags.get("single_word") and text == "the[MASK] list":
                with pytest.raises(InputError, match=r"1 masks, but its tokenizer reads 0 .*single_word"):
                    bertsmith.fill(loaded, text)
                continue
            encoded = encoded_masks(loaded, text, loaded.reading())
            assert encoded.tokens.tolist() == other(text)["input_ids"], (flags, text)
            assert (encoded.tokens[encoded.places] == other.mask_token_id).all()
