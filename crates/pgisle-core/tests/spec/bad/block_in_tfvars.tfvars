postgres_port = 5433
service "users" {
  instances = 3
}
