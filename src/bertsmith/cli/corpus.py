"""`recipes`, `prepare`, `show`: what there is to choose from, text to tokens, what a model will see of them."""

import argparse
import json
from typing import Any

import bertsmith
from bertsmith.cli.common import add_data, command, data_of, natural, positive
from bertsmith.console import Console
from bertsmith.errors import InputError

OF_SOUND, OF_BOTH = ("rate", "mels", "dtype"), ("holdout", "workers", "force")  # options of prepare


def add_recipes(commands: Any) -> None:
    example = "bertsmith recipes bert"
    made = command(commands, "recipes", recipes, "every member: what it hides, who sees whom, what it asks", example)
    made.add_argument("name", nargs="?", help="one member or one recipe (bert, bert:mini): its whole configuration")


def recipes(arguments: argparse.Namespace, console: Console) -> None:
    from bertsmith.config import to_dict
    from bertsmith.errors import nearest
    from bertsmith.nn.member import parameters
    from bertsmith.recipe import find, members

    known = members()
    if arguments.name:
        name = arguments.name
        if ":" not in name:
            if name not in known:
                raise InputError(f"recipe {name!r}: no such member; {nearest(name, known)}")
            name = f"{name}:{'base' if 'base' in known[name].sizes else next(iter(known[name].sizes))}"
        console.out(json.dumps(to_dict(find(name)), indent=None if arguments.json else 2))
        return
    rows = [
        {
            "name": member.name,
            "about": member.about,
            "paper": member.paper,
            "sizes": {size: parameters(build()) for size, build in member.sizes.items()},
        }
        for member in known.values()
    ]
    if arguments.json:
        console.out(json.dumps(rows))
        return
    for row in rows:
        sizes = "  ".join(f"{size} {count:,}" for size, count in row["sizes"].items())
        console.out(f"{row['name']}\n  {row['about']}\n  {row['paper']}\n  parameters: {sizes}")


def add_prepare(commands: Any) -> None:
    example = "bertsmith prepare corpus/ --out store --tokenizer wordpiece:8000"
    made = command(
        commands,
        "prepare",
        prepare,
        "text to token store, sound to a store of frames; trains the tokenizer if asked",
        example,
    )
    made.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="files, folders, globs (text, .jsonl .csv .tsv .parquet, <doc> elements, also .gz .xz .zst .bz2), URLs (s3://, gs://, https://, …), or hf:NAME; en=SOURCE names a language, en+de=A.en+A.de parallel lines",
    )
    made.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="PATTERN",
        help="of folders read only what matches, such as '*.txt'",
    )
    made.add_argument("--out", required=True, metavar="STORE")
    made.add_argument(
        "--tokenizer",
        default="wordpiece:8000",
        metavar="KIND:SIZE|DIR",
        help="wordpiece:N (also wordpiece-likelihood, wordpiece-gain), bpe:N (byte-level), bpe-char:N, unigram:N, char, byte, words:N, words-char:N, or a vocab.txt, tokenizer.json, folder or hf:NAME",
    )
    made.add_argument(
        "--new-words",
        metavar="FILE|N",
        help="more tokens for a loaded tokenizer: a word list, or the N words of the sample that save most tokens",
    )
    made.add_argument("--lowercase", action="store_true", help="lower case; accents and other marks stay")
    made.add_argument(
        "--strip-accents",
        action="store_true",
        help="BERT's uncased rule: é becomes e; refused where marks are vowels or tones",
    )
    made.add_argument(
        "--normalise",
        choices=("nfc", "nfkc", "none"),
        help="Unicode form of a tokenizer trained here (default: nfkc for unigram, none for the others)",
    )
    made.add_argument(
        "--chinese",
        choices=("simplified", "traditional"),
        help="characters of a tokenizer trained here, by OpenCC (extra zh-convert)",
    )
    made.add_argument(
        "--language",
        help="for sentence boundaries (English rules unless given); ja or zh: what Han is, if kana does not tell; tr and az: the lower case of I",
    )
    made.add_argument("--words", metavar="FILE", help="words of one's own, one a line; counts and tags are left out")
    made.add_argument(
        "--segmented", action="store_true", help="blanks part words: Chinese, Japanese, Thai … segmented beforehand"
    )
    made.add_argument(
        "--documents",
        choices=("blank", "file"),
        default="blank",
        help="what ends a document in .txt: a blank line, or the file",
    )
    made.add_argument(
        "--lines", choices=("paragraph", "sentence", "wrapped"), default="paragraph", help="what a line of .txt is"
    )
    made.add_argument("--field", default="text", help="the field or column that holds the text")
    made.add_argument("--holdout", type=float, default=0.01, help="share of the documents held out")
    made.add_argument("--tokenizer-sample", default="100MB", help="text that the tokenizer learns from, at most")
    made.add_argument(
        "--smoothing",
        type=float,
        metavar="POWER",
        help="of several languages (en=FILE zh=FILE): each in that sample by its size to this power (0.7)",
    )
    made.add_argument(
        "--phrases", metavar="FILE|npmi", help="a word list (.txt), annotated text (.jsonl), or npmi[:0.5]"
    )
    made.add_argument("--entities", metavar="FILE|npmi", help="the same for entities; both are kept in the store")
    made.add_argument(
        "--capitals",
        action="store_true",
        help="keep which words begin with a capital letter, for members that ask for it (ernie2)",
    )
    made.add_argument(
        "--links",
        metavar="FILE",
        help="mentions of entities: linked text (.jsonl), or a dictionary, a mention, a tab and an id a line",
    )
    made.add_argument(
        "--entity-vectors", metavar="FILE", help="of these entities: what `graph` wrote, .npy or word2vec's text"
    )
    made.add_argument(
        "--clean",
        metavar="RULES",
        help="of web pages keep what passes: c4, duplicates, near-duplicates, or rules by name, by commas (docs/prepare.md)",
    )
    made.add_argument("--clean-language", metavar="CODE", help="keep pages in this language (extra clean)")
    made.add_argument("--bad-words", metavar="FILE", help="drop pages with one of these words, one a line")
    made.add_argument("--clean-sample", metavar="FILE", help="write some of what each rule took, as JSON lines")
    made.add_argument("--encoding", default="utf-8")
    made.add_argument("--on-bad-line", choices=("error", "skip"), default="error")
    made.add_argument("--allow-unknown", action="store_true", help="accept more than 5 %% of [UNK]")
    made.add_argument("--workers", type=positive, default=1)
    made.add_argument(
        "--engine",
        metavar="local|slurm|ray",
        help="work in units that datatrove's executors carry out, --workers at once (extra engine)",
    )
    made.add_argument(
        "--engine-set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="what the executor takes: partition=cpu, time=04:00:00, mem_per_cpu_gb=4 of slurm, address=auto of ray",
    )
    made.add_argument("--tasks", type=positive, metavar="N", help="tasks that the units of a stage are shared by")
    made.add_argument(
        "--retries", type=natural, default=2, metavar="N", help="how often a unit whose process died is tried again"
    )
    made.add_argument(
        "--resume", action="store_true", help="go on where a prepare was killed; keeps what is made until the store is"
    )
    made.add_argument(
        "--append", action="store_true", help="put SOURCE behind the text of STORE, which keeps its shards and options"
    )
    made.add_argument(
        "--keep-hashes",
        action="store_true",
        help="keep in the store what its pages are known by, so that --append finds duplicates of them",
    )
    made.add_argument(
        "--hash-memory", default="128MB", help="memory that duplicates are looked up in; what does not fit is on disk"
    )
    made.add_argument("--force", action="store_true", help="replace a store")
    made.add_argument(
        "--audio", action="store_true", help="SOURCE is sound (.wav, .flac): log-mel frames in place of tokens"
    )
    made.add_argument(
        "--rate", type=positive, help="with --audio: samples a second, to which sound is resampled (16000)"
    )
    made.add_argument("--mels", type=positive, help="with --audio: bands of a frame (80)")
    made.add_argument("--dtype", choices=("float16", "float32"), help="with --audio: what is kept (float16)")


def prepare(arguments: argparse.Namespace, console: Console) -> None:
    ours = ("command", "json", "typed", "sources", "out", "audio", *OF_SOUND)
    sound = {key: value for key in OF_SOUND if (value := getattr(arguments, key)) is not None}
    typed = {word.partition("=")[0] for word in arguments.typed if word.startswith("--")}
    if arguments.audio:
        if of_text := sorted(typed - {f"--{name}" for name in ("audio", "json", "out", *OF_SOUND, *OF_BOTH)}):
            raise InputError(f"{of_text[0]}: is of text; leave it out with --audio")
        options = sound | {key: getattr(arguments, key) for key in OF_BOTH}
        account = bertsmith.prepare_audio(arguments.sources, arguments.out, say=console.say, **options)
    else:
        if sound:
            raise InputError(f"--{next(iter(sound))}: is of sound; --audio says that SOURCE is sound")
        options = {key: value for key, value in vars(arguments).items() if key not in ours}
        account = bertsmith.prepare(arguments.sources, arguments.out, say=console.say, **options)
    if arguments.json:
        console.out(json.dumps(account))


def add_show(commands: Any) -> None:
    example = "bertsmith show bert:tiny --data store -n 3"
    made = command(
        commands, "show", show, "what the model will see: decoded examples, requested against achieved rates", example
    )
    made.add_argument("recipe", metavar="RECIPE")
    add_data(made)
    made.add_argument("--text", metavar="FILE")
    made.add_argument("--tokenizer", metavar="DIR")
    made.add_argument("-n", type=positive, default=3, metavar="N", help="examples")
    made.add_argument("--seed", type=natural, default=0)
    made.add_argument("--epoch", type=natural, default=0)
    made.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    made.add_argument("--feed", metavar="NAME", help="of a recipe that reads several, which (the main one)")
    made.add_argument("--model", metavar="RUN", help="an ELECTRA run: show what its generator writes, too")


def show(arguments: argparse.Namespace, console: Console) -> None:
    from bertsmith.downstream import show as page

    options = {
        key: getattr(arguments, key) for key in ("text", "tokenizer", "n", "seed", "epoch", "set", "model", "feed")
    }
    options["data"] = data_of(arguments)
    if arguments.json:
        for line in page.show(arguments.recipe, say=console.say, **options):
            console.out(json.dumps(line, ensure_ascii=False))
        return
    for text in page.printed(arguments.recipe, say=console.say, **options):
        console.out(text)
