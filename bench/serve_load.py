"""A server under load for minutes: every answer that of `predict`, none lost, memory flat; and a SIGTERM in the midst of it.

    python bench/serve_load.py CLASSIFIER --texts FILE.tsv [--minutes 5] [--clients 64]

The answers of up to 1,000 texts are `predict`'s to 1e-5.  One line of JSON; exit 1 where anything is wrong: an error, a lost request, an
answer that differs, or memory that grows by more than 2 MB after the first fifth of at least two minutes (less does not tell a leak from a heap
that settles).
"""

import argparse
import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
from load import load, request
from serve import texts_of

import bertsmith

EVERY = 2.0  # seconds between two looks at the process
WARM = 10  # seconds of load before anything is measured: the heap settles in some hundred passes
GROWTH = 2.0  # MB that it may grow while it is looked at, beyond the noise of the fit


class Watch(threading.Thread):
    """Resident memory in MB and open files of a process, now and then."""

    def __init__(self, process: int):
        super().__init__(daemon=True)
        self.process, self.rows, self.going = process, [], True

    def run(self) -> None:
        begin = time.monotonic()
        while self.going:
            pages = int(Path(f"/proc/{self.process}/statm").read_text().split()[1])
            opened = len(os.listdir(f"/proc/{self.process}/fd"))
            self.rows.append((time.monotonic() - begin, pages * os.sysconf("SC_PAGE_SIZE") / 1e6, opened))
            time.sleep(EVERY)

    def slope(self) -> tuple[float, float]:
        """(MB an hour, twice its standard error), after the first fifth."""
        seconds, size, _ = np.array(self.rows[len(self.rows) // 5 :]).T
        hours = seconds / 3600
        slope, start = np.polyfit(hours, size, 1)
        left = size - slope * hours - start
        error = (left.var() / max(((hours - hours.mean()) ** 2).sum(), 1e-12)) ** 0.5
        return float(slope), float(2 * error)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("model")
    arguments.add_argument("--texts", type=Path, required=True)
    arguments.add_argument("--minutes", type=float, default=5)
    arguments.add_argument("--clients", type=int, default=64)
    given = arguments.parse_args()
    texts = texts_of(given.texts)[:1000]
    known = [row["scores"] for row in bertsmith.predict(given.model, texts)]
    asked = [request("/predict", {"texts": [text]}) for text in texts]

    def check(number: int, body: bytes) -> str:
        (said,) = json.loads(body)["answers"]
        apart = max(abs(said["scores"][name] - p) for name, p in known[number].items())
        return "" if apart <= 1e-5 else f"text {number}: {apart}"

    process = subprocess.Popen(
        [sys.executable, "-m", "bertsmith", "serve", given.model, "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    port = next(int(at.group(1)) for line in process.stdout if (at := re.search(r":(\d+)/", line)))
    asyncio.run(load(port, asked, given.clients, WARM))
    watch = Watch(process.pid)
    watch.start()
    found = asyncio.run(load(port, asked, given.clients, 60 * given.minutes, check))
    watch.going = False
    watch.join()

    threading.Timer(2, process.send_signal, [signal.SIGTERM]).start()
    last = asyncio.run(load(port, asked, given.clients, 30, check, until_refused=True))
    code = process.wait(20)
    slope, error = watch.slope()
    opened = [row[2] for row in watch.rows]
    told = {
        "texts": len(texts),
        "clients": given.clients,
        "minutes": given.minutes,
        **found.told(),
        "resident_mb": [round(watch.rows[0][1], 1), round(watch.rows[-1][1], 1)],
        "mb_an_hour": [round(slope, 2), round(error, 2)],
        "open_files": [min(opened), max(opened)],
        "sigterm": {**last.told(), "exit": code},
        "load": os.getloadavg()[0],
    }
    bad = [
        name
        for name, wrong in {
            "statuses": {*found.statuses} != {200} or not {*last.statuses} <= {200, 503},
            "lost": found.lost or last.lost,
            "answers": found.wrong or last.wrong,
            "memory": given.minutes >= 2 and (slope - error) * given.minutes / 60 > GROWTH,
            "exit": code != 0,
        }.items()
        if wrong
    ]
    print(json.dumps({**told, "bad": bad}))
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
