postgres_username = "link_admin"
postgres_database = "link_app"
trusted_roles     = ["backup_agent"]
service "app" {
}
service "a" {
  user = "link_admin"
}
service "b" {
  user = "link_monitoring"
}
service "c" {
  user = "backup_agent"
}
service "d" {
  database = "link_a"
}
service "e" {
  user = "link_f_owner"
}
service "f" {
}
service "g" {
  user = "link_h_user_b"
}
service "h" {
}
service "i" {
  database = "link_h_ro"
}
service "j" {
  user = "postgres"
}
