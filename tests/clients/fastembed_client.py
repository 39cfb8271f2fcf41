"""fastembed: vectors by the graph that optimum made, with the folder's own tokenizer files."""

import shutil
import sys
from importlib.metadata import version
from pathlib import Path

from client import main
from fastembed import TextEmbedding
from fastembed.common.model_description import ModelSource, PoolingType

GRAPHS = Path(sys.argv[2]).with_name("optimum.graphs")


def encode(folder, member, texts):
    at = GRAPHS / folder.name
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(folder / name, at)
    TextEmbedding.add_custom_model(
        model=folder.name,
        pooling=PoolingType.MEAN,
        normalization=True,
        sources=ModelSource(hf="local/" + folder.name),
        dim=member["width"],
        model_file="model.onnx",
    )
    model = TextEmbedding(folder.name, specific_model_path=str(at))
    return [vector.tolist() for vector in model.embed(texts)]


def ask(folder, member, texts):
    if "vectors" in member["answers"]:
        yield "embed", "vectors", lambda: encode(folder, member, texts)


main({"fastembed": version("fastembed"), "onnxruntime": version("onnxruntime")}, ask)
