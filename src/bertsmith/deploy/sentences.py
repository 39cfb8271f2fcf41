"""The files of sentence-transformers beside a model: how its vectors are made of its states.  Its names stand here only.

n tokens of a text, d width of the model, w that of a vector.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bertsmith.deploy.folder_files import CONFIG, json_of
from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount

if TYPE_CHECKING:
    from torch import Tensor, nn

MODULES, PROMPTS = "modules.json", "config_sentence_transformers.json"
LENGTH = "sentence_bert_config.json"
_FAMILIES = ("roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
LENGTHS = (LENGTH, *(f"sentence_{name}_config.json" for name in _FAMILIES))  # names that LENGTH has had
POOLING = "1_Pooling/config.json"
NAMES = {MODULES, LENGTH, PROMPTS, POOLING.partition("/")[0]}  # what stands in a folder because of them
# Several of a folder stand side by side in a vector, in this order.
POOLS = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}
ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "Sigmoid")  # as torch.nn names them
_TYPE = "sentence_transformers.models."


def vectors_of(path: Path) -> dict[str, Any]:
    """{"pool", "normalise"}, and where the folder says so "lowercase", "dense", "prompts", "prompt" (the usual one's name) and
    "skip_prompt" (its tokens are read and not pooled).

    InputError for another chain than states, pooling, perhaps dense layers, and perhaps length 1; and for what cannot be read in it.
    """
    modules, kinds = _chain(path)
    dense = [module for module, kind in zip(modules, kinds, strict=True) if kind == "Dense"]
    normalise = kinds[-1:] == ["Normalize"]
    chain = [kind for kind in kinds if kind != "Dropout"]
    if chain != ["Transformer", "Pooling", *["Dense"] * len(dense), *["Normalize"] * normalise]:
        raise InputError(
            f"{MODULES}: {' + '.join(kinds)} is not Transformer + Pooling, with Dense and Normalize after it"
        )
    pooling = json_of(_inside(path, modules[kinds.index("Pooling")]) / "config.json")
    vectors: dict[str, Any] = {"pool": _pool(pooling), "normalise": normalise}
    if _first(path).get("do_lower_case") is True:
        vectors["lowercase"] = True
    if dense:
        vectors["dense"] = [_dense(path, module) for module in dense]
    said = json_of(path / PROMPTS) if (path / PROMPTS).is_file() else {}
    prompts, usual = said.get("prompts") or {}, said.get("default_prompt_name")
    if said.get("truncate_dim") is not None:
        raise InputError(f"{PROMPTS}: truncate_dim: {printable(repr(said['truncate_dim']))}: vectors are not cut here")
    if not isinstance(prompts, dict) or not all(isinstance(text, str) for text in prompts.values()):
        raise InputError(f"{PROMPTS}: prompts: expected names and texts")
    if usual is not None and usual not in prompts:
        raise InputError(f"{PROMPTS}: default_prompt_name: {printable(repr(usual))} is not among the prompts")
    if any(prompts.values()):
        vectors |= {"prompts": prompts, "prompt": usual}
    if pooling.get("include_prompt", True) is False:
        vectors["skip_prompt"] = True
    return vectors


def home_of(path: Path) -> Path:
    """Where the model of a folder stands: in old ones in a folder of its own, such as 0_Transformer.

    InputError where the first module is of a kind that is no Transformer (static embeddings, CLIP, bags of words).
    """
    modules, kinds = _chain(path) if (path / MODULES).is_file() else ([], [])
    if not modules or kinds[0] != "Transformer":
        if kinds and not (path / CONFIG).is_file():
            raise InputError(f"{printable(path)}: {MODULES}: {printable(kinds[0])}: no Transformer, and not read here")
        return path
    return _inside(path, modules[0]) if modules[0].get("path") else path


def is_crossing(path: Path) -> bool:
    """Whether the folder is a CrossEncoder's: its answers are scores of texts, not vectors."""
    return (path / PROMPTS).is_file() and json_of(path / PROMPTS).get("model_type") == "CrossEncoder"


def crossing(path: Path, config: dict[str, Any]) -> str | None:
    """What a CrossEncoder puts on its one score, where the folder is one's: "Sigmoid", or "Identity" for nothing.  `config`: config.json."""
    said, old = config.get("sentence_transformers"), config.get("sbert_ce_default_activation_function")
    inside = said.get("activation_fn") if isinstance(said, dict) else None
    if not (is_crossing(path) or isinstance(said, dict) or old):
        return None
    beside = json_of(path / PROMPTS).get("activation_fn") if is_crossing(path) else None
    return str(beside or inside or old or "Sigmoid").rpartition(".")[2]


def longest(path: Path) -> Any:
    """max_seq_length, of whatever type it is there."""
    return _first(path).get("max_seq_length")


def layers(path: Path, dense: list[dict[str, Any]], width: int) -> list[nn.Module]:
    """The dense layers of a folder, each from what the one before it gives; `width` is that of what is pooled."""
    from safetensors.torch import load as tensors_from_bytes
    from torch import nn

    made: list[nn.Module] = []
    for said in dense:
        file = path / said["path"] / "model.safetensors"
        try:
            state = {
                name.removeprefix("linear."): t.float() for name, t in tensors_from_bytes(file.read_bytes()).items()
            }
        except Exception as error:  # safetensors raises its own, ValueError and KeyError, and OSError
            raise InputError(f"{printable(file)}: cannot be read: {printable(error)}") from None
        weight = state.get("weight")
        expected = {"weight", "bias"} if said["bias"] else {"weight"}
        fits = state.keys() == expected and weight.ndim == 2 and weight.shape[1] == width
        if not fits or (said["bias"] and state["bias"].shape != weight.shape[:1]):
            raise InputError(
                f"{printable(file)}: its tensors are not those of a dense layer from {amount(width, 'number')}"
            )
        linear = nn.Linear(width, len(weight), bias=said["bias"])
        linear.load_state_dict(state)
        made += [linear, getattr(nn, said["activation"])()]
        width = len(weight)
    return made


def pooled(states: Tensor, pool: str) -> Tensor:
    """states (n, d) of a text's tokens -> (d,).  [CLS] aside, which is where a model has it."""
    if pool == "max":
        return states.max(0).values
    if pool == "mean_sqrt_len":
        return states.sum(0) / len(states) ** 0.5
    if pool == "weightedmean":  # by place, counted from 1 (Muennighoff 2022)
        import torch

        weights = torch.arange(1, len(states) + 1, device=states.device, dtype=states.dtype)
        return (states * weights[:, None]).sum(0) / weights.sum()
    return states[-1] if pool == "lasttoken" else states.mean(0)


def vector_files(vectors: dict[str, Any], width: int, length: int) -> dict[str, bytes]:
    """{file name: content} that makes sentence-transformers give these vectors; {} where they have dense layers, which stay behind."""
    if vectors.get("dense"):
        return {}
    chain = [
        ("", "Transformer"),
        ("1_Pooling", "Pooling"),
        *([("2_Normalize", "Normalize")] if vectors["normalise"] else []),
    ]
    modules = [{"idx": i, "name": str(i), "path": path, "type": _TYPE + kind} for i, (path, kind) in enumerate(chain)]
    pools = vectors["pool"].split("+")
    pooling = {"word_embedding_dimension": width, **{key: pool in pools for pool, key in POOLS.items()}}
    pooling |= {"include_prompt": False} if vectors.get("skip_prompt") else {}
    length_of = {"max_seq_length": length, "do_lower_case": vectors.get("lowercase", False)}
    content = {MODULES: modules, LENGTH: length_of, POOLING: pooling}
    if vectors.get("prompts"):
        content[PROMPTS] = {"prompts": vectors["prompts"], "default_prompt_name": vectors["prompt"]}
    return {name: json.dumps(tree, indent=2, ensure_ascii=False).encode() + b"\n" for name, tree in content.items()}


def _pool(pooling: dict[str, Any]) -> str:
    """ "mean", or several as "cls+mean"."""
    said = pooling.get("pooling_mode")
    said = said if isinstance(said, list) else [said]
    asked = [pool for pool, key in POOLS.items() if pooling.get(key) is True or pool in said]
    others = [
        key
        for key, on in pooling.items()
        if key.startswith("pooling_mode_") and on is True and key not in POOLS.values()
    ]
    others += [str(pool) for pool in said if pool is not None and pool not in POOLS]
    if others or not asked:
        raise InputError(
            f"{POOLING}: {printable(others[0]) if others else 'no pooling mode'}: what can be taken: {', '.join(POOLS)}"
        )
    return "+".join(asked)


def _dense(path: Path, module: dict[str, Any]) -> dict[str, Any]:
    place = _inside(path, module)
    said = json_of(place / "config.json")
    activation = str(said.get("activation_function", "Tanh")).rpartition(".")[2]
    if activation not in ACTIVATIONS:
        raise InputError(f"{place.name}: activation_function: {printable(activation)}: known: {', '.join(ACTIVATIONS)}")
    if not (place / "model.safetensors").is_file():
        raise InputError(f"{place.name}: no model.safetensors (pickles are not read)")
    return {"path": place.name, "activation": activation, "bias": said.get("bias", True) is not False}


def _inside(path: Path, module: dict[str, Any]) -> Path:
    name = module.get("path")
    if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or "\\" in name:
        raise InputError(f"{MODULES}: path: {printable(repr(name))} is not a folder in this one")
    return path / name


def _chain(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The modules, and their kinds in short: "Transformer", "Pooling"."""
    modules = [module for module in json_of(path / MODULES, list) if isinstance(module, dict)]
    return modules, [str(module.get("type")).rpartition(".")[2] for module in modules]


def _first(path: Path) -> dict[str, Any]:
    """sentence_bert_config.json, under any name it has had."""
    home = home_of(path)
    found = next((home / name for name in LENGTHS if (home / name).is_file()), None)
    return {} if found is None else json_of(found)
