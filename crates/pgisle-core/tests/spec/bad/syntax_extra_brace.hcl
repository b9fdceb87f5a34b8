service "users" {
}
}
