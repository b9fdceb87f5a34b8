environment = "production"
service "users" {
  instances = 2
}
