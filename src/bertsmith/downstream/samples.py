"""What a pre-trained run makes of held-out text: asked tokens, the model's guess and the truth, decoded."""

from pathlib import Path
from typing import Any

from bertsmith.data.batch import IGNORE, NEVER, Stream

SHOWN = 6
MOST = 40  # answers in a sequence


def samples(run: str | Path, store: Any, count: int = SHOWN) -> list[list[dict[str, Any]]]:
    """`count` held-out sequences as lists of pieces: {"text"} as it stands, {"guess", "p", "truth"} where the model is asked.

    The masks are those of the held-out evaluation.
    """
    import torch

    from bertsmith.data.text import fixed_batches
    from bertsmith.downstream.model import load

    loaded, found = load(run), []
    if "token" not in loaded.member.weights():
        return []
    layout, tokenizer = loaded.recipe.layout, loaded.tokenizer
    tokens = 4 * count * layout.length
    batches = fixed_batches(store.held_out, layout, loaded.recipe.corruption, store.vocab, tokens, layout.length)
    loaded.member.eval()
    for batch in [batch.to("cpu") for batch in batches]:
        asked = batch.targets["token"]
        if len(batch.input.lengths) != 1 or len(asked) < 3:
            continue
        with torch.no_grad(), loaded.exact.policy(), loaded.exact.autocast():
            logits = loaded.member.objective.logits(loaded.member.model, batch.input, asked.at[:, 0])
        p, guess = torch.softmax(logits.float(), -1).max(-1)
        places = stands(batch.input, asked.at[:, 0].tolist())
        answers = list(zip(places, guess.tolist(), p.tolist(), asked.labels.tolist(), strict=True))
        some = answers[:: -(-len(answers) // MOST)]  # a language model is asked everywhere
        text = batch.input.tokens[batch.input.key_rank < NEVER].tolist()
        found.append(_pieces(text, {at: (g, p, t) for at, g, p, t in some if t != IGNORE}, tokenizer))
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
    """Runs of tokens that are not asked are decoded as text; specials are left out."""
    special, pieces = set(tokenizer.vocab.special), []
    plain: list[int] = []
    for at, token in enumerate([*ids, None]):
        if token is None or at in answers:
            if plain:
                pieces.append({"text": tokenizer.decode(plain)})
            plain = []
        if at in answers:
            guess, p, truth = answers[at]
            pieces.append(
                {"guess": tokenizer.token(guess), "p": p, "truth": tokenizer.token(truth), "right": guess == truth}
            )
        elif token is not None and token not in special:
            plain.append(token)
    return pieces
