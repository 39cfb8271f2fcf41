"""What transformers itself makes of a folder, beside what we make of it: its tokenizer's inputs, its model's answers.

The class is the one that config.json names; texts are single ones and pairs, padded as its own pipelines pad them.
"""

import json
from pathlib import Path

import torch

import bertsmith
from bertsmith.deploy.check import EVERYWHERE, answers
from bertsmith.tasks.sequences import encode

FIRST = ["a list of names", "While the loop runs, names are bound.", "x", "An object, a class"]
SECOND = ["the class is an object", "y", "a list, and another one", "true"]
NAMES = {
    "logits": ("token", "replaced", "label", "tag", "pair"),
    "prediction_logits": ("token",),
    "seq_relationship_logits": ("pair",),
    "sop_logits": ("pair",),
    "start_logits": ("start",),
    "end_logits": ("end",),
    "last_hidden_state": ("hidden",),
    "pooler_output": ("summary",),
}


def opened(transformers, folder: Path):
    """(model, tokenizer) of the classes that config.json and tokenizer_config.json name."""
    name = json.loads((folder / "config.json").read_text())["architectures"][0]
    model, report = getattr(transformers, name).from_pretrained(folder, output_loading_info=True, dtype="float32")
    missing = [key for key in report["missing_keys"] if "pooler" not in key]
    assert not missing and not report["mismatched_keys"], report
    return model.eval(), transformers.AutoTokenizer.from_pretrained(folder)


def apart(transformers, folder: Path, pairs: bool, told: bool = True, segments: bool = True) -> dict[str, float]:
    """{answer: largest difference} between transformers and us on the same texts; AssertionError where ids or segments differ.

    `told`: whether its tokenizer's segments are compared and fed (else ours are: what its version 4 gave); `segments`: False feeds none.
    """
    model, tokenizer = opened(transformers, folder)
    loaded = bertsmith.load(folder)
    second = SECOND if pairs else None
    encoded = encode(loaded.tokenizer, FIRST, second, loaded.reading(40))
    stream = encoded.batch(torch.arange(len(encoded)).numpy()).input.to("cpu")
    mine = answers(loaded, stream)
    found: dict[str, float] = {}
    starts = torch.tensor(stream.lengths).cumsum(0) - torch.tensor(stream.lengths)
    for row, (start, length) in enumerate(zip(starts.tolist(), stream.lengths, strict=True)):
        inputs = tokenizer(FIRST[row], SECOND[row] if pairs else None, return_tensors="pt")
        here = slice(start, start + length)
        assert inputs["input_ids"][0].tolist() == stream.tokens[here].tolist(), (row, inputs["input_ids"][0])
        if not segments:
            inputs.pop("token_type_ids", None)
        elif not told:
            inputs["token_type_ids"] = stream.segments[here][None]
        elif "token_type_ids" in inputs:
            assert inputs["token_type_ids"][0].tolist() == stream.segments[here].tolist(), row
        with torch.no_grad():
            output = model(**inputs)
        for attribute, names in NAMES.items():
            theirs = getattr(output, attribute, None)
            name = next((name for name in names if name in mine), None)
            if theirs is None or name is None:
                continue
            own = mine[name][here] if name in EVERYWHERE else mine[name][row]
            largest = max(1.0, float(own.abs().max()))
            found[name] = max(found.get(name, 0.0), float((own - theirs[0].reshape(own.shape)).abs().max()) / largest)
    assert found
    return found
