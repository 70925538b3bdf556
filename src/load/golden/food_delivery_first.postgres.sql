LOCK TABLE "food_delivery"."_ledger" IN EXCLUSIVE MODE;

-- must be 0
SELECT COALESCE(MAX("loaded_through"), 0) AS "loaded_through" FROM "food_delivery"."_ledger";

CREATE TEMP TABLE "_staged_1" (
    "customer_id" integer,
    "customer_name" text,
    "registration_date" date,
    "_arrived_at" timestamptz,
    "_position" text COLLATE "C"
);

-- copy 1 of dim_customers into "_staged_1" (customer_id Int32, customer_name Utf8, registration_date Date32, _arrived_at Timestamp(µs, "UTC"), _position Utf8) from staged/dim_customers/1.parquet: 10 rows

CREATE TEMP TABLE "_staged_2" (
    "restaurant_id" integer,
    "restaurant_name" text,
    "restaurant_rating" numeric(2,1),
    "_arrived_at" timestamptz,
    "_position" text COLLATE "C"
);

-- copy 2 of dim_restaurants into "_staged_2" (restaurant_id Int32, restaurant_name Utf8, restaurant_rating Decimal128(2, 1), _arrived_at Timestamp(µs, "UTC"), _position Utf8) from staged/dim_restaurants/1.parquet: 10 rows

CREATE TEMP TABLE "_staged_3" (
    "rider_id" integer,
    "rider_name" text,
    "_arrived_at" timestamptz,
    "_position" text COLLATE "C"
);

-- copy 3 of dim_delivery_riders into "_staged_3" (rider_id Int32, rider_name Utf8, _arrived_at Timestamp(µs, "UTC"), _position Utf8) from staged/dim_delivery_riders/1.parquet: 10 rows

CREATE TEMP TABLE "_staged_4" (
    "date_key" integer,
    "date" date,
    "is_weekend" boolean,
    "_arrived_at" timestamptz,
    "_position" text COLLATE "C"
);

-- copy 4 of dim_date into "_staged_4" (date_key Int32, date Date32, is_weekend Boolean, _arrived_at Timestamp(µs, "UTC"), _position Utf8) from staged/dim_date/1.parquet: 10 rows

CREATE TEMP TABLE "_staged_5" (
    "order_id" bigint,
    "customer_id" integer,
    "restaurant_id" integer,
    "rider_id" integer,
    "order_date" timestamptz,
    "order_value" numeric(10,2),
    "order_status" text,
    "_arrived_at" timestamptz,
    "_position" text COLLATE "C"
);

-- copy 5 of fact_orders into "_staged_5" (order_id Int64, customer_id Int32, restaurant_id Int32, rider_id Int32, order_date Timestamp(µs, "UTC"), order_value Decimal128(10, 2), order_status Utf8, _arrived_at Timestamp(µs, "UTC"), _position Utf8) from staged/fact_orders/1.parquet, staged/fact_orders/2.parquet: 30 rows

ANALYZE "_staged_1", "_staged_2", "_staged_3", "_staged_4", "_staged_5";

CREATE TEMP TABLE "_observed_1" AS
WITH "touched" AS (
    SELECT DISTINCT "customer_id" FROM "_staged_1"
),
"seen" AS (
    SELECT "customer_id", "customer_name", "registration_date", GREATEST("_arrived_at", TIMESTAMPTZ '1900-01-01 00:00:00+00') AS "_arrived_at", "_position", 1 AS "_millstream_new"
    FROM "_staged_1"
    UNION ALL
    SELECT "held"."customer_id", "held"."customer_name", "held"."registration_date", "held"."_arrived_at", "held"."_position", 0
    FROM "food_delivery"."dim_customers" AS "held"
    INNER JOIN "touched" ON "held"."customer_id" = "touched"."customer_id"
    WHERE NOT "held"."is_inferred"
    UNION ALL
    SELECT "held"."customer_id", "held"."customer_name", "held"."registration_date", "held"."_confirmed_at", '', 0
    FROM "food_delivery"."dim_customers" AS "held"
    INNER JOIN "touched" ON "held"."customer_id" = "touched"."customer_id"
    WHERE NOT "held"."is_inferred" AND "held"."_confirmed_at" > "held"."_arrived_at"
)
SELECT "customer_id", "customer_name", "registration_date", "_arrived_at", "_position"
FROM (
    SELECT "customer_id", "customer_name", "registration_date", "_arrived_at", "_position",
        ROW_NUMBER() OVER (
            PARTITION BY "customer_id", "_arrived_at" ORDER BY "_position" DESC, "_millstream_new" DESC
        ) AS "_millstream_row"
    FROM "seen"
) AS "ranked"
WHERE "_millstream_row" = 1;

ANALYZE "_observed_1";

DELETE FROM "food_delivery"."dim_customers"
USING "_observed_1"
WHERE "dim_customers"."customer_id" = "_observed_1"."customer_id";

INSERT INTO "food_delivery"."dim_customers" ("surrogate_key", "customer_id", "customer_name", "registration_date", "is_inferred", "valid_from", "valid_to", "is_current", "_arrived_at", "_position", "_confirmed_at")
WITH "neighbours" AS (
    SELECT "customer_id", "customer_name", "registration_date", "_arrived_at", "_position",
        MAX("_arrived_at") OVER (PARTITION BY "customer_id") AS "_millstream_last",
        LAG("_arrived_at") OVER (PARTITION BY "customer_id" ORDER BY "_arrived_at") AS "_millstream_before",
        LAG("customer_name") OVER (PARTITION BY "customer_id" ORDER BY "_arrived_at") AS "_millstream_1",
        LAG("registration_date") OVER (PARTITION BY "customer_id" ORDER BY "_arrived_at") AS "_millstream_2"
    FROM "_observed_1"
),
"openings" AS (
    SELECT "customer_id", "customer_name", "registration_date", "_arrived_at", "_position", "_millstream_last", "_millstream_before"
    FROM "neighbours"
    WHERE "_millstream_before" IS NULL
        OR NOT COALESCE("customer_name" = "_millstream_1", "customer_name" IS NULL AND "_millstream_1" IS NULL)
        OR NOT COALESCE("registration_date" = "_millstream_2", "registration_date" IS NULL AND "_millstream_2" IS NULL)
),
"versions" AS (
    SELECT "customer_id", "customer_name", "registration_date", "_arrived_at", "_position",
        CASE WHEN "_millstream_before" IS NULL THEN TIMESTAMPTZ '1900-01-01 00:00:00+00' ELSE "_arrived_at" END AS "valid_from",
        CASE WHEN "_millstream_before" IS NULL THEN '-2208988800000000' ELSE CAST((CAST(extract(epoch FROM date_trunc('second', "_arrived_at")) AS bigint) * 1000000 + CAST(extract(microseconds FROM "_arrived_at") AS bigint) % 1000000) AS varchar) END AS "_millstream_from",
        LEAD("_arrived_at") OVER (PARTITION BY "customer_id" ORDER BY "_arrived_at") AS "valid_to",
        COALESCE(LEAD("_millstream_before") OVER (PARTITION BY "customer_id" ORDER BY "_arrived_at"), "_millstream_last") AS "_confirmed_at"
    FROM "openings"
)
SELECT CAST(CAST('x' || substr(md5('13:dim_customers,' || CAST(octet_length(CAST("versions"."customer_id" AS varchar)) AS varchar) || ':' || CAST("versions"."customer_id" AS varchar) || ',' || CAST(octet_length("_millstream_from") AS varchar) || ':' || "_millstream_from" || ','), 1, 16) AS bit(64)) AS bigint) & 9223372036854775807, "customer_id", "customer_name", "registration_date", FALSE, "valid_from", "valid_to", "valid_to" IS NULL, "_arrived_at", "_position", "_confirmed_at"
FROM "versions";

INSERT INTO "food_delivery"."dim_customers" ("surrogate_key", "customer_id", "is_inferred", "_arrived_at", "_position", "valid_from", "is_current", "_confirmed_at")
SELECT CAST(CAST('x' || substr(md5('13:dim_customers,' || CAST(octet_length(CAST("pointed_at"."customer_id" AS varchar)) AS varchar) || ':' || CAST("pointed_at"."customer_id" AS varchar) || ',17:-2208988800000000,'), 1, 16) AS bit(64)) AS bigint) & 9223372036854775807, "pointed_at"."customer_id", TRUE, TIMESTAMPTZ '1900-01-01 00:00:00+00', '', TIMESTAMPTZ '1900-01-01 00:00:00+00', TRUE, TIMESTAMPTZ '1900-01-01 00:00:00+00'
FROM (
    SELECT DISTINCT "customer_id" AS "customer_id" FROM "_staged_5" WHERE "customer_id" IS NOT NULL
) AS "pointed_at"
LEFT JOIN "food_delivery"."dim_customers" AS "held" ON "held"."customer_id" = "pointed_at"."customer_id"
WHERE "held"."customer_id" IS NULL;

CREATE TEMP TABLE "_newest_2" AS
SELECT "restaurant_id", "restaurant_name", "restaurant_rating", "_arrived_at", "_position"
FROM (
    SELECT "restaurant_id", "restaurant_name", "restaurant_rating", "_arrived_at", "_position",
        ROW_NUMBER() OVER (PARTITION BY "restaurant_id" ORDER BY "_arrived_at" DESC, "_position" DESC) AS "_millstream_row"
    FROM "_staged_2"
) AS "ranked"
WHERE "_millstream_row" = 1;

ANALYZE "_newest_2";

UPDATE "food_delivery"."dim_restaurants"
SET "restaurant_name" = "_newest_2"."restaurant_name", "restaurant_rating" = "_newest_2"."restaurant_rating", "_arrived_at" = "_newest_2"."_arrived_at", "_position" = "_newest_2"."_position", "is_inferred" = FALSE
FROM "_newest_2"
WHERE "dim_restaurants"."restaurant_id" = "_newest_2"."restaurant_id"
    AND ("dim_restaurants"."is_inferred" OR ("_newest_2"."_arrived_at" > "dim_restaurants"."_arrived_at" OR ("_newest_2"."_arrived_at" = "dim_restaurants"."_arrived_at" AND "_newest_2"."_position" >= "dim_restaurants"."_position")));

INSERT INTO "food_delivery"."dim_restaurants" ("surrogate_key", "restaurant_id", "restaurant_name", "restaurant_rating", "is_inferred", "_arrived_at", "_position")
SELECT CAST(CAST('x' || substr(md5('15:dim_restaurants,' || CAST(octet_length(CAST("_newest_2"."restaurant_id" AS varchar)) AS varchar) || ':' || CAST("_newest_2"."restaurant_id" AS varchar) || ',17:-2208988800000000,'), 1, 16) AS bit(64)) AS bigint) & 9223372036854775807, "_newest_2"."restaurant_id", "_newest_2"."restaurant_name", "_newest_2"."restaurant_rating", FALSE, "_newest_2"."_arrived_at", "_newest_2"."_position"
FROM "_newest_2"
LEFT JOIN "food_delivery"."dim_restaurants" AS "held" ON "held"."restaurant_id" = "_newest_2"."restaurant_id"
WHERE "held"."restaurant_id" IS NULL;

INSERT INTO "food_delivery"."dim_restaurants" ("surrogate_key", "restaurant_id", "is_inferred", "_arrived_at", "_position")
SELECT CAST(CAST('x' || substr(md5('15:dim_restaurants,' || CAST(octet_length(CAST("pointed_at"."restaurant_id" AS varchar)) AS varchar) || ':' || CAST("pointed_at"."restaurant_id" AS varchar) || ',17:-2208988800000000,'), 1, 16) AS bit(64)) AS bigint) & 9223372036854775807, "pointed_at"."restaurant_id", TRUE, TIMESTAMPTZ '1900-01-01 00:00:00+00', ''
FROM (
    SELECT DISTINCT "restaurant_id" AS "restaurant_id" FROM "_staged_5" WHERE "restaurant_id" IS NOT NULL
) AS "pointed_at"
LEFT JOIN "food_delivery"."dim_restaurants" AS "held" ON "held"."restaurant_id" = "pointed_at"."restaurant_id"
WHERE "held"."restaurant_id" IS NULL;

CREATE TEMP TABLE "_observed_3" AS
WITH "touched" AS (
    SELECT DISTINCT "rider_id" FROM "_staged_3"
),
"seen" AS (
    SELECT "rider_id", "rider_name", GREATEST("_arrived_at", TIMESTAMPTZ '1900-01-01 00:00:00+00') AS "_arrived_at", "_position", 1 AS "_millstream_new"
    FROM "_staged_3"
    UNION ALL
    SELECT "held"."rider_id", "held"."rider_name", "held"."_arrived_at", "held"."_position", 0
    FROM "food_delivery"."dim_delivery_riders" AS "held"
    INNER JOIN "touched" ON "held"."rider_id" = "touched"."rider_id"
    WHERE NOT "held"."is_inferred"
    UNION ALL
    SELECT "held"."rider_id", "held"."rider_name", "held"."_confirmed_at", '', 0
    FROM "food_delivery"."dim_delivery_riders" AS "held"
    INNER JOIN "touched" ON "held"."rider_id" = "touched"."rider_id"
    WHERE NOT "held"."is_inferred" AND "held"."_confirmed_at" > "held"."_arrived_at"
)
SELECT "rider_id", "rider_name", "_arrived_at", "_position"
FROM (
    SELECT "rider_id", "rider_name", "_arrived_at", "_position",
        ROW_NUMBER() OVER (
            PARTITION BY "rider_id", "_arrived_at" ORDER BY "_position" DESC, "_millstream_new" DESC
        ) AS "_millstream_row"
    FROM "seen"
) AS "ranked"
WHERE "_millstream_row" = 1;

ANALYZE "_observed_3";

DELETE FROM "food_delivery"."dim_delivery_riders"
USING "_observed_3"
WHERE "dim_delivery_riders"."rider_id" = "_observed_3"."rider_id";

INSERT INTO "food_delivery"."dim_delivery_riders" ("surrogate_key", "rider_id", "rider_name", "is_inferred", "valid_from", "valid_to", "is_current", "_arrived_at", "_position", "_confirmed_at")
WITH "neighbours" AS (
    SELECT "rider_id", "rider_name", "_arrived_at", "_position",
        MAX("_arrived_at") OVER (PARTITION BY "rider_id") AS "_millstream_last",
        LAG("_arrived_at") OVER (PARTITION BY "rider_id" ORDER BY "_arrived_at") AS "_millstream_before",
        LAG("rider_name") OVER (PARTITION BY "rider_id" ORDER BY "_arrived_at") AS "_millstream_1"
    FROM "_observed_3"
),
"openings" AS (
    SELECT "rider_id", "rider_name", "_arrived_at", "_position", "_millstream_last", "_millstream_before"
    FROM "neighbours"
    WHERE "_millstream_before" IS NULL
        OR NOT COALESCE("rider_name" = "_millstream_1", "rider_name" IS NULL AND "_millstream_1" IS NULL)
),
"versions" AS (
    SELECT "rider_id", "rider_name", "_arrived_at", "_position",
        CASE WHEN "_millstream_before" IS NULL THEN TIMESTAMPTZ '1900-01-01 00:00:00+00' ELSE "_arrived_at" END AS "valid_from",
        CASE WHEN "_millstream_before" IS NULL THEN '-2208988800000000' ELSE CAST((CAST(extract(epoch FROM date_trunc('second', "_arrived_at")) AS bigint) * 1000000 + CAST(extract(microseconds FROM "_arrived_at") AS bigint) % 1000000) AS varchar) END AS "_millstream_from",
        LEAD("_arrived_at") OVER (PARTITION BY "rider_id" ORDER BY "_arrived_at") AS "valid_to",
        COALESCE(LEAD("_millstream_before") OVER (PARTITION BY "rider_id" ORDER BY "_arrived_at"), "_millstream_last") AS "_confirmed_at"
    FROM "openings"
)
SELECT CAST(CAST('x' || substr(md5('19:dim_delivery_riders,' || CAST(octet_length(CAST("versions"."rider_id" AS varchar)) AS varchar) || ':' || CAST("versions"."rider_id" AS varchar) || ',' || CAST(octet_length("_millstream_from") AS varchar) || ':' || "_millstream_from" || ','), 1, 16) AS bit(64)) AS bigint) & 9223372036854775807, "rider_id", "rider_name", FALSE, "valid_from", "valid_to", "valid_to" IS NULL, "_arrived_at", "_position", "_confirmed_at"
FROM "versions";

INSERT INTO "food_delivery"."dim_delivery_riders" ("surrogate_key", "rider_id", "is_inferred", "_arrived_at", "_position", "valid_from", "is_current", "_confirmed_at")
SELECT CAST(CAST('x' || substr(md5('19:dim_delivery_riders,' || CAST(octet_length(CAST("pointed_at"."rider_id" AS varchar)) AS varchar) || ':' || CAST("pointed_at"."rider_id" AS varchar) || ',17:-2208988800000000,'), 1, 16) AS bit(64)) AS bigint) & 9223372036854775807, "pointed_at"."rider_id", TRUE, TIMESTAMPTZ '1900-01-01 00:00:00+00', '', TIMESTAMPTZ '1900-01-01 00:00:00+00', TRUE, TIMESTAMPTZ '1900-01-01 00:00:00+00'
FROM (
    SELECT DISTINCT "rider_id" AS "rider_id" FROM "_staged_5" WHERE "rider_id" IS NOT NULL
) AS "pointed_at"
LEFT JOIN "food_delivery"."dim_delivery_riders" AS "held" ON "held"."rider_id" = "pointed_at"."rider_id"
WHERE "held"."rider_id" IS NULL;

CREATE TEMP TABLE "_newest_4" AS
SELECT "date_key", "date", "is_weekend", "_arrived_at", "_position"
FROM (
    SELECT "date_key", "date", "is_weekend", "_arrived_at", "_position",
        ROW_NUMBER() OVER (PARTITION BY "date_key" ORDER BY "_arrived_at" DESC, "_position" DESC) AS "_millstream_row"
    FROM "_staged_4"
) AS "ranked"
WHERE "_millstream_row" = 1;

ANALYZE "_newest_4";

UPDATE "food_delivery"."dim_date"
SET "date" = "_newest_4"."date", "is_weekend" = "_newest_4"."is_weekend", "_arrived_at" = "_newest_4"."_arrived_at", "_position" = "_newest_4"."_position", "is_inferred" = FALSE
FROM "_newest_4"
WHERE "dim_date"."date_key" = "_newest_4"."date_key"
    AND ("dim_date"."is_inferred" OR ("_newest_4"."_arrived_at" > "dim_date"."_arrived_at" OR ("_newest_4"."_arrived_at" = "dim_date"."_arrived_at" AND "_newest_4"."_position" >= "dim_date"."_position")));

INSERT INTO "food_delivery"."dim_date" ("surrogate_key", "date_key", "date", "is_weekend", "is_inferred", "_arrived_at", "_position")
SELECT CAST(CAST('x' || substr(md5('8:dim_date,' || CAST(octet_length(CAST("_newest_4"."date_key" AS varchar)) AS varchar) || ':' || CAST("_newest_4"."date_key" AS varchar) || ',17:-2208988800000000,'), 1, 16) AS bit(64)) AS bigint) & 9223372036854775807, "_newest_4"."date_key", "_newest_4"."date", "_newest_4"."is_weekend", FALSE, "_newest_4"."_arrived_at", "_newest_4"."_position"
FROM "_newest_4"
LEFT JOIN "food_delivery"."dim_date" AS "held" ON "held"."date_key" = "_newest_4"."date_key"
WHERE "held"."date_key" IS NULL;

CREATE TEMP TABLE "_newest_5" AS
SELECT "order_id", "customer_id", "restaurant_id", "rider_id", "order_date", "order_value", "order_status", "_arrived_at", "_position"
FROM (
    SELECT "order_id", "customer_id", "restaurant_id", "rider_id", "order_date", "order_value", "order_status", "_arrived_at", "_position",
        ROW_NUMBER() OVER (PARTITION BY "order_id" ORDER BY "_arrived_at" DESC, "_position" DESC) AS "_millstream_row"
    FROM "_staged_5"
) AS "ranked"
WHERE "_millstream_row" = 1;

ANALYZE "_newest_5";

UPDATE "food_delivery"."fact_orders"
SET "customer_id" = "_newest_5"."customer_id", "restaurant_id" = "_newest_5"."restaurant_id", "rider_id" = "_newest_5"."rider_id", "order_date" = "_newest_5"."order_date", "order_value" = "_newest_5"."order_value", "order_status" = "_newest_5"."order_status", "_arrived_at" = "_newest_5"."_arrived_at", "_position" = "_newest_5"."_position"
FROM "_newest_5"
WHERE "fact_orders"."order_id" = "_newest_5"."order_id"
    AND ("_newest_5"."_arrived_at" > "fact_orders"."_arrived_at" OR ("_newest_5"."_arrived_at" = "fact_orders"."_arrived_at" AND "_newest_5"."_position" >= "fact_orders"."_position"));

INSERT INTO "food_delivery"."fact_orders" ("order_id", "customer_id", "restaurant_id", "rider_id", "order_date", "order_value", "order_status", "_arrived_at", "_position")
SELECT "_newest_5"."order_id", "_newest_5"."customer_id", "_newest_5"."restaurant_id", "_newest_5"."rider_id", "_newest_5"."order_date", "_newest_5"."order_value", "_newest_5"."order_status", "_newest_5"."_arrived_at", "_newest_5"."_position"
FROM "_newest_5"
LEFT JOIN "food_delivery"."fact_orders" AS "held" ON "held"."order_id" = "_newest_5"."order_id"
WHERE "held"."order_id" IS NULL;

INSERT INTO "food_delivery"."_ledger" ("load_id", "pipeline", "loaded_after", "loaded_through", "attempt", "copied", "loaded_at")
VALUES ('load-1', 'food_delivery', 0, 2, 'a2', '{"dim_customers":10,"dim_date":10,"dim_delivery_riders":10,"dim_restaurants":10,"fact_orders":30}', TIMESTAMPTZ '2026-11-20 16:00:58.007+00');

DROP TABLE "_staged_1", "_observed_1", "_staged_2", "_newest_2", "_staged_3", "_observed_3", "_staged_4", "_newest_4", "_staged_5", "_newest_5";

