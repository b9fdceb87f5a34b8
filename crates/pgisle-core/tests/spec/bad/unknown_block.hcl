variable "postgres_host" {
  default = upper("x")
}
services "users" {
}
tags {
  A = "b"
}
service "users" {
}
