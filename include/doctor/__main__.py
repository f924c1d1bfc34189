"""``python -m include.doctor [SYSTEM ...]``: what is wrong with this deployment, in words; ends with 1 if something is.

Reads the environment (``.local/stack.env``, or what a deployment sets). Knows which checks there are, not what they do.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence

from include.doctor.finding import Check, examined, of_each_use_case, rendered
from include.doctor.services import check_airflow, check_predictor, check_ray
from include.doctor.stores import check_kafka, check_mysql, check_s3
from include.doctor.warehouse import check_hiveserver2, check_metastore, check_spark

CHECKS: Mapping[str, Check] = {
    "s3": check_s3,
    "kafka": of_each_use_case(check_kafka),
    "mysql": of_each_use_case(check_mysql),
    "metastore": check_metastore,
    "hiveserver2": of_each_use_case(check_hiveserver2),
    "spark": check_spark,
    "ray": check_ray,
    "predictor": of_each_use_case(check_predictor),
    "airflow": check_airflow,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Examine the systems that are named, or all; print as each is done."""
    parser = argparse.ArgumentParser(prog="python -m include.doctor", description="Say in words what is wrong.")
    parser.add_argument("systems", nargs="*", metavar="SYSTEM", help=f"of {', '.join(CHECKS)} (default: all)")
    systems = parser.parse_args(argv).systems or list(CHECKS)
    unknown = [name for name in systems if name not in CHECKS]
    if unknown:
        parser.error(f"no system is called {unknown[0]}: choose from {', '.join(CHECKS)}")
    wrong = 0
    for name in systems:
        findings = list(examined(CHECKS[name], os.environ))
        wrong += sum(not finding.is_well for finding in findings)
        print("\n".join(rendered(name, findings)), flush=True)
    print(f"{wrong} things are wrong" if wrong else "nothing is wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
