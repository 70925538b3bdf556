"""put_wrapped.py PORT STREAM: puts stdin's lines, an order each, in every wrapper; prints what it put in which.

The orders are dealt out in turn. Beside them go a probe of CloudWatch Logs, a gzip stream that is cut off, a zstd frame
with a byte changed, and an envelope of which one message is broken.
"""

import gzip
import json
import sys

import kinesis
import pyarrow

WAYS = 6
BROKEN_MESSAGE = '{"OrderID": 7, '


def zstd(payload):
    return pyarrow.Codec("zstd").compress(payload, asbytes=True)


def envelope(messages, message_type="DATA_MESSAGE"):
    """What a subscription filter sends, as AWS documents it."""
    return json.dumps({
        "messageType": message_type,
        "owner": "123456789123",
        "logGroup": "/orders/placed",
        "logStream": "host-1 é",
        "subscriptionFilters": ["to-kinesis"],
        "logEvents": [{"id": str(31953106606966983378809025079804211143289615424298221568 + number),
                       "timestamp": 1432826855000 + number, "message": message}
                      for number, message in enumerate(messages)],
    }).encode()


def halves(lines):
    middle = len(lines) // 2
    return ["".join(line + "\n" for line in half).encode() for half in (lines[:middle], lines[middle:])]


port, stream = sys.argv[1], sys.argv[2]
lines = sys.stdin.read().splitlines()
hands = [lines[way::WAYS] for way in range(WAYS)]
if not all(len(hand) >= 2 for hand in hands):
    sys.exit(f"{2 * WAYS} lines at least are to be put, and stdin holds {len(lines)}")
damaged_zstd = bytearray(zstd(b"an order " * 99))
damaged_zstd[-1] ^= 0xFF
damaged_zstd[6] ^= 0xFF
records = {
    "gzip": b"".join(map(gzip.compress, halves(hands[0]))),
    "zstd": b"".join(map(zstd, halves(hands[1]))),
    "zstd in gzip": gzip.compress(zstd(b"".join(halves(hands[2])))),
    "an envelope in gzip": gzip.compress(envelope(hands[3])),
    "an envelope each in gzip": gzip.compress(b"".join(envelope([line]) for line in hands[4])),
    "an envelope with a broken message": envelope([hands[5][0], BROKEN_MESSAGE, *hands[5][1:]]),
    "a probe": gzip.compress(envelope(["CWL CONTROL MESSAGE: Checking health of destination."], "CONTROL_MESSAGE")),
    "half of gzip": gzip.compress(b"".join(halves(lines)))[:-9],
    "damaged zstd": bytes(damaged_zstd),
}
connection = kinesis.client(port)
answer = connection.put_records(
    StreamName=stream, Records=[{"Data": data, "PartitionKey": name} for name, data in records.items()])
if answer["FailedRecordCount"]:
    sys.exit(f"records failed: {answer}")
json.dump({
    "records": len(records),
    "orders": len(lines),
    "refused": {
        "not_json": BROKEN_MESSAGE.encode().hex(),
        "damaged_gzip": records["half of gzip"].hex(),
        "damaged_zstd": records["damaged zstd"].hex(),
    },
}, sys.stdout)
