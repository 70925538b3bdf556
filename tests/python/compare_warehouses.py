"""compare_warehouses.py DIR CONNECTION SCHEMA: whether the tables of a schema are the Delta tables in DIR, row for row.

Delta is read with deltalake, the database with psycopg. Equal: one JSON object with the rows by table, exit code 0. Not
equal: the first differences on stderr, exit code 1.
"""

import sys

import psycopg
from psycopg import sql

import delta_tables
import plain

SHOWN = 10


def stored(connection, schema, table, columns):
    """The rows of a table of the database, with these columns, as plain objects."""
    names = sql.SQL(", ").join(sql.Identifier(column) for column in columns)
    query = sql.SQL("select {} from {}").format(names, sql.Identifier(schema, table))
    return [dict(zip(columns, map(plain.value, row))) for row in connection.execute(query)]


def columns_of(connection, schema, table):
    """The columns that the database says the table has, sorted."""
    query = "select column_name from information_schema.columns where table_schema = %s and table_name = %s"
    return sorted(name for name, in connection.execute(query, (schema, table)))


def differences(table, wanted, found):
    """Rows that only one side has, as sentences."""
    sides = [plain.ordered(rows) for rows in (wanted, found)]
    texts = [[repr(sorted(row.items())) for row in rows] for rows in sides]
    missing, added = (set(texts[0]) - set(texts[1]), set(texts[1]) - set(texts[0]))
    yield from (f"{table}: only Delta has {row}" for row in sorted(missing))
    yield from (f"{table}: only the database has {row}" for row in sorted(added))
    if not missing and not added and len(wanted) != len(found):
        yield f"{table}: {len(wanted)} rows in Delta, {len(found)} in the database"


def main():
    if len(sys.argv) != 4:
        sys.exit(f"usage: {sys.argv[0]} DIR CONNECTION SCHEMA")
    folder, address, schema = sys.argv[1:]
    faults, rows = [], {}
    with psycopg.connect(address) as connection:
        connection.execute("set time zone 'UTC'")
        for name, table in delta_tables.opened(folder):
            if name == "_ledger":
                continue
            wanted = plain.rows(table.to_pyarrow_table())
            columns = [field.name for field in table.schema().fields]
            found = columns_of(connection, schema, name)
            if found != sorted(columns):
                faults.append(f"{name}: the columns are {found} instead of {sorted(columns)}")
                continue
            faults.extend(differences(name, wanted, stored(connection, schema, name, columns)))
            rows[name] = len(wanted)
    if faults:
        sys.exit("\n".join(faults[:SHOWN]))
    plain.answer(rows)


if __name__ == "__main__":
    main()
