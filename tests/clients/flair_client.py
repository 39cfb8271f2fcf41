"""flair: word vectors (each word's first token) and document vectors ([CLS])."""

import flair
import torch
import transformers
from client import flat, main
from flair.data import Sentence
from flair.embeddings import TransformerDocumentEmbeddings, TransformerWordEmbeddings

flair.device = torch.device("cpu")


def words(folder, texts):
    model, found = (
        TransformerWordEmbeddings(str(folder), layers="-1", subtoken_pooling="first", allow_long_sentences=False),
        [],
    )
    for text in texts:
        sentence = Sentence(text.split())
        model.embed(sentence)
        found.append(torch.cat([token.embedding for token in sentence]))
    return flat(found)


def documents(folder, texts):
    model, found = TransformerDocumentEmbeddings(str(folder), layers="-1"), []
    for text in texts:
        sentence = Sentence(text.split())
        model.embed(sentence)
        found.append(sentence.embedding)
    return flat(found)


def ask(folder, member, texts):
    yield "words", "word states", lambda: words(folder, member["single blanks"])
    yield "documents", "cls", lambda: documents(folder, member["single blanks"])


main({"flair": flair.__version__, "transformers": transformers.__version__}, ask)
