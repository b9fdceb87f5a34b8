postgres_host = "db1,db2"
service "users" {
}
