postgres_port = "abc"
database_connection_limit = [100]
user_connection_limit = 50.5
backup_retention_days = true
service "users" {
}
