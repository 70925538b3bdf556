"""read_delta.py DIR: every Delta table in DIR, its rows read by the deltalake package (delta-rs and its own scan)."""

import delta_tables
import plain

tables = {}
for name, table in delta_tables.opened(delta_tables.folder_argument()):
    rows = plain.ordered(plain.rows(table.to_pyarrow_table()))
    tables[name] = delta_tables.described(table, rows)
plain.answer(tables)
