"""Keys are dotted or nested, and the one can be made from the other."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline import keys
from pipeline.messages import split


@given(
    flat=st.dictionaries(st.from_regex(r"[a-d]{2}(\.[a-d]{3}(\.[a-d])?)?", fullmatch=True), st.integers(), max_size=6)
)
def test_nesting_and_flattening_are_inverse(flat):
    leaves = {key: v for key, v in flat.items() if not any(other.startswith(f"{key}.") for other in flat)}
    assert keys.flatten(keys.nest(leaves)) == leaves


def test_a_detector_of_a_module_is_one_part_of_a_key():
    assert split("stability.my.module:detector.window") == ("stability", "my.module:detector", "window")
    assert split("stability.non_finite.window") == ("stability", "non_finite", "window")
