enable_replica_setup = true

service "users" {
  replica {
    mode   = "geographic"
    region = "eu-west"
  }
}

service "search" {
  replica {}
}
