environment = "development"postgres_port = 5432service "users" {
}
