"""decode_cases.py: records of every kind, and what decoder.py makes of them, against what Millstream has made.

pipeline FOLDER                      writes a pipeline with fields of every type
put PORT STREAM SENT SEED SIZE       puts the records, and remembers each with its sequence number in the file SENT
compare SENT DATA                    reads what was staged and refused in DATA with pyarrow, and compares

The records are the matrix (each value of a list for each field) and, from a seed, SIZE values near the edges of their
types and SIZE payloads that were changed in a few places.
"""

import base64
import collections
import json
import pathlib
import random
import struct
import sys

import decoder

SCALARS = {
    "flag": "boolean", "small": "smallint", "whole": "integer", "big": "bigint", "single": "real", "dual": "double",
    "money": "decimal(10,2)", "long": "decimal(38,0)", "fine": "decimal(38,18)", "part": "decimal(5,5)",
    "word": "string(9)", "letter": "string(1)", "day": "date", "wall": "timestamp", "instant": "timestamptz",
}
ZONES = {
    "utc": "UTC", "berlin": "Europe/Berlin", "york": "America/New_York", "howe": "Australia/Lord_Howe",
    "paulo": "America/Sao_Paulo", "apia": "Pacific/Apia", "kathmandu": "Asia/Kathmandu", "dublin": "Europe/Dublin",
}
FIELDS = [
    {"name": "must", "type": "integer", "required": True},
    *({"name": name, "type": declared} for name, declared in SCALARS.items()),
    *({"name": name, "type": "timestamptz", "assume_zone": zone} for name, zone in ZONES.items()),
    {"name": "wholes", "type": "list<integer>"},
    {"name": "words", "type": "list<string(5)>"},
    {"name": "instants", "type": "list<timestamptz>", "assume_zone": "Europe/Berlin"},
    {"name": "grid", "type": "list<list<decimal(5,2)>>"},
    {"name": "thing", "type": "struct", "fields": [
        {"name": "a", "type": "integer", "required": True},
        {"name": "b", "type": "string(5)"},
        {"name": "at", "path": "deep.at", "type": "timestamptz", "assume_zone": "UTC"},
    ]},
    {"name": "things", "type": "list<struct>", "fields": [
        {"name": "key", "path": "x.key", "type": "string(3)", "required": True},
        {"name": "size", "type": "double"},
    ]},
    {"name": "far", "path": "Way.To.far", "type": "integer"},
    {"name": "near", "path": "Way.near", "type": "date"},
    {"name": "near_text", "path": "Way.near", "type": "string(10)"},
]

SQL = "-- One row is an event.\nselect _sequence as sequence, _index as place, {columns} from events\n"


def toml(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + " }"
    return json.dumps(value)


def pipeline(folder):
    folder = pathlib.Path(folder)
    folder.mkdir()
    fields = "".join("[[event.field]]\n" + "".join(f"{key} = {toml(value)}\n" for key, value in field.items())
                     for field in FIELDS)
    (folder / "pipeline.toml").write_text(
        '[pipeline]\nname = "every_type"\n[source]\nstream = "every-type"\nshards = 2\n'
        f'{fields}[[table]]\nname = "fact_values"\nkind = "fact"\n[target.local]\n')
    (folder / "fact_values.sql").write_text(SQL.format(columns=", ".join(field["name"] for field in FIELDS)))


# --- The records.

NUMBERS = """0 -0 1 -1 2 9 10 255 32767 32768 -32768 -32769 65536 2147483647 2147483648 -2147483648 -2147483649
9223372036854775807 9223372036854775808 -9223372036854775808 -9223372036854775809 1.0 1.5 -1.5 0.1 0.10 12.34 12.345 12.3400
1e0 1e3 1E3 1e+3 30e-1 35e-1 1e-7 1e-400 1e400 -1e400 0e999 0.0e-999 1e38 1e37 99999999.99 99999999.995 100000000 0.99999 0.999999
99999999999999999999999999999999999999 100000000000000000000000000000000000000 123456789012345678901234567890.5
0.100000000000000005 0.1000000000000000055 3.4028235e38 3.4028236e38 3.5e38 1.401298464324817e-45 7e-46 1.7976931348623157e308
1.7976931348623159e308 2.2250738585072014e-308 5e-324 2e-324 16777217 9007199254740993 0.30000000000000004 1714566896 1714566896.5
1714566896.1234567 -1714566896.1234567 1.7e9 1714566896123 1714566896123.4567 1714566896123456 99999999999 99999999999.9999999
100000000000 -99999999999 -100000000000 253402300799999 253402300800000 -62135596800000 -62135596800001 253402300799.5 1e11 1e12
20240501 0.0000001 1e-20 1e999999999999999999 123456789.123456789e-9""".split()

TEXTS = ["", " ", "\t", "\f", "\v", "a", "é", "éé", "😀", "abcde", "abcdef", "123456789", "1234567890", " a ", "NaN", "Infinity", "+1",
         "007", "1.", ".5", "1,000", "1_000", "0x1F", "1 2", " 42 ", "\f42\f", "\u00a042", "true", "True", " FALSE ", "yes", "T", "null", "[]", "{}"]

TIMES = """2024-05-01 2023-02-29 2024-02-29 1900-02-29 2000-02-29 0000-12-31 0001-01-01 9999-12-31 10000-01-01 -0044-03-15 +2024-01-01 2024-13-01
2024-00-10 2024-04-31 2024-5-1 24-05-01 20240501 01.05.2024 05/01/2024 2024-05-01Z 2024-05-01T 2024-05-01T12 2024-05-01T12Z 2024-05-01T12:34
2024-05-01T12:34Z 2024-05-01T12:34:56 2024-05-01_12:34:56 2024-05-01T12:34:56Z 2024-05-01t12:34:56z 2024-05-01T12:34:56.7 2024-05-01T12:34:56.7890009
2024-05-01T12:34:56.Z 2024-05-01T12:34:56,5Z 2024-05-01T12:34.5Z 2024-05-01T12:34:56+02 2024-05-01T12:34:56+0200 2024-05-01T12:34:56+02:00
2024-05-01T12:34:56-05:30 2024-05-01T12:34:56+24:00 2024-05-01T12:34:56+23:60 2024-05-01T12:34:56+2:00 2024-05-01T12:34:56+02:0 2024-05-01T12:34:56*02:00
2024-05-01T24:00:00 2024-05-01T12:60:00Z 2024-06-30T23:59:60Z 2024-02-30T00:00:00 2024-02-30T00:00:00Z 0001-01-01T00:00:00+00:01
9999-12-31T23:59:59-00:01 9999-12-31T23:59:59.999999 0001-01-01T00:00:00 now yesterday T12:00:00Z 2024-03-31T01:59:59.999999
2024-03-31T02:00:00 2024-03-31T02:59:59 2024-03-31T03:00:00 2024-10-27T01:59:59 2024-10-27T02:00:00 2024-10-27T02:59:59 2024-10-27T03:00:00
2026-03-08T02:30:00 2026-11-01T01:30:00 2024-10-06T02:15:00 2024-04-07T01:45:00 2018-11-04 2018-11-04T00:30:00 2011-12-30 2011-12-30T12:00:00
2011-12-31 1986-01-01 1986-01-01T00:05:00 1850-01-01T00:00:00 1916-04-30T23:30:00 1945-06-01T12:00:00 1970-01-01 2100-07-01T12:00:00 2100-03-28T02:30:00
2500-10-31T02:30:00 9998-07-01T12:00:00""".split()
TIMES += [time.replace("T", " ", 1) for time in TIMES if "T" in time[1:]]
TIMES += [" 2024-05-01 ", "\t2024-05-01T12:34:56Z\n", "2024-05-01  12:34:56", "2024-05-01 12:34:56 +02:00", "2024-05-01 12:34:56 UTC"]

OTHERS = ["null", "true", "false", "[]", "[1]", '["a"]', "[null]", '[" "]', "[[]]", "[[1],null]", "[[1.005]]", "[1,2,3.0]",
          "{}", '{"a":1}', '{"a":null}', '{"b":"x"}', '{"a":1,"b":"toolong"}', '{"a":1,"deep":{"at":"2024-05-01"}}',
          '{"a":1,"deep":null}', '{"a":1,"deep":5}', '{"a":1,"a":1}', '[{"x":{"key":"k"},"size":1e309}]',
          '[{"x":{"key":"k"},"size":0.1},null,{"x":{"key":""}}]', '[{"x":{}}]', '[{"x":null}]', '[{}]',
          '"\\u0000"', '"\\ud83d\\ude00"', '"\\ud83d"', '"\\ude00x"', '"a\\u0000b"', '"4\\u0032"', '"\\/\\b\\n"',
          '["2024-10-27 02:30","2024-03-31 02:30"]', '["2024-10-27 02:30",1714566896.5,null,""]']

# Beside the event itself 63 more may be open.
DEEP = ["[" * 63 + "]" * 63, "[" * 64 + "]" * 64, "[" * 64, '{"a":' * 63 + "1" + "}" * 63, '{"a":' * 64 + "1" + "}" * 64]

NO_JSON = ["NaN", "Infinity", "-Infinity", "+1", "01", "-01", "1.", ".5", "1e", "1e+", "0x1F", "-", "'a'", "True", "nul", "tru", "undefined", "",
           '"a\tb"', '"a\nb"', '"\\x"', '"\\u12"', '"\\ud83d', "[1,]", "[,1]", "{,}", "{a:1}", "[1 2]", "/**/1", "1//", "\ufeff1", "\u00a01"]


def values():
    texts = [json.dumps(text, ensure_ascii=False) for text in TEXTS]
    return (NUMBERS + texts + [json.dumps(number) for number in NUMBERS] + [json.dumps(time) for time in TIMES] + OTHERS
            + DEEP + NO_JSON)


def placed(field, value, key=None):
    """An event with this value for a field."""
    path = key or field.get("path", field["name"]).split(".")
    event = value
    for part in reversed(path):
        event = "{" + json.dumps(part) + ":" + event + "}"
    return '{"must":1,' + event[1:]


def matrix():
    every = values()
    return [placed(field, value).encode() for field in FIELDS[1:] for value in every]


def edge(dice, field):
    """A value near an edge of a field's type, as JSON."""
    declared = field["type"]
    kind = dice.randrange(12)
    if kind == 0:
        return dice.choice(values())
    if declared.startswith("list<") and kind < 9:
        return "[" + ",".join(edge(dice, {**field, "type": declared[5:-1]}) for _ in range(dice.randrange(4))) + "]"
    if declared == "struct" and kind < 9:
        members = [placed(member, edge(dice, member))[len('{"must":1,'):-1] for member in field["fields"]
                   if dice.randrange(5)]
        return "{" + ",".join(dice.sample(members, len(members))) + "}"
    if declared.startswith(("date", "time")):
        return time(dice)
    if declared.startswith("string"):
        return json.dumps("".join(dice.choice("aé€😀\t \"\\\0") for _ in range(dice.randrange(12))),
                          ensure_ascii=dice.random() < 0.5)
    if declared == "boolean":
        return dice.choice(["true", "false", "1", "0", '"tRUE"', '" 0 "', "2", '"2"'])
    number = figure(dice)
    return json.dumps(dice.choice(["", " "]) + number) if kind < 4 else number


def figure(dice):
    """A number: of random digits, at a power of two or ten, or exactly between two floats."""
    kind = dice.randrange(6)
    if kind == 0:
        number = str((1 << dice.choice([15, 31, 63])) + dice.randint(-2, 2))
    elif kind == 1:
        number = str(10 ** dice.choice([2, 5, 8, 10, 20, 38]) + dice.randint(-1, 1))
    elif kind == 2:
        bits = struct.unpack("<f", struct.pack("<I", dice.getrandbits(31)))[0]
        number = repr(bits) if bits == bits and abs(bits) != float("inf") else "0"
    elif kind == 3:
        bits = struct.unpack("<d", struct.pack("<Q", dice.getrandbits(63)))[0]
        number = repr(bits) if bits == bits and abs(bits) != float("inf") else "0"
    elif kind == 4:
        # Halfway between two floats of 24 or 53 bits, and a hair beside it.
        bits = dice.choice([25, 54])
        odd = (1 << (bits - 1)) + 2 * dice.getrandbits(bits - 3) + 1
        number = f"{odd * 2 ** dice.randrange(4)}{dice.choice(['', '.0000000000000000000001', '.0'])}"
    else:
        number = str(dice.getrandbits(dice.choice([4, 30, 60, 120])))
        number += "." + "".join(dice.choice("0000123459") for _ in range(dice.randint(1, 20)))
    if dice.randrange(4) == 0:
        number = number.lower().split("e")[0] + dice.choice(["e", "E"]) + str(dice.randint(-40, 40))
    return dice.choice(["", "", "-"]) + number


# Hours around changes of the clocks, forward and back, in the zones above.
CHANGES = [f"{day}T{hour}" for day, hours in {
    "2024-03-31": "01 02 03", "2024-10-27": "01 02 03", "2026-03-08": "01 02 03", "2026-11-01": "00 01 02",
    "2024-10-06": "01 02 03", "2024-04-07": "01 02", "2018-11-04": "00 01", "2019-02-16": "22 23", "2011-12-30": "00 12 23",
    "1985-12-31": "23", "1986-01-01": "00", "1916-04-30": "22 23", "1945-05-24": "01 02 03", "2100-03-28": "02", "2100-10-31": "02",
}.items() for hour in hours.split()]


def time(dice):
    """A time in some form, often at a change of the clocks."""
    if dice.randrange(5) == 0:
        number = str(dice.choice([10 ** 9, 10 ** 11, 10 ** 12, 253402300800, 1714566896]) + dice.randint(-10 ** 6, 10 ** 6))
        return number + dice.choice(["", ".5", ".123456789", "e0", "e3", "000", "000000"])
    if dice.randrange(3) == 0:
        text = dice.choice(CHANGES) + f":{dice.choice([0, 1, 15, 29, 30, 31, 45, 59]):02d}" + dice.choice(["", ":00", ":59.999999"])
        return json.dumps(text + dice.choice(["", "", "", "Z", "+01"]))
    year = dice.choice([1, 1850, 1893, 1916, 1918, 1945, 1949, 1986, 2011, 2018, 2019, 2024, 2026, 2037, 2099, 2100, 2399, 9999,
                        dice.randint(1, 9999)])
    month, number = dice.choice([(3, dice.randint(1, 31)), (4, dice.randint(1, 30)), (9, dice.randint(20, 30)),
                                 (10, dice.randint(1, 31)), (11, dice.randint(1, 8)), (12, dice.randint(28, 32)), (1, 1),
                                 (2, dice.randint(1, 30)), (dice.randint(0, 13), dice.randint(1, 28))])
    text = f"{year:04d}-{month:02d}-{number:02d}"
    if dice.randrange(6):
        text += dice.choice("TTTt  _") + f"{dice.choice([0, 1, 2, 2, 3, 12, 23, 24]):02d}:{dice.randint(0, 60):02d}"
        if dice.randrange(4):
            text += f":{dice.choice([0, 30, 59, 60]):02d}"
            text += dice.choice(["", "", ".5", ".999999", ".1234567", "."])
        text += dice.choice(["", "", "", "Z", "+02", "-0530", "+14:00", "+23:59", "-24:00", " Z"])
    return json.dumps(text)


def event(dice):
    """A whole event with some fields, of which a few values may not fit."""
    chosen = [field for field in FIELDS[1:-3] if dice.randrange(4) == 0]
    members = ['"must":1'] * dice.choice([0, 2, *[1] * 30])
    for field in chosen:
        # Good values mostly: an event with many bad ones would always be refused for its first.
        value = edge(dice, field) if dice.randrange(15) == 0 else good(dice, field)
        members.append(json.dumps(field["name"]) + ":" + value)
    if dice.randrange(3) == 0:
        members.append('"Way":{"To":{"far":7},"near":"2024-05-01","x":[{}]}')
    if dice.randrange(3) == 0:
        members.append('"unknown":' + dice.choice(['{"a":[1,{"b":"\\ud800"}]}', '"}{"', "1e999", "[[[]]]", '"é😀"']))
    return "{" + ",".join(dice.sample(members, len(members))) + "}"


def good(dice, field):
    goods = {"boolean": "true", "date": '"2024-05-01"', "struct": "null"}
    declared = field["type"]
    if declared.startswith("list<"):
        return "[" + ",".join([good(dice, {**field, "type": declared[5:-1]})] * dice.randrange(3)) + "]"
    if declared.startswith("time"):
        return json.dumps(f"2024-05-{dice.randint(1, 28):02d}T12:34:56.{dice.randrange(10 ** 6):06d}Z")
    if declared.startswith("decimal(5,5"):
        return "0.5"
    return goods.get(declared, str(dice.randrange(10)))


def payload(dice):
    """A record of one or several events, in one of the ways to write them."""
    events = [event(dice) for _ in range(dice.choice([1, 1, 2, 3, 4]))]
    way = dice.randrange(6)
    if way == 0:
        return "[" + dice.choice([",", " ,\n "]).join(events) + "]"
    if way == 1:
        return "\n".join(pretty(text) for text in events)
    if way == 2:
        return " ".join(events) + "\n"
    if way == 3:
        return "  " + "\r\n  ".join(events)
    return "\n".join(events)


def pretty(text):
    """Over several lines; what is no JSON for Python stays as it is."""
    try:
        return json.dumps(json.loads(text), indent=2)
    except ValueError:
        return text


PIECES = [b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\n", b"\r\n", b" ", b"\t", b"-", b"0", b"1", b"e", b".", b"\xff", b"\xc3", b"\x00",
          b"null", b"tru", b'{"must":1}', b"[" * 70, b"\\ud800", b"\xef\xbb\xbf", b"  \n", b"'", b"/", b'"must":2,', b"\x0c", b'"whole":',
          b"5\n", b"[]"]


def mutated(dice):
    data = bytearray(payload(dice).encode("utf-8", errors="surrogatepass"))
    for _ in range(dice.choice([0, 1, 1, 1, 2, 3, 5])):
        at = dice.randrange(len(data) + 1)
        kind = dice.randrange(6)
        if kind == 0:
            data[at:at + 1] = bytes([dice.randrange(256)])
        elif kind == 1:
            data[at:at] = dice.choice(PIECES)
        elif kind == 2:
            del data[at:at + dice.randint(1, 4)]
        elif kind == 3:
            data[at:at + 1] = dice.choice(PIECES)
        elif kind == 4:
            del data[at:]
        else:
            other = dice.randrange(len(data) + 1)
            data[at:at] = data[min(at, other):max(at, other)][:40]
    return bytes(data)


def records(seed, size):
    dice = random.Random(seed)
    yield from matrix()
    for _ in range(size):
        field = dice.choice(FIELDS[1:])
        yield placed(field, edge(dice, field)).encode("utf-8", errors="surrogatepass")
    for _ in range(size):
        # A stream takes no empty record.
        yield mutated(dice) or b" "


def put(port, stream, sent, seed, size):
    import kinesis
    connection = kinesis.client(port)
    everything = [data for data in records(int(seed), int(size)) if not data.startswith((b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd"))]
    with open(sent, "w", encoding="ascii") as out:
        for start in range(0, len(everything), 500):
            group = everything[start:start + 500]
            answer = connection.put_records(StreamName=stream, Records=[
                {"Data": data, "PartitionKey": str(start + place)} for place, data in enumerate(group)])
            if answer["FailedRecordCount"]:
                sys.exit(f"records failed: {answer}")
            for data, record in zip(group, answer["Records"]):
                out.write(f'{record["SequenceNumber"]} {base64.b64encode(data).decode()}\n')
    return {"records": len(everything)}


# --- The comparison.


def found(data):
    """What Millstream has made of each record: by sequence number and place, the row or the reason and the bytes."""
    import pyarrow.parquet as parquet
    outcomes = collections.defaultdict(dict)
    lake = pathlib.Path(data) / "lake"
    for path in (lake / "staged").rglob("*.parquet"):
        for row in parquet.ParquetFile(path).read().to_pylist():
            row = {name: plain(value) for name, value in row.items() if not name.startswith("_")}
            sequence, place = row.pop("sequence"), row.pop("place")
            put_once(outcomes[sequence], place, ("row", row))
    for path in (lake / "quarantine").rglob("*.parquet"):
        for row in parquet.ParquetFile(path).read().to_pylist():
            put_once(outcomes[row["sequence"]], row["event_index"], ("reject", row["reason"], row["payload"]))
    return outcomes


def put_once(outcomes, place, outcome):
    outcomes[place] = ("twice", outcomes[place], outcome) if place in outcomes else outcome


def plain(value):
    """As decoder.py has it."""
    import datetime
    if isinstance(value, datetime.datetime):
        return (value.replace(tzinfo=None) - decoder.EPOCH) // datetime.timedelta(microseconds=1)
    if isinstance(value, datetime.date):
        return (value - decoder.EPOCH.date()).days
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def same(expected, outcome):
    """Equal to the last bit: repr tells 0.0 from -0.0, 1.50 from 1.5, and True from 1."""
    return outcome is not None and ordered(expected) == ordered(outcome)


def ordered(value):
    if isinstance(value, dict):
        return sorted((name, ordered(item)) for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return [ordered(item) for item in value]
    return repr(value)


def compare(sent, data):
    outcomes = found(data)
    counts, mismatches = collections.Counter(), []
    with open(sent, encoding="ascii") as lines:
        for line in lines:
            sequence, text = line.split()
            payload_ = base64.b64decode(text)
            theirs = outcomes.pop(sequence, {})
            for place, expected in enumerate(decoder.decode(FIELDS, payload_)):
                counts["rows" if expected[0] == "row" else expected[1]] += 1
                outcome = theirs.pop(place, None)
                if not same(expected, outcome):
                    mismatches.append(f"{payload_!r} event {place}: expected {expected!r}, found {outcome!r}")
            mismatches.extend(f"{payload_!r} event {place}: found {outcome!r} beyond what is expected"
                              for place, outcome in theirs.items())
    mismatches.extend(f"of no record: {outcome!r}" for outcome in outcomes.values())
    return {"counts": counts, "mismatches": len(mismatches), "first": [text[:2000] for text in mismatches[:10]]}


if __name__ == "__main__":
    command = {"pipeline": pipeline, "put": put, "compare": compare}[sys.argv[1]]
    json.dump(command(*sys.argv[2:]) or {}, sys.stdout)
