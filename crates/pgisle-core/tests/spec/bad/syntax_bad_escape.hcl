postgres_host = "a\qb"
service "users" {
}
