"""Writes the files of other programs for the tests beside this folder, and fails where a type of theirs is missing:

    python -m venv venv && venv/bin/pip install pyarrow duckdb polars && venv/bin/python write.py
"""

import datetime as dt
import decimal
import pathlib
import uuid

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

HERE = pathlib.Path(__file__).parent
TEXT = HERE / "text"
D = decimal.Decimal
NOON = dt.datetime(2026, 1, 2, 3, 4, 5, 678901)
TIME = dt.time(10, 0, 0, 500000)

# name, type, value: a column each, with a row of the value and a row of null.
ARROW = [
    ("bool", pa.bool_(), True),
    ("int8", pa.int8(), -8),
    ("int16", pa.int16(), -16),
    ("int32", pa.int32(), -32),
    ("int64", pa.int64(), 9007199254740993),
    ("uint8", pa.uint8(), 255),
    ("uint16", pa.uint16(), 65535),
    ("uint32", pa.uint32(), 4294967295),
    ("uint64", pa.uint64(), 18446744073709551615),
    ("half", pa.float16(), 0.5),
    ("float", pa.float32(), 0.1),
    ("double", pa.float64(), 0.1),
    ("nan", pa.float64(), float("nan")),
    ("infinity", pa.float32(), float("-inf")),
    ("decimal32", pa.decimal128(5, 2), D("0.35")),
    ("decimal64", pa.decimal128(18, 4), D("-19.9900")),
    ("decimal128", pa.decimal128(38, 10), D("12345678901234567890.1234567890")),
    ("decimal256", pa.decimal256(60, 0), D("123456789012345678901234567890")),
    ("string", pa.string(), "é\ufeff"),
    ("large_string", pa.large_string(), "a"),
    ("dictionary", pa.dictionary(pa.int32(), pa.string()), "a"),
    ("binary", pa.binary(), b"\xff\xfe\x00"),
    ("ascii", pa.binary(), b"abc"),
    ("fixed", pa.binary(3), b"abc"),
    ("date32", pa.date32(), NOON.date()),
    ("date64", pa.date64(), NOON.date()),
    ("time32", pa.time32("ms"), TIME),
    ("time64_us", pa.time64("us"), TIME),
    ("time64_ns", pa.time64("ns"), TIME),
    ("stamp_ms", pa.timestamp("ms", tz="UTC"), NOON.replace(microsecond=678000)),
    ("stamp_us", pa.timestamp("us", tz="UTC"), NOON),
    ("stamp_ns", pa.timestamp("ns", tz="UTC"), NOON),
    ("stamp_local", pa.timestamp("us"), NOON),
    ("stamp_zone", pa.timestamp("us", tz="Europe/Berlin"), NOON.replace(tzinfo=dt.timezone.utc)),
    ("list", pa.list_(pa.int64()), [1, None, 9007199254740993]),
    ("decimals", pa.list_(pa.decimal128(5, 2)), [D("0.35")]),
    ("nested", pa.list_(pa.list_(pa.string())), [["a"], [], None]),
    ("struct", pa.struct([("a", pa.int32()), ("b", pa.binary())]), {"a": 1, "b": b"abc"}),
    ("map", pa.map_(pa.string(), pa.int32()), [("__proto__", 1), ("b", None)]),
    ("map_of_ints", pa.map_(pa.int32(), pa.string()), [(7, "a")]),
    ("null", pa.null(), None),
    ("large_binary", pa.large_binary(), b"abc"),
    ("binary_view", pa.binary_view(), b"abc"),
    ("string_view", pa.string_view(), "a"),
    ("small_decimal", pa.decimal32(5, 2), D("0.35")),
    ("medium_decimal", pa.decimal64(10, 2), D("-0.01")),
    ("scaled_decimal", pa.decimal256(60, 3), D("1.500")),
    ("time32_s", pa.time32("s"), TIME.replace(microsecond=0)),
    ("stamp_s", pa.timestamp("s"), NOON.replace(microsecond=0)),
    ("before_1970", pa.timestamp("us"), dt.datetime(1969, 12, 31, 23, 59, 59, 999999)),
    ("duration", pa.duration("us"), dt.timedelta(seconds=1)),
    ("json", pa.json_(), '{"n":12345678901234567890}'),
    ("uuid", pa.uuid(), uuid.UUID("11111111-2222-3333-4444-555555555555").bytes),
    ("dictionary_of_ints", pa.dictionary(pa.int8(), pa.int64()), 7),
    ("dictionary_of_bytes", pa.dictionary(pa.int8(), pa.binary()), b"abc"),
    ("large_list", pa.large_list(pa.int8()), [1]),
    ("fixed_list", pa.list_(pa.int32(), 2), [1, 2]),
    ("list_view", pa.list_view(pa.int8()), [1]),
    (
        "structs",
        pa.list_(pa.struct([("t", pa.timestamp("us", tz="UTC")), ("d", pa.decimal128(5, 2))])),
        [{"t": NOON.replace(tzinfo=dt.timezone.utc), "d": D("0.35")}],
    ),
    ("map_of_structs", pa.map_(pa.string(), pa.struct([("a", pa.int8())])), [("k", {"a": 1})]),
    ("list_of_maps", pa.list_(pa.map_(pa.string(), pa.int8())), [[("a", 1)]]),
    ("large_list_view", pa.large_list_view(pa.int8()), [1]),
    ("bool8", pa.bool8(), 1),
    ("tensor", pa.fixed_shape_tensor(pa.int8(), [2]), [1, 2]),
    ("opaque", pa.opaque(pa.int8(), "type", "vendor"), 1),
]

# Arrow's Parquet cannot hold them.
ARROW_ONLY = {
    "DENSE_UNION": lambda: pa.UnionArray.from_dense(pa.array([0], pa.int8()), pa.array([0], pa.int32()), [pa.array([1])]),
    "SPARSE_UNION": lambda: pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])]),
    "RUN_END_ENCODED": lambda: pa.RunEndEncodedArray.from_arrays([1], [7]),
    "INTERVAL_MONTH_DAY_NANO": lambda: pa.array([(1, 2, 3)], pa.month_day_nano_interval()),
}
# pyarrow has their names, and no way to make them.
ARROW_NAMES = {"INTERVAL_MONTHS", "INTERVAL_DAY_TIME"}


def expect_all(program, names, covered):
    missing = sorted(set(names) - set(covered))
    assert not missing, f"{program} has types without a column: {missing}"


def writable(names, write):
    """The names of the columns that a program can write."""
    return [name for name in names if not is_refused(lambda: write(name))]


def is_refused(write):
    try:
        write()
        return False
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid, pl.exceptions.ComputeError):
        return True
    finally:
        (HERE / "refused").unlink(missing_ok=True)


IDS = {getattr(pa.lib, name): name[len("Type_") :] for name in dir(pa.lib) if name.startswith("Type_")}
expect_all("pyarrow", IDS.values(), {IDS[kind.id] for _, kind, _ in ARROW if kind.id in IDS} | set(ARROW_ONLY) | ARROW_NAMES)
for make in ARROW_ONLY.values():
    assert is_refused(lambda: pq.write_table(pa.table({"c": make()}), HERE / "refused")), "it has a column now"


def arrow_table(columns):
    arrays = {"context_window_id": pa.array(["a", "b"])}
    for column, kind, value in columns:
        if pa.types.is_dictionary(kind):
            arrays[column] = pa.array([value, None], kind.value_type).dictionary_encode()
        elif isinstance(kind, pa.BaseExtensionType):
            arrays[column] = pa.ExtensionArray.from_storage(kind, pa.array([value, None], kind.storage_type))
        else:
            arrays[column] = pa.array([value, None], kind)
    return pa.table(arrays)


def write_arrow(name, columns, **options):
    pq.write_table(arrow_table(columns), HERE / name, **options)


write_arrow("pyarrow.parquet", ARROW)
whole = arrow_table(ARROW).slice(0, 1)
names = writable(whole.column_names, lambda name: pc.write_csv(whole.select([name]), HERE / "refused"))
pc.write_csv(whole.select(names), TEXT / "pyarrow.csv")
write_arrow("pyarrow-decimal-integers.parquet", [c for c in ARROW if c[0].startswith("decimal")], store_decimal_as_integer=True)
write_arrow("pyarrow-int96.parquet", [("stamp", pa.timestamp("ns"), NOON)], use_deprecated_int96_timestamps=True)
for codec in ["none", "snappy", "gzip", "brotli", "zstd", "lz4"]:
    write_arrow(f"codec-{codec}.parquet", [("n", pa.int64(), 7)], compression=codec)

# One bad cell in the middle row of three.
pq.write_table(
    pa.table(
        {
            "context_window_id": ["a", "b", "c"],
            "raw_content": pa.array([b"x", b"\xff", b"z"], pa.binary()).view(pa.string()),
        }
    ),
    HERE / "bad-text.parquet",
)
pq.write_table(
    pa.table(
        {
            "context_window_id": ["a", "b", "c"],
            "far": pa.array([0, 2**63 - 2, 0], pa.int64()).cast(pa.timestamp("us")),
        }
    ),
    HERE / "bad-time.parquet",
)
pq.write_table(
    pa.table(
        {
            "context_window_id": pa.array([D("12345678901234567890123")] * 3, pa.decimal128(38, 0)),
            "user_id": pa.array([D("76561198000000001")] * 3, pa.decimal128(38, 0)),
            "agent_id": pa.array([D("2.30")] * 3, pa.decimal128(10, 2)),
            "signal_score": pa.array([1.0, float("nan"), float("inf")]),
            "emotional_tone": pa.array([D("1.00000000000")] * 3, pa.decimal128(20, 11)),
            "escalate_flag": pa.array([True, False, None]),
            "timestamp": pa.array([1736935200] * 3, pa.int64()),
            "raw_content": pa.array([b"x", b"\xc3\xa9", b"z"], pa.binary()),
        }
    ),
    HERE / "fields.parquet",
)

DUCKDB = """
      select 'a' as context_window_id, true as bool, -8::tinyint as tinyint, 9007199254740993::bigint as bigint,
        18446744073709551615::ubigint as ubigint, 12345678901234567890123456789012345678::decimal(38,0) as huge,
        0.1::float as float, 0.1::double as double, 'NaN'::double as nan, 19.99::decimal(10,2) as decimal,
        'é' as varchar, '\\xFF\\xFE'::blob as blob, date '2026-01-02' as date, time '10:00:00.5' as time_of_day,
        timestamp '2026-01-02 03:04:05.678901' as stamp,
        timestamptz '2026-01-02 03:04:05.678901+00' as stamptz, interval '1 month 2 days 3 seconds' as interval,
        uuid '11111111-2222-3333-4444-555555555555' as uuid, '{"n": 12345678901234567890}'::json as json,
        [0.35::decimal(5,2)] as list, {'a': 1, 'b': 'x'} as struct, map {'k': 1} as map,
        'low'::enum('low', 'high') as enum,
        -16::smallint as smallint, -32::integer as integer, 255::utinyint as utinyint,
        65535::usmallint as usmallint, 4294967295::uinteger as uinteger, 7::hugeint as hugeint,
        7::uhugeint as uhugeint, 0.35::decimal(4,2) as small_decimal, -19.9900::decimal(18,4) as medium_decimal,
        '2026-01-02 03:04:05'::timestamp_s as stamp_s, '2026-01-02 03:04:05.678'::timestamp_ms as stamp_ms,
        '2026-01-02 03:04:05.678901234'::timestamp_ns as stamp_ns, '10:00:00.5+02'::timetz as timetz,
        '10:00:00.5'::time_ns as time_ns, '101'::bit as bit, [1, 2]::integer[2] as array,
        '12345678901234567890123'::bignum as bignum, 7::variant as variant, union_value(num := 7) as either,
        [date '2026-01-02'] as dates, {'t': timestamp '2026-01-02 03:04:05.678901', 'd': 0.35::decimal(4,2)} as nested,
        map {7: [1, 2]} as lists, '2026-01-02 03:04:05.678901234+00'::timestamptz_ns as stamptz_ns,
        row(1, 'x') as tuple, 'POINT(1 2)'::geometry as geometry, get_type(1) as type, null as nothing
    """
# Its JSON writes NaN, which is no JSON.
for path, form, wanted in [
    (HERE / "duckdb.parquet", "parquet", "*"),
    (TEXT / "duckdb.csv", "csv", "*"),
    (TEXT / "duckdb.jsonl", "json", "* exclude (nan)"),
]:
    duckdb.sql(f"copy (select {wanted} from ({DUCKDB})) to '{path}' (format {form})")
columns = [str(kind).split("(")[0] for kind in duckdb.sql(DUCKDB).types]
# Names of the catalog, and how a column of them prints.
PRINTED = {"NULL": '"NULL"', "LIST": "DATE[]", "ARRAY": "INTEGER[2]"}
kinds = [name for (name,) in duckdb.sql("select distinct logical_type from duckdb_types()").fetchall()]
expect_all("DuckDB", [kind for kind in kinds if PRINTED.get(kind, kind) not in columns], set())

POLARS = pl.DataFrame(
    {
        "context_window_id": ["a"],
        "bool": [True],
        "int64": [9007199254740993],
        "uint64": pl.Series([18446744073709551615], dtype=pl.UInt64),
        "float32": pl.Series([0.1], dtype=pl.Float32),
        "nan": [float("nan")],
        "decimal": pl.Series([D("19.99")], dtype=pl.Decimal(38, 2)),
        "string": ["é"],
        "binary": [b"\xff\xfe"],
        "date": [NOON.date()],
        "time": [TIME],
        "datetime": [NOON],
        "duration": [dt.timedelta(seconds=1)],
        "list": [[1, 2]],
        "struct": [{"a": 1, "b": "x"}],
        "categorical": pl.Series(["low"], dtype=pl.Categorical),
        "int8": pl.Series([-8], dtype=pl.Int8),
        "int16": pl.Series([-16], dtype=pl.Int16),
        "int32": pl.Series([-32], dtype=pl.Int32),
        "uint8": pl.Series([255], dtype=pl.UInt8),
        "uint16": pl.Series([65535], dtype=pl.UInt16),
        "uint32": pl.Series([4294967295], dtype=pl.UInt32),
        "float16": pl.Series([0.5], dtype=pl.Float16),
        "float64": [0.1],
        "enum": pl.Series(["low"], dtype=pl.Enum(["low", "high"])),
        "array": pl.Series([[1, 2]], dtype=pl.Array(pl.Int8, 2)),
        "stamp_ms": pl.Series([NOON], dtype=pl.Datetime("ms")),
        "stamp_zone": pl.Series([NOON], dtype=pl.Datetime("ns", "UTC")),
        "null": pl.Series([None], dtype=pl.Null),
        "structs": [[{"a": NOON}]],
        "int128": pl.Series([-7], dtype=pl.Int128),
        "uint128": pl.Series([7], dtype=pl.UInt128),
        "map": pl.Series([[{"key": "k", "value": 1}]], dtype=pl.datatypes.Map(pl.String, pl.Int8)),
        "extension": pl.Series([1], dtype=pl.datatypes.Extension("name", pl.Int8)),
    }
).rename({"time": "time_of_day"})
POLARS.write_parquet(HERE / "polars.parquet")
# JSON of bytes is not implemented.
for suffix, frame in [("csv", POLARS), ("jsonl", POLARS.drop("binary"))]:
    write = {"csv": pl.DataFrame.write_csv, "jsonl": pl.DataFrame.write_ndjson}[suffix]
    names = writable(frame.columns, lambda name: write(frame.select(name), HERE / "refused"))
    write(frame.select(names), TEXT / f"polars.{suffix}")
# Object holds what is no data, and the others are families.
NO_TYPES = {"Object", "DataType", "BaseExtension", "FloatType", "IntegerType", "TemporalType", "Unknown"}
classes = [c for c in vars(pl.datatypes).values() if isinstance(c, type) and issubclass(c, pl.DataType)]
expect_all("Polars", {c.__name__ for c in classes} - NO_TYPES, {type(kind).__name__ for kind in POLARS.dtypes})
OBJECT = pl.DataFrame({"c": pl.Series([object()], dtype=pl.Object)})
assert is_refused(lambda: OBJECT.write_parquet(HERE / "refused")), "it has a column now"

