# A server on your own machine. `pgisle dev up` starts one that needs nothing of this.
postgres_host     = "localhost"
postgres_database = "link_app"
postgres_username = "link_user"

# A server on the own machine rarely has a certificate.
postgres_sslmode = "disable"
enable_ssl       = false

backup_retention_days    = 7
enable_backup_automation = false
