"""What deploy/ holds: a service and containers that install the whole package, and no root."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import unitrack_edge
from unitrack_edge.commands.track import command
from unitrack_edge.tracking.config_file import read_config

ROOT = Path(unitrack_edge.__file__).parent
DEPLOY = ROOT / "deploy"
CONTAINERS = sorted(DEPLOY.glob("Containerfile.*"))
FLAG = re.compile(r"--[a-z][a-z-]+")


def flags_of_track():
    return {flag for option in command.params for flag in option.opts}


@pytest.mark.parametrize("path", CONTAINERS, ids=lambda path: path.name)
def test_containers_take_the_whole_package_and_end_as_nobody(path):
    text = path.read_text()
    project = (ROOT / "pyproject.toml").read_text()
    packages = set(re.findall(r'"unitrack_edge\.([a-z]+)"', project))
    assert packages
    assert set(re.findall(r"^COPY (\w+) \1$", text, re.MULTILINE)) == packages
    users = re.findall(r"^USER (\w+)$", text, re.MULTILINE)
    assert users == ["unitrack"]
    # Nothing that needs rights comes after.
    assert not re.search(r"^RUN", text[text.index("\nUSER ") :], re.MULTILINE)
    for name in re.findall(r"[\w./-]+\.(?:toml|txt|md)|LICENSE", " ".join(copied(text))):
        assert (ROOT / name).exists(), name


def copied(text):
    return re.findall(r"^COPY (.*) \./$", text, re.MULTILINE)


def test_both_kinds_of_container_are_there():
    assert [path.suffix for path in CONTAINERS] == [".desktop", ".jetpack"]


def unit():
    parser = configparser.RawConfigParser(strict=False, comment_prefixes=("#",))
    parser.optionxform = str
    parser.read(DEPLOY / "unitrack-edge.service")
    return parser["Service"]


def test_the_service_is_no_root_and_ends_in_order():
    service = unit()
    assert service["User"] == "unitrack"
    assert service["NoNewPrivileges"] == "yes"
    assert service["KillSignal"] == "SIGTERM"
    assert service["SuccessExitStatus"] == "130 143"  # what an interrupted run ends with


def test_a_night_without_a_camera_is_not_the_end():
    parser = configparser.RawConfigParser(strict=False, comment_prefixes=("#",))
    parser.optionxform = str
    parser.read(DEPLOY / "unitrack-edge.service")
    assert parser["Unit"]["StartLimitIntervalSec"] == "0"
    service = unit()
    assert service["Restart"] == "on-failure"
    assert service["Type"] == "notify"
    assert int(service["WatchdogSec"]) >= 30


def test_what_the_service_starts_holds_no_secret_and_waits_for_its_camera():
    start = unit()["ExecStart"]
    assert start.endswith("cli track --config /etc/unitrack-edge/track.yaml")
    assert "$" not in start
    values = read_config(DEPLOY / "track.yaml")
    known = {option.name for option in command.params}
    assert set(values) <= known
    assert values["wait_for_source"] is True
    assert values["keep"]
    environment = (DEPLOY / "unitrack-edge.env").read_text()
    assert not re.search(r"^UNITRACK_TOKEN|^UNITRACK_SECRET", environment, re.MULTILINE)


def test_the_document_names_options_of_track_that_exist():
    text = (ROOT / "docs" / "deployment.md").read_text()
    joined = text.replace("\\\n", " ")
    for line in joined.splitlines():
        for arguments in re.findall(r"\btrack (camera0 [^`\n]*)", line):
            assert set(FLAG.findall(arguments)) <= flags_of_track(), line
    for flag in ("--serve", "--serve-token", "--segment", "--jsonl", "--save-video"):
        assert f"`{flag}" in text
        assert flag in flags_of_track()


@pytest.fixture
def analyzed(tmp_path):
    """Run systemd-analyze on the unit; what is not installed here is no mistake of the unit."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("no systemd-analyze here")
    text = (DEPLOY / "unitrack-edge.service").read_text()
    path = tmp_path / "unitrack-edge.service"
    path.write_text(re.sub(r"ExecStart=\S+", "ExecStart=/bin/true", text))

    def run(*words):
        return subprocess.run(
            [program, *words, str(path)], capture_output=True, text=True, check=False
        )

    return run


def test_systemd_understands_the_unit(analyzed):
    ran = analyzed("verify", "--man=no")
    assert [line for line in ran.stderr.splitlines() if "unitrack-edge" in line] == []


def test_the_service_may_do_little(analyzed):
    ran = analyzed("security", "--offline=true")
    if "unrecognized option" in ran.stderr:
        pytest.skip("this systemd-analyze cannot look at a unit that is not installed")
    (exposure,) = re.findall(r"Overall exposure level.*: (\d+\.\d+)", ran.stdout)
    assert float(exposure) <= 3
