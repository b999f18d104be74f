"""What cannot be meant is refused, in the user's words: key, rule, value, place and the nearest valid name."""

import sys
from types import ModuleType

import pytest

from pipeline.config import load, vary_training
from search_spaces import Choice, Float, Space
from trainers.config import TrainConfig
from trainers.errors import ConfigError


def write(folder, text):
    path = folder / "f.yaml"
    path.write_text(text)
    return path


BAD_FILES = [
    ("\nn_critic: 0", "n_critic must be at least 1, but got n_critic=0 (f.yaml:2)"),
    ("n_critc: 3", "unknown key 'n_critc'; did you mean 'n_critic'? (f.yaml:1)"),
    ("lr_d: 1e-4", "unknown key 'lr_d'; did you mean 'optim.lr_d'? (f.yaml:1)"),
    ("steps: 5\noptim:\n  lr_dd: 3", "unknown key 'optim.lr_dd'; did you mean 'optim.lr_d'? (f.yaml:3)"),
    ("halving: {etta: 2}", "unknown key 'halving.etta'; did you mean 'halving.eta'? (f.yaml:1)"),
    ("train: {steps: 3}", "unknown key 'train.steps'; did you mean 'steps'? (f.yaml:1)"),
    ("trials: {a: 1}", "unknown key 'trials.a'; did you mean 'trials'? (f.yaml:1)"),
    ("foo: {}", "unknown key 'foo'"),
    (
        "optim: 3",
        "optim must be a mapping of beta1, beta1_g, beta2, beta2_g, decay, decay_every, decay_factor, decay_from, lr_d",
    ),
    ("optim:", "but got optim=null (f.yaml:1)"),
    ("penalty:", "penalty must be the name of a penalty, or a mapping of every, lambda, name, but got penalty=null"),
    ("penalty: [a]", 'but got penalty=["a"]'),
    (
        "penalty: gradiant",
        "unknown penalty 'gradiant'; did you mean 'gradient'? (known: dragan, gradient, gradient_one_sided,",
    ),
    ("penalty: {name: 3}", "unknown penalty '3'"),
    ("penalty: {lamda: 3}", "unknown key 'penalty.lamda'; did you mean 'penalty.lambda'?"),
    (
        "penalty: none\npenalty.lambda: 3",
        "unknown key 'penalty.lambda': it belongs to penalty gradient or gradient_one_sided or",
    ),
    (
        "network: {features: 3}",
        "unknown key 'network.features': it belongs to network dcgan or resnet; set network.name (f.yaml:1)",
    ),
    ("data: {root: x}", "it belongs to data mnist or fashion_mnist or kmnist or"),
    (
        "objective: nomod:foo",
        "objective 'nomod:foo' cannot be imported: No module named 'nomod'; install it, or run in the folder that "
        "holds it (f.yaml:1)",
    ),
    ("objective: 3", "objective must be the name of an objective, or a mapping of a, b, beta, c, code,"),
    ("data: [a]", "data must be the name of a data set, or a mapping of"),
    ("data: {name: {x: 1}}", "unknown key 'data.name.x'; did you mean 'data.name'? (f.yaml:1)"),
    ("objective: {name: non_saturating, name.x: 3}", "unknown key 'objective.name.x'; did you mean 'objective.name'?"),
    (
        "data: ring8\nmetrics: [frechet]",
        "metrics must suit the data, but got metrics=[frechet]: frechet scores images, and data ring8 holds a Gaussian "
        "mixture (known: energy_distance, mixture_kl, sliced_wasserstein) (f.yaml:2)",
    ),
    (
        "metrics: [mixture_kl]",
        "mixture_kl scores a Gaussian mixture, and data digits holds images (known: frechet, kernel, energy_distance, ",
    ),
    ("space: gan\nobjective: wasserstein", "contradicts space 'gan' (gan fixes objective.name=non_saturating): remove"),
    ("space: gan\npenalty.lambda: 3", "gan fixes penalty.name=none, which has no lambda): remove penalty.lambda, or"),
    ("clip: 0.1\npenalty: gradient", "contradicts space 'classic'"),
    ("objective: hinge", "remove objective.name, or choose another space, such as landscape (f.yaml:1)"),
    ("space: clasic", "unknown space 'clasic'; did you mean 'classic'? (known: ali_grid25, classic, ebgan_grid, gan,"),
    ("space: 3", "space must be the name of a space, but got space=3 (f.yaml:1)"),
    ("deterministic: no", 'deterministic must be true or false, but got deterministic="no" (f.yaml:1)'),
    ("halving: {enabled: 1}", "halving.enabled must be true or false, but got halving.enabled=1"),
    ("n_critic: true", "n_critic must be a number, but got n_critic=true (f.yaml:1)"),
    ("workers: true", "workers must be a number, but got workers=true"),
    ("network: {width: true}", "network.width must be a number, but got network.width=true"),
    ("steps: '500'", 'steps must be a number, but got steps="500"'),
    ("steps: 1.5", "steps must be a whole number, but got steps=1.5"),
    ("steps: .inf", "steps must be a finite number, but got steps=inf"),
    ("max_hours: .nan", "max_hours must be a finite number, but got max_hours=nan"),
    ("steps: {}", "steps must be a whole number, but got steps={}"),
    ("steps:", "steps must be a whole number, but got steps=null"),
    ("updates: foo", "updates must be 'alternating' or 'simultaneous', but got updates=foo (f.yaml:1)"),
    (
        "updates: simultaneous",
        "n_critic must be 1 with updates=simultaneous, but got n_critic=5 (space 'gan' tries it; set",
    ),
    (
        "updates: simultaneous\nn_critic: 5",
        "n_critic must be 1 with updates=simultaneous, but got n_critic=5 (f.yaml:2)",
    ),
    (
        "optim:\n  lr_d: 0\n  lr_g: 99",
        "optim.lr_d must be greater than 0, but got optim.lr_d=0 (f.yaml:2)\noptim.lr_g must",
    ),
    ("optim: {lr_g: fast}", "optim.lr_g must be a number, but got optim.lr_g=fast"),
    ("stability: {d_loss_zer: {window: 3}}", "did you mean 'stability.d_loss_zero.window'?"),
    ("stability: {d_loss_zero: off}", "stability.d_loss_zero must be a mapping of action, name, threshold, window"),
    (
        "stability:\n  d_loss_zero:\n    threshold: -1",
        "stability.d_loss_zero.threshold must be greater than 0, but got",
    ),
    ("stability.nomod:x.window: 3", "detector 'nomod:x' cannot be imported"),
    ("metrics: frechet", "metrics must be a list, but got metrics=frechet"),
    ("metrics: [1]", "metrics.0 must be text, but got metrics.0=1 (f.yaml:1)"),
    ("metrics: [a, b]", "metrics must have at most 1 entries"),
    ("metrics: [frechett]", "unknown metric 'frechett'; did you mean 'frechet'?"),
    ("study: a/b", "study must match ^[A-Za-z0-9]"),
    ("study: ../x", "but got study=../x (f.yaml:1)"),
    ("study: 3", "study must be text, but got study=3"),
    ("schedule: fast", "schedule must be 'throughput' or 'reproducible', but got schedule=fast"),
    ("trials: 0", "trials must be at least 1, but got trials=0"),
    ("workers: -1", "workers must be at least 1"),
    ("gpus_per_worker: -1", "gpus_per_worker must be at least 0, but got gpus_per_worker=-1"),
    ("max_hours: 0", "max_hours must be greater than 0, but got max_hours=0"),
    ("seed: -1", "seed must be at least 0"),
    ("seed: 9223372036854775808", "seed must be less than 9223372036854775808"),
    ("n_startup_trials: 0", "n_startup_trials must be at least 1"),
    ("n_startup_trials: 1000001", "n_startup_trials must be at most 1000000"),
    ("steps: 99999999999999999999999", "steps must be at most 1000000000"),
    ("segment_steps: 99999999999999999999999", "segment_steps must be at most 100000"),
    ("checkpoint_every: 99999999999999999999999", "checkpoint_every must be at most 1000000"),
    ("halving: {eta: 1001}", "halving.eta must be at most 1000"),
    ("halving: {first_rung: 99999999999999999999999}", "halving.first_rung must be at most 1000000000"),
    ("halving: {eta: 1}", "halving.eta must be at least 2, but got halving.eta=1"),
    ("halving: {first_rung: 0}", "halving.first_rung must be at least 1"),
    ("retries: {worker_lost: -1}", "retries.worker_lost must be at least 0"),
    ("store: ''", 'store must have at least 1 characters, but got store=""'),
    ("tracking_uri: 3", "tracking_uri must be text"),
    ("tracking_uri: ''", 'tracking_uri must have at least 1 characters, but got tracking_uri=""'),
    ("enqueue: 3", "enqueue must be a list of mappings, but got enqueue=3"),
    ("enqueue: [3]", "enqueue must be a list of mappings, but got enqueue=[3]"),
    ("enqueue:\n - {space: gan,\n    optim: {lr_d: 1}}", "optim.lr_d must be a number from 1e-05 to 0.01, but got"),
    ("enqueue:\n  - space: gan\n    optim:\n      lr_d: 1", "but got optim.lr_d=1 (f.yaml:4)"),
    ("enqueue:\n  - {optim.lr_d: 1e-3}", "add space (one of gan, wgan, wgan_gp) (f.yaml:2)"),
    ("enqueue:\n  - {clipp: 1}", "'clipp' is not searched by space 'classic'; did you mean 'clip'? (f.yaml:2)"),
    ("optim.lr_d: 1\noptim: {lr_d: 1}", "the key 'optim.lr_d' is already set in line 1: keep one (f.yaml:2)"),
    ("penalty: none\npenalty.name: none", "the key 'penalty.name' is set twice: keep one (f.yaml)"),
    ("a: !!python/object:os.system 1", "tags such as !!python/object:os.system are refused"),
    ("[1]", "must be a mapping"),
]


@pytest.mark.parametrize(("text", "fragment"), BAD_FILES, ids=[text.splitlines()[-1] for text, _ in BAD_FILES])
def test_a_bad_file_is_refused_in_the_users_words(text, fragment, tmp_path):
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text))
    message = str(caught.value).replace(f"{tmp_path}/", "")
    assert fragment in message
    assert not any(raw in message for raw in ("pydantic", "validation error", "Input should", "type="))


@pytest.mark.parametrize(
    ("sets", "fragment"),
    [
        (["n_critic=0"], "n_critic must be at least 1, but got n_critic=0 (--set n_critic=0)"),
        (["n_critic"], "--set must be KEY=VALUE, but got --set n_critic"),
        (["=3"], "--set must be KEY=VALUE, but got --set =3"),
        (["steps=["], "not valid YAML"),
        (["steps="], "steps must be a whole number, but got steps=null (--set steps=)"),
        (["steps=&a 1"], "aliases (*) are refused: write the value out (--set steps=&a 1)"),
        (["optim={lr_d: 1, lr_d: 2}"], "the key 'lr_d' is already set"),
        (["optim={lr_d: 0}"], "optim.lr_d must be greater than 0, but got optim.lr_d=0 (--set optim={lr_d: 0})"),
        (["penalty=none", "penalty.lambda=3"], "unknown key 'penalty.lambda'"),
        (["a..b=1"], "unknown key 'a..b'"),
        (["steps.=1"], "unknown key 'steps.'; did you mean 'steps'? (--set steps.=1)"),
        (["optim..lr_d=1"], "unknown key 'optim..lr_d'; did you mean 'optim.lr_d'? (--set optim..lr_d=1)"),
        (["stability.=1"], "unknown key 'stability.'; did you mean 'stability'? (--set stability.=1)"),
        (["data=ring8", "data.name.x=1"], "unknown key 'data.name.x'; did you mean 'data.name'? (--set data.name.x=1)"),
        (["network.width=3", "network.width.x=1"], "network.width.x cannot be set beside network.width=3: keep one"),
        (["network.width.x=1", "network.width=3"], "network.width.x cannot be set beside network.width=3: keep one"),
    ],
)
def test_a_bad_set_is_refused(sets, fragment, tmp_path):
    path = write(tmp_path, "n_critic: 4\nsteps: 3")
    with pytest.raises(ConfigError) as caught:
        load(path, sets)
    assert fragment in str(caught.value)


@pytest.mark.parametrize(
    ("options", "fragment"),
    [
        ({"trials": 0}, "trials must be at least 1, but got trials=0 (--trials 0)"),
        ({"max_hours": -1.0}, "max_hours must be greater than 0, but got max_hours=-1.0 (--max-hours -1.0)"),
        ({"data": "digit"}, "unknown data 'digit'; did you mean 'digits'?"),
        ({"tracking_uri": ""}, 'tracking_uri must have at least 1 characters, but got tracking_uri=""'),
    ],
)
def test_a_bad_option_is_refused(options, fragment):
    with pytest.raises(ConfigError) as caught:
        load(None, (), options)
    assert fragment in str(caught.value)


@pytest.mark.parametrize(
    ("sets", "fragment"),
    [
        (["trials=3"], "unknown key 'trials'; did you mean 'threads'? (--set trials=3)"),
        (["data.name.x=1"], "unknown key 'data.name.x'; did you mean 'data.name'? (--set data.name.x=1)"),
        (["optim..lr_d=1"], "unknown key 'optim..lr_d'; did you mean 'optim.lr_d'? (--set optim..lr_d=1)"),
        (
            ["network.features=3"],
            "unknown key 'network.features': it belongs to network dcgan or resnet; set network.name",
        ),
        (["metrics=[mixture_kl]"], "metrics must suit the data"),
        (["metrics=[nope]"], "unknown metric 'nope'"),
        (["steps=0"], "steps must be at least 1, but got steps=0 (--set steps=0)"),
    ],
)
def test_a_bad_variation_of_a_training_is_refused(sets, fragment):
    with pytest.raises(ConfigError) as caught:
        vary_training(TrainConfig(), sets, {})
    assert fragment in str(caught.value)


OWN = """
from search_spaces import Float, Space
WRONG = Space(name="wrong", summary="", source="", dims=(Float("optim.lrd", 0.1, 0.2),), default={"optim.lrd": 0.1})
WIDE = Space(name="wide", summary="", source="", dims=(Float("optim.beta1", 0.0, 1.0),), default={"optim.beta1": 0.5})
"""


@pytest.mark.parametrize(
    ("name", "fragment"),
    [
        ("WRONG", "unknown key 'optim.lrd' (space 'wrong' tries it; set optim.lrd to fix it)"),
        ("WIDE", "optim.beta1 must be less than 1, but got optim.beta1=1.0 (space 'wide' tries it"),
    ],
)
def test_a_space_that_cannot_be_trained_is_found_at_load(name, fragment, tmp_path, monkeypatch):
    (tmp_path / "wrong_spaces.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError) as caught:
        load(None, [f"space=wrong_spaces:{name}"])
    assert fragment in str(caught.value)


UPDATES = Choice("updates", ("alternating", "simultaneous"))
IMPOSSIBLE = {
    "PAIR": ((UPDATES, Choice("n_critic", (1, 5))), "n_critic must be 1 with updates=simultaneous, but got n_critic=5"),
    "WHOLE": ((Float("batch_size", 16, 64),), "batch_size must be a whole number, but got batch_size=31.2"),
    "KIND": ((Choice("n_critic", (True, 5)),), "n_critic must be a number, but got n_critic=true"),
}
DEFAULTS = {"updates": "alternating", "n_critic": 5, "batch_size": 16}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_a_space_that_would_ask_for_what_cannot_be_trained_is_refused_before_it_does(name, tmp_path, monkeypatch):
    dims, told = IMPOSSIBLE[name]
    default = {dim.key: 1 if name == "PAIR" and dim.key == "n_critic" else DEFAULTS[dim.key] for dim in dims}
    module = ModuleType("impossible_spaces")
    module.SPACE = Space(name="s", summary="", source="", dims=dims, default=default)
    monkeypatch.setitem(sys.modules, "impossible_spaces", module)
    with pytest.raises(ConfigError) as caught:
        load(None, (), {"space": "impossible_spaces:SPACE"})
    assert told in str(caught.value)
    assert "space 's' tries it" in str(caught.value)
