"""compare_star.py EXPECTED DIR: whether the Delta tables in DIR are what oracle.py expects.

Equal: one JSON object with the counts, exit code 0. Not equal: the first differences on stderr, exit code 1.
"""

import collections
import decimal
import json
import sys

import delta_tables
import plain

SHOWN = 20
AMOUNTS = {"order_value", "delivery_fee", "tip_amount", "total_amount"}
KEYS = {"dim_customers": "customer_id", "dim_restaurants": "restaurant_id", "dim_delivery_riders": "rider_id"}


def comparable(row, columns):
    """A row with its amounts as numbers: 12.5 and 12.50 are the same money."""
    def cell(column):
        amount = column in AMOUNTS and row[column] is not None
        return decimal.Decimal(row[column]) if amount else row[column]
    return {column: cell(column) for column in columns}


def facts(expected, rows):
    """Every difference between the expected and the loaded facts, as sentences."""
    if expected and rows and set(expected[0]) - set(rows[0]):
        yield f"fact_orders lacks the columns {sorted(set(expected[0]) - set(rows[0]))}"
        return
    wanted = {row["order_id"]: comparable(row, row) for row in expected}
    found = collections.Counter(row["order_id"] for row in rows)
    for order, times in sorted(found.items()):
        if times > 1:
            yield f"order {order} stands {times} times in fact_orders"
        if order not in wanted:
            yield f"order {order} is in fact_orders and in no record that passed"
    for order in sorted(set(wanted) - set(found)):
        yield f"order {order} is missing in fact_orders: {json.dumps(wanted[order], default=str)}"
    for row in rows:
        want = wanted.get(row["order_id"])
        have = want and comparable(row, want)
        if want != have:
            unequal = [f"{column} {have[column]} instead of {want[column]}" for column in want
                       if have[column] != want[column]]
            yield f"order {row['order_id']}: {', '.join(unequal)}"


def dimension(name, members, rows, references):
    """Every fault of a dimension: inferred members, surrogate keys, facts that point nowhere."""
    key = KEYS[name]
    surrogates = collections.Counter(row["surrogate_key"] for row in rows)
    for surrogate, times in sorted(surrogates.items()):
        if times > 1:
            yield f"{name}: the surrogate key {surrogate} stands {times} times"
    current = collections.Counter(row[key] for row in rows if row.get("is_current", True))
    for member, times in sorted(current.items()):
        if times > 1:
            yield f"{name}: {key} {member} has {times} current rows"
    inferred = {row[key] for row in rows if row["is_inferred"] and row.get("is_current", True)}
    for member in sorted(set(members["must"]) - inferred):
        yield f"{name}: {key} {member} should be inferred and is not"
    for member in sorted(inferred - set(members["may"])):
        yield f"{name}: {key} {member} is inferred, and no record without a dimension row names it"
    for member in sorted(references - set(current)):
        yield f"{name}: fact_orders names {key} {member}, which is not there"


def differences(expected, tables):
    for name in ["fact_orders", *KEYS]:
        if name not in tables:
            yield f"there is no Delta table {name}"
            return
    yield from facts(expected["fact_orders"], tables["fact_orders"])
    for name, key in KEYS.items():
        references = {row[key] for row in tables["fact_orders"] if row.get(key) is not None}
        yield from dimension(name, expected["inferred"][name], tables[name], references)


def main():
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} EXPECTED DIR")
    with open(sys.argv[1], encoding="utf-8") as file:
        expected = json.load(file)
    tables = {name: plain.rows(table.to_pyarrow_table()) for name, table in delta_tables.opened(sys.argv[2])}
    found = list(differences(expected, tables))
    if found:
        more = [f"… and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
        sys.exit("\n".join(found[:SHOWN] + more))
    plain.answer({"equal": True, "rows": {name: len(rows) for name, rows in tables.items()}})


if __name__ == "__main__":
    main()
