enable_replica_setup = true
service "users" {
  replica {
    mode = "shared"
  }
  replica {
    mode = "geographic"
  }
}
