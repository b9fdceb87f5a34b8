# A developer's machine.
environment       = "development"
postgres_host     = "localhost"
postgres_database = "link_app"
