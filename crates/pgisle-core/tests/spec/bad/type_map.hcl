tags = ["a", "b"]
service "users" {
  settings = "x"
}
