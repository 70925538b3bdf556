"""json_suite.py PORT STREAM SUITE: puts each file of the JSON parsing test suite, wrapped in an object, among good neighbours.

Each is put as a record of its own between two good ones, and as a line between two good lines of one record. Prints which ids
must become rows (of the neighbours, and of the files that are JSON), and which must not (of those that are not); files that a
parser is free with are in neither, but under "free" with what docs/decoding.md says of them.
"""

import json
import sys

import kinesis

port, stream, suite = sys.argv[1:]
connection = kinesis.client(port)
must, free, refused, records = [], {}, [], []
ids = iter(range(1, 10_000_000))


def neighbour():
    must.append(next(ids))
    return b'{"id":%d,"value":"good"}' % must[-1]


def wrapped(name, data):
    """An object around the file's text, under a key that nobody declares."""
    number = next(ids)
    {"y": must, "n": refused}.get(name[0], []).append(number)
    if name[0] == "i":
        free[number] = expected(name, data)
    return b'{"id":%d,"case":%s}' % (number, data)


def expected(name, data):
    """What the page says: no UTF-8, and a byte order mark or UTF-16 in the middle, is none; 500 arrays are too deep; the
    rest is JSON, because nobody reads the value."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return "invalid_utf8"
    if "\ufeff" in text or "\0" in text:
        return "not_json"
    return "too_deep" if name == "i_structure_500_nested_arrays" else "row"


with open(suite, encoding="ascii") as lines:
    cases = [json.loads(line) for line in lines]
for case in cases:
    data = (case.get("repeat", "") * case.get("times", 0) + case["bytes"]).encode("latin-1")
    records += [neighbour(), wrapped(case["name"], data), neighbour()]
    records.append(b"\n".join([neighbour(), wrapped(case["name"], data), neighbour()]))
for start in range(0, len(records), 100):
    group = [{"Data": data, "PartitionKey": str(start + place)} for place, data in enumerate(records[start:start + 100])]
    answer = connection.put_records(StreamName=stream, Records=group)
    if answer["FailedRecordCount"]:
        sys.exit(f"records failed: {answer}")
kinds = {kind: sum(case["name"].startswith(kind) for case in cases) for kind in "yni"}
json.dump({"cases": kinds, "records": len(records), "rows": must, "refused": refused, "free": free}, sys.stdout)
