"""A verb in a notebook and in Python: what is shown, what is printed, and how it is interrupted."""

import json
import os
import signal
import sys
import threading
import types

import pytest
from tests.runs import lines, small

import bertsmith
from bertsmith.console import Console, loss_said
from bertsmith.errors import Interrupted
from bertsmith.face.results import Result
from bertsmith.training.job import Loss
from bertsmith.training.stop import Stop

TRAIN = {"text": ["one two", "three four"] * 5, "label": ["a", "b"] * 5}
DEV = {"text": ["five", "six"], "label": ["a", "b"]}
TUNE = {"task": "classify", "train": TRAIN, "dev": DEV, "epochs": 2, "threads": 1, "allow_unknown": True}


class Place:
    """What IPython's `display(…, display_id=True)` gives."""

    def __init__(self, first):
        self.drawn = [first]

    def update(self, bar):
        self.drawn.append(bar)


@pytest.fixture
def notebook(monkeypatch):
    """A fake IPython with a kernel; the places in which something was displayed."""
    places = []
    ipython, shown = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=object())
    shown.display = lambda bar, display_id: places.append(Place(bar)) or places[-1]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", shown)
    return places


def test_a_notebook_shows_lines_and_a_bar_and_nothing_else_does(short, tmp_path, notebook, capsys, monkeypatch):
    bertsmith.pretrain(small(), short, tmp_path / "a", steps=3, threads=1)
    (place,) = notebook
    assert "3/3" in repr(place.drawn[-1]) and 'value="3" max="3"' in place.drawn[-1]._repr_html_()
    assert "unigram entropy" in capsys.readouterr().out
    bertsmith.pretrain(small(), short, tmp_path / "b", steps=1, threads=1, say=None, progress=None)
    assert len(notebook) == 1 and not capsys.readouterr().out
    monkeypatch.delitem(sys.modules, "IPython")
    bertsmith.pretrain(small(), short, tmp_path / "c", steps=1, threads=1)
    assert len(notebook) == 1 and not capsys.readouterr().out
    bertsmith.pretrain(small(), short, tmp_path / "d", steps=1, threads=1, say=print)
    assert "unigram entropy" in capsys.readouterr().out


def test_ipython_without_a_kernel_is_no_notebook(short, tmp_path, notebook, capsys):
    sys.modules["IPython"].get_ipython = lambda: types.SimpleNamespace()
    bertsmith.plan(small(), short, steps=1, threads=1)
    sys.modules["IPython"].get_ipython = lambda: None
    bertsmith.plan(small(), short, steps=1, threads=1)
    assert not notebook and not capsys.readouterr().out


def test_a_real_kernel_shows_them(short, tmp_path):
    """Where ipykernel and nbclient are installed."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    settings = "{'model.width': 16, 'model.hidden': 32, 'model.heads': 2, 'layout.length': 32, 'training.batch': 256}"
    run = f"bertsmith.pretrain('bert:tiny', {str(short.path)!r}, {str(tmp_path / 'run')!r}, steps=3, set={settings})"
    stop = "import os, signal\ndef stop(step, *_): step == 2 and os.kill(os.getpid(), signal.SIGINT)\n"
    cells = [
        "import bertsmith",
        run,
        "bertsmith.pretrain('bert:tiny', steps='x', data='a', out='b')",
        stop + run.replace("'))", "')").replace("steps=3", "steps=9, progress=stop").replace("/run", "/other"),
        f"bertsmith.load({str(tmp_path / 'run')!r})",
    ]
    page = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(page, timeout=120, allow_errors=True).execute()
    _, done, wrong, stopped, loaded = ("".join(map(json.dumps, cell.outputs)) for cell in page.cells)
    assert "unigram entropy" in done and "<progress" in done and "3/3" in done and "<table>" in done
    assert "steps: 'x' given; a whole number is wanted" in wrong and "File" not in wrong
    assert "step-00000002" in stopped and "InterruptedByKeyboard" in stopped
    assert "bert (layers 2, width 16, heads 2)" in loaded and "<table>" in loaded


def test_a_result_is_its_dict_and_prints_as_a_table():
    plain = {
        "run": "a <b>",
        "steps": 12345,
        "loss": 0.5,
        "evaluation": None,
        "dev": {"f1": {"value": 0.5, "low": 0.25, "high": 0.75}},
        "epochs": [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}],
    }
    result = Result(plain)
    assert result == plain and plain == result and repr(result) == repr(plain)
    assert json.loads(json.dumps(result)) == plain and isinstance(result, dict)
    assert str(result).splitlines() == [
        "run         a <b>",
        "steps       12,345",
        "loss        0.5",
        "evaluation  none",
        "dev.f1      0.5000 [0.2500, 0.7500]",
        "epochs[0]   step 1, loss 2",
        "epochs[1]   step 2, loss 1",
    ]
    assert "a &lt;b&gt;" in result._repr_html_() and result._repr_html_().count("<tr>") == 7
    assert str(Result()) == ""


def test_verbs_give_results(short, pretrained, tmp_path, capsys):
    runs = {
        "pretrain": bertsmith.pretrain(small(), short, tmp_path / "run", steps=1, threads=1),
        "plan": bertsmith.plan(small(), short, steps=1, threads=1),
        "evaluate": bertsmith.evaluate(pretrained, data=short),
        "finetune": bertsmith.finetune(pretrained, out=tmp_path / "tuned", **TUNE),
    }
    for result in runs.values():
        assert isinstance(result, Result) and json.loads(json.dumps(result)) == result
        print(result)
    assert "token.perplexity" in capsys.readouterr().out


def test_a_loaded_model_says_what_it_is(short, pretrained, tmp_path):
    said = repr(bertsmith.load(pretrained))
    found = dict(line.split(maxsplit=1) for line in said.replace("learned from", "from-text").splitlines())
    assert found["member"] == "bert (layers 1, width 16, heads 2)" and found["parameters"] == "19,590"
    assert found["vocabulary"] == "500 tokens; texts of up to 32 tokens"
    assert found["training"].startswith("step 4, ") and str(short.path) in found["from-text"]
    bertsmith.finetune(pretrained, out=tmp_path / "tuned", **TUNE)
    model = bertsmith.load(tmp_path / "tuned")
    result = json.loads((tmp_path / "tuned" / "result.json").read_text())
    for part in (
        "classify: a, b",
        "10 rows given as train",
        str(short.path),
        f"step {result['best']}",
        "dev: accuracy 0.",
    ):
        assert part in repr(model)
    assert model._repr_html_().startswith("<table>") and "classify" in model._repr_html_()
    bertsmith.finetune(pretrained, out=tmp_path / "scratch", scratch=True, **TUNE)
    assert str(short.path) not in repr(bertsmith.load(tmp_path / "scratch"))  # its weights never saw that text
    assert bertsmith.find("bert:mini").name == "bert"


def test_progress_tells_the_terms_of_the_loss(short, tmp_path, capsys):
    told, console = [], Console()

    def progress(step, steps, loss, rate, left):
        told.append(loss)
        console.progress(step, steps, loss, rate, left)

    bertsmith.pretrain(small(), short, tmp_path / "run", steps=2, threads=1, progress=progress)
    assert told == [line["loss"] for line in lines(tmp_path / "run")]
    assert [loss.terms for loss in told] == [line["terms"] for line in lines(tmp_path / "run")]
    assert f"(token {told[1].terms['token']:.4f}, pair {told[1].terms['pair']:.4f})" in capsys.readouterr().out
    assert loss_said(2.5) == loss_said(Loss(2.5, {"token": 2.5})) == "loss 2.5000"


def test_the_training_loss_of_an_epoch_is_the_mean_of_its_updates(pretrained, tmp_path):
    said = []
    result = bertsmith.finetune(pretrained, out=tmp_path / "tuned", **TUNE, set={"batch": 4}, say=said.append)
    losses = [line["loss"] for line in lines(tmp_path / "tuned")]
    assert len(losses) == 6 and len(set(losses)) == 6
    for epoch, part in zip(result["epochs"], (losses[:3], losses[3:]), strict=True):
        assert epoch["training_loss"] == pytest.approx(sum(part) / 3, rel=1e-15)
        assert any(f"training loss {sum(part) / 3:.4f}" in line for line in said)


def test_an_interrupted_epoch_tells_the_same_loss(pretrained, tmp_path):
    options = {**TUNE, "set": {"batch": 4, "checkpoint": 1}}
    said, again = [], []
    whole = bertsmith.finetune(pretrained, out=tmp_path / "whole", **options, say=said.append)
    with pytest.raises(Interrupted):
        bertsmith.finetune(pretrained, out=tmp_path / "broken", **options, progress=interrupt(2))
    resumed = bertsmith.finetune(pretrained, out=tmp_path / "broken", **options, resume=True, say=again.append)
    assert resumed == whole
    assert [line for line in again if "training loss" in line] == [line for line in said if "training loss" in line]


def interrupt(at: int):
    """A progress callback that sends SIGINT after update `at`."""
    return lambda step, *_: os.kill(os.getpid(), signal.SIGINT) if step == at else None


@pytest.mark.parametrize("kind", [KeyboardInterrupt, Interrupted, bertsmith.BertsmithError])
def test_an_interrupt_is_raised_after_saving_and_handlers_are_put_back(kind, short, tmp_path):
    def mine(number, frame):
        raise AssertionError("not while a run is at work")

    before = signal.signal(signal.SIGINT, mine)
    try:
        with pytest.raises(kind, match=r"SIGINT: saved .*step-00000002") as caught:
            bertsmith.pretrain(small(), short, tmp_path / "run", steps=9, threads=1, progress=interrupt(2))
        assert signal.getsignal(signal.SIGINT) is mine
    finally:
        signal.signal(signal.SIGINT, before)
    assert isinstance(caught.value, KeyboardInterrupt) and caught.value.exit_code == 130
    result = bertsmith.pretrain(small(), short, tmp_path / "run", steps=9, threads=1, resume=True)
    assert result["steps"] == 9


def test_another_signal_is_no_keyboard():
    assert not isinstance(Interrupted("ended", signal.SIGTERM), KeyboardInterrupt)
    assert Interrupted("ended", signal.SIGTERM).exit_code == 143


def test_a_run_outside_the_main_thread_installs_no_handler(short, tmp_path):
    found, handlers = [], []

    def work():
        run = tmp_path / "run"
        seen = lambda *_: handlers.append(signal.getsignal(signal.SIGINT))
        found.append(bertsmith.pretrain(small(), short, run, steps=2, threads=1, progress=seen))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found[0]["steps"] == 2 and {*handlers} == {before}


def test_a_second_interrupt_ends_the_call_and_not_the_session(monkeypatch):
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    with pytest.raises(KeyboardInterrupt), Stop() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.asked()
        signal.raise_signal(signal.SIGINT)
