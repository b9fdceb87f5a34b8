# For -var environment=production. The password comes from PGPASSWORD, the password file, or PGISLE_VAR_postgres_password.
postgres_host     = "postgres.example.com"
postgres_username = "PREFIX_admin" # needs CREATEROLE and CREATEDB; need not be a superuser
postgres_sslmode  = "verify-full"

pgbouncer_pool_mode         = "transaction"
pgbouncer_max_client_conn   = 200
pgbouncer_default_pool_size = 15
backup_retention_days       = 90
