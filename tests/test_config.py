"""Configurations survive JSON, refuse what they do not know, and never import what they are not."""

from dataclasses import fields

import pytest
from tests.reading_what import STATIC

from bertsmith.config import from_dict, override, to_dict
from bertsmith.errors import InputError
from bertsmith.recipe import find, members

EVERY = [f"{name}:{size}" for name, member in members().items() for size in member.sizes]


@pytest.mark.parametrize("name", EVERY)
def test_every_recipe_survives_json(name):
    import json

    assert from_dict(json.loads(json.dumps(to_dict(find(name))))) == find(name)


def test_overrides_reach_every_promised_field():
    settings = {
        "model.layers": 3, "model.width": 64, "model.heads": 4, "model.dropout": 0.2, "layout.length": 64,
        "corruption.select.rate": 0.3, "schedule.lr": 3e-4, "schedule.warmup": 10, "training.batch": 1024,
        "training.accumulate": 2, "training.checkpoint": 7, "training.keep": 3, "training.evaluate": 9,
        "training.precision": "float32",
    }  # fmt: skip
    for name in members():
        recipe = find(f"{name}:tiny")
        if name in STATIC:  # which have no layers, heads or rate of what is hidden
            continue
        # A body without attention has no heads, and what hides nothing has no rate.
        lacks = {key for key, part in (("model.heads", recipe.model), ("corruption.select.rate", recipe.corruption.select))
                 if key.rpartition(".")[2] not in {field.name for field in fields(part)}}  # fmt: skip
        asked = {key: value for key, value in settings.items() if key not in lacks}
        recipe = override(recipe, [f"{key}={value}" for key, value in asked.items()])
        for key, value in asked.items():
            found = recipe
            for part in key.split("."):
                found = getattr(found, part)
            assert found == value, key


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("model.layer=6", ["no field 'layer'", "'layers'"]),
        ("model.layers=six", ["expected int", "'six'"]),
        ("model.layers=true", ["expected int"]),
        ("model.layers=0", ["0"]),
        ("schedule.lr=1e999", ["not a finite"]),
        ("schedule.lr=NaN", ["not a finite"]),
        ("schedule.lr=-1", ["-1"]),
        ("model", ["field=value"]),
        ("model=6", ["group of fields"]),
        ("model.heads=5", ["5", "128"]),
        ("training.precision=float16", ["'float32'", "'bfloat16'"]),
        ("corruption.select.rate=1.5", ["1.5"]),
        ("layout.length=100000", ["100000"]),
        ("training.keep=1", ["1"]),
    ],
)
def test_a_wrong_override_is_refused_in_one_line_that_names_it(assignment, words):
    with pytest.raises(InputError) as caught:
        override(find("bert:tiny"), [assignment])
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    "name",
    ["os:system", "subprocess:Popen", "bertsmith.files:os", "bertsmith.cli:main", "mypackage.mymember:Own", 7, None],
)
def test_a_config_cannot_name_code_to_import(name):
    with pytest.raises(InputError):
        from_dict({"type": name})


def test_an_unknown_recipe_comes_back_with_the_nearest():
    with pytest.raises(InputError, match="did you mean 'bert'"):
        find("brt:tiny")
    with pytest.raises(InputError, match="bert:tiny"):
        find("bert:tinny")
    with pytest.raises(InputError, match="no_such_module"):
        find("no_such_module.member:base")
