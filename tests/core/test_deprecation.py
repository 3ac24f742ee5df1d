"""A deprecated name goes on working, says what to use instead, and cannot be given too little notice."""

from __future__ import annotations

import warnings

import pytest

from fabloom.deprecation import FabloomDeprecationWarning, deprecated


@deprecated("double", instead="twice()", since="1.2", removed="1.4")
def double(value: int) -> int:
    """Twice the value."""
    return 2 * value


def test_it_works_and_warns_once_a_call_at_the_callers_line() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert double(21) == 42
    (warning,) = caught
    assert warning.category is FabloomDeprecationWarning
    assert issubclass(warning.category, DeprecationWarning)
    assert warning.filename == __file__
    for word in ("double", "twice()", "1.2", "1.4"):
        assert word in str(warning.message)


def test_name_and_docstring_stay() -> None:
    assert double.__name__ == "double"
    assert double.__doc__ == "Twice the value."


def test_what_is_not_deprecated_does_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert double.__wrapped__(21) == 42  # type: ignore[attr-defined]


@pytest.mark.parametrize(("since", "removed"), [("1.2", "1.3"), ("1.2", "1.2"), ("1.4", "1.2"), ("2.0", "1.9")])
def test_too_little_notice_is_refused(since: str, removed: str) -> None:
    with pytest.raises(ValueError, match="minor versions"):
        deprecated("double", instead="twice()", since=since, removed=removed)


@pytest.mark.parametrize("text", ["1", "one.two", "1.2.3"])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no version"):
        deprecated("double", instead="twice()", since=text, removed="2.0")


def test_a_major_version_may_follow_enough_minors() -> None:
    deprecated("double", instead="twice()", since="1.2", removed="2.0")
