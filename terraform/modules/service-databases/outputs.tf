output "service_databases" {
  description = "Where each service finds its database."
  value = {
    for name, service in pgisle_service.this : name => {
      database         = service.database
      username         = service.login
      host             = service.host
      port             = service.port
      sslmode          = service.sslmode
      connection_limit = service.connection_limit
      description      = service.description
    }
  }
}

output "service_passwords" {
  description = "The password of each service's login."
  value       = { for name, service in pgisle_service.this : name => service.password }
  sensitive   = true
}

output "database_urls" {
  description = "The connection URL of each service."
  value       = { for name, service in pgisle_service.this : name => service.database_url }
  sensitive   = true
}

output "monitoring_user" {
  description = "The monitoring login; null without one."
  value = one([
    for user in pgisle_monitoring_user.this : {
      username         = user.name
      password         = user.password
      host             = user.host
      port             = user.port
      database         = user.database
      sslmode          = user.sslmode
      connection_limit = user.connection_limit
    }
  ])
  sensitive = true
}

output "connection_usage_summary" {
  description = "The connections of all services against what the server has."
  value       = jsondecode(data.pgisle_budget.this.summary)
}

output "env_files" {
  description = "The env file of each service."
  value       = pgisle_artifacts.this.env_files
}

output "kubernetes_secrets" {
  description = "The Kubernetes Secret of each service: name, namespace, file."
  value       = pgisle_artifacts.this.kubernetes_secrets
}

output "docker_compose_env" {
  description = "One variable a service, for a Compose file that is written by hand."
  value       = pgisle_artifacts.this.docker_compose_env
  sensitive   = true
}

output "backup_recommendations" {
  description = "When and how to back up."
  value       = pgisle_artifacts.this.backup_recommendations
}
