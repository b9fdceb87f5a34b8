service "Users" {
}
service "1st" {
}
service "us ers" {
}
service "users-" {
}
service "größe" {
}
service "" {
}
service "users\"; DROP DATABASE postgres; --" {
}
service "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" {
}
