"""What a model card shows: a few lines of Python that open the folder and ask it something.  tests/test_cards.py runs every one of them.

FOLDER stands for the folder, MASK for the model's mask.
"""

from __future__ import annotations

import json
from typing import Any

from bertsmith.data.batch import SENTINEL
from bertsmith.deploy.hf_writing import room_of
from bertsmith.downstream.model import Loaded
from bertsmith.errors import printable
from bertsmith.spelling import amount

OPEN = """tokenizer = AutoTokenizer.from_pretrained("FOLDER")
model = CLASS.from_pretrained("FOLDER")
"""
FILL = """from transformers import pipeline

fill = pipeline("fill-mask", model="FOLDER")
print(fill("Words stand beside a MASK here."))
"""
ASK = f"""import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

{OPEN.replace("CLASS", "AutoModelForCausalLM")}ids = tokenizer("What stands at this place?", return_tensors="pt")["input_ids"]
at, n = 2, ids.shape[1]  # ask for token 2, which no token may see
hidden = torch.zeros(1, n, n)
hidden[:, :, at] = 1
asked = torch.zeros(1, 1, n)
asked[0, 0, at] = 1
with torch.no_grad():
    logits = model(input_ids=ids, perm_mask=hidden, target_mapping=asked).logits
print(tokenizer.convert_ids_to_tokens(logits[0, 0].topk(5).indices.tolist()))
"""
CLASSIFY = """from transformers import pipeline

classify = pipeline("text-classification", model="FOLDER")
print(classify(TEXT))
"""
LABELS = """from transformers import pipeline

label = pipeline("text-classification", model="FOLDER", top_k=None)
print([one for one in label([TEXT])[0] if one["score"] >= 0.5])
"""
NUMBER = """from transformers import pipeline

score = pipeline("text-classification", model="FOLDER", function_to_apply="none")
print(score(TEXT))  # "score" is the number, in the scale of the training file
"""
TAG = """from transformers import pipeline

tag = pipeline("token-classification", model="FOLDER", aggregation_strategy="first")
print(tag("Words are tagged here."))
"""
ANSWER = f"""import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

{OPEN.replace("CLASS", "AutoModelForQuestionAnswering")}question, text = "What is asked?", "The answer is a piece of this text."
inputs = tokenizer(question, text, return_tensors="pt", return_offsets_mapping=True)
offsets, of_text = inputs.pop("offset_mapping")[0], torch.tensor([i == 1 for i in inputs.sequence_ids()])
with torch.no_grad():
    output = model(**inputs)
start, end = (logits[0].masked_fill(~of_text, -torch.inf) for logits in (output.start_logits, output.end_logits))
scores = start[:, None] + end + torch.full((len(end), len(end)), -torch.inf).tril(-1)  # none ends before it begins
first, last = divmod(int(scores.argmax()), len(end))
print(text[offsets[first][0] : offsets[last][1]])
"""
REPLACED = f"""import torch
from transformers import AutoModelForPreTraining, AutoTokenizer

{OPEN.replace("CLASS", "AutoModelForPreTraining")}inputs = tokenizer("Was any word of this replaced?", return_tensors="pt")
with torch.no_grad():
    replaced = model(**inputs).logits[0] > 0
print(list(zip(tokenizer.convert_ids_to_tokens(inputs["input_ids"][0].tolist()), replaced.tolist())))
"""
CHOOSE = f"""import torch
from transformers import AutoModelForMultipleChoice, AutoTokenizer

{OPEN.replace("CLASS", "AutoModelForMultipleChoice")}text, choices = "It rained.", ["The street is wet.", "The street is dry."]
inputs = tokenizer([text] * len(choices), choices, padding=True, return_tensors="pt")
with torch.no_grad():
    logits = model(**{{name: x[None] for name, x in inputs.items()}}).logits[0]
print(choices[int(logits.argmax())])
"""
STATES = f"""import torch
from transformers import AutoModel, AutoTokenizer

{OPEN.replace("CLASS", "AutoModel")}with torch.no_grad():
    states = model(**tokenizer("A sentence.", return_tensors="pt")).last_hidden_state
print(states.shape)
"""
WRITE = f"""from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

{OPEN.replace("CLASS", "AutoModelForSeq2SeqLM")}inputs = tokenizer("Words stand beside a MASK here.", return_tensors="pt")
written = model.generate(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], max_length=32)
print(tokenizer.decode(written[0]))
"""
GO_ON = f"""from transformers import AutoModelForCausalLM, AutoTokenizer

{OPEN.replace("CLASS", "AutoModelForCausalLM")}inputs = tokenizer("Words stand", return_tensors="pt")
written = model.generate(**inputs, max_new_tokens=32)
print(tokenizer.decode(written[0], skip_special_tokens=True))
"""
ANSWER_IN_WORDS = f"""from transformers import CLASS, AutoTokenizer

{OPEN}text = TEXT
inputs = tokenizer(text, truncation=True, return_tensors="pt")
written = model.generate(**inputs)  # generation_config.json says how long, and by how many beams
print(tokenizer.decode(written[WRITTEN], skip_special_tokens=True))
"""
VECTORS = """from sentence_transformers import SentenceTransformer

print(SentenceTransformer("FOLDER").encode(["A sentence.", "Another one."]).shape)
"""
ONE, TWO = '"A text."', '{"text": "A text.", "text_pair": "Another one."}'


def snippet(loaded: Loaded) -> str:
    """The lines for what the model is first asked for."""
    terms, vectors = loaded.member.weights(), loaded.config.get("vectors")
    if (kind := loaded.writing) is not None:
        return _in_words(loaded, kind)
    if loaded.recipe.model.decodes and "token" in terms:
        sentinel = getattr(loaded.recipe.corruption.rewrite, "sentinels", 0)
        return WRITE.replace("MASK", SENTINEL.format(0) if sentinel else loaded.tokenizer.mask_token)
    if "token" in terms and loaded.reading().causal:
        return GO_ON
    if "token" in terms:
        return ASK if loaded.recipe.model.asks else FILL.replace("MASK", loaded.tokenizer.mask_token)
    if "label" in terms:
        text = TWO if (loaded.task or {}).get("pairs") else ONE
        several = (loaded.task or {}).get("kind") == "multilabel"
        return (LABELS if several else CLASSIFY if loaded.labels.names else NUMBER).replace("TEXT", text)
    if vectors and not vectors.get("dense"):
        return VECTORS
    return next(
        (
            made
            for term, made in {"choice": CHOOSE, "tag": TAG, "span": ANSWER, "replaced": REPLACED}.items()
            if term in terms
        ),
        STATES,
    )


def _in_words(loaded: Loaded, kind: Any) -> str:
    """A text as the template has it is read; a language model's own follows it."""
    values = {} if kind.template is None else {name: _value(kind.template, name) for name in kind.template.columns}
    text = ONE if kind.template is None else json.dumps(kind.template.filled(values, "row"), ensure_ascii=False)
    behind, name = "0", "AutoModelForSeq2SeqLM"
    if loaded.reading().causal:
        behind, name = '0, inputs["input_ids"].shape[1] :', "AutoModelForCausalLM"
    return ANSWER_IN_WORDS.replace("CLASS", name).replace("WRITTEN", behind).replace("TEXT", text)


def _value(template: Any, name: str) -> str:
    """What stands for a column in an example: a number where one is formatted."""
    formatted = any(column == name and spec for _, column, spec in template.parts)
    return "1" if formatted or template.step is not None else "A text."


def code(text: str) -> str:
    """A piece of text in a page, as it stands."""
    ticks = "``" if "`" in text else "`"
    return f"{ticks} {text} {ticks}" if len(ticks) > 1 else f"`{text}`"


def tokenizer_note(loaded: Loaded, compared: dict) -> list[str]:
    """Which class reads the tokenizer, and how tags are put together."""
    found = compared.get("tokenizers") or {}
    same = [f"`{name}`" for name, apart in found.items() if not apart]
    how = lambda apart: (
        "does not open it" if isinstance(apart, str) else f"other ids for {apart} of {compared['texts']:,} texts"
    )
    wrong = [f"`{name}` ({how(apart)})" for name, apart in found.items() if apart]
    lines = ["The tokenizer is opened by `AutoTokenizer`, or `tokenizers.Tokenizer.from_file`."]
    if same:
        lines.append(f"{' and '.join(same)} {'give' if len(same) > 1 else 'gives'} the same ids.")
    if wrong:
        lines.append(
            f"Do not take {', '.join(wrong)}: transformers builds such a class by rules of its own, which differ on invisible characters, "
            "marks and compatibility forms."
        )
    if compared.get("masks_read_otherwise"):
        lines.append("What stands right behind a mask has a space before it there; `bertsmith fill` puts none.")
    if "tag" in loaded.member.weights():
        lines.append('A word\'s tag stands at its first token: `aggregation_strategy="first"`.')
        if loaded.tokenizer.backend.model.__class__.__name__ != "WordPiece":
            lines.append(
                "With this tokenizer that pipeline parts words at white space alone, and a mark beside a word gets the word's tag; `bertsmith predict` does not."
            )
    return lines


def reading_note(loaded: Loaded) -> list[str]:
    """How bertsmith reads the texts of a task, which a snippet does not do by itself."""
    task, length = loaded.task or {}, loaded.length()
    kind, windows = task.get("kind"), task.get("on_long") == "window"
    if kind == "tag":
        return [
            f"Tags are {_scheme(loaded.labels.names)}.",
            "Words of a sentence are joined by blanks, and without any beside Han, kana, Thai, Lao, Khmer and Burmese; a word's tag stands at "
            "the token that holds its first character.",
            f"A sentence of more than {length} tokens is read in windows that overlap, each word where it has most context."
            if windows
            else f"Words behind the first {length} tokens of a sentence have no tag.",
        ]
    if kind == "qa":
        long = "slides through windows that overlap" if windows else "is cut"
        spread = "The question's tokens read all (`global_attention_mask`), which the class sees to where two separators follow it."
        own = [spread] if loaded.reading().wide != "none" else []
        return [f"A question and a text of more than {length} tokens: the text {long}.", *own]
    if kind is None:
        return []
    if (writes := loaded.writing) is not None:
        return _written_note(loaded, writes)
    if kind == "choice":
        return [f"A text and a choice of more than {amount(length, 'token')}: the longer one is cut."]
    if kind == "multilabel" and loaded.labels.thresholds:
        each = dict(zip(loaded.labels.names, loaded.labels.thresholds, strict=True))
        shown = ", ".join(f"{printable(name, 60)} {value:.4f}" for name, value in each.items())
        return [f"A text has a label from a probability on that the dev file chose: {shown}.", *_cut(windows, length)]
    return _cut(windows, length)


def _cut(windows: bool, length: int) -> list[str]:
    long = "is read in windows, and the answer is their mean" if windows else "is cut"
    return [f"A text of more than {length} tokens {long}."]


def _written_note(loaded: Loaded, kind: Any) -> list[str]:
    own = loaded.reading().causal
    rows = (
        [] if kind.template is None else [f"A text is put together from a row's columns: {code(kind.template.text)}."]
    )
    if own:
        rows.append(
            "The model goes on behind the text's end, which the tokenizer puts there; what it writes ends with another."
        )
    return [
        *rows,
        f"A text of more than {room_of(loaded)} tokens is cut; at most {kind.limit} are written, the end included, {f'by {kind.beam} beams' if kind.beam > 1 else 'the likeliest token each time'}.",
    ]


def _scheme(names: tuple[str, ...]) -> str:
    """What the letters before types say, as `tag` reads them."""
    marks = {name.partition("-")[0] for name in names}
    if not marks <= {*"OBIESLUM"} or len(marks) < 2:
        return "of words, each by itself"
    types = sorted({name.partition("-")[2] for name in names} - {""})
    of = f" of {len(types)} types" if types else ""
    return f"of spans{of}, by {', '.join(sorted(marks, key='BIMELSUO'.index))}; IOB1, IOB2, IOBES, BILOU and BMES are read by one rule"
