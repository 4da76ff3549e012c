"""What each bank as a whole may lose in a project; and the banks' own ledgers of it, which no portal has seen before, begin at none."""

from django.db import migrations, models


def forget_counts(apps, schema_editor):
    apps.get_model("rounds", "PrivacyAccount").objects.filter(unit="institution").update(seq=0)


class Migration(migrations.Migration):
    dependencies = [("rounds", "0014_closing_evaluation_under_masks")]

    operations = [
        migrations.AddField(model_name="project", name="institution_epsilon", field=models.FloatField(null=True)),
        migrations.RunPython(forget_counts, migrations.RunPython.noop),
    ]
