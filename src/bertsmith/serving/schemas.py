"""What requests hold, as the OpenAPI page shows it.  Nothing is converted, and a field that is none is refused."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from bertsmith.serving.refused import Refused

Texts = list[str]


def example(**fields: Any) -> ConfigDict:
    return ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [fields]})


class Request(BaseModel):
    """`model`: the name of one that /health lists; the first unless given."""

    model_config = example()
    model: str | None = Field(None, description="one that /health lists; the first unless given")

    def texts_of(self) -> list[Any]:
        """Everything in it whose characters count."""
        return []


class Rows(Request):
    texts: Texts | None = Field(None, description="texts, where the task reads one text a row")
    rows: list[dict[str, Any]] | None = Field(
        None, description="rows with the fields of the task: text, text2, question, context, …; /health lists them"
    )

    def given(self) -> tuple[str, list[Any]]:
        """The name of the field, and what it holds."""
        if (self.texts is None) == (self.rows is None):
            raise Refused(422, "texts, or rows: one of them is wanted", "texts")
        name = "texts" if self.rows is None else "rows"
        found = getattr(self, name)
        if not found:
            raise Refused(422, "is empty; one text at least is wanted", name)
        return name, found

    def texts_of(self) -> list[Any]:
        return [*(self.texts or ()), *(self.rows or ())]


class Predict(Rows):
    model_config = example(texts=["a fine film", "two hours of nothing"])
    explain: bool = Field(
        False, description="also how much each token speaks for the answer: gradient times input, as `tokens`"
    )


class Tag(Request):
    model_config = example(texts=["Ada Lovelace was born in London"])
    texts: list[str | Texts] = Field(min_length=1, description="texts, or lists of words")

    def given(self) -> tuple[str, list[Any]]:
        return "texts", self.texts

    def texts_of(self) -> list[Any]:
        return [*self.texts]


class Question(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    question: str
    context: str


class Answer(Request):
    model_config = example(questions=[{"question": "Who wrote it?", "context": "Mary Shelley wrote it in 1818."}])
    questions: list[Question] = Field(min_length=1)
    top: int | None = Field(None, ge=1, le=20, description="also so many best answers, as `answers`")

    def given(self) -> tuple[str, list[Any]]:
        return "questions", [{"question": one.question, "context": one.context} for one in self.questions]

    def texts_of(self) -> list[Any]:
        return self.given()[1]


class Fill(Request):
    model_config = example(texts=["Paris is the [MASK] of France."], top=5)
    texts: Texts = Field(min_length=1, description="texts with [MASK], or the model's own mask")
    top: int = Field(5, ge=1)

    def texts_of(self) -> list[Any]:
        return [*self.texts]


class Embed(Request):
    model_config = example(texts=["a text", "another one"])
    field: ClassVar[str] = "texts"
    texts: Texts = Field(min_length=1)
    pool: str | None = Field(
        None, description="mean, cls, max, …, or several (cls+mean); what the model says unless given"
    )
    normalise: bool | None = Field(None, description="vectors of length 1")
    layer: int | None = Field(None, ge=0, description="0 is the embedding; the last unless given")
    dim: int | None = Field(None, ge=1, description="the first so many numbers of each vector, to length 1 again")
    prompt: str | None = Field(None, description="one that the model has by name, or a text, to stand before each")

    def texts_of(self) -> list[Any]:
        return [(self.prompt or "") + text for text in self.texts]


class OpenAI(Request):
    """As OpenAI's clients send it."""

    model_config = example(input=["a text", "another one"], model="NAME", encoding_format="float")
    input: str | Texts
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, ge=1)
    user: str | None = Field(None, description="is not looked at")

    def texts_of(self) -> list[Any]:
        return [self.input] if isinstance(self.input, str) else [*self.input]

    def embed(self) -> Embed:
        made = Embed.model_construct(
            model=self.model,
            texts=self.texts_of(),
            pool=None,
            normalise=None,
            layer=None,
            dim=self.dimensions,
            prompt=None,
        )
        if not made.texts:
            raise Refused(422, "is empty; one text at least is wanted", "input")
        return made


class Generate(Request):
    model_config = example(texts=["Once upon a time"], limit=32)
    texts: Texts = Field(min_length=1)
    limit: int = Field(64, ge=1, description="new tokens at most")
    beam: int = Field(1, ge=1)
    sample: bool = False
    temperature: float = 1.0
    top_k: int = Field(0, ge=0)
    top_p: float = 1.0
    no_repeat: int = Field(0, ge=0)
    seed: int = Field(0, ge=0, lt=2**32)

    def texts_of(self) -> list[Any]:
        return [*self.texts]


class Attention(Request):
    model_config = example(text="the cat sat on the mat", layer=0)
    text: str
    text2: str | None = None
    layer: int = Field(0, ge=0, description="counted from 0, as `layers` of the answer lists them")
    head: int | None = Field(None, ge=0, description="one of them alone, counted from 0")

    def texts_of(self) -> list[Any]:
        return [self.text, *([self.text2] if self.text2 else ())]


class Similar(Request):
    model_config = example(text="king", top=10)
    text: str = Field(description="a word; with `among` a text")
    top: int = Field(10, ge=1)
    among: Texts | None = Field(None, min_length=1, description="texts that neighbours are looked for in")

    def texts_of(self) -> list[Any]:
        return [self.text, *(self.among or ())]


# -- answers ----------------------------------------------------------------------------------------------------------------------------


class Answered(BaseModel):
    model: str
    tokens: int = Field(description="that were read")
    notes: list[str] = Field(description="what a user should know: texts that were cut, tokens that are unknown")


class Answers(Answered):
    answers: list[dict[str, Any]] = Field(description="one of each text or row, in order, as the command says it")


class Vectors(Answered):
    vectors: list[list[float]]


class Seen(Answered):
    answer: dict[str, Any]


class What(BaseModel):
    field: str = Field(description="which field of the request, such as texts[3]; empty where it is none of them")
    message: str


class Error(BaseModel):
    error: What
