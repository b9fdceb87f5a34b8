postgers_host = "localhost"
enviroment = "development"
frobnicate = true
service "users" {
}
