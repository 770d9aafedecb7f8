"""A config is resolved to what the daemon uses: absolute paths, profiles, keys and defaults."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import pytest

from rembg_watch.api.options import Options
from rembg_watch.config.load import load_config
from rembg_watch.errors import ConfigError

ENV = {"REMBG_API_KEY": "s3cret-from-env", "HOME": "/home/somebody"}
FOLDERS = "folders: [{inbox: in, outbox: out}]\n"


@pytest.fixture
def load(tmp_path):
    """Load a config text that stands in tmp_path/config.yaml."""

    def loaded(text, env=None):
        file = tmp_path / "config.yaml"
        file.write_text(text, encoding="utf-8")
        file.chmod(0o600)
        return load_config(file, ENV if env is None else env)

    return loaded


def test_the_shortest_whole_config(load, tmp_path):
    """One line is enough: everything else has its default, and the key comes from the environment."""
    config = load(FOLDERS)
    (folder,) = config.folders
    assert (folder.inbox, folder.outbox) == (tmp_path / "in", tmp_path / "out")
    assert (folder.profile.name, folder.profile.options) == ("default", Options())
    assert config.key == config.require_key() == "s3cret-from-env"
    assert (config.workers, config.shutdown_grace, config.credits.batch_size, config.retry.max_attempts) == (
        8,
        60,
        25,
        6,
    )
    assert config.api.url == "https://api.rembg.com/rmbg"
    assert config.state_dir == Path("/home/somebody/.local/state/rembg-watch")
    assert config.warnings == ()
    assert config.folder(str(tmp_path / "in")) is folder
    assert config.folder("elsewhere") is None


def test_the_key_is_in_no_repr(load):
    """Neither the resolved key nor the written one shows when a config is printed."""
    config = load(FOLDERS + "api: {key: '${REMBG_API_KEY}'}")
    assert config.key == "s3cret-from-env"
    assert "s3cret" not in repr(config)
    assert "s3cret" not in str(config)
    assert "s3cret" not in repr(config.api)


def test_a_missing_key_is_no_mistake_until_it_is_needed(load):
    """Commands without the API work without a key; the others are told where to put one."""
    config = load(FOLDERS, {})
    assert config.key is None
    with pytest.raises(ConfigError, match="there is no API key") as caught:
        config.require_key()
    assert caught.value.exit_code == 78


def test_the_order_of_the_key_sources(load, tmp_path):
    """api.key, else api.key_file, else the systemd credential, else the environment."""
    (tmp_path / "rembg-api-key").write_text("from-credential\n")
    (tmp_path / "keyfile").write_text("  from-file \nsecond line\n")
    env = {**ENV, "CREDENTIALS_DIRECTORY": str(tmp_path), "K": "from-config"}
    assert load(FOLDERS + "api: {key: '${K}'}", env).key == "from-config"
    config = load(FOLDERS + "api: {key_file: keyfile}", env)
    assert (config.key, config.api.key_file) == ("from-file", tmp_path / "keyfile")
    assert load(FOLDERS, env).key == "from-credential"
    (tmp_path / "rembg-api-key").unlink()
    assert load(FOLDERS, env).key == "s3cret-from-env"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "No such file"),
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"two words\n", "a space"),
        (b"\xff\xfe", "no API key"),
    ],
)
def test_a_bad_key_file_is_a_problem(load, tmp_path, content, what):
    """A key file that is missing, empty or holds no key is told with the line that names it, never with its content."""
    if content is not None:
        (tmp_path / "keyfile").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(FOLDERS + "api:\n  key_file: keyfile\n")
    (line,) = caught.value.problems
    assert ":3: api.key_file: " in line
    assert what in line
    assert "two words" not in line


def test_a_pipe_as_key_file_does_not_hang(load, tmp_path):
    """Only a regular file is read."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="not a regular file"):
        load(FOLDERS + "api: {key_file: pipe}")


def test_a_bad_key_in_the_environment_is_a_problem(load):
    """A key that could not travel in a header is told without being shown."""
    with pytest.raises(ConfigError, match="REMBG_API_KEY has a space") as caught:
        load(FOLDERS, {"REMBG_API_KEY": "bad secret"})
    assert "bad secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b", "XDG_STATE_HOME": "/x"}, "/var/lib/a"),
        ({"XDG_STATE_HOME": "/x", "HOME": "/h"}, "/x/rembg-watch"),
        ({"XDG_STATE_HOME": "relative", "HOME": "/h"}, "/h/.local/state/rembg-watch"),
    ],
)
def test_the_default_state_directory(load, env, expected):
    """The folder of systemd, else XDG's, else the one below home."""
    assert load(FOLDERS, env).state_dir == Path(expected)
    assert load(FOLDERS + "state_dir: /s", env).state_dir == Path("/s")


def test_paths_are_relative_to_the_file_and_links_are_resolved(load, tmp_path, monkeypatch):
    """The current folder plays no part; ~ is home."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir("/")
    (folder,) = load("folders: [{inbox: link, outbox: ~/out, archive: ../x}]").folders
    assert folder.inbox == tmp_path / "real"
    assert folder.outbox == Path("/home/somebody/out")
    assert folder.archive == tmp_path.parent / "x"


def test_links_in_a_circle_do_not_crash(load, tmp_path):
    """They are the business of 'check', as every folder that can't be used."""
    (tmp_path / "in").symlink_to("in")
    assert load(FOLDERS).folders


def test_profiles_by_name_in_place_and_for_subfolders(load):
    """Options written in place get a readable name of their own; the longest matching subfolder wins."""
    config = load(
        """
profiles:
  market: &m {format: png, bg_color: white}
  square: {<<: *m, w: 500, h: 500}
folders:
  - inbox: photos
    outbox: out
    profile: {format: jpg}
    subfolders:
      amazon: market
      amazon/masks/: {format: png, mask: true}
  - {inbox: b/photos, outbox: out2, subfolders: {x: {}}, profile: {w: 5}}
"""
    )
    first, second = config.folders
    assert first.profile.name == "photos:options"
    assert second.profile.name == "photos:options-2"
    assert first.profile_for("a.jpg") is first.profile
    assert first.profile_for("amazon") is first.profile
    assert first.profile_for("amazon/a.jpg").name == "market"
    assert first.profile_for("amazon/masks/b/a.jpg").name == "photos:amazon-masks"
    assert first.profile_for("amazonia/a.jpg") is first.profile
    assert first.subfolders[0][0] == PurePosixPath("amazon")
    assert config.profiles["square"].options == Options(format="png", bg_color="white", w=500, h=500)
    assert {f.profile.name for f in config.folders} <= set(config.profiles)


def test_a_profile_named_default_is_the_default(load):
    """A folder without a profile takes it."""
    config = load("profiles: {default: {format: png}}\n" + FOLDERS)
    assert config.folders[0].profile.options.format == "png"


def test_empty_keys_mean_their_defaults(load):
    """A section whose keys are all commented out is as if it was not there."""
    text = "api:\ncredits:\nworkers:\nprofiles:\n  a:\nfolders:\n- inbox: in\n  outbox: out\n  exclude:\n  profile:\n"
    assert load(text).workers == 8


def test_variables_fill_texts_and_numbers(load, tmp_path):
    """${NAME} works inside of texts and in place of numbers and truths; $${ stands for itself."""
    text = "workers: ${N}\nfolders: [{inbox: '${A}/in', outbox: '$${A}', recursive: '${R}'}]"
    config = load(text, {"N": "3", "A": "/photos", "R": "false"})
    assert config.workers == 3
    assert config.folders[0].inbox == Path("/photos/in")
    assert config.folders[0].outbox == tmp_path / "${A}"
    assert config.folders[0].recursive is False


def test_nested_inboxes_are_well_when_the_outer_is_flat(load):
    """Then no file is in both."""
    text = "folders: [{inbox: a, outbox: b, recursive: false}, {inbox: a/c, outbox: d}]"
    assert len(load(text).folders) == 2


def test_two_inboxes_may_share_an_outbox(load):
    """Outputs of different sources never overwrite each other, so one outbox is enough."""
    assert len(load("folders: [{inbox: a, outbox: o}, {inbox: b, outbox: o}]").folders) == 2


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000/rmbg", "http://localhost/x", "http://[::1]:1/", "https://proxy.example/x"]
)
def test_urls_that_are_safe(load, url):
    """With https anywhere, and http where the bytes do not leave the machine."""
    assert load(FOLDERS + f"api: {{url: '{url}'}}").api.url == url


@pytest.mark.parametrize(
    "url", ["http://localhost.evil.example/", "http://127.0.0.1.nip.io/", "http://10.0.0.1/", "https://", "//x"]
)
def test_urls_that_only_look_safe(load, url):
    """A name that begins like this machine's is not this machine."""
    with pytest.raises(ConfigError, match=r"api\.url"):
        load(FOLDERS + f"api: {{url: '{url}'}}")


def test_warnings_about_who_can_read_and_write(load, tmp_path):
    """A key or config that others can read or change is worth a warning, not a refusal."""
    file, state, keyfile = tmp_path / "config.yaml", tmp_path / "state", tmp_path / "key"
    state.mkdir()
    state.chmod(0o777)
    keyfile.write_text("abcd")
    keyfile.chmod(0o604)
    load(FOLDERS + "api: {key: abcd}\nstate_dir: state")
    file.chmod(0o646)
    told = load_config(file, ENV).warnings
    assert [line.split(": ", 1)[1].split(":")[0] for line in told] == [
        "api.key",
        "everybody can change this file",
        "state_dir",
    ]
    assert "abcd" not in "".join(told)
    state.chmod(0o700)
    assert len(load(FOLDERS + "api: {key_file: key}\nstate_dir: state").warnings) == 1
    assert load(FOLDERS + "api: {key: '${REMBG_API_KEY}'}").warnings == ()
