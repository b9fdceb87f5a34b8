service "users" {
  tables = ["users", "sessions", "public.users"]
}
service "chat" {
  tables = ["messages", "sessions"]
}
