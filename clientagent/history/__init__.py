"""An auditor's reading of a downloaded history, without the portal."""
