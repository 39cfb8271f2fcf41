"""sentence-transformers: vectors of an encoder, CrossEncoder on pairs."""

import sentence_transformers
import transformers
from client import card, flat, main


def ask(folder, member, texts):
    if "vectors" in member["answers"]:
        model = lambda: sentence_transformers.SentenceTransformer(str(folder), device="cpu")
        yield "encode", "vectors", lambda: flat(model().encode(texts, convert_to_tensor=True))
    if "label" in member["answers"]:
        model = lambda: sentence_transformers.CrossEncoder(str(folder), device="cpu")
        pairs = list(zip(texts, [*texts[1:], texts[0]]))
        yield "CrossEncoder", "pair label", lambda: flat(model().predict(pairs, convert_to_tensor=True))
    if run_card := card(folder, "sentence_transformers"):
        yield "the card's lines", "ran", run_card


main({"sentence-transformers": sentence_transformers.__version__, "transformers": transformers.__version__}, ask)
