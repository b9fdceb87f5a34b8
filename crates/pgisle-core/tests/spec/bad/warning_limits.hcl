service "a" {
  connection_limit = 200
  pool_size = 99
}
service "b" {
  instances = 30
}
service "c" {
  replica {
  }
}
