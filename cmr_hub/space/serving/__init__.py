"""What stands between a visitor's request and the functions of the page and the API."""
