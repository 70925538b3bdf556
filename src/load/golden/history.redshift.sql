LOCK "food_delivery"."_ledger";

-- must be 0
SELECT COALESCE(MAX("loaded_through"), 0) AS "loaded_through" FROM "food_delivery"."_ledger";

CREATE TEMP TABLE "_staged_1" (
    "flag" BOOLEAN,
    "small" SMALLINT,
    "word" VARCHAR(65535),
    "day" DATE,
    "amount" DECIMAL(5,2),
    "at" TIMESTAMPTZ,
    "wall" TIMESTAMP,
    "tags" SUPER,
    "inner" SUPER,
    "_arrived_at" TIMESTAMPTZ,
    "_position" VARCHAR(256)
);

-- copy 1 of dim_it's into "_staged_1" (flag Boolean, small Int16, word Utf8, day Date32, amount Decimal128(5, 2), at Timestamp(µs, "UTC"), wall Timestamp(µs), tags List(Int32, field: 'element'), inner Struct("tags": List(Int32, field: 'element')), _arrived_at Timestamp(µs, "UTC"), _position Utf8) from staged/dim_it's/1.parquet: 10 rows

CREATE TEMP TABLE "_observed_1" AS
WITH "touched" AS (
    SELECT DISTINCT "flag", "small", "word", "day", "amount", "at", "wall" FROM "_staged_1"
),
"seen" AS (
    SELECT "flag", "small", "word", "day", "amount", "at", "wall", "tags", "inner", GREATEST("_arrived_at", TIMESTAMPTZ '1900-01-01 00:00:00+00') AS "_arrived_at", "_position", 1 AS "_millstream_new"
    FROM "_staged_1"
    UNION ALL
    SELECT "held"."flag", "held"."small", "held"."word", "held"."day", "held"."amount", "held"."at", "held"."wall", "held"."tags", "held"."inner", "held"."_arrived_at", "held"."_position", 0
    FROM "food_delivery"."dim_it's" AS "held"
    INNER JOIN "touched" ON "held"."flag" = "touched"."flag" AND "held"."small" = "touched"."small" AND "held"."word" = "touched"."word" AND "held"."day" = "touched"."day" AND "held"."amount" = "touched"."amount" AND "held"."at" = "touched"."at" AND "held"."wall" = "touched"."wall"
    WHERE NOT "held"."is_inferred"
    UNION ALL
    SELECT "held"."flag", "held"."small", "held"."word", "held"."day", "held"."amount", "held"."at", "held"."wall", "held"."tags", "held"."inner", "held"."_confirmed_at", '', 0
    FROM "food_delivery"."dim_it's" AS "held"
    INNER JOIN "touched" ON "held"."flag" = "touched"."flag" AND "held"."small" = "touched"."small" AND "held"."word" = "touched"."word" AND "held"."day" = "touched"."day" AND "held"."amount" = "touched"."amount" AND "held"."at" = "touched"."at" AND "held"."wall" = "touched"."wall"
    WHERE NOT "held"."is_inferred" AND "held"."_confirmed_at" > "held"."_arrived_at"
)
SELECT "flag", "small", "word", "day", "amount", "at", "wall", "tags", "inner", "_arrived_at", "_position"
FROM (
    SELECT "flag", "small", "word", "day", "amount", "at", "wall", "tags", "inner", "_arrived_at", "_position",
        ROW_NUMBER() OVER (
            PARTITION BY "flag", "small", "word", "day", "amount", "at", "wall", "_arrived_at" ORDER BY "_position" DESC, "_millstream_new" DESC
        ) AS "_millstream_row"
    FROM "seen"
) AS "ranked"
WHERE "_millstream_row" = 1;

DELETE FROM "food_delivery"."dim_it's"
USING "_observed_1"
WHERE "dim_it's"."flag" = "_observed_1"."flag" AND "dim_it's"."small" = "_observed_1"."small" AND "dim_it's"."word" = "_observed_1"."word" AND "dim_it's"."day" = "_observed_1"."day" AND "dim_it's"."amount" = "_observed_1"."amount" AND "dim_it's"."at" = "_observed_1"."at" AND "dim_it's"."wall" = "_observed_1"."wall";

INSERT INTO "food_delivery"."dim_it's" ("surrogate_key", "flag", "small", "word", "day", "amount", "at", "wall", "tags", "inner", "is_inferred", "valid_from", "valid_to", "is_current", "_arrived_at", "_position", "_confirmed_at")
WITH "neighbours" AS (
    SELECT "flag", "small", "word", "day", "amount", "at", "wall", "tags", "inner", "_arrived_at", "_position",
        MAX("_arrived_at") OVER (PARTITION BY "flag", "small", "word", "day", "amount", "at", "wall") AS "_millstream_last",
        LAG("_arrived_at") OVER (PARTITION BY "flag", "small", "word", "day", "amount", "at", "wall" ORDER BY "_arrived_at") AS "_millstream_before",
        LAG(JSON_SERIALIZE("tags")) OVER (PARTITION BY "flag", "small", "word", "day", "amount", "at", "wall" ORDER BY "_arrived_at") AS "_millstream_1",
        LAG(JSON_SERIALIZE("inner")) OVER (PARTITION BY "flag", "small", "word", "day", "amount", "at", "wall" ORDER BY "_arrived_at") AS "_millstream_2"
    FROM "_observed_1"
),
"openings" AS (
    SELECT "flag", "small", "word", "day", "amount", "at", "wall", "tags", "inner", "_arrived_at", "_position", "_millstream_last", "_millstream_before"
    FROM "neighbours"
    WHERE "_millstream_before" IS NULL
        OR NOT COALESCE(JSON_SERIALIZE("tags") = "_millstream_1", JSON_SERIALIZE("tags") IS NULL AND "_millstream_1" IS NULL)
        OR NOT COALESCE(JSON_SERIALIZE("inner") = "_millstream_2", JSON_SERIALIZE("inner") IS NULL AND "_millstream_2" IS NULL)
),
"versions" AS (
    SELECT "flag", "small", "word", "day", "amount", "at", "wall", "tags", "inner", "_arrived_at", "_position",
        CASE WHEN "_millstream_before" IS NULL THEN TIMESTAMPTZ '1900-01-01 00:00:00+00' ELSE "_arrived_at" END AS "valid_from",
        CASE WHEN "_millstream_before" IS NULL THEN '-2208988800000000' ELSE CAST(DATEDIFF(microsecond, TIMESTAMP '1970-01-01 00:00:00', "_arrived_at" AT TIME ZONE 'UTC') AS varchar) END AS "_millstream_from",
        LEAD("_arrived_at") OVER (PARTITION BY "flag", "small", "word", "day", "amount", "at", "wall" ORDER BY "_arrived_at") AS "valid_to",
        COALESCE(LEAD("_millstream_before") OVER (PARTITION BY "flag", "small", "word", "day", "amount", "at", "wall" ORDER BY "_arrived_at"), "_millstream_last") AS "_confirmed_at"
    FROM "openings"
)
SELECT STRTOL(SUBSTRING(md5('8:dim_it''s,' || CAST(octet_length(CASE WHEN "versions"."flag" THEN 'true' ELSE 'false' END) AS varchar) || ':' || CASE WHEN "versions"."flag" THEN 'true' ELSE 'false' END || ',' || CAST(octet_length(CAST("versions"."small" AS varchar)) AS varchar) || ':' || CAST("versions"."small" AS varchar) || ',' || CAST(octet_length("versions"."word") AS varchar) || ':' || "versions"."word" || ',' || CAST(octet_length(to_char("versions"."day", 'YYYY-MM-DD')) AS varchar) || ':' || to_char("versions"."day", 'YYYY-MM-DD') || ',' || CAST(octet_length(CAST("versions"."amount" AS varchar)) AS varchar) || ':' || CAST("versions"."amount" AS varchar) || ',' || CAST(octet_length(CAST(DATEDIFF(microsecond, TIMESTAMP '1970-01-01 00:00:00', "versions"."at" AT TIME ZONE 'UTC') AS varchar)) AS varchar) || ':' || CAST(DATEDIFF(microsecond, TIMESTAMP '1970-01-01 00:00:00', "versions"."at" AT TIME ZONE 'UTC') AS varchar) || ',' || CAST(octet_length(CAST(DATEDIFF(microsecond, TIMESTAMP '1970-01-01 00:00:00', "versions"."wall") AS varchar)) AS varchar) || ':' || CAST(DATEDIFF(microsecond, TIMESTAMP '1970-01-01 00:00:00', "versions"."wall") AS varchar) || ',' || CAST(octet_length("_millstream_from") AS varchar) || ':' || "_millstream_from" || ','), 1, 8), 16) % 2147483648 * 4294967296 + STRTOL(SUBSTRING(md5('8:dim_it''s,' || CAST(octet_length(CASE WHEN "versions"."flag" THEN 'true' ELSE 'false' END) AS varchar) || ':' || CASE WHEN "versions"."flag" THEN 'true' ELSE 'false' END || ',' || CAST(octet_length(CAST("versions"."small" AS varchar)) AS varchar) || ':' || CAST("versions"."small" AS varchar) || ',' || CAST(octet_length("versions"."word") AS varchar) || ':' || "versions"."word" || ',' || CAST(octet_length(to_char("versions"."day", 'YYYY-MM-DD')) AS varchar) || ':' || to_char("versions"."day", 'YYYY-MM-DD') || ',' || CAST(octet_length(CAST("versions"."amount" AS varchar)) AS varchar) || ':' || CAST("versions"."amount" AS varchar) || ',' || CAST(octet_length(CAST(DATEDIFF(microsecond, TIMESTAMP '1970-01-01 00:00:00', "versions"."at" AT TIME ZONE 'UTC') AS varchar)) AS varchar) || ':' || CAST(DATEDIFF(microsecond, TIMESTAMP '1970-01-01 00:00:00', "versions"."at" AT TIME ZONE 'UTC') AS varchar) || ',' || CAST(octet_length(CAST(DATEDIFF(microsecond, TIMESTAMP '1970-01-01 00:00:00', "versions"."wall") AS varchar)) AS varchar) || ':' || CAST(DATEDIFF(microsecond, TIMESTAMP '1970-01-01 00:00:00', "versions"."wall") AS varchar) || ',' || CAST(octet_length("_millstream_from") AS varchar) || ':' || "_millstream_from" || ','), 9, 8), 16), "flag", "small", "word", "day", "amount", "at", "wall", "tags", "inner", FALSE, "valid_from", "valid_to", "valid_to" IS NULL, "_arrived_at", "_position", "_confirmed_at"
FROM "versions";

INSERT INTO "food_delivery"."_ledger" ("load_id", "pipeline", "loaded_after", "loaded_through", "attempt", "copied", "loaded_at")
VALUES ('load-1', 'food_delivery', 0, 1, 'a1', '{"dim_it''s":10}', TIMESTAMPTZ '2026-11-20 16:00:58.007+00');

DROP TABLE "_staged_1", "_observed_1";

