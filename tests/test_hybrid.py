"""The hybrid word-character model: what a stream spells is read as words, asked for as words, and spelled; and fastText, which reads the same."""

import contextlib
import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.runs import Breaking, lines, same, small
from tests.test_distributed import alike, job
from tests.workers import outcome, work

import bertsmith
from bertsmith import cli
from bertsmith.data.batch import IGNORE, Stream
from bertsmith.data.causal import Causal
from bertsmith.data.draw import Draw
from bertsmith.data.letters import LETTER
from bertsmith.data.loader import Loader
from bertsmith.data.text import Text
from bertsmith.errors import InputError, Interrupted
from bertsmith.nn.body import texts
from bertsmith.nn.grams import buckets
from bertsmith.nn.member import build
from bertsmith.nn.modules.bywords import ByWords
from bertsmith.nn.recurrent import Recurrent, Words
from bertsmith.tasks.sequences import encode
from bertsmith.text.prepare import prepare
from bertsmith.text.store import Store
from bertsmith.training.given import Corpus, learn_of, sized
from bertsmith.training.pretraining import pretrain

SETS: list[str] = []
TEXT = "the value of zyzzyva is the same as that of the zyzzyvas"
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def spelled(documents, tmp_path_factory) -> Store:
    """Real text, of whose words the 160 commonest or so have a token."""
    folder = tmp_path_factory.mktemp("spelled")
    (folder / "text.txt").write_text("\n\n".join(documents[:30]) + "\n", encoding="utf-8")
    prepare([str(folder / "text.txt")], folder / "store", tokenizer="words-char:240", lowercase=True, holdout=0.1)
    return Store.open(folder / "store")


def member_of(store, name="hybrid", *sets):
    recipe = sized(
        small(*(SETS if name == "hybrid" else []), "model.dropout=0.0", *sets, member=name).with_vocab(store.vocab),
        store,
    )
    torch.manual_seed(0)
    member = build(recipe).eval()
    if name == "fasttext":
        learn_of(member, Corpus.of(recipe, store, print))
    return recipe, member


def stream_of(store, *said):
    ids = [torch.from_numpy(np.asarray(row, np.int64)) for row, _ in store.tokenizer.encode(list(said))]
    tokens = torch.cat(ids)
    zeros = torch.zeros_like(tokens)
    lengths = tuple(map(len, ids))
    return Stream(tokens=tokens, positions=zeros, segments=zeros, query_rank=zeros, key_rank=zeros, lengths=lengths)


def batch_of(recipe, store, sequences=6):
    plan = recipe.layout.plan(store.train, store.vocab, 0, 0)
    row = plan.row(plan.order[:sequences])
    spans = recipe.corruption.select(row, Draw(0))
    return row, spans, recipe.corruption(row, store.vocab, Draw(0))


def worded(store, tokens):
    """[(word, its tokens)] of a sequence, by the tokens' names."""
    found, before = [], ""
    for place, name in enumerate(store.tokenizer.tokens(tokens)):
        letter = len(name) == 1 and name != "▁"
        if letter and len(before) == 1:
            found[-1] = (found[-1][0] + name, [*found[-1][1], place])
        else:
            found.append((name, [place]))
        before = name
    return found


def test_a_word_without_a_token_is_a_mark_and_its_characters(spelled):
    (ids, starts), *_ = spelled.tokenizer.encode([TEXT])
    names = spelled.tokenizer.tokens(ids)
    assert (
        names[:4] == ["▁the", "▁value", "▁of", "▁"]
        and names[4:11] == list("zyzzyva")
        and names[11:13] == ["▁is", "▁the"]
    )
    assert int(starts.sum()) == len(TEXT.split()) and starts[4] and not starts[3]
    assert spelled.tokenizer.decode(ids) == spelled.tokenizer.people.text(ids) == TEXT
    mark, end = spelled.vocab.letters
    assert spelled.tokenizer.vocab.letters == (mark, end) and spelled.tokenizer.token(mark) == "▁"
    assert (
        {len(name) for name in spelled.tokenizer.tokens(range(mark, end))}
        == {1}
        < {len(spelled.tokenizer.token(end))} | {1}
    )
    loaded = type(spelled.tokenizer).load(spelled.path)
    assert loaded.encode([TEXT])[0][0].tolist() == ids.tolist() and loaded.vocab == spelled.tokenizer.vocab


def test_what_words_are_asked_and_spelled_is_what_a_look_at_every_word_says(spelled):
    recipe, _ = member_of(spelled, "hybrid", "corruption.rewrite.longest=9")
    row, spans, batch = batch_of(recipe, spelled, 30)
    mark = spelled.vocab.letters[0]
    words, letters = [], []
    for first, last in zip(row.offsets[:-1].tolist(), row.offsets[1:].tolist(), strict=True):
        for _, places in worded(spelled, row.tokens[first:last])[1:]:
            at = first + places[0]
            words.append((at - 1, int(row.tokens[at])))
            if row.tokens[at] == mark and first + places[-1] + 1 < last:
                said = row.tokens[at + 1 : at + len(places)].tolist()
                letters += [(at - 1, symbol) for symbol in (said[:9] if len(said) > 9 else [*said, mark])]
    asked = [
        list(zip(batch.targets[t].at[:, 0].tolist(), batch.targets[t].labels.tolist(), strict=True))
        for t in ("token", LETTER)
    ]
    assert asked == [words, letters] and sum(label == mark for _, label in letters) > 20 < sum(
        label == mark for _, label in words
    )
    assert recipe.corruption.counts(row, spans, Draw(0)) == {"token": len(words), LETTER: len(letters)}
    assert np.array_equal(batch.input.tokens, row.tokens), "nothing is left out"


def test_with_every_word_known_it_is_the_plain_stack(store, spelled):
    """Of a tokenizer without characters, and of a text without unknown words."""
    for of in (store, spelled):
        recipe, member = member_of(of)
        fields = {
            f: getattr(recipe.model, f) for f in ("vocab", "layers", "width", "hidden", "dropout", "cell", "initial")
        }
        plain = Recurrent(embeddings=Words(), **fields).build().eval()
        state = member.model.state_dict()
        plain.load_state_dict({name: state[name] for name in plain.state_dict()})
        stream = stream_of(of, "the value of the same", "is that of it")
        assert torch.equal(plain(stream), member.model(stream))
    recipe, _ = member_of(store)
    row, spans, batch = batch_of(recipe, store)
    other = Causal()(row, spans, store.vocab, Draw(0))
    assert batch.targets.keys() == other.targets.keys() == {"token"}
    assert np.array_equal(batch.targets["token"].labels, other.targets["token"].labels)


def test_layers_read_words_and_every_token_of_one_has_its_state(spelled):
    _, member = member_of(spelled)
    model, both = member.model, stream_of(spelled, TEXT, "of zyzzyva")
    found = model(both)
    for text, part in zip((TEXT, "of zyzzyva"), found.split(both.lengths), strict=True):
        torch.testing.assert_close(part, model(stream_of(spelled, text)))  # sequences are walls
    words = worded(spelled, both.tokens[: both.lengths[0]])
    assert len(words) == len(TEXT.split())
    for _, places in words:
        assert torch.equal(found[places], found[places[:1]].expand(len(places), -1))
    x = model.embeddings(model_stream(model, both), model.positions)
    assert torch.equal(x[3], x[-1]) and not torch.equal(x[3], x[11]), "a spelling has one vector, wherever it stands"
    table = model.tokens.weight[model_stream(model, both).tokens]
    assert torch.equal(x[:3], table[:3]) and not torch.equal(x[3], table[3])
    read = torch.tensor([0, 5, 5, 12])
    torch.testing.assert_close(model(both, read), found[read])


def model_stream(model, stream):
    return ByWords.of(stream, model.config.letters).stream


def test_a_mean_over_a_text_has_every_word_once(spelled):
    for name in ("hybrid", "fasttext"):
        _, member = member_of(spelled, name)
        stream = stream_of(spelled, TEXT, "the same")
        hidden = member.model(stream)
        (long, short) = texts(member.model, hidden, stream)
        assert len(long) == len(TEXT.split()) and len(short) == 2
        first = [places[0] for _, places in worded(spelled, stream.tokens[: stream.lengths[0]])]
        assert torch.equal(long, hidden[first])


def test_no_prediction_reads_the_word_that_it_is_asked_for(spelled):
    """Neither its characters, but those before the one that is asked, nor what comes behind it."""
    recipe, member = member_of(spelled)
    row, _, batch = batch_of(recipe, spelled, 2)
    clean = batch.to("cpu")
    at = clean.targets[LETTER].at[:, 0]
    first = (torch.diff(at, prepend=at.new_tensor([-1])) != 0).nonzero()[:, 0].tolist()
    ends = [*first[1:], len(at)]
    term = member.objective.get_submodule(LETTER)
    with torch.no_grad():
        hidden = member.model(clean.input)
        said, _ = term.among(hidden[at], clean.targets[LETTER], clean.input, member.model)
        for begin, end in list(zip(first, ends, strict=True))[3:30:5]:
            place = int(at[begin])  # the word is asked for here
            for number in range(end - begin - 1):
                tokens = row.tokens.copy()
                tokens[place + 2 + number] = (
                    spelled.vocab.letters[0] + 1 + (tokens[place + 2 + number] - spelled.vocab.letters[0]) % 5
                )
                again = recipe.corruption(replace(row, tokens=tokens), spelled.vocab, Draw(0)).to("cpu")
                other = member.model(again.input)
                torch.testing.assert_close(other[: place + 1], hidden[: place + 1], rtol=0, atol=1e-6)
                spelt, _ = term.among(other[at], again.targets[LETTER], again.input, member.model)
                torch.testing.assert_close(
                    spelt[begin : begin + number + 1], said[begin : begin + number + 1], rtol=0, atol=1e-6
                )
            assert not torch.allclose(other[place + 1], hidden[place + 1]), "behind it, it is read"


def test_the_speller_writes_what_it_says_likeliest_when_it_is_told_what_it_wrote(spelled):
    recipe, member = member_of(spelled)
    term = member.objective.get_submodule(LETTER)
    with torch.no_grad():
        for p in term.parameters():
            p.mul_(6)
    hidden = torch.randn(5, recipe.model.width, generator=torch.Generator().manual_seed(1))
    for word, state in zip(term.spell(hidden, longest=6), hidden, strict=True):
        labels = torch.tensor([*word, 0][:6])
        target = torch.zeros(len(labels), 1, dtype=torch.int64)
        asked = Asked(target, labels + recipe.model.letters.mark)
        logits, _ = term.among(state.expand(len(labels), -1), asked, None, member.model)
        assert torch.equal(logits.argmax(1), labels)
        torch.testing.assert_close(term.logits(state[None], member.model)[0], logits[0])


class Asked:
    def __init__(self, at, labels):
        self.at, self.labels = at, labels


def test_filler_of_a_term_changes_no_letter(spelled):
    recipe, member = member_of(spelled)
    term, (_, _, batch) = member.objective.get_submodule(LETTER), batch_of(recipe, spelled, 2)
    target = batch.to("cpu").targets[LETTER]
    hidden = torch.randn(len(target), recipe.model.width, generator=torch.Generator().manual_seed(1))
    more = Asked(
        torch.cat([target.at, target.at[-1:].expand(3, -1)]), torch.cat([target.labels, torch.full((3,), IGNORE)])
    )
    one, _ = term.among(hidden, target, None, member.model)
    two, _ = term.among(torch.cat([hidden, hidden[-1:].expand(3, -1)]), more, None, member.model)
    torch.testing.assert_close(two[: len(one)], one)


def run(recipe, store, out, **options):
    return pretrain(recipe, store, out, steps=12, seed=3, threads=1, **options)


def test_both_losses_fall_and_a_run_that_was_broken_off_is_the_one_that_was_not(spelled, tmp_path):
    recipe = small(*SETS, "schedule.lr=0.01", member="hybrid")
    end = run(recipe, spelled, tmp_path / "whole", workers=0)
    with pytest.raises(Interrupted):
        run(recipe, spelled, tmp_path / "again", workers=1, progress=Breaking("stop", 7))
    run(recipe, spelled, tmp_path / "again", workers=1, resume=True)
    same(tmp_path / "whole", tmp_path / "again", state=False)
    first, *_, last = lines(tmp_path / "whole")
    assert all(last["terms"][term] < first["terms"][term] - 0.2 for term in ("token", LETTER)) and end["tokens"]


def test_accumulation_and_processes_learn_what_one_big_batch_does(children, spelled, tmp_path):
    plain = {"member": "hybrid", "options": {"steps": 6}}
    jobs = [
        job(spelled, "one", *SETS, alone=True, **plain),
        job(spelled, "four", *SETS, "training.accumulate=4", alone=True, **plain),
        job(spelled, "two", *SETS, **plain),
        job(spelled, "slices", *SETS, **{**plain, "options": {"steps": 6, "shard": "fsdp"}}),
    ]
    work(children, tmp_path, jobs)
    for name in ("four", "two", "slices"):
        assert outcome(tmp_path, name)["code"] == 0, outcome(tmp_path, name)
        alike(tmp_path / "one", tmp_path / name)


def test_counts_before_the_pass_are_what_is_asked(spelled):
    recipe = small(*SETS, member="hybrid").with_vocab(spelled.vocab)
    steps = iter(Loader(Text.of(recipe, spelled, 0)))
    for _ in range(5):
        step = next(steps)
        asked = {name: sum(len(batch.targets[name]) for batch in step.batches) for name in step.counts}
        assert asked == step.counts


def test_fasttext_composes_what_a_text_spells_of_its_stretches(spelled, tmp_path):
    recipe, member = member_of(spelled, "fasttext", "model.grams.buckets=500")
    model = member.model
    with torch.no_grad():
        model.grams.weight.normal_(generator=torch.Generator().manual_seed(2))
    found = model(stream_of(spelled, "the zyzzyva"))
    for number, word in ((0, "the"), (1, "zyzzyva")):
        rows = [
            *([model.tokens.weight[spelled.tokenizer.backend.token_to_id("▁the")]] if not number else []),
            *model.grams.weight[buckets(word, 500)],
        ]
        torch.testing.assert_close(found[number], torch.stack(rows).mean(0))
    row, _, batch = batch_of(recipe_known(recipe, spelled), spelled)
    mark, end = spelled.vocab.letters
    assert ((row.tokens >= mark) & (row.tokens < end)).any()
    assert not ((batch.input.tokens >= mark) & (batch.input.tokens < end)).any(), "what spells is no word to learn from"
    counts = Corpus.of(recipe, spelled, print).counts
    assert counts[mark:end].sum() == 0 < counts.sum()


def recipe_known(recipe, store):
    return replace(recipe, corruption=recipe.corruption.knowing(store.vocab))


def test_texts_with_unknown_words_are_embedded_and_tuned_by_what_spells_them(spelled, tmp_path):
    for name in ("hybrid", "fasttext"):
        sets = ["layout.length=32", "training.batch=256", *(["model.grams.buckets=500"] if name == "fasttext" else [])]
        bertsmith.pretrain(f"{name}:tiny", spelled.path, tmp_path / name, steps=2, threads=1, set=sets)
        found = bertsmith.embed(tmp_path / name, ["zyzzyva", "zyzzyvas", "brrm", "zyzzyva"], pool="mean")
        assert np.array_equal(found[0], found[3]) and len(np.unique(found, axis=0)) == 3
        near = bertsmith.similar(tmp_path / name, "zyzzyva")
        assert near["near"] and not near.get("unknown")
    rows = [{"text": f"the {word} of it", "label": word} for word in ("zyzzyva", "brrm")] * 20
    sets = ["pool=mean", "lr=0.02", "epochs=12"]
    task = {"task": "classify", "train": rows, "dev": rows[:4], "set": sets, "threads": 1}
    for name in ("hybrid", "fasttext"):
        end = bertsmith.finetune(tmp_path / name, out=tmp_path / f"{name}-tuned", **task)
        assert end["dev"]["accuracy"]["value"] == 1.0, "they differ in a word that is in no vocabulary"
    bertsmith.predict(tmp_path / "hybrid-tuned", rows[:2], explain=tmp_path / "page.html")
    assert "zyzzyva" in (tmp_path / "page.html").read_text()


def test_in_a_stack_a_mean_has_every_word_once_too(spelled, tmp_path):
    for name in ("word2vec", "fasttext"):
        sets = ["layout.length=32", "training.batch=256", *(["model.grams.buckets=500"] if name == "fasttext" else [])]
        bertsmith.pretrain(f"{name}:tiny", spelled.path, tmp_path / name, steps=2, threads=1, set=sets)
    bertsmith.stack([tmp_path / "fasttext", tmp_path / "word2vec"], out=tmp_path / "stack")
    both, loaded = bertsmith.embed(tmp_path / "stack", [TEXT, "zyzzyva"]), bertsmith.load(tmp_path / "fasttext")
    model, stream = loaded.member.model, encode(loaded.tokenizer, [TEXT, "zyzzyva"], None, loaded.reading())
    stream = stream.batch(np.array([0, 1])).input.to("cpu")
    with torch.no_grad():  # specials among them, as a head reads them
        own = torch.stack([part.mean(0) for part in texts(model, model(stream), stream)]).numpy()
    np.testing.assert_allclose(both[:, : own.shape[1]], own, rtol=1e-4, atol=1e-7)


def test_what_is_shown_names_characters_and_where_words_end(spelled):
    lines = [json.loads(line) for line in shown(spelled)]
    asked = [row for line in lines for row in line.get("targets", {}).get(LETTER, [])]
    assert {name for _, name, _ in asked} <= set(spelled.tokenizer.tokens(range(*spelled.vocab.letters))) and asked
    names = [name for _, name, _ in asked]
    spelt = "".join(names).split("▁")
    said = spelled.tokenizer.decode([i for line in lines for i in line.get("source", {}).get("ids", [])])
    assert spelt[0] in said.split(), "the letters of a word, and then its end"


def shown(store):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert cli.run(["show", "hybrid:tiny", "--data", str(store.path), "-n", "3", "--json"]) == 0
    return out.getvalue().splitlines()


def test_a_hybrid_writes_no_text_token_by_token(spelled, tmp_path):
    bertsmith.pretrain(
        "hybrid:tiny",
        spelled.path,
        tmp_path / "run",
        steps=1,
        threads=1,
        set=["layout.length=32", "training.batch=256"],
    )
    for verb in (bertsmith.generate, bertsmith.score):
        with pytest.raises(InputError, match="spell"):
            verb(tmp_path / "run", "the value of" if verb is bertsmith.generate else ["the value of"])
