"""setfit: the vectors that it puts its head on."""

import setfit
import transformers
from client import flat, main


def ask(folder, member, texts):
    if "vectors" in member["answers"]:
        yield (
            "encode",
            "vectors",
            lambda: flat(
                map(
                    __import__("torch").tensor, setfit.SetFitModel.from_pretrained(str(folder)).model_body.encode(texts)
                )
            ),
        )


main({"setfit": setfit.__version__, "transformers": transformers.__version__}, ask)
