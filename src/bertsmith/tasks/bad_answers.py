"""Answers of a training file that do not stand where it says: moved, or left out."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from bertsmith.errors import InputError, printable
from bertsmith.spelling import amount, option
from bertsmith.tasks.squad import Answer, Questions


def mended(rows: Questions, how: str) -> Questions:
    """`rows` of which every answer stands where it says.  "mend": one that does not is moved to the nearest place where its text stands;
    "skip", or where it stands nowhere: it is left out, and a question that has no other; an empty question, too.  Counted, and said in a note.

    InputError where no question is left.
    """
    kept, answers, counts = [], [], Counter()
    for i, given in enumerate(rows.answers):
        if not rows.questions[i].strip():
            counts["lost"] += 1
            continue
        context, found = rows.contexts[rows.about[i]], []
        for answer in given:
            if answer.start is None and how == "mend":
                answer = _nearest(answer, context)
                counts["moved"] += answer.start is not None
            counts["out"] += answer.start is None
            found += [answer] if answer.start is not None else []
        counts["lost"] += bool(given) and not found
        if found or not given:
            kept.append(i)
            answers.append(found)
    if not kept:
        raise InputError(
            f"{printable(rows.path)}: answers: none stands in its context; {option('on_bad_answer')} leaves no question"
        )
    told = (
        ("moved", "answer moved to where its text stands", "answers moved to where their text stands"),
        ("out", "answer left out", "answers left out"),
        ("lost", "question left out", "questions left out"),
    )
    said = ", ".join(amount(counts[what], *names) for what, *names in told if counts[what] or what != "moved")
    mended = counts["moved"] + counts["out"] + counts["lost"]
    notes = [note for note in rows.notes if "answer_start says" not in note and "empty; the text" not in note]
    notes += [f"{printable(rows.path)}: {option('on_bad_answer', how)}: {said}"] if mended else []
    return replace(
        rows.picked(kept),
        answers=answers,
        counts={**rows.counts, **{f"answers_{what}": counts[what] for what, *_ in told}},
        notes=notes,
    )


def _nearest(answer: Answer, context: str) -> Answer:
    """The answer where its text, or that without blanks at its ends, stands nearest to where it says; of two as near the first."""
    for text in dict.fromkeys((answer.text, answer.text.strip())):
        at = context.find(text)
        places = []
        while at >= 0:
            places.append(at)
            at = context.find(text, at + 1)
        if places:
            return replace(answer, text=text, start=min(places, key=lambda place: abs(place - answer.said)))
    return answer
