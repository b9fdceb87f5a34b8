variable "postgres_host" {
  description = "Host of the PostgreSQL server."
  type        = string
  default     = "localhost"
}

variable "postgres_port" {
  description = "Port of the PostgreSQL server."
  type        = number
  default     = 5432

  validation {
    condition     = var.postgres_port >= 1 && var.postgres_port <= 65535
    error_message = "postgres_port is between 1 and 65535."
  }
}

variable "postgres_database" {
  description = "The shared database that exists today; services are split out of it."
  type        = string
  default     = "link_app"
}

variable "postgres_username" {
  description = "The administrator. Often not a superuser on managed clouds."
  type        = string
  default     = "link_user"
}

variable "postgres_password" {
  description = "The administrator's password; PGPASSWORD and a password file are read when it is not given."
  type        = string
  default     = null
  sensitive   = true
}

variable "postgres_sslmode" {
  description = "How far TLS is demanded."
  type        = string
  default     = "require"

  validation {
    condition     = contains(["disable", "require", "verify-ca", "verify-full"], var.postgres_sslmode)
    error_message = "postgres_sslmode is disable, require, verify-ca or verify-full."
  }
}

variable "environment" {
  description = "Which environment this is."
  type        = string
  default     = "development"

  validation {
    condition     = contains(["development", "staging", "production"], var.environment)
    error_message = "environment is development, staging or production."
  }
}

variable "database_connection_limit" {
  description = "Connections that each service's database takes."
  type        = number
  default     = 100

  validation {
    condition     = var.database_connection_limit >= 10 && var.database_connection_limit <= 1000
    error_message = "database_connection_limit is between 10 and 1000."
  }
}

variable "user_connection_limit" {
  description = "Connections that each service's login may hold."
  type        = number
  default     = 50

  validation {
    condition     = var.user_connection_limit >= 5 && var.user_connection_limit <= 500
    error_message = "user_connection_limit is between 5 and 500."
  }
}

variable "create_monitoring_user" {
  description = "Whether there is a login for monitoring."
  type        = bool
  default     = true
}

variable "backup_retention_days" {
  description = "Days that backups are kept."
  type        = number
  default     = 30

  validation {
    condition     = var.backup_retention_days >= 1
    error_message = "backup_retention_days is at least 1."
  }
}

variable "enable_ssl" {
  description = "Whether services connect by TLS."
  type        = bool
  default     = true
}

variable "kubernetes_namespace" {
  description = "Namespace of the generated Kubernetes Secrets."
  type        = string
  default     = "default"
}

variable "kubeconfig_path" {
  description = "Kubernetes configuration file, for the commands in the generated guide."
  type        = string
  default     = "~/.kube/config"
}

variable "kubernetes_context" {
  description = "Kubernetes context, for the commands in the generated guide."
  type        = string
  default     = null
}

variable "enable_pgbouncer" {
  description = "Whether PgBouncer's files are generated."
  type        = bool
  default     = true
}

variable "pgbouncer_pool_mode" {
  description = "When PgBouncer takes a server connection back."
  type        = string
  default     = "session"

  validation {
    condition     = contains(["session", "transaction", "statement"], var.pgbouncer_pool_mode)
    error_message = "pgbouncer_pool_mode is session, transaction or statement."
  }
}

variable "pgbouncer_max_client_conn" {
  description = "Clients that one PgBouncer takes."
  type        = number
  default     = 100

  validation {
    condition     = var.pgbouncer_max_client_conn >= 1
    error_message = "pgbouncer_max_client_conn is at least 1."
  }
}

variable "pgbouncer_default_pool_size" {
  description = "Server connections of a pool."
  type        = number
  default     = 10

  validation {
    condition     = var.pgbouncer_default_pool_size >= 1
    error_message = "pgbouncer_default_pool_size is at least 1."
  }
}

variable "enable_backup_automation" {
  description = "Whether backup scripts and their schedule are generated."
  type        = bool
  default     = true
}

variable "backup_storage_path" {
  description = "Where backups are kept."
  type        = string
  default     = "/var/backups/postgresql"
}

variable "enable_replica_setup" {
  description = "Whether replicas are set up."
  type        = bool
  default     = false
}

variable "artifacts_folder" {
  description = "Where the generated files go: the folder of this configuration, unless another is named."
  type        = string
  default     = "."
}

variable "tags" {
  description = "Free words that are put on every database, role and generated file."
  type        = map(string)
  default = {
    Project   = "Link"
    Component = "Database"
    ManagedBy = "Terraform"
    Purpose   = "Service isolation"
  }
}
