"""Paths below /api/v1/."""

from __future__ import annotations

from django.urls import path

from rounds.api import calm, files, hot, registry

urlpatterns = [
    path("work", hot.work, name="api-work"),
    path("plans/<str:plan_hash>", calm.PlanView.as_view(), name="api-plan"),
    path("plans/<str:plan_hash>/decisions", calm.Decisions.as_view(), name="api-decisions"),
    path("statistics", calm.Statistics.as_view(), name="api-statistics"),
    path("runs/<uuid:run_id>/manifest", calm.Manifest.as_view(), name="api-manifest"),
    path("runs/<uuid:run_id>/history", calm.History.as_view(), name="api-history"),
    path("runs/<uuid:run_id>/appraisals", calm.Appraisals.as_view(), name="api-appraisals"),
    path("runs/<uuid:run_id>/acknowledgements", calm.Acknowledgements.as_view(), name="api-acknowledgements"),
    path("models/<uuid:run_id>/<int:number>", files.model, name="api-model"),
    path("models/<uuid:run_id>/<int:number>/evaluation", calm.VersionEvaluation.as_view(), name="api-version-evaluation"),
    path("models/<uuid:run_id>/<int:number>/state", files.state, name="api-state"),
    path("models/<uuid:run_id>/<int:number>/delta", files.delta, name="api-delta"),
    path("models/<uuid:run_id>/<int:number>/moves/<str:move>", registry.VersionMove.as_view(), name="api-version-move"),
    path("projects/<slug:slug>/registry", registry.Registry.as_view(), name="api-registry"),
    path("projects/<slug:slug>/champion", registry.Champion.as_view(), name="api-champion"),
    path("projects/<slug:slug>/champion/rollback", registry.Rollback.as_view(), name="api-rollback"),
    path("progress", hot.progress, name="api-progress"),
    path("updates", hot.updates, name="api-updates"),
    path("ready", hot.ready, name="api-ready"),
    path("cohorts/<str:rid>/messages", hot.cohort_messages, name="api-cohort-messages"),
    path("cohorts/<str:rid>/vector", hot.cohort_vector, name="api-cohort-vector"),
    path("uploads", calm.Uploads.as_view(), name="api-uploads"),
    path("uploads/<uuid:upload_id>/parts/<int:number>", files.part, name="api-part"),
    path("uploads/<uuid:upload_id>/complete", calm.CompleteUpload.as_view(), name="api-complete"),
    path("evaluations", calm.Evaluations.as_view(), name="api-evaluations"),
    path("privacy", calm.Privacy.as_view(), name="api-privacy"),
    path("privacy/ledgers", calm.PrivacyLedgers.as_view(), name="api-privacy-ledgers"),
    path("refusals", calm.Refusals.as_view(), name="api-refusals"),
    path("receipts/<uuid:receipt_id>", calm.Receipts.as_view(), name="api-receipt"),
]
