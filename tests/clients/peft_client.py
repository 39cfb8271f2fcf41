"""peft: with fresh low-rank updates, which add nothing yet, and with them merged."""

import peft
import torch
import transformers
from client import flat, main

transformers.utils.logging.set_verbosity_error()
TARGETS = {"xlnet": ["ff.layer_1"]}


def run(folder, member, texts, merge):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder)
    wanted = peft.LoraConfig(r=2, target_modules=TARGETS.get(member["family"], ["query", "value"]))
    model = peft.get_peft_model(model, wanted).eval()
    model = model.merge_and_unload() if merge else model
    with torch.no_grad():
        return flat(model(**tokenizer(text, return_tensors="pt")).last_hidden_state for text in texts)


def ask(folder, member, texts):
    yield "LoRA", "states", lambda: run(folder, member, texts, False)
    yield "LoRA, merged", "states", lambda: run(folder, member, texts, True)


main({"peft": peft.__version__, "transformers": transformers.__version__}, ask)
