"""Options: written once, read by Typer as parameters, passed on as a value."""

import inspect
from dataclasses import dataclass, fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irbench.cli import options as o
from irbench.cli.run import AblateOptions, QueryOptions, RunOptions
from irbench.core.errors import UsageError

VALUES = st.one_of(st.integers(-(10**6), 10**6), st.floats(allow_nan=False, allow_infinity=False), st.booleans())


@given(VALUES)
def test_a_value_is_read_as_a_recipe_would_have_it(value) -> None:
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    key, read = o.parse_override(f"key={text}")
    assert (key, read, type(read)) == ("key", value, type(value))


@pytest.mark.parametrize("text", ["semantic", "center-crop", "a b", "ft-clip", "1.2.3"])
def test_quotes_of_a_text_may_be_left_out(text: str) -> None:
    assert o.parse_override(f"key={text}") == ("key", text) == o.parse_override(f'key="{text}"')


@pytest.mark.parametrize("text", ["key", "=3", "", "key=[1, 2]", "key={a = 1}", "key=2020-01-01"])
def test_what_is_no_key_and_value_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        o.parse_override(text)
    assert raised.value.code == "bad-override"


def test_the_latter_of_two_settings_of_a_key_wins() -> None:
    options = RunOptions(overrides=["rerank=3", "epochs=2", "epochs=5"], rerank=9)
    assert dict(options.pairs()) == {"rerank": 9, "epochs": 5}


@pytest.mark.parametrize("options", [RunOptions, AblateOptions, QueryOptions])
def test_every_field_is_a_parameter_of_the_command(options: type) -> None:
    got = []
    command = o.command(options)(got.append)
    parameters = inspect.signature(command).parameters
    assert list(parameters) == [one.name for one in fields(options)]
    needed = {name: None for name, one in parameters.items() if one.default is inspect.Parameter.empty}
    command(**needed)
    assert got == [options(**needed)]


def test_a_request_has_what_was_asked_for() -> None:
    options = RunOptions(method=["irgen"], search=["scann"], seed=[1, 2], incremental=True, overrides=["lr=0.1"])
    request = options.request()
    assert (request.methods, request.searches, request.seeds) == (("irgen",), ("scann",), (1, 2))
    assert request.incremental
    assert request.overrides == (("lr", 0.1),)


def test_a_command_keeps_its_name_and_help() -> None:
    @dataclass(frozen=True)
    class Nothing:
        """No options."""

    @o.command(Nothing)
    def example(options: Nothing) -> None:
        """Help of the example."""

    assert (example.__name__, example.__doc__) == ("example", "Help of the example.")
