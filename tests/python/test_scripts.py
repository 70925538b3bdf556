"""test_scripts.py: the tests of the oracle and the comparison: a wrong oracle would prove anything."""

import base64
import io
import json
import unittest

import aggregates
import compare_star
import oracle
import plain

ORDER = {
    "OrderID": 1, "CustomerID": 2, "RestaurantID": 3, "RiderID": 4, "OrderDate": "2026-11-20T10:00:00Z",
    "DeliveryTime": 30, "OrderValue": 10.5, "DeliveryFee": 1.25, "TipAmount": 0, "OrderStatus": "Placed",
}


def order(**changes):
    """An order with these fields changed; the ellipsis leaves one out."""
    fields = {**ORDER, **changes}
    return json.dumps({name: value for name, value in fields.items() if value is not ...}).encode()


def line(payload, sequence=1, arrived_at_ms=1_000, shard="shardId-0", hash_keys=(0, 2**128 - 1)):
    return json.dumps({
        "payload_base64": base64.b64encode(payload).decode(), "arrived_at_ms": arrived_at_ms, "shard": shard,
        "hash_keys": hash_keys, "sequence": str(sequence),
    })


def only(payload):
    facts, _, counts = oracle.replay([line(payload)])
    return facts, counts


class Rules(unittest.TestCase):
    def test_a_good_order_becomes_its_row(self):
        facts, counts = only(order())
        self.assertEqual(json.loads(json.dumps(facts, default=str)), [{
            "order_id": 1, "customer_id": 2, "restaurant_id": 3, "rider_id": 4,
            "order_date": "2026-11-20T10:00:00.000000Z", "order_value": "10.50", "order_status": "Placed",
            "delivery_minutes": 30, "delivery_fee": "1.25", "tip_amount": "0.00", "total_amount": "11.75",
        }])
        self.assertEqual(counts, {
            "records": 1, "aggregates": 0, "strays": 0, "events": 1, "undecodable": {}, "failed_checks": {},
            "passed": 1})

    def test_numbers_may_come_as_texts(self):
        facts, _ = only(order(OrderID="7", OrderValue="10.50", DeliveryTime=" 5 "))
        self.assertEqual((facts[0]["order_id"], str(facts[0]["order_value"]), facts[0]["delivery_minutes"]),
                         (7, "10.50", 5))

    def test_optional_fields_may_be_null_or_missing(self):
        facts, _ = only(order(DeliveryFee=None, TipAmount=..., DeliveryTime=""))
        self.assertEqual((facts[0]["delivery_fee"], facts[0]["tip_amount"], str(facts[0]["total_amount"])),
                         (None, None, "10.50"))

    def test_what_cannot_be_decoded_is_counted_by_its_reason(self):
        cases = [
            (b"{ no", "not_json"), (b"", "not_json"), (b"\xff\xfe", "not_json"), (b"NaN", "not_json"),
            (b"7", "not_an_object"), (order(OrderID=...), "missing"), (order(OrderStatus=None), "missing"),
            (order(OrderID="x"), "type"), (order(OrderID=True), "type"), (order(OrderID=1.5), "type"),
            (order(OrderID=1 << 63), "range"), (order(RiderID=1 << 31), "range"), (order(OrderValue=1.005), "scale"),
            (order(OrderValue=100_000_000), "range"), (order(OrderStatus="é" * 17), "text"),
            (order(OrderStatus=[5]), "type"), (b"[]", "not_json"), (order(RiderID=" "), "missing"),
            (order()[:-1] + b', "TipAmount": 3}', "twice"), (order(OrderDate="2026-11-20T10:00:00 Z"), "time"),
            (order(OrderDate="2026-02-30T10:00:00Z"), "time"), (order(OrderDate="yesterday"), "time"),
        ]
        for payload, reason in cases:
            facts, counts = only(payload)
            self.assertEqual((facts, counts["undecodable"]), ([], {reason: 1}), payload)

    def test_a_time_is_an_instant_whatever_its_form(self):
        for given in ["2026-11-20T10:00:00Z", "2026-11-20 11:00:00.000+01:00", "2026-11-20T05:30:00-0430",
                      "2026-11-20T10:00:00", "2026-11-20 10:00:00.000000", 1_795_168_800, 1_795_168_800_000]:
            self.assertEqual(only(order(OrderDate=given))[0][0]["order_date"], "2026-11-20T10:00:00.000000Z", given)

    def test_the_first_check_that_fails_is_the_one_that_counts(self):
        cases = [
            ({"OrderValue": -1, "DeliveryFee": -1}, "order_value_not_negative"),
            ({"DeliveryFee": "-0.01", "TipAmount": -1}, "delivery_fee_not_negative"),
            ({"TipAmount": -1, "DeliveryTime": -1}, "tip_not_negative"),
            ({"DeliveryTime": 601, "OrderStatus": "?"}, "delivery_minutes_plausible"),
            ({"OrderStatus": "Lost"}, "status_known"), ({"OrderStatus": 5}, "status_known"),
            ({"OrderStatus": "Placed\t"}, "status_known"),
        ]
        for changes, check in cases:
            self.assertEqual(only(order(**changes))[1]["failed_checks"], {check: 1})
        self.assertEqual(only(order(DeliveryTime=600, TipAmount=0))[1]["passed"], 1)

    def test_a_status_is_one_of_six_however_it_is_written(self):
        for given in ["On the way", "  on THE way ", "ON THE WAY "]:
            self.assertEqual(only(order(OrderStatus=given))[0][0]["order_status"], "On the way")

    def test_a_record_may_hold_several_events(self):
        two = [order(OrderID=1), order(OrderID=2)]
        for payload in [b"[" + b",".join(two) + b"]", b"\n".join(two), b"\r\n\n".join(two) + b"\n",
                        b"\xef\xbb\xbf" + b"".join(two)]:
            facts, counts = only(payload)
            self.assertEqual(([row["order_id"] for row in facts], counts["events"]), ([1, 2], 2))
        self.assertEqual(only(two[0] + b"\n{ no\n" + two[1])[1]["undecodable"], {"not_json": 1})

    def test_the_newest_row_wins_by_arrival_and_then_by_sequence_as_a_number(self):
        first, second = order(TipAmount=1), order(TipAmount=2)
        for lines in [
            [line(second, sequence=10), line(first, sequence=9)],
            [line(first, sequence=10), line(second, sequence=2, arrived_at_ms=1_001)],
            [line(second), line(order(TipAmount=-3), sequence=2)],
        ]:
            facts, _, _ = oracle.replay(lines)
            self.assertEqual([str(row["tip_amount"]) for row in facts], ["2.00"])

    def test_an_aggregates_parts_are_records_in_their_order_and_those_of_another_shard_are_none(self):
        parts = [("k", order(TipAmount=tip), str(hash_key)) for tip, hash_key in [(1, 5), (2, 9), (3, 10)]]
        payload = aggregates.packed("parts", parts)
        facts, _, counts = oracle.replay([line(payload, hash_keys=(5, 9)), line(order(TipAmount=4), arrived_at_ms=999)])
        self.assertEqual([str(row["tip_amount"]) for row in facts], ["2.00"])
        self.assertEqual((counts["records"], counts["aggregates"], counts["strays"]), (3, 1, 1))

    def test_a_damaged_aggregate_is_one_record_that_cannot_be_decoded(self):
        payload = bytearray(aggregates.packed("damaged", [("k", order(), None)]))
        payload[8] ^= 1
        _, _, counts = oracle.replay([line(bytes(payload))])
        self.assertEqual((counts["records"], counts["undecodable"]), (1, {"not_json": 1}))

    def test_members_of_replaced_rows_may_be_inferred_and_those_of_newest_rows_must_be(self):
        lines = [line(order(RiderID=900), sequence=1), line(order(RiderID=901), sequence=2)]
        facts, seen, _ = oracle.replay(lines)
        members = oracle.inferred(facts, seen, None)["dim_delivery_riders"]
        self.assertEqual(members, {"must": [901], "may": [900, 901]})


def dimension_row(key, member, surrogate, inferred=True):
    return {"surrogate_key": surrogate, key: member, "is_inferred": inferred, "is_current": True}


class Comparison(unittest.TestCase):
    def setUp(self):
        facts, seen, _ = oracle.replay([line(order()), line(order(OrderID=2), sequence=2)])
        self.expected = json.loads(json.dumps(
            {"fact_orders": facts, "inferred": oracle.inferred(facts, seen, None)}, default=str))
        self.tables = {
            "fact_orders": [dict(row, _position="x") for row in self.expected["fact_orders"]],
            "dim_customers": [dimension_row("customer_id", 2, 1)],
            "dim_restaurants": [dimension_row("restaurant_id", 3, 1)],
            "dim_delivery_riders": [dimension_row("rider_id", 4, 1)],
        }

    def found(self):
        return list(compare_star.differences(self.expected, self.tables))

    def test_equal_is_equal_whatever_the_digits(self):
        self.tables["fact_orders"][0]["order_value"] = "10.5000"
        self.assertEqual(self.found(), [])

    def test_every_kind_of_difference_is_found(self):
        facts, riders = self.tables["fact_orders"], self.tables["dim_delivery_riders"]
        cases = [
            (lambda: facts.pop(), "order 2 is missing"),
            (lambda: facts.append(dict(facts[0])), "order 1 stands 2 times"),
            (lambda: facts.append(dict(facts[0], order_id=3)), "order 3 is in fact_orders and in no record"),
            (lambda: facts[0].update(tip_amount="0.01"), "order 1: tip_amount 0.01 instead of 0.00"),
            (lambda: facts[0].update(delivery_fee=None), "order 1: delivery_fee None instead of 1.25"),
            (lambda: facts[0].pop("rider_id"), "lacks the columns ['rider_id']"),
            (lambda: self.tables.pop("dim_customers"), "there is no Delta table dim_customers"),
            (lambda: riders.clear(), "rider_id 4 should be inferred"),
            (lambda: riders.clear(), "fact_orders names rider_id 4, which is not there"),
            (lambda: riders[0].update(is_inferred=False), "rider_id 4 should be inferred"),
            (lambda: riders.append(dimension_row("rider_id", 5, 2)), "rider_id 5 is inferred, and no record"),
            (lambda: riders.append(dimension_row("rider_id", 5, 1, False)), "the surrogate key 1 stands 2 times"),
            (lambda: riders.append(dimension_row("rider_id", 4, 2)), "rider_id 4 has 2 current rows"),
        ]
        for change, words in cases:
            self.setUp()
            facts, riders = self.tables["fact_orders"], self.tables["dim_delivery_riders"]
            change()
            self.assertTrue(any(words in difference for difference in self.found()), (words, self.found()))


class Rows(unittest.TestCase):
    def test_rows_stand_by_their_cells_null_first(self):
        records = [{"a": 2, "b": "x"}, {"a": None, "b": "y"}, {"a": 1, "b": None}, {"a": 1, "b": "b"}]
        self.assertEqual([row["a"] for row in plain.ordered(records)], [None, 1, 1, 2])
        self.assertEqual([row["b"] for row in plain.ordered(records)][1:3], [None, "b"])


suite = unittest.defaultTestLoader.loadTestsFromModule(__import__("__main__"))
result = unittest.TextTestRunner(stream=io.StringIO()).run(suite)
plain.answer({
    "run": result.testsRun,
    "failures": [f"{test}: {trace}" for test, trace in result.failures + result.errors],
})
