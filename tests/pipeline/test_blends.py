"""Blends of voices, by name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.blends import Blend, read_blend


def test_a_voice_alone_is_a_blend_of_one() -> None:
    assert read_blend("af_heart") == Blend((("af_heart", 1.0),))
    assert str(read_blend("af_heart")) == "af_heart"


def test_weights_are_shares_of_the_whole() -> None:
    assert read_blend("a:0.7+b:0.3").shares == (("a", 0.7), ("b", 0.3))
    assert read_blend("a:2 + b:1 + a:1").shares == (("a", 0.75), ("b", 0.25))


def test_without_weights_all_have_the_same_share() -> None:
    assert read_blend("a+b+c+d").shares == tuple((voice, 0.25) for voice in "abcd")


@pytest.mark.parametrize(
    "name",
    ["", "+", "a+", ":1", "a:", "a:0", "a:-1", "a:nan", "a:inf", "a:1e9", "a:x", "a:1+b", "a+" * 9],
)
def test_what_is_no_blend_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_blend(name)


@given(
    st.dictionaries(
        st.from_regex(r"[a-z_]{1,12}", fullmatch=True),
        st.floats(0.001, 1000),
        min_size=1,
        max_size=8,
    )
)
def test_a_blend_can_be_written_and_read_again(weights: dict[str, float]) -> None:
    blend = read_blend("+".join(f"{voice}:{weight}" for voice, weight in weights.items()))
    assert sum(share for _, share in blend.shares) == pytest.approx(1)
    assert blend.leader == next(iter(weights))
    if all(share > 1e-3 for _, share in blend.shares):
        again = read_blend(str(blend))
        assert dict(again.shares) == pytest.approx(dict(blend.shares), rel=1e-2)
