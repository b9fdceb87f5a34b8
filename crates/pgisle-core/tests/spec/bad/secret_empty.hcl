service "users" {
  password = ""
}
