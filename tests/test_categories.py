"""One Unicode table for every Python: a store is a function of its text, whichever Python wrote it."""

import hashlib
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from bertsmith.text import categories
from bertsmith.text.words import LETTER, MARK, OTHER, character_starts, classes

SOURCE = Path(__file__).parents[1] / "src"
DIGEST = "6e1a3cf68bfafa48811120dd9d95464fb7535e887131600ce0bb21c3dfd60f4d"
GARAY, TODHRI, NEW_MARK = "\U00010d50\U00010d51", "\U000105c0\U000105c1", "\U00010d69"  # of Unicode 16


def test_letters_newer_than_this_python_are_letters():
    assert categories.unidata_version >= "16"
    assert [classes()[ord(c)] for c in GARAY + TODHRI + NEW_MARK] == [LETTER] * 4 + [MARK]
    assert np.flatnonzero(character_starts(f"{GARAY}{NEW_MARK} {TODHRI}.")).tolist() == [0, 4, 6]


def test_the_table_agrees_with_pythons_where_python_has_one():
    kinds = {"L": LETTER, "M": MARK, "N": LETTER, "P": OTHER, "S": OTHER}
    table, few = classes(), 0
    for point in range(0x3000):  # of letters that everybody has
        kind = unicodedata.category(chr(point))[0]
        few += kind in kinds and table[point] < 5 and table[point] != kinds[kind]
    assert few <= 5  # a character may be reclassified from one version to the next


def test_no_module_that_writes_a_store_asks_pythons_table():
    asking = [
        path for path in (SOURCE / "bertsmith" / "text").rglob("*.py") if "import unicodedata\n" in path.read_text()
    ]
    assert not asking


@pytest.mark.skipif(categories.unidata_version != "18.0.0", reason="written for the tested version of unicodedata2")
def test_the_classes_are_these_for_every_python():
    assert hashlib.sha256(classes().tobytes()).hexdigest() == DIGEST


WRITE = """
import sys
sys.path.insert(0, sys.argv[1])
from bertsmith.text.prepare import prepare
from bertsmith.text.store import Store
prepare([sys.argv[2]], sys.argv[3], tokenizer="wordpiece:300", lowercase=True, holdout=0)
print(Store.open(sys.argv[3]).digest)
"""


def others() -> list[str]:
    found = (shutil.which(f"python3.{minor}") for minor in range(11, 15))
    asked = (
        (path, subprocess.run([path, "-c", "import numpy, tokenizers, unicodedata2"], capture_output=True))
        for path in found
        if path
    )
    return [path for path, done in asked if not done.returncode]


def test_another_python_writes_the_same_bytes(tmp_path):
    pythons = others()
    if not pythons:
        pytest.skip("no other Python here has the libraries")
    text = f"{GARAY}{NEW_MARK} {TODHRI}. Ünïcode हिन्दी 漢字 \U00010d50b x\u0897 "
    (tmp_path / "a.txt").write_text(f"{text}\n\n" * 30, encoding="utf-8")
    seals = set()
    for i, python in enumerate([sys.executable, *pythons]):
        done = subprocess.run(
            [python, "-c", WRITE, SOURCE, tmp_path / "a.txt", tmp_path / str(i)], capture_output=True, text=True
        )
        assert not done.returncode, done.stderr
        seals.add(done.stdout)
    assert len(seals) == 1
