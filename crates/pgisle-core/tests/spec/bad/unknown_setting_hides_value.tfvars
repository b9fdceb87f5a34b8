postgres_pasword = "hunter2"
