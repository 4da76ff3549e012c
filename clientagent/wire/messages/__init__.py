"""What agent and portal say to each other. Every body is one of these, parsed once at the door."""

from clientagent.wire.messages.aggregation import AggregationEntry, AggregationManifest, AggregationNoise
from clientagent.wire.messages.appraisal import MOST_GROUPS, Appraisal, Estimate, Gain, GroupCounts, ModelFigures
from clientagent.wire.messages.basis import Count, Digest, Id, Instant, Message, Text
from clientagent.wire.messages.enrolment import Enrolment, EnrolmentRequest
from clientagent.wire.messages.evaluation import EvaluationCounts, EvaluationReport, SplitCounts
from clientagent.wire.messages.ledger import Head, HeadUpdate
from clientagent.wire.messages.plans import Decision, PlanDocument, PlanNotice
from clientagent.wire.messages.preprocessing import (
    BinsInput,
    CategoricalInput,
    CategoricalWoe,
    Evidence,
    NumericInput,
    PiecewiseInput,
    PreprocessingSpec,
    Profile,
    QuantileInput,
    WoeInput,
)
from clientagent.wire.messages.privacy import (
    BankPrivacy,
    PrivacyCountersignature,
    PrivacyEvent,
    PrivacyHead,
    PrivacyHeadUpdate,
    PrivacyPosition,
    PrivacyStatement,
    SpentRelease,
)
from clientagent.wire.messages.statistics import (
    CategoricalStatistics,
    Cells,
    NumericStatistics,
    StatisticsOrder,
    StatisticsReport,
    Unfit,
)
from clientagent.wire.messages.updates import (
    Acknowledgement,
    Environment,
    Receipt,
    ReceiptAnswer,
    UpdateManifest,
    UploadComplete,
    UploadRequest,
    UploadState,
)
from clientagent.wire.messages.work import (
    ManifestAnswer,
    Progress,
    RosterEntry,
    RunManifest,
    WorkAnswer,
    WorkOrder,
    WorkRefusal,
)

__all__ = [
    "Acknowledgement", "AggregationEntry", "AggregationManifest", "AggregationNoise", "Appraisal", "BankPrivacy", "BinsInput",
    "CategoricalInput", "CategoricalStatistics", "CategoricalWoe", "Cells", "Count", "Decision", "Digest", "Enrolment", "EnrolmentRequest",
    "Environment", "Estimate", "EvaluationCounts", "EvaluationReport", "Evidence", "Gain", "GroupCounts", "Head",
    "HeadUpdate", "Id", "Instant", "MOST_GROUPS", "ManifestAnswer", "Message", "ModelFigures", "NumericInput",
    "NumericStatistics", "PiecewiseInput", "PlanDocument", "PlanNotice", "PreprocessingSpec",
    "PrivacyCountersignature", "PrivacyEvent", "PrivacyHead", "PrivacyHeadUpdate", "PrivacyPosition",
    "PrivacyStatement", "Profile", "Progress", "QuantileInput", "Receipt", "ReceiptAnswer", "RosterEntry",
    "RunManifest", "SpentRelease", "SplitCounts", "StatisticsOrder", "StatisticsReport", "Text", "Unfit",
    "UpdateManifest", "UploadComplete", "UploadRequest", "UploadState", "WoeInput", "WorkAnswer", "WorkOrder",
    "WorkRefusal",
]
