"""What an ONNX export says: python onnx_without_torch.py FOLDER TEXT... (of qa a question, a tab and its text; of fill a text with the mask)."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

folder, texts = Path(sys.argv[1]), sys.argv[2:]
about = json.loads((folder / "bertsmith.json").read_text("utf-8"))
tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
wanted, outputs = ([each.name for each in some] for some in (session.get_inputs(), session.get_outputs()))
for text in texts:
    read, kind = tokenizer.encode(*text.split("\t")), about["kind"]
    names = {"input_ids": read.ids, "attention_mask": read.attention_mask, "token_type_ids": read.type_ids}
    found = session.run(None, {name: np.array([names[name]]) for name in wanted})
    out = {name: x[0].astype(np.float64) for name, x in zip(outputs, found)}
    if kind == "classify":
        shares = np.exp(out["logits"] - np.logaddexp.reduce(out["logits"]))
        said = dict(zip(about["labels"], shares.tolist()))
    elif kind == "regress":
        said = float(out["logits"][0])
    elif kind == "tag":  # each word by its first token
        begins = [i for i, c in enumerate(text) if c != " " and text[:i][-1:] in ("", " ")]
        said = [about["labels"][out["logits"][read.char_to_token(at)].argmax()] for at in begins]
    elif kind == "qa":
        both, inside = out["start_logits"][:, None] + out["end_logits"], np.array(read.sequence_ids) == 1
        long = np.triu(np.ones_like(both)) - np.triu(np.ones_like(both), 30)
        start, end = np.unravel_index(np.where(long * inside * inside[:, None], both, -np.inf).argmax(), both.shape)
        none = about.get("no_answer") and both[0, 0] - both[start, end] > about.get("threshold", 0)
        said = "" if none else text.split("\t")[1][read.offsets[start][0] : read.offsets[end][1]]
    elif kind == "fill":
        at = [i for i, token in enumerate(read.ids) if token == about["tokens"]["mask"]["id"]]
        said = [tokenizer.id_to_token(int(out["logits"][i, : about["vocab"]].argmax())) for i in at]
    elif kind == "embed":
        said = out["sentence_embedding"].tolist()
    print(json.dumps(said, ensure_ascii=False))
