postgres_sslcert = "client.pem"
service "users" {
}
