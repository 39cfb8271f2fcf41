"""Tokenizers laid out as published ones are, trained on whatever text is given: GPT-2, RoBERTa, ModernBERT, Llama, XLM-R, T5, BERT, and orders of rules that none has."""

from collections.abc import Callable

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from bertsmith.text.tokenizer import Tokenizer as Ours

NAMES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ROBERTA = ("<pad>", "<unk>", "<s>", "</s>", "<mask>")
WORDS = Regex(r"'s|'t| ?\p{L}+| ?\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")


def _bytes(prefix: bool = False, regex: bool = True) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=regex)


def _meta(scheme: str, split: bool = True) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Metaspace(prepend_scheme=scheme, split=split)


def _sequence(*parts) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(list(parts))


def _chain(*parts) -> normalizers.Normalizer:
    return normalizers.Sequence(list(parts))


BYTES: dict[str, tuple[Callable, Callable]] = {  # byte-level BPE: (normaliser, pre-tokenizer)
    "gpt2": (lambda: None, lambda: _bytes()),
    "prefix": (lambda: None, lambda: _bytes(True)),
    "modernbert": (normalizers.NFC, lambda: _bytes()),
    "stripped": (lambda: _chain(normalizers.NFC(), normalizers.Strip()), lambda: _bytes()),
    "lower": (normalizers.Lowercase, lambda: _bytes()),
    "plain bytes": (lambda: None, lambda: _bytes(regex=False)),
    "llama3": (lambda: None, lambda: _sequence(pre_tokenizers.Split(WORDS, "isolated"), _bytes(regex=False))),
    "digits first": (lambda: None, lambda: _sequence(pre_tokenizers.Digits(True), _bytes())),
    "digits last": (lambda: None, lambda: _sequence(_bytes(), pre_tokenizers.Digits(True))),
    "punctuation first": (lambda: None, lambda: _sequence(pre_tokenizers.Punctuation(), _bytes())),
    "punctuation last": (lambda: None, lambda: _sequence(_bytes(True), pre_tokenizers.Punctuation())),
    "spaces first": (lambda: None, lambda: _sequence(pre_tokenizers.WhitespaceSplit(), _bytes(True))),
    "bert rules first": (
        lambda: normalizers.BertNormalizer(lowercase=True),
        lambda: _sequence(pre_tokenizers.BertPreTokenizer(), _bytes()),
    ),
}
PIECES: dict[str, tuple[Callable, Callable]] = {  # pieces with ▁
    "always": (normalizers.NFKC, lambda: _meta("always")),
    "first": (normalizers.NFKC, lambda: _meta("first")),
    "never": (normalizers.NFKC, lambda: _meta("never")),
    "xlm-r": (
        lambda: _chain(normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")),
        lambda: _sequence(pre_tokenizers.WhitespaceSplit(), _meta("always")),
    ),
    "one piece": (normalizers.NFKC, lambda: _meta("always", split=False)),
    "llama": (lambda: _chain(normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")), lambda: None),
    "scripts last": (normalizers.NFKC, lambda: _sequence(_meta("always"), pre_tokenizers.UnicodeScripts())),
    "scripts first": (normalizers.NFKC, lambda: _sequence(pre_tokenizers.UnicodeScripts(), _meta("first"))),
    "accents off": (
        lambda: _chain(normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()),
        lambda: _meta("always"),
    ),
}
MODELS = ("bpe", "unigram")
LAYOUTS = ("bert", "bert cased", "roberta", *BYTES, *(f"{name} {model}" for name in PIECES for model in MODELS))


def layout(name: str, texts: list[str], size: int = 2000) -> Ours:
    """A tokenizer of that layout trained on `texts`."""
    if name.startswith("bert") and name in ("bert", "bert cased"):
        return Ours.train(f"wordpiece:{size}", texts, lowercase=name == "bert")
    options = {"vocab_size": size, "show_progress": False}
    if name == "roberta" or name in BYTES:
        normalizer, splits = BYTES["gpt2" if name == "roberta" else name]
        backend, specials = Tokenizer(models.BPE()), ROBERTA if name == "roberta" else NAMES
        trainer = trainers.BpeTrainer(
            special_tokens=list(specials), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **options
        )
    else:
        (normalizer, splits), specials = PIECES[name.rpartition(" ")[0]], NAMES
        if name.endswith("bpe"):
            backend = Tokenizer(models.BPE(unk_token="[UNK]", byte_fallback=name.startswith("llama"), fuse_unk=True))
            trainer = trainers.BpeTrainer(special_tokens=list(specials), limit_alphabet=1500, **options)
        else:
            backend = Tokenizer(models.Unigram())
            options["vocab_size"] += len(set("".join(texts)))
            trainer = trainers.UnigramTrainer(special_tokens=list(specials), unk_token="[UNK]", **options)
    if (made := normalizer()) is not None:
        backend.normalizer = made
    if (made := splits()) is not None:
        backend.pre_tokenizer = made
    backend.train_from_iterator(texts, trainer)
    if name == "roberta":
        backend.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False, special=True)])
        cls, sep = (("<s>", backend.token_to_id("<s>")), ("</s>", backend.token_to_id("</s>")))
        backend.post_processor = processors.RobertaProcessing(sep, cls, trim_offsets=True, add_prefix_space=False)
    return Ours(backend, dict(zip(("pad", "unk", "cls", "sep", "mask"), specials, strict=True)))
