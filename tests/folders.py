"""Models and folders of Hugging Face format for tests: random in every tensor, as small as can be."""

from dataclasses import replace
from pathlib import Path

import torch

from bertsmith.deploy.hf_config import hf_config
from bertsmith.deploy.hf_families import FAMILIES
from bertsmith.deploy.hf_tokenizer import hf_tokenizer
from bertsmith.downstream.model import Loaded
from bertsmith.nn.axial import Axial
from bertsmith.nn.chunks import ByLayer, Chunks
from bertsmith.nn.feedforward import Plain
from bertsmith.nn.hashed import Hashed
from bertsmith.nn.member import build
from bertsmith.nn.norms import LayerNorm
from bertsmith.nn.positions import Learned
from bertsmith.nn.reversible import Reversible
from bertsmith.objectives.predict import Pair, Predict, Summary, Tokens, Trunk
from bertsmith.objectives.replaced import Detect
from bertsmith.objectives.supervised import Classify, Regress, Span, Tag
from bertsmith.recipe import find
from bertsmith.tasks.reading import Reading
from bertsmith.text.tokenizer import Tokenizer

OBJECTIVES = {
    ("bert", "token+pair"): Predict(heads=(Tokens(), Pair())),
    ("bert", "token"): Predict(heads=(Tokens(),)),
    ("bert", "token+summary"): Predict(heads=(Tokens(), Summary())),
    ("bert", "pair"): Predict(heads=(Pair(),)),
    ("bert", "summary"): Predict(heads=(Summary(),)),
    ("bert", "none"): Trunk(),
    ("bert", "classify"): Classify(classes=3),
    ("bert", "regress"): Regress(),
    ("roberta", "token"): Predict(heads=(Tokens(),)),
    ("roberta", "token+summary"): Predict(heads=(Tokens(), Summary())),
    ("roberta", "summary"): Predict(heads=(Summary(),)),
    ("roberta", "none"): Trunk(),
    ("roberta", "classify"): Classify(classes=3),
    ("roberta", "regress"): Regress(),
    ("albert", "token+pair"): Predict(heads=(Tokens(), Pair())),
    ("albert", "token"): Predict(heads=(Tokens(),)),
    ("albert", "token+summary"): Predict(heads=(Tokens(), Summary())),
    ("albert", "summary"): Predict(heads=(Summary(),)),
    ("albert", "none"): Trunk(),
    ("albert", "classify"): Classify(classes=3),
    ("albert", "regress"): Regress(),
    ("electra", "token"): Predict(heads=(Tokens(),), pooler="gelu"),
    ("electra", "replaced"): Predict(heads=(Detect(),), pooler="gelu"),
    ("electra", "none"): Trunk(pooler="gelu"),
    ("electra", "classify"): Classify(classes=3, pooler="gelu"),
    ("electra", "regress"): Regress(pooler="gelu"),
}
OBJECTIVES |= {("ernie", head): objective for (family, head), objective in OBJECTIVES.items() if family == "bert"}
OBJECTIVES |= {("xlnet", head): OBJECTIVES["bert", head] for head in ("none", "classify", "regress")}
OBJECTIVES |= {("xlnet", "token"): Predict(heads=(Tokens(transform=False),))}
OBJECTIVES |= {(family, "tag"): Tag(classes=3) for family in ("bert", "roberta", "albert", "ernie", "xlnet")}
OBJECTIVES |= {(family, "qa"): Span() for family in ("bert", "roberta", "albert", "ernie", "xlnet")}
OBJECTIVES |= {("electra", "tag"): Tag(classes=3, pooler="gelu"), ("electra", "qa"): Span(pooler="gelu")}
OBJECTIVES |= {
    ("deberta-v2", head): made
    for (family, head), made in OBJECTIVES.items()
    if family == "electra" and head != "replaced"
}
LIKE_ROBERTA = ("xlm-roberta", "camembert", "longformer")
OBJECTIVES |= {
    (f, head): made for f in LIKE_ROBERTA for (family, head), made in OBJECTIVES.items() if family == "roberta"
}
OBJECTIVES |= {
    ("distilbert", "token"): Predict(heads=(Tokens(),), pooler="relu"),
    ("distilbert", "none"): Trunk(pooler="relu"),
}
OBJECTIVES |= {
    ("distilbert", "classify"): Classify(classes=3, pooler="relu"),
    ("distilbert", "regress"): Regress(pooler="relu"),
}
OBJECTIVES |= {("distilbert", "tag"): Tag(classes=3, pooler="relu"), ("distilbert", "qa"): Span(pooler="relu")}
MOBILE = Tokens(wide=True, norm=LayerNorm())
OBJECTIVES |= {
    ("mobilebert", "token+pair"): Predict(heads=(MOBILE, Pair(pooler="state")), pooler="state"),
    ("mobilebert", "token"): Predict(heads=(MOBILE,), pooler="state"),
    ("mobilebert", "summary"): Predict(heads=(Summary(),)),
    ("mobilebert", "none"): Trunk(pooler="state"),
    ("mobilebert", "classify"): Classify(classes=3, pooler="state"),
    ("mobilebert", "regress"): Regress(),  # through a layer, as their own config has it
    ("mobilebert", "tag"): Tag(classes=3, pooler="state"),
    ("mobilebert", "qa"): Span(pooler="state"),
}
NO_BIAS = Predict(heads=(Tokens(transform=False, bias=False),), pooler="none")
OBJECTIVES |= {
    (family, head): made
    for family in ("gpt2", "openai-gpt")
    for head, made in (
        ("token", NO_BIAS),
        ("none", Trunk(pooler="none")),
        ("classify", Classify(classes=3, pooler="none")),
    )
}
OBJECTIVES |= {
    ("bart", "token"): Predict(heads=(Tokens(transform=False, bias=False),)),
    ("bart", "none"): Trunk(),
    ("t5", "token"): Predict(heads=(Tokens(transform=False, bias=False, scaled=True),)),
    ("t5", "none"): Trunk(),
}
OBJECTIVES |= {
    ("modernbert", "token"): Predict(heads=(Tokens(dense_bias=False),), pooler="transform"),
    ("modernbert", "none"): Trunk(pooler="transform"),
    ("modernbert", "classify"): Classify(classes=3, pooler="transform"),
    ("modernbert", "regress"): Regress(pooler="transform", pool="mean"),
    ("modernbert", "tag"): Tag(classes=3, pooler="transform"),
    ("modernbert", "qa"): Span(pooler="transform"),
}
OBJECTIVES |= {("gpt2", "tag"): Tag(classes=3, pooler="none"), ("gpt2", "qa"): Span(pooler="none")}
# Over both sums, by a table of its own; layers of both kinds.
OWN_TABLE = Tokens(transform=False, bias=False, tied=False)
OBJECTIVES |= {("reformer", "token"): Predict(heads=(OWN_TABLE,)), ("reformer", "none"): Trunk()}
OBJECTIVES |= {("reformer", head): OBJECTIVES["roberta", head] for head in ("classify", "regress", "qa")}
BOTH_KINDS = ByLayer(parts=(Chunks(wraps=True), Hashed(rounds=2, wraps=True, repeats=True)))
TASKS = {
    "classify": {"kind": "classify", "labels": ["no", "perhaps", "yes"], "mean": 0.0, "scale": 1.0},
    "regress": {"kind": "regress", "labels": [], "mean": 37.5, "scale": 12.25},
    "tag": {"kind": "tag", "labels": ["B-X", "I-X", "O"]},
    "qa": {"kind": "qa", "labels": [], "nulls": True},
}
LENGTH = 48


def tokenizer_of(texts: list[str], kind: str = "wordpiece:300", lowercase: bool = True) -> Tokenizer:
    return Tokenizer.train(kind, texts, lowercase)


def recipe_of(family: str, head: str, vocab: int):
    """Two layers of width 16."""
    base = find(f"{FAMILIES[family].member}:tiny")
    embeddings = {"width": 8} if family in ("albert", "electra", "mobilebert") else {}
    embeddings |= {} if FAMILIES[family].segmented else {"segments": 0}
    slots = {"positions": Learned(length=LENGTH)} if base.model.longest else {}
    windowed = hasattr(base.model.attention, "window")
    slots |= {"attention": replace(base.model.attention, window=4)} if windowed else {}
    slots |= {"block": replace(base.model.block, width=12)} if hasattr(base.model.block, "width") else {}
    if family == "reformer":
        places, ends = Axial(rows=6, columns=LENGTH // 6), Reversible(ends="concatenated")
        slots |= {"positions": places, "attention": BOTH_KINDS, "feedforward": Plain(), "topology": ends}
    model = replace(
        base.model,
        vocab=vocab,
        layers=2,
        width=16,
        heads=2,
        hidden=64 if family == "openai-gpt" else 24,  # its own is four widths
        embeddings=replace(base.model.embeddings, **embeddings),
        dropout=0.1,
        memory=base.model.memory and replace(base.model.memory, length=20),
        **slots,
    )
    layout = replace(base.layout, length=LENGTH)
    name = family if FAMILIES[family].like else base.name
    return replace(base, name=name, model=model, layout=layout, objective=OBJECTIVES[family, head])


def randomised(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Biases and norms too: a swapped pair of names must show."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(torch.randn(weight.shape, generator=g) * 0.1)
    return module.eval()


def loaded(family: str, head: str, tokenizer: Tokenizer, at: Path, seed: int = 0, spare: int = 0) -> Loaded:
    """A model in memory, as if step 1 of a run at `at`.  `spare`: rows of its table that are no token's."""
    recipe = recipe_of(family, head, tokenizer.size + spare)
    task = TASKS.get(head)
    settings = {"columns": {}, "header": True, "pairs": False, "length": LENGTH, "settings": {}}
    rows = {"rows": 1, "sha256": "0" * 64}
    torch.manual_seed(seed)
    return Loaded(
        member=randomised(build(recipe), seed),
        recipe=recipe,
        tokenizer=tokenizer,
        path=at / "steps" / "step-00000001",
        kind="finetune" if task else "pretrain",
        task=task and {**task, **settings},
        config={"data": {"train": rows, "dev": rows} if task else {"digest": "0" * 64}},
    )


def theirs(
    transformers, family: str, head: str, tokenizer: Tokenizer, at: Path, seed: int = 1, spare: int = 0, **fields
):
    """A model of transformers with random weights, saved by its own `save_pretrained`, with our tokenizer's files.  `fields` are of its
    config.json."""
    recipe = recipe_of(family, head, tokenizer.size + spare)
    labels = tuple(TASKS[head]["labels"]) if head in TASKS else ()
    config = transformers.AutoConfig.for_model(**{**hf_config(recipe, tokenizer.vocab, labels), **fields})
    options = FAMILIES[family].bare if head == "none" else {}
    torch.manual_seed(seed)
    made = randomised(getattr(transformers, config.architectures[0])(config, **options), seed)
    with torch.no_grad():
        for name in FAMILIES[family].unread.values():  # added by some versions of theirs, and not by others
            if name.removesuffix(".bias") in dict(made.named_modules()):
                made.get_parameter(name).zero_()
    made.save_pretrained(at)
    bare = getattr(recipe.layout, "bare", False) and head not in TASKS
    for name, data in hf_tokenizer(tokenizer, Reading.of(recipe, LENGTH, marks="none" if bare else "usual")).items():
        (at / name).write_bytes(data)
    return made
