"""transformers, 4 or 5: every class that opens the tokenizer, the head's answers, masks and tags by pipeline."""

import warnings

import tokenizers
import torch
import transformers
from client import card, flat, main

warnings.simplefilter("ignore")
transformers.utils.logging.set_verbosity_error()
HEADS = {
    "label": ("AutoModelForSequenceClassification", "label"),
    "tag": ("AutoModelForTokenClassification", "tag"),
}


def ids(folder, name, texts):
    return getattr(transformers, name).from_pretrained(folder)(texts)["input_ids"]


def from_file(folder, texts):
    backend = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    return [encoding.ids for encoding in backend.encode_batch(texts)]


def run(folder, name, texts):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = getattr(transformers, name).from_pretrained(folder).eval()
    with torch.no_grad():
        return [model(**tokenizer(text, return_tensors="pt")) for text in texts]


def fill(folder, member):
    pipe = transformers.pipeline("fill-mask", model=str(folder), top_k=1)
    found = [pipe(text) for text in member["masked"]]
    return [[one[0]["token"] if isinstance(one[0], dict) else one[0][0]["token"]] for one in found]


def tags(folder, member, texts):
    """The type of the tag at the first character of each word."""
    pipe = transformers.pipeline("token-classification", model=str(folder), aggregation_strategy="first")
    found = []
    for text, places in zip(texts, member["words"]):
        spans = [(one["start"], one["end"], one["entity_group"]) for one in pipe(text)]
        found.append([next((kind for a, b, kind in spans if a <= at < b), "O") for at in places])
    return found


def ask(folder, member, texts):
    for name in ("AutoTokenizer", *member["classes"]):
        question = "AutoTokenizer" if name == "AutoTokenizer" else "…Fast" if name.endswith("Fast") else "class by name"
        yield question, "ids", lambda name=name: ids(folder, name, texts)
    yield "Tokenizer.from_file", "ids", lambda: from_file(folder, texts)
    yield "AutoModel", "states", lambda: flat(one.last_hidden_state for one in run(folder, "AutoModel", texts))
    for head, (name, kind) in HEADS.items():
        if head in member["answers"]:
            yield "head", kind, lambda name=name: flat(one.logits for one in run(folder, name, texts))
    if member.get("masked"):
        yield "fill-mask", "fill", lambda: fill(folder, member)
    if "tag" in member["answers"]:
        yield "tags, by pipeline", "tags", lambda: tags(folder, member, texts)
    if run_card := card(folder, "transformers"):
        yield "the card's lines", "ran", run_card


main({"transformers": transformers.__version__, "tokenizers": tokenizers.__version__}, ask)
