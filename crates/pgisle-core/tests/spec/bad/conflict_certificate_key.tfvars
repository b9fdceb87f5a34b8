postgres_sslkey = "client.key"
