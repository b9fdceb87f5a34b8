service "a" {
  database = "postgres"
}
service "b" {
  database = "template1"
}
service "c" {
  user = "pg_monitor"
}
service "d" {
  database = "pgbouncer"
  user = "public"
}
service "e" {
  schemas = ["pg_temp", "information_schema"]
}
