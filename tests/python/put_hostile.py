"""put_hostile.py PORT STREAM KIND: puts records that are small and become much, with good neighbours between them.

Prints how many neighbours there are, and how many records in all. Each kind is a list of payloads; after each comes a
neighbour, an event that is a row.
"""

import gzip
import hashlib
import json
import sys

import kinesis
import pyarrow
from aws_kinesis_agg.deaggregator import deaggregate_records  # noqa: F401: it makes messages_pb2 importable
from aws_kinesis_agg import MAGIC, messages_pb2

MIB = 1 << 20


def zstd(payload):
    return pyarrow.Codec("zstd").compress(payload, asbytes=True)


def filled(item, size, ends=(b"[", b"]")):
    """As many of an item, commas between, as a payload of this size takes."""
    count = (size - 2) // (len(item) + 1)
    return ends[0] + b",".join([item] * count) + ends[1]


def aggregates(payload, size, count):
    """Aggregates of about this size whose parts all hold the payload."""
    parts = (size - 100) // (len(payload) + 6)
    message = messages_pb2.AggregatedRecord(partition_key_table=["key"])
    for _ in range(parts):
        message.records.add(partition_key_index=0, data=payload)
    body = message.SerializeToString()
    return [MAGIC + body + hashlib.md5(body).digest()] * count


def envelope(messages):
    return json.dumps({
        "messageType": "DATA_MESSAGE", "owner": "123456789123", "logGroup": "g", "logStream": "s",
        "subscriptionFilters": ["f"],
        "logEvents": [{"id": str(number), "timestamp": 1432826855000, "message": message}
                      for number, message in enumerate(messages)],
    }, separators=(",", ":")).encode()


def sized(payload):
    """No record of a default stream is larger."""
    assert len(payload) < MIB, len(payload)
    return payload


def structs():
    return [b'{"l":' + filled(b"{}", MIB - 100) + b"}"] * 12


def small_events():
    return [b"{}" * (MIB // 2 - 100)] * 12


def zstd_small_events():
    return [zstd(b"{}" * 15_700_000)] * 3 + [zstd(b"{}" * 300_000)] * 20


def zstd_tiny():
    return [zstd(b"{}" * 60_000)] * 200


def zstd_blanks():
    return aggregates(zstd(b" " * (64 * MIB)), 117_000, 2) + aggregates(zstd(b" " * 60_000), 117_000, 2)


def gzip_real():
    """Lines that a producer might write, compressed as far as a record goes: healthy, every one."""
    def lines(number):
        return b"".join(json.dumps({"id": line, "kind": "healthy", "note": f"order {number}.{line} was delivered " * 3})
                        .encode() + b"\n" for line in range(70_000))
    return [sized(gzip.compress(lines(number))) for number in range(6)]


def wide_events():
    return [b'{"id":1}\n' * 110_000] * 6


def long_texts():
    note = "\\u00e9\\n\\\"" * 5_000
    return [("\n".join(f'{{"id":{line},"note":"{note}"}}' for line in range(14))).encode()] * 24


def deep():
    return [b"[" * (MIB - 100)] * 4 + [b'{"a":' * 200_000] * 4 + [(b'{"x":' + b"[" * 70 + b"]" * 70 + b"}") * 7_000] * 4


def envelopes():
    return [sized(envelope(["{}"] * 18_800))] * 4 + [gzip.compress(envelope(['{"id":1}'] * 90_000))] * 4


def many_parts():
    return aggregates(b"{}", MIB - 1000, 10)


def empty_parts():
    return aggregates(b"", MIB - 1000, 10)


def rejects():
    """Refused one and all, each with as long a sentence as there is."""
    event = json.dumps({"id": "x" * 400}).encode()
    return [b"\n".join([event] * 2_000)] * 12 + [filled(b"1", MIB - 100)] * 6 + [b"1\n" * 500_000] * 6


def failed_checks():
    return [b'{"id":-1}\n' * 100_000] * 6


def quarantined_texts():
    """Compressed texts of which most is refused."""
    return [zstd(b"".join(b'{"id":"%d"}\n' % number for number in range(0, 4 * MIB, 7)))] * 4


def repeated_key():
    return [filled(b'{"id":7,"kind":"same"}', MIB - 100)] * 12


def unnested():
    """Each a row an item, 100 times its two bytes."""
    return [b'{"n":' + filled(b"%d" % (number % 10), 400_000) + b"}" for number in range(12)]


def backlog():
    """A full answer for every shard of many."""
    note = "a sentence of forty letters, more or less" * 1_400
    lines = [json.dumps({"id": line, "kind": "healthy", "note": note}).encode() for line in range(17)]
    return [sized(b"\n".join(lines))] * 160


def good():
    return [b'{"id":1}']


def put(connection, stream, payloads):
    """Two to a call, over all shards; no call is larger than what others would put."""
    for number in range(0, len(payloads), 2):
        records = [{"Data": payload, "PartitionKey": f"key {number + place}"}
                   for place, payload in enumerate(payloads[number:number + 2])]
        answer = connection.put_records(StreamName=stream, Records=records)
        assert answer["FailedRecordCount"] == 0, answer


port, stream, kind = sys.argv[1:]
hostile = globals()[kind]()
payloads = [payload for number, one in enumerate(hostile)
            for payload in (one, json.dumps({"id": 1_000_000 + number, "kind": "neighbour"}).encode())]
put(kinesis.client(port), stream, payloads)
json.dump({"neighbours": len(hostile), "records": len(payloads)}, sys.stdout)
