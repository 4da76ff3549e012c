"""Makes the demo's data: seeded applications for credit, or card payments, at four banks that differ."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class DemoBank:
    """One bank's market: how many customers, how young and how rich, how risky, how often a field is left empty."""

    slug: str
    name: str
    rows: int
    age: float
    income: float
    risk: float
    missing: float


BANKS = {
    "credit": (
        DemoBank("north", "Northern Savings Bank", 1800, 46, 0.25, -0.35, 0.02),
        DemoBank("south", "South Coast Credit", 1100, 34, -0.30, 0.55, 0.10),
        DemoBank("east", "East River Bank", 750, 40, 0.05, 0.10, 0.05),
        DemoBank("west", "Western Mutual", 450, 52, -0.10, -0.10, 0.03),
    ),
    "fraud": (
        DemoBank("north", "Northern Savings Bank", 9000, 46, 0.25, -0.2, 0.01),
        DemoBank("south", "South Coast Credit", 6500, 34, -0.30, 0.3, 0.03),
        DemoBank("east", "East River Bank", 4500, 40, 0.05, 0.1, 0.02),
        DemoBank("west", "Western Mutual", 3000, 52, -0.10, 0.0, 0.01),
    ),
}
LABELS = {"credit": "default", "fraud": "fraud"}


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--scenario", choices=sorted(BANKS), default="credit")
    parser.add_argument("--out", required=True)
    parser.add_argument("--seed", type=int, default=0)


def run(*, scenario: str, out: str, seed: int) -> str:
    """Write one Parquet file a bank; JSON {label: {name, positive}, banks: [{slug, name, rows, path}]}."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    banks = []
    for i, bank in enumerate(BANKS[scenario]):
        generator = np.random.default_rng([seed, i])
        columns = (applications if scenario == "credit" else payments)(bank, generator, np.random.default_rng(seed))
        path = folder / f"{bank.slug}.parquet"
        parquet.write_table(pa.table(columns), path)
        banks.append({"slug": bank.slug, "name": bank.name, "rows": bank.rows, "path": str(path.resolve())})
    return json.dumps({"label": {"name": LABELS[scenario], "positive": 1}, "banks": banks})


# -------------------------------------------------------------------------- credit
PURPOSES = ("car", "furniture", "education", "renovation", "debt consolidation", "travel")
HOUSING = ("rent", "own", "mortgage", "with family")
EMPLOYMENT = ("permanent", "temporary", "self-employed", "retired", "none")


def applications(bank: DemoBank, rng: np.random.Generator, world: np.random.Generator) -> dict[str, Any]:
    """Retail credit applications. What makes a customer default is the same everywhere; who applies is not."""
    n = bank.rows
    wealth = rng.normal(size=n)
    age = np.clip(rng.normal(bank.age, 12, n) + 3 * wealth, 18, 84).round()
    chances = np.where(age[:, None] > 64, [0.05, 0.02, 0.08, 0.8, 0.05], [0.62, 0.16, 0.14, 0.01, 0.07])
    employment = _choose(rng, EMPLOYMENT, chances)
    income = np.exp(10.2 + bank.income + 0.35 * wealth + 0.012 * np.minimum(age - 18, 35) + rng.normal(0, 0.35, n))
    income *= np.select([employment == "none", employment == "temporary"], [0.45, 0.75], 1.0)
    purpose = _choose(rng, PURPOSES, np.tile([0.3, 0.16, 0.1, 0.18, 0.2, 0.06], (n, 1)))
    housing = _choose(rng, HOUSING, np.where(wealth[:, None] > 0.3, [0.2, 0.3, 0.42, 0.08], [0.5, 0.1, 0.18, 0.22]))
    amount = np.exp(8.4 + 0.4 * np.log(income / 30_000) + rng.normal(0, 0.6, n)).round(-1)
    months = rng.choice([12, 18, 24, 36, 48, 60, 72], n, p=[0.1, 0.08, 0.2, 0.26, 0.18, 0.13, 0.05])
    utilisation = np.clip(rng.beta(1.6, 3.2, n) - 0.08 * wealth + 0.1 * bank.risk, 0, 1)
    enquiries = rng.poisson(np.exp(0.2 - 0.35 * wealth + 0.4 * utilisation))
    delinquencies = rng.poisson(np.exp(-1.5 - 0.6 * wealth + 1.1 * utilisation))
    tenure = np.clip(rng.gamma(1.6, 3.4, n) * (age - 17) / 25, 0, age - 17).round(1)
    burden = amount / months / (income / 12)
    chance = (
        -2.55 + bank.risk * 0.5 + 1.25 * np.tanh(6 * (burden - 0.16)) + 1.7 * (utilisation > 0.62) * (enquiries >= 2)
        + 0.75 * np.sqrt(delinquencies) + 1.0 * ((age < 27) & (burden > 0.14)) - 0.55 * wealth
        + 1.6 * (np.abs(np.log(income / 26_000)) > 0.75) * (months >= 48) - 0.16 * np.minimum(tenure, 8)
        + np.select([employment == "none", employment == "temporary"], [0.9, 0.35], 0.45 * (employment == "self-employed"))
        + np.select([purpose == "debt consolidation", purpose == "education"], [0.7 * (utilisation > 0.4), -0.3], 0)
        + np.select([housing == "own", housing == "rent"], [-0.35, 0.15], 0)
    )
    default = rng.random(n) < 1 / (1 + np.exp(-chance))
    return {
        "age": age, "monthly_income": _gaps(rng, (income / 12).round(-1), bank.missing), "amount": amount, "months": months,
        "utilisation": _gaps(rng, utilisation.round(3), bank.missing / 2), "enquiries": enquiries.astype(float),
        "delinquencies": delinquencies.astype(float), "years_employed": _gaps(rng, tenure, 2 * bank.missing),
        "existing_loans": rng.poisson(np.exp(0.1 + 0.2 * wealth)).astype(float),
        "savings": _gaps(rng, np.exp(7 + 0.9 * wealth + rng.normal(0, 0.8, n)).round(-1), bank.missing),
        "employment": employment, "housing": housing, "purpose": purpose,
        "channel": _choose(rng, ("branch", "online", "broker"), np.tile([0.4, 0.45, 0.15], (n, 1))),
        "default": default.astype(np.int64),
    }


# --------------------------------------------------------------------------- fraud
FACTORS, SIGNALS = 6, 28


def payments(bank: DemoBank, rng: np.random.Generator, world: np.random.Generator) -> dict[str, Any]:
    """Card payments: 28 anonymous signals, the amount and the hour; about one in a hundred is fraud of one of three kinds."""
    n = bank.rows
    loadings = world.normal(size=(FACTORS, SIGNALS)) / np.sqrt(FACTORS)
    kinds = world.normal(size=(3, SIGNALS)) * (world.random((3, SIGNALS)) < 0.3)
    mix = np.random.default_rng([len(bank.slug), bank.rows]).dirichlet([0.6, 0.6, 0.6])
    signals = rng.normal(size=(n, FACTORS)) @ loadings + 0.7 * rng.standard_t(5, (n, SIGNALS)) + 0.25 * bank.income
    fraud = rng.random(n) < 0.011 * np.exp(0.6 * bank.risk)
    kind = rng.choice(3, n, p=mix)
    strength = rng.gamma(3.0, 0.62, n)[:, None]
    signals += np.where(fraud[:, None], kinds[kind] * strength, 0)
    signals[:, 0] = np.where(fraud & (kind == 2), np.abs(signals[:, 0]) + 1.5, signals[:, 0])
    hour = np.where(fraud & (kind == 1), rng.normal(3, 2, n) % 24, rng.normal(14, 5, n) % 24)
    amount = np.exp(rng.normal(3.4 + 0.2 * bank.income, 1.1, n) + np.where(fraud & (kind == 0), 1.3, 0))
    columns: dict[str, Any] = {f"signal_{i + 1:02d}": signals[:, i].round(4) for i in range(SIGNALS)}
    columns["signal_07"] = _gaps(rng, columns["signal_07"], bank.missing)
    return {**columns, "amount": amount.round(2), "hour": hour.round(2), "fraud": fraud.astype(np.int64)}


def _choose(rng: np.random.Generator, values: tuple[str, ...], chances: Numbers) -> Any:
    """One value a row, by its row of chances (rows, values)."""
    edges = np.cumsum(chances / chances.sum(axis=1, keepdims=True), axis=1)
    return np.array(values)[(rng.random(len(edges))[:, None] > edges[:, :-1]).sum(axis=1)]


def _gaps(rng: np.random.Generator, column: Numbers, share: float) -> Any:
    """The column with a share of its values missing."""
    import pyarrow as pa

    return pa.array(column, mask=rng.random(len(column)) < share)
