service "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" {
}
service "b" {
  database = "ddddddddddddddddddddddddddddddddddddddddddddddddddddddd"
  user = "uuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu"
}
service "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc" {
}
