"""Reformer's layers beside those of transformers where hashing chooses: with the same rotations, in several rounds and many chunks."""

import pytest
import torch
from tests.folders import OWN_TABLE, randomised, recipe_of
from tests.test_sliding import stream

from bertsmith.deploy.hf import from_hf, to_hf
from bertsmith.deploy.hf_config import hf_config, model_config
from bertsmith.errors import InputError
from bertsmith.nn.member import build
from bertsmith.nn.modules import hashed

transformers = pytest.importorskip("transformers")
SEED = 11


def opened(**fields):
    """A Reformer of theirs with random weights, and ours of the same."""
    recipe = recipe_of("reformer", "token", 50)
    said = {**hf_config(recipe), "hash_seed": SEED, **fields}
    config = transformers.AutoConfig.for_model(**{**said, "num_hidden_layers": len(said["attn_layers"])})
    torch.manual_seed(0)
    theirs = randomised(transformers.ReformerForMaskedLM(config))
    theirs.lm_head.bias.data.zero_()
    model = model_config(config.to_dict())
    ours = build(recipe.__class__(**{**vars(recipe), "model": model})).eval()
    ours.load_state_dict(from_hf(theirs.state_dict(), "reformer"))
    return theirs, ours


def their_rotation(key, columns, shape, device):
    """What `LSHSelfAttention` draws by its `hash_seed`: for both hashes of a pair at once."""
    torch.manual_seed(SEED)
    drawn = torch.randn(*shape[:2], shape[2], sum(BUCKETS) // 2)
    before = sum(BUCKETS[: key[-1]]) // 2
    return drawn[..., before : before + columns].permute(3, 0, 1, 2)


BUCKETS = ()


@torch.no_grad()
@pytest.mark.parametrize(
    "fields",
    [
        {"attn_layers": ["local", "local"], "local_attn_chunk_length": 8, "local_num_chunks_after": 1},
        {"attn_layers": ["lsh", "lsh"], "num_hashes": 1, "num_buckets": 6},
        {"attn_layers": ["lsh", "local", "lsh"], "num_hashes": 3, "num_buckets": [4, 2]},
        {"attn_layers": ["local", "lsh"], "num_hashes": 2, "num_buckets": 4, "axial_pos_embds": False},
    ],
    ids=["local", "one-round", "pairs-of-hashes", "learned-places"],
)
def test_with_their_rotations_every_token_says_what_it_says_there(fields, monkeypatch):
    global BUCKETS
    said = fields.get("num_buckets", 2)
    BUCKETS = tuple(said) if isinstance(said, list) else (said,)
    monkeypatch.setattr(hashed, "_rotation", their_rotation)
    theirs, ours = opened(**{"lsh_attn_chunk_length": 8, "local_attn_chunk_length": 8, **fields})
    for length in (48, 40, 8, 5):
        seen = stream((length,))
        found = theirs(seen.tokens[None], attention_mask=torch.ones(1, length)).logits[0]
        mine = ours.objective.logits(ours.model, seen, torch.arange(length))
        assert (found - mine).abs().max() <= 1e-5 * max(1.0, float(mine.abs().max())), length


@pytest.mark.parametrize(
    "fields, said",
    [
        ({"is_decoder": True}, "is_decoder: True: reformer is read with False only"),
        ({"lsh_num_chunks_after": 1}, "lsh_num_chunks_after: 1: reformer is read with 0 only"),
        ({"attn_layers": ["lsh", "sparse"]}, "attn_layers: .*: a list of lsh and local is wanted"),
        ({"num_buckets": 3}, "num_buckets: 3: even numbers above 0 can be read"),
        ({"axial_pos_shape": [4, 8]}, "a grid of 48 places and 16 numbers is wanted"),
    ],
)
def test_what_is_no_encoder_of_this_kind_is_refused_by_field(fields, said):
    config = {**hf_config(recipe_of("reformer", "token", 50)), **fields}
    with pytest.raises(InputError, match=said):
        model_config(config)


def test_what_their_format_cannot_say_is_named_with_the_settings_that_it_can():
    from bertsmith.config import override
    from bertsmith.recipe import find

    recipe = find("reformer:tiny")
    with pytest.raises(
        InputError, match=r"ends=concatenated, model\.attention\.wraps=true, model\.attention\.repeats=true"
    ):
        hf_config(recipe)
    fits = ["topology.ends=concatenated", "attention.wraps=true", "attention.repeats=true"]
    recipe = override(recipe, [f"model.{field}" for field in fits])
    with pytest.raises(
        InputError, match=r"0\.transform=false, objective\.heads\.0\.tied=false, objective\.heads\.0\.bias=false"
    ):
        hf_config(recipe)
    recipe = override(recipe, [f"objective.heads.0.{name}=false" for name in ("transform", "tied", "bias")])
    assert recipe.objective.heads == (OWN_TABLE,)
    assert model_config(hf_config(recipe)).parameters() == recipe.model.parameters()


def test_a_bias_that_their_versions_do_not_agree_about_is_refused_where_it_is_not_zero():
    recipe = recipe_of("reformer", "token", 50)
    torch.manual_seed(0)
    state = to_hf(build(recipe).state_dict(), recipe)
    assert not state["lm_head.bias"].any()
    state["lm_head.bias"][3] = 1.0
    with pytest.raises(InputError, match=r"lm_head\.bias: is not 0"):
        from_hf(state, "reformer")
