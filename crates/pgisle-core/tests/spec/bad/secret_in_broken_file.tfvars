postgres_password = "hunter2
postgres_port = 5432
