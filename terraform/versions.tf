terraform {
  required_version = ">= 1.5"

  required_providers {
    pgisle = {
      source = "pgisle/pgisle"
    }
  }
}
