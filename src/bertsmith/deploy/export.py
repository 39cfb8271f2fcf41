"""Export: a model as a folder of Hugging Face format, which opens without this package.

Nothing stands at `--out` before transformers has opened it again, found a place for every tensor, and given the same token ids and the
same logits.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

from bertsmith import __version__, files
from bertsmith.deploy import check, named
from bertsmith.deploy.adapter_folder import ADAPTER, UPDATES, Updates, check_updates, peft_needed
from bertsmith.deploy.card import card
from bertsmith.deploy.folder_files import CONFIG, FORMAT, WEIGHTS
from bertsmith.deploy.halves import half_of
from bertsmith.deploy.hf import family_of, to_hf
from bertsmith.deploy.hf_config import hf_config
from bertsmith.deploy.hf_families import PAIR
from bertsmith.deploy.hf_pairs import pair_config, pair_tensors
from bertsmith.deploy.hf_tokenizer import TOKENIZER, hf_tokenizer
from bertsmith.deploy.hf_writing import generation_config, kept_of, room_of
from bertsmith.deploy.sentences import NAMES, vector_files
from bertsmith.deploy.texts import texts
from bertsmith.deploy.untold import untold
from bertsmith.deploy.word_vectors import FORMS, export_vectors
from bertsmith.downstream.based import plain
from bertsmith.downstream.model import Loaded, opened
from bertsmith.downstream.several import check_named
from bertsmith.errors import InputError, nearest, printable
from bertsmith.nn.body import outer
from bertsmith.nn.modules.member import MemberModel
from bertsmith.objectives.denoising import Denoising
from bertsmith.objectives.layers import OverLayers
from bertsmith.objectives.predict import Trunk
from bertsmith.objectives.vectors import Vectors
from bertsmith.spelling import amount, option, setting
from bertsmith.training.saving import weights_of

TO = ("hf", "onnx", "peft", *FORMS)
CARD = "README.md"
GENERATION = "generation_config.json"
OURS = {CONFIG, WEIGHTS, CARD, GENERATION, files.MANIFEST, *TOKENIZER, *NAMES, ADAPTER, UPDATES}
TEXTS = 1000


def export(
    model: str | Path | Loaded,
    out: str | Path,
    *,
    to: str = "hf",
    half: str | None = None,
    pool: str | None = None,
    int8: bool = False,
    input: Any = None,
    columns: Any = None,
    force: bool = False,
    push: str | None = None,
    private: bool = True,
    base: str | Path | Loaded | None = None,
    members: tuple[str, ...] = (),
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Write `model` to the new folder `out`; returns what was compared.  `force` replaces an export that stands there.

    `to`: "hf", a folder that transformers opens; "onnx", graphs that ONNX Runtime answers by (deploy/onnx/export.py), with `pool` the vectors of
    texts in place of what a head says, with `int8` in eight bits, too, and what that loses on the texts of `input` (and `columns`); "peft", updates of low rank alone and their head, which peft opens over their base;
    "word2vec", "word2vec-bin" or "glove", a file of the vectors of words (deploy/word_vectors.py).
    `half`: which of its two models, where it has two ("discriminator" unless given, or "generator").
    `push`: "user/name" on the Hugging Face hub, which a new repository there is `private` on.
    InputError for a model that transformers has no class for, for weights that are not finite, where it reads the folder otherwise, and
    where it is not installed; ResourceError where the disk or the hub refuses.  Either way nothing is left at `out`.
    """
    if to not in TO:
        raise InputError(f"{option('to', to)}: unknown; {nearest(str(to), TO)}")
    if to != "onnx":
        for name, value in {"pool": pool, "int8": int8 or None, "input": input, "columns": columns}.items():
            if value is not None:
                raise InputError(f"{option(name)}: of {option('to', 'onnx')} alone; leave it out")
    if to == "onnx":
        from bertsmith.deploy.onnx.export import export_onnx

        if push is not None:
            raise InputError(f"{option('push', push)}: what is pushed is {option('to', 'hf')}; leave it out")
        more = {"pool": pool, "small": int8, "input": input, "columns": columns}
        return export_onnx(model, out, half=half, force=force, base=base, members=members, say=say, **more)
    if to in FORMS:
        return export_vectors(model, out, to, force=force, base=base, members=members, say=say)
    if push is not None:
        from bertsmith.deploy import hub

        hub.library()
        hub.check_name(push, owned=True)
    transformers = check.transformers_needed("export")
    if to == "peft":
        peft_needed()
    files.refuse_unless_replaceable(out, OURS.__contains__, "Hugging Face export", force)
    tuned = opened(model, members=members, say=say, base=base)
    if to == "peft":
        check_updates(tuned)
    given = untold(half_of(plain(tuned), half))
    if isinstance(given.recipe.objective, Trunk) and not isinstance(tuned.recipe.objective, Trunk):
        asked = tuned.recipe.objective
        alone = [term for term in asked.weights() if term in family_of(given.recipe).alone]
        why = "with one" if alone else f"whose head reads through a {type(asked).__name__}"
        say(
            f"its {', '.join(alone or asked.weights())} head stays here: transformers has no class {why}; what is written is the encoder"
        )
    check_named(given)
    loaded = here(_without_task(given))
    where, home = Path(out).resolve(), loaded.run.resolve()
    if where == home or home in where.parents:
        raise InputError(f"{printable(out)}: {option('out')} lies in the model's own folder; choose another place")
    content, updates = _content(loaded), None
    if to == "peft":
        tuned = here(_without_task(tuned))
        updates = Updates(tuned, _in_their_scale(tuned), content)
        content = updates.content()
    with files.partial(out) as folder, files.writing(out):
        for name, data in content.items():
            (folder / name).parent.mkdir(exist_ok=True)
            files.create(folder / name, data)
        if updates is None:
            compared = _compare(transformers, folder, loaded, out)
            files.create(folder / CARD, card(given, compared).encode())
        else:
            compared = updates.compared(transformers, folder, out)
            files.create(folder / CARD, updates.card(compared).encode())
        listed = files.listing(folder, [*content, CARD])
        manifest = {
            "format": FORMAT,
            "kind": "export",
            "to": to,
            "created_by": f"bertsmith {__version__}",
            "compared": compared,
            "files": listed,
        }
        files.create(folder / files.MANIFEST, files.sealed(manifest))
        files.refuse_unless_replaceable(out, OURS.__contains__, "Hugging Face export", force)
        files.publish(folder, out)
    (_say if updates is None else updates.said)(out, compared, say)
    if check.cuts(loaded):
        say(check.SAID_WHOLE)
    result = {"out": str(out), **compared}
    if push is not None:
        result["pushed"] = hub.push(Path(out), push, private, say)
    return result


def _content(loaded: Loaded) -> dict[str, bytes]:
    """{name: bytes} of what a folder holds besides its card and manifest."""
    recipe, vocab, labels = loaded.recipe, loaded.vocab, loaded.labels
    if recipe.surgery is not None:
        raise InputError(
            f"{printable(loaded.run)}: has {type(recipe.surgery).__name__.lower()}, for which transformers has no class; {option('method', 'lora', 'full')} makes a model that is exported"
        )
    if isinstance(recipe.objective, OverLayers):
        raise InputError(
            f"{printable(loaded.run)}: its head reads several layers, for which transformers has no class; {option('method', 'full')} reads the last"
        )
    family_of(recipe)
    causal = loaded.reading().causal
    if causal != family_of(recipe).causal:
        sees = "only what comes before a token" if causal else "both sides of a token"
        raise InputError(f"{printable(loaded.run)}: sees {sees}, for which transformers has no class of these shapes")
    topology = recipe.model.topology
    if (
        recipe.model.decodes
        and topology.alone == "encoder"
        and {"label", "tag", "span"} & {*recipe.objective.weights()}
    ):
        raise InputError(
            f"{printable(loaded.run)}: its head reads the encoder's states, and transformers' classes of this family read the decoder's; it stays here"
        )
    if loaded.signs:
        raise InputError(
            f"{printable(loaded.run)}: reads {' and '.join(loaded.signs)} round places of a text, and transformers has no class that puts them there"
        )
    if "rank" in recipe.objective.weights():
        raise InputError(
            f"{printable(loaded.run)}: its head has thresholds between classes in an order, for which transformers has no class"
        )
    if getattr(recipe.objective, "san", None) is not None:
        raise InputError(
            f"{printable(loaded.run)}: its head reads a pair in several steps (head=san), for which transformers has no class; fine-tune with {setting('head', value='linear')}"
        )
    if getattr(recipe.objective, "head", "linear") != "linear":
        raise InputError(
            f"{printable(loaded.run)}: its tags come from more than a linear layer (head={recipe.objective.head}), for which transformers has no class; fine-tune with {setting('head', value='linear')}"
        )
    if getattr(recipe.objective, "pool", "cls") not in family_of(recipe).pools:
        raise InputError(
            f"{printable(loaded.run)}: its head reads more than [CLS] (pool={recipe.objective.pool}), for which transformers has no class; fine-tune with {setting('pool', value='cls')}"
        )
    if getattr(recipe.objective, "orders", "one") != "one":
        raise InputError(
            f"{printable(loaded.run)}: reads a pair in both orders, for which transformers has no class; fine-tune with {setting('orders', value='one')}"
        )
    if loaded.task is None and getattr(recipe.corruption.rewrite, "visibility", "full") != "full":
        raise InputError(
            f"{printable(loaded.run)}: learned to see one side or a source too ({type(recipe.corruption.rewrite).__name__}), for which "
            "transformers has no class; once fine-tuned it sees both sides and is exported"
        )
    if loaded.writing is not None and loaded.reading().fills:
        raise InputError(
            f"{printable(loaded.run)}: fills masks behind a text to write about it, for which transformers has no class; "
            "bart, t5 and gpt2 write as classes there do"
        )
    if getattr(loaded.writing, "visibility", "causal") == "prefix":
        raise InputError(
            f"{printable(loaded.run)}: its text sees all of itself (visibility prefix), for which transformers has no class; fine-tune with {setting('visibility', value='causal')}"
        )
    vectors = loaded.config.get("vectors")
    state = _in_their_scale(loaded)
    for name, tensor in state.items():
        if not torch.isfinite(tensor).all():
            raise InputError(f"{printable(loaded.run)}: {name} is not finite; such a model is not exported")
    pair = family_of(recipe) is PAIR
    config = pair_config(recipe, vocab) if pair else hf_config(recipe, vocab, labels.names if loaded.task else ())
    config = {"dtype": "float32", **config, **kept_of(loaded)}
    tensors = pair_tensors(state, recipe, vocab.pad) if pair else _tensors(state, recipe, vocab.pad, config)
    return {
        CONFIG: json.dumps(config, indent=2, ensure_ascii=False).encode() + b"\n",
        WEIGHTS: tensors_to_bytes(tensors, metadata={"format": "pt"}),
        **hf_tokenizer(
            loaded.tokenizer,
            loaded.reading(room_of(loaded)),
            fills="token" in recipe.objective.weights(),
            writes=recipe.model.decodes,
            names=sentinels_of(loaded),
        ),
        **_generation(loaded),
        **(vector_files(vectors, outer(recipe.model), loaded.length()) if vectors else {}),
    }


def here(loaded: Loaded) -> Loaded:
    """On the CPU, where all are compared."""
    return loaded if loaded.device.type == "cpu" else replace(loaded, member=deepcopy(loaded.member).cpu())


def _without_task(loaded: Loaded) -> Loaded:
    """What was tuned to vectors is an encoder without a head or a decoder, beside which stands how vectors are made of its states."""
    if not isinstance(loaded.recipe.objective, (Vectors, Denoising)):
        return loaded
    objective = Trunk(pooler=loaded.recipe.objective.pooler)
    member = MemberModel(loaded.member.model, objective.build(loaded.member.model))
    layout = replace(loaded.recipe.layout, length=loaded.length())
    recipe = replace(loaded.recipe, objective=objective, layout=layout)
    return replace(
        loaded, member=member.eval(), recipe=recipe, task=None, config={**loaded.config, "task": loaded.task}
    )


def _tensors(state: dict[str, Tensor], recipe: Any, pad: int, config: dict[str, Any]) -> dict[str, Tensor]:
    """With a copy of the token table where their class takes a head for one of its own, though it is not."""
    found, tied = to_hf(state, recipe, pad), family_of(recipe).tied
    copy = next(iter(tied))
    if not config["tie_word_embeddings"] and "token" in recipe.objective.weights() and copy not in found:
        found[copy] = found[tied[copy]].clone()
    return found


def sentinels_of(loaded: Loaded) -> dict[int, str]:
    """Names of rows of the model's table that stand for hidden spans, where its tokenizer has none."""
    rewrite = loaded.recipe.corruption.rewrite
    if loaded.vocab.sentinels or not getattr(rewrite, "sentinels", 0):
        return {}
    names = rewrite.names(loaded.vocab)
    return {i: name for i, name in names.items() if i < loaded.recipe.model.vocab}


def _generation(loaded: Loaded) -> dict[str, bytes]:
    said = generation_config(loaded)
    return {} if said is None else {GENERATION: json.dumps(said, indent=2).encode() + b"\n"}


def _in_their_scale(loaded: Loaded) -> dict[str, Tensor]:
    """The state dict; a regression's mean and deviation, and the temperature of classes, are folded into its last layer, so that it says
    the numbers and the probabilities themselves."""
    state = {name: tensor.detach().float().cpu() for name, tensor in weights_of(loaded.member).items()}
    labels = loaded.labels
    for name in ("objective.label.out.weight", "objective.label.out.bias"):
        if labels.temperature != 1 and name in state:
            state[name] = (state[name].double() / labels.temperature).float()
    if loaded.task is not None and not labels.names and (labels.mean, labels.scale) != (0.0, 1.0):
        weight, bias = (f"objective.label.out.{name}" for name in ("weight", "bias"))
        state[weight] = (state[weight].double() * labels.scale).float()
        if bias in state:
            state[bias] = (state[bias].double() * labels.scale + labels.mean).float()
        else:
            _into_last_norm(state, loaded, state[weight][0])
    return state


def _into_last_norm(state: dict[str, Tensor], loaded: Loaded, row: Tensor) -> None:
    """The mean of a regression whose head is a matrix without bias: the norm that makes the states moves them along it, which nothing else reads."""
    last = ("model.norm.bias", f"model.layers.{loaded.recipe.model.layers - 1}.feedforward_norm.bias")
    name = next((name for name in last if name in state), None)
    length = float(row.double().square().sum())
    if name is None or not length:
        raise InputError(
            f"{printable(loaded.run)}: its numbers are {loaded.labels.mean:g} on average, and transformers' head of this family has no bias to say so"
        )
    state[name] = (state[name].double() + row.double() * (loaded.labels.mean / length)).float()


def _compare(transformers: Any, folder: Path, loaded: Loaded, out: str | Path) -> dict[str, Any]:
    """What the manifest keeps of it.  InputError where transformers reads the folder in another way than we do."""
    terms = tuple(loaded.member.weights())
    chosen, said = texts(loaded.tokenizer, loaded.config, TEXTS)
    try:
        models = check.open_folder(transformers, folder, family_of(loaded.recipe), terms)
        with check.quiet(transformers):
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
            wrong = check.differing_ids(tokenizer, loaded.tokenizer, chosen, loaded.reading())
            if wrong:
                shown = printable(repr(chosen[wrong[0]]), 60)
                raise InputError(
                    f"AutoTokenizer gives other ids for {len(wrong)} of {amount(len(chosen), 'text')}: {shown}"
                )
            named.check_backend(folder, loaded.tokenizer, chosen, loaded.reading())
            model_type = family_of(loaded.recipe).model_type
            by_name = named.by_name(transformers, folder, model_type, loaded.tokenizer, chosen, loaded.reading())
            fills = "token" in terms and not loaded.recipe.model.asks and loaded.reading().cls != "none"
            masks = check.differing_masks(tokenizer, loaded) if fills else []
            check.check_sentinels(tokenizer, loaded)
            made = check.groups(loaded, chosen)
            check.check_inputs(tokenizer, made)
            found = check.compare(loaded, models, made)
    except InputError as error:
        raise InputError(f"{printable(out)}: not written: {error}") from None
    return {
        "transformers": transformers.__version__,
        "classes": [type(model).__name__ for model in models.values()],
        "largest_difference": found,
        "texts": len(chosen),
        "texts_from": said,
        "masks_read_otherwise": masks,
        "tokenizers": by_name,  # 0, how many texts they give other ids for, or why they do not open it
    }


def _say(out: str | Path, compared: dict[str, Any], say: Callable[[str], None]) -> None:
    apart = ", ".join(f"{answer} {value:.1e}" for answer, value in compared["largest_difference"].items())
    classes = ", ".join(dict.fromkeys(compared["classes"]))
    say(f"transformers {compared['transformers']} opens it as {classes}, no tensor missing or left over")
    say(f"the same ids for {amount(compared['texts'], 'text')} ({compared['texts_from']})")
    if compared["masks_read_otherwise"]:
        shown = printable(repr(compared["masks_read_otherwise"][0]), 60)
        say(f"transformers reads what stands beside a mask otherwise than `bertsmith fill` does, as in {shown}")
    other = named.otherwise(compared["tokenizers"], compared["texts"])
    if other:
        say(other)
    say(f"largest differences in float32: {apart} (of the largest answer, or of 1)")
    say(f"{printable(out)}: exported")
