resource "pgisle_monitoring_user" "this" {
  count = var.create_monitoring_user ? 1 : 0
}

resource "pgisle_service" "this" {
  for_each = var.services

  name        = each.key
  description = each.value.description
  instances   = each.value.instances
  database    = each.value.database
  user        = each.value.user

  connection_limit          = each.value.connection_limit
  database_connection_limit = each.value.database_connection_limit
  pool_size                 = each.value.pool_size

  extensions = each.value.extensions
  schemas    = each.value.schemas
  tables     = each.value.tables
  settings   = each.value.settings
  access     = each.value.access

  deletion_policy = each.value.deletion_policy
  rotation        = each.value.rotation
  finish_rotation = each.value.finish_rotation
  adopt           = each.value.adopt

  dynamic "replica" {
    for_each = each.value.replica == null ? [] : [each.value.replica]

    content {
      mode   = replica.value.mode
      region = replica.value.region
    }
  }
}

# Terraform reads a data source while planning unless it refers to something that is to be made; by a local value it does not.
locals {
  definitions = [for service in pgisle_service.this : service.definition]
  credentials = [for service in pgisle_service.this : service.credential]
}

# Refuses, while planning, pools that do not fit into the server.
data "pgisle_budget" "this" {
  services    = local.definitions
  require_fit = var.require_fit
}

resource "pgisle_artifacts" "this" {
  services    = local.definitions
  credentials = local.credentials
  folder      = var.artifacts_folder
  overwrite   = var.overwrite_artifacts

  # The files hold what these make: passwords, and who may log in.
  depends_on = [pgisle_service.this, pgisle_monitoring_user.this]
}
