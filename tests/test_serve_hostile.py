"""Requests of those who mean harm (the catalogue's 96 to 113): each is answered as it is written, and the next one as if it had not been."""

import gzip
import json
import socket
import threading
import time

import pytest
from tests.serving import Running, head, heard

import bertsmith

pytestmark = pytest.mark.usefixtures("one_thread")
BYTES, CHARACTERS = 2_000_000, 200_000


@pytest.fixture(scope="module")
def running(pretrained):
    made = Running(pretrained, slow=2, connections=400)
    made.known = bertsmith.embed(pretrained, ["a probe of the server"])[0].tolist()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def probe(running):
    """After each, a plain request has its answer, to the last digits, and no more is taken than was."""
    yield
    status, said, _ = running.ask("/embed", {"texts": ["a probe of the server"]})
    assert status == 200 and said["vectors"][0] == pytest.approx(running.known, abs=1e-5)
    end = time.monotonic() + 2
    while running.server.line.taken and time.monotonic() < end:
        time.sleep(0.005)
    assert running.server.line.taken == 0


def refused(running, content: bytes, **headers) -> tuple[int, str]:
    return running.field("/embed", content, **headers)


def test_an_empty_body(running):
    assert refused(running, b"") == (400, "body")
    assert refused(running, b"  \n") == (400, "body")


@pytest.mark.parametrize(
    "content", [b"{", b"nothing", b"{'texts': ['a']}", b'{"texts": ["a"],}', b"\x00", b'{"texts": NaN}']
)
def test_what_is_not_json(running, content):
    assert refused(running, content) == (400, "body")


@pytest.mark.parametrize("content", [b"[]", b"3", b'"texts"', b"null", b"true"])
def test_json_that_is_no_object(running, content):
    assert refused(running, content) == (422, "body")


def test_a_field_of_the_wrong_type(running):
    for value, field in (
        (3, "texts"),
        (None, "texts"),
        ({"a": 1}, "texts"),
        ([["a"]], "texts[0]"),
        ([True], "texts[0]"),
    ):
        assert refused(running, json.dumps({"texts": value}).encode()) == (422, field)
    assert refused(running, b'{"texts": ["a"], "layer": true}') == (422, "layer")
    assert refused(running, b'{"texts": ["a"], "layer": 1e999}') == (400, "body")
    assert refused(running, b'{"texts": ["a"], "texts": ["b"]}') == (400, "texts")
    assert refused(running, b'{"texts": ["a"], "layer": %s}' % (b"9" * 5000)) == (400, "body")


def test_ten_thousand_texts(running):
    assert refused(running, json.dumps({"texts": ["a"] * 10_000}).encode()) == (422, "texts")


def test_a_text_of_almost_two_megabytes(running):
    assert refused(running, json.dumps({"texts": ["a " * 950_000]}).encode()) == (422, "texts")


def test_bodies_at_the_cap_and_beyond_it(running):
    most = json.dumps({"texts": ["a"]}).encode()
    assert running.ask("/embed", most + b" " * (BYTES - len(most)))[0] == 200
    assert refused(running, most + b" " * (BYTES + 1 - len(most))) == (413, "body")
    begin = time.monotonic()
    status, said, _ = running.send(head("/embed", f"Content-Length: {10**12}"))
    assert (status, said["error"]["field"]) == (413, "body") and time.monotonic() - begin < 5
    assert running.send(head("/embed", f"Content-Length: {10**30}"))[0] in (400, 413)


@pytest.mark.parametrize("length", ["-1", "abc", "1e3", "0x10", "+5", "5 5", ""])
def test_lengths_that_are_none(running, length):
    assert running.send(head("/embed", f"Content-Length: {length}"), b'{"a":1}')[0] == 400


def test_two_lengths_and_a_length_beside_chunks(running):
    assert running.send(head("/embed", "Content-Length: 5", "Content-Length: 6"), b"{} {}{")[0] == 400
    status, said, _ = running.send(
        head("/embed", "Content-Length: 5", "Transfer-Encoding: chunked"), b"2\r\n{}\r\n0\r\n\r\n"
    )
    assert status == 400 and said["error"]["field"] in ("", "Content-Length")
    assert running.send(head("/embed", "Transfer-Encoding: gzip, chunked"), b"2\r\n{}\r\n0\r\n\r\n")[0] in (400, 501)


def test_chunks_over_the_cap(running):
    chunk = b"%x\r\n%s\r\n" % (100_000, b" " * 100_000)
    status, said, _ = running.send(head("/embed", "Transfer-Encoding: chunked"), *[chunk] * 21, b"0\r\n\r\n")
    assert (status, said["error"]["field"]) == (413, "body")
    whole = json.dumps({"texts": ["a"]}).encode()
    parts = [b"%x\r\n%s\r\n" % (1, whole[i : i + 1]) for i in range(len(whole))]
    assert running.send(head("/embed", "Transfer-Encoding: chunked"), *parts, b"0\r\n\r\n")[0] == 200
    assert running.send(head("/embed", "Transfer-Encoding: chunked"), b"zz\r\n")[0] == 400


def test_a_bomb_of_gzip(running):
    bomb = gzip.compress(b" " * 50_000_000)
    assert len(bomb) < BYTES / 10
    begin = time.monotonic()
    assert refused(running, bomb, Content_Encoding="gzip") == (413, "body")
    assert time.monotonic() - begin < 2
    assert refused(running, b"not gzip", Content_Encoding="gzip") == (400, "Content-Encoding")
    assert refused(running, gzip.compress(b'{"texts": ["a"]}')[:-12], Content_Encoding="gzip") == (
        400,
        "Content-Encoding",
    )
    assert refused(running, b"{}", Content_Encoding="br") == (415, "Content-Encoding")


def test_bytes_that_are_no_text(running):
    assert refused(running, b'{"texts": ["\xff\xfe"]}') == (400, "body")
    assert refused(running, b'{"texts": ["a\x00b"]}') == (400, "body")  # JSON has no bare control characters
    assert refused(running, b'{"texts": ["\\ud800"]}') == (400, "texts[0]")
    assert refused(running, b'{"\\ud800": 3}') == (400, "body")
    assert running.ask("/embed", b'{"texts": ["\\ud83d\\ude00"]}')[0] == 200
    assert running.ask("/embed", b'{"texts": ["a\\u0000b"]}')[0] == 200


def test_a_depth_of_a_hundred_thousand(running):
    assert refused(running, b"[" * 100_000 + b"]" * 100_000) == (400, "body")
    assert refused(running, b'{"texts":' * 100_000 + b"1" + b"}" * 100_000) == (400, "body")


def test_paths_methods_and_heads_that_are_none(running):
    for path in (
        "/nothing",
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/page/index.html",
        "//evil.example/",
        "/fill/",
    ):
        assert running.ask(path)[0] == 404, path
    assert running.send(head("/nothing", "Content-Length: 0"))[0] == 404
    for method in ("GET", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"):
        assert running.send(head("/embed", "Content-Length: 0", method=method))[0] == 405, method
    assert running.send(head("/" + "a" * 65_536, "Content-Length: 0"))[0] in (414, 431)
    assert running.send(head("/embed", "Content-Length: 0", *(f"X-{i}: a" for i in range(101))))[0] == 431
    assert running.send(b"\x16\x03\x01 hello\r\n\r\n")[0] == 400
    assert running.send(b"GET / HTTP/1.1\r\n\r\n")[0] in (400, 421)  # no Host
    assert running.send(head("/", "Upgrade: websocket", "Connection: Upgrade", method="GET"))[0] == 200


def test_two_hundred_clients_that_send_a_byte_now_and_then(running):
    clients = [running.raw() for _ in range(200)]
    begin, body = time.monotonic(), head("/embed", "Content-Length: 1000")
    try:
        for number, client in enumerate(clients):
            client.sendall(body[:20] if number % 2 else body)
        while time.monotonic() - begin < 4:
            for client in clients:
                try:
                    client.sendall(b"a")
                except OSError:
                    pass
            if time.monotonic() - begin < 1.5:  # while they hold on, others are answered
                assert running.ask("/embed", {"texts": ["a"]})[0] == 200
            time.sleep(0.25)
        statuses = [heard(client)[0] if number % 50 == 0 else 0 for number, client in enumerate(clients)]
        assert {*statuses} <= {0, 408}
        end = time.monotonic() + 5
        while len(running.ending.server_state.connections) > 2 and time.monotonic() < end:
            time.sleep(0.05)
        assert len(running.ending.server_state.connections) <= 2
    finally:
        for client in clients:
            client.close()


def test_a_request_that_never_ends_is_told_so(running):
    begin = time.monotonic()
    status, said, fields = running.send(head("/embed", "Content-Length: 100"), b"{")
    assert status == 408 and "2 s" in said["error"]["message"] and fields["connection"] == "close"
    assert 1.5 < time.monotonic() - begin < 5
    assert running.send(b"POST /embed HT")[0] == 408


def test_half_a_body_and_then_nothing(running):
    for _ in range(20):
        with running.raw() as connection:
            connection.sendall(head("/embed", "Content-Length: 100") + b'{"texts": ["a')
    end = time.monotonic() + 3
    while running.ending.server_state.connections and time.monotonic() < end:
        time.sleep(0.02)
    assert not running.ending.server_state.connections


def test_an_answer_that_nobody_reads(running):
    """A hundred answers of a megabyte and more in all, of which nothing is taken: the connection ends, and nobody waits for it."""
    body = json.dumps({"texts": ["the list " * 4] * 200}).encode()
    with running.raw() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for _ in range(200):
            try:
                connection.sendall(head("/embed", f"Content-Length: {len(body)}") + body)
            except OSError:
                break
            if not running.ending.server_state.connections:
                break
        end = time.monotonic() + 10
        while running.ending.server_state.connections and time.monotonic() < end:
            assert running.ask("/embed", {"texts": ["a"]})[0] == 200
            time.sleep(0.2)
        assert len(running.ending.server_state.connections) <= 1


def test_a_hundred_requests_in_one_go(running):
    body = b'{"texts": ["a"]}'
    one = head("/embed", f"Content-Length: {len(body)}") + body
    with running.raw() as connection:
        connection.sendall(one * 100)
        found = [heard(connection) for _ in range(1)]
        content = b""
        while content.count(b"HTTP/1.1 200") < 99:
            more = connection.recv(1 << 20)
            assert more
            content += more
    assert found[0][0] == 200


def test_pages_of_other_sites(running):
    asked = {"texts": ["a"]}
    assert running.field("/embed", asked, Host="rebound.example") == (421, "Host")
    assert running.field("/embed", asked, Origin="https://rebound.example") == (403, "Origin")
    assert running.send(head("/embed", "Content-Length: 2", host="localhost\r\nHost: evil.example"), b"{}")[0] == 400
    plain = b"POST /embed HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 16\r\n\r\n"
    assert running.send(plain + b'{"texts": ["a"]}')[0] == 415  # what a form of another site could send
    preflight = head(
        "/embed", "Origin: https://rebound.example", "Access-Control-Request-Method: POST", method="OPTIONS"
    )
    status, _, fields = running.send(preflight)
    assert status == 403 and not any(name.startswith("access-control") for name in fields)


def test_texts_in_which_nothing_stands(running):
    for text in ("", "   ", "\n\t\u3000", "😀😀😀", "\u200b\u200d", "e" + "\u0301" * 1000):
        status, said, _ = running.ask("/embed", {"texts": [text]})
        assert status == 200 and len(said["vectors"][0]) == 16, repr(text)
        assert all(value == value for value in said["vectors"][0])
    begin = time.monotonic()
    assert refused(running, json.dumps({"texts": ["e" + "\u0301" * 1_000_000]}, ensure_ascii=False).encode())[0] in (
        413,
        422,
    )
    assert time.monotonic() - begin < 5
    for text in ("", "  ", "😀"):
        assert running.field("/fill", {"texts": [text]}) == (422, "texts[0]")
    assert running.field("/attention", {"text": " "})[0] == 422


def test_all_of_it_at_once(running):
    """Sixteen at a time; every one is answered, and none by another's answer."""
    wrong = []

    def ask(number):
        for turn in range(6):
            kind = (number + turn) % 4
            if kind == 0:
                status = running.ask("/embed", {"texts": [f"text {number} {turn}"]})[0]
                wrong.append(status != 200)
            elif kind == 1:
                wrong.append(refused(running, b"[" * 50_000) != (400, "body"))
            elif kind == 2:
                wrong.append(running.field("/fill", {"texts": ["no mask"]}) != (422, "texts[0]"))
            else:
                wrong.append(running.ask("/nothing")[0] != 404)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wrong) == 96 and not any(wrong)
