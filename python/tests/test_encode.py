"""What cannot be encoded fails alone, at add, with a clear error; what can keeps every digit."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import subprocess
import sys
import uuid
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signal_ingest import BatchProcessor, InvalidSignalError, SignalClient
from signal_ingest.base.encode import encode_signal


def payload(value: Any) -> Any:
    return json.loads(encode_signal({"context_window_id": "c", "payload": {"x": value}}))["payload"]["x"]


def raw_payload(value: Any) -> bytes:
    return encode_signal({"payload": {"x": value}})[len(b'{"payload":{"x":') : -2]


class Color(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass
class Point:
    x: int
    when: date


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12345678901234567890123, b"12345678901234567890123"),
        (Decimal("12345678901234567890.1234567890"), b"12345678901234567890.1234567890"),
        (Decimal("1E+400"), b"1e+400"),
        (Decimal("-0.10"), b"-0.10"),
        (0.1, b"0.1"),
        (True, b"true"),
        (None, b"null"),
        ('é\n"', '"é\\n\\""'.encode()),
        (datetime(2026, 1, 2, 3, 4, 5, 6, timezone.utc), b'"2026-01-02T03:04:05.000006+00:00"'),
        (datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=2))), b'"2026-01-02T00:00:00+02:00"'),
        (date(2026, 1, 2), b'"2026-01-02"'),
        (uuid.UUID(int=1), b'"00000000-0000-0000-0000-000000000001"'),
        (Color.RED, b'"red"'),
        (Level.HIGH, b"3"),
        (Point(1, date(2026, 1, 2)), b'{"x":1,"when":"2026-01-02"}'),
        ((1, [2, ()]), b"[1,[2,[]]]"),
        ({1: "a", Color.RED: 2}, b'{"1":"a","red":2}'),
    ],
)
def test_values_are_written_as_they_are(value: Any, text: bytes) -> None:
    assert raw_payload(value) == text


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (math.nan, "payload.x is nan, which JSON cannot hold"),
        (math.inf, "payload.x is inf, which JSON cannot hold"),
        (Decimal("NaN"), "payload.x is NaN, which JSON cannot hold"),
        (b"bytes", "payload.x is bytes, which JSON cannot hold: send them as Base64"),
        ({1, 2}, "payload.x is a set, which JSON cannot hold"),
        (object(), "payload.x is a object, which JSON cannot hold"),
        ([1, {"y": ["a", "\ud800"]}], "payload.x[1].y[1] holds half of a surrogate pair"),
        ({1: "a", "1": "b"}, "payload.x has two keys that are '1' in JSON"),
        ({(1, 2): 3}, "payload.x has a key of the type tuple"),
    ],
)
def test_what_json_cannot_hold_fails_by_name(value: Any, words: str) -> None:
    with pytest.raises(InvalidSignalError) as caught:
        payload(value)
    assert str(caught.value).startswith(words)
    assert isinstance(caught.value, ValueError)


def test_an_integer_that_python_does_not_write_fails_by_name() -> None:
    assert raw_payload(10**4000) == b"1" + b"0" * 4000
    with pytest.raises(InvalidSignalError, match=r"payload\.x is an integer of too many digits"):
        raw_payload(10**5000)
    with pytest.raises(InvalidSignalError, match="payload has a key that is an integer of too many digits"):
        encode_signal({"payload": {10**5000: 1}})


def test_scalars_of_numpy_are_written_as_they_are_or_fail_by_name() -> None:
    np = pytest.importorskip("numpy")
    nanoseconds = np.datetime64("2026-01-02T03:04:05.123456789")
    for value, text in [
        (np.float32(0.1), b"0.10000000149011612"),
        (np.uint64(2**64 - 1), b"18446744073709551615"),
        (np.bool_(True), b"true"),
        (np.str_("\u00e9"), '"\u00e9"'.encode()),
        (np.array(0.5), b"0.5"),
        # Its item() is a whole number of nanoseconds, which would be stored as seconds or not at all.
        (nanoseconds, b'"2026-01-02T03:04:05.123456789Z"'),
        (nanoseconds.astype("datetime64[us]"), b'"2026-01-02T03:04:05.123456Z"'),
        (nanoseconds.astype("datetime64[s]"), b'"2026-01-02T03:04:05Z"'),
        (nanoseconds.astype("datetime64[D]"), b'"2026-01-02"'),
        (np.array(nanoseconds), b'"2026-01-02T03:04:05.123456789Z"'),
    ]:
        assert raw_payload(value) == text
    for value, words in [
        (np.float64("nan"), "is nan"),
        (np.datetime64("NaT", "s"), "is NaT"),
        (np.datetime64("NaT", "ns"), "is NaT"),
        (np.timedelta64(1, "s"), "is a timedelta64"),
        (np.timedelta64(1, "ns"), "is a timedelta64"),
        (np.longdouble("0.1"), "is a longdouble"),
        (np.complex128(1), "is a complex"),
        (np.bytes_(b"a"), "is bytes"),
        (np.array([1, 2]), "is a ndarray"),
        (np.datetime64("2026-01", "M"), "is a datetime64"),
        (np.datetime64("-0044-03-15"), "is a datetime64"),
    ]:
        with pytest.raises(InvalidSignalError, match=f"payload.x {words}"):
            raw_payload(value)


def test_times_of_pandas_are_written_as_they_are_or_fail_by_name() -> None:
    pd = pytest.importorskip("pandas")
    assert raw_payload(pd.Timestamp("2026-01-02T03:04:05.123456789Z")) == (
        b'"2026-01-02T03:04:05.123456789+00:00"'
    )
    assert raw_payload(pd.DataFrame([{"a": 1, "b": "x"}]).iloc[0].to_dict()) == b'{"a":1,"b":"x"}'
    for value, words in [
        (pd.NaT, "is NaT"),
        (pd.NA, "is a NAType"),
        (pd.Timedelta(1, "s"), "is a Timedelta"),
        (pd.Series([1]), "is a Series"),
    ]:
        with pytest.raises(InvalidSignalError, match=f"payload.x {words}"):
            raw_payload(value)


def test_a_cycle_fails_by_name() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(InvalidSignalError, match="contains itself"):
        payload(cycle)


@pytest.mark.parametrize("signal", [None, "text", 1, ["context_window_id"], {"a"}])
def test_a_signal_is_a_mapping(signal: Any) -> None:
    with pytest.raises(InvalidSignalError, match="must be an object"):
        encode_signal(signal)


def test_a_naive_time_is_utc_with_one_warning() -> None:
    code = (
        "import warnings; from datetime import datetime\n"
        "from signal_ingest.base.encode import encode_signal\n"
        "with warnings.catch_warnings(record=True) as seen:\n"
        "    warnings.simplefilter('always')\n"
        "    for _ in range(3): print(encode_signal({'timestamp': datetime(2026, 1, 2)}))\n"
        "print(len(seen), seen[0].message)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.count('{"timestamp":"2026-01-02T00:00:00+00:00"}') == 3
    assert "1 signal_ingest takes a datetime without a time zone as UTC." in said


def test_a_pydantic_model_is_written_by_its_fields() -> None:
    pydantic = pytest.importorskip("pydantic")
    model = pydantic.create_model("Model", when=(datetime, ...), amount=(Decimal, ...))
    when = datetime(2026, 1, 2, tzinfo=timezone.utc)
    written = raw_payload(model(when=when, amount="1.50"))
    assert written == b'{"when":"2026-01-02T00:00:00+00:00","amount":1.50}'


def test_one_bad_signal_fails_alone_and_names_its_index(stub: Any) -> None:
    client = SignalClient(stub.url)
    with pytest.raises(InvalidSignalError, match=r"signals\[1\]\.signal_score is nan"):
        client.create_batch([{"context_window_id": "a"}, {"signal_score": math.nan}])
    processor = BatchProcessor(client)
    with pytest.raises(InvalidSignalError):
        processor.add({"context_window_id": "a", "signal_score": math.nan})
    assert processor.stats().accepted == 0
    assert processor.close()
    assert stub.seen == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(json_values)
def test_every_json_value_survives(value: Any) -> None:
    has_surrogate = "\\ud" in json.dumps(value).lower() and _surrogates(value)
    if has_surrogate:
        with pytest.raises(InvalidSignalError):
            payload(value)
    else:
        assert payload(value) == value


def _surrogates(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_every_digit_of_a_decimal_survives(value: Decimal) -> None:
    read = json.loads(raw_payload(value), parse_float=Decimal, parse_int=Decimal)
    assert read == value
    assert read.as_tuple().digits == value.as_tuple().digits or value == 0
