kubernetes_namespace = "Link_Prod"
pgbouncer_version = "new"
collation = "en US"
credential_recipients = ["ssh-ed25519 AAAA"]
backup_storage_path = ""
service "users" {
}
backup_schedule = "0 25 * * *"
backup_minimum_count = 0
backup_recipients = ["age1tooshort"]
