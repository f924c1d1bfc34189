"""Installing: what is pinned is checked, and what is missing is one clear line."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from local_stack import bootstrap
from local_stack.bootstrap import check_machine
from local_stack.faults import StackError
from local_stack.jars import Jar, ivy_module, proxy_flags, read_lock, remove_others, sha256_of, wrong_files
from local_stack.layout import REPO_ROOT, Layout
from local_stack.lock_jars import shipped_modules

PINNED = Jar("kafka", "org.example:thing:1.2", "")


def test_every_pinned_jar_has_a_full_sum_and_a_name_of_its_own() -> None:
    jars = read_lock()
    assert all(len(jar.sha256) == 64 for jar in jars)
    assert len({(jar.jar_set, jar.filename) for jar in jars}) == len(jars)


def test_a_file_with_other_bytes_is_found(tmp_path: Path) -> None:
    path = tmp_path / "kafka" / PINNED.filename
    path.parent.mkdir()
    path.write_bytes(b"right")
    jar = Jar("kafka", PINNED.coordinate, sha256_of(path))
    assert wrong_files([jar], tmp_path) == []
    path.write_bytes(b"wrong")
    assert wrong_files([jar], tmp_path) == [jar]
    path.unlink()
    assert wrong_files([jar], tmp_path) == [jar]


def test_what_an_earlier_lock_has_left_goes(tmp_path: Path) -> None:
    wanted = Jar("spark", "org.example:tool:2.0", "0" * 64)
    names = ("tool-1.0.jar", wanted.filename)
    for folder in ("spark", "kafka"):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).write_bytes(b"")
    remove_others([wanted], tmp_path)
    assert [path.name for path in (tmp_path / "spark").iterdir()] == [wanted.filename]
    assert len(list((tmp_path / "kafka").iterdir())) == len(names), "no file of that set is pinned here"


@pytest.mark.parametrize("name", ["my projects", "100%", "a:b", "it's"])
def test_a_folder_that_no_command_line_holds_is_refused_at_once(tmp_path: Path, name: str) -> None:
    with pytest.raises(StackError, match="in its path: move it"):
        check_machine(Layout(tmp_path / name, tmp_path / "state"))


def test_ivy_is_asked_for_exact_files_only() -> None:
    archive = Jar("metastore", "org.example:big:3:tar.gz:bin", "")
    module = ivy_module([PINNED, archive])
    assert module.count('transitive="false"') == 2
    assert 'm:classifier="bin"' in module
    assert archive.filename == "big-3-bin.tar.gz"


def test_java_asks_the_proxies_that_everybody_asks() -> None:
    assert proxy_flags({"no_proxy": "localhost", "http_proxy": ""}) == []
    assert proxy_flags(
        {"HTTPS_PROXY": "http://ann:secret@proxy.example:3128/", "http_proxy": "http://other.example"}
    ) == [
        "-Dhttp.proxyHost=other.example",
        "-Dhttp.proxyPort=80",
        "-Dhttps.proxyHost=proxy.example",
        "-Dhttps.proxyPort=3128",
    ]
    assert proxy_flags({"https_proxy": "proxy:3128", "no_proxy": "mirror.intern, .example,"}) == [
        "-Dhttps.proxyHost=proxy",
        "-Dhttps.proxyPort=3128",
        "-Dhttp.nonProxyHosts=mirror.intern|*.example",
    ]
    with pytest.raises(StackError, match="https_proxy is 'http://proxy:many', which is no address"):
        proxy_flags({"https_proxy": "http://proxy:many"})


def test_no_address_of_a_registry_is_written_anywhere_in_the_lock() -> None:
    for path in (REPO_ROOT / "local_stack" / "jars.lock.json", REPO_ROOT / "requirements.txt"):
        assert "://" not in path.read_text()


def test_every_python_package_is_pinned_and_hashed() -> None:
    text = (REPO_ROOT / "requirements.txt").read_text().replace("\\\n", " ")
    wanted = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    assert all("==" in line and "--hash=sha256:" in line for line in wanted)


def test_what_spark_ships_is_known_without_its_version(tmp_path: Path) -> None:
    for name in ("commons-io-2.22.0.jar", "spark-sql_2.13-4.2.0.jar"):
        (tmp_path / name).touch()
    assert shipped_modules(tmp_path) == {"commons-io", "spark-sql_2.13"}


def test_a_full_disk_is_one_line_before_anything_is_downloaded(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"GB free in .* needed: free some space"):
        bootstrap.check_disk(tmp_path, 1e9)


def test_a_python_that_the_lock_does_not_know_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "PYTHON_VERSIONS", ((3, 2),))
    with pytest.raises(StackError, match=r"install Python 3\.2"):
        bootstrap.find_python()


def test_a_python_without_venv_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(StackError, match=r"install python3\.\d+-venv"):
        bootstrap._require_venv_module()


def test_a_missing_library_names_the_package_that_has_it() -> None:
    loader = "error while loading shared libraries: libcrypt.so.1: cannot open shared object file"
    assert bootstrap.library_advice(loader).startswith("install libcrypt1")


def test_a_broken_download_leaves_no_stamp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout(tmp_path, tmp_path / ".local")
    (tmp_path / "requirements.txt").write_text("thing==1\n")
    layout.python.parent.mkdir(parents=True)
    layout.python.touch()
    layout.site_packages.joinpath("pyspark").mkdir(parents=True)
    monkeypatch.setattr(bootstrap, "make_uv", lambda _: Path("/bin/false"))
    with pytest.raises(StackError, match="the next run goes on from here"):
        bootstrap.make_venv(layout)
    assert not (layout.venv / ".lock-sha256").exists()


@pytest.fixture
def java(tmp_path: Path) -> Callable[..., list[str]]:
    """The wrapper around a program that prints what it was given."""
    real, wrapper = tmp_path / "real", tmp_path / "java" / "bin" / "java"
    wrapper.parent.mkdir(parents=True)
    real.write_text("#!/bin/bash\nprintf '%s\\n' \"$@\"\n")
    wrapper.write_text(bootstrap.JAVA_WRAPPER.format(java=f'"{real}"'))
    for program in (real, wrapper):
        program.chmod(0o755)
    return lambda *args: subprocess.run([wrapper, *args], capture_output=True, text=True, check=True).stdout.split("\n")


SUBMIT = "org.apache.spark.deploy.SparkSubmit"


def test_a_job_has_jars_alone_on_its_class_path_and_takes_its_classes_from_an_archive(
    java: Callable[..., list[str]], tmp_path: Path
) -> None:
    path = ["-cp", "/j/spark/*:/s/conf/spark/:/j/pyspark/*"]
    archive = archive_of(java(*path, SUBMIT, "/p/preprocess_features.py", ""))
    archive.touch()
    given = java(*path, "-Xmx1g", SUBMIT, "--master", "local[2]", "job.py")
    assert given[-8:] == ["-cp", "/j/spark/*:/j/pyspark/*", "-Xmx1g", SUBMIT, "--master", "local[2]", "job.py", ""]
    assert "-Dlog4j2.configurationFile=file:/s/conf/spark/log4j2.properties" in given
    assert f"-XX:SharedArchiveFile={archive}" in given
    assert archive.resolve().parent == tmp_path / "java"


def archive_of(given: list[str]) -> Path:
    """The archive that a job's Java was told."""
    option = "-XX:SharedArchiveFile="
    (name,) = (argument.removeprefix(option) for argument in given if argument.startswith(option))
    return Path(name)


def test_each_class_path_has_an_archive_of_its_own(java: Callable[..., list[str]]) -> None:
    """A checkout that moved, or that another path leads to, has other paths: an archive knows where its jars lay."""
    job = [SUBMIT, "/p/include/spark_jobs/preprocess_features.py", "--use-case", "flight_delay"]
    here, there = (java("-cp", f"/{root}/conf/spark/:/{root}/pyspark/*", *job) for root in ("here", "there"))
    again = java("-cp", "/state/of/another/conf/spark/:/here/pyspark/*", *job)
    assert archive_of(here) == archive_of(again) != archive_of(there)


def test_a_preprocessing_leaves_the_archive(java: Callable[..., list[str]]) -> None:
    path = ["-cp", "/s/conf/spark/:/j/pyspark/*", SUBMIT]
    makes = "-XX:+AutoCreateSharedArchive"
    assert makes in java(*path, "/p/include/spark_jobs/preprocess_features.py", "--use-case", "flight_delay")
    for other in ("stream", "ingest_raw"):  # an ingest without new files opens no session
        assert makes not in java(*path, f"/p/include/spark_jobs/{other}.py", "--use-case", "flight_delay")
    assert makes not in java(*path, "pyspark-shell")
    assert not any("SharedArchiveFile" in argument for argument in java(*path, "pyspark-shell")), "there is none yet"


@pytest.mark.parametrize(
    "command",
    [
        ["-Xmx128m", "-cp", "/j/pyspark/*", "org.apache.spark.launcher.Main", SUBMIT, "job.py"],
        ["-cp", "/s/conf/hiveserver2/:/j/pyspark/*", SUBMIT, "--class", "HiveThriftServer2", "spark-internal"],
        ["-cp", "/s/conf/spark/:/j/pyspark/*", "org.apache.spark.deploy.worker.Worker", "spark://m:7077"],
        ["-cp", "/j/kafka/*", "kafka.Kafka", "kafka.properties"],
    ],
)
def test_other_programs_get_what_they_were_given(java: Callable[..., list[str]], command: list[str]) -> None:
    assert java(*command) == [*command, ""]
    assert java("--add-modules=jdk.incubator.vector", *command) == [*command, ""]


def test_the_lock_file_is_small() -> None:
    path = REPO_ROOT / "local_stack" / "jars.lock.json"
    assert path.stat().st_size < 30_000
    assert set(json.loads(path.read_text())) == {"kafka", "mariadb", "metastore", "spark"}
