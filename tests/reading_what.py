"""Members by what they read: the contract of those of text is tests/test_recipes.py, of those of sound tests/test_audio_members.py, of static vectors
tests/test_static_members.py."""

from bertsmith.recipe import find, members

READS = {name: find(f"{name}:tiny") for name in members()}
SAYS_TOKENS = {name for name, recipe in READS.items() if "token" in recipe.objective.weights()}
# Those that read several feeds have a contract of their own, tests/test_several.py; those of parallel lines alone too, tests/test_cove.py.
PARALLEL = sorted(name for name, recipe in READS.items() if getattr(recipe.layout, "parallel", False))
STATIC = sorted(name for name, recipe in READS.items() if recipe.model.depth == 0)
OWN = {*PARALLEL, *STATIC}
OF_TEXT = sorted(
    name for name, recipe in READS.items() if recipe.reads == "tokens" and recipe.mixture is None and name not in OWN
)
TEXT = [name for name in OF_TEXT if name in SAYS_TOKENS]
# Those that are asked what stands beside a sentence, too: tests/test_sentence_encoders.py.
SENTENCES = [name for name in OF_TEXT if name not in SAYS_TOKENS]
SOUND = sorted(name for name, recipe in READS.items() if recipe.reads != "tokens")
