"""Web archives made here record by record: what is read, what is dropped by which reason, and that every byte is accounted for."""

import bz2
import gzip

import pytest

import bertsmith
from bertsmith.errors import InputError
from bertsmith.text import webarchive
from bertsmith.text.account import Account, Options
from bertsmith.text.corpus import documents
from bertsmith.text.recognise import recognised
from bertsmith.text.sources import listed

pytest.importorskip("resiliparse")

PARAGRAPHS = ["Kœnig Otto wrote the first page of this book.", "The second paragraph goes on for a while, too."]


def record(kind: str, block: bytes, length: object = None, kept: str = "text/plain") -> bytes:
    head = {
        "WARC-Type": kind,
        "WARC-Date": "2026-11-28T00:00:00Z",
        "WARC-Record-ID": "<urn:uuid:00000000-0000-4000-8000-000000000000>",
        "Content-Type": "application/http; msgtype=response" if kind == "response" else kept,
        "Content-Length": len(block) if length is None else length,
    }
    lines = "\r\n".join(f"{name}: {value}" for name, value in head.items() if value != "")
    return f"WARC/1.0\r\n{lines}\r\n\r\n".encode() + block + b"\r\n\r\n"


def html(charset: str = "", inside: str = "") -> str:
    meta = f'<meta charset="{charset}">' if charset else ""
    body = "".join(f"<p>{p}</p>\n" for p in PARAGRAPHS)
    return f"<html><head>{meta}<title>T</title></head><body><nav><a href='/'>Menu</a></nav>{body}{inside}<script>x()</script></body></html>"


def answer(payload: bytes, kind: str = "text/html", status: str = "200 OK", **fields: str) -> bytes:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{lines}\r\n".encode() + payload


def in_chunks(payload: bytes) -> bytes:
    parts = (payload[i : i + 50] for i in range(0, len(payload), 50))
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


WET = (
    record("warcinfo", b"a: b\r\n")
    + record("conversion", "Eins.\n\nZwei: ä.\n".encode())
    + record("conversion", b"Three.\n")
)


def read(path, **options):
    account = Account()
    found = tuple(listed([str(path)]).sources)
    texts = [d.paragraphs for d in documents(found, Options(**options), account)]
    assert account.text + account.markup + sum(account.dropped.values()) == account.read + account.recoded
    assert account.markup >= 0
    return texts, account


@pytest.mark.parametrize(
    "name, pack", [("a.warc.wet", bytes), ("a.warc.wet.gz", gzip.compress), ("b", bytes), ("b.bz2", bz2.compress)]
)
def test_the_text_of_converted_pages_is_read_a_document_each(tmp_path, name, pack):
    (tmp_path / name).write_bytes(pack(WET))
    texts, account = read(tmp_path / name)
    assert texts == [["Eins.", "Zwei: ä."], ["Three."]]
    assert account.read == len(WET)
    assert account.dropped["other_record"] == len(b"a: b\r\n") and account.records == 2


def test_each_record_may_be_a_stream_of_its_own(tmp_path):
    parts = [record("conversion", f"Text {i}.\n".encode()) for i in range(50)]
    (tmp_path / "a.wet.gz").write_bytes(b"".join(map(gzip.compress, parts)))
    assert read(tmp_path / "a.wet.gz")[0] == [[f"Text {i}."] for i in range(50)]


@pytest.mark.parametrize(
    "block",
    [
        answer(html().encode()),
        answer(html("utf-8").encode(), kind="text/html; charset=utf-8"),
        answer(html("windows-1252").encode("cp1252")),
        answer(html().encode("cp1252"), kind="text/html; charset=iso-8859-1"),
        answer(html().encode("utf-16"), kind="text/html; charset=utf-16"),
        answer(html().encode(), kind="application/xhtml+xml"),
        answer(gzip.compress(html().encode()), Content_Encoding="gzip"),
        answer(in_chunks(html().encode()), Transfer_Encoding="chunked"),
    ],
    ids=["utf-8", "named", "meta", "latin-1 of the web", "utf-16", "xhtml", "gzip", "chunked"],
)
def test_the_main_text_of_a_page_is_read_whatever_it_was_sent_in(tmp_path, block):
    (tmp_path / "a.warc").write_bytes(record("request", b"GET /") + record("response", block))
    texts, account = read(tmp_path / "a.warc")
    assert texts == [PARAGRAPHS]
    assert account.dropped["other_record"] == 5


@pytest.mark.parametrize(
    "block, reason",
    [
        (answer(b"%PDF-1.4", kind="application/pdf"), "no_page"),
        (answer(html().encode(), status="404 Not Found"), "no_page"),
        (b"no answer at all", "no_page"),
        (answer(gzip.compress(html().encode(), mtime=0)[:30], Content_Encoding="gzip"), "unreadable_page"),
        (answer(b"\xff" * 40, Content_Encoding="br"), "unreadable_page"),
        (answer(b"<p>\xff\xfe broken \xe4</p>", kind="text/html; charset=utf-8"), "bad_encoding"),
    ],
)
def test_an_answer_without_a_readable_page_is_dropped_by_its_reason(tmp_path, block, reason):
    (tmp_path / "a.warc").write_bytes(record("response", block) + record("conversion", b"After it.\n"))
    texts, account = read(tmp_path / "a.warc")
    assert texts == [["After it."]]
    assert account.dropped[reason] == len(block)
    assert sum(account.dropped.values()) == len(block)


def test_a_page_that_unpacks_without_end_is_dropped(tmp_path, monkeypatch):
    monkeypatch.setattr(webarchive, "LONGEST_RECORD", 1 << 16)
    block = answer(gzip.compress(b"<p>" + b"x " * (1 << 17)), Content_Encoding="gzip")
    (tmp_path / "a.warc").write_bytes(record("response", block))
    assert read(tmp_path / "a.warc")[1].dropped["unreadable_page"] == len(block)


GOOD = record("conversion", b"Good.\n")
DAMAGE = {
    "garbage": (b"garbage\r\nmore of it\r\n\r\n", "record 2: no head of a record"),
    "cut head": (record("conversion", b"Lost.\n")[:40] + b"\r\n", "record 2: "),
    "too long": (record("conversion", b"Lost.\n", length=5000), "record 2: cut short: "),
    "too short": (record("conversion", b"Lost, all of it.\n", length=4), "record 2: does not end where"),
    "no length": (record("conversion", b"Lost.\n", length=""), "record 2: Content-Length: '' is not a number"),
    "negative": (record("conversion", b"Lost.\n", length=-4), "record 2: Content-Length: '-4' is not a number"),
    "endless": (record("conversion", b"Lost.\n", length=10**14), "record 2: a record of 100,000,000,000,000 bytes"),
    "no number": (record("conversion", b"Lost.\n", length="9" * 40), "record 2: Content-Length: '999"),
}


@pytest.mark.parametrize("case", DAMAGE)
@pytest.mark.parametrize("block", [1 << 20, 7])
def test_a_damaged_record_is_named_or_skipped_up_to_the_next_one(tmp_path, monkeypatch, case, block):
    damage, said = DAMAGE[case]
    monkeypatch.setattr(webarchive.raw, "BLOCK", block)
    (tmp_path / "a.warc").write_bytes(GOOD + damage + GOOD)
    with pytest.raises(InputError, match=said):
        read(tmp_path / "a.warc")
    texts, account = read(tmp_path / "a.warc", on_bad_line="skip")
    assert texts == [["Good."], ["Good."]] and account.bad_lines == 1
    assert 0 < account.dropped["bad_record"] <= len(damage)


def test_a_file_that_ends_within_a_record_is_named(tmp_path):
    (tmp_path / "a.warc").write_bytes(GOOD + GOOD[:-8])
    with pytest.raises(InputError, match=r"a\.warc: record 2: cut short: 2 bytes of 6"):
        read(tmp_path / "a.warc")


def test_a_store_of_an_archive_has_an_account_of_all_of_it(tmp_path):
    data = WET + record("response", answer(html().encode())) + record("response", answer(b"x", kind="image/png"))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.warc.gz").write_bytes(gzip.compress(data))
    account = bertsmith.prepare([str(tmp_path / "in")], tmp_path / "store", tokenizer="char", holdout=0)
    of = account["bytes"]
    assert account["documents"] == 3
    assert of["used"] + of["newlines"] + of["markup"] + sum(of["dropped"].values()) == of["read"] + of["recoded"]
    assert of["read"] == len(data) and of["dropped"]["no_page"] == len(answer(b"x", kind="image/png"))


@pytest.mark.parametrize("name", ["dump.xml", "dump.xml.bz2", "dump"])
def test_a_raw_dump_of_a_wiki_is_refused_with_what_makes_text_of_it(tmp_path, name):
    dump = b'<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/">\n  <siteinfo>\n'
    (tmp_path / name).write_bytes(bz2.compress(dump) if name.endswith("bz2") else dump)
    with pytest.raises(InputError, match="a MediaWiki dump; `python -m wikiextractor"):
        listed([str(tmp_path / name)])


def test_an_archive_is_known_by_its_first_line(tmp_path):
    (tmp_path / "a.txt").write_bytes(WET)
    assert recognised(str(tmp_path / "a.txt")).kind == "warc"
    (tmp_path / "b.txt").write_bytes(b"WARC is a format.\n")
    assert recognised(str(tmp_path / "b.txt")).kind == "txt"
