"""What tiny audio-bert learns of spoken digits, and what a linear probe reads off its features: speakers whom neither has heard.

`python experiments/audio_digits.py FOLDER OUT [--steps 1500]`; FOLDER holds DIGIT_SPEAKER_NUMBER.wav (free-spoken-digit-dataset).  Prints
JSON: held-out L1 on blanked frames, of the model, of the utterance's mean and of a line between the neighbours; and the accuracy of the
same logistic regression (scikit-learn) on means (and greatest values) over an utterance of raw log-mels, of normalised ones, which the model
is given, of features of fresh weights, and of pre-trained ones.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

import bertsmith
from bertsmith.audio.mel import LogMel
from bertsmith.audio.sounds import decoded
from bertsmith.audio.store import FrameStore
from bertsmith.downstream.model import load
from bertsmith.training.evaluate import fixed_batches_of

ASIDE = ("theo", "yweweler")  # speakers of whom nothing is learned
RATE, MELS = 8000, 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--member", default="audio-bert:tiny")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    files = sorted(given.folder.glob("*.wav"))
    speaker = np.array([path.name.split("_")[1] for path in files])
    digit = np.array([path.name[0] for path in files])
    test = np.isin(speaker, ASIDE)
    store, run = given.out / "store", given.out / f"run-{given.member.replace(':', '-')}-{given.seed}"
    if not store.exists():
        ours = [str(path) for path, aside in zip(files, test, strict=True) if not aside]
        bertsmith.prepare_audio(ours, store, rate=RATE, mels=MELS, holdout=0.05)
    sets = {"training.batch": 1024, "training.evaluate": 500, "schedule.lr": 2e-3, "training.precision": "float32"}
    begun = time.process_time()
    options = {"set": sets, "seed": given.seed, "threads": 1}
    made = bertsmith.pretrain(given.member, store, run, steps=given.steps, **options)
    seconds = time.process_time() - begun
    fresh = given.out / "fresh"
    if not fresh.exists():
        bertsmith.pretrain(given.member, store, fresh, steps=1, **(options | {"set": sets | {"schedule.lr": 1e-12}}))
    names = [str(path) for path in files]
    states = {name: bertsmith.embed(path, names, pool="mean+max") for name, path in (("fresh", fresh), ("tuned", run))}
    width = states["tuned"].shape[1] // 2
    features = {
        "raw log-mel": pooled(names, "none")[:, :MELS],
        "raw log-mel, mean and max": pooled(names, "none"),
        "normalised log-mel": pooled(names, "utterance")[:, :MELS],
        "normalised log-mel, mean and max": pooled(names, "utterance"),
        "fresh weights": states["fresh"][:, :width],
        "fresh weights, mean and max": states["fresh"],
        "pre-trained": states["tuned"][:, :width],
        "pre-trained, mean and max": states["tuned"],
    }
    found = {name: probe(x[~test], digit[~test], x[test], digit[test]) for name, x in features.items()}
    result = {"member": given.member, "steps": given.steps, "seed": given.seed, "cpu_seconds": round(seconds, 1)}
    print(json.dumps(result | {"held_out": made["evaluation"], "blanked": blanked(run, store), "accuracy": found}))


def pooled(names: list[str], normalise: str) -> np.ndarray:
    mel = LogMel(rate=RATE, mels=MELS, normalise=normalise)
    found = (mel.frames(decoded(name)) for name in names)
    return np.stack([np.concatenate([frames.mean(0), frames.max(0)]) for frames in found])


def probe(x: np.ndarray, y: np.ndarray, others: np.ndarray, truth: np.ndarray) -> float:
    """Accuracy on other speakers; numbers are put on one scale by the training speakers'."""
    from sklearn.linear_model import LogisticRegression

    scale = x.std(0)
    middle, scale = x.mean(0), np.where(scale < 1e-4, 1.0, scale)  # what is 0 but for rounding stays it
    model = LogisticRegression(max_iter=500, C=0.1).fit((x - middle) / scale, y)
    return round(float(model.score((others - middle) / scale, truth)), 4)


def blanked(run: Path, path: Path) -> dict[str, float]:
    """Mean L1 on held-out frames that are hidden by zeros."""
    import torch

    loaded, store = load(run), FrameStore.open(path)
    sums, count = {"model": 0.0, "mean": 0.0, "line": 0.0}, 0
    for batch in fixed_batches_of(loaded.recipe, store):
        target, read = batch.targets["frames"], batch.input.tokens
        at = target.at[:, 0]
        with torch.no_grad(), loaded.exact.policy():
            given = batch.to("cpu")
            said = loaded.member.objective.logits(
                loaded.member.model, given.input, given.targets["frames"].at[:, 0], term="frames"
            ).numpy()
        hidden = np.flatnonzero((read[at] == 0).all(1))
        edges = np.concatenate([[0], np.cumsum(batch.input.lengths)])
        for run_of in np.split(hidden, np.flatnonzero(np.diff(at[hidden]) != 1) + 1):
            if not len(run_of):
                continue
            first, last = at[run_of[0]], at[run_of[-1]]
            low, high = edges[np.searchsorted(edges, first, "right") - 1], edges[np.searchsorted(edges, first, "right")]
            left = read[first - 1] if first > low else read[last + 1]
            right = read[last + 1] if last + 1 < high else left
            share = ((np.arange(len(run_of)) + 1) / (len(run_of) + 1))[:, None]
            truth = target.labels[run_of]
            sums["model"] += float(np.abs(said[run_of] - truth).mean(1).sum())
            sums["mean"] += float(np.abs(truth).mean(1).sum())
            sums["line"] += float(np.abs((1 - share) * left + share * right - truth).mean(1).sum())
            count += len(run_of)
    return {name: round(value / max(1, count), 4) for name, value in sums.items()} | {"frames": count}


if __name__ == "__main__":
    main()
