# An online shop: four services, one of which nobody should be able to change by accident.

environment = "development"
name_prefix = "shop"

# There is no shared database to split: this shop began with one database per service.
postgres_username = "shop_admin"

# No pgvector here.
default_extensions = ["pgcrypto"]
collation          = "C.UTF-8"

user_connection_limit     = 30
database_connection_limit = 60

# The login of the nightly export may reach every island, and is then not reported as a leak.
trusted_roles = ["nightly_export"]

tags = {
  Project    = "Shop"
  ManagedBy  = "pgisle"
  CostCenter = "4711"
}

service "catalogue" {
  description = "Products, prices, search by name"
  instances   = 4
  pool_size   = 5
  extensions  = ["pg_trgm", "unaccent"]

  # Reads only small sets; a query that takes longer is a mistake.
  settings = {
    statement_timeout = "2s"
    work_mem          = "16MB"
  }
}

service "customers" {
  description = "Accounts and addresses; e-mail addresses without regard to case"
  instances   = 2
  extensions  = ["citext"]
  settings    = { idle_in_transaction_session_timeout = "30s" }
}

service "orders" {
  description = "Orders, payments and the ledger"
  instances   = 3

  # The running service can change rows, and no table: only shop_orders_migrator can, which the deployment uses.
  access  = "split"
  schemas = ["ledger", "archive"]

  settings = {
    statement_timeout             = "10s"
    default_transaction_isolation = "repeatable read"
    lock_timeout                  = "5s"
    jit                           = false
  }
}

service "mail-queue" {
  description = "Outgoing mail; a single worker"
  pool_size   = 3

  # Names may differ from the usual ones, here because the database is older than pgisle.
  database         = "shop_mail"
  connection_limit = 10
}
