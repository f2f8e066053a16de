"""Labels and prompts of a source, whatever its layout: what every command reads tables through."""

from collections.abc import Iterator, Sequence

from pointsman.backends.data.layouts import OUTCOMES, layout_of
from pointsman.backends.data.prompts import PROMPT_COLUMNS, decode_prompt
from pointsman.backends.data.sources import Input, Source, source_name
from pointsman.backends.data.tables import Table, column_names, iter_batches, read_table, renamed
from pointsman.core.errors import DataError

__all__ = ["label_columns", "prompt_texts", "read_labels", "read_prompts"]

_OPTIONAL = ("cost_usd", "dataset")


def prompt_texts(table: Table, column: str | None = None) -> list[str]:
    """The prompt of every row, "" where it has none: the one reader of prompts that every command uses.

    Args:
        column: where the prompts are; None takes the layout's own place, column `prompt`, or a conversation.

    Raises:
        DataError: there is no such column, or a value is a number.
    """
    if column is None:
        layout = layout_of(table.columns)
        if layout is not None and layout.prompt is not None:
            return [layout.prompt(row) for row in table.rows()]
        column = next((name for name in PROMPT_COLUMNS if name in table.columns), "prompt")
    values = table.column(column)
    for row, value in enumerate(values, table.first_row):
        if isinstance(value, int | float) and value == value:
            where = f"{table.source}, row {row}"
            raise DataError(f"{where}: {column} is {value!r}, wanted a text, a list of turns or of messages")
    return [decode_prompt(value) for value in values]


def read_prompts(source: Source, *, batch_rows: int = 8192) -> Iterator[tuple[Table, list[str]]]:
    """The rows of a source, batch by batch, as they are, and their prompts.

    Columns that an `Input` renames keep their own names in the tables; its `prompt` is where the prompts are.

    Raises:
        DataError: see `prompt_texts` and `read_table`.
    """
    plain, column = (source.source, source.columns.get("prompt")) if isinstance(source, Input) else (source, None)
    for table in iter_batches(plain, batch_rows=batch_rows):
        yield table, prompt_texts(table, column)


def label_columns(source: Source) -> list[str]:
    """Names of the columns that `read_labels` gives, and of those that it leaves as they are."""
    for batch in iter_batches(source, batch_rows=1):
        return list(_labelled_names(batch))
    raise DataError(f"{source_name(source)} holds no rows")


def read_labels(source: Source, *, columns: Sequence[str] | None = None) -> Table:
    """A table of outcomes or battles, from any layout, with decoded prompts.

    Args:
        columns: those to keep of a table that needs no conversion.

    Raises:
        DataError: the source is malformed or lacks a column.
    """
    names = column_names(source)
    layout = layout_of(names)
    if layout is None:
        place = next((name for name in PROMPT_COLUMNS if name in names), "prompt")
        kept = None if columns is None else list(dict.fromkeys(place if name == "prompt" else name for name in columns))
        table = read_table(source, columns=kept)
        return renamed(table, {"prompt": place}).with_columns({"prompt": prompt_texts(table, place)})
    table = read_table(source)
    if layout.whole is not None:
        rows = layout.whole(table)
    else:
        rows = [made for row in table.rows() for made in layout.rows(row)]
    if not rows:
        raise DataError(f"{table.source} looks like {layout.name}, but no row has a model and its score")
    found = list(dict.fromkeys(name for row in rows for name in row))
    return Table({name: [row.get(name) for row in rows] for name in found}, table.source, table.first_row)


def _labelled_names(batch: Table) -> Sequence[str]:
    layout = layout_of(batch.columns)
    if layout is not None:
        made = layout.rows(batch.rows()[0]) if layout.whole is None else []
        further = [name for name in (made[0] if made else {}) if name not in (*layout.columns, *_OPTIONAL)]
        return (*layout.columns, *(_OPTIONAL if layout.columns == OUTCOMES else ()), *further)
    chat = "prompt" not in batch.columns and any(name in batch.columns for name in PROMPT_COLUMNS)
    return (*batch.columns, "prompt") if chat else list(batch.columns)
