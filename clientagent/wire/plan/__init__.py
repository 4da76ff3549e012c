"""The Plan: the frozen document that says exactly what will be trained and how. Its identity is its hash.

Each field has bounds, a default where one is sensible, and a sentence: the browser's form shows that sentence as help
and those bounds as validation, so this package is the only description of a plan.
"""

from clientagent.wire.plan.document import Plan, parse_plan, plan_problems
from clientagent.wire.plan.model import FAMILIES, PLUGIN, Model
from clientagent.wire.plan.outcome import Compression, EvaluationPlan
from clientagent.wire.plan.protection import InstitutionDP, Privacy, RecordDP, SecureAggregation
from clientagent.wire.plan.table import Feature, Label, Preprocessing
from clientagent.wire.plan.training import STRATEGIES, Schedule, Strategy, Training
from clientagent.wire.plan.values import Column, Slug, Value, as_text

__all__ = [
    "FAMILIES", "PLUGIN", "STRATEGIES", "Column", "Compression", "EvaluationPlan", "Feature", "InstitutionDP", "Label", "Model",
    "Plan", "Preprocessing", "Privacy", "RecordDP", "Schedule", "SecureAggregation", "Slug", "Strategy", "Training", "Value",
    "as_text", "parse_plan", "plan_problems",
]
