name_prefix = "ppppppppppppppppppppppppppppppppppppppppp"
service "users" {
}
