"""aggregates.py: aggregated records by aws_kinesis_agg, which shares no code with Millstream.

aggregates.py make FOLDER: writes NAME.bin, the aggregate, and NAME.json, what is in it, and prints the names.
aggregates.py take-apart: takes the aggregates of stdin apart (a JSON list of base64) and prints the list of each one's
records. A payload that the library gives back whole is a record with "aggregated": false.
"""

import base64
import hashlib
import json
import pathlib
import sys

from aws_kinesis_agg.aggregator import AggRecord
from aws_kinesis_agg import DIGEST_SIZE, MAGIC, messages_pb2
from aws_kinesis_agg.deaggregator import deaggregate_records

import plain

LARGEST_HASH_KEY = str(2**128 - 1)

# Each a list of (partition key, payload, explicit hash key).
CONTENTS = {
    "one_record": [("42", b'{"OrderID": 42}', None)],
    "one_key": [("42", b"first", None), ("42", b"second", None), ("42", b"third", None)],
    "unicode": [("Zürich", "Müller".encode(), None), ("東京", b"\x00\xff\xfe", None), ("🍜", b"x", None),
                ("東京", b"y", None)],
    "explicit_hash_keys": [
        ("a", b"lowest", "0"), ("a", b"highest", LARGEST_HASH_KEY), ("b", b"by its partition key", None),
        ("b", b"lowest again", "0"), ("c", b"", "170141183460469231731687303715884105728"),
    ],
    "empty_payloads": [("a", b"", None), ("b", b"", None), ("a", b"", None)],
    "many": [(f"key {number % 140}", f"payload {number}".encode() * (number % 5), None) for number in range(150)],
    "magic_inside": [("a", MAGIC + b"looks like an aggregate", None), ("b", MAGIC, None)],
    "tags": [("a", b"tagged", None), ("a", b"twice", "7")],
}


def hash_key(partition_key, explicit):
    return explicit or str(int.from_bytes(hashlib.md5(partition_key.encode()).digest(), "big"))


def described(partition_key, payload, explicit):
    return {
        "partition_key": partition_key, "explicit_hash_key": explicit, "hash_key": hash_key(partition_key, explicit),
        "payload_base64": base64.b64encode(payload).decode(),
    }


def packed(name, records):
    aggregate = AggRecord()
    for partition_key, payload, explicit in records:
        assert aggregate.add_user_record(partition_key, payload, explicit), f"{name} is full"
    if name == "tags":
        for number, record in enumerate(aggregate.agg_record.records):
            for tag in range(number + 1):
                record.tags.add(key=f"tag {tag}", value="ü" * tag)
    return aggregate.get_contents()[2]


def make(folder):
    for name, records in CONTENTS.items():
        (folder / f"{name}.bin").write_bytes(packed(name, records))
        document = {"records": [described(*record) for record in records]}
        text = json.dumps(document, ensure_ascii=False, indent=1) + "\n"
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
    return sorted(CONTENTS)


def taken_apart(payload):
    """The payload's records as the library gives them.

    The library gives a record without an explicit hash key the first of the table, where there is a table: whether a
    record has one is read from its own messages.
    """
    found = deaggregated(payload)
    if not any(user.get("aggregated") for user in found):
        return [{"aggregated": False, "payload_base64": base64.b64encode(payload).decode()}]
    message = messages_pb2.AggregatedRecord()
    message.ParseFromString(payload[len(MAGIC):-DIGEST_SIZE])
    records = []
    for user, inner in zip(found, message.records, strict=True):
        explicit = user["explicitHashKey"] if inner.HasField("explicit_hash_key_index") else None
        record = described(user["partitionKey"], base64.b64decode(user["data"]), explicit)
        records.append({"aggregated": True, "sub_sequence": user["subSequenceNumber"], **record})
    return records


def deaggregated(payload):
    """The library takes what Lambda would give it: payloads as base64."""
    kinesis = {"kinesisSchemaVersion": "1.0", "sequenceNumber": "1", "partitionKey": "-",
               "approximateArrivalTimestamp": 0, "data": base64.b64encode(payload)}
    return [user["kinesis"] for user in deaggregate_records({"kinesis": kinesis})]


if __name__ == "__main__":
    if sys.argv[1:2] == ["make"] and len(sys.argv) == 3:
        plain.answer(make(pathlib.Path(sys.argv[2])))
    elif sys.argv[1:] == ["take-apart"]:
        plain.answer([taken_apart(base64.b64decode(payload)) for payload in json.load(sys.stdin)])
    else:
        sys.exit("usage: aggregates.py make FOLDER | aggregates.py take-apart")
