postgres_sslmode = "disable"
enable_ssl       = false
enable_pgbouncer = false
