name_prefix = "pg"
service "users" {
}
