"""read_delta_duckdb.py DIR: as read_delta.py, the rows read by DuckDB from the files that the Delta log names."""

import sys

import duckdb

import delta_tables
import plain


def rows(name, table):
    protocol = table.protocol()
    hidden = {"deletionVectors", "columnMapping"} & set(protocol.reader_features or [])
    if hidden or protocol.min_reader_version == 2:
        sys.exit(f"{name}: its files alone are not its rows: {sorted(hidden) or 'reader version 2'}")
    files = table.file_uris()
    if not files:
        return []
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    columns = ", ".join(f'"{field.name}"' for field in table.schema().fields)
    # A partition column stands in the path alone.
    source = "read_parquet(?, union_by_name = true, hive_partitioning = true)"
    answer = connection.sql(f"SELECT {columns} FROM {source}", params=[files])
    return plain.ordered(plain.rows(answer.to_arrow_table()))


tables = {}
for name, table in delta_tables.opened(delta_tables.folder_argument()):
    tables[name] = delta_tables.described(table, rows(name, table))
plain.answer(tables)
