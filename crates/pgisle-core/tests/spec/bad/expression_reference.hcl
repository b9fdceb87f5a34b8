postgres_host = var.host
postgres_sslmode = require
postgres_password = hunter2
service "users" {
}
