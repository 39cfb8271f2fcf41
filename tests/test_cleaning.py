"""A corpus that is cleaned: what repeats goes once, every byte has its reason, and neither workers nor order nor kind of source matter."""

import importlib.util
import json
import os
import random
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bertsmith import cli
from bertsmith.downstream.verify import verify
from bertsmith.errors import InputError, ResourceError
from bertsmith.text import cleaning as module
from bertsmith.text import seen, tally
from bertsmith.text.account import Options
from bertsmith.text.cleaning import asked, cleaning
from bertsmith.text.corpus import Texts
from bertsmith.text.prepare import prepare
from bertsmith.text.repeated import near, smallest
from bertsmith.text.said import cleaned_said
from bertsmith.text.sentences import split
from bertsmith.text.sources import listed

A = [
    f"The {animal} number {i} sleeps in the old barn."
    for i, animal in enumerate(["fox", "dog", "cat", "hen", "cow", "owl"])
]
B = [
    f"Nobody has ever seen {what} in this valley."
    for what in ["snow", "rain", "hail", "wolves", "bears", "sheep", "trains"]
]
ALL = "c4,duplicates,near-duplicates"
SPANS = "repeated"
needs_language = pytest.mark.skipif(importlib.util.find_spec("py3langid") is None, reason="needs py3langid")


def run(folder, pages, clean=SPANS, **more):
    """(the texts that stay, what was made)."""
    (folder / "pages.jsonl").write_text("".join(json.dumps({"text": page}) + "\n" for page in pages), encoding="utf-8")
    options = {
        "language": None,
        "bad": None,
        "sample": None,
        "sentences": "en",
        "lines": "paragraph",
        "encoding": "utf-8",
    }
    what = asked(clean, **{**options, **more})
    texts = Texts(tuple(listed([str(folder / "pages.jsonl")]).sources), Options())
    with cleaning(what, texts, folder / "out", 1) as made:
        found = ["\n".join(document.paragraphs) for document in made.read()[0]]
    assert not [name for name in os.listdir(folder) if name.startswith(".")]
    return found, made


def sentences(text):
    return [" ".join(sentence.split()) for line in text.split("\n") for sentence in split(line)]


def spans(texts):
    return [tuple(found[i : i + 3]) for found in map(sentences, texts) for i in range(len(found) - 2)]


def balanced(account):
    size, clean = account["bytes"], account["clean"]
    total = lambda unit: clean["kept"][unit] + sum(of[unit] for of in clean["dropped"].values())
    assert size["read"] + size["recoded"] == size["used"] + size["newlines"] + size["markup"] + sum(
        size["dropped"].values()
    )
    assert size["dropped"]["cleaned"] == sum(of["bytes"] for of in clean["dropped"].values())
    return all(clean["read"][unit] == total(unit) + clean["emptied"] * (unit == "pages") for unit in clean["read"])


def test_a_span_of_three_sentences_stays_once_in_the_corpus(tmp_path):
    pages = ["\n".join(A[:4]), "\n".join([B[0], *A[:3], B[1]]), "\n".join([*B[2:4], A[0], A[1], B[4]])]
    found, made = run(tmp_path, pages)
    assert found == [pages[0], "\n".join(B[:2]), pages[2]]  # two of the sentences alone are no span
    assert made.tally.dropped == {"repeated": [0, 3, 3, sum(map(len, A[:3]))]}


def test_case_blanks_and_line_ends_make_no_other_span(tmp_path):
    other = " ".join(A[:3]).upper().replace(" IN ", "  In ")
    assert run(tmp_path, ["\n".join(A), f"{other} {B[0]}"])[0] == ["\n".join(A), B[0]]


def test_within_a_page_the_first_copy_stays_whole(tmp_path):
    assert run(tmp_path, ["\n".join(A[:3] * 2)])[0] == ["\n".join(A[:3])]
    assert run(tmp_path, ["\n".join(A[:1] * 9)])[0] == ["\n".join(A[:1] * 3)]
    assert run(tmp_path, ["\n".join([*A[:4], *A[1:4], B[0]])])[0] == ["\n".join([*A[:4], B[0]])]


def test_what_moves_together_is_looked_at_again(tmp_path):
    """Without A the page reads B0 B1 B2, which stood in the first."""
    pages = ["\n".join(B[:3]), "\n".join(A[:3]), "\n".join([B[0], *A[:3], B[1], B[2], B[3]])]
    assert run(tmp_path, pages)[0] == [*pages[:2], B[3]]


def test_a_page_that_goes_for_another_reason_keeps_no_copy_from_staying(tmp_path):
    """The second page is left with two sentences and goes; so the first copy of its A is the third page's."""
    pages = ["\n".join(B[:3]), "\n".join([*B[:3], A[0], A[1]]), "\n".join([A[0], A[1], A[2]])]
    found, made = run(tmp_path, pages, "repeated,short-pages")
    assert found == [pages[0], pages[2]]
    assert made.tally.account(("repeated", "short-pages"))["dropped"] == {
        "repeated": {"pages": 0, "lines": 3, "parts": 3, "bytes": sum(map(len, B[:3]))},
        "short-pages": {"pages": 1, "lines": 2, "parts": 0, "bytes": len(A[0] + A[1])},
    }


def test_what_is_left_of_a_line_must_pass_its_rules_again(tmp_path):
    pages = ["\n".join(A), " ".join([*A[:3], "He left."]) + "\n" + "\n".join(B[:3])]
    found, made = run(tmp_path, pages, "c4")
    assert found == [pages[0], "\n".join(B[:3])]
    assert made.tally.dropped["short-lines"] == [0, 1, 0, len("He left.")]


def test_the_same_page_goes_as_a_duplicate_and_nearly_the_same_as_near(tmp_path):
    words = random.Random(0).choices([f"word{i}" for i in range(500)], k=300)
    page = " ".join(words) + "."
    close = " ".join([*words[:150], "another", *words[151:]]) + "."
    far = " ".join(word + "s" * (i % 12 == 0) for i, word in enumerate(words)) + "."
    names = ("duplicates", "near-duplicates")
    found, made = run(tmp_path, [page, page.upper(), close, far], ",".join(names))
    assert found == [page, far]
    took = made.tally.account(names)["dropped"]
    assert [took[name]["pages"] for name in names] == [1, 1]
    assert run(tmp_path, [page, close], "duplicates")[0] == [page, close]


def test_a_copy_of_what_a_page_was_is_one_and_so_is_a_copy_of_what_is_left_of_it(tmp_path):
    pages = ["\n".join(A[:3]), "\n".join([*A[:3], B[0]]), B[0], "\n".join([*A[:3], B[0]])]
    found, made = run(tmp_path, pages, "duplicates,repeated")
    assert found == [pages[0], B[0]]
    assert made.tally.dropped["duplicates"][:2] == [2, 5] and made.tally.dropped["repeated"][:2] == [0, 3]


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_permutations_agree_in_the_share_of_runs_that_two_texts_have_in_common(share):
    draw, agreed, band = random.Random(1), [], []
    for _ in range(60):
        one = [f"word{draw.random():.9f}".replace(".", "") for _ in range(400)]
        other = list(one)
        for place in range(2, 398, 5):  # each of these breaks five runs of five words
            if draw.random() > 2 * share / (1 + share):
                other[place] = "another"
        runs = [{tuple(text[i : i + 5]) for i in range(len(text) - 4)} for text in (one, other)]
        true = len(runs[0] & runs[1]) / len(runs[0] | runs[1])
        agreed.append((smallest(" ".join(one)) == smallest(" ".join(other))).mean() - true)
        band.append((near(" ".join(one)) == near(" ".join(other))).any() - (1 - (1 - true**8) ** 16))
    assert abs(np.mean(agreed)) < 0.02 and np.std(agreed) < 0.06
    assert abs(np.mean(band)) < 0.15


JUNK = [
    "Home",
    "Read our privacy policy before you go on.",
    "Enable JavaScript to read this.",
    "It was [1] so[2] in those old days.",
    "var x = 3;",
]
LINES = st.lists(
    st.lists(st.sampled_from(A[:4] + B[:4]), min_size=1, max_size=4).map(" ".join) | st.sampled_from(JUNK), max_size=6
)
PAGES = st.lists(LINES.map("\n".join), min_size=1, max_size=7)
LAWS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@LAWS
@given(pages=PAGES, clean=st.sampled_from(["repeated", "c4", ALL, "near-duplicates"]))
def test_cleaning_what_was_cleaned_changes_nothing_and_counts_add_up(tmp_path, pages, clean):
    pages = [*pages, "\n".join(f"The last page says {i} new things." for i in range(3))]
    found, made = run(tmp_path, pages, clean)
    assert run(tmp_path, found, clean)[0] == found
    account = made.tally.account(tuple(made.tally.dropped))
    lines = [line for page in pages for line in page.split("\n") if line]
    assert account["read"] == {"pages": sum(map(bool, pages)), "lines": len(lines), "bytes": sum(map(len, lines))}
    left = [line for page in found for line in page.split("\n")]
    assert account["kept"] == {"pages": len(found), "lines": len(left), "bytes": sum(map(len, left))}
    for unit in ("pages", "lines", "bytes"):
        gone = sum(of[unit] for of in account["dropped"].values()) + account["emptied"] * (unit == "pages")
        assert account["read"][unit] == account["kept"][unit] + gone
    if clean != "near-duplicates":
        assert len(spans(found)) == len(set(spans(found)))


@LAWS
@given(pages=PAGES, seed=st.integers(0, 9))
def test_order_settles_which_copy_stays_and_nothing_else(tmp_path, pages, seed):
    """Whatever the order, every sentence of the corpus stays somewhere, and every span that is left stands once."""
    pages = [*pages, A[5]]
    shuffled = random.Random(seed).sample(pages, len(pages))
    one, other = run(tmp_path, pages)[0], run(tmp_path, shuffled)[0]
    said = {sentence for page in pages for sentence in sentences(page)} - {""}
    assert {s for page in one for s in sentences(page)} == {s for page in other for s in sentences(page)} == said
    assert run(tmp_path, shuffled, "duplicates")[0] == list(dict.fromkeys(page for page in shuffled if page))


WEB = [
    "\n".join(
        [
            "Home",
            *random.Random(i).sample(A + B, 5),
            f"This page has the number {i} and ends here.",
            *JUNK[: i % 5],
            "Lorem ipsum dolor sit amet now." * (i == 7),
        ]
    )
    for i in range(60)
]


@pytest.fixture
def web(tmp_path):
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "pages.jsonl").write_text("".join(json.dumps({"text": page}) + "\n" for page in WEB))
    return tmp_path / "web" / "pages.jsonl"


OPTIONS = {"tokenizer": "wordpiece:120", "allow_unknown": True, "clean": ALL}


def contents(folder):
    return {name: (folder / name).read_bytes() for name in sorted(os.listdir(folder))}


def test_workers_chunks_and_what_is_kept_in_memory_change_no_byte(tmp_path, web, monkeypatch):
    monkeypatch.setattr(tally, "SAMPLED", 2)
    monkeypatch.setattr(module, "CHUNK", 1000)
    account = prepare(web, tmp_path / "one", clean_sample=tmp_path / "one.jsonl", **OPTIONS)
    prepare(web, tmp_path / "two", clean_sample=tmp_path / "two.jsonl", workers=2, **OPTIONS)
    monkeypatch.setattr(module, "CHUNK", 10**6)
    prepare(web, tmp_path / "disk", clean_sample=tmp_path / "disk.jsonl", hash_memory="2KB", **OPTIONS)
    assert contents(tmp_path / "one") == contents(tmp_path / "two") == contents(tmp_path / "disk")
    assert len({(tmp_path / f"{name}.jsonl").read_bytes() for name in ("one", "two", "disk")}) == 1
    assert balanced(account) and account["clean"]["dropped"]["repeated"]["parts"] > 5
    assert verify(tmp_path / "one")["kind"] == "store"
    assert sorted(os.listdir(tmp_path)) == ["disk", "disk.jsonl", "one", "one.jsonl", "two", "two.jsonl", "web"]


@pytest.mark.parametrize("memory", [100, 100_000])
def test_a_set_on_disk_holds_what_was_added_and_nothing_else(memory, tmp_path, monkeypatch):
    """With few bits and with many."""
    draw = np.random.default_rng(0)
    monkeypatch.setattr(seen, "BLOCK", 16)
    monkeypatch.setattr(seen, "MANY", 48)
    store, true = seen.Seen(tmp_path, most=100, memory=memory), set()
    for _ in range(60):
        some = draw.integers(0, 6000, 70).astype(np.uint64)
        assert store.known(some).tolist() == [h in true for h in some.tolist()]
        store.add(some)
        true |= set(some.tolist())
    assert len(store.runs) < 8 and len(os.listdir(tmp_path)) == len(store.runs)
    rows = [np.concatenate([*run]) for run in store.runs]
    assert {h for row in rows for h in row.tolist()} | store.fresh == true
    assert all((np.diff(row.astype(np.int64)) > 0).all() for row in rows)
    store.close()


def test_a_set_on_disk_takes_the_memory_that_it_is_given(tmp_path):
    draw = np.random.default_rng(0)
    tracemalloc.start()
    try:
        store = seen.Seen(tmp_path, memory=2_000_000)
        for _ in range(300):
            some = draw.integers(0, 2**63, 800).astype(np.uint64)
            store.known(some)
            store.add(some)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) > 1_800_000 and peak < 3_000_000
    store.close()


def test_a_store_of_cleaned_pages_is_the_store_of_the_pages_cleaned(tmp_path, web):
    found, _ = run(tmp_path, WEB, ALL)
    (tmp_path / "clean").mkdir()
    (tmp_path / "clean" / "pages.jsonl").write_text("".join(json.dumps({"text": page}) + "\n" for page in found))
    prepare(web, tmp_path / "one", **OPTIONS)
    prepare(tmp_path / "clean", tmp_path / "two", **{**OPTIONS, "clean": None})
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert one.pop("manifest.json") != two.pop("manifest.json") and one == two


def test_every_kind_of_source_gives_the_same_store(tmp_path, web):
    pages = [page.split("\n") for page in WEB]
    (tmp_path / "text").mkdir()
    for i, page in enumerate(pages):
        (tmp_path / "text" / f"{i:03d}.txt").write_text("\r\n".join(page) + "\r\n")
    (tmp_path / "blank.txt").write_text("\n\n".join(page.strip("\n") for page in WEB))
    found = [
        prepare(web, tmp_path / "one", **OPTIONS),
        prepare(tmp_path / "text", tmp_path / "two", documents="file", **OPTIONS),
        prepare(tmp_path / "blank.txt", tmp_path / "three", **OPTIONS),
    ]
    folders = ["one", "two", "three"]
    if importlib.util.find_spec("pyarrow"):
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.table({"text": WEB}), tmp_path / "pages.parquet")
        found.append(prepare(tmp_path / "pages.parquet", tmp_path / "four", **OPTIONS))
        folders.append("four")
    for account, folder in zip(found, folders, strict=True):
        assert balanced(account) and account["clean"] == found[0]["clean"]
        one, two = contents(tmp_path / "one"), contents(tmp_path / folder)
        assert {k: v for k, v in one.items() if k != "manifest.json"} == {
            k: v for k, v in two.items() if k != "manifest.json"
        }


def test_a_document_above_a_megabyte_is_judged_in_parts_and_stays_one(tmp_path, monkeypatch):
    from bertsmith.text import raw

    monkeypatch.setattr(raw, "BLOCK", 400)
    lines = [f"The sentence number {i} stands in a long document." for i in range(40)]
    lines[20] = "Here stands a brace { in the middle of it."
    (tmp_path / "a.txt").write_text("\n".join(lines) + "\n\n" + "\n".join(A))
    account = prepare(tmp_path / "a.txt", tmp_path / "store", **{**OPTIONS, "clean": "c4", "holdout": 0})
    assert account["documents"] == 2 and balanced(account)
    assert (
        account["clean"]["dropped"]["braces"]["pages"] == 1 and 3 < account["clean"]["dropped"]["braces"]["lines"] < 15
    )


def test_the_sample_names_rule_source_document_and_text(tmp_path, web):
    said = []
    prepare(web, tmp_path / "store", clean_sample=str(tmp_path / "sample.jsonl"), say=said.append, **OPTIONS)
    rows = [json.loads(line) for line in (tmp_path / "sample.jsonl").read_text().splitlines()]
    assert {tuple(row) for row in rows} == {("rule", "source", "document", "text")}
    for rule, text in (
        ("terminal", "Home"),
        ("javascript", JUNK[2]),
        ("policy", JUNK[1]),
        ("lorem-ipsum", "Lorem ipsum dolor sit amet now."),
    ):
        mine = [row for row in rows if row["rule"] == rule]
        assert 0 < len(mine) <= 20 and {"rule": rule, "source": str(web), "text": text}.items() <= mine[0].items()
        assert all(text in WEB[row["document"] - 1] for row in mine)
    assert sum(line.startswith("clean: ") for line in said) > 5
    assert any(
        "C4 asks for a language (clean_language='en') and bad words (bad_words=FILE), too" in line for line in said
    )


def test_the_manifest_says_what_was_asked_and_what_it_took(tmp_path, web):
    (tmp_path / "bad.txt").write_text("number 7\r\nNUMBER 7\n\n")
    account = prepare(web, tmp_path / "store", bad_words=tmp_path / "bad.txt", **OPTIONS)
    manifest = json.loads((tmp_path / "store" / "manifest.json").read_text())
    assert manifest["account"]["clean"] == account["clean"]
    said = manifest["options"]["clean"]
    assert (
        said["bad_words"]["words"] == 1
        and said["rules"][:2] == ["citations", "long-words"]
        and "bad-words" in said["rules"]
    )
    plain = prepare(web, tmp_path / "plain", **{**OPTIONS, "clean": None})
    assert "clean" not in plain and "cleaned" not in plain["bytes"]["dropped"]
    assert "clean" not in json.loads((tmp_path / "plain" / "manifest.json").read_text())["options"]


def test_the_command_takes_the_same_options_and_its_json_is_the_account(tmp_path, web, capsys):
    command = ["prepare", str(web), "--out", str(tmp_path / "store"), "--tokenizer", "wordpiece:120", "--allow-unknown"]
    command += ["--clean", ALL, "--clean-sample", str(tmp_path / "sample.jsonl"), "--json"]
    assert cli.run(command) == 0
    account = json.loads(capsys.readouterr().out)
    lines = account["clean"]["dropped"]["terminal"]["lines"]
    assert balanced(account) and lines == sum(page.split("\n").count("Home") for page in WEB)
    assert cli.run([*command, "--force", "--clean", "c4,near-duplicate"]) == 2
    said = capsys.readouterr()
    assert (
        said.out == ""
        and said.err
        == "bertsmith: error: --clean: 'near-duplicate' is not a rule; did you mean 'near-duplicates' or 'duplicates'?\n"
    )


ENGLISH = "The weather was fine today and we went to the park. Many people were there with their dogs. It was a good day for all of us."
GERMAN = "Das Wetter war heute schön und wir gingen in den Park. Viele Leute waren mit ihren Hunden dort. Es war ein guter Tag für alle."


@needs_language
def test_pages_in_another_language_go(tmp_path):
    pages = [ENGLISH, GERMAN, "12 34. 56 78! 9?"]
    found, made = run(tmp_path, pages, None, language="en")
    assert found == [ENGLISH] and made.tally.dropped["language"][0] == 2
    assert run(tmp_path, pages, None, language="de")[0] == [GERMAN]
    with pytest.raises(InputError, match="clean_language: 'eng' is not a language; did you mean 'en'"):
        run(tmp_path, pages, None, language="eng")


def test_without_the_library_of_languages_its_extra_is_named(tmp_path, monkeypatch):
    from bertsmith.text import spoken

    monkeypatch.setitem(__import__("sys").modules, "py3langid.langid", None)
    spoken._identifier.cache_clear()
    with pytest.raises(InputError, match=r"clean_language: needs py3langid; pip install 'bertsmith\[clean\]'"):
        spoken.spoken("en")
    spoken._identifier.cache_clear()


MISTAKES = {
    "rule": ({"clean": "c4,javascrip"}, "clean: 'javascrip' is not a rule; did you mean 'javascript'?"),
    "list": ({"bad_words": "nothing.txt"}, "bad_words: nothing.txt: cannot be read: No such file or directory"),
    "folder": ({"bad_words": "."}, "bad_words: .: cannot be read: Is a directory"),
    "nothing": (
        {"clean": None, "clean_sample": "x.jsonl"},
        "clean_sample: nothing is cleaned; clean='c4' says what is",
    ),
    "sample": ({"clean_sample": "nowhere/x.jsonl"}, "clean_sample: there is no folder"),
    "source": ({"clean_sample": "SOURCE"}, "is read; name another file"),
    "all": (
        {"clean": "short-pages"},
        "clean: nothing is left of 1 page (short-pages 9 bytes); clean names fewer rules",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line_and_changes_nothing(tmp_path, case):
    options, said = MISTAKES[case]
    (tmp_path / "a.txt").write_text("Too short")
    options = {name: str(tmp_path / "a.txt") if value == "SOURCE" else value for name, value in options.items()}
    with pytest.raises(InputError) as caught:
        prepare(tmp_path / "a.txt", tmp_path / "store", **{**OPTIONS, **options})
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ["a.txt"] and (tmp_path / "a.txt").read_text() == "Too short"


def test_a_full_disk_is_a_resource_error_and_leaves_nothing(tmp_path, web, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    for owner, name in ((module.Lines, "add"), (seen.files, "append")):
        with monkeypatch.context() as patched, pytest.raises(ResourceError, match="No space left"):
            patched.setattr(owner, name, full)
            prepare(web, tmp_path / "store", hash_memory=1600, **OPTIONS)
        assert os.listdir(tmp_path) == ["web"]


def test_what_cleaning_took_is_said_in_nouns_that_agree_with_their_number():
    one = {"pages": 1, "lines": 1, "bytes": 1}
    many = {"pages": 2, "lines": 3, "bytes": 4000}
    dropped = {"terminal": {**one, "parts": 0}, "braces": {**many, "parts": 1}}
    assert list(cleaned_said({"read": many, "kept": one, "emptied": 1, "dropped": dropped}, "")) == [
        "clean: 2 pages, 3 lines, 4,000 bytes read; kept 1 page, 1 line, 1 byte; 1 page has no line left",
        "clean: braces took 2 pages, 3 lines, 1 part, 4,000 bytes",
        "clean: terminal took 1 page, 1 line, 1 byte",
    ]


def test_an_empty_list_of_bad_words_is_said(tmp_path):
    (tmp_path / "bad.txt").write_text("\n \n")
    with pytest.raises(InputError, match=r"bad\.txt: no word; one a line"):
        run(tmp_path, [ENGLISH], None, bad=str(tmp_path / "bad.txt"))
