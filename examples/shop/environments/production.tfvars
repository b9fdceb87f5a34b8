postgres_host       = "db.shop.example"
postgres_sslmode    = "verify-full"
service_host        = "db.internal"
pgbouncer_pool_mode = "transaction"
pgbouncer_instances = 2

# Two poolers side by side, each with pools of its own.
pgbouncer_default_pool_size = 8
pgbouncer_version           = "1.21"

backup_retention_days = 35
