# Production, as it was used with Terraform.
environment = "production"

postgres_host     = "postgres.default.svc.cluster.local"
postgres_port     = 5432
postgres_database = "link_app_prod"
postgres_username = "link_prod_user"
postgres_sslmode  = "verify-full"
# postgres_password is passed as TF_VAR_postgres_password.

database_connection_limit = 100
user_connection_limit     = 50

create_monitoring_user   = true
enable_ssl               = true
enable_backup_automation = true
enable_replica_setup     = true

kubernetes_namespace = "link-production"
kubeconfig_path      = "~/.kube/config"
kubernetes_context   = "production-cluster"

enable_pgbouncer            = true
pgbouncer_pool_mode         = "transaction"
pgbouncer_max_client_conn   = 200
pgbouncer_default_pool_size = 15

backup_retention_days = 90
backup_storage_path   = "/var/backups/postgresql"

tags = {
  Project            = "Link"
  Component          = "Database"
  Environment        = "production"
  ManagedBy          = "Terraform"
  Purpose            = "Service isolation"
  Owner              = "platform-team"
  Team               = "platform"
  CostCenter         = "engineering"
  BusinessUnit       = "product"
  DataClassification = "confidential"
  Compliance         = "GDPR"
  Backup             = "daily"
  Monitoring         = "enabled"
  Criticality        = "high"
  Repository         = "link/infrastructure"
}
