output "service_databases" {
  description = "Where each service finds its database."
  value       = module.service_databases.service_databases
}

output "service_passwords" {
  description = "The password of each service's login."
  value       = module.service_databases.service_passwords
  sensitive   = true
}

output "monitoring_user" {
  description = "The monitoring login."
  value       = module.service_databases.monitoring_user
  sensitive   = true
}

output "connection_usage_summary" {
  description = "The connections of all services against what the server has."
  value       = module.service_databases.connection_usage_summary
}

output "env_files" {
  description = "The env file of each service."
  value       = module.service_databases.env_files
}

output "kubernetes_secrets" {
  description = "The Kubernetes Secret of each service: name, namespace, file."
  value       = module.service_databases.kubernetes_secrets
}

output "docker_compose_env" {
  description = "One variable a service, for a Compose file that is written by hand."
  value       = module.service_databases.docker_compose_env
  sensitive   = true
}

output "backup_recommendations" {
  description = "When and how to back up."
  value       = module.service_databases.backup_recommendations
}
