default_extensions = "vector"
trusted_roles = [["a"], null, {}]
service "users" {
}
