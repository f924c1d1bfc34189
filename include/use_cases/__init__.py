"""The domains. Each package here supplies one ``UseCase``; nothing outside names what is in them."""

#: The one that is meant where ``LAMBDA_DL_USE_CASE`` names none.
DEFAULT_USE_CASE = "flight_delay"
