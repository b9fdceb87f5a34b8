# What every environment has in common. environments/<environment>.tfvars is laid over this file, then -var-file, PGISLE_VAR_* and
# -var. docs/reference/settings.md lists every setting.

environment       = "development"
name_prefix       = "link"     # link_users, link_users_user, link_monitoring
postgres_database = "link_app" # the shared database that exists today; services are split out of it

# Each service gets its own database, an owner role that cannot log in, a login, limits and extensions.
service "users" {
  description = "User management, authentication, profiles"
  instances   = 3
  tables      = ["users", "friendships", "friend_requests", "sessions", "blocks"]
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
}
