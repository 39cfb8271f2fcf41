"""What a pre-trained run makes of held-out text: asked tokens, the model's guess and the truth, decoded."""

from pathlib import Path
from typing import Any

from bertsmith.data.batch import IGNORE, NEVER, Stream
from bertsmith.text.shown import BLANK

SHOWN = 6
MOST = 40  # answers in a sequence


def samples(run: str | Path, store: Any, count: int = SHOWN) -> list[list[dict[str, Any]]]:
    """`count` held-out sequences as lists of pieces: {"text"} as it stands, {"guess", "p", "truth", "right"} where the model is asked.

    The masks are those of the held-out evaluation.
    """
    import torch

    from bertsmith.data.text import fixed_batches
    from bertsmith.downstream.model import load

    loaded, found = load(run), []
    if "token" not in loaded.member.weights():
        return []
    layout, tokenizer = store.laid(loaded.recipe.layout, lenient=True), loaded.tokenizer
    size, special = tokenizer.vocab.size, tokenizer.vocab.mask
    known = lambda i: i if i < size else special  # a sentinel behind the tokenizer's tokens
    tokens = 4 * count * layout.length
    batches = fixed_batches(store.held_out, layout, loaded.recipe.corruption, store.vocab, tokens, layout.length)
    loaded.member.eval()
    for batch in [batch.to("cpu") for batch in batches]:
        asked = batch.targets["token"]
        if len(batch.input.lengths) != 1 or len(asked) < 3:
            continue
        with torch.no_grad(), loaded.exact.policy(), loaded.exact.autocast():
            at, about = asked.at[:, 0], {} if batch.output is None else {"output": batch.output}
            logits = loaded.member.objective.logits(loaded.member.model, batch.input, at, **about)
        p, guess = torch.softmax(logits.float(), -1).max(-1)
        written = batch.input if batch.output is None else batch.output
        places = stands(written, (at + loaded.reading().before).tolist())
        answers = list(zip(places, guess.tolist(), p.tolist(), asked.labels.tolist(), strict=True))
        some = answers[:: -(-len(answers) // MOST)]  # a language model is asked everywhere
        text = [known(i) for i in written.tokens[written.key_rank < NEVER].tolist()]
        asked_for = {at: (known(g), p, t) for at, g, p, t in some if t != IGNORE and t < size}
        found.append(_pieces(text, asked_for, tokenizer))
        if len(found) == count:
            break
    return found


def stands(stream: Stream, places: list[int]) -> list[int]:
    """Where the answers to questions at `places` of one sequence stand in its text: there; behind a token that sees only what came
    before it; where a token that only asks says."""
    if stream.visibility == "causal":
        return [at + 1 for at in places]
    asks = stream.key_rank == NEVER
    return [int(stream.positions[at]) if asks[at] else at for at in places]


def _pieces(ids: list[int], answers: dict[int, tuple[int, float, int]], tokenizer: Any) -> list[dict[str, Any]]:
    """Runs of tokens that are not asked as text, each piece with `space`: whether a blank parts it from the one before; specials are left
    out."""
    people, found = tokenizer.people, []
    ids = [answers[at][2] if at in answers else token for at, token in enumerate(ids)]
    behind = False  # a special, which parts as a blank does
    shown = people.pieces(ids, answers)
    for at, (token, piece) in enumerate(zip(ids, shown, strict=True)):
        space = piece.space or behind
        behind = piece.special and token != tokenizer.vocab.unk
        if at in answers:
            guess, p, truth = answers[at]
            names = people.piece(guess).text, piece.text
            if guess != truth and names[0] == names[1]:  # a beginning of a word and what goes on with one
                names = tokenizer.token(guess), tokenizer.token(truth)
            right = guess == truth
            names = (names[1], names[1]) if right else names
            found.append({"guess": names[0], "p": p, "truth": names[1], "right": right, "space": space})
        elif behind or piece.text == BLANK:
            continue
        elif found and "text" in found[-1]:
            found[-1]["text"] += " " * space + piece.text
        else:
            found.append({"text": piece.text, "space": space})
    return found
