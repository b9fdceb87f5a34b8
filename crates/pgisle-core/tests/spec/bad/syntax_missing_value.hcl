postgres_port =
service "users" {
}
