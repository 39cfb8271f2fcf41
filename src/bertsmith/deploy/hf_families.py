"""The families of Hugging Face models, one table for each: their names of our heads, the classes that open them and what these answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bertsmith.deploy.hf_bodies import (
    DISTILBERT_KEYS,
    GPT2_KEYS,
    GPT_KEYS,
    KEYS,
    MOBILEBERT_ONLY,
    XLNET_KEYS,
    bert_body,
    distilbert_body,
    gpt2_body,
    gpt_body,
    longformer_body,
    mobilebert_back,
    mobilebert_body,
    mobilebert_out,
    mobilebert_pooler,
    mobilebert_token,
    windows_back,
    windows_out,
    xlnet_body,
)
from bertsmith.deploy.hf_deberta import (
    DEBERTA_EITHER,
    DEBERTA_LAYER,
    DEBERTA_LEFT,
    DEBERTA_OLD,
    DEBERTA_ONLY,
    DEBERTA_TENSORS,
    POOLERS,
    deberta_body,
    deberta_means,
    deberta_names,
    deberta_pooler,
    deberta_says,
)
from bertsmith.deploy.hf_layers import (
    ALBERT_LAYER,
    DISTILBERT_LAYER,
    GPT_LAYER,
    GPT_TENSORS,
    LAYER,
    LINE,
    LONGFORMER_LAYER,
    MOBILEBERT_LAYER,
    PARTS,
    POSITIONS,
    SOURCE,
    TOKENS,
    TRANSPOSED,
    XLNET_LAYER,
    XLNET_TENSORS,
    Tensors,
)
from bertsmith.deploy.hf_modernbert import (
    MODERNBERT_BEFORE,
    MODERNBERT_EITHER,
    MODERNBERT_HEADS,
    MODERNBERT_KEYS,
    MODERNBERT_ONLY,
    MODERNBERT_TENSORS,
    POOLS,
    modernbert_apart,
    modernbert_body,
    modernbert_means,
    modernbert_pool,
    modernbert_says,
)
from bertsmith.deploy.hf_reformer import (
    REFORMER_CHUNKS,
    REFORMER_EITHER,
    REFORMER_KEYS,
    REFORMER_LAYER,
    REFORMER_MODULES,
    REFORMER_ONLY,
    REFORMER_TENSORS,
    reformer_apart,
    reformer_body,
    reformer_means,
    reformer_says,
)
from bertsmith.deploy.hf_stacks import (
    BART_KEYS,
    BART_LAYER,
    BART_MODULES,
    BART_ONLY,
    BART_TENSORS,
    SIDES,
    T5_GATED,
    T5_KEYS,
    T5_ONLY,
    T5_PLAIN,
    T5_TENSORS,
    bart_body,
    bart_means,
    bart_says,
    scaled,
    t5_body,
    t5_means,
    t5_says,
)
from bertsmith.nn.buckets import Buckets
from bertsmith.nn.disentangled import Distances
from bertsmith.nn.positions import Learned
from bertsmith.nn.relative import Relative
from bertsmith.nn.transformer import TransformerConfig

# What transformers had once, and why nothing here can be compared with it.
GONE = {"transfo-xl": "transformers has had no Transformer-XL since version 5, nor an adaptive softmax"}
# Encoders that have another's name and are something else, and encoder-decoders that have BART's or T5's names and are something else.
OTHERS = {
    "deberta": "version 1 has one matrix of queries, keys and values without biases of keys; of DeBERTas deberta-v2 is read, which version 3 is, too",
    **dict.fromkeys(
        ("mbart", "plbart", "pegasus", "blenderbot", "m2m_100"),
        "norms stand before each part and behind each stack there, BART's stand behind each part",
    ),
    **dict.fromkeys(("marian", "blenderbot-small"), "it has other places or norms than BART's"),
    **dict.fromkeys(("mt5", "umt5", "longt5", "switch_transformers"), "it is none of T5's and T5 v1.1's own"),
    **dict.fromkeys(("led", "fsmt", "prophetnet", "encoder-decoder"), "of encoder-decoders BART's and T5's are read"),
}

# Heads over the tokens: every family has them alike.
OVER_TOKENS = {"tag": (("out", "classifier"),), "span": (("out", "qa_outputs"),)}

ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_new", "relu": "relu"}
ABSENT = {"activation": "gelu", "dropout": 0.1, "eps": 1e-12}


Heads = tuple[tuple[Any, ...], ...]  # ours, theirs, and how it stands in their file where that is otherwise


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
    told: bool = False  # folded, but with two segments and more a table of them beside its positions
    segmented: bool = True  # it has a table of segments
    keys: dict[str, str] = field(default_factory=lambda: KEYS)
    body: Callable[[dict[str, Any]], TransformerConfig] = bert_body  # ours, of the numbers that it is free in
    positions: type = Learned
    tokens: str = TOKENS
    table: str = "embeddings.tokens.weight"  # what that is here
    places: str | None = POSITIONS  # the table of learned positions; None: it stands among `tensors`
    length: str = "max_position_embeddings"  # how many of these, in config.json
    drops: tuple[str, ...] = ("attention_probs_dropout_prob",)  # the model's own dropout, besides that of `keys`
    activations: dict[str, str] = field(default_factory=lambda: ACTIVATIONS)  # of its layers: ours, and their names
    only: dict[str, Any] = field(default_factory=dict)  # what config.json can say of it and only so is read
    widths: int | None = None  # of these is the hidden width where config.json names none
    causal: bool = False  # a token sees what came before it
    size: str = "base"  # of the member's, the one whose recipe a folder is given
    modules: tuple[tuple[str, ...], ...] = (("embeddings.norm", "embeddings.LayerNorm"),)
    layer: tuple[tuple[str, ...], ...] = LAYER
    source: tuple[
        tuple[str, ...], ...
    ] = ()  # of its layers where they are a decoder's (hf_pairs.py); (): they cannot be
    tensors: Tensors = ()
    plain: Tensors = ()  # where its feed-forward part has no gates
    gated: Tensors = ()  # where it has
    either: Tensors = ()  # of one kind of layer or of another: those that are there
    unread: dict[str, str] = field(
        default_factory=dict
    )  # by term: what their head holds, one for each token, and never reads
    chunks: tuple[str, ...] = ()  # lengths in config.json of what its layers cut a text into
    old: dict[str, str] = field(
        default_factory=dict
    )  # other beginnings that its names may have, and what they are here
    left: dict[str, str] = field(default_factory=dict)  # modules that are passed over, which is said: what they do
    named: Callable[[Mapping[str, Any]], dict[str, Any]] = (
        lambda names: {}
    )  # what config.json means where such tensors are there
    alone: tuple[str, ...] = ()  # terms whose head no class has: the encoder is written without it, which is said
    apart: Callable[[TransformerConfig], str | None] = lambda model: None  # why it cannot be one that is nearly its own
    stacks: tuple[str, ...] = ("",)  # what the names of each stack of layers begin with; an encoder's first
    cached: bool = True  # `generate` keeps keys and values of a decoder that is higher than the encoder
    optional: tuple[
        str, ...
    ] = ()  # tensors of its heads that may not be there: a bias that is 0, a table that is the tokens'
    says: Callable[[Any, Any], dict[str, Any]] | None = (
        None  # config.json besides `keys`, of a recipe and a Vocab or None
    )
    means: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]] | None = None  # the other way round
    out: Callable[[Any], dict[str, Any]] | None = None  # what config.json has otherwise, of a recipe
    back: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]] | None = None  # the other way round
    scaled: Callable[[dict[str, Any]], bool] | None = None  # whether states are divided before the table
    project: str | None = None  # between a factorised token table and the layers; None: there is none
    factorised: tuple[bool, ...] = (False,)  # whether the token table may be
    share: tuple[str, ...] = ("none",)  # what its layers may have in common
    pooler: str = "tanh"  # of its classifiers
    poolers: tuple[str, ...] = ()  # others that they may have
    summed: Callable[[dict[str, Any]], str] | None = None  # which of them, by config.json
    pools: tuple[str, ...] = ("cls",)  # what its classifiers of a text may read
    pooled: Callable[[dict[str, Any]], str] = lambda config: "cls"  # which of them, by config.json
    before: tuple[
        str, ...
    ] = ()  # tensors that stand before the classes of every head, which do not tell one from another
    told_of: tuple[str, ...] = ()  # tensors of heads that are there or not as config.json has it
    asks: Callable[[dict[str, Any]], dict[str, Any]] | None = None  # what its token head is besides, by config.json
    activation: str | None = None  # of its token head; None: that of its layers
    dropout: str = "classifier_dropout"  # of its classifiers, in config.json
    absent: dict[str, Any] = field(
        default_factory=lambda: ABSENT
    )  # numbers of ours that a config.json without them means
    bare: dict[str, Any] = field(default_factory=lambda: {"add_pooling_layer": False})  # what opens it without a pooler
    opened: dict[tuple[str, ...], tuple[str, ...]] = field(default_factory=dict)  # where not by OPENED_BY
    heads: dict[str, Heads]
    tied: dict[str, str]  # copies that their state dicts may hold, and of what
    architectures: dict[tuple[str, ...], str]  # by our terms, in the order of `heads`
    pad: int  # of the published vocabularies

    @property
    def placed(self) -> bool:
        """Whether it is a stack with a table of learned positions."""
        return self.positions is Learned and self.places is not None

    @property
    def segments(self) -> bool:
        """Whether there is one for each token to be told."""
        return self.placed and self.segmented and not self.folded

    def under(self, name: str) -> str:
        """A name of its trunk as it stands in a file of a model with heads."""
        return f"{self.base}.{name}" if self.base else name

    def bare_of(self, name: str) -> str:
        """The other way round."""
        return name.removeprefix(f"{self.base}.") if self.base else name

    def summary(self, config: dict[str, Any]) -> str:
        """What its classifiers read a text's state through."""
        return self.summed(config) if self.summed else self.pooler

    def empty(self, term: str) -> bool:
        """Whether a head can be there without a tensor of its own."""
        return all(row[1] in self.optional for row in self.heads[term])

    @property
    def member(self) -> str:
        """The member whose recipe a folder of this family is given."""
        return self.like or next(iter(self.members), self.model_type)


# The head over tokens is the table alone, and that over a text a matrix over its last token.
GPT_HEADS: dict[str, Heads] = {"token": (), "label": (("=out.weight", "score.weight"),)}
LIKE_GPT: dict[str, Any] = {
    "base": "transformer",
    "causal": True,
    "segmented": False,
    "layer": GPT_LAYER,
    "tensors": GPT_TENSORS,
    "length": "n_positions",
    "drops": ("embd_pdrop", "attn_pdrop"),
    "pooler": "none",
    "bare": {},
    "opened": {("token",): ("AutoModelForCausalLM", "AutoModel")},
    "pad": 0,
}


TWO: dict[str, Any] = {"bare": {}, "opened": {("token",): ("AutoModelForSeq2SeqLM", "AutoModel")}}


def _like_bert(model_type: str, name: str, members: tuple[str, ...] = ()) -> Family:
    """BERT's tensors and classes under a family's own names."""
    pooler = ("pooler.dense", f"{model_type}.pooler.dense")
    return Family(
        model_type=model_type,
        base=model_type,
        members=members,
        source=SOURCE,
        heads={
            "token": (
                ("dense", "cls.predictions.transform.dense"),
                ("norm", "cls.predictions.transform.LayerNorm"),
                ("=bias", "cls.predictions.bias"),
            ),
            "pair": (pooler, ("out", "cls.seq_relationship")),
            "summary": (pooler,),
            "label": (pooler, ("out", "classifier")),
            "choice": (pooler, ("out", "classifier")),
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
            ("choice",): f"{name}ForMultipleChoice",
            ("tag",): f"{name}ForTokenClassification",
            ("span",): f"{name}ForQuestionAnswering",
            ("summary",): f"{name}Model",
            (): f"{name}Model",
        },
        pad=0,
    )


def _like_roberta(model_type: str, name: str, base: str = "roberta", chooses: bool = True, **other: Any) -> Family:
    """RoBERTa's tensors under a family's own class names."""
    return Family(
        model_type=model_type,
        base=base,
        folded=True,
        activation="gelu",
        heads={
            "token": (("dense", "lm_head.dense"), ("norm", "lm_head.layer_norm"), ("=bias", "lm_head.bias")),
            "summary": (("pooler.dense", f"{base}.pooler.dense"),),
            "label": (("pooler.dense", "classifier.dense"), ("out", "classifier.out_proj")),
            "choice": (("pooler.dense", f"{base}.pooler.dense"), ("out", "classifier")),
            **OVER_TOKENS,
        },
        tied={"lm_head.decoder.weight": f"{base}.{TOKENS}", "lm_head.decoder.bias": "lm_head.bias"},
        architectures={
            ("token",): f"{name}ForMaskedLM",
            ("token", "summary"): f"{name}ForMaskedLM",
            ("label",): f"{name}ForSequenceClassification",
            **({("choice",): f"{name}ForMultipleChoice"} if chooses else {}),
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
    "roberta": _like_roberta("roberta", "Roberta", source=SOURCE),
    "xlm-roberta": _like_roberta("xlm-roberta", "XLMRoberta", members=("xlm-roberta",), like="roberta", source=SOURCE),
    "camembert": _like_roberta("camembert", "Camembert", members=("camembert",), like="roberta", source=SOURCE),
    # RoBERTa's with windows and matrices of their own for what reads all; a BERT that was made one keeps its segments.
    "longformer": _like_roberta(
        "longformer",
        "Longformer",
        base="longformer",
        chooses=False,  # their class of choices lets every token of a choice read all
        told=True,
        body=longformer_body,
        layer=LONGFORMER_LAYER,
        out=windows_out,
        back=windows_back,
    ),
    # BERT's layers without segments; its classifier has a layer and ReLU before it, and it has no other summary.
    "distilbert": Family(
        model_type="distilbert",
        base="distilbert",
        parts=("embeddings.", "transformer."),
        segmented=False,
        keys=DISTILBERT_KEYS,
        body=distilbert_body,
        drops=("attention_dropout",),
        layer=DISTILBERT_LAYER,
        pooler="relu",
        dropout="seq_classif_dropout",
        bare={},
        heads={
            "token": (("dense", "vocab_transform"), ("norm", "vocab_layer_norm"), ("=bias", "vocab_projector.bias")),
            "label": (("pooler.dense", "pre_classifier"), ("out", "classifier")),
            "choice": (("pooler.dense", "pre_classifier"), ("out", "classifier")),
            **OVER_TOKENS,
        },
        tied={"vocab_projector.weight": f"distilbert.{TOKENS}"},
        architectures={
            ("token",): "DistilBertForMaskedLM",
            ("label",): "DistilBertForSequenceClassification",
            ("choice",): "DistilBertForMultipleChoice",
            ("tag",): "DistilBertForTokenClassification",
            ("span",): "DistilBertForQuestionAnswering",
            (): "DistilBertModel",
        },
        pad=0,
    ),
    # BERT's heads over thin layers; published ones read the state of [CLS] as it is.
    "mobilebert": replace(
        _like_bert("mobilebert", "MobileBert"),
        source=(),
        body=mobilebert_body,
        only=MOBILEBERT_ONLY,
        absent={**ABSENT, "activation": "relu", "dropout": 0.0},
        out=mobilebert_out,
        back=mobilebert_back,
        factorised=(True,),
        modules=(
            ("embeddings.project", "embeddings.embedding_transformation"),
            ("embeddings.norm", "embeddings.LayerNorm"),
        ),
        layer=MOBILEBERT_LAYER,
        asks=mobilebert_token,
        poolers=("state",),
        summed=mobilebert_pooler,
        told_of=("mobilebert.pooler.dense.weight", "mobilebert.pooler.dense.bias"),
        heads={
            **_like_bert("mobilebert", "MobileBert").heads,
            "token": (
                ("dense", "cls.predictions.transform.dense"),
                ("norm", "cls.predictions.transform.LayerNorm"),
                ("=beside.weight", "cls.predictions.dense.weight", TRANSPOSED),
                ("=bias", "cls.predictions.bias"),
            ),
        },
    ),
    "albert": Family(
        model_type="albert",
        base="albert",
        dropout="classifier_dropout_prob",
        absent={**ABSENT, "activation": "gelu_new", "dropout": 0.0},
        layer=ALBERT_LAYER,
        project="encoder.embedding_hidden_mapping_in",
        factorised=(True,),
        share=("all", "none"),
        heads={
            "token": (("dense", "predictions.dense"), ("norm", "predictions.LayerNorm"), ("=bias", "predictions.bias")),
            "pair": (("pooler.dense", "albert.pooler"), ("out", "sop_classifier.classifier")),
            "summary": (("pooler.dense", "albert.pooler"),),
            "label": (("pooler.dense", "albert.pooler"), ("out", "classifier")),
            "choice": (("pooler.dense", "albert.pooler"), ("out", "classifier")),
            **OVER_TOKENS,
        },
        tied={"predictions.decoder.weight": f"albert.{TOKENS}", "predictions.decoder.bias": "predictions.bias"},
        architectures={
            ("token", "pair"): "AlbertForPreTraining",
            ("token",): "AlbertForMaskedLM",
            ("token", "summary"): "AlbertForMaskedLM",
            ("label",): "AlbertForSequenceClassification",
            ("choice",): "AlbertForMultipleChoice",
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
        activation="gelu",
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
            "choice": (("pooler.dense", "sequence_summary.summary"), ("out", "classifier")),
            **OVER_TOKENS,
        },
        tied={"generator_lm_head.weight": f"electra.{TOKENS}"},
        architectures={
            ("token",): "ElectraForMaskedLM",
            ("replaced",): "ElectraForPreTraining",
            ("label",): "ElectraForSequenceClassification",
            ("choice",): "ElectraForMultipleChoice",
            ("tag",): "ElectraForTokenClassification",
            ("span",): "ElectraForQuestionAnswering",
            (): "ElectraModel",
        },
        pad=0,
    ),
    # Versions 2 and 3.
    "deberta-v2": Family(
        model_type="deberta-v2",
        base="deberta",
        like="deberta-v3",
        parts=("embeddings.", "encoder."),
        body=deberta_body,
        positions=Distances,
        places=None,
        segmented=False,
        layer=DEBERTA_LAYER,
        tensors=DEBERTA_TENSORS,
        either=DEBERTA_EITHER,
        old=DEBERTA_OLD,
        left=DEBERTA_LEFT,
        named=deberta_names,
        alone=("replaced",),
        only=DEBERTA_ONLY,
        says=deberta_says,
        means=deberta_means,
        absent={**ABSENT, "eps": 1e-7},
        pooler="gelu",
        poolers=POOLERS,
        summed=deberta_pooler,
        dropout="cls_dropout",
        bare={},
        heads={
            "token": (
                ("dense", "cls.predictions.transform.dense"),
                ("norm", "cls.predictions.transform.LayerNorm"),
                ("=bias", "cls.predictions.bias"),
            ),
            "label": (("pooler.dense", "pooler.dense"), ("out", "classifier")),
            "choice": (("pooler.dense", "pooler.dense"), ("out", "classifier")),
            **OVER_TOKENS,
        },
        tied={
            "cls.predictions.decoder.weight": f"deberta.{TOKENS}",
            "cls.predictions.decoder.bias": "cls.predictions.bias",
        },
        architectures={
            ("token",): "DebertaV2ForMaskedLM",
            ("label",): "DebertaV2ForSequenceClassification",
            ("choice",): "DebertaV2ForMultipleChoice",
            ("tag",): "DebertaV2ForTokenClassification",
            ("span",): "DebertaV2ForQuestionAnswering",
            (): "DebertaV2Model",
        },
        pad=0,
    ),
    # Without task types, which the first ERNIE has not, it is a BERT.
    "ernie": _like_bert("ernie", "Ernie", members=("ernie1", "ernie1-dialogue", "ernie2")),
    "gpt2": Family(
        model_type="gpt2",
        keys=GPT2_KEYS,
        body=gpt2_body,
        size="small",
        modules=(("norm", "ln_f"),),
        tokens="wte.weight",
        places="wpe.weight",
        parts=("wte.", "wpe.", "h.", "ln_f."),
        absent={**ABSENT, "activation": "gelu_new", "eps": 1e-5},
        widths=4,
        only={"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False},
        heads={**GPT_HEADS, **OVER_TOKENS},
        tied={"lm_head.weight": "transformer.wte.weight"},
        architectures={
            ("token",): "GPT2LMHeadModel",
            ("label",): "GPT2ForSequenceClassification",
            ("tag",): "GPT2ForTokenClassification",
            ("span",): "GPT2ForQuestionAnswering",
            (): "GPT2Model",
        },
        **LIKE_GPT,
    ),
    "openai-gpt": Family(
        model_type="openai-gpt",
        members=("gpt",),
        keys=GPT_KEYS,
        body=gpt_body,
        modules=(),
        tokens="tokens_embed.weight",
        places="positions_embed.weight",
        parts=("tokens_embed.", "positions_embed.", "h."),
        absent={**ABSENT, "eps": 1e-5},
        activations={"gelu_tanh": "gelu", "relu": "relu"},  # its gelu is the tanh form
        heads=GPT_HEADS,
        tied={"lm_head.weight": "transformer.tokens_embed.weight"},
        architectures={
            ("token",): "OpenAIGPTLMHeadModel",
            ("label",): "OpenAIGPTForSequenceClassification",
            (): "OpenAIGPTModel",
        },
        **LIKE_GPT,
    ),
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
            "choice": (("pooler.dense", "sequence_summary.summary"), ("out", "logits_proj")),
            **OVER_TOKENS,
        },
        tied={"lm_loss.weight": "transformer.word_embedding.weight"},
        architectures={
            ("token",): "XLNetLMHeadModel",
            ("label",): "XLNetForSequenceClassification",
            ("choice",): "XLNetForMultipleChoice",
            ("tag",): "XLNetForTokenClassification",
            ("span",): "XLNetForQuestionAnsweringSimple",
            (): "XLNetModel",
        },
        pad=5,
    ),
    # One head before the classes of all; in the first layer no norm stands before attention.
    "modernbert": Family(
        model_type="modernbert",
        base="model",
        parts=("embeddings.", "layers.", "final_norm."),
        places=None,
        segmented=False,
        keys=MODERNBERT_KEYS,
        body=modernbert_body,
        tokens="embeddings.tok_embeddings.weight",
        modules=(),
        layer=(),
        tensors=MODERNBERT_TENSORS,
        either=MODERNBERT_EITHER,
        only=MODERNBERT_ONLY,
        says=modernbert_says,
        means=modernbert_means,
        apart=modernbert_apart,
        activations={"gelu": "gelu"},
        absent={"activation": "gelu", "dropout": 0.0, "eps": 1e-5},
        activation="gelu",
        pooler="transform",
        pools=POOLS,
        pooled=modernbert_pool,
        bare={},
        heads=MODERNBERT_HEADS,
        before=MODERNBERT_BEFORE,
        asks=lambda config: {"dense_bias": False},
        optional=("decoder.bias",),
        tied={"decoder.weight": "model.embeddings.tok_embeddings.weight"},
        architectures={
            ("token",): "ModernBertForMaskedLM",
            ("label",): "ModernBertForSequenceClassification",
            ("choice",): "ModernBertForMultipleChoice",
            ("tag",): "ModernBertForTokenClassification",
            ("span",): "ModernBertForQuestionAnswering",
            (): "ModernBertModel",
        },
        pad=50283,
    ),
    # Its head reads both sums by a table of its own.
    "reformer": Family(
        model_type="reformer",
        base="reformer",
        parts=("embeddings.", "encoder."),
        places=None,
        segmented=False,
        keys=REFORMER_KEYS,
        body=reformer_body,
        modules=REFORMER_MODULES,
        layer=REFORMER_LAYER,
        tensors=REFORMER_TENSORS,
        either=REFORMER_EITHER,
        chunks=REFORMER_CHUNKS,
        only=REFORMER_ONLY,
        says=reformer_says,
        means=reformer_means,
        apart=reformer_apart,
        absent={"activation": "relu", "dropout": 0.05, "eps": 1e-12},
        bare={},
        heads={
            "token": (("=own.weight", "lm_head.decoder.weight"),),
            "label": (("pooler.dense", "classifier.dense"), ("out", "classifier.out_proj")),
            "span": OVER_TOKENS["span"],
        },
        optional=("lm_head.decoder.weight",),
        unread={"token": "lm_head.bias"},
        tied={"lm_head.decoder.weight": f"reformer.{TOKENS}"},
        architectures={
            ("token",): "ReformerForMaskedLM",
            ("label",): "ReformerForSequenceClassification",
            ("span",): "ReformerForQuestionAnswering",
            (): "ReformerModel",
        },
        pad=0,
    ),
    # The head is the token table; files have a bias beside it that is 0 in all that were published.
    "bart": Family(
        model_type="bart",
        base="model",
        parts=("shared.", "encoder.", "decoder."),
        keys=BART_KEYS,
        body=bart_body,
        places=None,
        segmented=False,
        tokens="shared.weight",
        table="encoder.embeddings.tokens.weight",
        modules=BART_MODULES,
        layer=BART_LAYER,
        tensors=BART_TENSORS,
        stacks=SIDES,
        only=BART_ONLY,
        says=bart_says,
        means=bart_means,
        absent={"activation": "gelu", "dropout": 0.1},
        heads={
            "token": (("=bias", "final_logits_bias", LINE),),
            "label": (("pooler.dense", "classification_head.dense"), ("out", "classification_head.out_proj")),
            "span": OVER_TOKENS["span"],
        },
        optional=("final_logits_bias",),
        tied={
            "lm_head.weight": "model.shared.weight",
            "model.encoder.embed_tokens.weight": "model.shared.weight",
            "model.decoder.embed_tokens.weight": "model.shared.weight",
        },
        architectures={
            ("token",): "BartForConditionalGeneration",
            ("label",): "BartForSequenceClassification",
            ("span",): "BartForQuestionAnswering",
            (): "BartModel",
        },
        pad=1,
        **TWO,
    ),
    "t5": Family(
        model_type="t5",
        base="",
        parts=("shared.", "encoder.", "decoder."),
        keys=T5_KEYS,
        body=t5_body,
        positions=Buckets,
        tokens="shared.weight",
        table="encoder.embeddings.tokens.weight",
        modules=(),
        layer=(),
        tensors=T5_TENSORS,
        plain=T5_PLAIN,
        gated=T5_GATED,
        stacks=SIDES,
        cached=False,  # it counts the encoder's layers
        activations={"relu": "relu", "gelu_tanh": "gated-gelu"},
        only=T5_ONLY,
        says=t5_says,
        means=t5_means,
        scaled=scaled,
        absent={"activation": "relu", "dropout": 0.1, "eps": 1e-6},
        heads={"token": (("=own.weight", "lm_head.weight"),)},
        optional=("lm_head.weight",),
        tied={
            "lm_head.weight": "shared.weight",
            "encoder.embed_tokens.weight": "shared.weight",
            "decoder.embed_tokens.weight": "shared.weight",
        },
        architectures={("token",): "T5ForConditionalGeneration", (): "T5Model"},
        pad=0,
        **TWO,
    ),
}
# Two models of one family (hf_pairs.py); such folders are written and not read.
PAIR = Family(
    model_type="encoder-decoder",
    base="",
    stacks=SIDES,
    heads={},
    tied={},
    architectures={("token",): "EncoderDecoderModel"},
    opened={("token",): ("AutoModelForSeq2SeqLM",)},
    pad=0,
)
LABEL_OUTPUTS = tuple(
    f"{module}.{end}"
    for module in ("classifier", "classifier.out_proj", "logits_proj", "score", "classification_head.out_proj")
    for end in ("weight", "bias")
)
# The classes that open a folder with these terms, and what each of them answers.
OPENED_BY = {
    ("token", "pair"): ("AutoModelForPreTraining", "AutoModelForMaskedLM", "AutoModel"),
    ("token",): ("AutoModelForMaskedLM", "AutoModel"),
    ("token", "summary"): ("AutoModelForMaskedLM", "AutoModel"),
    ("pair",): ("AutoModelForNextSentencePrediction", "AutoModel"),
    ("replaced",): ("AutoModelForPreTraining", "AutoModel"),
    ("label",): ("AutoModelForSequenceClassification",),
    ("choice",): ("AutoModelForMultipleChoice",),
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
    "AutoModelForSeq2SeqLM": {"token": "logits"},
    "AutoModelForNextSentencePrediction": {"pair": "logits"},
    "AutoModelForSequenceClassification": {"label": "logits"},
    "AutoModelForMultipleChoice": {"choice": "logits"},
    "AutoModelForTokenClassification": {"tag": "logits"},
    "AutoModelForQuestionAnswering": {"start": "start_logits", "end": "end_logits"},
    "AutoModel": {
        "hidden": ("encoder_last_hidden_state", "last_hidden_state"),
        "decoded": "last_hidden_state",
        "summary": "pooler_output",
    },
}
