"""Heads of tags: an LSTM over the words, and how tags follow one another (a CRF), held against all paths of short sentences."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.runs import lines, same, small

import bertsmith
from bertsmith.data.batch import Batch, Stream, Target
from bertsmith.downstream.labelled_files import Files
from bertsmith.errors import InputError
from bertsmith.nn.member import build, parameters
from bertsmith.objectives.modules.tagging import FORBIDDEN, Transitions, Words
from bertsmith.objectives.supervised import FIRST, LAST, Tag
from bertsmith.recipe import find
from bertsmith.tasks import chains, schemes
from bertsmith.tasks.labels import Labels
from bertsmith.tasks.spans import parts
from bertsmith.tasks.tags import Tags, Truth
from bertsmith.training.run import Run

pytestmark = pytest.mark.usefixtures("one_thread")
HEADS = ("lstm", "crf", "lstm-crf")
SOME = ("11011", "11111", "01101", "11110", "11101")  # what may follow what of four tags


def crf(classes=4, allowed=SOME, seed=0) -> Transitions:
    made = Transitions(classes, allowed)
    with torch.no_grad():
        for own in made.parameters():
            own.normal_(generator=torch.Generator().manual_seed(seed))
    return made


def every_path(said, moves, first=True, last=True):
    """(paths, their scores), one by one in double precision."""
    paths = list(itertools.product(range(said.shape[1]), repeat=len(said)))
    scores = [
        sum(said[i, tag] for i, tag in enumerate(path))
        + sum(moves.between[a, b] for a, b in itertools.pairwise(path))
        + first * moves.begin[path[0]]
        + last * moves.end[path[-1]]
        for path in paths
    ]
    return paths, np.array(scores)


def test_the_likeliest_tags_each_tags_share_and_a_spans_are_those_of_all_paths():
    draw, moves, lengths = np.random.default_rng(0), chains.Moves(*crf().moves()), [3, 1, 5, 2]
    said = draw.normal(size=(11, 4))
    found, at = chains.decoded(said, np.array(lengths), moves), 0
    for length in lengths:
        paths, scores = every_path(said[at : at + length], moves)
        p = np.exp(scores - np.logaddexp.reduce(scores))
        best = paths[int(scores.argmax())]
        assert tuple(found.ids[at : at + length]) == best
        for i, tag in itertools.product(range(length), range(4)):
            true = sum(q for path, q in zip(paths, p, strict=True) if path[i] == tag)
            assert found.shares[at + i, tag] == pytest.approx(true, abs=1e-12)
        for a, b in itertools.combinations(range(length + 1), 2):
            true = sum(q for path, q in zip(paths, p, strict=True) if path[a:b] == best[a:b])
            assert found.path(at + a, at + b) == pytest.approx(true, abs=1e-12)
        at += length


def test_what_the_scheme_forbids_is_never_said_whatever_each_word_says():
    names = ("B-X", "B-Y", "I-X", "I-Y", "O")
    allowed = schemes.allowed(names, np.array([0, 2, 4]), np.array([3]))
    moves = chains.Moves(*crf(5, allowed).moves())
    said = np.random.default_rng(1).normal(size=(600, 5)) * 30
    tags = [names[i] for i in chains.decoded(said, np.full(60, 10), moves).ids]
    for first in range(0, 600, 10):
        for a, b in itertools.pairwise(["O", *tags[first : first + 10]]):
            assert b[0] != "I" or (a != "O" and a[2:] == b[2:]), (a, b)
    assert {"I-X", "I-Y", "O"} <= {*tags}


def test_sentences_of_which_words_were_not_read_are_decoded_as_far_as_they_were():
    moves, said = chains.Moves(*crf().moves()), np.random.default_rng(2).normal(size=(7, 4))
    said[[2, 3, 4, 5]] = np.nan
    found = chains.decoded(said, np.array([4, 2, 1]), moves)
    assert found.ids[2:6].tolist() == [-1] * 4 and np.isnan(found.shares[2:6]).all()
    paths, scores = every_path(said[:2], moves, last=False)
    assert tuple(found.ids[:2]) == paths[int(scores.argmax())]
    assert (np.abs(found.shares[[0, 1, 6]].sum(1) - 1) < 1e-12).all()


@pytest.mark.parametrize("ends", ["sentences", "windows"])
def test_the_loss_is_that_of_all_paths_here_and_where_it_learns(ends):
    draw, made, lengths = np.random.default_rng(3), crf(allowed=()), np.array([3, 1, 4])
    moves, said, tags = chains.Moves(*made.moves()), draw.normal(size=(8, 4)), draw.integers(0, 4, 8)
    first, last = (np.array([True, ends == "sentences", True]), np.array([True, True, ends == "sentences"]))
    starts, true = np.cumsum(lengths) - lengths, 0.0
    for at, length, begins, over in zip(starts, lengths, first, last, strict=True):
        paths, scores = every_path(said[at : at + length], moves, begins, over)
        true += np.logaddexp.reduce(scores) - scores[paths.index(tuple(tags[at : at + length]))]
    signs = np.zeros(8, int)
    signs[starts] += FIRST * first
    signs[starts + lengths - 1] += LAST * last  # a sentence of one word is both
    assert chains.loss(said, tags, lengths, moves, first, last) == pytest.approx(true, rel=1e-12)
    labels = torch.from_numpy(np.stack([tags, signs], 1))
    assert made.loss(torch.from_numpy(said).float(), labels, lengths.tolist()).item() == pytest.approx(true, rel=1e-5)


def test_a_gradient_is_what_is_expected_less_what_is_true():
    """d -log p / d score is the share of a tag less whether it is the true one."""
    made, said = crf(allowed=()), torch.randn(5, 4, generator=torch.Generator().manual_seed(4), requires_grad=True)
    tags = torch.tensor([1, 3, 0, 2, 2])
    labels = torch.stack([tags, torch.tensor([FIRST, 0, LAST, FIRST, LAST])], 1)
    made.loss(said, labels, [3, 2]).backward()
    shares = chains.decoded(said.detach().double().numpy(), np.array([3, 2]), chains.Moves(*made.moves())).shares
    assert np.allclose(said.grad.numpy(), shares - np.eye(4)[tags], atol=1e-5)


# -- schemes ------------------------------------------------------------------------------------------------------------------------


def scheme(*sentences):
    names = tuple(sorted({tag for tags in sentences for tag in tags.split()}))
    ids = np.array([names.index(tag) for tags in sentences for tag in tags.split()])
    lengths = np.array([len(tags.split()) for tags in sentences])
    return schemes.said(names, ids, lengths), names, schemes.allowed(names, ids, lengths)


@pytest.mark.parametrize(
    "sentences, said",
    [
        (("O B-X I-X B-X O", "B-Y"), {"scheme": "BIO"}),
        (("O I-X I-X B-X O", "I-Y"), {"scheme": "IOB1"}),
        (("O I-X E-X O", "E-X"), {"scheme": "IOE"}),
        (("B-X I-X E-X O", "S-X S-X"), {"scheme": "BIOES"}),
        (("B-X M-X E-X O", "S-X S-X"), {"scheme": "BMES"}),
        (("B-X I-X L-X O", "U-X"), {"scheme": "BILOU"}),
        (("B M E S",), {"scheme": "BMES"}),
        (("NN VB",), {}),
        (("B-X I-X", "B-Y", "O I-X"), {"scheme": "BIO", "against": 1, "such_as": "I-X behind O"}),
        (("B-X E-X", "S-X", "B-X O"), {"scheme": "BIOES", "against": 1, "such_as": "O behind B-X"}),
        (("S-X", "B-X"), {"scheme": "BIOES", "against": 1, "such_as": "B-X at the end"}),
        (("I-X B-Y", "B-X", "B-X"), {"scheme": "BIO", "against": 1, "such_as": "I-X at the beginning"}),
    ],
)
def test_the_scheme_of_a_file_is_known_by_what_follows_what_and_what_does_not_keep_to_it_is_told(sentences, said):
    assert scheme(*sentences)[0] == said


def test_what_a_file_does_is_allowed_beside_what_its_scheme_does():
    _, names, allowed = scheme("B-X I-X", "B-Y I-Y", "B-X O", "O I-X")
    may = lambda a, b: allowed[names.index(a)][names.index(b)] == "1"
    assert may("O", "I-X"), "once, in the file"
    assert not may("O", "I-Y") and not may("B-X", "I-Y") and may("I-Y", "B-X")
    assert allowed[-1] == "".join("01"[parts(name) is None or parts(name)[0] == "B"] for name in names) + "1"
    assert schemes.allowed(("NN", "VB"), np.array([0, 1]), np.array([2])) == ()


# -- modules ------------------------------------------------------------------------------------------------------------------------


def stream(*lengths):
    count = sum(lengths)
    zeros = torch.zeros(count, dtype=torch.long)
    positions = torch.cat([torch.arange(length) for length in lengths])
    tokens = torch.arange(count) % 7 + 5
    return Stream(tokens=tokens, positions=positions, segments=zeros, query_rank=zeros, key_rank=zeros, lengths=lengths)


@pytest.mark.parametrize("head", ["linear", "crf", "lstm", "lstm-crf"])
def test_a_head_says_what_the_file_has_most_until_it_has_learned(head):
    recipe = small("model.layers=1")
    kind = Tags(head=head).weighed(
        Truth(ids=np.array([0, 0, 0, 1]), lengths=np.array([4])), Labels(names=("O", "B-x", "I-x"))
    )
    objective = kind.objective(Labels(names=("O", "B-x", "I-x")), 0.0, "cls")
    member = build(replace(recipe, objective=objective).with_vocab(100))
    shares = torch.tensor([3.5, 1.5, 0.5]) / 5.5
    assert torch.allclose(member.objective.tag.out.bias, shares.log())
    with pytest.raises(InputError, match=r"objective\.shares: 2 for 3 classes"):
        replace(objective, shares=(0.5, 0.5))


@pytest.mark.parametrize("head", HEADS)
def test_parameters_are_counted_as_they_are_built(head):
    recipe = replace(find("bert:tiny"), objective=Tag(classes=5, head=head))
    assert parameters(recipe) == sum(p.numel() for p in build(recipe).parameters())


@pytest.mark.parametrize("head", HEADS)
def test_sentences_do_not_know_of_each_other_and_places_may_stand_in_any_order(head):
    member = build(replace(find("bert:tiny"), objective=Tag(classes=5, head=head))).eval()
    both, one = stream(4, 6), stream(4)
    with torch.no_grad():
        at = torch.tensor([1, 2, 5, 7, 8])
        said, alone = member.logits(both, at), member.logits(one, torch.tensor([1, 2]))
        assert torch.allclose(said[:2], alone, atol=1e-5)
        assert torch.allclose(member.logits(both, at.flip(0)), said.flip(0), atol=1e-5)


def test_an_lstm_reads_a_word_by_those_on_both_sides_that_are_asked():
    made = Words(8, 3).eval()
    hidden = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    other = hidden.clone()
    other[2] += 1
    with torch.no_grad():
        moved = (made(other, [3, 2]) - made(hidden, [3, 2])).abs().amax(1) > 1e-6
    assert moved.tolist() == [True, True, True, False, False]


def test_a_pass_that_is_asked_nothing_counts_for_nothing():
    """training/shard.py has one process keep step with another: labels of one column are no tags."""
    member = build(replace(find("bert:tiny"), objective=Tag(classes=4, head="lstm-crf", allowed=SOME)))
    empty = Target(at=torch.zeros(1, 1, dtype=torch.long), labels=torch.full((1,), -100))
    loss = member(Batch(input=stream(3), targets={"tag": empty}))["tag"]
    loss.backward()
    assert loss.item() == 0 and all((p.grad == 0).all() for p in member.objective.parameters())


@pytest.mark.parametrize(
    "sets, says",
    [
        ({"allowed": ("111", "11")}, "objective.allowed: 3 rows of as many 0 and 1 are wanted"),
        ({"allowed": ("11x", "111", "111")}, "objective.allowed: 3 rows"),
    ],
)
def test_a_table_of_what_may_follow_that_is_none_is_refused(sets, says):
    with pytest.raises(InputError, match=says):
        Tag(classes=2, head="crf", **sets)


# -- whole ones ---------------------------------------------------------------------------------------------------------------------


def tune(tune_by, out, head, method="full", **options):
    sets = (f"head={head}", "dropout=0", "precision=float32", *options.pop("sets", ()))
    return tune_by(out, method, "tag", sets, **{"epochs": 1, **options})


@pytest.mark.parametrize("head", HEADS)
def test_evaluate_and_predict_of_a_head_are_those_of_its_training(tune_by, tasks, tmp_path, head):
    dev = tasks["tag"][2]
    result = tune(tune_by, tmp_path / "run", head, epochs=2)
    assert result["dev"]["f1"]["value"] > 0.9
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["task"]["settings"]["head"] == head and config["recipe"]["objective"]["head"] == head
    found, rows = bertsmith.evaluate(tmp_path / "run", dev), bertsmith.predict(tmp_path / "run", dev)
    for name, score in result["dev"].items():
        assert found[name]["value"] == pytest.approx(score["value"], abs=1e-9)
    table = config["recipe"]["objective"]["allowed"]
    names = config["task"]["labels"]
    assert (len(table) == len(names) + 1) == ("crf" in head)
    for row in rows:
        assert all(0 < p <= 1 for p in row["scores"])
        for a, b in itertools.pairwise(row["label"]) if table else ():
            assert table[names.index(a)][names.index(b)] == "1"
        for span in row["spans"]:
            assert 0 < span["score"] <= min(row["scores"][span["start"] : span["end"]]) + 1e-9


def test_a_crf_that_was_broken_off_goes_on_to_the_same_bits(tune_by, tmp_path):
    straight = tune(tune_by, tmp_path / "straight", "lstm-crf", sets=("tokens=64",))

    with pytest.raises(KeyboardInterrupt):
        tune(tune_by, tmp_path / "run", "lstm-crf", sets=("tokens=64",), progress=Late(7))
    assert tune(tune_by, tmp_path / "run", "lstm-crf", sets=("tokens=64",), resume=True) == straight
    same(tmp_path / "straight", tmp_path / "run", state=False)


def test_a_crf_of_one_feed_of_a_mixture_learns_at_its_own_rate_and_its_exam_goes_by_it(tasks, short, tmp_path):
    kind, train, dev = tasks["tag"]
    feeds = {"docs": short, "names": Files(task=kind, train=train, dev=dev)}
    recipe = small("training.precision=float32", "model.dropout=0.0")
    given = {"steps": 6, "threads": 1, "set": ["batch=8", "head=crf"]}
    bertsmith.multitask(recipe, feeds, tmp_path / "run", **given)
    run = Run(tmp_path / "run")
    state = load_file(run.step(run.steps()[-1]) / "model.safetensors")
    config = json.loads((tmp_path / "run" / "config.json").read_text())["recipe"]
    (group,) = config["schedule"]["groups"]
    assert group["part"] == "objective.feed_names.crf"
    assert group["rate"] == pytest.approx(1e-2 / config["schedule"]["lr"])
    moved = state["objective.feed_names.crf.between"].abs().max().item()
    assert 1e-3 < moved < 6e-2, "some updates of at most 1e-2"
    found = [line["evaluation"] for line in lines(tmp_path / "run") if "evaluation" in line]
    assert found and all("names.tag" in each for each in found)


def test_a_crf_teaches_by_each_words_probabilities_an_lstm_learns_of_it_and_a_crf_does_not(tune_by, tasks, tmp_path):
    tune(tune_by, tmp_path / "teacher", "crf")
    result = tune(tune_by, tmp_path / "student", "lstm", teacher=[tmp_path / "teacher"])
    assert bertsmith.evaluate(tmp_path / "student", tasks["tag"][2]).keys() == result["dev"].keys()
    (group,) = json.loads((tmp_path / "student" / "config.json").read_text())["recipe"]["schedule"]["groups"]
    assert group["part"] == "objective.main.tag.lstm"
    said = chains.decoded(np.random.default_rng(5).normal(size=(6, 4)), np.array([6]), chains.Moves(*crf().moves()))
    p = np.exp(said.logits)
    assert np.allclose(p / p.sum(1, keepdims=True), said.shares)
    with pytest.raises(InputError, match=r"head.*crf.*: learns the tags of a sentence together, and a teacher says"):
        tune(tune_by, tmp_path / "other", "crf", teacher=[tmp_path / "teacher"])


class Late:
    def __init__(self, left):
        self.left = left

    def __call__(self, *_):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


@pytest.mark.parametrize("method", ["frozen", "mix", "adapter", "lora"])
def test_a_crf_goes_with_every_method(tune_by, tasks, tmp_path, method):
    result = tune(tune_by, tmp_path / "run", "lstm-crf", method)
    found = bertsmith.evaluate(tmp_path / "run", tasks["tag"][2])
    for name, score in result["dev"].items():
        assert found[name]["value"] == pytest.approx(score["value"], abs=1e-6)
    state = bertsmith.load(tmp_path / "run").member.objective.state_dict()
    (between,) = (own for name, own in state.items() if name.endswith("crf.between"))
    assert between.abs().max() > 0.01, "it learned, at a rate of its own"


def test_a_long_sentence_that_is_read_in_windows_is_decoded_as_one(tune_by, pretrained, tasks, tmp_path):
    tune(tune_by, tmp_path / "run", "crf", sets=("length=16", "stride=6"))
    words = [word for row in bertsmith.predict(tmp_path / "run", tasks["tag"][2])[:8] for word in row["words"]]
    said = []
    (row,) = bertsmith.predict(tmp_path / "run", [words], say=said.append)
    assert any("read in" in line and "windows" in line for line in said)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    table, names = config["recipe"]["objective"]["allowed"], config["task"]["labels"]
    assert None not in row["label"] and len(row["label"]) == len(words)
    assert all(table[names.index(a)][names.index(b)] == "1" for a, b in itertools.pairwise(row["label"]))


def test_a_head_that_transformers_has_no_class_for_is_not_exported_and_other_tasks_have_none(
    tune_by, tasks, pretrained, tmp_path
):
    tune(tune_by, tmp_path / "run", "crf", method="frozen")
    with pytest.raises(
        InputError, match=r"head=crf\), for which transformers has no class; fine-tune with set=.'head': 'linear'"
    ):
        bertsmith.export(tmp_path / "run", to="hf", out=tmp_path / "folder")
    with pytest.raises(InputError, match="head: crf: task='classify' has linear, san"):
        tune_by(tmp_path / "other", "full", "classify", ("head=crf",))
    with pytest.raises(InputError, match="head"):
        tune_by(tmp_path / "other", "full", "tag", ("head=crv",))
    assert not (tmp_path / "other").exists() and FORBIDDEN < -1e3
