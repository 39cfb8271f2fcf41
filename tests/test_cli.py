"""The command line as its users meet it: exit codes, one error line, JSON and nothing else, help that runs."""

import json
import subprocess
import sys

import pytest

from bertsmith import cli

COMMANDS = "recipes prepare show pretrain fill finetune predict evaluate embed export import verify report".split()


def bertsmith(capsys, *arguments):
    """(exit code, stdout, stderr) of a command run in this process."""
    code = cli.run([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.run([command, "--help"])
    assert ended.value.code == 0
    assert f"example:\n  bertsmith {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["pretrian"],
        ["prepare", "x"],
        ["prepare", "no-such-file.txt", "--out", "store"],
        ["show", "bert:tiny"],
        ["show", "bert:huge", "--data", "store"],
        ["pretrain", "bert:tiny", "--data", "no-store", "--out", "run", "--steps", "1"],
        ["pretrain", "bert:tiny", "--data", "no-store", "--out", "run", "--steps", "-1"],
        ["fill", "no-run", "a [MASK]"],
        ["finetune", "no-run", "--task", "classify", "--train", "a", "--dev", "b", "--out", "c"],
        ["finetune", "no-run", "--task", "classify", "--train", "a", "--dev", "b", "--out", "c", "--columns", "text"],
        ["predict", "no-run", "--input", "a", "--out", "b"],
        ["evaluate", "no-run"],
        ["embed", "no-run", "--input", "a", "--out", "b"],
        ["export", "no-run", "--out", "folder"],
        ["export", "no-run", "--out", "folder", "--to", "tf"],
        ["import", "nowhere", "--out", "model"],
        ["import", "nowhere", "--out", "model", "--new-head", "toke"],
        ["pretrain", "bert", "--data", "no-store", "--out", "run", "--steps", "1", "--from", "nowhere"],
        ["verify", "nowhere"],
        ["report", "nowhere", "--out", "r.html"],
        ["recipes", "brt"],
    ],
    ids=" ".join,
)
def test_a_mistake_gets_one_line_exit_2_and_changes_nothing(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = bertsmith(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("bertsmith: error: ") and err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments, says",
    [
        (
            ["prepare", "x", "--tokenizr", "bpe:9"],
            "--tokenizr: no such option; did you mean --tokenizer? see bertsmith prepare --help",
        ),
        (["finetune", "run", "--allow_unknown"], "--allow_unknown: no such option; did you mean --allow-unknown?"),
        (["export", "run", "--forces=1"], "--forces: no such option; did you mean --force?"),
        (
            ["finetune", "run", "--batch-size", "3"],
            "no such option; a field of the configuration is set by --set FIELD=VALUE",
        ),
        (["fill", "run", "x", "--zzz"], "--zzz: no such option; see bertsmith fill --help"),
        (["pretrian", "--out", "x"], "pretrian: no such command; did you mean pretrain? see bertsmith --help"),
        (["show", "bert:tiny", "--data", "s", "--set", "layuot.length=3"], "did you mean 'layout'?"),
    ],
)
def test_a_misspelt_name_comes_back_with_the_nearest(arguments, says, capsys):
    code, _, err = bertsmith(capsys, *arguments)
    assert code == 2 and says in err and err.count("\n") == 1


def test_what_looks_like_an_option_behind_two_dashes_or_in_a_value_is_none(capsys):
    for arguments in (
        ["fill", "no-run", "--", "--odd"],
        ["embed", "no-run", "--layer", "-1", "--input", "a", "--out", "b"],
    ):
        code, _, err = bertsmith(capsys, *arguments)
        assert code == 2 and "no such option" not in err


def test_recipes_lists_every_member_with_its_parameters(capsys):
    code, out, err = bertsmith(capsys, "recipes", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert code == 0 and err == ""
    # Turc et al. 2019, table 1: 4.4, 11.3, 29.1, 41.7 and 110.1 million
    published = {"tiny": 4.4, "mini": 11.3, "small": 29.1, "medium": 41.7, "base": 110.1}
    assert {size: round(rows["bert"]["sizes"][size] / 1e6, 1) for size in published} == published
    assert {"tiny", "mini"} <= rows["roberta"]["sizes"].keys()


def test_the_main_job_from_text_to_scores(capsys, corpus, tmp_path):
    store, run, tuned = tmp_path / "store", tmp_path / "run", tmp_path / "tuned"
    prepare = ["prepare", corpus, "--out", store, "--tokenizer", "bpe:600", "--holdout", "0.05", "--json"]
    code, out, _ = bertsmith(capsys, *prepare)
    assert code == 0 and json.loads(out)["tokens"]
    code, _, err = bertsmith(capsys, *prepare)
    assert code == 2 and "--force" in err

    code, out, _ = bertsmith(capsys, "show", "roberta:tiny", "--data", store, "-n", 3, "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and len(lines) == 4 and lines[-1]["summary"]["examples"] == 3
    code, again, _ = bertsmith(capsys, "show", "roberta:tiny", "--data", store, "-n", 2, "--json")
    assert again.splitlines()[:2] == out.splitlines()[:2]

    small = ["--set", "model.width=32", "--set", "model.hidden=64", "--set", "layout.length=32"]
    pretrain = ["pretrain", "roberta:tiny", "--data", store, "--out", run, *small, "--set", "training.batch=256"]
    code, _, err = bertsmith(capsys, *pretrain)
    assert code == 2 and "--steps" in err and "--minutes" in err and not run.exists()
    code, out, _ = bertsmith(capsys, *pretrain, "--steps", 4, "--threads", 1, "--json")
    assert code == 0 and json.loads(out)["steps"] == 4
    assert bertsmith(capsys, *pretrain, "--steps", 4)[0] == 2
    assert bertsmith(capsys, *pretrain, "--steps", 4, "--resume")[0] == 0
    assert bertsmith(capsys, "verify", run)[0] == bertsmith(capsys, "verify", store)[0] == 0
    code, out, _ = bertsmith(capsys, "evaluate", run, "--data", store, "--json")
    assert code == 0 and set(json.loads(out)["token.loss"]) == {"value", "low", "high"}

    code, out, _ = bertsmith(capsys, "fill", run, "the [MASK] of a [MASK]", "--top", 2, "--json")
    assert code == 0 and [len(mask["top"]) for mask in json.loads(out)["masks"]] == [2, 2]

    rows = [{"text": f"{word} statement {i}", "label": word} for i in range(8) for word in ("while", "for")]
    for name in ("train", "dev"):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps({**row, "text": f"{row['text']} {name}"}) + "\n" for row in rows))
    files = ["--train", tmp_path / "train.jsonl", "--dev", tmp_path / "dev.jsonl"]
    code, out, _ = bertsmith(
        capsys, "finetune", run, "--task", "classify", *files, "--out", tuned, "--set", "epochs=1", "--json"
    )
    assert code == 0 and json.loads(out)
    code, out, _ = bertsmith(capsys, "evaluate", tuned, "--input", tmp_path / "dev.jsonl", "--json")
    assert code == 0 and 0 <= json.loads(out)["accuracy"]["value"] <= 1
    code, *_ = bertsmith(capsys, "predict", tuned, "--input", tmp_path / "dev.jsonl", "--out", tmp_path / "p.jsonl")
    assert code == 0 and len((tmp_path / "p.jsonl").read_text().splitlines()) == 16
    code, out, _ = bertsmith(
        capsys, "embed", tuned, "--input", tmp_path / "dev.jsonl", "--out", tmp_path / "vectors", "--json"
    )
    assert code == 0 and json.loads(out)["rows"] == 16
    code, *_ = bertsmith(capsys, "report", run, tuned, "--out", tmp_path / "report.html")
    assert code == 0 and (tmp_path / "report.html").stat().st_size > 10_000

    weights = next((run / "steps").glob("*/model.safetensors"))
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    code, _, err = bertsmith(capsys, "verify", run)
    assert code == 2 and "model.safetensors" in err


def test_help_is_quick_because_it_loads_no_torch():
    probe = "import sys; from bertsmith import cli; cli.parser().format_help(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0


def test_a_command_that_is_terminated_leaves_nothing_half_written(capsys, monkeypatch, tmp_path):
    import os
    import signal
    import time

    import bertsmith as package
    from bertsmith import files

    def half(*arguments, **options):
        with files.partial(tmp_path / "out") as folder:
            (folder / "half").write_text("written")
            assert os.listdir(tmp_path)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)

    monkeypatch.setattr(package, "compress", half)
    found = bertsmith(capsys, "compress", "m", "--method", "int8", "--out", tmp_path / "out")
    assert found == (143, "", "bertsmith: error: terminated\n")
    assert os.listdir(tmp_path) == [] and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
