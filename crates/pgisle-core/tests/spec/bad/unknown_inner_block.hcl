service "users" {
  settings {
    work_mem = "4MB"
  }
}
