"""Tables of PIE-Bench++ as a hub distributes them: a Parquet file for each kind of edit, with the images in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from editkit import BadFile, WeightsUnavailable


def read_tables(files: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Return the rows of tables by their ids, as annotations whose ``image`` is the bytes of a file.

    Raises WeightsUnavailable without pyarrow, BadFile for a table that cannot be read.
    """
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise WeightsUnavailable(
            f"the tables in {str(files[0].parent.parent)!r} need pyarrow: pip install 'editkit[batch]', or give "
            "a folder with mapping_file.json"
        ) from error
    entries: dict[str, dict[str, Any]] = {}
    for file in files:
        try:
            rows = parquet.read_table(file).to_pylist()
            for row in rows:
                image = {"image": row["image"]["bytes"], "image_path": f"{file.parent.name}/{row['id']}"}
                entries[f"{file.parent.name} {row['id']}"] = {**row, **image}
        except Exception as error:  # of pyarrow, and of rows without these columns
            raise BadFile(f"table {str(file)!r} cannot be read as one of PIE-Bench++: {error}") from error
    return entries
