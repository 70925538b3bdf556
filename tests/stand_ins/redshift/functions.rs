//! The functions that Redshift has, by name: a list of what is known, so that what PostgreSQL alone knows is refused.

/// Aggregates; as window functions with an ORDER BY they want a frame.
const AGGREGATES: &[&str] = &[
    "avg",
    "bit_and",
    "bit_or",
    "bool_and",
    "bool_or",
    "count",
    "max",
    "median",
    "min",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "sum",
    "var_pop",
    "var_samp",
    "variance",
];

/// Window functions that want a frame as aggregates do.
const FRAMED: &[&str] = &["first_value", "last_value", "nth_value"];

/// Window functions that take no frame.
const UNFRAMED: &[&str] =
    &["cume_dist", "dense_rank", "lag", "lead", "ntile", "percent_rank", "rank", "ratio_to_report", "row_number"];

/// All others.
const SCALARS: &[&str] = &[
    "abs",
    "add_months",
    "any_value",
    "ascii",
    "bpcharcmp",
    "btrim",
    "cast",
    "cbrt",
    "ceil",
    "ceiling",
    "char_length",
    "character_length",
    "charindex",
    "checksum",
    "chr",
    "coalesce",
    "concat",
    "convert_timezone",
    "cos",
    "crc32",
    "current_database",
    "current_date",
    "current_schema",
    "current_setting",
    "current_user",
    "date_part",
    "date_trunc",
    "dateadd",
    "datediff",
    "decode",
    "exp",
    "floor",
    "fnv_hash",
    "from_hex",
    "func_sha1",
    "getdate",
    "greatest",
    "has_schema_privilege",
    "has_table_privilege",
    "initcap",
    "is_valid_json",
    "json_extract_path_text",
    "json_parse",
    "json_serialize",
    "json_typeof",
    "last_day",
    "least",
    "left",
    "len",
    "length",
    "listagg",
    "ln",
    "log",
    "lower",
    "lpad",
    "ltrim",
    "md5",
    "mod",
    "months_between",
    "next_day",
    "nullif",
    "nvl",
    "nvl2",
    "octet_length",
    "pg_backend_pid",
    "pg_last_copy_count",
    "pg_last_copy_id",
    "pg_last_query_id",
    "pi",
    "position",
    "power",
    "quote_ident",
    "quote_literal",
    "random",
    "regexp_count",
    "regexp_instr",
    "regexp_replace",
    "regexp_substr",
    "repeat",
    "replace",
    "reverse",
    "right",
    "round",
    "rpad",
    "rtrim",
    "session_user",
    "sha1",
    "sha2",
    "sign",
    "sin",
    "split_part",
    "sqrt",
    "strpos",
    "strtol",
    "substr",
    "substring",
    "sysdate",
    "tan",
    "textlen",
    "to_char",
    "to_date",
    "to_hex",
    "to_number",
    "to_timestamp",
    "translate",
    "trim",
    "trunc",
    "upper",
    "version",
];

/// Functions whose first argument names a part of a date without quotes.
const DATE_PARTS: &[&str] = &["date_part", "dateadd", "datediff"];

pub(super) fn is_known(name: &str) -> bool {
    [AGGREGATES, FRAMED, UNFRAMED, SCALARS].iter().any(|list| list.contains(&name))
}

pub(super) fn wants_a_frame(name: &str) -> bool {
    AGGREGATES.contains(&name) || FRAMED.contains(&name)
}

pub(super) fn takes_no_frame(name: &str) -> bool {
    UNFRAMED.contains(&name)
}

pub(super) fn starts_with_a_date_part(name: &str) -> bool {
    DATE_PARTS.contains(&name)
}
