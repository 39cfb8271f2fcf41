"""Fine-tuning from a real, tiny pre-training run: what is learned, kept, refused, and what predict and evaluate make of it."""

import json

import numpy as np
import pytest
import torch

import bertsmith
from bertsmith.downstream.finetune import finetune
from bertsmith.downstream.model import load
from bertsmith.downstream.predict import evaluate, judged, predict
from bertsmith.downstream.tuning import settings
from bertsmith.errors import InputError
from bertsmith.tasks import kinds
from bertsmith.tasks.readers import read
from bertsmith.tasks.reading import Reading
from bertsmith.tasks.sequences import Asked, encode, kept

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model(store, tmp_path_factory):
    """A BERT of width 32 after 4 updates."""
    from bertsmith.config import override
    from bertsmith.recipe import find
    from bertsmith.training.pretraining import pretrain

    small = [
        "model.width=32",
        "model.hidden=64",
        "model.heads=2",
        "layout.length=64",
        "training.batch=512",
        "training.held_out=512",
        "training.precision=float32",  # what `evaluate` computes in
    ]
    out = tmp_path_factory.mktemp("model") / "run"
    pretrain(override(find("bert:tiny"), small), store, out, steps=4, threads=1)
    return out


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two classes told apart by one word; a number that counts it; pairs that are the same text or not."""
    folder, generator = tmp_path_factory.mktemp("task"), np.random.default_rng(0)
    words = "module class object value string function method name list type".split()
    for name, n in (("train", 160), ("dev", 48)):
        rows, numbers, pairs = ["text\tlabel"], ["text\tlabel"], ["text\ttext2\tlabel"]
        for i in range(n):
            text, label = " ".join(generator.choice(words, 6)), i % 2
            rows.append(f"{text} {('return', 'import')[label]} {i}\t{('no', 'yes')[label]}")
            numbers.append(f"{text} {i}\t{100 + 10 * text.count('class')}")
            pairs.append(f"{text}\t{'import' if label else 'return'} {text}\t{label}")
        for kind, lines in (("rows", rows), ("numbers", numbers), ("pairs", pairs)):
            (folder / f"{kind}.{name}.tsv").write_text("\n".join(lines) + "\n")
    return folder


def tune(model, files, out, kind="rows", task="classify", **options):
    options.setdefault("set", ["epochs=6", "lr=1e-2", "batch=16"])
    return finetune(
        model,
        task=task,
        train=files / f"{kind}.train.tsv",
        dev=files / f"{kind}.dev.tsv",
        out=out,
        threads=1,
        **options,
    )


@pytest.fixture(scope="module")
def tuned(model, files, tmp_path_factory):
    out = tmp_path_factory.mktemp("tuned") / "run"
    said = []
    return out, tune(model, files, out, say=said.append), said


def test_a_class_told_by_one_word_is_learned_and_the_best_epoch_is_the_model(tuned, files):
    out, result, _ = tuned
    assert (
        result["dev"]["accuracy"]["value"] > 0.9
        and result["dev"]["accuracy"]["low"] <= result["dev"]["accuracy"]["value"]
    )
    best = max(result["epochs"], key=lambda e: (e["accuracy"], -e["loss"]))
    assert result["best"] == best["step"] and load(out).path.name == f"step-{best['step']:08d}"
    assert evaluate(out, files / "rows.dev.tsv") == result["dev"], "evaluate gives the numbers of the log again"


def test_metrics_hold_one_line_an_update_and_the_scores_of_each_epoch(tuned):
    out, _result, said = tuned
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 61))
    assert all(set(line) - {"evaluation"} == {"step", "loss", "lr", "grad_norm", "tokens", "terms"} for line in lines)
    assert [line["step"] for line in lines if "evaluation" in line] == [10, 20, 30, 40, 50, 60]
    assert json.loads((out / "config.json").read_text())["task"]["labels"] == ["no", "yes"]
    assert any("best after" in line for line in said)


def test_predictions_stand_in_input_order_with_the_share_of_every_class(tuned, files, tmp_path):
    rows = predict(tuned[0], files / "rows.dev.tsv", tmp_path / "out.jsonl")
    assert [row["index"] for row in rows] == list(range(48))
    truth = read(files / "rows.dev.tsv").columns["label"]
    right = sum(row["label"] == label for row, label in zip(rows, truth, strict=True)) / 48
    assert right == pytest.approx(tuned[1]["dev"]["accuracy"]["value"])
    assert all(
        row["scores"].keys() == {"no", "yes"} and sum(row["scores"].values()) == pytest.approx(1) for row in rows
    )
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == rows
    (tmp_path / "plain.txt").write_text("import a\nreturn b\n")
    assert len(predict(tuned[0], tmp_path / "plain.txt")) == 2


def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not(model, files, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        tune(model, files, tmp_path / name, seed=seed, set=["epochs=1", "batch=40"])
    a, b, c = ((tmp_path / name / "metrics.jsonl").read_bytes() for name in "abc")
    assert a == b != c


def test_a_frozen_trunk_is_bit_identical_afterwards_and_its_cached_features_are_the_real_ones(model, files, tmp_path):
    result = tune(model, files, tmp_path / "run", method="frozen", set=["epochs=3", "batch=40"])
    before, after = load(model).member.state_dict(), load(tmp_path / "run").member.state_dict()
    trunk = [name for name in before if name.startswith("model.")]
    assert trunk and all(torch.equal(before[name], after[name]) for name in trunk)
    scores = evaluate(tmp_path / "run", files / "rows.dev.tsv")
    assert scores["accuracy"]["value"] == result["dev"]["accuracy"]["value"]


def test_full_fine_tuning_starts_from_the_models_weights_and_scratch_from_fresh_ones(model, files, tmp_path):
    for name, scratch in (("kept", False), ("fresh", True)):
        tune(model, files, tmp_path / name, scratch=scratch, set=["epochs=1", "lr=1e-9", "batch=160"])
    source, kept_, fresh = (load(path).member.state_dict() for path in (model, tmp_path / "kept", tmp_path / "fresh"))
    name = "model.embeddings.tokens.weight"
    assert torch.allclose(source[name], kept_[name], atol=1e-6) and not torch.allclose(
        source[name], fresh[name], atol=1e-3
    )
    pooler = {n.partition("pooler.")[2]: v for n, v in source.items() if "pooler" in n}
    assert torch.allclose(pooler["dense.weight"], kept_["objective.label.pooler.dense.weight"], atol=1e-6), (
        "the pooler is taken over"
    )


def test_numbers_come_back_in_their_own_scale(model, files, tmp_path):
    result = tune(
        model, files, tmp_path / "run", kind="numbers", task="regress", set=["epochs=4", "lr=3e-3", "batch=16"]
    )
    assert set(result["dev"]) == {"pearson", "spearman"} and result["dev"]["pearson"]["value"] > 0.3
    values = [row["label"] for row in predict(tmp_path / "run", files / "numbers.dev.tsv")]
    assert 90 < np.mean(values) < 120


def test_several_seeds_give_mean_and_spread_and_the_folder_loads_as_the_best(model, files, tmp_path):
    result = tune(model, files, tmp_path / "runs", kind="pairs", seeds=2, set=["epochs=1", "batch=80"])
    assert result["seeds"] == [0, 1] and result["over_seeds"]["accuracy"]["seeds"] == 2
    values = [
        json.loads((tmp_path / "runs" / f"seed-{s}" / "result.json").read_text())["dev"]["accuracy"]["value"]
        for s in (0, 1)
    ]
    assert result["over_seeds"]["accuracy"]["mean"] == pytest.approx(np.mean(values))
    assert load(tmp_path / "runs").run.name == f"seed-{result['best_seed']}"
    with pytest.raises(InputError, match="text2"):
        predict(tmp_path / "runs", files / "rows.dev.tsv")


def test_a_finished_run_is_never_overwritten_and_one_that_was_broken_off_is_gone_on_with(tuned, model, files, tmp_path):
    with pytest.raises(InputError, match="holds a fine-tuned model already"):
        tune(model, files, tuned[0])
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.doc").touch()
    with pytest.raises(InputError, match=r"holds thesis\.doc"):
        tune(model, files, tmp_path / "other")
    tune(model, files, tmp_path / "run", set=["epochs=1", "batch=160"])
    (tmp_path / "run" / "result.json").unlink()
    with pytest.raises(InputError, match="did not finish"):
        load(tmp_path / "run")
    with pytest.raises(InputError, match="saved at step 1; resume=True goes on with it"):
        tune(model, files, tmp_path / "run", set=["epochs=1", "batch=160"])
    tune(model, files, tmp_path / "run", set=["epochs=1", "batch=160"], resume=True)
    assert load(tmp_path / "run").kind == "finetune"


def test_a_damaged_step_and_a_foreign_tokenizer_are_refused(tuned, model, tmp_path):
    import shutil

    shutil.copytree(tuned[0], tmp_path / "run")
    step = load(tmp_path / "run").path
    data = bytearray((step / "model.safetensors").read_bytes())
    data[len(data) // 2] ^= 1
    (step / "model.safetensors").write_bytes(data)
    with pytest.raises(InputError, match=r"model\.safetensors: damaged"):
        load(tmp_path / "run")
    with pytest.raises(InputError, match="no such folder"):
        load(tmp_path / "nothing")


@pytest.mark.parametrize(
    "train, dev, says",
    [
        ("text\tlabel\na\tx\nb\ty\n", "text\tlabel\nc\tz\n", 'dev.tsv:2: label: "z" is not one of: x, y'),
        ("text\tlabel\na\tx\nb\tx\n", "text\tlabel\nc\tx\n", "train.tsv: label: every row says 'x'"),
        ("text\tlabel\na\tx\nb\ty\n", "text\tlabel\na\tx\nb\ty\n", "same bytes as train"),
        ("text\tlabel\na\tx\nb\ty\n", "text\tlabel\n", "dev.tsv: holds no rows"),
        ("text\tlabel\na\tx\n \ty\n", "text\tlabel\nc\tx\n", "train.tsv:3: text: is empty"),
        ("text\tlabel\na\tx\nb\t\n", "text\tlabel\nc\tx\n", "train.tsv:3: label: is empty"),
        ("text\tgold\na\tx\nb\ty\n", "text\tlabel\nc\tx\n", "train.tsv:1: no column 'label'"),
        ("text\ttext2\tlabel\na\tb\tx\nb\t \ty\n", "text\ttext2\tlabel\nc\td\tx\n", "train.tsv:3: text2: is empty"),
        (
            "text\ttext2\tlabel\na\tb\tx\nb\tc\ty\n",
            "text\tlabel\nc\tx\n",
            "dev.tsv: text2: pairs in one of train and dev only",
        ),
        (
            "text\tlabel\n" + "a b c d " * 40 + "\tx\n" + "e f g h " * 40 + "\ty\n",
            "text\tlabel\nc\tx\n",
            "every one of its 2 texts is longer",
        ),
    ],
)
def test_bad_tasks_are_named_and_nothing_is_written(model, tmp_path, train, dev, says):
    (tmp_path / "train.tsv").write_text(train)
    (tmp_path / "dev.tsv").write_text(dev)
    with pytest.raises(InputError) as raised:
        finetune(model, task="classify", train=tmp_path / "train.tsv", dev=tmp_path / "dev.tsv", out=tmp_path / "run")
    assert says in str(raised.value) and "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "options, says",
    [
        ({"task": "clasify"}, "did you mean 'classify'"),
        ({"method": "half"}, "method='half'"),
        ({"seeds": 0}, "seeds=0"),
        ({"scratch": True, "method": "frozen"}, "scratch=True with"),
        ({"on_long": "cut"}, "on_long='cut'"),
        ({"set": ["epoch=3"]}, "did you mean 'epochs'"),
        ({"set": ["training.batch=512"]}, "counts tokens"),
        ({"set": ["model.layers=3"]}, "'model.layers': …}: cannot be set"),
        ({"set": ["length=9999"]}, "positions"),
        ({"set": ["lr=-1"]}, "lr: -1"),
        ({"columns": "text=nothing"}, "no column 'nothing'"),
        ({"labels": ["maybe", "yes"]}, '"no" is not one of: maybe, yes'),
    ],
)
def test_bad_options_say_what_is_allowed(model, files, tmp_path, options, says):
    with pytest.raises(InputError) as raised:
        tune(model, files, tmp_path / "run", **options)
    assert says in str(raised.value) and not (tmp_path / "run").exists()


def test_options_of_pre_training_names_set_the_same_things():
    assert settings(["schedule.lr=0.001", "model.dropout=0.2"]) == settings(["lr=1e-3", "dropout=0.2"])


@pytest.mark.parametrize(
    "labels, says",
    [
        ([1, 2.5], "2.5 is not a class"),
        ([True, False], "True is not a class"),
        (["1", 1], "strings or whole numbers, not both"),
    ],
)
def test_classes_in_json_are_strings_or_whole_numbers(tmp_path, labels, says):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": "a", "label": label}) + "\n" for label in labels))
    with pytest.raises(InputError, match=says):
        kinds.kind("classify").learn(read(path))


@pytest.mark.parametrize("label", ["good", "nan", "inf", "1_000", "", "1e999"])
def test_a_number_that_is_none_is_named(tmp_path, label):
    path = tmp_path / "a.tsv"
    path.write_text(f"text\tlabel\na\t1.5\nb\t{label}\n")
    with pytest.raises(InputError, match=r"a\.tsv:3: label: .* is not a (finite )?number"):
        kinds.kind("regress").learn(read(path))


def test_classes_that_are_numbers_are_sorted_as_numbers_and_the_last_of_two_is_positive(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("text\tlabel\n" + "".join(f"a\t{n}\n" for n in (10, 2, -1)))
    assert kinds.kind("classify").learn(read(path)).names == ("-1", "2", "10")


# -- sequences ----------------------------------------------------------------------------------------------------------------------


class Letters:
    """One token a letter."""

    class vocab:
        cls, sep = 1, 2

    def encode(self, texts):
        return [(np.array([ord(c) for c in text], np.int32), np.ones(len(text), bool)) for text in texts]


def sequences(*texts, **options):
    second = [b for _, b in texts] if isinstance(texts[0], tuple) else None
    first = [a for a, _ in texts] if second else list(texts)
    where = options.pop("where", "text {}".format)
    found = encode(Letters(), first, second, Reading(**{"length": 12, "segments": True, **options}), where)
    ends = np.cumsum(found.lengths)[:-1]
    spelled = ["".join({1: "<", 2: "|"}.get(t, chr(t)) for t in part) for part in np.split(found.tokens, ends)]
    return spelled, ["".join(map(str, part)) for part in np.split(found.segments, ends)], found


def test_pairs_have_two_segments_or_two_separators():
    assert sequences("ab", "")[:2] == (["<ab|", "<|"], ["0000", "00"])
    assert sequences(("ab", "c"))[:2] == (["<ab|c|"], ["000011"])
    assert sequences(("ab", "c"), segments=False)[:2] == (["<ab||c|"], ["0000000"])


def test_with_cls_at_the_end_it_has_a_segment_of_its_own():
    assert sequences("ab", "", cls="last")[:2] == (["ab|<", "|<"], ["0002", "02"])
    assert sequences(("ab", "c"), cls="last")[:2] == (["ab|c|<"], ["000112"])
    assert sequences(("ab", "c"), cls="last", segments=False)[:2] == (["ab|c|<"], ["000000"])
    cut, _, found = sequences("abcdefghijklmnop", "x", cls="last")
    assert cut == ["abcdefghij|<", "x|<"] and found.places.tolist() == found.cls.tolist() == [11, 2]
    parts = sequences(("abcdefghijklmnop", "xyz"), cls="last", on_long="window")[0]
    assert all(len(part) <= 12 and part.endswith("|xyz|<") for part in parts)
    assert {letter for part in parts for letter in part} == {*"abcdefghijklmnopxyz|<"}


def test_a_causal_reading_is_one_of_ranks():
    _, _, found = sequences("abc", "x", cls="last", segments=False, causal=True)
    stream = found.batch(np.array([1, 0])).input
    assert stream.visibility == "causal" and stream.positions.tolist() == [0, 1, 2, 0, 1, 2, 3, 4]
    assert (stream.query_rank == stream.positions).all() and (stream.key_rank == stream.positions).all()
    rows, at = found.read(np.array([1, 0]))
    assert rows.tolist() == [1, 0] and at.tolist() == [2, 7] and (stream.tokens[at] == 1).all()
    assert sequences("abc")[2].batch(np.array([0])).input.visibility == "full"


def test_the_longer_text_gives_up_its_end_first_as_in_berts_code():
    for a in range(14):
        for b in range(14):
            for room in range(2, 20):
                x, y = a, b
                while x + y > room:
                    x, y = (x - 1, y) if x > y else (x, y - 1)
                assert kept(a, b, room) == (x, y)
    assert sequences(("abcdefgh", "xyz"))[0] == ["<abcdef|xyz|"]


def test_over_long_texts_are_cut_and_counted_windowed_without_a_gap_or_refused():
    text = "abcdefghijklmnopqrstuvwxyz"
    cut = sequences(text, "a")
    assert cut[0] == ["<abcdefghij|", "<a|"] and cut[2].counts | {"tokens": 0} == {
        "texts": 2,
        "tokens": 0,
        "long": 1,
        "cut": 16,
        "windows": 2,
    }
    windows = sequences(text, "a", on_long="window")
    assert (
        set(text) <= set("".join(windows[0]))
        and windows[2].counts["cut"] == 0
        and windows[2].owner.tolist() == [0] * (len(windows[0]) - 1) + [1]
    )
    assert all(len(w) == 12 for w in windows[0][:-1])
    pair = sequences((text, "xyz"), on_long="window")
    assert all(w.endswith("|xyz|") and len(w) == 12 for w in pair[0]) and set(text) <= set("".join(pair[0]))
    with pytest.raises(InputError, match="row 7: 28 tokens, and the model takes 12"):
        sequences(text, on_long="error", where=lambda i: "row 7")


def test_logits_of_windows_are_averaged_by_text():
    found = sequences("abcdefghijklmnopqrstuvwxyz", "a", on_long="window")[2]
    values = np.arange(len(found), dtype=np.float32)[:, None]
    assert found.mean_of_windows(values).ravel().tolist() == [np.mean(range(len(found) - 1)), len(found) - 1]


def test_a_batch_carries_its_sequences_in_the_order_asked_for():
    found = sequences("abc", "d", "ef")[2]
    batch = found.batch(np.array([2, 0]), Asked.once("label", np.array([7, 8, 9])))
    assert "".join(chr(t) for t in batch.input.tokens if t > 2) == "efabc" and batch.input.lengths == (4, 5)
    assert batch.targets["label"].labels.tolist() == [9, 7] and batch.targets["label"].at.ravel().tolist() == [0, 4]
    assert batch.input.positions.tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 4]
    assert [g.tolist() for g in found.by_length(8)] == [[0], [2, 1]]


def test_windows_of_the_tuned_model_agree_with_truncation_where_nothing_is_long(tuned, files):
    a, b = (judged(tuned[0], files / "rows.dev.tsv", on_long=how)[1] for how in ("truncate", "window"))
    assert np.array_equal(a, b)


def test_a_pre_training_run_is_evaluated_on_the_held_out_documents_of_a_store(model, store):
    scores = bertsmith.evaluate(model, data=store)
    lines = [json.loads(line) for line in (model / "metrics.jsonl").read_text().splitlines()]
    logged = lines[-1]["evaluation"]["token"]
    assert scores["token.loss"]["value"] == pytest.approx(logged["loss"], rel=1e-4)
    assert scores["token.accuracy"]["value"] == pytest.approx(logged["accuracy"], abs=1e-3)
    assert scores["token.loss"]["low"] < scores["token.loss"]["value"] < scores["token.loss"]["high"]
    with pytest.raises(InputError, match="data=STORE"):
        bertsmith.evaluate(model)
