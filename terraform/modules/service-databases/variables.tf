variable "services" {
  description = "The services, by name. What is left out has the provider's defaults."
  type = map(object({
    description               = optional(string)
    instances                 = optional(number)
    database                  = optional(string)
    user                      = optional(string)
    connection_limit          = optional(number)
    database_connection_limit = optional(number)
    pool_size                 = optional(number)
    extensions                = optional(list(string))
    schemas                   = optional(list(string))
    tables                    = optional(list(string))
    settings                  = optional(map(string))
    access                    = optional(string)
    deletion_policy           = optional(string)
    rotation                  = optional(number)
    finish_rotation           = optional(bool)
    adopt                     = optional(bool)
    replica = optional(object({
      mode   = optional(string)
      region = optional(string)
    }))
  }))

  validation {
    condition     = length(var.services) > 0
    error_message = "There must be a service at least."
  }
}

variable "create_monitoring_user" {
  description = "Whether there is a login for monitoring; the provider's block says the same."
  type        = bool
  default     = true
}

variable "artifacts_folder" {
  description = "Where the generated files go; generated/<environment> when null."
  type        = string
  default     = null
}

variable "overwrite_artifacts" {
  description = "Whether files that were edited by hand are overwritten."
  type        = bool
  default     = false
}

variable "require_fit" {
  description = "Whether it is an error when full pools do not fit into the server."
  type        = bool
  default     = true
}
