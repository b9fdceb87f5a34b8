service "users" {
  instance = 3
  poolsize = 5
  postgres_host = "x"
  replica = "shared"
}
