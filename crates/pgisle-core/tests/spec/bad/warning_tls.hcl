enable_ssl = true
postgres_sslmode = "disable"
service "users" {
}
