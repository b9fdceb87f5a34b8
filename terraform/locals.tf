# The services, and what each owns in the shared database. For other services this is the file to change.
locals {
  services = {
    users = {
      description = "User management, authentication, profiles"
      instances   = 3
      tables      = ["users", "friendships", "friend_requests", "sessions", "blocks"]
    }
    chat = {
      description = "Chat rooms, messages, real-time communication"
      instances   = 2
      tables      = ["chat_rooms", "messages", "room_members", "message_reads", "direct_conversations"]
    }
    ai = {
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
    discovery = {
      description = "User discovery, availability, location features"
      instances   = 1
      tables      = ["user_availability"]
    }
    search = {
      description = "Vector search, embeddings, content indexing"
      instances   = 1
      tables      = ["embeddings", "search_index"]
    }
  }
}
