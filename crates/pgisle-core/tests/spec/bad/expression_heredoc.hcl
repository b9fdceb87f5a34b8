kubeconfig_path = <<EOT
~/${user}/config
EOT
service "users" {
}
