service "user-data" {
}
service "user_data" {
  database = "other"
}
