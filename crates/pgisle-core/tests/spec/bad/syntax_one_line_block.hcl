service "users" { instances = 3, pool_size = 5 }
