"""The report says what runs' folders say, in one file that fetches nothing."""

import json
import re
from pathlib import Path

import pytest

from bertsmith import files
from bertsmith.config import override
from bertsmith.downstream import report_answer, report_compared
from bertsmith.downstream.charts import Chart, Level, Line, Scored, difference, intervals, short, smooth, ticks
from bertsmith.downstream.report import report
from bertsmith.downstream.report_compared import Difference
from bertsmith.downstream.report_runs import seen
from bertsmith.errors import InputError


def pretrained(folder: Path, lr: float = 1e-3, steps: int = 60) -> Path:
    """A run as pretrain leaves it, without its weights."""
    folder.mkdir(parents=True)
    config = {
        "format": 1,
        "kind": "pretrain",
        "recipe": {
            "type": "bertsmith.recipe:Recipe",
            "name": "bert",
            "model": {"layers": 2, "width": 128},
            "schedule": {"lr": lr},
        },
        "data": {"path": str(folder.parent / "no-store"), "digest": "0" * 64},
        "steps": steps,
        "seed": 0,
    }
    (folder / "config.json").write_bytes(files.sealed(config))
    lines = []
    for step in range(1, steps + 1):
        line = {
            "step": step,
            "loss": 8 - step / 20,
            "lr": lr,
            "grad_norm": 1.0,
            "tokens": 1000 * step,
            "terms": {"token": 7 - step / 20, "pair": None},
        }
        lines.append(line | ({"evaluation": {"token": {"loss": 4.25, "accuracy": 0.31}}} if step == steps else {}))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "speed.jsonl").write_text(
        "".join(json.dumps({"step": s, "tokens_per_second": 20000.0 + s}) + "\n" for s in range(1, steps))
    )
    return folder


def tuned(folder: Path, accuracy: float, scratch: bool = False, dev: str = "0" * 64, **more) -> Path:
    pretrained(folder)
    config = {"format": 1, "kind": "finetune", "task": {"kind": "classify", "scratch": scratch}}
    config["data"] = {"dev": {"path": str(folder / "no-dev.tsv"), "rows": 951, "sha256": dev}}
    (folder / "config.json").write_bytes(files.sealed(config))
    scores = {"accuracy": {"value": accuracy, "low": accuracy - 0.02, "high": accuracy + 0.02}}
    result = {"format": 1, "kind": "finetune", "dev": scores, "best": 1, "seed": 0, "chosen_by": "accuracy", **more}
    (folder / "result.json").write_bytes(files.sealed(result))
    return folder


def answer(page: Path) -> str:
    """What the page says first."""
    return re.search(r'<p class="answer">(.*?)</p>', page.read_text())[1].replace("&#34;", '"')


def test_the_page_stands_alone(tmp_path):
    runs = [pretrained(tmp_path / "a"), tuned(tmp_path / "b", 0.8), tuned(tmp_path / "c", 0.6)]
    page = report(runs, tmp_path / "page.html").read_text()
    assert not re.search(r"(src|href)\s*=|@import|url\(|<script|https?://", page)
    assert page.count("<svg") >= 6 and "prefers-color-scheme: dark" in page
    assert "0.8000 [0.7800, 0.8200]" in page and "4.2500 (accuracy 31.0%)" in page


def test_settings_that_differ_stand_apart(tmp_path):
    page = report([pretrained(tmp_path / "a"), pretrained(tmp_path / "b", lr=2e-3)], tmp_path / "page.html").read_text()
    assert "<td>recipe.<wbr>model.<wbr>width</td>" in page, "long names break at their dots alone"
    page = page.replace("<wbr>", "")
    differing = re.findall(r'<tr class="differs"><td>(.*?)</td>', page)
    assert "recipe.schedule.lr" in differing and "recipe.model.width" not in differing
    assert "recipe.model.width" in page


def test_missing_pieces_are_said_in_a_line(tmp_path):
    run = pretrained(tmp_path / "a")
    (run / "metrics.jsonl").unlink()
    (run / "speed.jsonl").unlink()
    said = []
    report([run], tmp_path / "page.html", say=said.append)
    assert any("no metrics yet" in line for line in said) and any("store is not where it was" in line for line in said)


def test_a_line_that_a_killed_process_left_is_passed_over(tmp_path):
    run = pretrained(tmp_path / "a")
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"step": 61, "lo')
    assert "60 of 60" in report([run], tmp_path / "page.html").read_text()


def test_names_are_escaped(tmp_path):
    page = report([pretrained(tmp_path / "<b>&x")], tmp_path / "page.html").read_text()
    assert "<b>" not in page and "&lt;b&gt;&amp;x" in page


@pytest.mark.parametrize("damage", ["absent", "empty", "broken line", "flipped", "no step"])
def test_what_is_not_a_run_is_refused_and_nothing_is_written(tmp_path, damage):
    run = tmp_path / "a"
    if damage == "empty":
        run.mkdir()
    elif damage != "absent":
        pretrained(run)
    if damage == "broken line":
        (run / "metrics.jsonl").write_text('{"step": 1}\n{"step"\n{"step": 3}\n')
    if damage == "no step":
        (run / "metrics.jsonl").write_text('{"loss": 1}\n')
    if damage == "flipped":
        config = (run / "config.json").read_text()
        (run / "config.json").write_text(config.replace('"seed": 0', '"seed": 1'))
    with pytest.raises(InputError) as error:
        report([run], tmp_path / "page.html")
    assert str(run) in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "page.html").exists()


def test_the_page_is_never_written_into_a_run_or_over_a_folder(tmp_path):
    run = pretrained(tmp_path / "a")
    for out in (run / "page.html", tmp_path, tmp_path / "absent" / "page.html"):
        with pytest.raises(InputError):
            report([run], out)


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (4.21, 8.9), (0.0003, 0.002), (-0.01, 0.02), (5, 5), (0, 0), (0, 4_000_000)]
)
def test_ticks_are_round_and_span_the_values(low, high):
    found = ticks(low, high)
    assert found[0] <= low <= high <= found[-1] + 1e-9 and 2 <= len(found) <= 9
    assert all(len(short(value)) <= 7 for value in found)


def test_a_chart_without_points_is_nothing():
    assert Chart(title="t", x="x", y="y", lines=[]).svg() == "" == intervals([])


def test_a_chart_of_one_point_shows_it():
    assert "<circle" in Chart(title="t", x="x", y="y", lines=[Line(name="a", points=[(1, 2)], colour=0)]).svg()


def test_a_level_outside_the_curves_is_inside_the_picture():
    drawn = Chart(
        title="t",
        x="x",
        y="y",
        lines=[Line(name="a", points=[(1, 2), (2, 3)], colour=0)],
        levels=[Level(name="plateau", y=9)],
    ).svg()
    y = float(re.search(r'class="level"[^>]*y1="([\d.]+)"', drawn)[1])
    assert 0 < y < 300


def test_smoothing_keeps_a_constant_and_its_length():
    assert smooth([2.0] * 7, 3) == pytest.approx([2.0] * 7) and smooth([], 3) == []


def test_a_scale_is_its_own_and_logarithmic_where_figures_span_orders_of_magnitude():
    steps = [(x, 1000.0 / x) for x in range(1, 200)]
    wide = Chart(title="t", x="x", y="nats", lines=[Line(name="a", points=steps, colour=0)])
    assert "nats, logarithmic" in wide.svg() and ">1k<" in wide.svg() and ">10<" in wide.svg()
    flat = Chart(
        title="t", x="x", y="nats", lines=[Line(name="a", points=[(x, 5 + x / 1e4) for x, _ in steps], colour=0)]
    )
    assert "logarithmic" not in flat.svg() and ">5.01<" in flat.svg() and ">0<" in flat.svg()  # 0 is of the x axis
    raw = Line(name="a", points=[(1, 5.0), (2, 900.0), (3, 5.1)], colour=0, style="raw")
    held = Line(name="a", points=[(1, 5.0), (3, 5.1)], colour=0, style="held")
    drawn = Chart(title="t", x="x", y="", lines=[raw, held]).svg()
    assert ">900<" not in drawn and max(float(y) for y in re.findall(r",([\d.]+)", drawn)) <= 240


def test_held_out_and_training_losses_are_drawn_apart_and_beyond_six_runs_lines_are_dashed():
    points = [(1, 2.0), (2, 1.0)]
    drawn = Chart(
        title="t", x="x", y="", lines=[Line(name="a", points=points, colour=7, style=s) for s in ("smooth", "held")]
    )
    assert 'class="smooth c1 again"' in drawn.svg() and 'class="held c1 again"' in drawn.svg()
    assert drawn.svg().count("<circle") == 2


def test_a_difference_is_drawn_on_an_axis_with_0_on_it():
    for low in (0.02, -0.3):
        score = {"value": low + 0.1, "low": low, "high": low + 0.2}
        drawn = difference(Scored(name="d", colour=0, score=score))
        x = float(re.search(r'class="zero" x1="([\d.]+)"', drawn)[1])
        assert 0 < x < 420 and drawn.count('class="zero"') == 1
    assert 'class="zero"' not in intervals([Scored(name="d", colour=0, score=score)])


def said(low: float, high: float, fresh: bool) -> str:
    middle = (low + high) / 2
    scores = [{"value": v, "low": v - 0.01, "high": v + 0.01} for v in (0.5 + middle, 0.5)]
    one = Difference(
        measure="accuracy",
        first=("b", scores[0]),
        second=("a", scores[1]),
        difference={"value": middle, "low": low, "high": high},
        rows="951 texts",
        seeds=3,
        fresh=fresh,
    )
    return report_answer.found([], [one])[1][0]


def test_the_first_sentence_says_whether_it_helped_by_how_much_and_how_sure():
    assert said(0.076, 0.128, True) == (
        "Pre-training helped: accuracy 0.602 against 0.500 from fresh weights, "
        "a difference of 0.102 [0.076, 0.128] over 3 seeds and 951 texts."
    )
    assert said(-0.2, -0.1, True).startswith("Pre-training hurt: accuracy 0.350 against 0.500 from fresh weights")
    assert said(-0.1, 0.2, True).startswith(
        "Pre-trained and fresh weights cannot be told apart: accuracy 0.550 against"
    )
    assert said(0.1, 0.2, False).startswith("b is better than a: accuracy 0.650 against 0.500, a difference of 0.150")
    assert said(-0.1, 0.1, False).startswith("b and a cannot be told apart")


def test_runs_are_compared_by_what_they_are_and_not_by_their_names(tmp_path):
    runs = [tuned(tmp_path / "pretrained", 0.6, scratch=True), tuned(tmp_path / "scratch", 0.8)]
    report(runs, tmp_path / "page.html")
    assert answer(tmp_path / "page.html") == (
        "scratch: accuracy 0.800 [0.780, 0.820] against 0.600 [0.580, 0.620] from fresh weights; "
        "how sure the difference is was not worked out: the dev file is not where it was."
    )
    others = [tuned(tmp_path / name, 0.7, dev=name[0] * 64) for name in ("a", "b")]
    assert [len(group) for group in report_answer.groups(seen([*runs, *others]))] == [2, 1, 1]
    best = [tuned(tmp_path / f"run{i}", 0.5 + i / 10) for i in range(3)]
    report(best, tmp_path / "page.html")
    assert answer(tmp_path / "page.html").startswith(
        "run2 has the highest accuracy of 3 fine-tunings on the same dev file."
    )


def test_two_fine_tunings_are_compared_in_pairs_of_rows_over_their_seeds(pretrained_run, tasks, tmp_path):
    from bertsmith.downstream.finetune import finetune

    kind, train, dev = tasks["classify"]
    for name, scratch in (("a", True), ("b", False)):
        finetune(
            pretrained_run,
            task=kind,
            train=train,
            dev=dev,
            out=tmp_path / name,
            scratch=scratch,
            seeds=2,
            epochs=1,
            threads=1,
            set=["batch=16"],
        )
    first, second = seen([tmp_path / "b", tmp_path / "a"])
    one = report_compared.compared(first, second)
    assert one.fresh and one.seeds == 2 and one.rows == f"{first.dev['rows']} texts"
    means = [sum(score["value"] for score in run.values("accuracy")) / 2 for run in (first, second)]
    assert [one.first[1]["value"], one.second[1]["value"]] == pytest.approx(means)
    assert one.difference["value"] == pytest.approx(means[0] - means[1])
    said = []
    page = report([tmp_path / "a", tmp_path / "b"], tmp_path / "page.html", say=said.append)
    assert (
        "fresh weights" in answer(page)
        and answer(page).endswith(f"over 2 seeds and {one.rows}.")
        and answer(page) in said
    )
    assert 'class="zero"' in page.read_text()


@pytest.fixture
def pretrained_run(request):
    return request.getfixturevalue("pretrained")


@pytest.mark.parametrize(
    ("classes", "sentence"),
    [
        (
            {"no": 600, "yes": 351},
            "b learned its task: accuracy 0.800 [0.780, 0.820] over 951 texts; always saying “no” has 0.631.",
        ),
        ({"no": 760, "yes": 191}, "b cannot be told from one answer to all: "),
        ({"no": 900, "yes": 51}, "b is worse than one answer to all: "),
        ({}, "b: accuracy 0.800 [0.780, 0.820] over 951 texts."),
    ],
)
def test_a_lone_fine_tuning_is_held_against_its_commonest_class(tmp_path, classes, sentence):
    rows = {name: {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": n} for name, n in classes.items()}
    run = tuned(tmp_path / "b", 0.8, **({"classes": rows} if rows else {}))
    assert answer(report([run], tmp_path / "page.html")).startswith(sentence)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.1, 0.2, "is better than"), (-0.1, 0.1, "cannot be told from"), (-0.2, -0.1, "is worse than")],
)
def test_a_lone_fine_tuning_is_held_against_a_simple_method_where_the_result_tells(tmp_path, low, high, verdict):
    baseline = {
        "method": "TF-IDF of words, logistic regression (C=1)",
        "dev": {"accuracy": {"value": 0.7, "low": 0.6, "high": 0.8}},
        "difference": {"accuracy": {"value": (low + high) / 2, "low": low, "high": high}},
    }
    run = tuned(tmp_path / "b", 0.8, baseline=baseline, majority={"label": "no", "share": 0.51})
    page = report([run], tmp_path / "page.html")
    assert answer(page).startswith(
        f"b {verdict} the baseline (TF-IDF of words, logistic regression (C=1)): accuracy 0.800 ["
    )
    assert answer(page).endswith(f"that has 0.700, a difference of {(low + high) / 2:.3f} [{low:.3f}, {high:.3f}].")
    assert "always saying “no” has 0.510" in page.read_text()


def test_classes_and_who_is_taken_for_whom_are_shown_where_the_result_tells(tmp_path):
    rows = {name: {"precision": 0.5, "recall": 0.25, "f1": 1 / 3, "support": 10} for name in ("<no>", "yes")}
    confusion = {"labels": ["<no>", "yes"], "counts": [[7, 3], [4, 6]]}
    page = report([tuned(tmp_path / "b", 0.8, classes=rows, confusion=confusion)], tmp_path / "page.html").read_text()
    assert "Classes of b on the dev file" in page and "&lt;no&gt;" in page and ">0.333<" in page
    assert re.findall(r'--share: ([\d.]+)">(\d+)<', page) == [
        ("0.700", "7"),
        ("0.300", "3"),
        ("0.400", "4"),
        ("0.600", "6"),
    ]
    assert '<table class="matrix">' in page
    many = [
        f"class-{i}" for i in range(10)
    ]  # ten of them have the page's width, and their names upright over the columns
    confusion, rows = {"labels": many, "counts": [[1] * 10] * 10}, dict.fromkeys(many, rows["yes"])
    wide = report([tuned(tmp_path / "d", 0.8, classes=rows, confusion=confusion)], tmp_path / "wide.html").read_text()
    assert '<section class="card wide whole">\n<table class="matrix many">' in wide
    assert "Classes of" not in report([tuned(tmp_path / "c", 0.8)], tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("loss", "sentence"),
    [
        (
            4.917,
            "It learned more than word frequencies: its held-out token loss is 4.917 nats after 60 updates, 1.45 below",
        ),
        (6.3, "It is still on the plateau of word frequencies: held-out token loss 6.300 nats"),
        (6.4, "It is still on the plateau of word frequencies"),
        (7.9, "It has not learned word frequencies yet"),
    ],
)
def test_a_lone_pre_training_is_held_against_word_frequencies(tmp_path, loss, sentence):
    (run,) = seen([pretrained(tmp_path / "a")])
    run.metrics[-1]["evaluation"]["token"]["loss"] = loss
    (found,) = report_answer.pretrained([run], {"a": 6.366}, alone=True)
    assert found.startswith(sentence) and "6.366" in found


LANGUAGES = {
    "zh": ("ltr", "北京大学的学生在图书馆里读书，他们很高兴。我们明天去上海看朋友。", "wordpiece:200"),
    "ar": ("rtl", "ذهب الطالب إلى المدرسة في الصباح وقرأ الكتاب مع صديقه. عاد إلى البيت في المساء.", "bpe:400"),
    "ru": ("ltr", "Студент пошёл в школу утром и читал книгу с другом. Вечером он вернулся домой.", "unigram:60"),
}


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_page_is_english_and_its_samples_are_in_the_language_of_the_text(lang, tmp_path):
    from tests.runs import small

    import bertsmith

    side, text, tokenizer = LANGUAGES[lang]
    (tmp_path / "t.txt").write_text("\n\n".join([text * 3] * 40), encoding="utf-8")
    bertsmith.prepare([str(tmp_path / "t.txt")], tmp_path / "store", tokenizer=tokenizer, holdout=0.2)
    recipe = override(small(member="roberta"), ["training.held_out=256"])
    bertsmith.pretrain(recipe, tmp_path / "store", tmp_path / "run", steps=2, threads=1)
    page = report([tmp_path / "run"], tmp_path / "page.html").read_text()
    assert '<html lang="en">' in page and f'<p class="sample" lang="{lang}" dir="{side}">' in page
    shown = re.sub(
        r"<s>.*?</s> <small>.*?</small> | ?<small>.*?</small>|<[^>]+>",
        "",
        " ".join(re.findall(r'<p class="sample".*?</p>', page)),
    )
    assert not {*shown} & {*"Ġ▁"} and "##" not in shown and "[MASK]" not in shown
    if lang == "zh":
        assert "学生在图书馆" in shown and not re.search("[一-鿿] [一-鿿]", shown)


def test_how_a_run_mixes_its_layers_is_drawn_as_bars_as_long_as_its_shares(tmp_path):
    shares = {"0": 0.05, "1": 0.15, "2": 0.5, "3": 0.3}
    run = tuned(tmp_path / "mix", 0.8, layers={"shares": shares, "scale": 1.2345})
    page = report([run, tuned(tmp_path / "plain", 0.7)], tmp_path / "page.html").read_text()
    section = page[page.index("How layers are mixed") :]
    section = section[: section.index("</div>")]
    assert section.count("<figure") == 1 and "multiplied by 1.234" in section
    names = re.findall(r'<text class="name"[^>]*>([^<]*)<', section)
    assert names == ["embedding", "layer 1", "layer 2", "layer 3"]
    wide = [float(width) for width in re.findall(r'<rect class="bar c\d" [^>]*width="([\d.]+)"', section)]
    assert [width / wide[2] for width in wide] == pytest.approx([0.1, 0.3, 1, 0.6], abs=1e-3)
    assert re.findall(r">(0\.\d{3})<", section) == ["0.050", "0.150", "0.500", "0.300"]
    assert "How layers are mixed" not in report([tmp_path / "plain"], tmp_path / "page.html").read_text()
