backup_storage_path = <<EOT
/var
service "users" {
}
