# café
environment = "development"
service "users" {
}
