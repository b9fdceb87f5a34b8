# tflint's own rules for Terraform; the provider checks its blocks itself, by `terraform validate` and `terraform plan`.
config {
  call_module_type = "local"
}

plugin "terraform" {
  enabled = true
  preset  = "recommended"
}
