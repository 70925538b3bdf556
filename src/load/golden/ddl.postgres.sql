CREATE SCHEMA IF NOT EXISTS "food_delivery";

-- the ledger: one row a load
CREATE TABLE IF NOT EXISTS "food_delivery"."_ledger" (
    "load_id"        text NOT NULL,
    "pipeline"       text NOT NULL,
    "loaded_after"   bigint NOT NULL,
    "loaded_through" bigint NOT NULL,
    "attempt"        text NOT NULL,
    "copied"         text NOT NULL,
    "loaded_at"      timestamptz NOT NULL,
    PRIMARY KEY ("loaded_through")
);

-- dimension of (customer_id), type 2: each version a row
CREATE TABLE IF NOT EXISTS "food_delivery"."dim_customers" (
    "surrogate_key" bigint NOT NULL,
    "customer_id"   integer NOT NULL,
    "name"          text,
    "city"          text,
    "is_inferred"   boolean NOT NULL,
    "valid_from"    timestamptz NOT NULL,
    "valid_to"      timestamptz,
    "is_current"    boolean NOT NULL,
    "_arrived_at"   timestamptz NOT NULL,
    "_position"     text COLLATE "C" NOT NULL,
    "_confirmed_at" timestamptz NOT NULL,
    PRIMARY KEY ("surrogate_key"),
    UNIQUE ("customer_id", "valid_from")
);

-- dimension of (rider_id), type 1: the newest values
CREATE TABLE IF NOT EXISTS "food_delivery"."dim_riders" (
    "surrogate_key" bigint NOT NULL,
    "rider_id"      integer NOT NULL,
    "name"          text,
    "is_inferred"   boolean NOT NULL,
    "_arrived_at"   timestamptz NOT NULL,
    "_position"     text COLLATE "C" NOT NULL,
    PRIMARY KEY ("rider_id")
);

-- dimension of (restaurant, dish), type 1: the newest values
CREATE TABLE IF NOT EXISTS "food_delivery"."dim_menus" (
    "surrogate_key" bigint NOT NULL,
    "restaurant"    text NOT NULL,
    "dish"          text NOT NULL,
    "price"         numeric(6,2),
    "is_inferred"   boolean NOT NULL,
    "_arrived_at"   timestamptz NOT NULL,
    "_position"     text COLLATE "C" NOT NULL,
    PRIMARY KEY ("restaurant", "dish")
);

-- fact, the newest row of (order_id) wins
CREATE TABLE IF NOT EXISTS "food_delivery"."fact_orders" (
    "order_id"    bigint NOT NULL,
    "customer_id" integer,
    "rider_id"    integer,
    "order_date"  date,
    "order_time"  timestamptz,
    "local_time"  timestamp,
    "order_value" numeric(10,2),
    "status"      text,
    "comment"     text,
    "distance"    real,
    "rating"      double precision,
    "pieces"      smallint,
    "is_paid"     boolean,
    "items"       jsonb,
    "_arrived_at" timestamptz NOT NULL,
    "_position"   text COLLATE "C" NOT NULL,
    PRIMARY KEY ("order_id")
);

-- fact, without a key: rows are added
CREATE TABLE IF NOT EXISTS "food_delivery"."fact_clicks" (
    "page"        text,
    "rider_id"    integer,
    "_arrived_at" timestamptz NOT NULL,
    "_position"   text COLLATE "C" NOT NULL
);
