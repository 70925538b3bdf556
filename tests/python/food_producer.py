"""food_producer.py PORT STREAM DIMS SEED: 1,000 orders as the food delivery service's own producer makes and puts them.

Ids from 5000 to 5999; the date by isoformat(), so without a zone, and without a fraction where the microseconds are 0;
amounts as floats of up to two digits; one put_record each, with the id as partition key. DIMS is the folder of dimension
files that ids are drawn from. Prints the rows of fact_orders that must come of them, by order id.
"""

import csv
import datetime
import decimal
import json
import pathlib
import random
import sys

import kinesis

STATUSES = ["Delivered", "Cancelled", "Processing", "On the way"]


def ids(folder, file, heading):
    with open(pathlib.Path(folder) / file, newline="", encoding="utf-8") as lines:
        return [int(row[heading]) for row in csv.DictReader(lines)]


def orders(dice, folder):
    customers = ids(folder, "dimCustomers.csv", "CustomerID")
    restaurants = ids(folder, "dimRestaurants.csv", "RestaurantID")
    riders = ids(folder, "dimDeliveryRiders.csv", "RiderID")
    now = datetime.datetime(2026, 11, 20, 12, 0, 0)
    for order_id in range(5000, 6000):
        # Seconds and microseconds from 0 on: an isoformat() of midnight has no fraction either.
        age = datetime.timedelta(days=dice.randint(0, 30), seconds=dice.randint(0, 86_399))
        micros = dice.choice([0, 1, 500_000, dice.randint(0, 999_999)])
        yield {
            "OrderID": order_id,
            "CustomerID": dice.choice(customers),
            "RestaurantID": dice.choice(restaurants),
            "RiderID": dice.choice(riders),
            "OrderDate": (now - age).replace(microsecond=micros).isoformat(),
            "DeliveryTime": dice.randint(15, 60),
            "OrderValue": round(dice.uniform(10, 100), 2),
            "DeliveryFee": round(dice.uniform(2, 10), 2),
            "TipAmount": round(dice.uniform(0, 20), dice.choice([0, 1, 2])),
            "OrderStatus": dice.choice(STATUSES),
        }


def money(amount):
    return decimal.Decimal(repr(amount)).quantize(decimal.Decimal("0.01"))


def row(order):
    """The row that the order must become: times in UTC, amounts exact."""
    amounts = [money(order[name]) for name in ("OrderValue", "DeliveryFee", "TipAmount")]
    date, _, fraction = order["OrderDate"].partition(".")
    return {
        "order_id": order["OrderID"], "customer_id": order["CustomerID"], "restaurant_id": order["RestaurantID"],
        "rider_id": order["RiderID"], "order_date": f"{date}.{fraction or '000000'}Z",
        "delivery_minutes": order["DeliveryTime"], "order_value": str(amounts[0]), "delivery_fee": str(amounts[1]),
        "tip_amount": str(amounts[2]), "total_amount": str(sum(amounts)), "order_status": order["OrderStatus"],
    }


port, stream, folder, seed = sys.argv[1:]
connection = kinesis.client(port)
sent = list(orders(random.Random(int(seed)), folder))
for order in sent:
    connection.put_record(StreamName=stream, Data=json.dumps(order), PartitionKey=str(order["OrderID"]))
json.dump([row(order) for order in sent], sys.stdout)
