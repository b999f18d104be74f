"""Spaces as data: narrowing, defaults, resolving and checking, for one space and for a union."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces import (
    Choice,
    ContradictionError,
    Float,
    Space,
    Union,
    branch_of,
    check,
    defaults,
    find_space,
    narrow,
    probes,
    resolve,
)
from trainers.errors import ConfigError

CLASSIC, GAN, WGAN_GP = find_space("classic"), find_space("gan"), find_space("wgan_gp")


def small(name="small", **changes):
    parts = {
        "summary": "",
        "source": "",
        "fixed": {"objective": "wasserstein"},
        "dims": (Float("optim.lr_d", 1e-4, 1e-2, log=True), Choice("n_critic", (1, 5))),
        "default": {"optim.lr_d": 1e-3, "n_critic": 1},
    }
    return Space(name=name, **{**parts, **changes})


def names(space):
    return [branch.name for branch in space.branches]


@pytest.mark.parametrize(
    ("make", "fragment"),
    [
        (lambda: Float("ema", 1.0, 1.0), "ema must have finite low < high"),
        (lambda: Float("ema", 0.0, math.inf), "finite"),
        (lambda: Float("clip", 0.0, 1.0, log=True), "clip must have low above 0 with log=True"),
        (lambda: Choice("n_critic", ()), "n_critic must have different options"),
        (lambda: Choice("n_critic", (1, 1)), "n_critic must have different options"),
        (lambda: small(default={"optim.lr_d": 1e-3}), "not so: n_critic"),
        (lambda: small(default={"optim.lr_d": 1e-3, "n_critic": 1, "ema": 0.5}), "not so: ema"),
        (lambda: small(default={"optim.lr_d": 1.0, "n_critic": 1}), "optim.lr_d must be a number from 0.0001 to 0.01"),
        (lambda: small(fixed={"n_critic": 1}), "not so: n_critic"),
        (lambda: small(tied={"n_critic": "optim.lr_d"}), "space 'small' must tie free keys to taken ones, but not so"),
        (lambda: small(tied={"objective.name": "optim.lr_d"}), "not so: objective.name"),
        (lambda: small(tied={"optim.lr_g": "optim.beta1"}), "not so: optim.lr_g"),
        (lambda: Union(name="u", summary="", source="", spaces=()), "union 'u' must have spaces"),
        (lambda: Union(name="u", summary="", source="", spaces=(small(), small())), "different names"),
    ],
)
def test_a_declaration_that_cannot_be_meant_is_refused(make, fragment):
    with pytest.raises(ConfigError) as caught:
        make()
    assert fragment in str(caught.value)


def test_a_variants_plain_name_is_its_name_key():
    assert small().fixed == {"objective.name": "wasserstein"}


def test_narrow_fixes_what_the_user_set():
    left = narrow(GAN, {"optim.lr_d": 3e-4, "steps": 100})
    assert [dim.key for dim in left.dims] == ["optim.lr_g", "optim.beta1", "n_critic"]
    assert left.fixed["optim.lr_d"] == 3e-4
    assert "steps" not in left.fixed
    assert "optim.lr_d" not in defaults(left)[0]
    assert resolve(left, defaults(left)[0])["optim.lr_d"] == 3e-4


@pytest.mark.parametrize(
    ("overrides", "left"),
    [
        ({}, ["gan", "wgan", "wgan_gp"]),
        ({"optim.lr_d": 1e-4}, ["gan", "wgan", "wgan_gp"]),
        ({"objective": "wasserstein"}, ["wgan", "wgan_gp"]),
        ({"objective.name": "non_saturating"}, ["gan"]),
        ({"penalty": "none"}, ["gan", "wgan"]),
        ({"penalty": "gradient"}, ["wgan_gp"]),
        ({"penalty.lambda": 3.0}, ["wgan_gp"]),
        ({"clip": 0.1}, ["wgan"]),
        ({"clip": None}, ["gan", "wgan", "wgan_gp"]),
        ({"optim.name": "rmsprop"}, ["gan", "wgan", "wgan_gp"]),
    ],
)
def test_a_contradiction_drops_the_branch(overrides, left):
    assert names(narrow(CLASSIC, overrides)) == left


def test_a_union_with_one_branch_left_still_names_it():
    left = narrow(CLASSIC, {"clip": 0.1})
    assert isinstance(left, Union)
    assert defaults(left)[0]["space"] == "wgan"
    assert resolve(left, defaults(left)[0])["clip"] == 0.1


@pytest.mark.parametrize(
    ("space", "overrides", "keys", "fragments"),
    [
        (
            GAN,
            {"objective": "wasserstein"},
            ("objective.name",),
            ["objective.name=wasserstein contradicts space 'gan'"],
        ),
        (GAN, {"penalty.lambda": 3}, ("penalty.lambda",), ["gan fixes penalty.name=none, which has no lambda"]),
        (
            CLASSIC,
            {"clip": 0.1, "penalty": "gradient"},
            ("clip", "penalty.name"),
            ["wgan fixes penalty.name=none", "wgan_gp fixes clip=null", "remove clip, penalty.name, or choose"],
        ),
    ],
)
def test_nothing_left_is_an_error_that_names_the_mend(space, overrides, keys, fragments):
    with pytest.raises(ContradictionError) as caught:
        narrow(space, overrides)
    assert caught.value.keys == keys
    for fragment in fragments:
        assert fragment in str(caught.value)


def test_defaults_are_one_a_branch_and_within_range():
    tried = defaults(CLASSIC)
    assert [params["space"] for params in tried] == ["gan", "wgan", "wgan_gp"]
    assert [check(CLASSIC, params) for params in tried] == tried
    assert "space" not in defaults(GAN)[0]


def test_resolve_gives_what_is_fixed_and_what_was_chosen():
    params = {"space": "wgan_gp", **WGAN_GP.default, "penalty.lambda": 2.5}
    values = resolve(CLASSIC, params)
    assert "space" not in values
    assert values == {**WGAN_GP.fixed, **WGAN_GP.default, "penalty.lambda": 2.5}


@pytest.mark.parametrize(
    ("params", "fragment"),
    [
        ({"space": "gna"}, "did you mean 'gan'"),
        ({}, "space must be one of gan, wgan, wgan_gp, but got space=null"),
        ({"space": "gan", **GAN.default, "clip": 0.1}, "not so: clip"),
        ({"space": "gan", "n_critic": 1}, "not so: optim.beta1, optim.lr_d, optim.lr_g"),
    ],
)
def test_resolve_wants_exactly_the_dimensions(params, fragment):
    with pytest.raises(ConfigError) as caught:
        resolve(CLASSIC, params)
    assert fragment in str(caught.value)


def test_probes_reach_both_ends_of_every_dimension():
    seen = [resolve(CLASSIC, params) for params in probes(CLASSIC)]
    for key, ends in {"optim.lr_g": {1e-5, 1e-2}, "clip": {1e-3, 1.0}, "n_critic": {1, 5}}.items():
        assert ends <= {values.get(key) for values in seen}


def test_probes_reach_every_pair_of_two_dimensions_and_each_once():
    ones, twos = Choice("a", (1, 2)), Choice("b", (1, 2, 3))
    space = Space(name="s", summary="", source="", dims=(ones, twos), default={"a": 1, "b": 1})
    seen = [(params["a"], params["b"]) for params in probes(space)]
    assert sorted(seen) == [(a, b) for a in (1, 2) for b in (1, 2, 3)]


def test_a_nested_mapping_is_no_key_that_a_space_can_fix():
    with pytest.raises(ConfigError, match=r"space 's' must fix dotted keys, such as network.width, but fixes network"):
        Space(name="s", summary="", source="", fixed={"network": {"width": 64}}, dims=(), default={})


def test_what_contradicts_many_branches_is_told_of_three():
    branches = tuple(
        Space(name=f"b{n}", summary="", source="", fixed={"clip": n}, dims=(), default={}) for n in range(1, 6)
    )
    with pytest.raises(ContradictionError) as caught:
        narrow(Union(name="u", summary="", source="", spaces=branches), {"clip": 9})
    assert "(b1 fixes clip=1; b2 fixes clip=2; b3 fixes clip=3; and 2 more)" in str(caught.value)


@pytest.mark.parametrize(
    ("params", "branch", "expected"),
    [
        ({"penalty.lambda": 5}, "wgan_gp", {"penalty.lambda": 5.0, "n_critic": 5}),
        ({"clip": 0.5, "n_critic": 1.0}, "wgan", {"clip": 0.5, "n_critic": 1}),
        ({"space": "gan", "optim.lr_d": 1e-3}, "gan", {"optim.lr_d": 1e-3, "optim.lr_g": 5e-5}),
        ({"objective": "non_saturating"}, "gan", {"n_critic": 1}),
    ],
)
def test_check_infers_the_branch_and_fills_in_the_default(params, branch, expected):
    full = check(CLASSIC, params)
    assert full["space"] == branch
    assert expected.items() <= full.items()
    assert type(full["n_critic"]) is int
    assert resolve(CLASSIC, full)


@pytest.mark.parametrize(
    ("space", "params", "fragment"),
    [
        (CLASSIC, {"optim.lr_d": 1e-3}, "fits several branches of 'classic': add space (one of gan, wgan, wgan_gp)"),
        (CLASSIC, {"clip": 0.1, "penalty.lambda": 1}, "fits no branch"),
        (CLASSIC, {"optim.lrd": 1e-3}, "'optim.lrd' is not searched by space 'classic'; did you mean 'optim.lr_d'?"),
        (GAN, {"clipp": 0.1}, "'clipp' is not searched by space 'gan'; did you mean 'clip'?"),
        (GAN, {"clip": 0.1}, "clip is fixed to null in space 'gan', but got clip=0.1"),
        (GAN, {"optim.lr_d": 0.5}, "optim.lr_d must be a number from 1e-05 to 0.01, but got optim.lr_d=0.5"),
        (GAN, {"optim.lr_d": math.nan}, "optim.lr_d must be a number"),
        (GAN, {"optim.lr_d": True}, "optim.lr_d must be a number"),
        (GAN, {"optim.lr_d": "1e-3"}, "optim.lr_d must be a number"),
        (GAN, {"n_critic": 3}, "n_critic must be one of 1, 5, but got n_critic=3"),
        (GAN, {"n_critic": True}, "n_critic must be one of 1, 5"),
        (GAN, {"space": "wgan"}, "space must be one of gan, but got space=wgan"),
    ],
)
def test_check_refuses_what_is_not_searched(space, params, fragment):
    with pytest.raises(ConfigError) as caught:
        check(space, params)
    assert fragment in str(caught.value)


@given(data=st.data())
def test_whatever_check_accepts_resolves_to_its_own_values(data):
    branch = data.draw(st.sampled_from(CLASSIC.branches))
    drawn = {
        dim.key: data.draw(st.sampled_from(dim.options) if isinstance(dim, Choice) else st.floats(dim.low, dim.high))
        for dim in branch.dims
    }
    kept = data.draw(st.sets(st.sampled_from(sorted(drawn))))
    params = {"space": branch.name, **{key: drawn[key] for key in kept}}
    full = check(CLASSIC, params)
    assert branch_of(CLASSIC, full) == branch
    assert resolve(CLASSIC, full) == {**branch.fixed, **branch.default, **{key: drawn[key] for key in kept}}


def test_an_error_names_twelve_branches_at_most():
    many = Union(name="many", summary="", source="", spaces=tuple(small(name=f"b{i}") for i in range(30)))
    told = ", ".join(f"b{i}" for i in range(12))
    with pytest.raises(ConfigError) as caught:
        check(many, {"space": "c7"})
    assert str(caught.value) == f"space must be one of {told} and 18 more, but got space=c7; did you mean 'b7'?"
    with pytest.raises(ConfigError, match=rf"add space \(one of {told} and 18 more\)"):
        check(many, {"n_critic": 1})


@pytest.mark.parametrize("key", ["data", "data.side", "metrics", "evaluation.samples", "seed", "steps", "device"])
def test_a_space_leaves_alone_what_the_trials_of_a_study_have_in_common(key):
    told = "it belongs to the search, whose trials have it in common"
    for changes in (
        {"fixed": {key: "x"}},
        {"dims": (Choice(key, (1, 2)),), "default": {key: 1}},
        {"tied": {key: "n_critic"}},
    ):
        with pytest.raises(ConfigError, match=rf"space 'small' must leave {key}(\.name)? alone: {told}"):
            small(**changes)


# -- one dimension for two keys ----------------------------------------------------------------------------------------

TIED = small(tied={"optim.lr_g": "optim.lr_d"})
OTHER = small(name="other", fixed={"objective": "non_saturating"}, tied={"optim.lr_g": "optim.lr_d"})
BOTH = Union(name="both", summary="", source="", spaces=(TIED, OTHER))


def test_a_tied_key_takes_the_value_of_its_source():
    values = resolve(TIED, {"optim.lr_d": 2e-3, "n_critic": 5})
    assert values == {"objective.name": "wasserstein", "optim.lr_d": 2e-3, "optim.lr_g": 2e-3, "n_critic": 5}


def test_a_tied_key_is_no_dimension():
    assert all("optim.lr_g" not in params for params in [*defaults(BOTH), *probes(BOTH)])
    with pytest.raises(ConfigError, match=r"not so: optim\.lr_g"):
        resolve(TIED, {"optim.lr_d": 2e-3, "optim.lr_g": 2e-3, "n_critic": 5})


@pytest.mark.parametrize(
    ("overrides", "rates", "searched"),
    [
        ({"optim.lr_g": 0.5}, (1e-3, 0.5), ["optim.lr_d", "n_critic"]),
        ({"optim.lr_d": 0.25}, (0.25, 0.25), ["n_critic"]),
        ({"optim.lr_d": 0.25, "optim.lr_g": 0.5}, (0.25, 0.5), ["n_critic"]),
        ({"n_critic": 5}, (1e-3, 1e-3), ["optim.lr_d"]),
    ],
)
def test_a_tied_key_follows_unless_the_user_sets_it(overrides, rates, searched):
    for space in (narrow(TIED, overrides), *narrow(BOTH, overrides).branches):
        values = resolve(space, defaults(space)[0])
        assert (values["optim.lr_d"], values["optim.lr_g"]) == rates
        assert [dim.key for dim in space.dims] == searched


@pytest.mark.parametrize(
    ("space", "params", "fragment"),
    [
        (TIED, {"optim.lr_g": 1e-3}, "optim.lr_g takes the value of optim.lr_d in space 'small': set that instead"),
        (BOTH, {"space": "other", "optim.lr_g": 1e-3}, "takes the value of optim.lr_d in space 'other'"),
        (BOTH, {"optim.lr_g": 1e-3}, "'optim.lr_g' is not searched by space 'both'; did you mean 'optim.lr_d'?"),
    ],
)
def test_check_says_which_key_a_tied_one_follows(space, params, fragment):
    with pytest.raises(ConfigError) as caught:
        check(space, params)
    assert fragment in str(caught.value)


# -- a variant that is the user's choice -------------------------------------------------------------------------------

NORMS = small(
    name="norms",
    dims=(Choice("network.norm_d", ("none", "batch")), Choice("n_critic", (1, 5))),
    default={"network.norm_d": "none", "n_critic": 1},
)


def test_a_variant_that_lacks_what_is_searched_contradicts_the_space():
    with pytest.raises(ContradictionError) as caught:
        narrow(NORMS, {"network": "pacgan"})
    assert caught.value.keys == ("network.name",)
    assert "network.name=pacgan contradicts space 'norms'" in str(caught.value)
    assert "searches network.norm_d, which pacgan has not" in str(caught.value)
    left = narrow(Union(name="u", summary="", source="", spaces=(NORMS, TIED)), {"network": "pacgan"})
    assert names(left) == ["small"]


def test_a_variant_that_has_what_is_searched_does_not():
    for name in ("mlp", "dcgan"):
        assert [dim.key for dim in narrow(NORMS, {"network": name}).dims] == ["network.norm_d", "n_critic"]
