"""The domains. Each package here supplies one ``UseCase``; nothing outside names what is in them."""
