# The rehearsal.
environment          = "staging"
postgres_host        = "postgres.staging.svc.cluster.local"
postgres_database    = "link_app_staging"
postgres_username    = "link_staging_user"
kubernetes_namespace = "link-staging"
kubernetes_context   = "staging-cluster"

# Beside those of other environments, and not over them.
artifacts_folder = "generated/staging"
