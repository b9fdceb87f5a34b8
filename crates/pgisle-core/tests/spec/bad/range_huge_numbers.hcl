postgres_port = 1e400
database_connection_limit = 18446744073709551616
user_connection_limit = 99999999999999999999999999999999999999999999999999999
pgbouncer_port = 1e30
service "users" {
  instances = 3.7
  pool_size = 0
}
