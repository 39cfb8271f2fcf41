"""The page in a real Chromium: what is typed is answered, by keyboard and on a phone, in Chinese too, and nothing is asked of anybody else."""

import json

import pytest
from tests.browser import Browser
from tests.serving import Running

import bertsmith

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(Browser.path() is None, reason="no Chromium on this machine: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def folders(pretrained, tasks, tmp_path_factory):
    made, out = {"bert": pretrained}, tmp_path_factory.mktemp("shown")
    for name in ("classify", "tag", "qa"):
        kind, train, dev = tasks[name]
        options = {"seed": 3, "threads": 1, "steps": 4, "set": ("batch=8", "lr=0.01")}
        bertsmith.finetune(pretrained, task=kind, train=train, dev=dev, out=out / name, **options)
        made[name] = out / name
    (out / "zh.txt").write_text("今天天气很好，我们去公园散步。\n中国的首都是北京。\n\n" * 30, encoding="utf-8")
    bertsmith.prepare([str(out / "zh.txt")], out / "store", tokenizer="char", language="zh", allow_unknown=True)
    from tests.runs import small

    made["chinese"] = out / "chinese"
    bertsmith.pretrain(small("training.precision=float32"), out / "store", made["chinese"], steps=2, threads=1)
    return made


@pytest.fixture(scope="module")
def running(folders):
    made = Running(*(f"{name}={place}" for name, place in folders.items()))
    yield made
    made.close()


@pytest.fixture(scope="module")
def browser():
    made = Browser(Browser.path())
    yield made
    made.close()


@pytest.fixture
def page(browser, running):
    """The page, which has answered what stands there at first; afterwards, no script has failed, and nobody else was asked."""
    browser.size(1000)
    browser.errors.clear()
    browser.requests.clear()
    browser.open("about:blank")
    browser.open(f"http://127.0.0.1:{running.port}/")
    answered(browser)
    yield browser
    assert browser.errors == []
    assert {address.split("/")[2] for address in browser.requests if "//" in address} <= {f"127.0.0.1:{running.port}"}


def answered(browser) -> None:
    browser.until("document.body.dataset.turn == turn && !document.querySelector('.working')")


def choose(browser, name: str, part: str) -> None:
    script = "document.body.dataset.turn = ''; (s => { s.value = %s; s.dispatchEvent(new Event('input', {bubbles: true})) })(document.querySelector('#model'))"
    browser.say(script % json.dumps(name))
    browser.say(f"document.querySelector('#tab-{part}').click()")
    answered(browser)


def typed(browser, query: str, text: str) -> None:
    browser.say("document.body.dataset.turn = ''")
    browser.focus(query)
    browser.type(text)
    browser.until(f"document.querySelector({json.dumps(query)}).value === {json.dumps(text)}")
    answered(browser)


def names(browser, part: str) -> list[str]:
    return browser.say(f"[...document.querySelectorAll('#{part} .bars .name')].map(one => one.innerText)")


def test_masks_are_filled_as_one_types(page, folders):
    typed(page, "#fill textarea", "the [MASK] of")
    (mask,) = bertsmith.fill(folders["bert"], "the [MASK] of")["masks"]
    assert names(page, "fill") == [one["text"] for one in mask["top"]]
    assert page.say("document.querySelector('#fill mark').innerText") == mask["top"][0]["text"]
    page.say("document.querySelectorAll('#fill .bars button')[1].click()")  # takes its mask's place
    page.until(
        f"document.querySelector('#fill textarea').value === {json.dumps('the ' + mask['top'][1]['text'] + ' of')}"
    )
    page.until("document.querySelector('#status').innerText.includes('[MASK]')")


def test_classes_have_scores_and_what_they_lean_on(page, folders):
    choose(page, "classify", "predict")
    typed(page, "#predict textarea", "a list of names")
    (known,) = bertsmith.predict(folders["classify"], ["a list of names"])
    assert names(page, "predict")[0] == known["label"]
    shown = page.say("document.querySelector('#predict .bars .best b').innerText")
    assert abs(float(shown.split()[0]) - 100 * known["scores"][known["label"]]) < 0.06
    tokens = page.say("[...document.querySelectorAll('#predict .said span')].map(one => one.innerText)")
    assert tokens[0] == "[CLS]" and "list" in "".join(tokens)
    much = page.say(
        "[...document.querySelectorAll('#predict .said span')].map(one => Number(one.style.getPropertyValue('--much')))"
    )
    assert max(much) == 1


def test_tags_are_coloured_spans_of_the_text(page, folders):
    choose(page, "tag", "tag")
    text = "😀 Zqx of 今天 and Kbd"
    typed(page, "#tag textarea", text)
    (known,) = bertsmith.predict(folders["tag"], [text])
    shown = page.say("[...document.querySelectorAll('#tag .said .span')].map(one => one.firstChild.textContent)")
    assert shown == [text[slice(*span["characters"])] for span in known["spans"]]
    assert page.say("document.querySelector('#tag .said').innerText").startswith("😀")


def test_answers_stand_in_their_paragraph(page, folders):
    choose(page, "qa", "answer")
    question, context = "what is it?", "😀 the list is a sequence of names"
    typed(page, "#answer input", question)
    typed(page, "#answer textarea", context)
    (known,) = bertsmith.predict(folders["qa"], [{"question": question, "context": context}], top=3)
    assert names(page, "answer") == [one["text"] or "(none)" for one in known["answers"]]
    page.say("document.querySelectorAll('#answer .bars button')[1].click()")
    other = known["answers"][1]
    assert page.say("document.querySelector('#answer mark')?.innerText ?? ''") == context[other["start"] : other["end"]]


def test_attention_is_drawn_by_layer_and_head(page, folders):
    choose(page, "bert", "attention")
    typed(page, "#attention textarea", "the list of names")
    known = bertsmith.attention(folders["bert"], "the list of names")["windows"][0]
    lefts = page.say("[...document.querySelectorAll('#attention figure text')].map(one => one.textContent)")
    assert [*dict.fromkeys(lefts)] == ["reads", "what", *dict.fromkeys(known["tokens"])]
    assert page.say("document.querySelectorAll('#attention .heads button').length") == 2
    page.say("document.querySelectorAll('#attention .heads button')[1].click()")
    assert page.say("document.querySelector('#head').value") == "1"
    strong = int((known["layers"][0]["weights"][1] > 0.02).sum())
    assert page.say("document.querySelectorAll('#attention figure line').length") == strong
    page.say("document.querySelector('#attention rect.hit').dispatchEvent(new Event('mouseenter'))")
    assert page.say("document.querySelectorAll('#attention figure line').length") == int(
        (known["layers"][0]["weights"][1][0] > 0.02).sum()
    )


def test_neighbours_of_words_and_of_texts(page, folders):
    choose(page, "bert", "similar")
    typed(page, "#similar input", "the")
    assert names(page, "similar") == [one["text"] for one in bertsmith.similar(folders["bert"], "the", top=12)["near"]]
    typed(page, "#similar textarea", "a list\nthe names\nelse")
    assert sorted(names(page, "similar")) == ["a list", "else", "the names"]


def test_chinese_is_asked_when_it_is_composed_and_not_before(page, folders):
    choose(page, "chinese", "fill")
    typed(page, "#fill textarea", "中国的[MASK]都")
    (mask,) = bertsmith.fill(folders["chinese"], "中国的[MASK]都")["masks"]
    assert names(page, "fill") == [one["text"] for one in mask["top"]]
    page.requests.clear()
    page.do("Input.imeSetComposition", text="bei", selectionStart=3, selectionEnd=3)
    page.say("new Promise(done => setTimeout(done, 600))")
    assert not any(address.endswith("/fill") for address in page.requests)
    page.say("document.body.dataset.turn = ''")
    page.do("Input.insertText", text="是北京")
    page.until("document.querySelector('#fill textarea').value === '中国的[MASK]都是北京'")
    answered(page)
    assert page.say("document.querySelector('#fill .said').innerText").endswith("都是北京")


def test_the_keyboard_is_enough(page):
    page.say("document.querySelector('nav button[aria-selected=true]').focus()")
    first = page.say("document.activeElement.id")
    page.press("ArrowRight")
    assert page.say("document.activeElement.id") != first
    assert page.say("document.activeElement.getAttribute('aria-selected')") == "true"
    page.press("ArrowLeft")
    assert page.say("document.activeElement.id") == first
    page.press("Tab")
    assert page.say("document.activeElement.tagName") == "TEXTAREA"
    answered(page)
    page.say("document.body.dataset.turn = ''")
    page.press("Enter", control=True)
    answered(page)
    unnamed = "[...document.querySelectorAll('textarea, input, select')].filter(one => !one.labels.length && !one.ariaLabel).length"
    assert page.say(unnamed) == 0


@pytest.mark.parametrize("width", [320, 375])
def test_a_phone_shows_all_of_it(page, width):
    page.size(width, 800)
    for name, part in (
        ("bert", "fill"),
        ("classify", "predict"),
        ("tag", "tag"),
        ("qa", "answer"),
        ("bert", "attention"),
    ):
        choose(page, name, part)
        assert page.say("document.documentElement.scrollWidth") <= width, part
        small = (
            "[...document.querySelectorAll('button')].filter(one => one.offsetParent && one.offsetHeight < 34).length"
        )
        assert page.say(small) == 0


def test_a_token_is_asked_for_and_stays_in_the_tab(pretrained, browser):
    running = Running(pretrained, token="correct-horse-battery")
    try:
        browser.open(f"http://127.0.0.1:{running.port}/")
        browser.until("!document.querySelector('#locked').hidden")
        browser.focus("#token")
        browser.type("correct-horse-battery")
        browser.press("Enter")
        browser.say("document.querySelector('#locked button').click()")
        answered(browser)
        assert names(browser, "fill") and "correct" not in browser.say("location.href + document.cookie")
    finally:
        running.close()


def test_what_there_is_to_ask_is_shown_and_can_be_tried(page, running):
    page.open(f"http://127.0.0.1:{running.port}/docs#embed")
    page.until("!!document.querySelector('details#embed[open]')")
    shown = page.say("[...document.querySelectorAll('summary')].map(one => one.innerText)")
    assert {"POST /predict", "POST /fill", "GET /health", "POST /v1/embeddings"} <= {*shown}
    page.say("document.querySelector('#embed button').click()")
    page.until("document.querySelector('#embed pre[aria-live]').innerText.startsWith('200')")
