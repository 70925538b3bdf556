-- What Redshift has and PostgreSQL has not, in the schema that is always searched.
SET allow_system_table_mods = on;

CREATE FUNCTION pg_catalog.pg_last_copy_count() RETURNS bigint LANGUAGE sql AS
$$ SELECT coalesce(nullif(current_setting('standin.copied', true), ''), '0')::bigint $$;

CREATE FUNCTION pg_catalog.getdate() RETURNS timestamp LANGUAGE sql STABLE AS
$$ SELECT date_trunc('second', transaction_timestamp() AT TIME ZONE 'UTC') $$;

CREATE FUNCTION pg_catalog.len(text) RETURNS integer LANGUAGE sql IMMUTABLE AS $$ SELECT length($1) $$;

CREATE FUNCTION pg_catalog.json_parse(text) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$ SELECT $1::jsonb $$;

CREATE FUNCTION pg_catalog.json_serialize(jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT $1::text $$;

CREATE FUNCTION pg_catalog.json_typeof(jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT jsonb_typeof($1) $$;

-- Digits beyond the 64 bits of a BIGINT are an error, as in Redshift.
CREATE FUNCTION pg_catalog.strtol(digits text, base integer) RETURNS bigint LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
    value numeric := 0;
    digit integer;
    sign integer := 1;
    body text := lower(digits);
BEGIN
    IF left(body, 1) = '-' THEN
        sign := -1;
        body := substr(body, 2);
    END IF;
    IF body = '' THEN
        RAISE EXCEPTION 'The input %s is not valid to be converted to base %', digits, base USING ERRCODE = '22023';
    END IF;
    FOR place IN 1 .. length(body) LOOP
        digit := position(substr(body, place, 1) IN '0123456789abcdefghijklmnopqrstuvwxyz') - 1;
        IF digit < 0 OR digit >= base THEN
            RAISE EXCEPTION 'The input %s is not valid to be converted to base %', digits, base USING ERRCODE = '22023';
        END IF;
        value := value * base + digit;
    END LOOP;
    IF sign * value NOT BETWEEN -9223372036854775808 AND 9223372036854775807 THEN
        RAISE EXCEPTION 'The input %s is out of range for BIGINT', digits USING ERRCODE = '22003';
    END IF;
    RETURN sign * value;
END $$;

-- Counts the boundaries of the part that lie between the two, as Redshift does.
CREATE FUNCTION pg_catalog.datediff(part text, starts timestamp, ends timestamp) RETURNS bigint LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
    months bigint;
BEGIN
    months := (extract(year FROM ends) - extract(year FROM starts)) * 12
        + extract(month FROM ends) - extract(month FROM starts);
    CASE lower(part)
        WHEN 'microsecond', 'microseconds', 'us' THEN
            RETURN (extract(epoch FROM ends) * 1000000)::bigint - (extract(epoch FROM starts) * 1000000)::bigint;
        WHEN 'millisecond', 'milliseconds', 'ms' THEN
            RETURN floor(extract(epoch FROM ends) * 1000) - floor(extract(epoch FROM starts) * 1000);
        WHEN 'second', 'seconds', 's' THEN
            RETURN floor(extract(epoch FROM ends)) - floor(extract(epoch FROM starts));
        WHEN 'minute', 'minutes', 'm' THEN
            RETURN floor(extract(epoch FROM ends) / 60) - floor(extract(epoch FROM starts) / 60);
        WHEN 'hour', 'hours', 'h' THEN
            RETURN floor(extract(epoch FROM ends) / 3600) - floor(extract(epoch FROM starts) / 3600);
        WHEN 'day', 'days', 'd' THEN
            RETURN ends::date - starts::date;
        WHEN 'week', 'weeks', 'w' THEN
            RETURN (date_trunc('week', ends)::date - date_trunc('week', starts)::date) / 7;
        WHEN 'month', 'months', 'mon' THEN
            RETURN months;
        WHEN 'quarter', 'quarters', 'qtr' THEN
            RETURN (extract(year FROM ends) - extract(year FROM starts)) * 4
                + extract(quarter FROM ends) - extract(quarter FROM starts);
        WHEN 'year', 'years', 'y' THEN
            RETURN extract(year FROM ends) - extract(year FROM starts);
        ELSE
            RAISE EXCEPTION 'timestamp units "%" not recognized', part USING ERRCODE = '22023';
    END CASE;
END $$;

CREATE FUNCTION pg_catalog.datediff(part text, starts timestamptz, ends timestamptz) RETURNS bigint LANGUAGE sql IMMUTABLE AS
$$ SELECT pg_catalog.datediff(part, starts AT TIME ZONE 'UTC', ends AT TIME ZONE 'UTC') $$;

CREATE FUNCTION pg_catalog.dateadd(part text, count bigint, moment timestamp) RETURNS timestamp LANGUAGE sql IMMUTABLE AS
$$ SELECT moment + count * ('1 ' || CASE lower(part) WHEN 'quarter' THEN 'month' ELSE part END)::interval
       * CASE lower(part) WHEN 'quarter' THEN 3 ELSE 1 END $$;

-- Written by failed COPYs through a connection of their own, so that they outlive the rollback.
CREATE TABLE pg_catalog.standin_load_errors (
    query_id bigint GENERATED ALWAYS AS IDENTITY,
    session_id integer, file_name text, line_number bigint, column_name text, column_type text,
    column_length text, error_code integer, error_message text, raw_value text,
    start_time timestamp DEFAULT (clock_timestamp() AT TIME ZONE 'UTC')
);

CREATE VIEW pg_catalog.sys_load_error_detail AS
SELECT 100 AS user_id, query_id, query_id AS transaction_id, session_id, current_database()::text AS database_name,
    0 AS table_id, start_time, rpad(file_name, 256) AS file_name, line_number, rpad(column_name, 127) AS column_name,
    rpad(column_type, 10) AS column_type, rpad(column_length, 10) AS column_length, 0 AS position, error_code,
    rpad(error_message, 512) AS error_message
FROM pg_catalog.standin_load_errors;

CREATE VIEW pg_catalog.stl_load_errors AS
SELECT 100 AS userid, 0 AS slice, 0 AS tbl, start_time AS starttime, session_id AS session, query_id AS query,
    rpad(file_name, 256) AS filename, line_number, rpad(column_name, 127) AS colname, rpad(column_type, 10) AS type,
    rpad(column_length, 10) AS col_length, 0 AS position, rpad(raw_value, 1024) AS raw_line,
    rpad(raw_value, 1024) AS raw_field_value, error_code AS err_code, rpad(error_message, 100) AS err_reason
FROM pg_catalog.standin_load_errors;

CREATE VIEW pg_catalog.svv_columns AS
SELECT table_catalog, table_schema, table_name, column_name, ordinal_position, column_default, is_nullable,
    CASE data_type WHEN 'jsonb' THEN 'super' ELSE data_type END AS data_type,
    character_maximum_length, numeric_precision, numeric_precision_radix, numeric_scale, datetime_precision,
    interval_type, interval_precision, character_set_catalog, character_set_schema, character_set_name,
    collation_catalog, collation_schema, collation_name, domain_name, NULL::text AS remarks
FROM information_schema.columns;

CREATE VIEW pg_catalog.svv_tables AS
SELECT table_catalog, table_schema, table_name, table_type, NULL::text AS remarks FROM information_schema.tables;
