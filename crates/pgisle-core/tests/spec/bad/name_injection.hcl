postgres_database = "x\u0000y"
name_prefix = "link\"; --"
service "users" {
  database = "a\"; DROP TABLE x; --"
  user = "u'||'"
  schemas = ["s\"s"]
  extensions = ["ext; x"]
  tables = ["t\"; --", "*", "a.b.c"]
}
