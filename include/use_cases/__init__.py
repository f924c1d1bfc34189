"""The domains. Each package here supplies one ``UseCase``; nothing outside names what is in them."""

from collections.abc import Mapping

#: The one that is meant where no variable names one.
DEFAULT_USE_CASE = "flight_delay"
#: The variable with the one that a program works on that works on one: a predictor, a command.
USE_CASE = "LAMBDA_DL_USE_CASE"
#: The variable with all use cases of a deployment, separated by commas; the first has the plain names.
USE_CASES = "LAMBDA_DL_USE_CASES"
#: The address of the first use case's predictor; that of another has its name behind an underscore.
PREDICTOR_URL = "PREDICTOR_URL"
#: Between a plain name and the use case that it is of, where that is not the first: ids of DAGs, addresses of pages.
SEPARATOR = "__"


def read_use_cases(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The names of a deployment's use cases, the first one first: of ``LAMBDA_DL_USE_CASES``, or the one of
    ``LAMBDA_DL_USE_CASE``, or the one that is shipped. Raises ``ValueError`` if one is named twice."""
    names = tuple(filter(None, (word.strip() for word in environment.get(USE_CASES, "").split(","))))
    if len(set(names)) < len(names):
        raise ValueError(f"setting {USE_CASES} names a use case twice: {', '.join(names)}")
    return names or (environment.get(USE_CASE) or DEFAULT_USE_CASE,)


def chosen_use_case(environment: Mapping[str, str]) -> str:
    """The use case of a program that works on one: of ``LAMBDA_DL_USE_CASE``, or the deployment's first."""
    return environment.get(USE_CASE) or read_use_cases(environment)[0]


def environment_of(environment: Mapping[str, str], use_case: str) -> dict[str, str]:
    """A deployment's settings as a program has them that works on one of its use cases: its databases and predictor.

    The first use case has the plain names. Raises ``ValueError`` if the deployment does not have it.
    """
    first, *others = read_use_cases(environment)
    if use_case == first:
        return {**environment, USE_CASE: use_case}
    if use_case not in others:
        raise ValueError(f"there is no use case {use_case!r}; setting {USE_CASES} names {', '.join((first, *others))}")
    predictor = environment.get(f"{PREDICTOR_URL}_{use_case.upper()}", "")
    own = {"MYSQL_DATABASE": use_case, "HIVE_DATABASE": use_case, PREDICTOR_URL: predictor, "PREDICTOR_URLS": predictor}
    return {**environment, **own, USE_CASE: use_case}
