"""spacy-transformers: a document's wordpieces and their states."""

import logging
from importlib.metadata import version

import spacy
import transformers
from client import flat, main

logging.disable(logging.WARNING)
MODEL = {
    "@architectures": "spacy-transformers.TransformerModel.v3",
    "tokenizer_config": {"use_fast": True},
    "get_spans": {"@span_getters": "spacy-transformers.doc_spans.v1"},
}


def documents(folder, texts):
    language = spacy.blank("xx")
    language.add_pipe("transformer", config={"model": {**MODEL, "name": str(folder)}})
    language.initialize()
    return [language(text)._.trf_data for text in texts]


def ask(folder, member, texts):
    yield "wordpieces", "ids", lambda: [d.wordpieces.input_ids[0].tolist() for d in documents(folder, texts)]
    yield "states", "states", lambda: flat(d.model_output.last_hidden_state for d in documents(folder, texts))


main({"spacy-transformers": version("spacy-transformers"), "transformers": transformers.__version__}, ask)
