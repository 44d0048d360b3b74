"""`doctor` says how much a home holds, and whether its volume is encrypted."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.volumes import encrypted, size_of


def test_sizes_add_up_and_links_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake" / "part").write_bytes(b"x" * 100_000)
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    assert 100_000 <= size_of(tmp_path) < 200_000
    assert size_of(tmp_path / "nowhere") == 0


@pytest.fixture
def machine(tmp_path: Path) -> tuple[Path, Path]:
    """Mounts and devices: / plain, /vault on LUKS below LVM, "/my files" in an encrypting file system."""
    mounts, blocks = tmp_path / "mountinfo", tmp_path / "block"
    mounts.write_text(
        "1 0 8:1 / / rw - ext4 rootdev rw\n"
        "2 1 253:1 / /vault rw shared:1 - xfs vaultdev rw\n"
        "3 1 0:50 / /my\\040files rw - fuse.gocryptfs cipher rw\n"
    )
    for device, below, name in (("8:1", None, None), ("253:0", "8:1", "CRYPT-LUKS2-abc"), ("253:1", "253:0", "LVM-x")):
        (blocks / device / "slaves").mkdir(parents=True)
        if below:
            (blocks / device / "slaves" / below.replace(":", "-")).symlink_to(blocks / below)
        if name:
            (blocks / device / "dm").mkdir()
            (blocks / device / "dm" / "uuid").write_text(name + "\n")
    return mounts, blocks


@pytest.mark.parametrize(
    ("path", "expected"), [("/home/me", False), ("/vault/home", True), ("/my files/home", True), ("/vaulted", False)]
)
def test_an_encrypted_volume_is_recognised(machine: tuple[Path, Path], path: str, expected: bool) -> None:
    mounts, blocks = machine
    assert encrypted(Path(path), mounts=mounts, blocks=blocks) is expected


def test_this_machine_can_be_asked(tmp_path: Path) -> None:
    assert encrypted(tmp_path) in (True, False)
