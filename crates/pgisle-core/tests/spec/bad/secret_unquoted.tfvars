postgres_password = hunter2!
