CREATE SCHEMA IF NOT EXISTS "food_delivery";

-- the ledger: one row a load
CREATE TABLE IF NOT EXISTS "food_delivery"."_ledger" (
    "load_id"        VARCHAR(64) ENCODE zstd NOT NULL,
    "pipeline"       VARCHAR(127) ENCODE zstd NOT NULL,
    "loaded_after"   BIGINT ENCODE az64 NOT NULL,
    "loaded_through" BIGINT ENCODE raw NOT NULL,
    "attempt"        VARCHAR(64) ENCODE zstd NOT NULL,
    "copied"         VARCHAR(65535) ENCODE zstd NOT NULL,
    "loaded_at"      TIMESTAMPTZ ENCODE az64 NOT NULL,
    PRIMARY KEY ("loaded_through")
)
DISTSTYLE ALL
SORTKEY ("loaded_through");

-- dimension of (customer_id), type 2: each version a row
CREATE TABLE IF NOT EXISTS "food_delivery"."dim_customers" (
    "surrogate_key" BIGINT ENCODE az64 NOT NULL,
    "customer_id"   INTEGER ENCODE raw NOT NULL,
    "name"          VARCHAR(64) ENCODE zstd,
    "city"          VARCHAR(40) ENCODE zstd,
    "is_inferred"   BOOLEAN ENCODE raw NOT NULL,
    "valid_from"    TIMESTAMPTZ ENCODE az64 NOT NULL,
    "valid_to"      TIMESTAMPTZ ENCODE az64,
    "is_current"    BOOLEAN ENCODE raw NOT NULL,
    "_arrived_at"   TIMESTAMPTZ ENCODE az64 NOT NULL,
    "_position"     VARCHAR(256) ENCODE zstd NOT NULL,
    "_confirmed_at" TIMESTAMPTZ ENCODE az64 NOT NULL,
    PRIMARY KEY ("surrogate_key")
)
DISTSTYLE ALL
SORTKEY ("customer_id");

-- dimension of (rider_id), type 1: the newest values
CREATE TABLE IF NOT EXISTS "food_delivery"."dim_riders" (
    "surrogate_key" BIGINT ENCODE az64 NOT NULL,
    "rider_id"      INTEGER ENCODE raw NOT NULL,
    "name"          VARCHAR(64) ENCODE zstd,
    "is_inferred"   BOOLEAN ENCODE raw NOT NULL,
    "_arrived_at"   TIMESTAMPTZ ENCODE az64 NOT NULL,
    "_position"     VARCHAR(256) ENCODE zstd NOT NULL,
    PRIMARY KEY ("rider_id")
)
DISTSTYLE ALL
SORTKEY ("rider_id");

-- dimension of (restaurant, dish), type 1: the newest values
CREATE TABLE IF NOT EXISTS "food_delivery"."dim_menus" (
    "surrogate_key" BIGINT ENCODE az64 NOT NULL,
    "restaurant"    VARCHAR(65535) ENCODE zstd NOT NULL,
    "dish"          VARCHAR(65535) ENCODE raw NOT NULL,
    "price"         DECIMAL(6,2) ENCODE az64,
    "is_inferred"   BOOLEAN ENCODE raw NOT NULL,
    "_arrived_at"   TIMESTAMPTZ ENCODE az64 NOT NULL,
    "_position"     VARCHAR(256) ENCODE zstd NOT NULL,
    PRIMARY KEY ("restaurant", "dish")
)
DISTSTYLE KEY
DISTKEY ("restaurant")
SORTKEY ("dish", "restaurant");

-- fact, the newest row of (order_id) wins
CREATE TABLE IF NOT EXISTS "food_delivery"."fact_orders" (
    "order_id"    BIGINT ENCODE az64 NOT NULL,
    "customer_id" INTEGER ENCODE az64,
    "rider_id"    INTEGER ENCODE az64,
    "order_date"  DATE ENCODE az64,
    "order_time"  TIMESTAMPTZ ENCODE az64,
    "local_time"  TIMESTAMP ENCODE az64,
    "order_value" DECIMAL(10,2) ENCODE az64,
    "status"      VARCHAR(32) ENCODE zstd,
    "comment"     VARCHAR(65535) ENCODE zstd,
    "distance"    REAL ENCODE zstd,
    "rating"      DOUBLE PRECISION ENCODE zstd,
    "pieces"      SMALLINT ENCODE az64,
    "is_paid"     BOOLEAN ENCODE raw,
    "items"       SUPER ENCODE zstd,
    "_arrived_at" TIMESTAMPTZ ENCODE raw NOT NULL,
    "_position"   VARCHAR(256) ENCODE zstd NOT NULL,
    PRIMARY KEY ("order_id")
)
DISTSTYLE KEY
DISTKEY ("order_id")
SORTKEY ("_arrived_at");

-- fact, without a key: rows are added
CREATE TABLE IF NOT EXISTS "food_delivery"."fact_clicks" (
    "page"        VARCHAR(65535) ENCODE bytedict,
    "rider_id"    INTEGER ENCODE az64,
    "_arrived_at" TIMESTAMPTZ ENCODE raw NOT NULL,
    "_position"   VARCHAR(256) ENCODE zstd NOT NULL
)
DISTSTYLE KEY
DISTKEY ("rider_id")
SORTKEY ("_arrived_at");
