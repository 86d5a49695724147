"""Passwords in addresses: never shown, and what of them must be percent-encoded."""

from __future__ import annotations

import pytest

from trials.addresses import hide_password, unencoded


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://u:SECRET@host/db",
        "postgresql://u:SEC@RET@host/db",
        "postgresql://u:SEC/RET@host/db",
        "postgresql://u:SEC#RET@host:1/db",
        "http://u:SEC?RET@host:5000/path",
        "postgresql://u:SECRET/db",
        "ray://u:SEC@RE/T@host:10001",
        "postgresql://host/db?user=u&password=SECRET",
    ],
)
def test_no_part_of_a_password_is_shown(address: str) -> None:
    shown = hide_password(f"'{address}' does not answer; start it")
    assert "SEC" not in shown
    assert "RE" not in shown
    assert shown.endswith("start it")


@pytest.mark.parametrize(
    "address", ["http://host:5000", "http://host:5000/a", "sqlite:////tmp/x.db", "http://[::1]:80/", "ray://host:10001"]
)
def test_an_address_without_a_password_stays(address: str) -> None:
    assert hide_password(f"no answer at {address}; start it") == f"no answer at {address}; start it"
    assert unencoded(address) == ""


def test_what_must_be_encoded_is_said() -> None:
    assert unencoded("postgresql://u:a@b/c@host/db") == "in a password write @ as %40, / as %2F"
    assert unencoded("postgresql://u:a%40b@host/db?options=-c%20x@y") == ""
    assert unencoded("http://u:a#b?c@host") == "in a password write # as %23, ? as %3F"
