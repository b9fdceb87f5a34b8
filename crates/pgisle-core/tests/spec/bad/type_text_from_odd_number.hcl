tags = { Version = 1.10, Octal = 007, Huge = 1e20 }
service "users" {
}
