# The rehearsal: like production, and smaller.
postgres_host     = "postgres.staging.svc.cluster.local"
postgres_database = "link_app_staging"
postgres_username = "link_staging_user"
postgres_sslmode  = "verify-full"

kubernetes_namespace = "link-staging"
kubernetes_context   = "staging-cluster"

pgbouncer_pool_mode = "transaction"

backup_retention_days = 14

tags = {
  Project     = "Link"
  Component   = "Database"
  ManagedBy   = "pgisle"
  Purpose     = "Service isolation"
  Environment = "staging"
}
