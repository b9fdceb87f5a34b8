{"environment": "development", "service": {"users": {}}}
