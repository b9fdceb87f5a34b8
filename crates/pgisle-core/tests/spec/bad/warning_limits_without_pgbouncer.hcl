enable_pgbouncer = false
service "a" {
  instances = 6
}
