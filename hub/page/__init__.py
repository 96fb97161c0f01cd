"""The page: map and list of open tickets in a browser, live."""
