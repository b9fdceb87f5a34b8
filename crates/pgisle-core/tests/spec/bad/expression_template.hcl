postgres_host = "db.${var.zone}.example"
backup_storage_path = "%{ if true }a%{ endif }"
service "users" {
}
