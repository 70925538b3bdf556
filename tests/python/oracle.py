"""oracle.py RECORDS EXPECTED [DIMS]: the star schema that the records of food_delivery must become.

RECORDS is what read_stream.py writes. EXPECTED receives the rows of fact_orders and the inferred members; the counts
go to stdout. DIMS is the folder of dimension files; without it no dimension row is known. Nothing here is shared with
the program under test: the pipeline's rules are written down a second time, in plain Python.
"""

import base64
import csv
import datetime
import decimal
import json
import pathlib
import re
import sys

import aggregates

STATUSES = {status.lower(): status for status in ["Placed", "Preparing", "Processing", "On the way", "Delivered", "Cancelled"]}

DIMENSIONS = {
    "dim_customers": ("customer_id", "dimCustomers.csv", "CustomerID"),
    "dim_restaurants": ("restaurant_id", "dimRestaurants.csv", "RestaurantID"),
    "dim_delivery_riders": ("rider_id", "dimDeliveryRiders.csv", "RiderID"),
}

INSTANT = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})[T ](\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?(Z|z|[+-]\d{2}(?::?\d{2})?)?"
)


class Undecodable(Exception):
    """Why an event is no event: a short word."""


def integer(bits):
    """A reader of whole numbers of so many bits, given as numbers or as texts."""
    limit = 1 << (bits - 1)

    def read(given):
        number = exact(given)
        if number != number.to_integral_value():
            raise Undecodable("type")
        if not -limit <= number < limit:
            raise Undecodable("range")
        return int(number)
    return read


def money(given):
    """decimal(10,2): eight digits before the point, two after it, no rounding."""
    number = exact(given)
    cents = number.scaleb(2)
    if cents != cents.to_integral_value():
        raise Undecodable("scale")
    if abs(cents) >= 10 ** 10:
        raise Undecodable("range")
    return number.quantize(decimal.Decimal("0.01"))


def exact(given):
    """A number as it was written, in digits or in a text of digits."""
    if isinstance(given, bool) or not isinstance(given, (int, decimal.Decimal, str)):
        raise Undecodable("type")
    text = str(given).strip()
    if not re.fullmatch(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,4})?", text):
        raise Undecodable("type")
    return decimal.Decimal(text)


def short_text(given):
    """string(32): at most 32 bytes of UTF-8, none of them NUL; numbers and booleans become their text."""
    if isinstance(given, (dict, list)):
        raise Undecodable("type")
    text = given if isinstance(given, str) else json.dumps(given, default=str)
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        raise Undecodable("utf8") from None
    if size > 32 or "\0" in text:
        raise Undecodable("text")
    return text


def instant(given):
    """timestamptz: ISO 8601, of UTC unless it names a zone, or seconds or milliseconds since 1970 UTC; returns microseconds."""
    if not isinstance(given, str):
        number = exact(given)
        return int(number * (1000 if abs(number) >= 10 ** 11 else 1_000_000))
    match = INSTANT.fullmatch(given.strip())
    if not match:
        raise Undecodable("time")
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    try:
        wall = datetime.datetime(int(year), int(month), int(day), int(hour), int(minute), int(second or 0))
    except ValueError:
        raise Undecodable("time") from None
    since = wall - datetime.datetime(1970, 1, 1)
    micros = (since.days * 86_400 + since.seconds) * 1_000_000 + int((fraction or "0")[:6].ljust(6, "0"))
    return micros - zone_minutes(zone) * 60_000_000


def zone_minutes(zone):
    if zone is None or zone in "Zz":
        return 0
    digits = zone[1:].replace(":", "")
    minutes = int(digits[:2]) * 60 + int(digits[2:] or 0)
    return -minutes if zone[0] == "-" else minutes


REQUIRED = [
    ("OrderID", "order_id", integer(64)),
    ("CustomerID", "customer_id", integer(32)),
    ("RestaurantID", "restaurant_id", integer(32)),
    ("RiderID", "rider_id", integer(32)),
    ("OrderDate", "order_date", instant),
    ("OrderValue", "order_value", money),
    ("OrderStatus", "order_status", short_text),
]
OPTIONAL = [
    ("DeliveryTime", "delivery_minutes", integer(32)),
    ("DeliveryFee", "delivery_fee", money),
    ("TipAmount", "tip_amount", money),
]


def not_a_number(text):
    raise ValueError(f"{text} is no JSON")


class Twice(dict):
    """An object with a declared key that stands in it more than once: which one was meant cannot be told."""


def members(pairs):
    names = [name for name, _ in pairs]
    declared = [name for name, _, _ in REQUIRED + OPTIONAL]
    return (Twice if any(names.count(name) > 1 for name in declared) else dict)(pairs)


DECODER = json.JSONDecoder(object_pairs_hook=members, parse_float=decimal.Decimal, parse_constant=not_a_number)


def values(text):
    """The JSON values in a text, with blanks or nothing between them."""
    found, place = [], 0
    while place < len(text):
        value, place = DECODER.raw_decode(text, place)
        found.append(value)
        while place < len(text) and text[place] in " \t\r\n":
            place += 1
    return found


def documents(payload):
    """The events of a payload: objects one after the other, or an array of them. None stands for what is no JSON; in
    a payload that is broken somewhere each line stands for itself, but an aggregate that is damaged is refused whole."""
    if payload.startswith(aggregates.MAGIC):
        return [None]
    try:
        found = values(payload.decode("utf-8-sig").strip(" \t\r\n"))
        flat = found[0] if len(found) == 1 and isinstance(found[0], list) else found
        return flat or [None]
    except ValueError:
        lines = [line for line in payload.splitlines() if line.strip()]
    if len(lines) < 2:
        return [None]
    return [event for line in lines for event in documents(line)]


def decode(document):
    if not isinstance(document, dict):
        raise Undecodable("not_json" if document is None else "not_an_object")
    if isinstance(document, Twice):
        raise Undecodable("twice")
    row = {}
    for name, column, read in REQUIRED:
        given = present(document.get(name), read)
        if given is None:
            raise Undecodable("missing")
        row[column] = read(given)
    for name, column, read in OPTIONAL:
        given = present(document.get(name), read)
        row[column] = None if given is None else read(given)
    return row


def present(given, read):
    """A blank text is no value, except where a text is wanted."""
    blank = isinstance(given, str) and not given.strip() and read is not short_text
    return None if blank else given


def status(row):
    return STATUSES.get(row["order_status"].strip(" ").lower())


CHECKS = [
    ("order_value_not_negative", lambda row: row["order_value"] >= 0),
    ("delivery_fee_not_negative", lambda row: row["delivery_fee"] is None or row["delivery_fee"] >= 0),
    ("tip_not_negative", lambda row: row["tip_amount"] is None or row["tip_amount"] >= 0),
    ("delivery_minutes_plausible", lambda row: row["delivery_minutes"] is None or 0 <= row["delivery_minutes"] <= 600),
    ("status_known", lambda row: status(row) is not None),
]


def fact(row):
    """The row of fact_orders that an event becomes."""
    total = row["order_value"] + (row["delivery_fee"] or 0) + (row["tip_amount"] or 0)
    when = datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=row["order_date"])
    return {
        **row,
        "order_date": when.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "order_status": status(row),
        "total_amount": total,
    }


def count(counts, word):
    counts[word] = counts.get(word, 0) + 1


def user_records(record, counts):
    """The records in a record, each with its sub-sequence: itself, or the parts of an aggregate. A part whose hash key is
    not the shard's was put by a producer that did not know of a split or merge: it put it again, and it does not count.
    """
    payload = base64.b64decode(record["payload_base64"])
    parts = aggregates.taken_apart(payload) if payload.startswith(aggregates.MAGIC) else [{"aggregated": False}]
    if not parts[0]["aggregated"]:
        yield 0, payload
        return
    counts["aggregates"] += 1
    first, last = record["hash_keys"]
    for part in parts:
        if first <= int(part["hash_key"]) <= last:
            yield part["sub_sequence"], base64.b64decode(part["payload_base64"])
        else:
            counts["strays"] += 1


def replay(lines):
    """Every record through every rule: the newest row of each order, the ids of all rows, and the counts."""
    newest, seen = {}, {dimension: set() for dimension in DIMENSIONS}
    counts = {"records": 0, "aggregates": 0, "strays": 0, "events": 0, "undecodable": {}, "failed_checks": {},
              "passed": 0}
    for record in map(json.loads, lines):
        for sub_sequence, payload in user_records(record, counts):
            replay_one(record, sub_sequence, payload, (newest, seen, counts))
    facts = [row for _, (_, row) in sorted(newest.items())]
    return facts, seen, counts


def replay_one(record, sub_sequence, payload, found):
    newest, seen, counts = found
    counts["records"] += 1
    for place, document in enumerate(documents(payload)):
        counts["events"] += 1
        try:
            row = decode(document)
        except Undecodable as reason:
            count(counts["undecodable"], str(reason))
            continue
        failed = next((name for name, passes in CHECKS if not passes(row)), None)
        if failed:
            count(counts["failed_checks"], failed)
            continue
        counts["passed"] += 1
        for dimension, (column, _, _) in DIMENSIONS.items():
            seen[dimension].add(row[column])
        version = (record["arrived_at_ms"], int(record["sequence"]), sub_sequence, place)
        if row["order_id"] not in newest or newest[row["order_id"]][0] < version:
            newest[row["order_id"]] = (version, fact(row))


def known_members(folder, file, heading):
    if folder is None:
        return set()
    with open(pathlib.Path(folder) / file, newline="", encoding="utf-8-sig") as lines:
        return {int(row[heading]) for row in csv.DictReader(lines)}


def inferred(facts, seen, folder):
    """The members without a dimension row: those of the newest rows must be inferred, and those of a row that a newer
    one replaced may be, if it was loaded before the newer one came."""
    members = {}
    for dimension, (column, file, heading) in DIMENSIONS.items():
        known = known_members(folder, file, heading)
        must = {row[column] for row in facts} - known
        members[dimension] = {"must": sorted(must), "may": sorted(seen[dimension] - known)}
    return members


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(f"usage: {sys.argv[0]} RECORDS EXPECTED [DIMS]")
    with open(sys.argv[1], encoding="ascii") as lines:
        facts, seen, counts = replay(lines)
    members = inferred(facts, seen, sys.argv[3] if len(sys.argv) == 4 else None)
    with open(sys.argv[2], "w", encoding="utf-8") as out:
        json.dump({"fact_orders": facts, "inferred": members}, out, default=str)
    counts["orders"] = len(facts)
    counts["inferred"] = {dimension: len(both["must"]) for dimension, both in members.items()}
    json.dump(counts, sys.stdout)


if __name__ == "__main__":
    main()
