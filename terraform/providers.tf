# What all services share. The password is better passed as TF_VAR_postgres_password, PGPASSWORD or a password file.
provider "pgisle" {
  environment = var.environment

  postgres_host     = var.postgres_host
  postgres_port     = var.postgres_port
  postgres_database = var.postgres_database
  postgres_username = var.postgres_username
  postgres_password = var.postgres_password
  postgres_sslmode  = var.postgres_sslmode

  database_connection_limit = var.database_connection_limit
  user_connection_limit     = var.user_connection_limit
  create_monitoring_user    = var.create_monitoring_user
  backup_retention_days     = var.backup_retention_days
  enable_ssl                = var.enable_ssl

  kubernetes_namespace = var.kubernetes_namespace
  kubeconfig_path      = var.kubeconfig_path
  kubernetes_context   = var.kubernetes_context

  enable_pgbouncer            = var.enable_pgbouncer
  pgbouncer_pool_mode         = var.pgbouncer_pool_mode
  pgbouncer_max_client_conn   = var.pgbouncer_max_client_conn
  pgbouncer_default_pool_size = var.pgbouncer_default_pool_size

  enable_backup_automation = var.enable_backup_automation
  backup_storage_path      = var.backup_storage_path
  enable_replica_setup     = var.enable_replica_setup

  tags = var.tags
}
