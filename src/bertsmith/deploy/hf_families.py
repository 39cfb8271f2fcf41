"""The families of Hugging Face models, one table for each: their names of our tensors and heads, the classes that open them and what these
answer.  Names with # stand once for each layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bertsmith.nn.attending import Full
from bertsmith.nn.blocks import PostNorm
from bertsmith.nn.embeddings import Asking, Summed
from bertsmith.nn.feedforward import Plain
from bertsmith.nn.memory import Recurrence
from bertsmith.nn.norms import LayerNorm
from bertsmith.nn.positions import Learned
from bertsmith.nn.relative import Relative
from bertsmith.nn.transformer import TransformerConfig

if TYPE_CHECKING:
    from torch import Tensor

# Modules with `.weight` and `.bias` on both sides; # is the layer; three names on the right are ours cut in three.
LAYER = (
    ("layers.#.attention.qkv", *(f"encoder.layer.#.attention.self.{x}" for x in ("query", "key", "value"))),
    ("layers.#.attention.out", "encoder.layer.#.attention.output.dense"),
    ("layers.#.attention_norm", "encoder.layer.#.attention.output.LayerNorm"),
    ("layers.#.feedforward.up", "encoder.layer.#.intermediate.dense"),
    ("layers.#.feedforward.down", "encoder.layer.#.output.dense"),
    ("layers.#.feedforward_norm", "encoder.layer.#.output.LayerNorm"),
)
# ALBERT keeps groups of layers: one that all layers are, or one for each.
GROUP = "encoder.albert_layer_groups.#.albert_layers.0"
ALBERT_LAYER = (
    ("layers.#.attention.qkv", *(f"{GROUP}.attention.{x}" for x in ("query", "key", "value"))),
    ("layers.#.attention.out", f"{GROUP}.attention.dense"),
    ("layers.#.attention_norm", f"{GROUP}.attention.LayerNorm"),
    ("layers.#.feedforward.up", f"{GROUP}.ffn"),
    ("layers.#.feedforward.down", f"{GROUP}.ffn_output"),
    ("layers.#.feedforward_norm", f"{GROUP}.full_layer_layer_norm"),
)
DISTILBERT_LAYER = (
    ("layers.#.attention.qkv", *(f"transformer.layer.#.attention.{x}_lin" for x in "qkv")),
    ("layers.#.attention.out", "transformer.layer.#.attention.out_lin"),
    ("layers.#.attention_norm", "transformer.layer.#.sa_layer_norm"),
    ("layers.#.feedforward.up", "transformer.layer.#.ffn.lin1"),
    ("layers.#.feedforward.down", "transformer.layer.#.ffn.lin2"),
    ("layers.#.feedforward_norm", "transformer.layer.#.output_layer_norm"),
)
# XLNet's; its attention has no modules but tensors.
XLNET_LAYER = (
    ("layers.#.attention_norm", "layer.#.rel_attn.layer_norm"),
    ("layers.#.feedforward.up", "layer.#.ff.layer_1"),
    ("layers.#.feedforward.down", "layer.#.ff.layer_2"),
    ("layers.#.feedforward_norm", "layer.#.ff.layer_norm"),
)
TOKENS = "embeddings.word_embeddings.weight"
POSITIONS = "embeddings.position_embeddings.weight"
SEGMENTS = "embeddings.token_type_embeddings.weight"
# What files of older versions hold: other names for the same tensors, and buffers that are no weights.
OLD = {".LayerNorm.gamma": ".LayerNorm.weight", ".LayerNorm.beta": ".LayerNorm.bias"}
BUFFERS = ("embeddings.position_ids", "embeddings.token_type_ids")
PARTS = ("embeddings.", "embeddings_project.", "encoder.", "pooler.")


@dataclass(frozen=True)
class Turned:
    """A tensor that stands otherwise in their files: `out(ours, heads)` is theirs, `back(theirs)` ours.  d width, h heads, e head width."""

    out: Callable[[Tensor, int], Tensor]
    back: Callable[[Tensor], Tensor]


SAME = Turned(lambda x, heads: x, lambda x: x)
INTO_HEADS = Turned(lambda x, heads: x.T.unflatten(1, (heads, -1)), lambda x: x.flatten(1).T)  # (h e, d) and (d, h, e)
OUT_OF_HEADS = Turned(lambda x, heads: x.unflatten(1, (heads, -1)), lambda x: x.flatten(1))  # (d, h e) and (d, h, e)
ONE_ROW = Turned(lambda x, heads: x[None, None], lambda x: x.flatten())  # (d,) and (1, 1, d)
Tensors = tuple[tuple[str, tuple[str, ...], Turned], ...]  # our tensor, theirs that make it up, how these stand

XLNET_TENSORS: Tensors = (
    ("embeddings.asking", ("mask_emb",), ONE_ROW),
    ("layers.#.attention.qkv.weight", tuple(f"layer.#.rel_attn.{x}" for x in "qkv"), INTO_HEADS),
    ("layers.#.attention.out.weight", ("layer.#.rel_attn.o",), OUT_OF_HEADS),
    ("layers.#.attention.positions.project.weight", ("layer.#.rel_attn.r",), INTO_HEADS),
    ("layers.#.attention.positions.content", ("layer.#.rel_attn.r_w_bias",), SAME),
    ("layers.#.attention.positions.place", ("layer.#.rel_attn.r_r_bias",), SAME),
    ("layers.#.attention.positions.segment", ("layer.#.rel_attn.r_s_bias",), SAME),
    ("layers.#.attention.positions.sides", ("layer.#.rel_attn.seg_embed",), SAME),
)

# Fields of our model and their names in config.json.
KEYS = {
    "vocab": "vocab_size",
    "width": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "hidden": "intermediate_size",
    "activation": "hidden_act",
    "dropout": "hidden_dropout_prob",
    "eps": "layer_norm_eps",
}
XLNET_KEYS = {
    "vocab": "vocab_size",
    "width": "d_model",
    "layers": "n_layer",
    "heads": "n_head",
    "hidden": "d_inner",
    "activation": "ff_activation",
    "dropout": "dropout",
    "eps": "layer_norm_eps",
}
DISTILBERT_KEYS = {
    "vocab": "vocab_size",
    "width": "dim",
    "layers": "n_layers",
    "heads": "n_heads",
    "hidden": "hidden_dim",
    "activation": "activation",
    "dropout": "dropout",
}
NUMBERS = ("vocab", "layers", "width", "heads", "hidden", "dropout")  # fields of our model that every body has


def bert_body(values: dict[str, Any]) -> TransformerConfig:
    """A BERT of these numbers, as `numbers_of` gives them."""
    return TransformerConfig(
        **{name: values[name] for name in NUMBERS},
        embeddings=Summed(segments=values["segments"], width=values["embedding"]),
        positions=Learned(length=values["length"]),
        norm=LayerNorm(eps=values["eps"]),
        feedforward=Plain(activation=values["activation"]),
        share=values["share"],
    )


def distilbert_body(values: dict[str, Any]) -> TransformerConfig:
    """Its norms' eps is no number of its own."""
    return bert_body({**values, "eps": 1e-12})


def xlnet_body(values: dict[str, Any]) -> TransformerConfig:
    return TransformerConfig(
        **{name: values[name] for name in NUMBERS},
        embeddings=Asking(),
        positions=Relative(segments=True, clamp=values["clamp"]),
        block=PostNorm(dropout_last=True),
        norm=LayerNorm(eps=values["eps"]),
        attention=Full(bias=False),
        feedforward=Plain(activation=values["activation"]),
        memory=Recurrence(length=values["memory"]),
    )


def numbers_of(model: TransformerConfig) -> dict[str, Any]:
    """What a body of some family is free in, where a model has it."""
    return {
        **{name: getattr(model, name) for name in (*NUMBERS, "activation", "share", "segments")},
        "eps": getattr(model.norm, "eps", 1.0),
        "embedding": model.embeddings.width,
        "length": model.longest or 1,
        "clamp": getattr(model.positions, "clamp", None),
        "memory": getattr(model.memory, "length", 0),
    }


# What transformers had once, and why nothing here can be compared with it.
GONE = {"transfo-xl": "transformers has had no Transformer-XL since version 5, nor an adaptive softmax"}

# Heads over the tokens: every family has them alike.
OVER_TOKENS = {"tag": (("out", "classifier"),), "span": (("out", "qa_outputs"),)}


@dataclass(frozen=True, kw_only=True)
class Family:
    """`heads`: per term, our module or parameter below `objective.<term>.` and theirs; a head is there when all of its names are.

    `members`: where the shapes are another family's, too, those that belong here by name; a folder becomes the first of them, or `like`
    under its own name.
    `base`: what its trunk is called inside a model with heads; one without stands in its file without that, and its names begin with `parts`.
    """

    model_type: str
    base: str
    parts: tuple[str, ...] = PARTS
    members: tuple[str, ...] = ()
    like: str | None = None  # the member whose recipe a folder of this family is given; None: its own
    folded: bool = False  # positions offset by pad + 1 and the single segment row folded into them
    segmented: bool = True  # it has a table of segments
    keys: dict[str, str] = field(default_factory=lambda: KEYS)
    body: Callable[[dict[str, Any]], TransformerConfig] = bert_body  # ours, of the numbers that it is free in
    positions: type = Learned
    tokens: str = TOKENS
    modules: tuple[tuple[str, ...], ...] = (("embeddings.norm", "embeddings.LayerNorm"),)
    layer: tuple[tuple[str, ...], ...] = LAYER
    tensors: Tensors = ()
    project: str | None = None  # between a factorised token table and the layers; None: there is none
    factorised: tuple[bool, ...] = (False,)  # whether the token table may be
    share: tuple[str, ...] = ("none",)  # what its layers may have in common
    pooler: str = "tanh"  # of its classifiers
    dropout: str = "classifier_dropout"  # of its classifiers, in config.json
    bare: dict[str, Any] = field(default_factory=lambda: {"add_pooling_layer": False})  # what opens it without a pooler
    opened: dict[tuple[str, ...], tuple[str, ...]] = field(default_factory=dict)  # where not by OPENED_BY
    heads: dict[str, tuple[tuple[str, str], ...]]
    tied: dict[str, str]  # copies that their state dicts may hold, and of what
    architectures: dict[tuple[str, ...], str]  # by our terms, in the order of `heads`
    pad: int  # of the published vocabularies

    @property
    def segments(self) -> bool:
        """Whether there is one for each token to be told."""
        return self.positions is Learned and self.segmented and not self.folded

    @property
    def member(self) -> str:
        """The member whose recipe a folder of this family is given."""
        return self.like or next(iter(self.members), self.model_type)


def _like_bert(model_type: str, name: str, members: tuple[str, ...] = ()) -> Family:
    """BERT's tensors and classes under a family's own names."""
    pooler = ("pooler.dense", f"{model_type}.pooler.dense")
    return Family(
        model_type=model_type,
        base=model_type,
        members=members,
        heads={
            "token": (
                ("dense", "cls.predictions.transform.dense"),
                ("norm", "cls.predictions.transform.LayerNorm"),
                ("=bias", "cls.predictions.bias"),
            ),
            "pair": (pooler, ("out", "cls.seq_relationship")),
            "summary": (pooler,),
            "label": (pooler, ("out", "classifier")),
            **OVER_TOKENS,
        },
        tied={
            "cls.predictions.decoder.weight": f"{model_type}.{TOKENS}",
            "cls.predictions.decoder.bias": "cls.predictions.bias",
        },
        architectures={
            ("token", "pair"): f"{name}ForPreTraining",
            ("token",): f"{name}ForMaskedLM",
            ("token", "summary"): f"{name}ForMaskedLM",
            ("pair",): f"{name}ForNextSentencePrediction",
            ("label",): f"{name}ForSequenceClassification",
            ("tag",): f"{name}ForTokenClassification",
            ("span",): f"{name}ForQuestionAnswering",
            ("summary",): f"{name}Model",
            (): f"{name}Model",
        },
        pad=0,
    )


def _like_roberta(model_type: str, name: str, **other: Any) -> Family:
    """RoBERTa's tensors under a family's own class names."""
    return Family(
        model_type=model_type,
        base="roberta",
        folded=True,
        heads={
            "token": (("dense", "lm_head.dense"), ("norm", "lm_head.layer_norm"), ("=bias", "lm_head.bias")),
            "summary": (("pooler.dense", "roberta.pooler.dense"),),
            "label": (("pooler.dense", "classifier.dense"), ("out", "classifier.out_proj")),
            **OVER_TOKENS,
        },
        tied={"lm_head.decoder.weight": f"roberta.{TOKENS}", "lm_head.decoder.bias": "lm_head.bias"},
        architectures={
            ("token",): f"{name}ForMaskedLM",
            ("token", "summary"): f"{name}ForMaskedLM",
            ("label",): f"{name}ForSequenceClassification",
            ("tag",): f"{name}ForTokenClassification",
            ("span",): f"{name}ForQuestionAnswering",
            ("summary",): f"{name}Model",
            (): f"{name}Model",
        },
        pad=1,
        **other,
    )


FAMILIES = {
    "bert": _like_bert("bert", "Bert"),
    "roberta": _like_roberta("roberta", "Roberta"),
    "xlm-roberta": _like_roberta("xlm-roberta", "XLMRoberta", members=("xlm-roberta",), like="roberta"),
    "camembert": _like_roberta("camembert", "Camembert", members=("camembert",), like="roberta"),
    # BERT's layers without segments; its classifier has a layer and ReLU before it, and it has no other summary.
    "distilbert": Family(
        model_type="distilbert",
        base="distilbert",
        parts=("embeddings.", "transformer."),
        like="bert",
        segmented=False,
        keys=DISTILBERT_KEYS,
        body=distilbert_body,
        layer=DISTILBERT_LAYER,
        pooler="relu",
        dropout="seq_classif_dropout",
        bare={},
        heads={
            "token": (("dense", "vocab_transform"), ("norm", "vocab_layer_norm"), ("=bias", "vocab_projector.bias")),
            "label": (("pooler.dense", "pre_classifier"), ("out", "classifier")),
            **OVER_TOKENS,
        },
        tied={"vocab_projector.weight": f"distilbert.{TOKENS}"},
        architectures={
            ("token",): "DistilBertForMaskedLM",
            ("label",): "DistilBertForSequenceClassification",
            ("tag",): "DistilBertForTokenClassification",
            ("span",): "DistilBertForQuestionAnswering",
            (): "DistilBertModel",
        },
        pad=0,
    ),
    "albert": Family(
        model_type="albert",
        base="albert",
        dropout="classifier_dropout_prob",
        layer=ALBERT_LAYER,
        project="encoder.embedding_hidden_mapping_in",
        factorised=(True,),
        share=("all", "none"),
        heads={
            "token": (("dense", "predictions.dense"), ("norm", "predictions.LayerNorm"), ("=bias", "predictions.bias")),
            "pair": (("pooler.dense", "albert.pooler"), ("out", "sop_classifier.classifier")),
            "summary": (("pooler.dense", "albert.pooler"),),
            "label": (("pooler.dense", "albert.pooler"), ("out", "classifier")),
            **OVER_TOKENS,
        },
        tied={"predictions.decoder.weight": f"albert.{TOKENS}", "predictions.decoder.bias": "predictions.bias"},
        architectures={
            ("token", "pair"): "AlbertForPreTraining",
            ("token",): "AlbertForMaskedLM",
            ("token", "summary"): "AlbertForMaskedLM",
            ("label",): "AlbertForSequenceClassification",
            ("tag",): "AlbertForTokenClassification",
            ("span",): "AlbertForQuestionAnswering",
            ("summary",): "AlbertModel",
            (): "AlbertModel",
        },
        pad=0,
    ),
    # Its classifier is that of transformers; the released code has no layer between [CLS] and the classes.
    "electra": Family(
        model_type="electra",
        base="electra",
        project="embeddings_project",
        factorised=(True, False),
        pooler="gelu",
        bare={},
        heads={
            "token": (
                ("dense", "generator_predictions.dense"),
                ("norm", "generator_predictions.LayerNorm"),
                ("=bias", "generator_lm_head.bias"),
            ),
            "replaced": (
                ("dense", "discriminator_predictions.dense"),
                ("out", "discriminator_predictions.dense_prediction"),
            ),
            "label": (("pooler.dense", "classifier.dense"), ("out", "classifier.out_proj")),
            **OVER_TOKENS,
        },
        tied={"generator_lm_head.weight": f"electra.{TOKENS}"},
        architectures={
            ("token",): "ElectraForMaskedLM",
            ("replaced",): "ElectraForPreTraining",
            ("label",): "ElectraForSequenceClassification",
            ("tag",): "ElectraForTokenClassification",
            ("span",): "ElectraForQuestionAnswering",
            (): "ElectraModel",
        },
        pad=0,
    ),
    # Without task types, which the first ERNIE has not, it is a BERT.
    "ernie": _like_bert("ernie", "Ernie", members=("ernie1", "ernie1-dialogue")),
    "xlnet": Family(
        model_type="xlnet",
        base="transformer",
        parts=("word_embedding.", "mask_emb", "layer."),
        keys=XLNET_KEYS,
        body=xlnet_body,
        positions=Relative,
        tokens="word_embedding.weight",
        modules=(),
        layer=XLNET_LAYER,
        tensors=XLNET_TENSORS,
        dropout="summary_last_dropout",
        bare={},
        opened={("token",): ("AutoModelForCausalLM", "AutoModel")},  # its class of masked models is that of causal ones
        heads={
            "token": (("=bias", "lm_loss.bias"),),
            "label": (("pooler.dense", "sequence_summary.summary"), ("out", "logits_proj")),
            **OVER_TOKENS,
        },
        tied={"lm_loss.weight": "transformer.word_embedding.weight"},
        architectures={
            ("token",): "XLNetLMHeadModel",
            ("label",): "XLNetForSequenceClassification",
            ("tag",): "XLNetForTokenClassification",
            ("span",): "XLNetForQuestionAnsweringSimple",
            (): "XLNetModel",
        },
        pad=5,
    ),
}
LABEL_OUTPUTS = tuple(
    f"{module}.{end}" for module in ("classifier", "classifier.out_proj", "logits_proj") for end in ("weight", "bias")
)
# The classes that open a folder with these terms, and what each of them answers.
OPENED_BY = {
    ("token", "pair"): ("AutoModelForPreTraining", "AutoModelForMaskedLM", "AutoModel"),
    ("token",): ("AutoModelForMaskedLM", "AutoModel"),
    ("token", "summary"): ("AutoModelForMaskedLM", "AutoModel"),
    ("pair",): ("AutoModelForNextSentencePrediction", "AutoModel"),
    ("replaced",): ("AutoModelForPreTraining", "AutoModel"),
    ("label",): ("AutoModelForSequenceClassification",),
    ("tag",): ("AutoModelForTokenClassification",),
    ("span",): ("AutoModelForQuestionAnswering",),
    ("summary",): ("AutoModel",),
    (): ("AutoModel",),
}
PAIR_LOGITS = ("seq_relationship_logits", "sop_logits")
ANSWERS: dict[str, dict[str, str | tuple[str, ...]]] = {  # the first of several that is there
    "AutoModelForPreTraining": {"token": "prediction_logits", "pair": PAIR_LOGITS, "replaced": "logits"},
    "AutoModelForMaskedLM": {"token": "logits"},
    "AutoModelForCausalLM": {"token": "logits"},
    "AutoModelForNextSentencePrediction": {"pair": "logits"},
    "AutoModelForSequenceClassification": {"label": "logits"},
    "AutoModelForTokenClassification": {"tag": "logits"},
    "AutoModelForQuestionAnswering": {"start": "start_logits", "end": "end_logits"},
    "AutoModel": {"hidden": "last_hidden_state", "summary": "pooler_output"},
}
