enable_ssl = "yes"
create_monitoring_user = 2
enable_pgbouncer = []
service "users" {
}
