"""The endpoints.  Every error is {"error": {"field", "message"}}; no endpoint takes a path, an address or a module's name."""

from __future__ import annotations

import base64
from collections.abc import Callable, Coroutine
from importlib.resources import files
from typing import Any

import numpy as np
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from bertsmith import __version__
from bertsmith.errors import printable
from bertsmith.serving import refused, schemas
from bertsmith.serving.guards import client_of
from bertsmith.serving.refused import Refused, body
from bertsmith.serving.server import Server
from bertsmith.serving.shelf import ANSWER, ATTENTION, EMBED, FILL, GENERATE, PREDICT, SIMILAR, TAG
from bertsmith.serving.strict import Strict

PAGE, DOCS = "index.html", "docs.html"
# A page of ours asks its own server and nobody else, whatever stands in an answer.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": schemas.Error, "description": about}
    for status, about in (
        (400, "not JSON"),
        (404, "no such model"),
        (409, "the model does something else"),
        (413, "more bytes than a request may have"),
        (422, "a field that is wrong, which is named"),
        (429, "the queue is full; Retry-After says when to come again"),
        (503, "the server drains, or the answer took too long"),
    )
}


class Route(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handler(Strict(request.scope, request.receive))

        return strict


def application(server: Server) -> FastAPI:
    app = FastAPI(
        title="bertsmith",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,
    )
    app.router.route_class = Route
    _errors(app)
    _asked(app, server)  # first, as routes are looked through in their order
    _about(app, server)
    _pages(app)
    app.openapi()  # made once, and not while the first who looks is waiting
    return app


# -- what models are asked --------------------------------------------------------------------------------------------------------------


def _asked(app: FastAPI, server: Server) -> None:
    async def answers(endpoint: str, asked: schemas.Request, request: Request, name: str = "answers") -> Response:
        served, said = await server.answer(endpoint, asked, client_of(request.scope))
        found = said.found.tolist() if isinstance(said.found, np.ndarray) else said.found
        return refused.answer({"model": served.name, "tokens": said.tokens, "notes": [*said.notes], name: found})

    post = lambda path, model=schemas.Answers: app.post(path, response_model=model, responses=ERRORS)

    @post("/predict")
    async def predict(asked: schemas.Predict, request: Request) -> Response:
        """What a fine-tuned model says of texts, or of rows with the fields of its task: {label, scores} and more, as `predict` has it."""
        return await answers(PREDICT, asked, request)

    @post("/fill")
    async def fill(asked: schemas.Fill, request: Request) -> Response:
        """What stands behind each [MASK]: {text, masks: [{position, top: [{token, text, id, p}]}]}."""
        return await answers(FILL, asked, request)

    @post("/embed", schemas.Vectors)
    async def embed(asked: schemas.Embed, request: Request) -> Response:
        """A vector of each text."""
        return await answers(EMBED, asked, request, "vectors")

    @post("/tag")
    async def tag(asked: schemas.Tag, request: Request) -> Response:
        """A tag for each word, and spans with their characters."""
        return await answers(TAG, asked, request)

    @post("/answer")
    async def answer(asked: schemas.Answer, request: Request) -> Response:
        """The piece of its context that answers each question, with start and end in characters; "" for none."""
        return await answers(ANSWER, asked, request)

    @post("/generate")
    async def generate(asked: schemas.Generate, request: Request) -> Response:
        """What the model writes after, or about, each text: {text, score, stopped}."""
        return await answers(GENERATE, asked, request)

    @post("/attention", schemas.Seen)
    async def attention(asked: schemas.Attention, request: Request) -> Response:
        """{tokens, layers, heads, weights}: what the heads of a layer look at; `weights` (heads, n, n), of token i (a row) on token j."""
        return await answers(ATTENTION, asked, request, "answer")

    @post("/similar", schemas.Seen)
    async def similar(asked: schemas.Similar, request: Request) -> Response:
        """{text, near: [{text, cosine}]}: neighbours of a word among the model's words, or of a text among the texts of `among`."""
        return await answers(SIMILAR, asked, request, "answer")

    @app.post("/v1/embeddings", responses=ERRORS)
    async def embeddings(asked: schemas.OpenAI, request: Request) -> Response:
        """As OpenAI's endpoint of this name answers, so that its clients need another base address and nothing else."""
        try:
            served, said = await server.answer(EMBED, asked.embed(), client_of(request.scope))
        except Refused as error:
            error.field = error.field.replace("texts", "input").replace("dim", "dimensions")
            raise
        packed = asked.encoding_format == "base64"
        each = [_base64(vector) if packed else vector.tolist() for vector in said.found]
        data = [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(each)]
        usage = {"prompt_tokens": said.tokens, "total_tokens": said.tokens}
        return refused.answer({"object": "list", "data": data, "model": served.name, "usage": usage})


def _base64(vector: np.ndarray) -> str:
    """Its numbers as little-endian float32."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


# -- what is told of the server -----------------------------------------------------------------------------------------------------------


def _about(app: FastAPI, server: Server) -> None:
    @app.get("/health")
    async def health(request: Request) -> Response:
        """Whether requests are taken (200, else 503); with the token also which models there are, and what each can be asked."""
        told: dict[str, Any] = {"status": server.state}
        if request.scope["state"].get("trusted", True):
            told["models"] = [served.about() for served in server.shelf]
        return refused.answer(told, 200 if server.state == "ready" else 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        """Counts and times, as Prometheus reads them."""
        return Response(server.figures.text(), media_type="text/plain; version=0.0.4")

    @app.get("/v1/models")
    async def models() -> Response:
        """As OpenAI's endpoint of this name."""
        listed = [
            {"id": served.name, "object": "model", "created": 0, "owned_by": "bertsmith"} for served in server.shelf
        ]
        return refused.answer({"object": "list", "data": listed})

    @app.post("/reload", responses=ERRORS)
    async def reload() -> Response:
        """Loads every model again from where it was: the newest step of a run, as it is now.  Of a server that has a token alone."""
        if server.token is None:
            raise Refused(403, "of a server with a token alone; SIGHUP does the same")
        told = await server.reload()
        return refused.answer(
            {
                "reloaded": [name for name, error in told.items() if not error],
                "failed": {name: error for name, error in told.items() if error},
            }
        )


# -- pages and errors ---------------------------------------------------------------------------------------------------------------------


def _pages(app: FastAPI) -> None:
    folder = files("bertsmith.serving") / "page"
    for path, name in (("/", PAGE), ("/docs", DOCS)):
        content = (folder / name).read_bytes()
        headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"}
        page = lambda content=content, headers=headers: Response(content, headers=headers, media_type="text/html")
        app.add_api_route(path, page, methods=["GET"], include_in_schema=False)


def _errors(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = [part for part in first["loc"][1:] if not (isinstance(part, str) and not part.isidentifier())]
        field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")
        if first["type"] == "missing" and not place:
            return body(400, "is empty; a JSON object is wanted", "body")
        message = {
            "missing": "is missing",
            "extra_forbidden": "no such field",
            "model_attributes_type": "a JSON object is wanted",
        }.get(first["type"], first["msg"])
        return body(422, message, printable(field, 80) or "body")

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> Response:
        message = {
            404: "no such page; /docs lists what there is",
            405: "this page takes other methods; /docs lists them",
        }
        if isinstance(error, Refused):
            return body(error.status_code, str(error.detail), error.field, error.headers)
        return body(error.status_code, message.get(error.status_code, str(error.detail)), "", error.headers)
