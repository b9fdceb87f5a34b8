postgres_host = ["localhost"]
backup_storage_path = { a = "b" }
service "users" {
}
