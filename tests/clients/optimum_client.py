"""optimum and onnxruntime: the exported graph's answers.  An encoder's graph is left beside the answers, for clients that take no other."""

import shutil
import sys
from importlib.metadata import version
from pathlib import Path

import optimum.onnxruntime as ort
import transformers
from client import flat, main

GRAPHS = Path(sys.argv[2]).with_suffix(".graphs")
CLASSES = {"label": "ORTModelForSequenceClassification", "tag": "ORTModelForTokenClassification"}


def run(folder, name, texts, attribute):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = getattr(ort, name).from_pretrained(folder, export=True)
    at = GRAPHS / folder.name
    model.save_pretrained(at)
    for file in folder.glob("*token*"):
        shutil.copy(file, at)
    found = []
    for text in texts:
        inputs = tokenizer(text, return_tensors="pt")
        found.append(getattr(model(**inputs), attribute))
    return flat(found)


def ask(folder, member, texts):
    head = next((head for head in CLASSES if head in member["answers"]), None)
    if head is None:
        yield "ORTModel", "states", lambda: run(folder, "ORTModelForFeatureExtraction", texts, "last_hidden_state")
    else:
        yield "ORTModel", head, lambda: run(folder, CLASSES[head], texts, "logits")


main(
    {
        "optimum-onnx": version("optimum-onnx"),
        "onnxruntime": version("onnxruntime"),
        "transformers": transformers.__version__,
    },
    ask,
)
