LOCK "food_delivery"."_ledger";

-- must be 16
SELECT COALESCE(MAX("loaded_through"), 0) AS "loaded_through" FROM "food_delivery"."_ledger";

CREATE TEMP TABLE "_staged_4" (
    "order_id" BIGINT,
    "customer_id" INTEGER,
    "restaurant_id" INTEGER,
    "rider_id" INTEGER,
    "order_date" TIMESTAMPTZ,
    "order_value" DECIMAL(10,2),
    "order_status" VARCHAR(65535),
    "_arrived_at" TIMESTAMPTZ,
    "_position" VARCHAR(256)
);

-- copy 1 of fact_orders into "_staged_4" (order_id Int64, customer_id Int32, restaurant_id Int32, rider_id Int32, order_date Timestamp(µs, "UTC"), order_value Decimal128(10, 2), order_status Utf8, _arrived_at Timestamp(µs, "UTC"), _position Utf8) from staged/fact_orders/17.parquet: 170 rows

INSERT INTO "food_delivery"."dim_customers" ("surrogate_key", "customer_id", "is_inferred", "_arrived_at", "_position", "valid_from", "is_current", "_confirmed_at")
SELECT STRTOL(SUBSTRING(md5('13:dim_customers,' || CAST(octet_length(CAST("pointed_at"."customer_id" AS varchar)) AS varchar) || ':' || CAST("pointed_at"."customer_id" AS varchar) || ',17:-2208988800000000,'), 1, 8), 16) % 2147483648 * 4294967296 + STRTOL(SUBSTRING(md5('13:dim_customers,' || CAST(octet_length(CAST("pointed_at"."customer_id" AS varchar)) AS varchar) || ':' || CAST("pointed_at"."customer_id" AS varchar) || ',17:-2208988800000000,'), 9, 8), 16), "pointed_at"."customer_id", TRUE, TIMESTAMPTZ '1900-01-01 00:00:00+00', '', TIMESTAMPTZ '1900-01-01 00:00:00+00', TRUE, TIMESTAMPTZ '1900-01-01 00:00:00+00'
FROM (
    SELECT DISTINCT "customer_id" AS "customer_id" FROM "_staged_4" WHERE "customer_id" IS NOT NULL
) AS "pointed_at"
LEFT JOIN "food_delivery"."dim_customers" AS "held" ON "held"."customer_id" = "pointed_at"."customer_id"
WHERE "held"."customer_id" IS NULL;

INSERT INTO "food_delivery"."dim_restaurants" ("surrogate_key", "restaurant_id", "is_inferred", "_arrived_at", "_position")
SELECT STRTOL(SUBSTRING(md5('15:dim_restaurants,' || CAST(octet_length(CAST("pointed_at"."restaurant_id" AS varchar)) AS varchar) || ':' || CAST("pointed_at"."restaurant_id" AS varchar) || ',17:-2208988800000000,'), 1, 8), 16) % 2147483648 * 4294967296 + STRTOL(SUBSTRING(md5('15:dim_restaurants,' || CAST(octet_length(CAST("pointed_at"."restaurant_id" AS varchar)) AS varchar) || ':' || CAST("pointed_at"."restaurant_id" AS varchar) || ',17:-2208988800000000,'), 9, 8), 16), "pointed_at"."restaurant_id", TRUE, TIMESTAMPTZ '1900-01-01 00:00:00+00', ''
FROM (
    SELECT DISTINCT "restaurant_id" AS "restaurant_id" FROM "_staged_4" WHERE "restaurant_id" IS NOT NULL
) AS "pointed_at"
LEFT JOIN "food_delivery"."dim_restaurants" AS "held" ON "held"."restaurant_id" = "pointed_at"."restaurant_id"
WHERE "held"."restaurant_id" IS NULL;

INSERT INTO "food_delivery"."dim_delivery_riders" ("surrogate_key", "rider_id", "is_inferred", "_arrived_at", "_position", "valid_from", "is_current", "_confirmed_at")
SELECT STRTOL(SUBSTRING(md5('19:dim_delivery_riders,' || CAST(octet_length(CAST("pointed_at"."rider_id" AS varchar)) AS varchar) || ':' || CAST("pointed_at"."rider_id" AS varchar) || ',17:-2208988800000000,'), 1, 8), 16) % 2147483648 * 4294967296 + STRTOL(SUBSTRING(md5('19:dim_delivery_riders,' || CAST(octet_length(CAST("pointed_at"."rider_id" AS varchar)) AS varchar) || ':' || CAST("pointed_at"."rider_id" AS varchar) || ',17:-2208988800000000,'), 9, 8), 16), "pointed_at"."rider_id", TRUE, TIMESTAMPTZ '1900-01-01 00:00:00+00', '', TIMESTAMPTZ '1900-01-01 00:00:00+00', TRUE, TIMESTAMPTZ '1900-01-01 00:00:00+00'
FROM (
    SELECT DISTINCT "rider_id" AS "rider_id" FROM "_staged_4" WHERE "rider_id" IS NOT NULL
) AS "pointed_at"
LEFT JOIN "food_delivery"."dim_delivery_riders" AS "held" ON "held"."rider_id" = "pointed_at"."rider_id"
WHERE "held"."rider_id" IS NULL;

CREATE TEMP TABLE "_newest_4" AS
SELECT "order_id", "customer_id", "restaurant_id", "rider_id", "order_date", "order_value", "order_status", "_arrived_at", "_position"
FROM (
    SELECT "order_id", "customer_id", "restaurant_id", "rider_id", "order_date", "order_value", "order_status", "_arrived_at", "_position",
        ROW_NUMBER() OVER (PARTITION BY "order_id" ORDER BY "_arrived_at" DESC, "_position" DESC) AS "_millstream_row"
    FROM "_staged_4"
) AS "ranked"
WHERE "_millstream_row" = 1;

UPDATE "food_delivery"."fact_orders"
SET "customer_id" = "_newest_4"."customer_id", "restaurant_id" = "_newest_4"."restaurant_id", "rider_id" = "_newest_4"."rider_id", "order_date" = "_newest_4"."order_date", "order_value" = "_newest_4"."order_value", "order_status" = "_newest_4"."order_status", "_arrived_at" = "_newest_4"."_arrived_at", "_position" = "_newest_4"."_position"
FROM "_newest_4"
WHERE "fact_orders"."order_id" = "_newest_4"."order_id"
    AND ("_newest_4"."_arrived_at" > "fact_orders"."_arrived_at" OR ("_newest_4"."_arrived_at" = "fact_orders"."_arrived_at" AND "_newest_4"."_position" >= "fact_orders"."_position"));

INSERT INTO "food_delivery"."fact_orders" ("order_id", "customer_id", "restaurant_id", "rider_id", "order_date", "order_value", "order_status", "_arrived_at", "_position")
SELECT "_newest_4"."order_id", "_newest_4"."customer_id", "_newest_4"."restaurant_id", "_newest_4"."rider_id", "_newest_4"."order_date", "_newest_4"."order_value", "_newest_4"."order_status", "_newest_4"."_arrived_at", "_newest_4"."_position"
FROM "_newest_4"
LEFT JOIN "food_delivery"."fact_orders" AS "held" ON "held"."order_id" = "_newest_4"."order_id"
WHERE "held"."order_id" IS NULL;

INSERT INTO "food_delivery"."_ledger" ("load_id", "pipeline", "loaded_after", "loaded_through", "attempt", "copied", "loaded_at")
VALUES ('load-1', 'food_delivery', 16, 17, 'a17', '{"fact_orders":170}', TIMESTAMPTZ '2026-11-20 16:00:58.007+00');

DROP TABLE "_staged_4", "_newest_4";

