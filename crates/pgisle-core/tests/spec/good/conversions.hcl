# Terraform's conversions, nulls, heredocs and odd spellings: all of this is valid.
postgres_port             = "5433"
database_connection_limit = 1e2
user_connection_limit     = "50"
enable_ssl                = "true"
create_monitoring_user    = "0"
backup_retention_days     = (90)
kubernetes_context        = null
postgres_sslrootcert      = ""
environment               = "staging" // the rehearsal
postgres_database         = "Größe \"1\"; --"

tags = {
  Version    : 1.10, Build = 007
  "Costs $$" = "$${not a template} 100 %"
  Enabled    = true
  Nothing    = null
  for        = "a keyword"
  Elephant   = "🐘 \u00e9"
}

/* A label may stand without quotes. */
service users {
  description = null
  settings = {
    statement_timeout   = "30s"
    Work_Mem            = "4MB"
    jit                 = false
    random_page_cost    = 1.1
    "pg_trgm.threshold" = -1
  }
  schemas    = ["public", "reporting"]
  extensions = ["citext", "citext"]
  tables     = ["users", "audit.log",]
}
service "one-line" { access = "split" }
