postgres_port = 5432
service "users" {
  instances = 3

service "chat" {
}
