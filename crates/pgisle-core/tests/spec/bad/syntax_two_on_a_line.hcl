postgres_port = 5432 postgres_host = "a"
service "users" {
}
