# One PostgreSQL server, one isolated database per service.
#
#   pgisle validate    checks this file
#   pgisle plan        shows what would be done, and changes nothing
#   pgisle apply       does it
#   pgisle verify      proves that no service reaches another's data
#
# Every setting has a default; `docs/reference/settings.md` lists them all. What differs between environments stands in
# environments/<environment>.tfvars, and `-var environment=production` picks one. Passwords belong in no file: pass
# PGISLE_VAR_postgres_password, PGPASSWORD or a password file.

environment = "development"

# First part of every name: the service "users" gets the database link_users, the owner role link_users_owner (which
# nobody can log in as) and the login link_users_user.
name_prefix = "link"

# The shared database that exists today. Services are split out of it, table by table.
postgres_database = "link_app"

# Each login may hold 50 connections, and each database takes 100.
user_connection_limit     = 50
database_connection_limit = 100

# Created in every service's database, where the server has them.
default_extensions = ["uuid-ossp", "vector"]

# Put on every database and role, and into the generated files.
tags = {
  Project   = "Link"
  Component = "Database"
  ManagedBy = "pgisle"
  Purpose   = "Service isolation"
}

service "users" {
  description = "User management, authentication, profiles"

  # How many instances run at once: for the connection budget, and for the load test.
  instances = 3

  # What the service owns in the shared database. `pgisle split` moves these tables, and finds what crosses the border.
  tables = ["users", "friendships", "friend_requests", "sessions", "blocks"]
}

service "chat" {
  description = "Chat rooms, messages, real-time communication"
  instances   = 2
  tables      = ["chat_rooms", "messages", "room_members", "message_reads", "direct_conversations"]
}

service "ai" {
  description = "AI processing, privacy and consent management"
  instances   = 2
  tables = [
    "ai_conversations",
    "ai_requests",
    "ai_responses",
    "ai_usage_stats",
    "user_consent",
    "audit_logs",
    "privacy_policy_versions",
    "data_anonymization_records",
  ]
}

service "discovery" {
  description = "User discovery, availability, location features"
  instances   = 1
  tables      = ["user_availability"]
}

service "search" {
  description = "Vector search, embeddings, content indexing"
  instances   = 1

  # The embedding and index tables, with their pgvector columns. Put the names of yours here.
  tables = ["embeddings", "search_index"]

  # More that a service may say, each with a default:
  #
  #   pool_size        = 10                             connections of its pool
  #   connection_limit = 50                             connections of its login
  #   extensions       = ["pg_trgm"]                    besides default_extensions
  #   schemas          = ["reporting"]                  besides public
  #   settings         = { statement_timeout = "30s" }  for every session of the service
  #   access           = "split"                        a login of its own for migrations
  #   database         = "link_search"                  other names than the usual ones
  #   user             = "link_search_user"
}
