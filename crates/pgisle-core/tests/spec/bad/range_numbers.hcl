postgres_port = 70000
database_connection_limit = 9
user_connection_limit = 501
backup_retention_days = 0
pgbouncer_port = -1
service "users" {
}
