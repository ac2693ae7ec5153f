"""Workflows, templates, hooks, citation, changelog and Dockerfile are consistent."""

import re
import subprocess

import pytest
import yaml
from checkout import ROOT, tracked

import mms_plugin

GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml"))
MAKE = re.compile(r"\bmake ([a-z-]+)")


def load(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def steps(workflow):
    for job in load(workflow)["jobs"].values():
        yield from job["steps"]


@pytest.fixture(scope="module")
def targets():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z-]+):", text, flags=re.MULTILINE))


class TestWorkflows:
    def test_there_are_some(self):
        assert [path.name for path in WORKFLOWS] == ["ci.yml", "release.yml"]

    @pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
    def test_is_valid(self, path):
        workflow = load(path)
        # YAML 1.1 reads the key "on" as true.
        assert {"name", True, "permissions", "jobs"} <= set(workflow)
        for job in workflow["jobs"].values():
            assert job["runs-on"] == "ubuntu-latest" and job["timeout-minutes"] > 0
            for step in job["steps"]:
                assert ("uses" in step) != ("run" in step)
                assert re.fullmatch(r"[\w/-]+@v\d+", step.get("uses", "a/b@v1"))

    @pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
    def test_make_targets_exist(self, path, targets):
        called = {t for step in steps(path) for t in MAKE.findall(step.get("run", ""))}
        assert called and called <= targets

    def test_every_check_is_called(self):
        called = {
            t for s in steps(WORKFLOWS[0]) for t in MAKE.findall(s.get("run", ""))
        }
        assert called == {"lint", "test", "matrix", "docs"}

    def test_pythons_of_the_matrix(self):
        jobs = load(GITHUB / "workflows" / "ci.yml")["jobs"]
        found = {
            each["combination"]: each["python"]
            for each in jobs["matrix"]["strategy"]["matrix"]["include"]
        }
        wanted = {}
        for path in (ROOT / "requirements" / "matrix").glob("*.txt"):
            (wanted[path.stem],) = re.findall(
                r"^# python (\S+)$", path.read_text(), flags=re.MULTILINE
            )
        assert found == wanted

    @pytest.mark.parametrize(
        ("tag", "accepted"), [(f"v{mms_plugin.__version__}", True), ("v9.9.9", False)]
    )
    def test_a_release_has_the_version_of_its_tag(self, tag, accepted, tmp_path):
        (script,) = (
            step["run"]
            for step in steps(GITHUB / "workflows" / "release.yml")
            if "CHANGELOG" in step.get("run", "") and "make" not in step["run"]
            and "gh " not in step["run"]
        )  # fmt: skip
        (tmp_path / "mms_plugin").mkdir()
        version = (ROOT / "mms_plugin" / "version.py").read_text()
        (tmp_path / "mms_plugin" / "version.py").write_text(version)
        (tmp_path / "CHANGELOG.md").write_text(f"## [{tag[1:]}] - 2026-12-01\n")
        # GitHub's shell.
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
            cwd=tmp_path,
            env={"GITHUB_REF_NAME": tag, "PATH": "/usr/bin:/bin"},
        )
        assert (done.returncode == 0) == accepted


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_issue_form(path):
    form = load(path)
    if path.name == "config.yml":
        assert set(form) <= {"blank_issues_enabled", "contact_links"}
        return
    assert form["name"] and form["description"]
    ids = [part["id"] for part in form["body"]]
    assert len(set(ids)) == len(ids)
    for part in form["body"]:
        assert part["type"] in {"textarea", "input"} and part["attributes"]["label"]


def test_pre_commit_runs_what_lint_runs():
    makefile = (ROOT / "Makefile").read_text()
    lint = makefile[makefile.index("\nlint:") : makefile.index("\ntest:")]
    (repo,) = load(ROOT / ".pre-commit-config.yaml")["repos"]
    for hook in repo["hooks"]:
        assert repo["repo"] == "local" and hook["language"] == "system"
        program = re.sub(r"^.*?\.venv/bin/(python -m )?", "", hook["entry"])
        assert program.replace(" --fix", "") in lint


def test_citation():
    citation = load(ROOT / "CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == mms_plugin.__version__
    assert {"message", "title", "authors"} <= set(citation)
    found = [
        identifier["value"]
        for reference in citation["references"]
        for identifier in reference["identifiers"]
    ]
    assert found == ["arXiv:2309.04502", "arXiv:2210.11078"]
    for reference in citation["references"]:
        assert {"type", "title", "authors", "year"} <= set(reference)


def test_changelog():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    sections = re.findall(r"^## (.*)$", text, flags=re.MULTILINE)
    assert sections
    for section in sections:
        assert re.fullmatch(
            r"\[Unreleased\]|\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", section
        )
    if sections[0] != "[Unreleased]":
        assert sections[0].startswith(f"[{mms_plugin.__version__}]")


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "CHANGELOG.md"])
def test_what_pages_name_exists(name, targets):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= targets
    for link in re.findall(r"\]\(([^):]+)\)", text):
        assert (ROOT / link).exists()
    for path in re.findall(
        r"`((?:tests|tools|configs|docs|mms_plugin)/[\w./]+)`", text
    ):
        assert (ROOT / path).exists()


class TestDockerfile:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")

    def test_the_image_is_pinned_and_brings_the_cuda_compiler(self):
        (image,) = re.findall(r"^FROM (\S+)$", self.text, flags=re.MULTILINE)
        assert re.fullmatch(
            r"pytorch/pytorch:2\.\d+\.\d+-cuda[\d.]+-cudnn\d-devel", image
        )

    def test_mmcv_is_the_one_that_is_tested(self):
        pins = (ROOT / "requirements" / "env.txt").read_text().splitlines()
        assert set(re.findall(r"mmcv==[\d.]+", self.text)) <= set(pins)

    def test_constraints(self, tmp_path):
        """All pins but those of the image, as pip reads them."""
        from packaging.requirements import Requirement

        (program,) = re.findall(r"sed -E '([^']+)'", self.text)
        done = subprocess.run(
            ["sed", "-E", program, str(ROOT / "requirements" / "env.txt")],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        names = {Requirement(line).name for line in done.stdout.splitlines()}
        assert {"mmengine", "mmdet", "mmpretrain", "numpy", "setuptools"} <= names
        assert not names & {"torch", "torchvision", "triton", "mmcv"}

    def test_the_context_has_what_is_copied(self):
        for source in re.findall(r"^COPY (\S+) ", self.text, flags=re.MULTILINE):
            assert (ROOT / source).exists()
        # So are the targets of the package's links.
        ignored = (ROOT / ".dockerignore").read_text().split()
        for name in tracked("mms_plugin/.mim"):
            target = (ROOT / name).resolve().relative_to(ROOT)
            assert target.parts[0] not in ignored
