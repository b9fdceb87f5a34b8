environment = "prod"
postgres_sslmode = "Require"
pgbouncer_pool_mode = "transactions"
service "users" {
  access = "owners"
  replica {
    mode = "sharded"
  }
}
