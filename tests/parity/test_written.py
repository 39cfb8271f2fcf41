"""What was tuned to write, exported: transformers' `generate` and a plain `AutoTokenizer` write what `bertsmith predict` writes, and the
folder, read back, writes it again."""

import json
import random

import pytest
import torch
from tests.parity.test_gpt import folder, of_bytes, of_gpt
from tests.parity.test_stacks import of_bytes as of_bart
from tests.parity.test_stacks import of_pieces
from tests.test_cards import ran

import bertsmith
from bertsmith.config import override
from bertsmith.errors import InputError
from bertsmith.recipe import find

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.usefixtures("one_thread", "few_texts")
__all__ = ["of_bytes"]
LETTERS = "bcdefg"
SHAPE = ["model.layers=1", "model.width=32", "model.hidden=128", "model.heads=2", "model.dropout=0"]
SETS = [*SHAPE, "layout.length=32", "training.batch=512", "training.held_out=256", "training.precision=float32"]
OURS = {
    "bart": [],
    "mass": ["model.norm.eps=1e-5"],  # as BART's
    "t5": [],
    "gpt2": [],
    "gpt": [],
    "bert": [],
    "roberta": [],
}


def rows(count, seed=0, longest=4):
    draw = random.Random(seed)
    texts = [[draw.choice(LETTERS) for _ in range(draw.randint(1, longest))] for _ in range(count)]
    return [{"first": text[0], "rest": " ".join(text[1:]) or "y", "said": " ".join(text[::-1])} for text in texts]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """{member: a run of one layer after 2 updates}, over letters."""
    at, draw = tmp_path_factory.mktemp("runs"), random.Random(0)
    text = "\n\n".join("\n".join(" ".join(draw.choices(LETTERS + "yno", k=9)) for _ in range(4)) for _ in range(30))
    (at / "corpus.txt").write_text(text + " yes no 0123456789 say :\n")
    bertsmith.prepare([str(at / "corpus.txt")], at / "store", tokenizer="wordpiece:60", holdout=0.1)
    for name, more in OURS.items():
        bertsmith.pretrain(override(find(f"{name}:tiny"), [*SETS, *more]), at / "store", at / name, steps=2, threads=1)
    return at


def tuned(model, out, beam=1, steps=2, count=60, **options):
    options = {"template": "say {first}: {rest}", "target": "{said}", "steps": steps, "threads": 1, **options}
    settings = {"dropout": 0, "batch": 32, "precision": "float32", "lr": 3e-3, "beam": beam, **options.pop("set", {})}
    return bertsmith.finetune(
        model, task="text2text", train=rows(count), dev=rows(8, 1), out=out, set=settings, **options
    )


def theirs(at, texts, batch):
    """What `generate` writes with the folder's own settings, so many texts at a time."""
    decodes = json.loads((at / "config.json").read_text()).get("is_encoder_decoder", False)
    kind = transformers.AutoModelForSeq2SeqLM if decodes else transformers.AutoModelForCausalLM
    model, tokenizer = kind.from_pretrained(at).eval(), transformers.AutoTokenizer.from_pretrained(at)
    found = []
    for start in range(0, len(texts), batch):
        inputs = tokenizer(texts[start : start + batch], padding=True, truncation=True, return_tensors="pt")
        with torch.no_grad():
            said = model.generate(**inputs)
        said = said if decodes else said[:, inputs["input_ids"].shape[1] :]
        found += tokenizer.batch_decode(said, skip_special_tokens=True)
    return found


def talkative(member, by=0.4):
    """Weights so large that what is written depends on the text, and its end is nothing special."""
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in member.parameters():
            if weight.ndim > 1:
                weight.add_(torch.randn(weight.shape, generator=draw) * by)


def rendered(row):
    return f"say {row['first']}: {row['rest']}"


def check(run, out, by=0.4):
    """With weights that say many things both write the same about forty texts, some of them too long."""
    model = bertsmith.load(run)
    talkative(model.member, by)
    result = bertsmith.export(model, out)
    assert max(result["largest_difference"].values()) < 1e-5
    asked = [*rows(36, 2, 9), *rows(4, 3, 60)]
    here = bertsmith.predict(model, asked)
    assert theirs(out, [rendered(row) for row in asked], 12) == [row["text"] for row in here]
    assert len({row["text"] for row in here}) > 3, "they do not say one thing to all"
    return model, asked, here


@pytest.mark.parametrize("beam", [1, 4])
@pytest.mark.parametrize("name", ["bart", "mass", "t5", "gpt2", "gpt"])
def test_generate_writes_there_what_predict_writes_here(runs, name, beam, tmp_path, capsys):
    tuned(runs / name, tmp_path / "run", beam)
    model, asked, here = check(tmp_path / "run", tmp_path / "out")
    shown = ran(tmp_path / "out", capsys)
    assert shown.strip() == bertsmith.predict(model, [{"first": "A text.", "rest": "A text."}])[0]["text"].strip()
    card = (tmp_path / "out" / "README.md").read_text()
    assert "It reads a text and writes another: `{said}`." in card and "`say {first}: {rest}`" in card
    again = bertsmith.predict(tmp_path / "out", asked)
    assert [row["text"] for row in again] == [row["text"] for row in here]
    assert [row["score"] for row in again] == pytest.approx([row["score"] for row in here], abs=1e-4)
    assert bertsmith.load(tmp_path / "out").reading() == model.reading()


@pytest.mark.parametrize("name", ["bart", "t5", "gpt2", "gpt"])
def test_a_released_folder_that_was_tuned_to_write_goes_out_with_its_own_tokenizer(name, of_bytes, documents, tmp_path):
    at = tmp_path / "hf"
    at.mkdir()
    made = {"bart": of_bart, "t5": of_pieces}
    if name in made:
        made[name](at, documents)
    else:
        folder(at, of_bytes) if name == "gpt2" else of_gpt(at)
    tuned(at, tmp_path / "run", 3, allow_unknown=name == "gpt")
    check(tmp_path / "run", tmp_path / "out", 0.2)  # their T5 is float32 even in float64


def test_a_text_that_sees_all_of_itself_has_no_class_there(runs, tmp_path):
    tuned(runs / "gpt2", tmp_path / "run", set={"visibility": "prefix"})
    with pytest.raises(InputError, match="its text sees all of itself"):
        bertsmith.export(tmp_path / "run", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_kept_task_that_is_none_is_refused_by_its_field(runs, tmp_path):
    tuned(runs / "t5", tmp_path / "run")
    bertsmith.export(tmp_path / "run", tmp_path / "out")
    (tmp_path / "out" / "manifest.json").unlink()
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    said = config["task_specific_params"]["text2text"]
    for change, why in (({"target_length": "6"}, "target_length: '6' is not a whole number"), ({"template": "none"}, "names no column"), ({"labels": "a"}, "labels: 'a' is not")):  # fmt: skip
        wrong = {**config, "task_specific_params": {"text2text": {**said, **change}}}
        (tmp_path / "out" / "config.json").write_text(json.dumps(wrong))
        with pytest.raises(InputError, match=f"config.json: task_specific_params.text2text.*{why}"):
            bertsmith.load(tmp_path / "out")


def test_a_released_gpt2_whose_only_special_token_parts_texts_does_not_count_it_as_unknown(of_bytes, tmp_path):
    folder(tmp_path / "hf", of_bytes)
    said: list[str] = []
    tuned(tmp_path / "hf", tmp_path / "run", say=said.append)
    assert not any("[UNK]" in line for line in said)


@pytest.mark.parametrize("how", ["fresh", "copy", "share"])
@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_an_encoder_that_was_given_a_decoder_is_their_pair_of_models(runs, name, how, tmp_path, capsys):
    tuned(runs / name, tmp_path / "run", 3 if how == "copy" else 1, decoder=how)
    model, _, _ = check(tmp_path / "run", tmp_path / "out")
    shown = ran(tmp_path / "out", capsys)
    assert shown.strip() == bertsmith.predict(model, [{"first": "A text.", "rest": "A text."}])[0]["text"].strip()
    with pytest.raises(InputError, match="model_type 'encoder-decoder' cannot be read"):
        bertsmith.load(tmp_path / "out")


def test_an_encoder_that_their_pairs_do_not_take_stays_here(runs, tmp_path):
    made = override(find("albert:tiny"), [*SETS, "model.embeddings.width=16"])
    bertsmith.pretrain(made, runs / "store", tmp_path / "albert", steps=2, threads=1)
    tuned(tmp_path / "albert", tmp_path / "run", decoder="fresh")
    with pytest.raises(InputError, match="transformers' nearest encoder-decoder is its") as error:
        bertsmith.export(tmp_path / "run", tmp_path / "out")
    assert "\n" not in str(error.value)
