"""Updates of low rank as a folder that peft opens over their base in transformers, the head with them.

A family's names say which rows of one of our matrices are which of theirs: where queries, keys and values are three there, each gets its
rows of B, and A three times.  r rank, a matrix is (o, d).
"""

from __future__ import annotations

import importlib
import json
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

from bertsmith.deploy import check
from bertsmith.deploy.folder_files import CONFIG, WEIGHTS
from bertsmith.deploy.hf import family_of, to_hf
from bertsmith.deploy.hf_tokenizer import TOKENIZER
from bertsmith.deploy.texts import texts
from bertsmith.downstream.model import Loaded
from bertsmith.errors import InputError, printable
from bertsmith.nn.lowrank import LowRank
from bertsmith.spelling import option

ADAPTER, UPDATES = "adapter_config.json", "adapter_model.safetensors"
TEXTS = 1000
MARK = 1_000_000  # above all weights: a matrix that holds nothing else is known by it
INSIDE = "base_model.model."  # what peft calls a model that it has put updates into


def peft_needed() -> Any:
    """The library.  InputError naming it where it is not installed."""
    try:
        return importlib.import_module("peft")
    except ImportError:
        raise InputError(
            f"{option('to', 'peft')}: compares with peft before it says done, which is not installed; pip install peft"
        ) from None


def check_updates(loaded: Loaded) -> None:
    """InputError for a model without updates of low rank, or with a head that is not its own."""
    if not isinstance(loaded.recipe.surgery, LowRank):
        raise InputError(
            f"{printable(loaded.run)}: has no updates of low rank; {option('method', 'lora')} makes some, and {option('to', 'hf')} exports this model"
        )
    if loaded.writing is not None or "token" in loaded.member.weights():
        raise InputError(
            f"{printable(loaded.run)}: its head is the model's own table, which peft does not keep; {option('to', 'hf')} exports it"
        )


class Updates:
    """Of a model that was tuned by low rank: what stands in a folder, and what it stands on.  `state`: its state dict, in their scale;
    `merged`: {name: bytes} of the folder that it is exported to with its updates merged."""

    def __init__(self, loaded: Loaded, state: dict[str, Tensor], merged: dict[str, bytes]):
        self.merged = merged
        self.loaded, self.pad = loaded, loaded.vocab.pad
        low = (".low_in", ".low_out")
        self.own = {name: x for name, x in state.items() if not name.endswith(low)}
        self.matrices = sorted(name.removesuffix(low[0]) for name in state if name.endswith(low[0]))
        self.downs, self.ups = ([state[name + end] for name in self.matrices] for end in low)
        self.whole = self._theirs({})

    def _theirs(self, other: dict[str, Tensor]) -> dict[str, Tensor]:
        return to_hf({**self.own, **other}, self.loaded.recipe, self.pad)

    def content(self) -> dict[str, bytes]:
        """{name: bytes}.  InputError for a family that keeps one of the matrices in what is no linear layer."""
        tensors, turned = self._updates()
        heads = self._heads()
        tensors |= {f"{INSIDE}{name}": self.whole[name] for name in heads}
        bare = family_of(self.loaded.recipe).bare_of
        surgery = self.loaded.recipe.surgery
        config = {
            "peft_type": "LORA",
            "base_model_name_or_path": None,
            "r": surgery.rank,
            "lora_alpha": surgery.alpha,
            "lora_dropout": 0.0,
            "bias": "none",
            "fan_in_fan_out": turned,
            "target_modules": sorted({n.removeprefix(INSIDE).rpartition(".lora_A")[0] for n in tensors if ".lora_A." in n}),
            "modules_to_save": sorted({bare(name).partition(".")[0] for name in heads}) or None,
            "inference_mode": True,
        }  # fmt: skip
        return {
            ADAPTER: json.dumps(config, indent=2).encode() + b"\n",
            UPDATES: tensors_to_bytes(tensors, metadata={"format": "pt"}),
            **{name: data for name, data in self.merged.items() if name in TOKENIZER},
        }

    def _updates(self) -> tuple[dict[str, Tensor], bool]:
        """Theirs, and whether their matrices stand the other way round."""
        weights = [f"{name}.weight" for name in self.matrices]
        numbers = self._theirs({name: torch.full_like(self.own[name], MARK + i) for i, name in enumerate(weights)})
        theirs = {name: int(x.flatten()[0]) - MARK for name, x in numbers.items() if x.min() == x.max() >= MARK}
        odd = next((name for name in theirs if self.whole[name].dim() != 2), None)
        if odd is not None:
            raise InputError(
                f"{printable(self.loaded.run)}: transformers keeps {odd} in no linear layer, which peft has no updates for; {option('to', 'hf')} merges them"
            )
        ups, found, turned = self._theirs(dict(zip(weights, self.ups, strict=True))), {}, set()
        for name, number in theirs.items():
            down, module = self.downs[number], f"{INSIDE}{name.removesuffix('.weight')}"
            other = ups[name].shape != (len(self.whole[name]), len(down))
            turned.add(other)
            found[f"{module}.lora_A.weight"] = down.clone()
            found[f"{module}.lora_B.weight"] = (ups[name].T if other else ups[name]).contiguous()
        return found, turned == {True}

    def _heads(self) -> list[str]:
        """Their names of what is no part of the trunk."""
        moved = self._theirs({name: x + 1 for name, x in self.own.items() if name.startswith("objective.")})
        return [name for name, x in moved.items() if not torch.equal(x, self.whole[name])]

    def _base(self) -> bytes:
        """Their weights of the model that it stands on, with a head of zeros."""
        heads = self._heads()
        return tensors_to_bytes(
            {name: torch.zeros_like(x) if name in heads else x for name, x in self.whole.items()},
            metadata={"format": "pt"},
        )

    def compared(self, transformers: Any, folder: Path, out: str | Path) -> dict[str, Any]:
        """What the manifest keeps of it.  InputError where peft makes something else of the base and the folder than we do."""
        chosen, said = texts(self.loaded.tokenizer, self.loaded.config, TEXTS)
        peft, made = peft_needed(), check.groups(self.loaded, chosen)
        try:
            models = self._opened(transformers, folder)
            with check.quiet(transformers):
                check.check_inputs(transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True), made)
                found = check.compare(self.loaded, models, made)
        except InputError as error:
            raise InputError(f"{printable(out)}: not written: {error}") from None
        return {
            "transformers": transformers.__version__,
            "peft": peft.__version__,
            "classes": [type(model.get_base_model()).__name__ for model in models.values()],
            "largest_difference": found,
            "texts": len(chosen),
            "texts_from": said,
        }

    def _opened(self, transformers: Any, folder: Path) -> dict[str, Any]:
        """{class: model} that peft makes of the base and the folder."""
        peft, terms = peft_needed(), tuple(self.loaded.member.weights())
        with tempfile.TemporaryDirectory(prefix="base-") as home:
            (Path(home) / CONFIG).write_bytes(self.merged[CONFIG])
            (Path(home) / WEIGHTS).write_bytes(self._base())
            models = check.open_folder(transformers, Path(home), family_of(self.loaded.recipe), terms)
        try:
            with warnings.catch_warnings():  # what they say to each other
                warnings.simplefilter("ignore")
                return {
                    name: peft.PeftModel.from_pretrained(model, str(folder)).eval() for name, model in models.items()
                }
        except Exception as error:  # whatever its code makes of a folder that does not fit
            first = printable(str(error).strip().partition("\n")[0])
            raise InputError(f"peft {peft.__version__} cannot open it: {first}") from None

    def said(self, out: str | Path, compared: dict[str, Any], say: Callable[[str], None]) -> None:
        classes = ", ".join(dict.fromkeys(compared["classes"]))
        say(f"peft {compared['peft']} opens it over its base as {classes} of transformers {compared['transformers']}")
        say(f"largest differences in float32: {_apart(compared)} (of the largest answer, or of 1)")
        say(f"{printable(out)}: exported")

    def card(self, compared: dict[str, Any]) -> str:
        """The text of README.md; no path of the machine is in it."""
        name, labels = self.loaded.recipe.name, self.loaded.labels.names
        weights, opened = self.loaded.config["from"]["weights"], compared["classes"][0]
        digest = weights if isinstance(weights, str) else ", ".join(weights.values())
        heads = self.loaded.task is not None and {"label", "tag"} & {*self.loaded.member.weights()}
        how = f", num_labels={len(labels) or 1}" if heads else ""
        how += f", id2label={dict(enumerate(labels))!r}" if labels and heads else ""
        front = {"library_name": "peft", "tags": ["bertsmith", name, "lora"]}
        return "\n".join(
            [
                "---",
                *(f"{key}: {json.dumps(value)}" for key, value in front.items()),
                "---",
                "",
                f"# Updates of low rank for {name}",
                "",
                f"They stand on a model whose weights have the SHA-256 {digest}.  Of a run of bertsmith",
                "`bertsmith export RUN --out base` makes the folder that they and the head beside them open over:",
                "",
                "```python",
                "from peft import PeftModel",
                f"from transformers import AutoTokenizer, {opened}",
                "",
                f'model = {opened}.from_pretrained("base"{how})',
                'model = PeftModel.from_pretrained(model, "updates").eval()',
                'tokenizer = AutoTokenizer.from_pretrained("updates")',
                "```",
                "",
                f"Checked with peft {compared['peft']} and transformers {compared['transformers']}: largest differences in float32",
                f"{_apart(compared)}, of the largest answer or of 1.",
                "",
            ]
        )


def _apart(compared: dict[str, Any]) -> str:
    return ", ".join(f"{answer} {value:.1e}" for answer, value in compared["largest_difference"].items())
