# One isolated database per service on one PostgreSQL server, and the files that the services need to use them.
module "service_databases" {
  source = "./modules/service-databases"

  services               = local.services
  create_monitoring_user = var.create_monitoring_user
  # Scripts, PgBouncer's configuration, env files, Kubernetes Secrets, the guide.
  artifacts_folder = var.artifacts_folder
}
