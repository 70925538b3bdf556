LOCK TABLE "food_delivery"."_ledger" IN EXCLUSIVE MODE;

-- must be 0
SELECT COALESCE(MAX("loaded_through"), 0) AS "loaded_through" FROM "food_delivery"."_ledger";

CREATE TEMP TABLE "_staged_2" (
    "page" text,
    "rider_id" integer,
    "other_id" integer,
    "_arrived_at" timestamptz,
    "_position" text COLLATE "C"
);

-- copy 1 of fact_clicks into "_staged_2" (page Utf8, rider_id Int32, other_id Int32, _arrived_at Timestamp(µs, "UTC"), _position Utf8) from staged/fact_clicks/1.parquet, staged/fact_clicks/2.parquet: 30 rows

-- copy 2 of fact_views into "food_delivery"."fact_views" (rider_id Int32, page Utf8, _arrived_at Timestamp(µs, "UTC"), _position Utf8) from staged/fact_views/1.parquet: 10 rows

-- copy 3 of fact_views into "food_delivery"."fact_views" (page Utf8, rider_id Int32, other_id Int32, _arrived_at Timestamp(µs, "UTC"), _position Utf8) from staged/fact_views/2.parquet: 20 rows

ANALYZE "_staged_2";

INSERT INTO "food_delivery"."dim_riders" ("surrogate_key", "rider_id", "is_inferred", "_arrived_at", "_position")
SELECT CAST(CAST('x' || substr(md5('10:dim_riders,' || CAST(octet_length(CAST("pointed_at"."rider_id" AS varchar)) AS varchar) || ':' || CAST("pointed_at"."rider_id" AS varchar) || ',17:-2208988800000000,'), 1, 16) AS bit(64)) AS bigint) & 9223372036854775807, "pointed_at"."rider_id", TRUE, TIMESTAMPTZ '1900-01-01 00:00:00+00', ''
FROM (
    SELECT CAST("rider_id" AS bigint) AS "rider_id" FROM "_staged_2" WHERE "rider_id" IS NOT NULL
    UNION
    SELECT CAST("other_id" AS bigint) AS "rider_id" FROM "_staged_2" WHERE "other_id" IS NOT NULL
) AS "pointed_at"
LEFT JOIN "food_delivery"."dim_riders" AS "held" ON "held"."rider_id" = "pointed_at"."rider_id"
WHERE "held"."rider_id" IS NULL;

INSERT INTO "food_delivery"."fact_clicks" ("page", "rider_id", "other_id", "_arrived_at", "_position")
SELECT "page", "rider_id", "other_id", "_arrived_at", "_position"
FROM "_staged_2";

INSERT INTO "food_delivery"."_ledger" ("load_id", "pipeline", "loaded_after", "loaded_through", "attempt", "copied", "loaded_at")
VALUES ('load-1', 'food_delivery', 0, 2, 'a2', '{"fact_clicks":30,"fact_views":30}', TIMESTAMPTZ '2026-11-20 16:00:58.007+00');

DROP TABLE "_staged_2";

