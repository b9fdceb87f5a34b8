# What every environment has in common. environments/<environment>.tfvars is laid over this file, then -var-file, PGISLE_VAR_* and
# -var. docs/reference/settings.md lists every setting.

environment = "development"
name_prefix = "PREFIX" # what the name of every database and login begins with

# The shared database that services are split out of, where there is one:
# postgres_database = "PREFIX_app"

# Each service gets its own database, an owner role that cannot log in, a login, limits and extensions.
# What else a service can say:
#
#   pool_size  = 10                           connections of one instance's pool
#   extensions = ["pg_trgm"]                  created in its database
#   settings   = { statement_timeout = "30s" }
#   access     = "split"                      a second login runs migrations, the first one cannot
