service "users" {
  settings = {
    role = "postgres"
    SESSION_AUTHORIZATION = "x"
    "a b" = "c"
    "x; DROP" = 1
    max_connections = 5
    work_mem = "4MB"
    Work_Mem = "5MB"
  }
}
