"""The pages of projects, plans, runs, versions, history and ledger."""

from __future__ import annotations

from django.urls import path

from rounds.views import compare, history, home, leakage, ledger, plans, privacy, projects, registry, rehearsals, runs, search, versions

app_name = "rounds"
urlpatterns = [
    path("", home.home, name="home"),
    path("search/", search.search, name="search"),
    path("receipts/", home.receipts, name="receipts"),
    path("receipts/<uuid:receipt_id>/", home.receipt, name="receipt"),
    path("privacy/", privacy.privacy, name="privacy"),
    path("projects/", projects.project_list, name="projects"),
    path("projects/new/", projects.project_new, name="project-new"),
    path("projects/<slug:slug>/", projects.project_detail, name="project"),
    path("projects/<slug:slug>/budget/", projects.project_budget, name="project-budget"),
    path("projects/<slug:slug>/plans/new/", plans.plan_new, name="plan-new"),
    path("projects/<slug:slug>/privacy/<int:account>/reconcile/", privacy.reconcile, name="privacy-reconcile"),
    path("projects/<slug:slug>/registry/", registry.registry, name="registry"),
    path("projects/<slug:slug>/registry/rollback/", registry.rollback, name="rollback"),
    path("plans/<str:plan_hash>/", plans.plan_detail, name="plan"),
    path("plans/<str:plan_hash>/approve/", plans.plan_approve, name="plan-approve"),
    path("plans/<str:plan_hash>/plan.yaml", plans.plan_yaml, name="plan-yaml"),
    path("plans/<str:plan_hash>/leakage/", leakage.plan_leakage, name="plan-leakage"),
    path("plans/<str:plan_hash>/leakage/attach/", leakage.plan_leakage_attach, name="plan-leakage-attach"),
    path("plans/<str:plan_hash>/rehearsals/", rehearsals.plan_rehearsals, name="plan-rehearsals"),
    path("plans/<str:plan_hash>/rehearsals/attach/", rehearsals.plan_rehearsal_attach, name="plan-rehearsal-attach"),
    path("plans/<str:plan_hash>/start/", plans.plan_start, name="plan-start"),
    path("runs/", runs.run_list, name="runs"),
    path("runs/<uuid:run_id>/", runs.run_detail, name="run"),
    path("runs/<uuid:run_id>/actions/<str:action>/", runs.run_action, name="run-action"),
    path("runs/<uuid:run_id>/history.json", runs.history_json, name="run-history-json"),
    path("runs/<uuid:run_id>/history.csv", runs.history_csv, name="run-history-csv"),
    path("runs/<uuid:run_id>/privacy/", privacy.run_privacy, name="run-privacy"),
    path("runs/<uuid:run_id>/rounds/<int:number>/", runs.round_detail, name="round"),
    path("runs/<uuid:run_id>/versions/<int:number>/", versions.version_detail, name="version"),
    path("runs/<uuid:run_id>/versions/<int:number>/evaluation.json", versions.version_evaluation, name="evaluation"),
    path("runs/<uuid:run_id>/versions/<int:number>/features/", versions.version_features, name="features"),
    path("runs/<uuid:run_id>/versions/<int:number>/features.csv", versions.version_features_csv, name="features-csv"),
    path("runs/<uuid:run_id>/versions/<int:number>/card/", versions.card, name="card"),
    path("runs/<uuid:run_id>/versions/<int:number>/bundle.zip", versions.bundle, name="bundle"),
    path("runs/<uuid:run_id>/versions/<int:number>/moves/<str:move>/", registry.version_move, name="version-move"),
    path("runs/<uuid:run_id>/versions/<int:number>/weights.safetensors", versions.weights, name="weights"),
    path("compare/", compare.comparison, name="compare"),
    path("history/", history.history, name="history"),
    path("history.csv", history.history_csv, name="history-csv"),
    path("ledger/", ledger.chains, name="ledger"),
    path("ledger/chains/<path:chain>/entries/<int:seq>/", ledger.entry, name="entry"),
    path("ledger/chains/<path:chain>/verify/", ledger.verify, name="verify"),
    path("ledger/chains/<path:chain>/", ledger.chain, name="chain"),
]
