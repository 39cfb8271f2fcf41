"""`export --to onnx`: graphs that answer as the model does, in a process without torch, too; what eight bits lose; what is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.folders import loaded, tokenizer_of

import bertsmith
from bertsmith.deploy.export import export
from bertsmith.deploy.onnx import compared, runtime
from bertsmith.errors import InputError

pytest.importorskip("onnxruntime", reason="needs bertsmith[onnx]")
pytestmark = pytest.mark.usefixtures("one_thread")

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "bertsmith", "onnx", "onnxscript"):
            raise ImportError(f"{name} is not here")
sys.meta_path.insert(0, Blocked())
"""
TEXTS = [
    "The quick brown fox jumps over the lazy dog, and then it sleeps all day.",
    "A list of words that are made by someone.",
    "Small things matter; large things do, too.",
]


@pytest.fixture
def alone(tmp_path):
    """Runs an example in a process that has neither torch nor us, and gives what it says of each text."""
    (tmp_path / "sitecustomize.py").write_text(BLOCKED)

    def run(name: str, folder: Path, texts: list[str]) -> list:
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        command = [sys.executable, str(EXAMPLES / name), str(folder), *texts]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200)
        assert done.returncode == 0, done.stderr[-2000:]
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


@pytest.fixture(scope="module")
def words():
    return tokenizer_of(TEXTS * 30)


def test_the_process_has_no_torch(alone, tmp_path):
    with pytest.raises(AssertionError, match="torch is not here"):
        (tmp_path / "x.py").write_text("import torch")
        alone(str(tmp_path / "x.py"), tmp_path, [])


def test_the_examples_are_short():
    assert all(len(path.read_text().splitlines()) <= 40 for path in EXAMPLES.glob("onnx_*.py"))


def rows_of(path: Path) -> list[dict]:
    lines = path.read_text(encoding="utf-8").splitlines()
    names = lines[0].split("\t")
    return [dict(zip(names, line.split("\t"), strict=True)) for line in lines[1:]]


def test_classes_without_torch(tune_by, alone, tasks, tmp_path):
    tune_by(tmp_path / "run", "full")
    lines: list[str] = []
    made = bertsmith.export(
        tmp_path / "run", tmp_path / "out", to="onnx", int8=True, input=tasks["classify"][2], say=lines.append
    )
    texts = [row["text"] for row in rows_of(tasks["classify"][2])][:20]
    ours = bertsmith.predict(tmp_path / "run", texts)
    for one, other in zip(alone("onnx_without_torch.py", tmp_path / "out", texts), ours, strict=True):
        assert other["scores"] == pytest.approx(one, abs=1e-5) and max(one, key=one.get) == other["label"]
    assert max(made["largest_difference"].values()) < 1e-5 and made["texts"] >= 100
    lost, sizes = made["int8"]["graphs"], (made["bytes"], made["int8"]["bytes"])
    assert sizes[1] < sizes[0] == (tmp_path / "out" / "model.onnx").stat().st_size
    assert 0 < lost["lost"]["logits"]["mean"] <= lost["lost"]["logits"]["largest"] < 1
    score = bertsmith.evaluate(tmp_path / "run", tasks["classify"][2])[lost["score"]["metric"]]["value"]
    assert lost["score"]["float32"] == pytest.approx(score) and 0 <= lost["score"]["int8"] <= 1
    told = "\n".join(lines)
    assert "opset 20" in told and "largest differences in float32: logits" in told and "int8: " in told
    assert bertsmith.verify(tmp_path / "out")["kind"] == "export"
    (tmp_path / "out" / "model.onnx").write_bytes(b"no")
    with pytest.raises(InputError, match=r"model\.onnx"):
        bertsmith.verify(tmp_path / "out")


@pytest.mark.slow
def test_tags_without_torch(tune_by, alone, tasks, tmp_path):
    tune_by(tmp_path / "run", "full", "tag")
    bertsmith.export(tmp_path / "run", tmp_path / "out", to="onnx")
    sentences = [block.splitlines() for block in tasks["tag"][2].read_text(encoding="utf-8").strip().split("\n\n")]
    texts = [" ".join(line.split()[0] for line in block) for block in sentences if len(block) < 7][:10]
    ours = bertsmith.predict(tmp_path / "run", [text.split() for text in texts])
    assert texts and alone("onnx_without_torch.py", tmp_path / "out", texts) == [row["label"] for row in ours]


def squad(name: str, question: str, context: str) -> dict:
    return {"paragraphs": [{"context": context, "qas": [{"id": name, "question": question, "answers": []}]}]}


@pytest.mark.slow
def test_answers_without_torch(tune_by, alone, tasks, tmp_path):
    tune_by(tmp_path / "run", "full", "qa")
    bertsmith.export(tmp_path / "run", tmp_path / "out", to="onnx")
    asked = [("what jumps", "The quick fox jumps."), ("who made it", "It was made by him."), ("a list", "Small lists")]
    (tmp_path / "some.json").write_text(json.dumps({"data": [squad(str(i), *pair) for i, pair in enumerate(asked)]}))
    ours = bertsmith.predict(tmp_path / "run", tmp_path / "some.json")
    found = alone("onnx_without_torch.py", tmp_path / "out", ["\t".join(pair) for pair in asked])
    assert found == [row["label"] for row in ours] and any(found)


@pytest.mark.slow
def test_masks_without_torch(pretrained, alone, tmp_path):
    bertsmith.export(pretrained, tmp_path / "out", to="onnx")
    texts = ["the [MASK] of a list", "a list is [MASK] and [MASK]"]
    ours = bertsmith.fill(pretrained, texts, top=1)
    found = alone("onnx_without_torch.py", tmp_path / "out", texts)
    assert found == [[mask["top"][0]["token"] for mask in row["masks"]] for row in ours]


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["mean", "cls+max", "weightedmean"])
def test_vectors_without_torch(pool, pretrained, alone, tmp_path):
    bertsmith.export(pretrained, tmp_path / "out", to="onnx", pool=pool)
    found = alone("onnx_without_torch.py", tmp_path / "out", TEXTS)
    assert np.allclose(found, bertsmith.embed(pretrained, TEXTS, pool=pool), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["bart", "gpt2"])
def test_what_is_written_without_torch(family, words, alone, tmp_path):
    model = loaded(family, "token", words, tmp_path / "run")
    export(model, tmp_path / "out", to="onnx")
    ours = [bertsmith.generate(model, text, limit=20)["text"].strip() for text in TEXTS]
    about = json.loads((tmp_path / "out" / "bertsmith.json").read_text())
    about["writing"]["limit"] = 20
    (tmp_path / "out" / "bertsmith.json").write_text(json.dumps(about))
    assert alone("onnx_writing.py", tmp_path / "out", TEXTS) == ours


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "head"),
    [("roberta", "regress"), ("xlnet", "classify"), ("albert", "tag"), ("bert", "summary"), ("longformer", "qa")],
)
def test_every_kind_of_head_is_compared_before_it_is_written(family, head, words, tmp_path):
    model = loaded(family, head, words, tmp_path / "run")
    made = export(model, tmp_path / "out", to="onnx")
    assert max(made["largest_difference"].values()) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("method", ["adapter", "lora", "pal", "mix"])
def test_what_was_put_into_a_body_is_part_of_its_graph(method, by_method, tmp_path):
    made = bertsmith.export(by_method[0][method], tmp_path / "out", to="onnx")
    assert made["largest_difference"]["logits"] < 1e-5


def test_places_before_a_text_are_refused(by_method, tmp_path):
    with pytest.raises(
        InputError, match=r"places before each text that no token stands at; method='full' tunes without"
    ):
        bertsmith.export(by_method[0]["prefix"], tmp_path / "out", to="onnx")
    assert not (tmp_path / "out").exists()


def test_a_graph_that_says_something_else_is_not_written(words, tmp_path, monkeypatch):
    model, says = loaded("bert", "classify", words, tmp_path / "run"), compared.theirs
    wrong = lambda *given: {name: [row + 1e-3 for row in rows] for name, rows in says(*given).items()}
    monkeypatch.setattr(compared, "theirs", wrong)
    with pytest.raises(InputError, match=r"out: not written: its logits differ by 0\.00.* and 1e-05 is allowed"):
        export(model, tmp_path / "out", to="onnx")
    assert [path.name for path in tmp_path.iterdir()] == []


def test_what_rounding_alone_moves_is_judged_in_float64():
    exact = {"logits": [np.array([1.0, 2.0])]}
    far = lambda by: {"logits": [np.array([1.0, 2.0 + by])]}
    assert compared.apart(far(3e-5), far(-3e-5), lambda: exact)[1] == ["logits"]
    with pytest.raises(InputError, match="its logits differ by"):
        compared.apart(far(3e-5), far(-2e-4), lambda: exact)
    with pytest.raises(InputError, match="its logits differ by"):
        compared.apart(exact, far(3e-5), lambda: exact)
    with pytest.raises(InputError, match="its logits differ by nan"):
        compared.apart(exact, far(float("nan")), lambda: exact)


def test_options_of_other_forms_are_refused(words, tmp_path):
    model = loaded("bert", "classify", words, tmp_path / "run")
    for options, says in (
        ({"to": "hf", "int8": True}, "int8: of to='onnx' alone"),
        ({"to": "hf", "pool": "mean"}, "pool: of to='onnx' alone"),
        ({"to": "onnx", "pool": "men"}, "pool='men': unknown; did you mean 'mean'"),
        ({"to": "onnx", "input": "x.tsv"}, "input: says what eight bits lose; give int8=True with it"),
        ({"to": "onnx", "push": "me/it"}, "push='me/it': what is pushed is to='hf'"),
    ):
        with pytest.raises(InputError, match=says):
            export(model, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(runtime.importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else object())
    with pytest.raises(InputError, match=r"onnxruntime is not installed; pip install 'bertsmith\[onnx\]'"):
        runtime.needed()


@torch.no_grad()
@pytest.mark.parametrize("pool", ["mean", "max", "mean_sqrt_len", "weightedmean", "lasttoken"])
@pytest.mark.parametrize("skip", [0, 2])
def test_pools_of_padded_texts_are_those_of_each_text(pool, skip):
    from bertsmith.deploy import sentences
    from bertsmith.deploy.onnx.graphs import pooled
    from bertsmith.nn.modules.rectangle import Rectangle

    real = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]]).bool()
    hidden = torch.randn(15, 4, generator=torch.Generator().manual_seed(0))
    found = pooled(hidden, Rectangle.of(real.long(), real), pool, skip)
    for row, states, marks in zip(found, hidden.view(3, 5, 4), real, strict=True):
        own = states[marks]
        assert torch.allclose(row, sentences.pooled(own[min(skip, len(own) - 1) :], pool), atol=1e-6)
