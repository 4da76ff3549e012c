from django.apps import AppConfig


class FedportalConfig(AppConfig):
    name = "fedportal"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from fedportal import checks  # noqa: F401  registers the system checks
