-- dimension of (customer_id), type 2: each version a row
CREATE TABLE dim_customers (
    surrogate_key BIGINT NOT NULL,
    customer_id   INT NOT NULL,
    name          STRING,
    city          STRING,
    is_inferred   BOOLEAN NOT NULL,
    valid_from    TIMESTAMP NOT NULL,
    valid_to      TIMESTAMP,
    is_current    BOOLEAN NOT NULL,
    _arrived_at   TIMESTAMP NOT NULL,
    _position     STRING NOT NULL,
    _confirmed_at TIMESTAMP NOT NULL
) USING DELTA;

-- dimension of (rider_id), type 1: the newest values
CREATE TABLE dim_riders (
    surrogate_key BIGINT NOT NULL,
    rider_id      INT NOT NULL,
    name          STRING,
    is_inferred   BOOLEAN NOT NULL,
    _arrived_at   TIMESTAMP NOT NULL,
    _position     STRING NOT NULL
) USING DELTA;

-- dimension of (restaurant, dish), type 1: the newest values
CREATE TABLE dim_menus (
    surrogate_key BIGINT NOT NULL,
    restaurant    STRING NOT NULL,
    dish          STRING NOT NULL,
    price         DECIMAL(6,2),
    is_inferred   BOOLEAN NOT NULL,
    _arrived_at   TIMESTAMP NOT NULL,
    _position     STRING NOT NULL
) USING DELTA;

-- fact, the newest row of (order_id) wins
CREATE TABLE fact_orders (
    order_id    BIGINT NOT NULL,
    customer_id INT,
    rider_id    INT,
    order_date  DATE,
    order_time  TIMESTAMP,
    local_time  TIMESTAMP_NTZ,
    order_value DECIMAL(10,2),
    status      STRING,
    comment     STRING,
    distance    FLOAT,
    rating      DOUBLE,
    pieces      SMALLINT,
    is_paid     BOOLEAN,
    items       ARRAY<STRUCT<dish: STRING, pieces: INT>>,
    _arrived_at TIMESTAMP NOT NULL,
    _position   STRING NOT NULL
) USING DELTA;

-- fact, without a key: rows are added
CREATE TABLE fact_clicks (
    page        STRING,
    rider_id    INT,
    _arrived_at TIMESTAMP NOT NULL,
    _position   STRING NOT NULL
) USING DELTA;
