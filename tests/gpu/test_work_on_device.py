"""Fine-tuning, filling, vectors, held-out scores, export and plan: what they give on the device is what the CPU gives."""

import importlib.util

import numpy as np
import pytest
import torch
from tests.goldens import NEAR, TUNED
from tests.gpu.runs import apart, distance, highest, losses, recipe_of

import bertsmith
from bertsmith.config import override

pytestmark = pytest.mark.gpu
EXACT, ROUNDED = (
    1e-4,
    2e-2,
)  # relative, of float32 'highest' and of bfloat16; what the golden tests and the benches allow
TEXTS = ["a bertsmith", "the and of to in", "some words that are not in the corpus, and a full stop."] * 5


@pytest.fixture(scope="module")
def model(ran, device):
    """A run that the device made, in float32."""
    return ran("bert", device, "training.precision=float32")


@pytest.fixture(scope="module")
def here(model, device):
    return bertsmith.load(model, device=str(device))


@pytest.fixture(scope="module")
def there(model):
    return bertsmith.load(model, device="cpu")


def test_fill_gives_the_same_probabilities(here, there, record_property):
    text = "some [MASK] and [MASK] words"
    ours, theirs = (
        [{each["id"]: each["p"] for each in mask["top"]} for mask in bertsmith.fill(loaded, text, top=400)["masks"]]
        for loaded in (here, there)
    )
    far = max(abs(a[id] - b[id]) / b[id] for a, b in zip(ours, theirs, strict=True) for id in b if id in a)
    record_property("apart", far)
    assert far <= 10 * EXACT  # a probability is the exponential of a logit


@pytest.mark.parametrize("pool", ["mean", "cls"])
@pytest.mark.parametrize("precision", ["exact", "bfloat16"])
def test_vectors_are_the_same(pool, precision, here, there, record_property):
    ours = bertsmith.embed(here, TEXTS, pool=pool, precision=precision)
    theirs = bertsmith.embed(there, TEXTS, pool=pool)
    far = float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))
    record_property("apart", far)
    assert far <= {"exact": EXACT, "bfloat16": ROUNDED}[precision]


@pytest.mark.parametrize("name", ["bert", "electra", "xlnet", "transformer-xl"])
def test_held_out_losses_are_the_same(name, ran, words, device, record_property):
    from bertsmith.training.evaluate import evaluate_run

    run = ran(name, device, "training.precision=float32")
    with highest():
        ours, theirs = (evaluate_run(run, words, device=str(place))["evaluation"] for place in (device, "cpu"))
    far = max(abs(ours[term]["loss"] / theirs[term]["loss"] - 1) for term in theirs)
    record_property("apart", far)
    assert ours.keys() == theirs.keys()
    assert far <= 10 * EXACT  # a sample of ELECTRA's that rounding moves changes one token of many hundred


@pytest.mark.parametrize("name", TUNED)
def test_fine_tuning_learns_what_it_does_on_the_cpu(name, ran, tasks, device, tmp_path, record_property):
    member, task, settings = TUNED[name]
    kind, train, dev = tasks[task]
    method = "frozen" if "method=frozen" in settings else "full"
    sets = ["epochs=2", "batch=16", "lr=0.003", "precision=float32", "dropout=0.0"]
    model, runs = ran(member, "cpu", "training.precision=float32"), []
    for place in (device, "cpu"):
        options = {"task": kind, "train": train, "dev": dev, "method": method, "set": sets, "seed": 2}
        options |= {
            "threads": 1,
            "allow_unknown": True,
        }  # the texts of tasks have letters that the texts of stores do not
        with highest():
            bertsmith.finetune(model, out=tmp_path / f"run-{len(runs)}", device=str(place), **options)
        runs.append(tmp_path / f"run-{len(runs)}")
    far = apart(*runs)
    record_property("apart", far)
    assert far <= 5 * NEAR  # rates of 3e-3, ten times those of pre-training's first updates


def test_fine_tuning_in_bfloat16_with_dropout_learns(ran, tasks, device, tmp_path, record_property):
    kind, train, dev = tasks["classify"]
    model = ran("bert", "cpu", "training.precision=float32")
    sets = ["epochs=6", "batch=16", "lr=0.003", "precision=bfloat16"]
    bertsmith.finetune(
        model, task=kind, train=train, dev=dev, out=tmp_path / "run", device=str(device), set=sets, seed=2
    )
    found = losses(tmp_path / "run")
    record_property("losses", [found[0], found[-1]])
    assert np.mean(found[-5:]) < np.mean(found[:5])


def test_fine_tuning_twice_gives_the_same_bytes(ran, tasks, device, tmp_path):
    kind, train, dev = tasks["classify"]
    model = ran("bert", "cpu", "training.precision=float32")
    options = {"task": kind, "train": train, "dev": dev, "device": str(device), "threads": 1, "seed": 2}
    for name in ("one", "two"):
        bertsmith.finetune(model, out=tmp_path / name, set=["epochs=1", "batch=16"], **options)
    one, two = ((tmp_path / name / "metrics.jsonl").read_bytes() for name in ("one", "two"))
    assert one == two


@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="transformers is not installed")
@pytest.mark.parametrize("name", ["bert", "roberta", "electra", "xlnet"])
def test_what_the_device_trained_opens_in_transformers(name, ran, device, tmp_path, record_property):
    """`export` compares on the CPU; here their model then answers on the device, in float32 and under bfloat16 autocast."""
    import transformers

    run = ran(name, device, f"training.precision={'float32' if name == 'electra' else 'bfloat16'}")
    compared = bertsmith.export(run, tmp_path / "folder")
    record_property("on the cpu", compared["largest_difference"])
    loaded = bertsmith.load(tmp_path / "folder", device=str(device))
    theirs = transformers.AutoModel.from_pretrained(tmp_path / "folder").to(device).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "folder")
    inputs = tokenizer(TEXTS, padding=True, return_tensors="pt").to(device)
    ours = bertsmith.embed(loaded, TEXTS, pool="mean")
    for fast in (False, True):
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=fast):
            hidden = theirs(**inputs).last_hidden_state.float()
        real = inputs["attention_mask"][:, :, None]
        far = distance(torch.from_numpy(ours), (hidden * real).sum(1) / real.sum(1))
        record_property("bfloat16" if fast else "float32", far)
        assert far <= (ROUNDED if fast else EXACT)


def test_plan_says_how_long_an_update_takes(cuda, record_property):
    """Kernels run after they were asked for: a clock that does not wait for them reads the time of the asking."""
    import time

    from bertsmith.data.batch import Vocab
    from bertsmith.data.draw import Draw
    from bertsmith.nn.member import build
    from bertsmith.training.cost import estimate, full_row
    from bertsmith.training.optim import build_optimizer
    from bertsmith.training.precision import Precision
    from bertsmith.training.step import train_step

    recipe = recipe_of("bert", "model.width=512", "model.hidden=2048", "model.heads=8", "model.layers=4")
    recipe = override(recipe, ["training.batch=8192", "layout.length=128"]).with_vocab(8192)
    planned = estimate(recipe, device=str(cuda)).seconds
    vocab = Vocab(size=8192, pad=0, unk=1, cls=2, sep=3, mask=4, special=(0, 1, 2, 3, 4))
    batch = recipe.corruption(full_row(recipe, vocab, 8192), vocab, Draw(0))
    member, precision = build(recipe).to(cuda), Precision.choose("auto", cuda)
    optimizer, seconds = build_optimizer(member, recipe.schedule), []
    for step in range(1, 9):
        torch.cuda.synchronize()
        start = time.perf_counter()
        train_step(member, [batch], batch.counts(), optimizer, precision=precision, clip=1.0, seed=0, step=step)
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    record_property("planned over measured", planned / float(np.median(seconds[3:])))
    assert 0.5 <= planned / float(np.median(seconds[3:])) <= 2
