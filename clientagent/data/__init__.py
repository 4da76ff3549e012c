"""The bank's table: ``check_table`` reports every problem, ``read_table`` raises, ``split_rows`` says which rows train."""

from clientagent.data.check import check_table, read_table
from clientagent.data.findings import Finding, Report, TableUnfit
from clientagent.data.splits import Split, split_rows
from clientagent.data.store import Room
from clientagent.data.table import Categories, Table

__all__ = ["Categories", "Finding", "Report", "Room", "Split", "Table", "TableUnfit", "check_table", "read_table", "split_rows"]
