"""The node's image, built and run by podman in a storage of its own, on stand-ins for its bases.

No registry is asked: the names in the Containerfile's FROM and COPY --from lines are given to a
Debian of the same release with its own Python, and to uv of the same version from the package
index. What is proven of the image is therefore all but its bases.
"""

import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
CONTAINERFILE = ROOT / "shared/Containerfile"
IMAGE = "localhost/teleprefetch-node"
_PACKAGES = "podman runc catatonit mmdebstrap openssl"
HOW_TO_GET_IT = f"needs podman, as root: apt-get install --no-install-recommends {_PACKAGES}"
_NEEDED = ("podman", "runc", "catatonit", "mmdebstrap", "openssl", "uv")
_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"


def skip_without_podman() -> None:
    """Without what builds and runs an image the test is skipped, and says how to get it."""
    if os.geteuid() != 0 or any(shutil.which(program) is None for program in _NEEDED):
        pytest.skip(HOW_TO_GET_IT)


@dataclass(frozen=True)
class Engine:
    """podman, which keeps all that it makes below `folder`."""

    folder: Path

    def __call__(self, *arguments: str, within_s: float = 120, codes: Sequence[int] = (0,)) -> str:
        """What a command prints on both outputs; `codes` are the exit codes that it may have."""
        own = [f"--root={self.folder / 'storage'}", f"--runroot={self.folder / 'run'}"]
        own += ["--cgroup-manager=cgroupfs", "--events-backend=none", "--runtime=runc"]
        ended = subprocess.run(
            ["podman", *own, *arguments],
            cwd=ROOT,
            env=os.environ | {"DISABLE_HC_SYSTEMD": "true"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=within_s,
            check=False,
        )
        assert ended.returncode in codes, ended.stdout[-3000:]
        return ended.stdout

    def inspect(self, name: str) -> Any:
        """What podman knows of an image or a container."""
        [found] = json.loads(self("inspect", name))
        return found

    def clear(self) -> None:
        """Remove all that it made; podman's own `system reset` would take others' networks."""
        self("rm", "--all", "--force", "--time=0")
        self("rmi", "--all", "--force")
        shutil.rmtree(self.folder)

    @contextmanager
    def mounted(self, image: str) -> Iterator[Path]:
        """The files of an image."""
        yield Path(self("image", "mount", image).strip())
        self("image", "umount", image)


def make_bases(engine: Engine) -> None:
    """Import the stand-ins under the names that the Containerfile gives."""
    text = CONTAINERFILE.read_text()
    [python] = set(re.findall(r"^FROM (\S+)", text, re.MULTILINE))
    [(uv, version)] = re.findall(r"--from=(\S+/uv:([\d.]+)) ", text)
    system = engine.folder / "system.tar"
    _make_system(system, release=python.rpartition("-")[2])
    path = "PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
    engine("import", "--change", f"ENV {path}", "--change", "CMD python3", str(system), python)
    system.unlink()
    _run("uv", "pip", "install", "--no-deps", "--target", engine.folder / "uv", f"uv=={version}.*")
    with tarfile.open(engine.folder / "uv.tar", "w") as archive:
        archive.add(engine.folder / "uv/bin/uv", "uv")
    engine("import", str(engine.folder / "uv.tar"), uv)


def _make_system(target: Path, *, release: str) -> None:
    """A small Debian with `python3` where the official image has it."""
    trusting = 'mkdir -p "$1/etc/uv" && echo "native-tls = true" >"$1/etc/uv/uv.toml"'
    _run(
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        "--include=ca-certificates,python3",
        '--customize-hook=ln -s /usr/bin/python3 "$1/usr/local/bin/python3"',
        '--customize-hook=ln -s /usr/bin/python3 "$1/usr/local/bin/python"',
        f"--customize-hook={trusting}",
        release,
        target,
    )


def build(engine: Engine) -> str:
    """Build the image as its own first lines say; returns what the build said."""
    [command] = re.findall(r"^#   podman (build .*) \.$", CONTAINERFILE.read_text(), re.MULTILINE)
    words = command.replace(" teleprefetch-node", f" {IMAGE}").split()
    here = ["--isolation=chroot", "--pull=never", "--network=host", "--layers=false"]
    here += [f"--volume={_AUTHORITIES}:{_AUTHORITIES}:ro"]
    return engine(*words, *here, ".", within_s=300)


def as_on_site(*, mounts: Mapping[str, Path]) -> list[str]:
    """The options of `podman run` by which it runs a node as compose.yaml does.

    Args:
        mounts: where each of the node's volumes lies here, by its place in the container.
    """
    service = yaml.safe_load((ROOT / "shared/compose.yaml").read_text())["services"]["node"]
    options = [
        f"--read-only={str(service['read_only']).lower()}",
        "--read-only-tmpfs=false",  # compose.yaml's own and no other
        f"--user={service['user']}",
        f"--init={str(service['init']).lower()}",
        f"--stop-timeout={service['stop_grace_period'].removesuffix('s')}",
    ]
    # podman's own would be raised to the most there is, which not every machine lets even root do
    options.append("--ulimit=nproc=4096:4096")
    options += [f"--cap-drop={one}" for one in service["cap_drop"]]
    options += [f"--security-opt={one.split(':')[0]}" for one in service["security_opt"]]
    options += [f"--tmpfs={one}" for one in service["tmpfs"]]
    for name, limit in service["ulimits"].items():
        options.append(f"--ulimit={name}={limit['soft']}:{limit['hard']}")
    for volume in service["volumes"]:
        place, *mode = re.sub(r"^\$\{[^}]*\}:", "", volume).split(":")
        options.append(":".join([f"--volume={mounts[place]}", place, *mode]))
    environment = service["environment"].items()
    return options + [f"--env={name}={value}" for name, value in environment]


def _run(*command: str | Path) -> None:
    ended = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-3000:]
