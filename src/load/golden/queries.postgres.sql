SELECT (SELECT count(*) FROM "food_delivery"."_ledger") AS "loads",
    "load_id", "pipeline", "loaded_after", "loaded_through", "attempt", "copied",
    (CAST(extract(epoch FROM date_trunc('second', "loaded_at")) AS bigint) * 1000000 + CAST(extract(microseconds FROM "loaded_at") AS bigint) % 1000000) / 1000 AS "loaded_at"
FROM "food_delivery"."_ledger"
ORDER BY "loaded_through" DESC
LIMIT 1;

SELECT "load_id", "pipeline", "loaded_after", "loaded_through", "attempt", "copied",
    (CAST(extract(epoch FROM date_trunc('second', "loaded_at")) AS bigint) * 1000000 + CAST(extract(microseconds FROM "loaded_at") AS bigint) % 1000000) / 1000 AS "loaded_at"
FROM "food_delivery"."_ledger"
ORDER BY "loaded_through" DESC
LIMIT 20;

SELECT count(*) AS "loads" FROM "food_delivery"."_ledger" WHERE "load_id" = 'it''s 1';

SELECT "customer_id", "customer_name" FROM "food_delivery"."dim_customers";

SELECT "order_id" FROM "food_delivery"."fact_orders" LIMIT 10;

SELECT CAST(COALESCE(SUM("of_key"), 0) AS bigint) AS "rows", count(*) AS "keys"
FROM (
    SELECT count(*) AS "of_key" FROM "food_delivery"."dim_customers" WHERE NOT "is_inferred" AND "is_current" GROUP BY "customer_id"
) AS "counted";

SELECT CAST(COALESCE(SUM("of_key"), 0) AS bigint) AS "rows", count(*) AS "keys"
FROM (
    SELECT count(*) AS "of_key" FROM "food_delivery"."dim_restaurants" WHERE NOT "is_inferred" GROUP BY "restaurant_id"
) AS "counted";

SELECT CAST(COALESCE(SUM("of_key"), 0) AS bigint) AS "rows", count(*) AS "keys"
FROM (
    SELECT count(*) AS "of_key" FROM "food_delivery"."dim_delivery_riders" WHERE NOT "is_inferred" AND "is_current" GROUP BY "rider_id"
) AS "counted";

SELECT CAST(COALESCE(SUM("of_key"), 0) AS bigint) AS "rows", count(*) AS "keys"
FROM (
    SELECT count(*) AS "of_key" FROM "food_delivery"."dim_date" WHERE NOT "is_inferred" GROUP BY "date_key"
) AS "counted";

SELECT CAST(COALESCE(SUM("of_key"), 0) AS bigint) AS "rows", count(*) AS "keys"
FROM (
    SELECT count(*) AS "of_key" FROM "food_delivery"."fact_orders" GROUP BY "order_id"
) AS "counted";

SELECT count(*) AS "rows", count(*) AS "keys" FROM "food_delivery"."fact_clicks";
