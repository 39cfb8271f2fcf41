"""What stands round the code: completion in shells, the site of the guides, types for those who import us."""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import bertsmith
from bertsmith import cli

ROOT = Path(__file__).resolve().parents[1]
# A shell asks the function that `complete` has named, with the words so far.
ASK = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
$(complete -p bertsmith | sed 's/.*-F \\([^ ]*\\).*/\\1/')
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    said = subprocess.run(
        [sys.executable, "-m", "bertsmith", "completion", "bash"], capture_output=True, text=True, check=True
    )
    path = tmp_path_factory.mktemp("shell") / "bertsmith.bash"
    path.write_text(said.stdout, encoding="utf-8")
    return path


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not here")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["pret"], {"pretrain"}),
        (["pretrain", "bert:t"], {"bert:tiny"}),
        (["pretrain", "bert:tiny", "--st"], {"--steps"}),
        (["pretrain", "bert:tiny", "--shard", ""], {"ddp", "fsdp"}),
        (["finetune", "run", "--task", "cl"], {"classify"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bash_completes_commands_recipes_options_and_values(script, words, offered):
    asked = ["bash", "-c", ASK, "ask", str(script), "bertsmith", *words]
    said = subprocess.run(asked, capture_output=True, text=True, check=True)
    assert set(said.stdout.split()) == offered


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not here")
def test_bash_completes_files_where_an_option_takes_one(script, tmp_path):
    (tmp_path / "store").mkdir()
    asked = ["bash", "-c", ASK, "ask", str(script), "bertsmith", "pretrain", "bert:tiny", "--data", "st"]
    said = subprocess.run(asked, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert said.stdout.split() == ["store"]


@pytest.mark.parametrize("shell", ["zsh", "fish", "tcsh"])
def test_other_shells_get_a_script_that_names_every_command(shell, capsys):
    assert cli.run(["completion", shell]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in ("pretrain", "finetune", "export"))


def test_types_are_told_to_whoever_imports_us():
    assert (Path(bertsmith.__file__).parent / "py.typed").is_file()


@pytest.mark.skipif(not importlib.util.find_spec("mkdocs"), reason="mkdocs is not here (the extra docs)")
def test_the_site_is_built_and_no_link_of_it_leads_nowhere(tmp_path):
    """mkdocs' strict mode ends with an error for a link or an anchor that leads nowhere, and for a verb that is not found."""
    build = [sys.executable, "-m", "mkdocs", "build", "-q", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    api = (tmp_path / "site" / "api.html").read_text(encoding="utf-8")
    told = set(re.findall(r' id="([^"]+)"', api))
    assert not [name for name, module in bertsmith._VERBS.items() if not told & {f"{module}.{name}", name}]
    assert not any('src="https://' in page.read_text(encoding="utf-8") for page in (tmp_path / "site").glob("*.html"))
