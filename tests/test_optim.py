"""AdamW, its two groups, BERT's uncorrected moments, and the schedule."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from bertsmith.errors import InputError
from bertsmith.nn.modules.attending import Attention
from bertsmith.recipe import Group, Schedule
from bertsmith.training.optim import (
    build_optimizer,
    freeze,
    optimizer_state,
    rate_at,
    restore_optimizer,
    set_rate,
    warmup_steps,
)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(5, 4), nn.LayerNorm(4), nn.Linear(4, 3))


def gradients(module: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for p in module.parameters():
        p.grad = torch.randn(p.shape, generator=generator)


def test_biases_and_norms_are_not_decayed():
    module = network()
    decayed, spared = build_optimizer(module, Schedule(weight_decay=0.3)).param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.3, 0.0)
    assert {id(p) for p in decayed["params"]} == {id(module[0].weight), id(module[2].weight)}
    assert {id(p) for p in spared["params"]} == {id(module[1].weight), id(module[1].bias), id(module[2].bias)}


@pytest.mark.parametrize("corrected", [False, True])
def test_updates_follow_the_formula(corrected):
    schedule = Schedule(lr=1e-2, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.1, bias_correction=corrected)
    module = network()
    optimizer = build_optimizer(module, schedule)
    expected = {
        name: (p.detach().double(), torch.zeros_like(p).double(), torch.zeros_like(p).double())
        for name, p in module.named_parameters()
    }
    for step in range(1, 6):
        rate = 1e-2 / step
        gradients(module, step)
        for name, p in module.named_parameters():
            value, m, v = expected[name]
            m = 0.9 * m + 0.1 * p.grad.double()
            v = 0.999 * v + 0.001 * p.grad.double() ** 2
            a, b = (1 - 0.9**step, 1 - 0.999**step) if corrected else (1.0, 1.0)
            decay = 0.1 if p.ndim > 1 else 0.0
            expected[name] = (value - rate * ((m / a) / ((v / b).sqrt() + 1e-6) + decay * value), m, v)
        set_rate(optimizer, rate)
        optimizer.step()
    for name, p in module.named_parameters():
        torch.testing.assert_close(p.detach().double(), expected[name][0], rtol=2e-6, atol=2e-7)


def test_first_update_without_correction_is_about_three_times_larger():
    moved = {}
    for corrected in (False, True):
        module = network()
        before = module[2].weight.detach().clone()
        optimizer = build_optimizer(module, Schedule(lr=1e-3, weight_decay=0.0, bias_correction=corrected))
        gradients(module, 1)
        optimizer.step()
        moved[corrected] = (module[2].weight.detach() - before).abs().median().item()
    assert moved[False] / moved[True] == pytest.approx(0.1 / math.sqrt(0.001), rel=1e-2)


def test_rate_rises_to_its_peak_and_falls_to_zero_one_step_after_the_last():
    schedule = Schedule(lr=1.0, warmup=0.1)
    rates = [rate_at(schedule, step, 100) for step in range(1, 101)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == 1.0
    assert max(rates) == rates[9] and min(rates) > 0
    falls = [a - b for a, b in itertools.pairwise(rates[9:])]
    assert max(falls) == pytest.approx(min(falls)) == pytest.approx(rates[-1]) == pytest.approx(1 / 91)


def test_slanted_triangles_are_those_of_ulmfit():
    """Howard & Ruder 2018, equation 3, with cut_frac 0.1 and ratio 32; its falling side ends with the run."""
    steps, cut = 100, 10
    schedule = Schedule(lr=0.01, warmup=0.1, decay="slanted")
    for t in range(1, steps + 1):
        p = t / cut if t <= cut else 1 - (t - cut) / (steps + 1 - cut)
        assert rate_at(schedule, t, steps) == pytest.approx(0.01 * (1 + p * 31) / 32)
    assert rate_at(schedule, cut, steps) == 0.01 == rate_at(Schedule(lr=0.01, decay="constant"), 77, steps)
    assert rate_at(schedule, steps, steps) == pytest.approx(0.01 / 32, rel=0.4)


def test_wsd_stays_at_its_peak_and_falls_by_the_root_trapezoids_on_a_line():
    """1 - sqrt(share of the cool-down that is over) (Hägele et al. 2024, section 4), to `final`; decays end one step after the last."""
    for decay, shape in (("wsd", lambda x: 1 - math.sqrt(x)), ("trapezoid", lambda x: 1 - x)):
        schedule = Schedule(lr=2.0, warmup=10, decay=decay, cooldown=0.2, final=0.1)
        rates = [rate_at(schedule, step, 100) for step in range(1, 101)]
        assert rates[4] == 1.0 and set(rates[9:80]) == {2.0}
        for step in range(81, 101):
            assert rates[step - 1] == pytest.approx(2.0 * (0.1 + 0.9 * shape((step - 80) / 21)))
        assert rates[99] > 0.2
    longer = Schedule(lr=2.0, warmup=10, decay="wsd", cooldown=20, final=0.1)
    assert [rate_at(longer, step, 100) for step in range(1, 101)] == pytest.approx(
        [rate_at(Schedule(lr=2.0, warmup=0.1, decay="wsd", cooldown=0.2, final=0.1), s, 100) for s in range(1, 101)]
    )


def test_final_is_where_lines_and_cosines_end():
    for decay in ("linear", "cosine"):
        high, low = (Schedule(lr=1.0, warmup=0, decay=decay, final=final) for final in (0.25, 0.0))
        for step in (2, 50, 100):
            assert rate_at(high, step, 100) == pytest.approx(0.25 + 0.75 * rate_at(low, step, 100))


def test_initial_is_where_warm_up_begins_and_nothing_else():
    """Crammed: from a quarter of the peak to all of it at three quarters of the run, then to 0 (the released code's budget triangle)."""
    schedule = Schedule(lr=4.0, warmup=0.75, initial=0.25)
    rates = [rate_at(schedule, step, 100) for step in range(1, 101)]
    assert rates[:75] == pytest.approx([1 + 3 * step / 75 for step in range(1, 76)])
    assert rates[75:] == [rate_at(replace(schedule, initial=0.0), step, 100) for step in range(76, 101)]


@pytest.mark.parametrize(
    "fields, said",
    [
        ({"initial": 1.0}, r"schedule\.initial: 1\.0 is not a share"),
        ({"initial": 0.1, "decay": "slanted"}, r"schedule\.initial: 0\.1: slanted begins at a share of its own"),
        ({"decay": "wsd", "hold": 0.5}, r"schedule\.hold: 0\.5: wsd holds the rate until schedule\.cooldown"),
        ({"decay": "inverse", "final": 0.1}, r"schedule\.final: 0\.1: inverse does not end there; linear, cosine, wsd"),
        ({"final": 1.0}, r"schedule\.final: 1\.0 is not a share"),
        ({"cooldown": 0.0}, r"schedule\.cooldown: 0\.0 must be above 0"),
        ({"optimizer": "lamb", "bias_correction": False}, "schedule.bias_correction: false is AdamW's alone; lamb"),
    ],
)
def test_what_contradicts_is_refused(fields, said):
    with pytest.raises(InputError, match=said):
        Schedule(**fields)


def test_a_cool_down_that_warm_up_leaves_no_room_for_is_refused():
    with pytest.raises(
        InputError, match=r"schedule\.cooldown: 60 steps behind 50 of warm-up in a run of 100; at most 50"
    ):
        warmup_steps(Schedule(warmup=50, decay="wsd", cooldown=60), 100)


def stepped(schedule, slopes, rate=None):
    """A matrix of ones after updates with these gradients."""
    module = nn.Linear(3, 4)
    nn.init.ones_(module.weight)
    nn.init.zeros_(module.bias)
    optimizer = build_optimizer(module, schedule)
    found = []
    for number, slope in enumerate(slopes, 1):
        module.weight.grad, module.bias.grad = slope.clone(), torch.zeros(4)
        set_rate(optimizer, schedule.lr if rate is None else rate(number))
        optimizer.step()
        found.append(module.weight.detach().clone())
    return found


def test_stable_adamw_is_the_formula_and_a_spike_makes_a_small_step():
    generator = torch.Generator().manual_seed(0)
    slopes = [torch.randn(4, 3, generator=generator) for _ in range(6)]
    slopes[4] *= 1000
    schedule = Schedule(optimizer="stable-adamw", lr=1e-2, betas=(0.9, 0.98), weight_decay=0.1, eps=1e-6)
    rate = lambda step: 1e-2 / step
    found = stepped(schedule, slopes, rate)
    value, m, v = torch.ones(4, 3).double(), torch.zeros(4, 3).double(), torch.zeros(4, 3).double()
    for t, slope in enumerate((s.double() for s in slopes), 1):
        b1, b2 = ((b - b**t) / (1 - b**t) for b in (0.9, 0.98))
        m, v = b1 * m + (1 - b1) * slope, b2 * v + (1 - b2) * slope**2
        r = (slope**2 / v.clamp(min=1e-12)).mean().sqrt().clamp(min=1)
        assert (r > 1.5) == (t == 5), "the spike alone surprises"
        value = value * (1 - 0.1 * rate(t) / 1e-2) - rate(t) / r * m / (v.sqrt() + 1e-6)
        torch.testing.assert_close(found[t - 1].double(), value, rtol=1e-5, atol=1e-6)


def test_the_decay_of_stable_adamw_is_its_own_share_at_the_peak_whatever_that_is():
    for lr in (1e-2, 1e-4):
        schedule = Schedule(optimizer="stable-adamw", lr=lr, weight_decay=0.25)
        (found,) = stepped(schedule, [torch.zeros(4, 3)])
        assert torch.equal(found, torch.full((4, 3), 0.75))


def test_a_step_of_lamb_is_as_long_as_the_matrix_times_the_rate_and_each_of_several_in_one_by_itself():
    generator = torch.Generator().manual_seed(0)
    schedule = Schedule(optimizer="lamb", lr=1e-2, weight_decay=0.1, betas=(0.9, 0.98))
    found = [torch.ones(4, 3), *stepped(schedule, [torch.randn(4, 3, generator=generator) for _ in range(3)])]
    for before, after in itertools.pairwise(found):
        assert (after - before).norm() == pytest.approx(1e-2 * before.norm().item(), rel=1e-4)
    attention = Attention(4, 2, 0.0)
    with torch.no_grad():
        attention.qkv.weight[4:8] *= 10
    before = attention.qkv.weight.detach().clone()
    optimizer = build_optimizer(attention, schedule)
    gradients(attention, 1)
    optimizer.step()
    for old, new in zip(before.chunk(3), attention.qkv.weight.detach().chunk(3), strict=True):
        assert (new - old).norm() == pytest.approx(1e-2 * old.norm().item(), rel=1e-4)


def test_muon_moves_the_matrices_of_layers_alone_and_makes_their_steps_orthogonal():
    from tests.runs import small

    from bertsmith.nn.member import build

    torch.manual_seed(0)
    member = build(small("schedule.optimizer=muon", "model.hidden=32").with_vocab(60))
    schedule = Schedule(optimizer="muon", lr=1e-2, weight_decay=0.0)
    plain = build_optimizer(member, Schedule(lr=1e-2, weight_decay=0.0))
    optimizer = build_optimizer(member, schedule)
    names = {p: name for name, p in member.named_parameters()}
    moved = {names[p] for p, state in optimizer.state.items() if "momentum_buffer" in state}
    assert moved == {name for name in names.values() if "layers" in name and "norm" not in name and "weight" in name}
    assert {*optimizer.state} == {*plain.state}
    before = {name: p.detach().clone() for p, name in names.items()}
    gradients(member, 1)
    optimizer.step()
    for name in moved:
        step = member.get_parameter(name).detach() - before[name]
        assert step.square().mean().sqrt() == pytest.approx(0.2e-2, rel=0.25), name
        values = torch.linalg.svdvals(step)
        assert values.max() / values.min() < 2, name
    rest = next(name for name in names.values() if name not in moved)
    assert (member.get_parameter(rest).detach() - before[rest]).abs().median() == pytest.approx(1e-2, rel=1e-2)


@pytest.mark.parametrize("name", ["stable-adamw", "lamb", "muon"])
def test_every_optimiser_goes_on_bit_for_bit(name):
    from tests.runs import small

    from bertsmith.nn.member import build

    recipe, schedule = small().with_vocab(60), Schedule(optimizer=name, lr=1e-2)

    def made():
        torch.manual_seed(0)
        member = build(recipe)
        return member, build_optimizer(member, schedule)

    def go(member, optimizer, steps):
        for step in steps:
            gradients(member, step)
            set_rate(optimizer, 1e-2, step, 6)
            optimizer.step()
            optimizer.zero_grad()

    one, straight = made()
    go(one, straight, range(1, 7))
    half, first = made()
    go(half, first, range(1, 4))
    kept = {name: tensor.clone() for name, tensor in optimizer_state(first, half).items()}
    again, second = made()
    again.load_state_dict(half.state_dict())
    restore_optimizer(second, again, kept, "here")
    go(again, second, range(4, 7))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), again.parameters(), strict=True))


def test_warmup_from_one_on_counts_steps():
    assert rate_at(Schedule(lr=1.0, warmup=4), 2, 100) == 0.5
    assert rate_at(Schedule(lr=1.0, warmup=0), 1, 100) == 1.0
    assert warmup_steps(Schedule(warmup=1), 1) == 1


def test_more_warmup_than_steps_is_refused():
    with pytest.raises(InputError, match=r"schedule.warmup: 10,000 steps of warm-up in a run of 300; at most 300"):
        warmup_steps(Schedule(warmup=10_000), 300)


def test_state_goes_back_bit_for_bit_and_only_into_its_own_model():
    def run(module, optimizer, steps):
        for step in steps:
            gradients(module, step)
            optimizer.step()

    straight, schedule = network(), Schedule(lr=1e-2)
    run(straight, build_optimizer(straight, schedule), range(6))
    first = network()
    optimizer = build_optimizer(first, schedule)
    run(first, optimizer, range(3))
    state = {name: tensor.clone() for name, tensor in optimizer_state(optimizer, first).items()}
    second = network()
    second.load_state_dict(first.state_dict())
    resumed = build_optimizer(second, schedule)
    restore_optimizer(resumed, second, state, "here")
    run(second, resumed, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), second.parameters(), strict=True))
    other = nn.Linear(4, 3)
    with pytest.raises(InputError, match="here: the optimizer state of another model"):
        restore_optimizer(build_optimizer(other, schedule), other, state, "here")


# -- parts that learn at their own rate ---------------------------------------------------------------------------------------------


def member(layers: int = 2) -> nn.Module:
    from bertsmith.config import override
    from bertsmith.nn.member import build
    from bertsmith.recipe import find

    small = [f"model.layers={layers}", "model.width=8", "model.hidden=16", "model.heads=2"]
    torch.manual_seed(0)
    return build(override(find("bert:tiny"), small).with_vocab(50))


def rates(module: nn.Module, schedule: Schedule, step: int = 1, steps: int = 1) -> dict[str, float]:
    """The rate of each parameter at a step where the schedule's own is 1; 0 of a frozen one."""
    freeze(module, schedule)
    optimizer = build_optimizer(module, schedule)
    set_rate(optimizer, 1.0, step, steps)
    by_id = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    found = {name: by_id.get(id(p), 0.0) for name, p in module.named_parameters()}
    assert all(
        (rate > 0) == p.requires_grad for (_, p), rate in zip(module.named_parameters(), found.values(), strict=True)
    )
    return found


def parts(found: dict[str, float]) -> dict[str, set[float]]:
    """By embeddings, layers and heads."""
    by_part: dict[str, set[float]] = {}
    for name, rate in found.items():
        part = name.removeprefix("model.").split(".")
        by_part.setdefault(".".join(part[:2]) if part[0] == "layers" else part[0], set()).add(round(rate, 6))
    return by_part


def test_layers_learn_at_a_share_of_the_rate_of_the_one_above():
    found = parts(rates(member(), Schedule(layer_decay=0.5)))
    assert found == {
        "objective": {1.0},
        "layers.1": {0.5},
        "layers.0": {0.25},
        "embeddings": {0.125},
        "positions": {0.125},
    }


def test_groups_are_named_by_whole_words_and_their_shares_are_multiplied():
    groups = (
        Group(part="model", rate=0.5),
        Group(part="model.layers.1", rate=0.1),
        Group(part="objective.pair", rate=0),
    )
    found = rates(member(12), Schedule(groups=groups))
    assert found["model.layers.1.attention.qkv.weight"] == pytest.approx(0.05)
    assert found["model.layers.11.attention.qkv.weight"] == 0.5
    assert found["objective.pair.out.weight"] == 0 and found["objective.token.bias"] == 1.0


def test_layers_begin_one_after_another_from_the_top():
    def learning(step: int, unfreeze: float) -> set[str]:
        return {
            part
            for part, found in parts(rates(member(), Schedule(unfreeze=unfreeze), step, 100)).items()
            if max(found) > 0
        }

    for unfreeze in (10, 0.1):
        assert learning(10, unfreeze) == {"objective"}
        assert learning(11, unfreeze) == learning(20, unfreeze) == {"objective", "layers.1"}
        assert learning(21, unfreeze) == {"objective", "layers.1", "layers.0"}
        assert learning(31, unfreeze) == {"objective", "layers.1", "layers.0", "embeddings", "positions"}


def test_a_part_may_learn_for_some_of_the_run():
    schedule = Schedule(groups=(Group(part="model.embeddings", begin=0.25, end=60),))
    learns = [step for step in range(1, 101) if parts(rates(member(), schedule, step, 100))["embeddings"] == {1.0}]
    assert learns == list(range(26, 61))


def test_a_group_spares_what_its_patterns_name():
    found = rates(member(), Schedule(groups=(Group(part="model", rate=0, but=("*norm*", "*.bias")),), layer_decay=0.5))
    learn = {name for name, rate in found.items() if rate}
    assert learn == {n for n in found if n.startswith("objective.") or "norm" in n or n.endswith(".bias")}
    assert found["model.layers.0.attention.qkv.bias"] == found["model.layers.1.attention.qkv.bias"] / 2


def test_a_frozen_part_keeps_weights_and_moments_to_the_bit_while_it_waits():
    module, schedule = member(), Schedule(unfreeze=5, weight_decay=0.5)
    optimizer = build_optimizer(module, schedule)
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    for step in range(1, 6):
        set_rate(optimizer, 1e-2, step, 20)
        for number, p in enumerate(module.parameters()):
            p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(number)) if p.requires_grad else None
        optimizer.step()
    for name, p in module.named_parameters():
        assert torch.equal(p, before[name]) == name.startswith("model."), name
    state = optimizer_state(optimizer, module)
    assert not state["exp_avg.model.layers.0.attention.qkv.weight"].any()


def test_groups_that_name_nothing_or_leave_nothing_are_refused():
    with pytest.raises(InputError, match=r"schedule.groups: model.layer: .* did you mean 'model.layers'"):
        freeze(member(), Schedule(groups=(Group(part="model.layer"),)))
    with pytest.raises(InputError, match="nothing is left that learns"):
        freeze(member(), Schedule(groups=(Group(part="model", rate=0), Group(part="objective", rate=0))))
    for bad in ({"part": "layers"}, {"part": "model", "rate": -1}, {"part": "model", "end": 0}):
        with pytest.raises(InputError, match=r"schedule\.groups: "):
            Group(**bad)
