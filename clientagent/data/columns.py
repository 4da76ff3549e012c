"""How the cells of one column are read: which texts mean missing, what is a number, what is a category."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clientagent.data.findings import Finding
from clientagent.data.store import Store
from clientagent.data.table import MISSING_CODE, Categories, Numbers
from clientagent.wire.plan import as_text

MISSING = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "<na>"})
LARGEST = 1e100
"""Larger numbers are taken for errors: their squares would overflow."""
NOT_CATEGORIES = ("list", "struct", "map", "binary", "large_binary", "union", "extension")


def is_missing(text: str) -> bool:
    return text.casefold() in MISSING


class Blocks(Protocol):
    """Takes a column block by block, and has it as one array in the end."""

    def append(self, block: NDArray[Any]) -> None: ...

    def array(self) -> NDArray[Any]: ...


class InMemory:
    def __init__(self, dtype: type[Any]) -> None:
        self._blocks: list[NDArray[Any]] = [np.empty(0, dtype)]

    def append(self, block: NDArray[Any]) -> None:
        self._blocks.append(block)

    def array(self) -> NDArray[Any]:
        return np.concatenate(self._blocks)


class NumberReader:
    """Collects one numeric column, block by block, and what cannot be read as a number."""

    def __init__(self, name: str, store: Store | None = None) -> None:
        self.name = name
        self._blocks: Blocks = store.column(np.float64) if store else InMemory(np.float64)
        self._rows = 0
        self._bad = self._infinite = 0
        self._first_bad = self._first_infinite = self._bad_type = ""

    def add(self, values: Any) -> None:
        block = self._from_texts(values) if isinstance(values, tuple) else self._from_arrow(values)
        self._count_infinite(block)
        self._blocks.append(block)
        self._rows += len(block)

    def numbers(self) -> Numbers:
        return self._blocks.array()

    def findings(self) -> list[Finding]:
        found = []
        if self._bad_type:
            found.append(Finding(self.name, f"holds values of type {self._bad_type}, not numbers"))
        if self._bad:
            reason = f"{self._bad} values are not numbers, first {self._first_bad}"
            found.append(Finding(self.name, reason, "holds values that are not numbers"))
        if self._infinite:
            reason = f"{self._infinite} values are infinite or beyond {LARGEST:.0e}, first {self._first_infinite}"
            found.append(Finding(self.name, reason, "holds infinite values"))
        return found

    def _from_texts(self, texts: tuple[str, ...]) -> Numbers:
        try:
            if "_" not in "".join(texts):
                return np.array([float(text or "nan") for text in texts])
        except ValueError:
            pass
        return np.array([self._number(text, i) for i, text in enumerate(texts)])

    def _number(self, text: str, i: int) -> float:
        plain = as_text(text)
        if is_missing(plain):
            return np.nan
        try:
            if "_" not in plain:
                return float(plain)
        except ValueError:
            pass
        if not self._bad:
            self._first_bad = f"{text[:40]!r} in row {self._rows + i + 1}"
        self._bad += 1
        return np.nan

    def _from_arrow(self, array: Any) -> Numbers:
        import pyarrow.types as kinds

        kind = array.type
        if kinds.is_dictionary(kind):
            return self._from_arrow(array.dictionary_decode())
        if kinds.is_string(kind) or kinds.is_large_string(kind):
            return self._from_texts(tuple("" if text is None else text for text in array.to_pylist()))
        if kinds.is_boolean(kind):
            array = array.cast("int8")
        elif not (kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_decimal(kind) or kinds.is_null(kind)):
            self._bad_type = str(kind)
            return np.full(len(array), np.nan)
        numbers: Numbers = array.cast("float64", safe=False).to_numpy(zero_copy_only=False)
        return numbers

    def _count_infinite(self, block: Numbers) -> None:
        large = np.flatnonzero(np.abs(block) > LARGEST)
        if len(large) and not self._infinite:
            self._first_infinite = f"{block[large[0]]:g} in row {self._rows + int(large[0]) + 1}"
        self._infinite += len(large)


class CategoryReader:
    """Collects one categorical column, or the label, as codes into its distinct texts."""

    def __init__(self, name: str, store: Store | None = None) -> None:
        self.name = name
        self._codes = _Codes()
        self._blocks: Blocks = store.column(np.int32) if store else InMemory(np.int32)
        self._bad_type = ""

    def add(self, values: Any) -> None:
        if isinstance(values, tuple):
            self._blocks.append(np.fromiter(map(self._codes.__getitem__, values), np.int32, len(values)))
        else:
            self._blocks.append(self._from_arrow(values))

    def categories(self) -> Categories:
        return Categories(self._blocks.array(), list(self._codes.texts))

    def findings(self) -> list[Finding]:
        return [Finding(self.name, f"holds values of type {self._bad_type}, not categories")] if self._bad_type else []

    def _from_arrow(self, array: Any) -> Any:
        kind = str(array.type)
        if kind.startswith(NOT_CATEGORIES):
            self._bad_type = kind
            return np.full(len(array), MISSING_CODE, np.int32)
        encoded = array if kind.startswith("dictionary") else array.dictionary_encode()
        codes = np.array([self._codes[value] for value in encoded.dictionary.to_pylist()] + [MISSING_CODE], np.int32)
        return codes[encoded.indices.fill_null(len(codes) - 1).to_numpy(zero_copy_only=False)]


class _Codes(dict[Any, int]):
    """Raw value to code, worked out once for each distinct raw value."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[str, int] = {}

    def __missing__(self, value: Any) -> int:
        text = "" if value is None else as_text(value)
        code = MISSING_CODE if is_missing(text) else self.texts.setdefault(text, len(self.texts))
        self[value] = code
        return code
