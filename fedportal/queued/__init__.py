"""Django's SQLite with a queue for its writers (the engine's name is ``fedportal.queued.sqlite3``)."""
