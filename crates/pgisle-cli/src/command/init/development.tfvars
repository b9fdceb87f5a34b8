# For -var environment=development, which is the default. `pgisle dev up` needs none of these: -dev fills them in.
postgres_host     = "localhost"
postgres_port     = 5432
postgres_username = "postgres"
postgres_sslmode  = "disable"
enable_ssl        = false
