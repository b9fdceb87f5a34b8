instances = 3
service = "users"
service "users" {
}
