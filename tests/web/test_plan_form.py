"""The plan's form: every field of the schema, every problem beside its field, and the same hash by YAML or by hand."""

from __future__ import annotations

import json
from html import unescape

import pytest
import yaml
from django.http import QueryDict
from django.urls import reverse

from audit.models import Entry
from clientagent.wire.errors import PlanInvalid
from clientagent.wire.plan import Plan, parse_plan
from rounds import services
from rounds.forms import fields, yaml_text
from rounds.forms import plan as plan_form
from rounds.forms import posted as posted_form
from rounds.forms.differences import differences
from rounds.forms.effects import effects_of
from rounds.forms.schema import MATTERS, all_fields, all_switches
from rounds.models import Plan as PlanRow
from rounds.models import Project
from tests.cast import browser
from tests.rounds.scripted import plan_document

pytestmark = pytest.mark.django_db


@pytest.fixture
def project(north, south, admin) -> Project:
    members = [north.institution, south.institution]
    return services.create_project(slug="retail", name="Retail credit", purpose="credit", participants=members, user=admin)


def document(**changes) -> dict:
    reason = {"min_banks": 2, "min_banks_reason": "Two banks agreed to it."}
    return plan_document(["north", "south"], **{"privacy": reason, **changes})


def posted(plan: Plan) -> QueryDict:
    """What a browser sends when the form shows this plan and nothing is touched."""
    form = plan_form.PlanForm(plan.model_dump(mode="json"))
    data = QueryDict(mutable=True)
    data.setlist("participants", plan.participants)
    for feature in plan.features:
        data.appendlist("feature-name", feature.name)
        data.appendlist("feature-kind", feature.kind)
        data.appendlist("feature-categories", ", ".join(map(str, feature.categories or [])))
    for path, _section in all_switches():
        if form.value(path) is not None:
            data[f"on:{path}"] = "on"
    for spec in all_fields():
        shown = fields.shown(form, spec)
        if spec.kind == "banks":
            data.setlist(spec.path, shown.chosen)
        else:
            data[spec.path] = shown.text
    return data


def leaves(schema: dict, part: dict, path: str = ""):
    """Dotted names of every value that the schema knows, features aside."""
    for name, inner in part["properties"].items():
        reference = inner.get("$ref") or next((b["$ref"] for b in inner.get("anyOf", []) if "$ref" in b), None)
        if reference:
            yield from leaves(schema, schema["$defs"][reference.split("/")[-1]], f"{path}{name}.")
        elif f"{path}{name}" not in ("project", "features", "participants"):
            yield f"{path}{name}"


def test_the_form_has_every_field_of_the_schema() -> None:
    schema = Plan.model_json_schema()
    assert {spec.path for spec in all_fields()} == set(leaves(schema, schema))


def test_every_field_has_a_label_and_a_sentence() -> None:
    assert [spec.path for spec in all_fields() if not spec.help or not str(spec.label)] == []


def test_conditions_name_fields_that_exist() -> None:
    known = {spec.path for spec in all_fields()}
    assert set(MATTERS) | {other for conditions in MATTERS.values() for other, _values in conditions} <= known


def test_a_scorecard_shows_how_many_bins_whatever_the_numbers_say(project) -> None:
    for family, shows in (("scorecard", True), ("mlp", False)):
        form = plan_form.form_of(document(model={"family": family}, preprocessing={"numeric": "zscore"}), project)
        assert form.matters("preprocessing.bins") is shows
    assert plan_form.form_of(document(preprocessing={"numeric": "bins"}), project).matters("preprocessing.bins")


PLUGIN = {
    "family": "wide@" + "0" * 64,
    "tensors": [{"name": "wide.weight", "shape": [1, "inputs"]}, {"name": "wide.bias", "shape": [1], "start": "zeros"}],
}


def test_a_plugin_shows_its_tensors_and_can_be_frozen(project, admin) -> None:
    data = posted(parse_plan(document(model=PLUGIN)))
    data["intent"] = "check"
    response = browser(admin).post(reverse("rounds:plan-new", args=["retail"]), data.dict() | {"participants": ["north", "south"]})
    page = response.content.decode()
    assert response.context["form"].is_frozen_ready, response.context["form"].problems
    assert "wide.weight: 1 x inputs, uniform\nwide.bias: 1, zeros</textarea>" in page
    assert "not in this version" not in page
    spoilt = data.copy()
    spoilt["model.tensors"] = "wide.weight: many x inputs\n"
    form = plan_form.form_of(posted_form.document_from_post(spoilt, project), project)
    assert any(path.startswith("model.tensors") for path in form.problems)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model": {"family": "mlp", "hidden": [8, 4], "dropout": 0.25}},
        {"training": {"learning_rate": 0.0125, "seed": 7}},
        {"schedule": {"rounds": 3, "quorum": 0.5, "required": ["north"], "deadline_s": 90}},
        {
            "privacy": {
                "record_dp": {"epsilon": 2.5, "bounds": {"income": (0.0, 1e6)}}, "min_banks": 2, "min_banks_reason": "x",
            },
            "schedule": {"select": "last"},
        },
        {"model": {
            "family": "wide@" + "0" * 64,
            "tensors": [{"name": "wide.weight", "shape": [1, "inputs"]}, {"name": "wide.bias", "shape": [1], "start": "zeros"}],
        }},
        {"features": [{"name": "a", "kind": "categorical", "categories": [1, 2, "x y"]}, {"name": "b", "kind": "numeric"}]},
    ],
)
def test_a_plan_goes_through_the_form_unchanged(changes, project) -> None:
    plan = parse_plan(document(**changes))
    assert plan_form.form_of(posted_form.document_from_post(posted(plan), project), project).plan == plan


def test_a_drafted_yaml_fills_the_form(project, admin) -> None:
    text = yaml.safe_dump(document(training={"epochs": 3}))
    page = browser(admin).post(reverse("rounds:plan-new", args=["retail"]), {"intent": "fill", "yaml": text}).content.decode()
    assert 'name="training.epochs" value="3"' in page
    assert parse_plan(document(training={"epochs": 3})).hash in page


def test_the_readable_text_is_the_plan(project) -> None:
    plan = parse_plan(document(model={"family": "mlp", "hidden": [8]}))
    assert parse_plan(yaml.safe_load(yaml_text.yaml_of(plan))).hash == plan.hash


def test_every_problem_stands_beside_its_field(project, admin) -> None:
    data = posted(parse_plan(document()))
    data["training.batch_size"], data["schedule.rounds"], data["evaluation.holdout"] = "0", "many", "0.9"
    data["intent"] = "check"
    response = browser(admin).post(
        reverse("rounds:plan-new", args=["retail"]), data.dict() | {"participants": ["north", "south"]}
    )
    form = response.context["form"]
    assert {"training.batch_size", "schedule.rounds", "evaluation.holdout"} <= set(form.problems)
    assert 'value="many"' in response.content.decode(), "what was typed is not lost"
    assert PlanRow.objects.count() == 0


def test_a_rule_over_several_fields_names_one(project) -> None:
    form = plan_form.form_of(document(privacy={"min_banks": 3}), project)
    assert "privacy.min_banks" in form.problems


def test_what_cannot_be_protected_is_refused_at_its_field_with_the_reason(project, admin) -> None:
    private = {"record_dp": {}, "min_banks": 1, "min_banks_reason": "two banks"}
    data = posted(parse_plan(document(evaluation={"segment": "region"}, privacy=private, schedule={"select": "last"})))
    lists = {key: data.getlist(key) for key in data} | {"intent": ["freeze"]}
    response = browser(admin).post(reverse("rounds:plan-new", args=["retail"]), lists)
    assert list(response.context["form"].problems) == ["evaluation.segment"]
    assert "counted without noise" in unescape(response.content.decode())
    assert PlanRow.objects.count() == 0


def checked(project, admin, **changes):
    data = posted(parse_plan(document(**changes)))
    lists = {key: data.getlist(key) for key in data} | {"intent": ["check"]}
    response = browser(admin).post(reverse("rounds:plan-new", args=[project.slug]), lists)
    return response.context["form"], unescape(response.content.decode())


def test_choices_that_do_not_go_together_are_refused_beside_their_field(project, admin) -> None:
    form, page = checked(project, admin, strategy={"name": "krum"})
    assert form.plan is None
    assert "krum needs at least 5 banks in every round" in form.problems["strategy.byzantine"]
    assert form.problems["strategy.byzantine"] in page
    with pytest.raises(PlanInvalid, match="strategy.byzantine"):
        services.freeze_plan(project=project, plan=parse_plan(document(strategy={"name": "krum"})), user=admin)


def test_a_conflict_of_a_switch_stands_beside_the_switch(project, admin) -> None:
    private = {"record_dp": {"epsilon": 2.0}, "min_banks": 2, "min_banks_reason": "x"}
    _form, page = checked(project, admin, strategy={"name": "newton"}, privacy=private)
    assert "Newton sends exact sums over customers" in page


def test_what_a_plan_says_in_vain_is_told_and_not_refused(project, admin) -> None:
    form, page = checked(project, admin, strategy={"name": "fedavg", "mu": 0.5})
    assert form.plan is not None
    assert form.notes == {"strategy.mu": "fedavg does not use this number."}
    assert "fedavg does not use this number." in page


def test_the_menu_says_when_to_choose_a_strategy_and_which_number_an_empty_field_stands_for(project, admin) -> None:
    _form, page = checked(project, admin, strategy={"name": "fedprox"})
    assert "When banks differ much or train for several epochs" in page
    assert 'name="strategy.mu" value="" inputmode="decimal" autocomplete="off"' in page
    assert 'placeholder="0.01"' in page


def test_freezing_shows_the_document_and_its_hash(project, admin) -> None:
    plan = parse_plan(document())
    data = posted(plan)
    lists = {key: data.getlist(key) for key in data} | {"intent": ["freeze"], "title": ["First"]}
    response = browser(admin).post(reverse("rounds:plan-new", args=["retail"]), lists, follow=True)
    page = unescape(response.content.decode())
    assert response.redirect_chain[0][0] == reverse("rounds:plan", args=[plan.hash])
    assert plan.hash in page
    assert plan.canonical_text in page
    assert Entry.objects.filter(kind="plan_frozen", body__plan_hash=plan.hash).count() == 1


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("a: &x [1]\nb: *x", "aliases"),
        ("- 1\n- 2", "fields such as"),
        ("a: [1", "YAML"),
        ("just words", "fields such as"),
        ("a: !!python/object/apply:os.system ['true']", "YAML"),
        ("", "fields such as"),
    ],
)
def test_yaml_that_is_no_plan_is_refused_in_words(text, named) -> None:
    with pytest.raises(PlanInvalid) as refused:
        yaml_text.document_from_yaml(text)
    assert named in refused.value.expected + refused.value.got


def test_yaml_is_bounded() -> None:
    with pytest.raises(PlanInvalid):
        yaml_text.document_from_yaml("#" * (yaml_text.MOST_YAML_BYTES + 1))


def test_a_plan_for_another_project_is_refused(project) -> None:
    form = plan_form.form_of({**document(), "project": "other", "participants": ["north", "stranger"]}, project)
    assert {"project", "participants"} <= set(form.problems)


def test_differences_name_the_fields_that_changed() -> None:
    before, after = parse_plan(document()), parse_plan(document(training={"epochs": 4}))
    assert [(item.path, item.before, item.after) for item in differences(before, after)] == [("training.epochs", "1", "4")]


def test_a_part_that_only_one_plan_has_is_told_by_its_fields() -> None:
    secure = {"secure_aggregation": {"threshold": 0.75, "min_cohort": 3}}
    plain, masked = (parse_plan(document(participants=["north", "south", "east"], privacy=part)) for part in ({}, secure))
    paths = [item.path for item in differences(plain, masked)]
    assert "privacy.secure_aggregation.threshold" in paths
    assert "privacy.secure_aggregation" not in paths


def test_effects_say_what_will_happen_in_numbers() -> None:
    said = " ".join(effect.text for effect in effects_of(parse_plan(document())))
    assert "2 rounds of fedavg" in said
    assert "each needs 2 of 2 banks" in said


def test_only_an_administrator_writes_plans(project, north, auditor) -> None:
    page = reverse("rounds:plan-new", args=["retail"])
    assert north.browser().get(page).status_code == 403
    assert browser(auditor).post(page, {"intent": "freeze"}).status_code == 403


def test_an_operators_click_is_noted_and_explained(project, admin, north) -> None:
    plan = services.freeze_plan(project=project, plan=parse_plan(document()), user=admin)
    page = north.browser().post(reverse("rounds:plan-approve", args=[plan.hash]), follow=True).content.decode()
    assert "trust_portal_approvals" in page
    assert plan.portal_approvals.get().institution == north.institution
    assert json.dumps("portal_approval") in json.dumps(list(Entry.objects.values_list("kind", flat=True)))


def test_a_draft_for_no_project_in_particular_becomes_this_projects(project, admin) -> None:
    draft = {**document(), "project": "draft", "participants": ["bank-1", "bank-2"]}
    response = browser(admin).post(reverse("rounds:plan-new", args=["retail"]), {"intent": "fill", "yaml": yaml.safe_dump(draft)})
    assert response.context["form"].plan.participants == ["north", "south"]
    assert "were replaced by this project" in unescape(response.content.decode())
