postgres_host = "localhost
postgres_port = 5432
service "users" {
}
