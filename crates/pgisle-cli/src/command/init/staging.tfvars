# For -var environment=staging. The password comes from PGPASSWORD, the password file, or PGISLE_VAR_postgres_password.
postgres_host     = "postgres.staging.example.com"
postgres_username = "PREFIX_admin" # needs CREATEROLE and CREATEDB; need not be a superuser
postgres_sslmode  = "require"

backup_retention_days = 30
