postgres_host = "postgres://localhost"
service_host = "a b"
pgbouncer_host = ""
service "users" {
}
