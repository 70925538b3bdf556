"""read_parquet.py DIR: every Parquet file in DIR and below it, by path: schema, rows and what its footer says."""

import pathlib
import sys

import pyarrow.parquet as parquet

import plain


def described(root, path):
    # The file alone: no column is made of the folders that it lies in.
    file = parquet.ParquetFile(path)
    footer = file.metadata
    columns = [footer.row_group(group).column(column)
               for group in range(footer.num_row_groups) for column in range(footer.num_columns)]
    return {
        "path": path.relative_to(root).as_posix(),
        "bytes": path.stat().st_size,
        "schema": [{"name": field.name, "type": str(field.type), "nullable": field.nullable}
                   for field in file.schema_arrow],
        "rows": plain.rows(file.read()),
        "metadata": {
            "num_rows": footer.num_rows,
            "row_groups": footer.num_row_groups,
            "created_by": footer.created_by,
            "compressions": sorted({column.compression for column in columns}),
            "keys": sorted(key.decode() for key in (footer.metadata or {})),
        },
    }


if len(sys.argv) != 2:
    sys.exit(f"usage: {sys.argv[0]} DIR")
root = pathlib.Path(sys.argv[1])
plain.answer([described(root, path) for path in sorted(root.rglob("*.parquet"))])
