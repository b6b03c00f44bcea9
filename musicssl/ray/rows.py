"""The stage before the others, for the rows of a Ray data set."""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from musicssl.errors import MusicSSLError
from musicssl.folder.ledger import FileStat
from musicssl.folder.listing import Item
from musicssl.folder.origin import Held
from musicssl.folder.reading import Taken
from musicssl.folder.remote import remote_item
from musicssl.ray.decoding import is_done
from musicssl.source_names import absolute, is_url, listed_name


@dataclass(frozen=True)
class Pending:
    """The stage before the others, for data sets of one's own: their rows to items.

    Those that have a result are their name alone.

    Parameters
    ----------
    done
        As for `Decode`.
    """

    done: NDArray[np.uint64]

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Return the items of a block."""
        taken = [_item_of(row) for row in rows.to_pylist()]
        items = [pickle.dumps(one[0].key if is_done(self.done, *one) else one) for one in taken]
        return pa.table({"item": pa.array(items, pa.large_binary())})


def _item_of(row: dict[str, Any]) -> Taken:
    """Return a row as an item."""
    data, path = row.get("bytes"), row.get("path")
    name = str(row.get("source") or path)
    item = Item(name, Path(name), given=True)
    seen = FileStat()
    if isinstance(data, bytes):
        seen = FileStat(len(data))
        return item._replace(where=name, origin=Held(data, name, seen)), seen
    if not isinstance(path, str):
        return item._replace(error=f"the row has no path and no bytes, but {list(row)}"), seen
    try:
        if is_url(path):
            item = remote_item(name, path)
        else:
            named = name if row.get("source") else listed_name(path)
            item = item._replace(key=named, path=absolute(path))
        return item, item.seen()
    except MusicSSLError as error:
        return item._replace(where=path, error=str(error)), seen
    except OSError as error:
        return item._replace(error=error.strerror or str(error)), seen
