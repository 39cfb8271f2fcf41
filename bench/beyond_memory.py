"""Text beyond memory: a store of 10^9 tokens, how long a run takes to begin on it and what it holds, and what each of 512 processes reads.

    python bench/beyond_memory.py [--tokens 1e9] [--folder /tmp] [--out FILE.json]

The store is the reference of Python that every installation carries, written over and over by the writer of stores, and is removed behind the measurement.  Memory is
what stands in RAM less the pages of the store itself, which the system takes back when it wants them: torch's own is in it.
"""

import argparse
import gc
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from itertools import islice
from pathlib import Path

import numpy as np

from bertsmith import files
from bertsmith.config import override
from bertsmith.data.loader import Composed, Loader, Taken
from bertsmith.data.text import Text
from bertsmith.recipe import find
from bertsmith.text import sections
from bertsmith.text.prepare import prepare
from bertsmith.text.store import Store
from bertsmith.text.writer import SplitWriter, close_store

PROCESSES = 512
BATCH = 1 << 22  # tokens that all of them read in an update
MIB = 1 << 20


def resident(without: str) -> tuple[float, float]:
    """MiB in RAM: (all but the mapped files whose path has `without` in it, those)."""
    own = theirs = 0
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if line.startswith("Rss:"):
            size = int(line.split()[1])
            own, theirs = own + size * (not inside), theirs + size * inside
        elif "-" in line.partition(" ")[0]:
            inside = without in line
    return own / 1024, theirs / 1024


class Watch(threading.Thread):
    """The most that stood in RAM."""

    def __init__(self, without: str, every: float = 0.5):
        super().__init__(daemon=True)
        self.without, self.every, self.most, self.over = without, every, 0.0, False

    def run(self) -> None:
        while not self.over:
            self.most = max(self.most, resident(self.without)[0])
            time.sleep(self.every)

    def end(self) -> float:
        self.over = True
        self.join()
        return max(self.most, resident(self.without)[0])


def seconds() -> float:
    """Of this process's threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def written(folder: Path, tokens: int, say) -> Path:
    """A store of so many tokens, in documents and sentences as that reference has them."""
    from pydoc_data.topics import topics

    (folder / "corpus.txt").write_text("\n\n".join(re.sub(r"\n\s*", "\n", text) for text in topics.values()))
    prepare([str(folder / "corpus.txt")], folder / "seed", tokenizer="wordpiece:4000", lowercase=True, holdout=0)
    seed = Store.open(folder / "seed", verify=False)
    split, out = seed.train, folder / "store"
    ids, starts = split.gather(slice(None)), split.starts(slice(None))
    lengths, ends = np.diff(split.sentences), np.asarray(split.documents[1:])
    with files.partial(out) as partial:
        seed.tokenizer.save(partial)
        writers = [SplitWriter(partial, name, seed.vocab.size) for name in ("train", "held-out")]
        while writers[0].tokens < tokens:
            writers[0].append(ids, starts, lengths, ends)
        writers[1].append(ids, starts, lengths, ends)
        for writer in writers:
            writer.close()
        described = seed.manifest["tokenizer"]
        close_store(
            partial, writers, described, {"options": seed.manifest["options"], "account": {"unknown": {"share": 0}}}
        )
        files.publish(partial, out)
    say(f"store: {writers[0].tokens:,} tokens, {writers[0].sentences:,} sentences, {writers[0].documents:,} documents")
    return out


def started(store: Path, run: Path, member: str) -> dict[str, float]:
    """Seconds from the start of a process to the end of its first update: of the clock; of its main thread, for torch's import and for the rest;
    of other threads (the hashes, the loader).  In another process, which is watched, MiB."""
    found = {}
    for watched in ("", "watched"):
        begun = time.time()
        command = [sys.executable, __file__, "--child", str(store), f"{run}{watched}", member, watched]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stderr)
        made = json.loads(done.stdout.splitlines()[-1])
        names = ("torch_cpu", "rest_cpu", "others_cpu")
        timed = {name: made[name] for name in names} | {"first_update": made["at"] - begun}
        found |= {"resident_mib": made["resident_mib"]} if watched else timed
    return found


def child(store: str, run: str, member: str, watched: str) -> None:
    watch = Watch(store)
    if watched:
        watch.start()
    import torch._dynamo  # which torch's optimisers import

    assert torch
    first = {"torch_cpu": time.thread_time()}
    import bertsmith

    def progress(step: int, *_: object) -> None:
        if step == 1:
            mine = time.thread_time()
            first.update(at=time.time(), rest_cpu=mine - first["torch_cpu"], others_cpu=seconds() - mine)

    small = {"training.batch": 2048, "training.held_out": 2048}
    bertsmith.pretrain(f"{member}:tiny", store, run, steps=3, threads=1, workers=1, set=small, progress=progress)
    print(json.dumps({**first, "resident_mib": watch.end() if watched else None}))


def order(store: Path, member: str) -> dict[str, float]:
    """An epoch's order from its beginning to its end: every token once, and what that took."""
    recipe, opened = find(f"{member}:tiny"), Store.open(store, verify=False)
    gc.collect()
    before, watch, begun = resident(str(store))[0], Watch(str(store)), seconds()
    watch.start()
    text = Text.of(recipe.with_vocab(opened.vocab), opened, 0)
    of, read, sequences, longest = text.sections.count if text.sections else 1, 0, 0, 0.0
    for number in range(of):
        start = seconds()
        epoch = text.epoch(number)
        assert (np.bincount(epoch.order, minlength=len(epoch.lengths)) == 1).all()
        read += epoch.plan.account["used"]
        sequences += len(epoch.order)
        longest = max(longest, seconds() - start)
    assert read == opened.train.count, (read, opened.train.count)
    return {
        "sections": of,
        "sequences": sequences,
        "cpu": seconds() - begun,
        "longest_cpu": longest,
        "mib": watch.end() - before,
    }


def stretch(store: Path, member: str, steps: int) -> dict[str, float]:
    """The loader across the border of two sections, masks and all."""
    recipe, opened = find(f"{member}:tiny"), Store.open(store, verify=False)
    text = Text.of(recipe.with_vocab(opened.vocab), opened, 0)
    epoch = text.epoch(1)
    cursor = (1, epoch.fill(0, int(epoch.tokens[-1]) - recipe.training.batch * steps // 2))
    watch, begun, tokens = Watch(str(store)), seconds(), 0
    before = resident(str(store))[0]
    watch.start()
    for step in islice(Loader(text, cursor=cursor), steps):
        tokens += step.tokens
    used = seconds() - begun
    return {"tokens": tokens, "tokens_per_cpu_second": tokens / used, "mib": watch.end() - before}


def dealing(store: Path, member: str) -> dict[str, float]:
    """One update of 512 processes: what each reads is found by each of them alone, and together they read it once."""
    recipe = override(find(f"{member}:tiny"), {"training.batch": BATCH})
    opened = Store.open(store, verify=False)
    text = Text.of(recipe.with_vocab(opened.vocab), opened, 0)
    loader = Loader(text, world=PROCESSES)
    steps: list[Composed] = list(islice(loader._steps(), 3))
    begun, cursors = seconds(), []
    for composed in steps:
        (taken,) = composed.taken.values()
        assert isinstance(taken, Taken)
        rows = taken.dealt(PROCESSES)
        here = [np.concatenate([index for _, index in row]) for row in rows]
        wanted = np.sort(np.concatenate([epoch.order[at:end] for epoch, at, end in taken.parts]))
        assert len(rows) == PROCESSES and (np.sort(np.concatenate(here)) == wanted).all()
        loads = [int(sum(epoch.lengths[index].sum() for epoch, index in row)) for row in rows]
        assert sum(loads) == taken.tokens
        cursors.append(composed.cursor[""])
    dealt = (seconds() - begun) / len(steps)
    begun, before = seconds(), resident(str(store))[0]
    watch = Watch(str(store))
    watch.start()
    seen = []
    for rank in (0, PROCESSES // 2, PROCESSES - 1):
        step = next(iter(Loader(text, world=PROCESSES, rank=rank)))
        assert step.cursor == cursors[0] and sum(len(batch.input.tokens) for batch in step.batches) > 0
        seen.append((step.counts, step.tokens))
    assert seen[0] == seen[1] == seen[2]
    return {
        "tokens_an_update": seen[0][1],
        "deal_seconds": dealt,
        "emptiest_over_fullest": min(loads) / max(loads),
        "update_of_one_process_cpu": (seconds() - begun) / 3,
        "mib": watch.end() - before,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tokens", type=float, default=1e9)
    parser.add_argument("--folder", default=None)
    parser.add_argument("--out")
    parser.add_argument("--start", action="store_true", help="the first of the measurements alone")
    parser.add_argument("--child", nargs=4)
    arguments = parser.parse_args()
    if arguments.child:
        child(*arguments.child)
        return
    say = lambda line: print(line, flush=True)
    found: dict = {
        "tokens": arguments.tokens,
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
        "section": sections.SECTION,
    }
    with tempfile.TemporaryDirectory(prefix="bertsmith-beyond-", dir=arguments.folder) as name:
        begun = time.time()
        store = written(Path(name), int(arguments.tokens), say)
        say(f"written in {time.time() - begun:.0f} s")
        for member in ("bert", "roberta"):
            found[f"start {member}"] = started(store, Path(name) / f"run-{member}", member)
            say(f"start {member}: {found[f'start {member}']}")
        if arguments.start:
            return
        found["order roberta"] = order(store, "roberta")
        say(f"order roberta: {found['order roberta']}")
        for member in ("bert", "roberta"):
            found[f"stretch {member}"] = stretch(store, member, 64)
            say(f"stretch {member}: {found[f'stretch {member}']}")
        found[f"{PROCESSES} processes"] = dealing(store, "roberta")
        say(f"{PROCESSES} processes: {found[f'{PROCESSES} processes']}")
    if arguments.out:
        Path(arguments.out).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
