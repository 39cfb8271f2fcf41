"""Statistics of pages and what they take, beside datatrove's filters with the same words."""

import importlib.util
import json
import random

import pytest
from tests.test_stages import pages

from bertsmith.errors import InputError
from bertsmith.text import gopher
from bertsmith.text.clean import C4, GOPHER, Rules, cleaned, named
from bertsmith.text.prepare import prepare

PROSE = "The fox that lives with us went to the hill of stones and saw the river. "
needs_datatrove = pytest.mark.skipif(importlib.util.find_spec("datatrove") is None, reason="needs datatrove")


def drawn(count: int = 300) -> list[list[str]]:
    """Pages near the bounds: bullets, ellipses, hashes, numbers, lines and words that repeat, few words."""
    draw, made = random.Random(2), []
    base = [page.split("\n") for page in pages(count, 3)]
    for lines in base:
        lines = [line for line in lines if line] + [PROSE * draw.randint(1, 4)]
        kind = draw.randrange(9)
        if kind == 0:
            lines = [f"- {line}" for line in lines] + ["End of the list."] * draw.randint(0, 1)
        elif kind == 1:
            lines = [line + "..." * (draw.random() < 0.4) for line in lines]
        elif kind == 2:
            lines.append("# " * draw.randint(1, 30))
        elif kind == 3:
            lines.append(" ".join(str(draw.randrange(10**4)) for _ in range(draw.randint(5, 60))))
        elif kind == 4:
            lines += [lines[0]] * draw.randint(1, 4)
        elif kind == 5:
            lines.append("again and " * draw.randint(2, 40))
        elif kind == 6:
            lines = lines[:1]
        elif kind == 7:
            lines.append(" ".join("a" * draw.randint(20, 40) for _ in range(draw.randint(3, 40))))
        made.append([line.strip() for line in lines])
    return made


@needs_datatrove
def test_what_is_taken_is_what_datatrove_takes_with_the_same_words():
    from datatrove.data import Document
    from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter
    from datatrove.utils.word_tokenizers import WordTokenizer

    class Ours(WordTokenizer):
        def word_tokenize(self, text):
            return gopher.words(text)

        def sent_tokenize(self, text):
            raise NotImplementedError

        def span_tokenize(self, text):
            raise NotImplementedError

    theirs = {
        gopher.QUALITY: GopherQualityFilter(language=Ours()),
        gopher.REPETITION: GopherRepetitionFilter(language=Ours()),
    }
    found = drawn()
    taken = dict.fromkeys(GOPHER, 0)
    for lines in found:
        text = "\n".join(lines)
        if any(gopher._UNSPACED.search(line) for line in lines):
            continue  # where ours asks less
        for rule, by in theirs.items():
            stays = by.filter(Document(text=text, id=""))
            mine = gopher.rule_of(gopher.measured(lines, (rule,), True), (rule,))
            assert bool(mine) == (stays is not True), (stays, text)
            taken[rule] += bool(mine)
    assert all(20 < count < len(found) - 20 for count in taken.values()), taken


def test_each_bound_takes_what_is_beyond_it():
    for rule, bounds in gopher.BOUNDS.items():
        for name, (least, most) in bounds.items():
            for value, expected in ((least, ""), (most, ""), (most * 1.001 + 1e-9, rule), (least - 1e-9, rule)):
                assert gopher.rule_of({name: value}, GOPHER) == expected, (name, value)
            assert gopher.rule_of({name: most + 1}, tuple({*GOPHER} - {rule})) == ""


def test_chinese_is_not_asked_for_english_words():
    lines = ["今天天气很好，我们一起去公园散步，看见许多老人在湖边下棋，孩子们在草地上放风筝。"] * 1 + [
        "晚上大家回到家里，围着桌子吃饭，谈论白天遇到的有趣的人和事情，然后各自读书写字，很晚才睡觉。",
        "第二天下雨了，街上的人很少，商店也关了门，只有几只猫坐在屋檐下面，安静地看着雨水流过石头。",
    ]
    found = gopher.measured(lines, GOPHER, True)
    assert "stop words" not in found and "word length" not in found and found["words"] > 50
    assert gopher.rule_of(found, GOPHER) == ""
    assert "stop words" not in gopher.measured([PROSE], GOPHER, False)


def test_the_rules_stand_in_cleaning_and_say_what_they_measured(tmp_path):
    assert named("gopher") == GOPHER and {*named("c4,gopher")} == {*C4, *GOPHER}
    assert not {*GOPHER} & {*C4}
    good = [PROSE + f"And that is what they have to say of number {i} with some care." for i in range(9)]
    assert cleaned(good[:4], Rules(names=(gopher.QUALITY,)))[1] == []
    drops = cleaned(["Too few words here."], Rules(names=GOPHER))[1]
    assert [drop.rule for drop in drops] == [gopher.QUALITY]
    rows = [
        {"text": "\n".join(good[:2])},
        {"text": "Too few words here."},
        {"text": "\n".join(page)} if (page := drawn(1)[0]) else {},
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    accounts, said = [], []
    for name, more in (("one", {}), ("two", {"workers": 2}), ("three", {"resume": True})):
        options = {"tokenizer": "wordpiece:100", "clean": "gopher-quality", "allow_unknown": True, "holdout": 0}
        accounts.append(prepare(tmp_path / "a.jsonl", tmp_path / name, **options, **more, say=said.append))
    assert accounts[0] == accounts[1] == accounts[2]
    words = accounts[0]["clean"]["statistics"]["words"]
    assert words["pages"] == 3 and words["pages_kept"] == accounts[0]["clean"]["kept"]["pages"] < 3
    assert any(
        line.startswith("clean: mean of the pages that were measured (of those that passed): words ") for line in said
    )
    assert len({(tmp_path / name / "manifest.json").read_bytes() for name in ("one", "two", "three")}) == 1
    with pytest.raises(InputError, match="did you mean 'gopher'"):
        named("gofer")
