service {
}
service "a" "b" {
}
service users {
  replica "x" {
  }
}
