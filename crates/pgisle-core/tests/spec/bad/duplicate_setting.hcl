postgres_port = 5432
postgres_host = "a"
postgres_port = 5433
postgres_host = "b"
service "users" {
}
