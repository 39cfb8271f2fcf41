"""What is served is what the verbs say, whoever shares the pass; a server keeps its limits, its models and its secrets."""

import asyncio
import base64
import gzip
import json
import threading
import time
from itertools import pairwise

import numpy as np
import pytest
from tests.serving import JSON, Running

import bertsmith
from bertsmith.errors import InputError
from bertsmith.serving.limits import limits
from bertsmith.serving.line import Client, Line, Work

pytestmark = pytest.mark.usefixtures("one_thread")
TEXTS = ["a list", "the for statement is used to iterate over a sequence", "else", "names refer to objects " * 3]
MASKED = ["the [MASK] statement", "a [MASK] of [MASK] names", "[MASK]"]


@pytest.fixture(scope="module")
def folders(pretrained, tasks, tmp_path_factory):
    """{name: folder} of a masked model and of fine-tunings of it."""
    made, out = {"bert": pretrained}, tmp_path_factory.mktemp("served")
    for name in ("classify", "pairs", "regress", "tag", "qa"):
        kind, train, dev = tasks[name]
        options = {"seed": 3, "threads": 1, "steps": 4, "set": ("batch=8", "lr=0.01")}
        options |= {"on_long": "window"} if name == "pairs" else {}
        bertsmith.finetune(pretrained, task=kind, train=train, dev=dev, out=out / name, **options)
        made[name] = out / name
    return made


@pytest.fixture(scope="module")
def running(folders):
    made = Running(*(f"{name}={place}" for name, place in folders.items()))
    yield made
    made.close()


def near(said, known) -> bool:
    """Equal but for the last digits of floats."""
    if isinstance(known, dict):
        return said.keys() == known.keys() and all(near(said[key], known[key]) for key in known)
    if isinstance(known, (list, tuple)):
        return len(said) == len(known) and all(map(near, said, known))
    return said == pytest.approx(known, abs=1e-5) if isinstance(known, float) else said == known


def rows(found) -> list[dict]:
    return [{name: value for name, value in row.items() if name != "index"} for row in found]


# -- what is answered -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["classify", "regress"])
def test_predictions_are_those_of_predict(running, folders, name):
    status, said, _ = running.ask("/predict", {"model": name, "texts": TEXTS})
    assert status == 200 and said["model"] == name
    assert near(said["answers"], rows(bertsmith.predict(folders[name], TEXTS)))
    assert (
        running.ask("/predict", {"model": name, "rows": [{"text": text} for text in TEXTS]})[1]["answers"]
        == said["answers"]
    )


def test_pairs_are_rows_with_two_texts(running, folders):
    pairs = [{"text": a, "text2": b} for a, b in pairwise(TEXTS)]
    said = running.ask("/predict", {"model": "pairs", "rows": pairs})[1]
    assert near(said["answers"], rows(bertsmith.predict(folders["pairs"], pairs)))
    assert running.field("/predict", {"model": "pairs", "texts": TEXTS}) == (422, "texts[0]")


def test_tags_and_answers_are_those_of_predict(running, folders):
    said = running.ask("/tag", {"model": "tag", "texts": TEXTS})[1]
    assert near(said["answers"], rows(bertsmith.predict(folders["tag"], TEXTS)))
    split = [text.split() for text in TEXTS]
    said = running.ask("/tag", {"model": "tag", "texts": split})[1]
    assert near(said["answers"], rows(bertsmith.predict(folders["tag"], split)))
    asked = [{"question": "what is it?", "context": text} for text in TEXTS]
    said = running.ask("/answer", {"model": "qa", "questions": asked, "top": 3})[1]
    assert near(said["answers"], rows(bertsmith.predict(folders["qa"], asked, top=3)))
    for row, text in zip(said["answers"], TEXTS):
        assert row["label"] == "" or text[row["start"] : row["end"]] == row["label"]


def test_masks_are_filled_as_fill_fills_them(running, folders):
    said = running.ask("/fill", {"texts": MASKED, "top": 7})[1]
    assert said["model"] == "bert" and near(said["answers"], bertsmith.fill(folders["bert"], MASKED, top=7))


def test_vectors_are_those_of_embed(running, folders):
    for options in ({}, {"pool": "cls"}, {"layer": 0, "normalise": True}, {"dim": 8}):
        said = running.ask("/embed", {"model": "tag", "texts": TEXTS, **options})[1]
        assert np.allclose(said["vectors"], bertsmith.embed(folders["tag"], TEXTS, **options), atol=1e-5)


def test_openai_clients_get_what_they_expect(running, folders):
    known = bertsmith.embed(folders["bert"], TEXTS)
    _, said, _ = running.ask("/v1/embeddings", {"input": TEXTS, "model": "bert"})
    assert said["object"] == "list" and [row["index"] for row in said["data"]] == [0, 1, 2, 3]
    assert np.allclose([row["embedding"] for row in said["data"]], known, atol=1e-5)
    assert said["usage"]["prompt_tokens"] == said["usage"]["total_tokens"] > 0
    asked = {"input": TEXTS[0], "model": "bert", "encoding_format": "base64", "user": "me"}
    packed = running.ask("/v1/embeddings", asked)[1]["data"][0]["embedding"]
    assert np.allclose(np.frombuffer(base64.b64decode(packed), "<f4"), known[0], atol=1e-5)
    assert [row["id"] for row in running.ask("/v1/models")[1]["data"]][:2] == ["bert", "classify"]
    assert running.field("/v1/embeddings", {"input": []}) == (422, "input")
    assert running.field("/v1/embeddings", {"input": "a", "dimensions": 1000}) == (422, "dimensions")


@pytest.fixture(scope="module")
def writing(short, tmp_path_factory):
    """A language model, and one that writes what stands at masks."""
    from tests.runs import small

    out, made = tmp_path_factory.mktemp("writing"), {}
    for name in ("gpt2", "bart"):
        bertsmith.pretrain(small(member=name), short, out / name, steps=1, threads=1)
        made[name] = out / name
    running = Running(*made.values())
    yield running, made
    running.close()


def test_what_is_written_is_what_generate_writes(writing):
    running, folders = writing
    for options in ({"limit": 6}, {"limit": 4, "beam": 3}, {"limit": 6, "sample": True, "seed": 5}):
        known = bertsmith.generate(folders["gpt2"], input=TEXTS, **options)
        asked = [("/generate", {"texts": TEXTS, **options}), ("/generate", {"texts": TEXTS[2:], **options})]
        (_, all_, _), (_, some, _) = at_once(running, asked)
        assert near(all_["answers"], rows(known))
        assert options.get("sample") or near(some["answers"], rows(known)[2:])
    assert running.field("/generate", {"texts": ["a", "the for " * 3000]}) == (422, "texts[1]")
    assert running.field("/generate", {"texts": ["a"], "sample": True, "beam": 2}) == (422, "sample")
    assert running.field("/fill", {"texts": MASKED}) == (409, "model")


def test_masks_are_filled_by_a_decoder_too(writing):
    running, folders = writing
    said = running.ask("/fill", {"model": "bart", "texts": MASKED[:2], "top": 3})[1]
    assert near(said["answers"], bertsmith.fill(folders["bart"], MASKED[:2], top=3))
    assert running.field("/fill", {"model": "bart", "texts": ["none"]})[0] == 422


def test_what_an_answer_leans_on_is_told_token_by_token(running):
    said = running.ask("/predict", {"model": "classify", "texts": TEXTS, "explain": True})[1]
    for row in said["answers"]:
        assert row["tokens"][0]["special"] and all(np.isfinite(token["lean"]) for token in row["tokens"])
    alone = running.ask("/predict", {"model": "classify", "texts": TEXTS[1:2], "explain": True})[1]["answers"][0]
    assert near(alone, said["answers"][1])
    assert running.field("/predict", {"model": "tag", "texts": TEXTS, "explain": True}) == (422, "explain")


def test_attention_of_a_layer_is_that_of_the_verb(running, folders):
    known = bertsmith.attention(folders["bert"], TEXTS[1])["windows"][0]
    said = running.ask("/attention", {"text": TEXTS[1]})[1]["answer"]
    assert said["tokens"] == known["tokens"] and said["layers"] == ["layer 1"] and said["heads"] == 2
    assert np.allclose(said["weights"], known["layers"][0]["weights"], atol=1e-4)
    one = running.ask("/attention", {"text": TEXTS[1], "head": 1})[1]["answer"]
    assert one["weights"] == said["weights"][1:]
    assert running.field("/attention", {"text": TEXTS[1], "layer": 1}) == (422, "layer")
    assert running.field("/attention", {"text": "the for " * 200}) == (422, "text")


def test_neighbours_are_those_of_similar(running, folders):
    known = bertsmith.similar(folders["bert"], "list", top=4)
    assert running.ask("/similar", {"text": "list", "top": 4})[1]["answer"] == dict(known)
    known = bertsmith.similar(folders["bert"], "list", among=TEXTS)
    assert near(running.ask("/similar", {"text": "list", "among": TEXTS})[1]["answer"], dict(known))


def test_over_long_texts_are_told_of(running):
    said = running.ask("/predict", {"model": "classify", "texts": ["short", "the for statement " * 40]})[1]
    assert any("1 of 2 texts" in note and "cut" in note for note in said["notes"])


def test_a_model_that_does_something_else_says_what_it_does(running):
    status, said, _ = running.ask("/fill", {"model": "classify", "texts": MASKED})
    assert (status, said["error"]["field"]) == (409, "model") and "predict" in said["error"]["message"]
    status, said, _ = running.ask("/predict", {"model": "nobody", "texts": TEXTS})
    assert (status, said["error"]["field"]) == (404, "model") and "bert, classify" in said["error"]["message"]


def test_fields_that_are_wrong_are_named(running):
    ask = lambda path, **asked: running.field(path, asked)
    assert ask("/fill", texts=["the [MASK]", "no mask"]) == (422, "texts[1]")
    assert ask("/fill", texts=["the [MASK]"], top=0) == (422, "top")
    assert ask("/fill", texts=["the [MASK]"], tops=3) == (422, "tops")
    assert ask("/fill", texts="the [MASK]") == (422, "texts")
    assert ask("/fill", texts=["a", 3]) == (422, "texts[1]")
    assert ask("/fill") == (422, "texts")
    assert ask("/predict", model="classify", texts=["a"], rows=[{"text": "a"}]) == (422, "texts")
    assert ask("/predict", model="classify", rows=[{"text": "a"}, {"txt": "b"}]) == (422, "rows[1].text")
    assert ask("/predict", model="classify", rows=[{"text": 3}]) == (422, "rows[0].text")
    assert ask("/answer", model="qa", questions=[{"question": "who?"}]) == (422, "questions[0].context")
    assert ask("/embed", texts=["a"], layer=9) == (422, "layer")
    assert ask("/embed", texts=["a"], pool="men") == (422, "pool")
    assert ask("/embed", texts=["a"], dim=1000) == (422, "dim")


def test_nothing_tells_where_a_model_lies(running, folders):
    for asked in ({"texts": ["a"], "layer": 9}, {"texts": ["a"], "prompt": "query"}):
        assert "/" not in json.dumps(running.ask("/embed", asked)[1]).replace("text/", "")
    assert str(folders["bert"].parent) not in json.dumps(running.ask("/health")[1])


def test_health_and_the_schema_say_what_there_is(running):
    status, said, _ = running.ask("/health")
    assert status == 200 and said["status"] == "ready"
    assert {model["name"]: "fill" in model["does"] for model in said["models"]}["bert"]
    assert said["models"][1]["labels"] == ["named", "plain"]
    paths = running.ask("/openapi.json")[1]["paths"]
    assert {"/predict", "/fill", "/embed", "/tag", "/answer", "/generate", "/v1/embeddings"} <= {*paths}


# -- passes that are shared -------------------------------------------------------------------------------------------------------------


def at_once(running, asked: list[tuple[str, dict]]) -> list[dict]:
    """All of them while a pass is held up, so that they wait together."""
    held, found = threading.Event(), [None] * len(asked)
    hold = Work(key=object(), size=1, part=None, together=lambda parts: [held.wait(10)])
    line = running.server.line
    loop = running.ending.servers[0].get_loop()
    asyncio.run_coroutine_threadsafe(line.answered(hold, Client()), loop)

    def ask(i):
        found[i] = running.ask(*asked[i])

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(asked))]
    for thread in threads:
        thread.start()
    until(lambda: len(line._waiting) == len(asked))
    held.set()
    for thread in threads:
        thread.join()
    return found


def until(true, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_requests_that_wait_share_a_pass_and_each_gets_its_own_answer(running, folders):
    texts = [f"{text} {i}" for i in range(8) for text in TEXTS]
    passes = sum(running.server.figures.shared.counts)
    asked = [("/predict", {"model": "classify", "texts": [text]}) for text in texts]
    asked += [
        ("/embed", {"texts": texts[:3]}),
        ("/embed", {"texts": texts[3:5]}),
        ("/embed", {"texts": texts[:1], "pool": "cls"}),
    ]
    found = at_once(running, asked)
    assert [status for status, _, _ in found] == [200] * len(asked)
    # the one that held them up; predictions; vectors of two kinds
    assert sum(running.server.figures.shared.counts) - passes == 4
    known = rows(bertsmith.predict(folders["classify"], texts))
    assert near([said["answers"][0] for _, said, _ in found[:-3]], known)
    assert np.allclose(found[-2][1]["vectors"], bertsmith.embed(folders["bert"], texts[3:5]), atol=1e-5)


def test_what_breaks_a_pass_breaks_it_for_its_own_request_alone(running, monkeypatch):
    from bertsmith.downstream import predict as predicting

    real, secret = predicting.heard, "swordfish"

    def heard(loaded, kind, rows, encoded, values):
        if secret in rows.columns["text"]:
            raise RuntimeError(f"cannot answer {secret}")
        return real(loaded, kind, rows, encoded, values)

    monkeypatch.setattr(predicting, "heard", heard)
    found = at_once(running, [("/predict", {"model": "classify", "texts": [text]}) for text in ("a", secret, "b")])
    assert [status for status, _, _ in found] == [200, 500, 200]
    assert found[1][1]["error"]["field"] == "" and secret not in json.dumps(found[1][1])
    assert any("RuntimeError at" in line for line in running.said) and not any(secret in line for line in running.said)
    assert running.ask("/predict", {"model": "classify", "texts": ["a"]})[0] == 200


def test_a_pass_that_fails_together_is_made_one_by_one():
    def together(parts):
        if "bad" in parts:
            raise ValueError
        return [part.upper() for part in parts]

    from bertsmith.serving.line import _answers

    works = [Work(key=1, size=1, part=part, together=together) for part in ("a", "bad", "b")]
    first, second, third = _answers(works)
    assert (first, third) == ("A", "B") and isinstance(second, ValueError)


# -- limits -----------------------------------------------------------------------------------------------------------------------------


def test_limits_hold_and_name_their_field(folders):
    running = Running(folders["bert"], texts=2, characters=200, tokens=30, masks=2, top=5, bytes=1000, attend=6)
    try:
        assert running.field("/embed", {"texts": ["a", "b", "c"]}) == (422, "texts")
        assert running.field("/embed", {"texts": ["a" * 201]}) == (422, "texts")
        assert running.field("/embed", {"texts": ["a b c d e f g h i j k l m n o p"] * 2}) == (422, "texts")
        assert running.field("/fill", {"texts": ["[MASK] [MASK] [MASK]"]}) == (422, "texts")
        assert running.field("/fill", {"texts": ["[MASK]"], "top": 6}) == (422, "top")
        assert running.field("/embed", {"texts": ["a" * 1000]}) == (413, "body")
        assert running.field("/attention", {"text": "a b c d e f g"}) == (422, "text")
        assert running.ask("/embed", {"texts": ["a", "b"]})[0] == 200
    finally:
        running.close()


def test_limits_that_are_none_are_refused():
    assert limits({"texts": 3}) == limits(["texts=3"]) and limits(["seconds=1.5"]).seconds == 1.5
    for wrong in (["texts=0"], ["text=3"], ["texts=many"], {"texts": True}, ["seconds=nan"], ["texts"]):
        with pytest.raises(InputError, match="limits"):
            limits(wrong)


def test_a_full_queue_is_429_with_a_time_and_goes_on_when_there_is_room(folders):
    running = Running(folders["bert"], queue=3)
    try:
        held = threading.Event()
        hold = Work(key=object(), size=1, part=None, together=lambda parts: [held.wait(20)])
        asyncio.run_coroutine_threadsafe(
            running.server.line.answered(hold, Client()), running.ending.servers[0].get_loop()
        )
        found = []
        ask = lambda: found.append(running.ask("/embed", {"texts": ["a"]})[0])
        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        until(lambda: running.server.line.taken == 3)
        begin = time.monotonic()
        status, said, fields = running.ask("/embed", {"texts": ["a"]})
        assert status == 429 and int(fields["retry-after"]) >= 1 and "3 requests" in said["error"]["message"]
        assert time.monotonic() - begin < 0.5
        held.set()
        for thread in threads:
            thread.join()
        assert found == [200] * 3 and running.ask("/embed", {"texts": ["a"]})[0] == 200
    finally:
        running.close()


def test_who_waits_too_long_is_told_and_no_pass_is_made_for_those_who_went_away(folders):
    running = Running(folders["bert"], seconds=0.3)
    try:
        held = threading.Event()
        hold = Work(key=object(), size=1, part=None, together=lambda parts: [held.wait(20)])
        asyncio.run_coroutine_threadsafe(
            running.server.line.answered(hold, Client()), running.ending.servers[0].get_loop()
        )
        passes = sum(running.server.figures.shared.counts)
        status, said, fields = running.ask("/embed", {"texts": ["a"]})
        assert status == 503 and "0.3 s" in said["error"]["message"] and "retry-after" in fields
        with running.raw() as gone:
            body = b'{"texts": ["b"]}'
            gone.sendall(b"POST /embed HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
            gone.sendall(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
            until(lambda: len(running.server.line._waiting) == 2)
        time.sleep(0.05)
        held.set()
        assert running.ask("/embed", {"texts": ["c"]})[0] == 200
        assert running.server.figures.dropped == 2
        assert sum(running.server.figures.shared.counts) - passes == 2  # the one that was held up, and the last
    finally:
        running.close()


def test_a_closed_line_ends_its_thread():
    from bertsmith.serving.figures import Figures

    line = Line(limits({}), Figures())
    line.close()
    assert not line._thread.is_alive()


# -- who may ask ------------------------------------------------------------------------------------------------------------------------


def test_a_token_is_wanted_for_all_but_what_stands_open(folders):
    running = Running(folders["bert"], token="correct-horse-battery")
    try:
        asked = {"texts": ["a"]}
        status, said, fields = running.ask("/embed", asked)
        assert status == 401 and fields["www-authenticate"] == "Bearer" and "TOKEN" in said["error"]["message"]
        assert running.ask("/embed", asked, Authorization="Bearer wrong-horse-battery")[0] == 401
        assert running.ask("/embed", asked, Authorization="Bearer correct-horse-battery")[0] == 200
        assert running.ask("/metrics")[0] == 401 and running.ask("/")[0] == 200
        assert running.ask("/health")[1] == {"status": "ready"}
        assert "models" in running.ask("/health", Authorization="Bearer correct-horse-battery")[1]
    finally:
        running.close()


def test_hosts_and_origins_of_others_are_refused(folders):
    running = Running(folders["bert"], names=("models.example.org",))
    try:
        ask = lambda host, **fields: running.ask("/embed", {"texts": ["a"]}, Host=host, **fields)[0]
        assert [
            ask(host) for host in ("localhost", "127.0.0.1:80", "[::1]:9", "models.example.org", "LOCALHOST:1")
        ] == [200] * 5
        assert [
            ask(host) for host in ("evil.example", "10.0.0.1", "localhost.evil.example", "", "a b", "127.0.0.1@evil")
        ] == [421] * 6
        assert ask("localhost", Origin="http://localhost") == 200
        assert [ask("localhost", Origin=origin) for origin in ("http://evil.example", "null")] == [403] * 2
        assert "access-control-allow-origin" not in running.ask("/health")[2]
    finally:
        running.close()


# -- models that change -----------------------------------------------------------------------------------------------------------------


def test_a_model_is_loaded_again_without_a_lost_request(folders, short, tmp_path):
    import shutil

    from tests.runs import small

    from bertsmith.training.pretraining import pretrain

    run = tmp_path / "run"
    shutil.copytree(folders["bert"], run)
    running = Running(run, token="correct-horse-battery")
    bearer = {"Authorization": "Bearer correct-horse-battery"}
    stop, statuses = threading.Event(), []

    def keep_asking():
        while not stop.is_set():
            statuses.append(running.ask("/embed", {"texts": TEXTS}, **bearer)[0])

    try:
        before = running.ask("/embed", {"texts": TEXTS}, **bearer)[1]["vectors"]
        threads = [threading.Thread(target=keep_asking) for _ in range(4)]
        for thread in threads:
            thread.start()
        pretrain(small("training.precision=float32"), short, run, steps=8, threads=1, resume=True)
        assert running.ask("/reload", {}, **bearer)[1] == {"reloaded": ["run"], "failed": {}}
        said = running.ask("/embed", {"texts": TEXTS}, **bearer)[1]["vectors"]
        (run / "config.json").write_text("{")
        status, told, _ = running.ask("/reload", {}, **bearer)
        assert status == 200 and "config.json" in told["failed"]["run"] and told["reloaded"] == []
        assert running.ask("/embed", {"texts": TEXTS}, **bearer)[1]["vectors"] == said
        stop.set()
        for thread in threads:
            thread.join()
        assert not np.allclose(said, before, atol=1e-4) and {*statuses} == {200}
    finally:
        stop.set()
        running.close()


def test_reloading_by_http_wants_a_token(running):
    assert running.ask("/reload", {})[0] == 403


# -- figures ----------------------------------------------------------------------------------------------------------------------------


def test_figures_count_and_hold_no_text(running):
    running.ask("/embed", {"texts": ["xylophone"]})
    running.ask("/xylophone")
    status, said, fields = running.ask("/metrics")
    assert status == 200 and fields["content-type"].startswith("text/plain")
    assert 'bertsmith_requests_total{endpoint="/embed",status="200"}' in said
    assert 'bertsmith_requests_total{endpoint="other",status="404"}' in said and "xylophone" not in said
    for line in said.splitlines():
        assert line.startswith("#") or float(line.rpartition(" ")[2]) >= 0


def test_packed_bodies_are_read(running):
    packed = gzip.compress(json.dumps({"texts": TEXTS}).encode())
    status, said, _ = running.ask("/embed", packed, Content_Encoding="gzip")
    assert status == 200 and len(said["vectors"]) == len(TEXTS)
    assert JSON == {"Content-Type": "application/json"}
