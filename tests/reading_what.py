"""Members by what they read: the contract of those of text is tests/test_recipes.py, of those of sound tests/test_audio_members.py."""

from bertsmith.recipe import find, members

TEXT = sorted(name for name in members() if find(f"{name}:tiny").reads == "tokens")
SOUND = sorted({*members()} - {*TEXT})
