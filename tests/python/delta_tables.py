"""The Delta tables in a folder, opened with the deltalake package."""

import pathlib
import sys

from deltalake import DeltaTable


def opened(folder):
    """Each table as (name, DeltaTable), by name."""
    tables = [path for path in sorted(pathlib.Path(folder).iterdir()) if (path / "_delta_log").is_dir()]
    return [(path.name, DeltaTable(str(path))) for path in tables]


def described(table, rows):
    """What both readers say of a table."""
    return {
        "version": table.version(),
        "versions": table.version() + 1,
        "columns": [[field.name, str(field.type.to_json()).strip('"')] for field in table.schema().fields],
        "rows": rows,
    }


def folder_argument():
    """The one argument."""
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} DIR")
    return sys.argv[1]
