service "users" {
}
service "chat" {
}
service "users" {
  instances = 3
}
