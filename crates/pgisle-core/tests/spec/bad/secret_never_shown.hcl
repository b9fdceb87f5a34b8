postgres_password = ["hunter2"]
service "users" {
  password = { a = "hunter2" }
}
service "chat" {
  password = "${hunter2}"
}
