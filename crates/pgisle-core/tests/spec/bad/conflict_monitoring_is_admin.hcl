postgres_username = "link_monitoring"
service "users" {
}
