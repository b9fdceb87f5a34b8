tags = { (var.a) = "b", [1] = "x" }
service "users" {
}
