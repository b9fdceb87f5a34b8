# The real one.
environment       = "production"
postgres_host     = "postgres.default.svc.cluster.local"
postgres_database = "link_app_prod"
postgres_username = "link_prod_user"

# Only verify-full proves that the server is the one that was meant.
postgres_sslmode = "verify-full"

kubernetes_namespace = "link-production"
kubernetes_context   = "production-cluster"

pgbouncer_pool_mode         = "transaction"
pgbouncer_max_client_conn   = 200
pgbouncer_default_pool_size = 15

backup_retention_days = 90
enable_replica_setup  = true

tags = {
  Project     = "Link"
  Component   = "Database"
  ManagedBy   = "Terraform"
  Purpose     = "Service isolation"
  Environment = "production"
}

# Beside those of other environments, and not over them.
artifacts_folder = "generated/production"
