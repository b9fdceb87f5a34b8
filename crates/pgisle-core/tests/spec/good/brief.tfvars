# terraform.tfvars
postgres_host     = "localhost"
postgres_password = "your_postgres_password"
environment       = "development"

# Database settings
database_connection_limit = 100
user_connection_limit     = 50

# Enable features
create_monitoring_user = true
enable_pgbouncer      = true
enable_ssl            = true

# Backup settings
backup_retention_days = 30

# Kubernetes settings (if using K8s)
kubernetes_namespace = "default"
