"""How a server starts and ends, in processes of their own: exit codes, signals in the midst of work, and what stands in the logs."""

import asyncio
import http.client
import json
import re
import signal
import socket
import threading
import time

import pytest
from tests.serving import JSON, Running

from bertsmith.errors import InputError
from bertsmith.serving.line import Client, Work
from bertsmith.serving.serve import TOKEN, named, token_of

BODY = json.dumps({"texts": ["the for statement is used to iterate over a sequence"] * 40}).encode()


def started(children, *arguments) -> tuple:
    """(the process, its port) once it serves."""
    child = children.start("serve", *arguments, "--port", "0")
    end = time.monotonic() + 60
    while not (found := re.search(r"http://127\.0\.0\.1:(\d+)/", child.out)):
        assert child.running() and time.monotonic() < end, child.err
        time.sleep(0.02)
    return child, int(found.group(1))


def post(port: int, path: str, body: bytes = BODY) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("POST", path, body, JSON)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


class Asking(threading.Thread):
    """Asks on one connection, again and again, and opens another where it was closed, until nobody is there."""

    def __init__(self, port: int):
        super().__init__()
        self.port, self.statuses, self.lost = port, [], 0

    def run(self) -> None:
        connection, fresh = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20), True
        while True:
            try:
                connection.request("POST", "/embed", BODY, JSON)
                response = connection.getresponse()
                content = response.read()
                assert response.status != 200 or len(json.loads(content)["vectors"]) == 40
                self.statuses.append(response.status)
                fresh = connection.sock is None
                time.sleep(0.005 if response.status == 503 else 0)
            except ConnectionRefusedError:
                return
            except (http.client.HTTPException, OSError):
                # One that the system had accepted and the server had not was never taken.
                self.lost += not fresh
                connection.close()
                fresh = True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_under_load_loses_nothing_that_was_taken(children, pretrained, number):
    child, port = started(children, pretrained)
    asking = [Asking(port) for _ in range(16)]
    for one in asking:
        one.start()
    time.sleep(0.7)
    assert child.running()
    child.send(number)
    assert child.wait(20) == 0
    for one in asking:
        one.join(20)
        assert not one.is_alive() and one.lost == 0 and {200} <= {*one.statuses} <= {200, 503}
    assert any(503 in one.statuses for one in asking)
    assert child.err == "" and "ended: every request that was taken is answered" in child.out


def test_what_cannot_be_answered_in_time_is_said(pretrained):
    running, held = Running(pretrained, drain=0.7), threading.Event()
    loop = running.ending.servers[0].get_loop()
    hold = Work(key=1, size=1, part=None, together=lambda parts: [held.wait(20)])
    asyncio.run_coroutine_threadsafe(running.server.line.answered(hold, Client()), loop)
    thread = threading.Thread(target=lambda: running.ask("/embed", {"texts": ["a"]}))
    thread.start()
    while not running.server.line.taken:
        time.sleep(0.01)
    loop.call_soon_threadsafe(running.ending.drain, signal.SIGTERM)
    time.sleep(0.2)
    assert running.ask("/embed", {"texts": ["a"]})[0] == 503 and running.ask("/health")[0] == 503
    running._thread.join(10)
    held.set()
    thread.join()
    assert running.ending.left == 1
    running.close()


def test_a_port_that_is_taken_is_exit_3_and_one_line(children, pretrained):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        child = children.start("serve", pretrained, "--port", str(taken.getsockname()[1]))
        assert child.wait() == 3
        assert child.err.count("\n") == 1 and "--port" in child.err and "in use" in child.err and child.out == ""


def test_logs_hold_nothing_of_a_text_and_a_hangup_loads_again(children, pretrained):
    child, port = started(children, f"one={pretrained}", f"two={pretrained}")
    secret = "swordfish"
    for path, asked in (
        ("/embed", {"texts": [secret]}),
        ("/fill", {"texts": [secret]}),
        ("/embed", {"texts": [secret], secret: 3}),
        ("/embed", {"texts": [secret], "model": secret}),
        (f"/{secret}", {}),
    ):
        post(port, path, json.dumps(asked).encode())
    post(port, "/embed", b"{" + secret.encode())
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(secret.encode() + b"\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400")
    child.send(signal.SIGHUP)
    end = time.monotonic() + 30
    while child.out.count("loaded again") < 2 and time.monotonic() < end:
        time.sleep(0.02)
    assert post(port, "/embed")[0] == 200
    child.send(signal.SIGTERM)
    assert child.wait() == 0
    assert "one: loaded again" in child.out and "two: loaded again" in child.out
    assert secret not in child.out + child.err and child.err == ""


def test_who_listens_to_others_without_a_token_is_told_so(children, pretrained):
    child = children.start("serve", pretrained, "--port", "0", "--host", "0.0.0.0")
    end = time.monotonic() + 60
    while "serving 1 model" not in child.out:
        assert child.running() and time.monotonic() < end
        time.sleep(0.02)
    child.send(signal.SIGTERM)
    assert child.wait() == 0 and "--token FILE" in child.out


def test_names_of_models_are_their_folders_or_as_given(tmp_path):
    assert named([tmp_path / "a", f"b={tmp_path}/a", f"{tmp_path}/c/"]) == {
        "a": tmp_path / "a",
        "b": f"{tmp_path}/a",
        "c": f"{tmp_path}/c/",
    }
    with pytest.raises(InputError, match="two models"):
        named([tmp_path / "a", tmp_path / "b" / "a"])
    with pytest.raises(InputError, match="MODEL is wanted"):
        named([])


def test_a_token_stands_in_a_file_or_in_the_environment_and_cannot_be_guessed(tmp_path, monkeypatch):
    monkeypatch.delenv(TOKEN, raising=False)
    assert token_of(None) is None
    (tmp_path / "token").write_text("correct-horse-battery\n")
    assert token_of(tmp_path / "token") == "correct-horse-battery"
    monkeypatch.setenv(TOKEN, "staple-correct-horse")
    assert token_of(None) == "staple-correct-horse"
    for wrong in ("short", "", "two words of many letters", "naïve-naïve-naïve"):
        (tmp_path / "token").write_text(wrong)
        with pytest.raises(InputError):
            token_of(tmp_path / "token")
    with pytest.raises(InputError, match="No such file"):
        token_of(tmp_path / "none")
