environment: development
services:
  - users
