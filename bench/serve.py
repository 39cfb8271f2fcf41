"""Requests answered, beside a plain pipeline of transformers behind FastAPI: the same model, texts and clients, taking turns.

    python bench/serve.py CLASSIFIER --texts FILE.tsv [--clients 64] [--seconds 8] [--rounds 3] [--threads 2]

CLASSIFIER is a run fine-tuned to `classify` (`make demo` leaves one, and test.tsv), exported for transformers here.  Each server is a
process of its own on the same uvicorn; one text a request, as long as the file has them; answers are compared before anything is timed.
"""

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from load import load, request

PLAIN = """
import sys, torch, transformers, uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

torch.set_num_threads(int(sys.argv[3]))
pipe = transformers.pipeline("text-classification", model=sys.argv[1], top_k=None, device="cpu")
app = FastAPI()

class Asked(BaseModel):
    texts: list[str]

@app.post("/predict")
def predict(asked: Asked):
    return {"answers": pipe(asked.texts, truncation=True)}

print("ready", flush=True)
uvicorn.run(app, port=int(sys.argv[2]), log_level="error", access_log=False)
"""
TURN = "the answers differ: {}: {} and {}"


@contextmanager
def served(command: list[str], port: int) -> Iterator[subprocess.Popen]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        while True:
            line = process.stdout.readline()
            assert line, "the server has ended"
            if line.startswith(("ready", "serving")):
                break
        for _ in range(200):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/openapi.json").read()
                break
            except OSError:
                time.sleep(0.05)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def ask(port: int, text: str) -> dict[str, float]:
    """{class: probability}, whoever says it."""
    body = json.dumps({"texts": [text]}).encode()
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/predict", body, {"Content-Type": "application/json"})
    (said,) = json.loads(urllib.request.urlopen(asked).read())["answers"]
    return said["scores"] if isinstance(said, dict) else {one["label"]: one["score"] for one in said}


def cpu(process: int) -> float:
    """Seconds that it has worked, whatever else the machine did."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def compared(ports: dict[str, int], texts: list[str]) -> float:
    """The largest difference of a probability."""
    most = 0.0
    for text in texts:
        ours, theirs = (ask(port, text) for port in ports.values())
        assert ours.keys() == theirs.keys(), TURN.format(text, ours, theirs)
        most = max(most, *(abs(ours[name] - theirs[name]) for name in ours))
    assert most < 1e-4, most
    return most


def texts_of(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    at = lines[0].split("\t").index("text")
    return [line.split("\t")[at] for line in lines[1:]]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("model")
    arguments.add_argument("--texts", type=Path, required=True)
    arguments.add_argument("--clients", type=int, default=64)
    arguments.add_argument("--seconds", type=float, default=8)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--threads", type=int, default=os.cpu_count())
    arguments.add_argument("--ports", default="8765,8766")
    given = arguments.parse_args()
    ports = dict(zip(("ours", "plain"), map(int, given.ports.split(",")), strict=True))
    texts = texts_of(given.texts)
    requests = [request("/predict", {"texts": [text]}) for text in texts]
    with tempfile.TemporaryDirectory() as folder:
        export = [sys.executable, "-m", "bertsmith", "export", given.model, "--to", "hf", "--out", f"{folder}/hf"]
        subprocess.run(export, check=True, stdout=subprocess.DEVNULL)
        threads = str(given.threads)
        ours = [
            sys.executable,
            "-m",
            "bertsmith",
            "serve",
            given.model,
            "--port",
            str(ports["ours"]),
            "--threads",
            threads,
        ]
        plain = [sys.executable, "-c", PLAIN, f"{folder}/hf", str(ports["plain"]), threads]
        with served(ours, ports["ours"]) as one, served(plain, ports["plain"]) as other:
            process = {"ours": one.pid, "plain": other.pid}
            apart = compared(ports, texts[:50])
            found: dict[str, list[dict[str, Any]]] = {name: [] for name in ports}
            for port in ports.values():
                asyncio.run(load(port, requests, given.clients, 2))  # warm
            for _ in range(given.rounds):
                for name, port in ports.items():
                    before = cpu(process[name])
                    told = asyncio.run(load(port, requests, given.clients, given.seconds)).told()
                    told["cpu_ms"] = round(
                        1000 * (cpu(process[name]) - before) / max(1, sum(told["statuses"].values())), 2
                    )
                    found[name].append(told)
                    print(f"{name:6} {json.dumps(told)}", flush=True)
            alone = {name: asyncio.run(load(port, requests, 1, 3)).told() for name, port in ports.items()}
    middle = {name: statistics.median(row["requests_s"] for row in rows) for name, rows in found.items()}
    cost = {name: statistics.median(row["cpu_ms"] for row in rows) for name, rows in found.items()}
    tail = {name: statistics.median(row["p99_ms"] for row in rows) for name, rows in found.items()}
    about = {"model": Path(given.model).name, "clients": given.clients, "threads": given.threads, "texts": len(texts)}
    about |= {"apart": apart, "load": os.getloadavg()[0], "cores": len(os.sched_getaffinity(0))}
    ratio = {"requests_s": round(middle["ours"] / middle["plain"], 2), "p99_ms": round(tail["plain"] / tail["ours"], 2)}
    ratio["cpu_ms"] = round(cost["plain"] / cost["ours"], 2)
    print(
        json.dumps({**about, "requests_s": middle, "p99_ms": tail, "cpu_ms": cost, "ratio": ratio, "one_client": alone})
    )


if __name__ == "__main__":
    main()
