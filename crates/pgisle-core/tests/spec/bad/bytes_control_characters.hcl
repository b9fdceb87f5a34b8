backup_storage_path = "/var/\u001b[31mred"
kubernetes_context = "a\nb"
service "users" {
}
