"""What an ONNX export writes, greedily: python onnx_writing.py FOLDER TEXT...; all is read again at each token."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

folder, texts = Path(sys.argv[1]), sys.argv[2:]
about = json.loads((folder / "bertsmith.json").read_text("utf-8"))
tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
sessions = {name: onnxruntime.InferenceSession(str(folder / f"{name}.onnx")) for name in about["graphs"]}
start, end, limit = (about["writing"][name] for name in ("start", "end", "limit"))


def run(name, **inputs):
    wanted = {each.name: np.array([inputs[each.name]]) for each in sessions[name].get_inputs()}
    return sessions[name].run(None, wanted)[0][0]


for text in texts:
    read, written = tokenizer.encode(text), []
    if "decoder" in sessions:
        states = run("encoder", input_ids=read.ids, attention_mask=read.attention_mask, token_type_ids=read.type_ids)
    while len(written) < (limit or 64):
        if "decoder" in sessions:
            known = {"encoder_hidden_states": states, "encoder_attention_mask": read.attention_mask}
            logits = run("decoder", input_ids=[start, *written], **known)
        else:
            ids = [*read.ids, *written]
            logits = run("model", input_ids=ids, attention_mask=[1] * len(ids), token_type_ids=[0] * len(ids))
        token = int(logits[-1, : about["vocab"]].argmax())
        if token == end:
            break
        written.append(token)
    print(json.dumps(tokenizer.decode(written).strip(), ensure_ascii=False))
