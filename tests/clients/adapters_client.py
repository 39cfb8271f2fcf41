"""adapters: its own model classes, with a bottleneck adapter that is not active."""

import adapters
import torch
import transformers
from client import flat, main

transformers.utils.logging.set_verbosity_error()


def run(folder, texts):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = adapters.AutoAdapterModel.from_pretrained(folder)
    model.add_adapter("task", config="seq_bn")
    model.active_head = None
    model.eval()
    with torch.no_grad():
        return flat(model(**tokenizer(text, return_tensors="pt"))[0] for text in texts)


def ask(folder, member, texts):
    yield "AutoAdapterModel", "states", lambda: run(folder, texts)


main({"adapters": adapters.__version__, "transformers": transformers.__version__}, ask)
