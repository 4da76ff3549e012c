from django.apps import AppConfig


class FedportalConfig(AppConfig):
    name = "fedportal"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from fedportal import checks, lookout  # noqa: F401  checks register themselves

        lookout.keep()
