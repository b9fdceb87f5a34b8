tags = {
  A = "1"
  B = "2"
  "A" = "3"
}
service "users" {
  instances = 1
  settings = { a = "1", b = "2", a = "3", c = "4" }
  instances = 2
}
