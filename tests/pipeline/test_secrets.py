"""No key of a search holds a password, and no line of a command tells one."""

from __future__ import annotations

import json
import sys

import pytest

from pipeline import cli
from pipeline.config import SearchConfig, load
from pipeline.projection import trial_params
from pipeline.records import TrialSpec
from pipeline.safe_text import holds_secret, key_of_secret, redact
from trainers.config import TrainConfig
from trainers.errors import ConfigError, Unreachable

SECRET = "hunter2"
OWN = f"""
from search_spaces import Float, Space
from trainers.params.penalties import PenaltyParams
from trainers.registry import Variant
class P(PenaltyParams):
    name: str = "own_secret:PENALTY"
    url: str = ""
    many: tuple[str, ...] = ()
PENALTY = Variant(kind="penalty", name="own", summary="", params=P, make="x:y")
DIMS = (Float("optim.lr_d", 1e-5, 1e-3),)
SPACE = Space(name="own", summary="", source="", fixed={{"penalty": "own_secret:PENALTY"}}, dims=DIMS,
              default={{"optim.lr_d": 1e-4}})
TELLS = Space(name="own", summary="", source="", dims=DIMS, default={{"optim.lr_d": 1e-4}},
              fixed={{"penalty": "own_secret:PENALTY", "penalty.url": "postgresql://me:{SECRET}@h/db"}})
"""


@pytest.fixture
def _own(tmp_path, monkeypatch):
    (tmp_path / "own_secret.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("own_secret", None)


@pytest.mark.usefixtures("_own")
@pytest.mark.parametrize(
    ("sets", "key"),
    [
        ([f"penalty.url=postgresql://me:{SECRET}@h/db"], "penalty.url"),
        ([f"penalty.many=[a, 'https://{SECRET}@h']"], "penalty.many.1"),
        ([f"penalty.url=host=h password={SECRET}"], "penalty.url"),
        (["space=own_secret:TELLS"], "penalty.url"),
    ],
)
def test_no_key_may_hold_a_password_and_the_refusal_names_the_key_alone(sets, key):
    with pytest.raises(ConfigError, match=f"{key} must not hold a password") as caught:
        load(None, ["space=own_secret:SPACE", *sets])
    assert SECRET not in str(caught.value)


def test_a_search_that_is_built_without_a_file_may_not_either():
    with pytest.raises(ValueError, match=r"enqueue\.0\.name must not hold a password"):
        SearchConfig(enqueue=({"name": f"http://{SECRET}@h"},))
    with pytest.raises(ValueError, match=r"data\.url must not hold a password"):
        SearchConfig(train={"data": {"url": f"http://{SECRET}@h"}})


@pytest.mark.parametrize(
    "text",
    [
        f"https://host/blob?sv=1&sig={SECRET}",
        f"s3://bucket/key?X-Amz-Signature={SECRET}",
        f"s3://bucket/key?access_key={SECRET}",
        f"az://host;AccountKey={SECRET};x=1",
        f"az://host?account_key={SECRET}",
        f"ssh://host?passphrase={SECRET}",
        f"host=h user=me password={SECRET}",
        f"reads from ftp://me:{SECRET}@host now",
    ],
)
def test_a_secret_is_known_by_its_name(text):
    assert holds_secret(text)
    assert SECRET not in redact(text)
    assert key_of_secret({"a": [1, {"b": text}]}) == "a.1.b"


@pytest.mark.parametrize("text", ["see http://host/a@b", "signal=3", "https://host?signal=3", "x?design=a", "a=b c=d"])
def test_other_texts_are_left_as_they_are(text):
    assert not holds_secret(text)
    assert redact(text) == text


def test_a_trial_of_an_older_study_shows_no_password_either():
    spec = TrialSpec(number=0, key="u/0", params={}, config=TrainConfig(data="ring8"))
    config = spec.config.model_copy(update={"data": {"name": "x", "url": f"http://me:{SECRET}@h"}})
    shown = trial_params(spec.model_copy(update={"config": config}))
    assert SECRET not in json.dumps(shown)
    assert shown["data.url"] == "http://***@h"


def test_no_error_of_a_command_tells_one(monkeypatch, capfd):
    def fails() -> None:
        raise Unreachable(f"API request to http://me:{SECRET}@h/api failed with exception \x1b[31m")

    monkeypatch.setattr(cli, "app", fails)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    told = capfd.readouterr().err
    assert (ended.value.code, SECRET in told, "\x1b" in told) == (4, False, False)
    assert "API request to http://***@h/api failed" in told
