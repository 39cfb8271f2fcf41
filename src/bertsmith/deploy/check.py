"""Whether transformers makes of a folder what we make of the model: every tensor in its place, the same ids, the same answers.

Answers are compared in float32 ('highest') on real sequences.  n tokens of s sequences, V vocabulary.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from bertsmith.data.batch import Stream
from bertsmith.data.decoded import decoded, shifted
from bertsmith.deploy.hf_families import ANSWERS, OPENED_BY, Family
from bertsmith.deploy.hf_stacks import start_of
from bertsmith.downstream.fill import masked
from bertsmith.downstream.model import Loaded
from bertsmith.errors import InputError, printable
from bertsmith.nn.modules.chunks import ChunkAttention
from bertsmith.nn.modules.hashed import HashedAttention
from bertsmith.tasks.reading import Reading
from bertsmith.tasks.sequences import Encoded, encode

TOLERANCE = 1e-5  # of the largest answer, or of 1 where all are smaller
EXACT = 1e-6  # the same in float64
EVERYWHERE = ("hidden", "decoded", "token", "replaced", "tag", "start", "end")  # answers that every token gets
WRITTEN = ("decoded", "token")  # of a decoder, where there is one
SEQUENCES = 12  # that answers are compared on, besides one of full length
SHORT = 64  # tokens of each
CUT = (ChunkAttention, HashedAttention)
MANY = 1 << 20  # tokens of a chunk of theirs that no text fills
WHOLE = 512  # tokens of a text that is read whole though it would be cut
SAID_WHOLE = "compared where a chunk holds a whole text: transformers draws anew what it hashes by whenever it reads a longer one"
UNTOLD = ("position_ids", "global_attention_mask")  # what no tokenizer makes


def transformers_needed(verb: str) -> Any:
    """The library.  InputError naming the extra where it is not installed."""
    try:
        return importlib.import_module("transformers")
    except ImportError:
        raise InputError(
            f"{verb}: compares with transformers before it says done, which is not installed; pip install 'bertsmith[hf]'"
        ) from None


@contextmanager
def quiet(transformers: Any) -> Iterator[None]:
    """Its progress bars and reports off for a while; what they say is checked here."""
    log = transformers.utils.logging
    verbosity, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if bars:
            log.enable_progress_bar()


def open_folder(
    transformers: Any, path: Path, family: Family, terms: tuple[str, ...], config: Any = None, every: bool = True
) -> dict[str, Any]:
    """{class: model} for the classes that fit.  InputError where one of them misses a tensor or, with `every`, where none reads one.

    `config` stands in for the folder's own config.json.  Layers that cut a text are told to read it whole, as `whole` tells ours.
    """
    opened, unread = {}, None
    if family.chunks:
        config = transformers.AutoConfig.from_pretrained(path, local_files_only=True) if config is None else config
        config.update(dict.fromkeys(family.chunks, MANY))
    for name in family.opened.get(terms, OPENED_BY[terms]):
        options = {} if name != "AutoModel" or {"summary", "pair"} & {*terms} else {**family.bare}
        options |= {} if config is None else {"config": config}
        options |= {"local_files_only": True, "use_safetensors": True, "output_loading_info": True, "dtype": "float32"}
        try:
            with quiet(transformers):
                model, report = getattr(transformers, name).from_pretrained(path, **options)
        except Exception as error:  # whatever its code makes of a folder that does not fit
            first = printable(str(error).strip().partition("\n")[0])
            raise InputError(f"{name} of transformers {transformers.__version__} cannot open it: {first}") from None
        wrong = [*report["missing_keys"], *report["mismatched_keys"], *report["error_msgs"]]
        if wrong:
            raise InputError(f"{name} of transformers {transformers.__version__} misses {printable(wrong[0])}")
        unexpected = set(report["unexpected_keys"])
        unread = unexpected if unread is None else unread & unexpected
        opened[name] = model.eval()
    if unread and every:
        raise InputError(f"transformers {transformers.__version__} does not read {printable(min(unread))}")
    return opened


def differing_ids(theirs: Any, ours: Any, texts: Sequence[str], reading: Reading) -> list[int]:
    """The texts for which AutoTokenizer `theirs` gives other ids than our Tokenizer, special tokens included; by number.

    A text in which a special token is written is passed over: there it is the token, here it is text (`differing_masks` looks at those); and
    one of no tokens where nothing stands round a text, which here is one token all the same.
    """
    names = [*map(ours.token, ours.vocab.special)]
    plain = [i for i, text in enumerate(texts) if not any(name in text for name in names)]
    chosen = [texts[i] for i in plain]
    found = theirs(chosen)["input_ids"] if chosen else []
    ids = [reading.joined(ours.vocab, row)[0].tolist() for row, _ in ours.encode(chosen)]
    return [
        i for i, mine, other in zip(plain, ids, found, strict=True) if mine != other and (other or not reading.bare)
    ]


def check_sentinels(theirs: Any, loaded: Loaded) -> None:
    """InputError where AutoTokenizer `theirs` gives a sentinel another id than the model learned it by."""
    rewrite = loaded.recipe.corruption.rewrite
    names = rewrite.names(loaded.vocab) if getattr(rewrite, "sentinels", 0) else {}
    for i, name in names.items():
        if i < loaded.recipe.model.vocab and theirs.convert_tokens_to_ids(name) != i:
            raise InputError(
                f"AutoTokenizer of transformers gives {name} another id than {i}, by which the model knows it"
            )


# What stands before and behind a mask: words, nothing, marks, the rest of a word, a line's end; in several scripts.
MASKED = (
    "{0}",
    "the {0} of a list",
    "a list {0}.",
    "a list  {0} , and {0}{0} more",
    "({0}) is {0}",
    "{0}ing is un{0}, too",
    "это {0}, и",
    "中文{0}文字",
    "कु {0}हिन्दी",
    "first\n{0}\nlast {0} ",
)


def differing_masks(theirs: Any, loaded: Loaded) -> list[str]:
    """The texts with masks that AutoTokenizer `theirs` reads otherwise than `fill` does."""
    texts = [text.format(loaded.tokenizer.mask_token) for text in MASKED]
    found = theirs(texts)["input_ids"]
    mine = (loaded.reading().joined(loaded.vocab, masked(loaded, text)[0])[0].tolist() for text in texts)
    return [text for text, ids, other in zip(texts, mine, found, strict=True) if ids != other]


@dataclass(frozen=True, kw_only=True)
class Group:
    """Texts, or pairs of them, as one packed row of ours and one padded batch of theirs."""

    first: list[str]
    second: list[str] | None
    length: int
    stream: Stream
    inputs: dict[str, Tensor]
    output: Stream | None = None  # what a decoder reads: the next sequence's tokens, behind its start

    def real(self, answer: str) -> Tensor:
        """Where `answer` stands in a padded batch of theirs."""
        side = "decoder_attention_mask" if self.output is not None and answer in WRITTEN else "attention_mask"
        return self.inputs[side].bool()


def cuts(loaded: Loaded) -> bool:
    """Whether its layers cut a text into chunks, which are compared with a text in one."""
    return any(isinstance(part, CUT) for part in loaded.member.modules())


def whole(loaded: Loaded) -> Loaded:
    """The model with no text cut into chunks: what one hashes into which is drawn anew there whenever it is read, and what a padded batch
    has in its last chunk depends on the texts beside it."""
    if not cuts(loaded):
        return loaded
    member = deepcopy(loaded.member)
    for part in member.modules():
        if isinstance(part, CUT):
            part.chunk = min(loaded.length(), WHOLE)
    return replace(loaded, member=member)


def groups(loaded: Loaded, texts: Sequence[str]) -> list[Group]:
    """Single texts, pairs that need not be cut (there the two cut differently), and one text that fills the model's whole length; but for
    those that end in a token that pads."""
    length = min(loaded.length(), WHOLE) if cuts(loaded) else loaded.length()
    texts = [text for text in texts if text.strip()][: 100 * SEQUENCES]
    ids = loaded.tokenizer.encode(texts)
    read = [(text, row) for text, (row, _) in zip(texts, ids, strict=True) if len(row)]
    texts = [text for text, _ in read]
    fit = [text for text, row in read if len(row) <= length // 2 - 2][: 2 * SEQUENCES]
    made = [
        _group(loaded, texts[:SEQUENCES], None, min(SHORT, length)),
        _group(loaded, [" ".join(texts)[: 20 * length]], None, length),
        *([_group(loaded, fit[::2], fit[1::2], length)] if len(fit) == 2 * SEQUENCES else []),
    ]
    return [group for group in made if group is not None]


def _group(loaded: Loaded, first: list[str], second: list[str] | None, length: int) -> Group | None:
    """None where no text is left that can be compared."""
    reading, pad = loaded.reading(length), loaded.vocab.pad
    encoded = encode(loaded.tokenizer, first, second, reading)
    if reading.bare:  # their class takes a last token that pads for padding, which GPT's is where it is not known
        known = np.flatnonzero(encoded.tokens[encoded.lengths.cumsum() - 1] != pad).tolist()
        first, second = [first[i] for i in known], None if second is None else [second[i] for i in known]
        encoded = encode(loaded.tokenizer, first, second, reading)
    if getattr(
        loaded.recipe.model.embeddings, "neighbours", False
    ):  # there the last token of a short text has padding beside it
        known = np.flatnonzero(encoded.lengths == np.bincount(encoded.lengths).argmax()).tolist()
        first, second = [first[i] for i in known], None if second is None else [second[i] for i in known]
        encoded = encode(loaded.tokenizer, first, second, reading)
    if not first:
        return None
    stream = encoded.batch(np.arange(len(encoded))).input.to("cpu")
    rows = lambda x, of, fill: pad_sequence(x.split(of.lengths), True, fill, padding_side=reading.padding)
    side = lambda of, before: {
        f"{before}input_ids": rows(of.tokens, of, pad),
        f"{before}attention_mask": rows(torch.ones_like(of.tokens), of, 0),
    }
    inputs = side(stream, "")
    inputs |= {"token_type_ids": rows(stream.segments, stream, 0)} if reading.segments else {}
    inputs |= {} if stream.wide is None else {UNTOLD[1]: rows(stream.wide.long(), stream, 0)}
    if reading.causal and reading.padding == "left":  # what `generate` makes of the mask
        inputs["position_ids"] = rows(stream.positions, stream, 0)
    says = not {"label", "tag", "span"} & {
        *loaded.member.weights()
    }  # classes over a text give it to the decoder themselves
    output = _output(loaded, encoded) if loaded.recipe.model.decodes and says else None
    inputs |= {} if output is None else side(output, "decoder_")
    return Group(first=first, second=second, length=length, stream=stream, inputs=inputs, output=output)


def _output(loaded: Loaded, encoded: Encoded) -> Stream:
    """What a decoder reads beside these sequences: another one's tokens, so that lengths on either side differ."""
    others = np.roll(np.arange(len(encoded)), -1)
    tokens, lengths = encoded.batch(others).input.tokens, encoded.lengths[others]
    return decoded(shifted(tokens, lengths, start_of(loaded.recipe, loaded.vocab)), tokens, lengths)[0].to("cpu")


def check_inputs(theirs: Any, made: Sequence[Group]) -> None:
    """InputError where AutoTokenizer makes other sequences, segments or masks of the same texts."""
    for group in made:
        cut = {"truncation": True, "max_length": group.length} if group.second is None else {}
        found = theirs(group.first, group.second, padding=True, return_tensors="pt", **cut)
        for name, tensor in group.inputs.items():
            if name.startswith("decoder_") or name in UNTOLD:
                continue
            if name not in found or not torch.equal(found[name], tensor):
                raise InputError(f"AutoTokenizer of transformers makes other {name} of the same texts")


def differing_answers(loaded: Loaded, models: dict[str, Any], made: Sequence[Group]) -> dict[str, float]:
    """{answer: largest difference, as a share of the largest answer or of 1}."""
    found: dict[str, float] = {}
    for group in made:
        mine = answers(loaded, group.stream, group.output)
        for name, model in models.items():
            with torch.no_grad(), loaded.exact.policy():
                output = model(**_asked(name, group.inputs))
            for answer, attribute in ANSWERS[name].items():
                names = (attribute,) if isinstance(attribute, str) else attribute
                other = next((value for name in names if (value := getattr(output, name, None)) is not None), None)
                if answer in mine and other is not None:
                    other = other[group.real(answer)] if answer in EVERYWHERE else other
                    other = other.T if answer == "choice" else other  # of one question
                    apart = (mine[answer] - other).abs().max() / max(1.0, float(mine[answer].abs().max()))
                    found[answer] = max(found.get(answer, 0.0), float(apart))
    return found


def _asked(name: str, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """A class of choices reads the sequences of a question together: here all of one."""
    return {key: x[None] for key, x in inputs.items()} if name == "AutoModelForMultipleChoice" else inputs


def compare(loaded: Loaded, models: dict[str, Any], made: Sequence[Group]) -> dict[str, float]:
    """`differing_answers` in float32.  InputError naming an answer that is further apart than rounding.

    What counts as rounding is TOLERANCE; for a model whose own float32 is coarser, that both agree better than this in float64.
    """
    loaded = whole(loaded)
    found = differing_answers(loaded, models, made)
    if all(apart <= TOLERANCE for apart in found.values()):
        return found
    double = replace(loaded, member=deepcopy(loaded.member).double())
    exact = differing_answers(double, {name: model.double() for name, model in models.items()}, made)
    for answer, apart in exact.items():
        if not apart <= EXACT:
            raise InputError(f"{answer} of transformers differs by {found[answer]:.2g} of the largest")
    return found


@torch.no_grad()
def answers(loaded: Loaded, stream: Stream, output: Stream | None = None) -> dict[str, Tensor]:
    """Everything that the member says of a row: hidden (n, d), token (n, V), replaced (n,), pair and label (s, c), choice (s, 1), summary
    (s, d), tag (n, c), start and end (n,).  Of a decoder that reads `output` (m tokens): decoded (m, d), and token is (m, V).

    A regression's label is in the scale of its training file.
    """
    member, every = loaded.member.eval(), torch.arange(len(stream.tokens))
    lengths = np.array(stream.lengths)
    cls = torch.from_numpy(np.cumsum(lengths) - lengths + loaded.reading().whole_at(lengths))
    with loaded.exact.policy():
        found = {"hidden": member.model(stream)}
        if output is not None:
            found["decoded"] = member.model(stream, None, output)
        for term in member.weights():
            if term in ("label", "choice"):
                found[term] = member.objective.logits(member.model, stream, cls)
            elif term == "tag":
                found[term] = member.objective.logits(member.model, stream, every)
            elif term == "span":
                found["start"], found["end"] = member.objective.logits(member.model, stream, every).unbind(1)
            elif output is not None:
                at = torch.arange(len(output.tokens))
                found[term] = member.objective.logits(member.model, stream, at, term, output)
            else:
                at = every if term in EVERYWHERE else cls
                found[term] = member.objective.logits(member.model, stream, at, term)
        if "replaced" in found:  # one number there, two classes here
            found["replaced"] = found["replaced"][:, 1] - found["replaced"][:, 0]
        if "pair" in found:
            pooler, state = member.objective.get_submodule("pair").pooler, found["hidden"][cls]
            found["summary"] = state if pooler is None else pooler(state)
    if "label" in found and loaded.task is not None:
        found["label"] = found["label"] / loaded.labels.temperature
    if "label" in found and loaded.task is not None and not loaded.labels.names:
        found["label"] = found["label"] * loaded.labels.scale + loaded.labels.mean
    return found
