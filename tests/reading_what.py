"""Members by what they read: the contract of those of text is tests/test_recipes.py, of those of sound tests/test_audio_members.py, of static vectors
tests/test_static_members.py."""

from bertsmith.recipe import find, members

READS = {name: find(f"{name}:tiny") for name in members()}
# Those that read several feeds have a contract of their own, tests/test_several.py.
STATIC = sorted(name for name, recipe in READS.items() if recipe.model.depth == 0)
TEXT = sorted(
    name for name, recipe in READS.items() if recipe.reads == "tokens" and recipe.mixture is None and name not in STATIC
)
SOUND = sorted(name for name, recipe in READS.items() if recipe.reads != "tokens")
