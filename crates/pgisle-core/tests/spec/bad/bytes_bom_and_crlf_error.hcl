postgres_port = 0
service "users" {
  instances = -1
}
