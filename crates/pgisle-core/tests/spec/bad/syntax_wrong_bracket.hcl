service "users" {
  tables = ["a", "b"}
}
