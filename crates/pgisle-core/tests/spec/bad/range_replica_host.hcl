enable_replica_setup   = true
postgres_replica_hosts = ["replica-1", "replica-2:port", "[::1", "/run/postgresql", "a b", ":5432", "replica-3:0"]

service "users" {
  replica {}
}
