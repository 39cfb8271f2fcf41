"""One server: the models, the line of those who wait, and how a request becomes an answer."""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from bertsmith.errors import InputError, printable
from bertsmith.serving import schemas, works
from bertsmith.serving.figures import Figures
from bertsmith.serving.limits import Limits
from bertsmith.serving.line import Client, Line, Said
from bertsmith.serving.refused import Refused, of_input
from bertsmith.serving.shelf import ANSWER, ATTENTION, EMBED, FILL, GENERATE, PREDICT, SIMILAR, TAG, Served, Shelf
from bertsmith.spelling import amount

MAKE: dict[str, works.Make] = {
    PREDICT: works.rows,
    TAG: works.rows,
    ANSWER: works.rows,
    FILL: works.fill,
    EMBED: works.embed,
    GENERATE: works.generate,
    ATTENTION: works.attention,
    SIMILAR: works.similar,
}
# What every model is asked before it is served, where it can be: what a first pass makes is there when the first request comes.
WARM: tuple[tuple[str, type[schemas.Request], dict[str, Any]], ...] = (
    (EMBED, schemas.Embed, {"texts": ["a text", "a text of a few more words than the other"]}),
    (ATTENTION, schemas.Attention, {"text": "a text"}),
    (PREDICT, schemas.Predict, {"texts": ["a text"]}),
    (FILL, schemas.Fill, {"texts": ["a [MASK]"], "top": 1}),
)


class Server:
    """`say` hears what happens: models, errors of ours, the end; never anything of a request's text."""

    def __init__(self, shelf: Shelf, limits: Limits, say: Callable[[str], None], token: str | None = None):
        self.shelf, self.limits, self.say, self.token = shelf, limits, say, token
        self.figures = Figures()
        self.line = Line(limits, self.figures)
        self.state: Literal["ready", "draining"] = "ready"

    def warm(self, served: Served) -> None:
        """Asks a model all that it can be asked; what it then turns out not to do is not offered.  From a thread of its own."""

        async def asked() -> None:
            for name, schema, fields in WARM:
                if name not in served.does:
                    continue
                request = schema.model_validate(fields)
                try:
                    await self.line.answered(MAKE[name](served, request, self.limits), Client())
                except (InputError, Refused):
                    if name == ATTENTION:
                        served.does = tuple(one for one in served.does if one != ATTENTION)

        asyncio.run(asked())

    async def reload(self) -> dict[str, str]:
        told = await asyncio.get_running_loop().run_in_executor(None, self.shelf.again, self.warm)
        for name, error in told.items():
            self.figures.reloads["failed" if error else "done"] += 1
            self.say(f"{name}: not loaded again: {error}; the one before stays" if error else f"{name}: loaded again")
        return told

    def close(self) -> None:
        self.line.close()

    # -- a request -------------------------------------------------------------------------------------------------------------------

    async def answer(self, endpoint: str, asked: schemas.Request, client: Client) -> tuple[Served, Said]:
        """Whose answer it is, and the answer.  Refused for what cannot be answered."""
        served = self.shelf.named(asked.model)
        if endpoint not in served.does:
            raise Refused(409, f"{served.name} does not {endpoint}; it can be asked: {', '.join(served.does)}", "model")
        self._check(asked)
        try:
            return served, await self.line.answered(MAKE[endpoint](served, asked, self.limits), client)
        except InputError as error:
            raise of_input(error, served.hidden) from None
        except Refused:
            raise
        except Exception as error:
            raise self._ours(endpoint, error) from None

    def _check(self, asked: schemas.Request) -> None:
        """Refused for more than a request may hold."""
        limits, texts = self.limits, asked.texts_of()
        field = next(
            (name for name in ("texts", "rows", "questions", "input", "among") if getattr(asked, name, None)), "text"
        )
        if len(texts) > limits.texts:
            raise Refused(422, f"{amount(len(texts), 'text')}; at most {limits.texts} a request", field)
        characters = works.characters(texts)
        if characters > limits.characters:
            many = amount(characters, "character")
            raise Refused(422, f"{many}; at most {limits.characters:,} a request", field)
        for name, most in (("top", limits.top), ("limit", limits.write), ("beam", limits.beam)):
            value = getattr(asked, name, None)
            if value is not None and value > most:
                raise Refused(422, f"{value}: at most {most}", name)

    def _ours(self, endpoint: str, error: Exception) -> Refused:
        """500, and a line that says where; the error's own words may hold some of a text."""
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            self.say(f"error: /{endpoint}: out of memory")
            return Refused(503, "out of memory; a smaller request may do", after=1)
        self.say(f"error: /{endpoint}: {where(error)}")
        return Refused(500, "an error of the server; its log says where")


def where(error: BaseException) -> str:
    """`TypeError at bertsmith/serving/works.py:12`."""
    frames = traceback.extract_tb(error.__traceback__ or sys.exc_info()[2])
    at = frames[-1] if frames else None
    return f"{type(error).__name__}" + (
        f" at {printable('/'.join(Path(at.filename).parts[-3:]))}:{at.lineno}" if at else ""
    )
