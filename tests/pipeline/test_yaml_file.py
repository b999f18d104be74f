"""YAML is read as YAML 1.2 has it, with a line for every key; what is a trap is refused."""

import contextlib
import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipeline.yaml_file import MAX_BYTES, parse, read
from trainers.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-7", -7),
        ("010", 10),
        ("1e-4", 1e-4),
        ("1E3", 1000.0),
        (".5", 0.5),
        ("3.", 3.0),
        ("-.inf", -math.inf),
        ("true", True),
        ("false", False),
        ("True", "True"),
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("null", None),
        ("~", None),
        ("", None),
        ("'5'", "5"),
        ('"true"', "true"),
        ("''", ""),
        ("2024-01-01", "2024-01-01"),
        ("1:30", "1:30"),
        ("0x1F", "0x1F"),
        ("module.path:name", "module.path:name"),
        ("http://host:5000", "http://host:5000"),
        ("{a: 1, b: [x, 2.5, null]}", {"a": 1, "b": ["x", 2.5, None]}),
        ("9" * 400, math.inf),
    ],
)
def test_values(text, value):
    found = parse(text, "here").value
    assert found == value
    assert type(found) is type(value)


def test_every_key_and_entry_has_its_line():
    text = (
        "# a comment\nsteps: 1\noptim:\n  lr_d: 1e-4\n\nenqueue:\n  - n_critic: 5\n    clip: 1\n  - x\nlatent.size: 3\n"
    )
    lines = parse(text, "here").lines
    assert lines == {
        "steps": 2,
        "optim": 3,
        "optim.lr_d": 4,
        "enqueue": 6,
        "enqueue.0": 7,
        "enqueue.0.n_critic": 7,
        "enqueue.0.clip": 8,
        "enqueue.1": 9,
        "latent.size": 10,
    }


REFUSED = [
    ("a: 1\nb: 2\na: 3", "the key 'a' is already set in line 1: keep one (f.yaml:3)"),
    ("a:\n  b: 1\na.b: 3", "the key 'a.b' is already set in line 2: keep one (f.yaml:3)"),
    ("a: &x 1", "anchors (&) and aliases (*) are refused: write the value out (f.yaml:1)"),
    ("a: 1\nb: &x [1]", "aliases (*) are refused"),
    ("a: *x", "aliases (*) are refused"),
    ("*x : 1", "aliases (*) are refused"),
    ("a: !!python/object/apply:os.system [ls]", "tags such as !!python/object/apply:os.system are refused"),
    ("a: !!int 3", "tags such as !!int are refused"),
    ("a: !own 3", "tags such as !own are refused"),
    ("!!map {a: 1}", "tags such as !!map are refused"),
    ("a:\n\tb: 1", "indent with spaces, not with tabs (f.yaml:2)"),
    ("\ta: 1", "indent with spaces, not with tabs (f.yaml:1)"),
    ("a: 1\n b: 2", "not valid YAML: mapping values are not allowed here (f.yaml:2)"),
    ("a: [1", "not valid YAML"),
    ("a: 'x", "not valid YAML"),
    ("a: \x00", "the character U+0000 is not allowed (f.yaml:1)"),
    ("a: 1\nb: \x07", "the character U+0007 is not allowed (f.yaml:2)"),
    ("\ufeffa: 1", "must not start with a byte order mark: save it as plain UTF-8 (f.yaml)"),
    ("a: 1\n---\nb: 2", "there must be one document, but a second one begins (f.yaml:2)"),
    ("1: a", "a key must be a name, but got 1 (f.yaml:1)"),
    ("true: a", "a key must be a name, but got True"),
    ("? [a]\n: b", "a key must be a name"),
    ("? \n: b", "a key must be a name, but got null"),
    ("[" * 40, "values must be at most 16 levels deep (f.yaml:1)"),
    ("[" * 500_000, "values must be at most 16 levels deep (f.yaml:1)"),
    (f"? {'k' * 201}\n: 1", "a key must have at most 200 characters, but one has 201 (f.yaml:1)"),
    ("a: [" + "1," * 20_000 + "]", "there must be at most 10000 keys and values (f.yaml:1)"),
]


@pytest.mark.parametrize(("text", "fragment"), REFUSED, ids=[f"{i}" for i in range(len(REFUSED))])
def test_what_is_a_trap_is_refused(text, fragment):
    with pytest.raises(ConfigError) as caught:
        parse(text, "f.yaml")
    assert fragment in str(caught.value)


def test_a_source_without_lines_is_shown_as_it_is():
    with pytest.raises(ConfigError) as caught:
        parse("&a 1", "--set a=&a 1", numbered=False)
    assert str(caught.value).endswith("(--set a=&a 1)")


@pytest.mark.parametrize(
    ("raw", "fragment"),
    [
        (b"", "must be a mapping of keys to values, but"),
        (b"# only a comment\n", "must be a mapping"),
        (b"[1, 2]", "must be a mapping"),
        (b"words", "must be a mapping"),
        (b"a: 1\nb: \xff", "must be UTF-8 text, but byte 8 is not"),
        (b"\xff\xfea\x00", "must be UTF-8 text"),
        (b"\xef\xbb\xbfa: 1", "byte order mark"),
        (b"a: 1\n" + b"#" * MAX_BYTES, "must be at most 262144 bytes"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused(raw, fragment, tmp_path):
    path = tmp_path / "f.yaml"
    path.write_bytes(raw)
    with pytest.raises(ConfigError) as caught:
        read(path)
    assert fragment in str(caught.value)
    assert "f.yaml" in str(caught.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml cannot be read: No such file"):
        read(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read(tmp_path)


NAMES = st.text("abcdefg_", min_size=1, max_size=6).filter(lambda name: name not in ("e", "_"))
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text("ab .:#'\"\n\t-é", max_size=8)
TREES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3))


@given(tree=TREES)
def test_what_a_common_writer_writes_is_read_back(tree):
    assert parse(yaml.safe_dump(tree, allow_unicode=True, width=10_000), "here").value == tree


@given(text=st.text(max_size=200))
def test_any_text_is_either_read_or_refused(text):
    with contextlib.suppress(ConfigError):  # any other exception fails
        document = parse(text, "here")
        assert all(line >= 1 for line in document.lines.values())
