service "a" {
  pool_size = 60
}
service "b" {
  pool_size = 40
  connection_limit = 200
  database_connection_limit = 30
}
