postgres_port = max(1, 2)
postgres_host = true ? "a" : "b"
user_connection_limit = 25 * 2
default_extensions = [for e in ["a"] : e]
enable_ssl = !false
backup_retention_days = -(3)
service "users" {
}
