tags = { A = ["x"], B = { c = 1 }, "" = "empty" }
service "users" {
}
