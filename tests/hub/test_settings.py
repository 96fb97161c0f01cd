"""Settings: file, environment, secrets, and a sentence for each mistake."""

import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from connectors.air.settings import AirSettings
from hub import lang
from hub.core.errors import Misconfigured
from hub.settings import load, section
from tests.planted import SASL_PASSWORD, TLS_KEY, planted_in


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "hub.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_file_is_read(tmp_path: Path) -> None:
    settings = load(written(tmp_path, '[kafka]\nbootstrap = "a:1"\n[air]\nlisten = "0.0.0.0:7"\n'))
    assert settings.kafka.bootstrap == "a:1"
    assert section(settings, "air", AirSettings).listen.port == 7


def test_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRIDHUB__KAFKA__BOOTSTRAP", "b:2")
    monkeypatch.setenv("GRIDHUB__AIR__IDLE_TIMEOUT_S", "5")
    settings = load(written(tmp_path, '[kafka]\nbootstrap = "a:1"\n'))
    assert settings.kafka.bootstrap == "b:2"
    assert section(settings, "air", AirSettings).idle_timeout_s == 5


def test_config_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRIDHUB_CONFIG", str(written(tmp_path, 'data = "/elsewhere"\n')))
    assert load().data == Path("/elsewhere")


def test_a_secret_can_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("c:3\n", encoding="utf-8")
    assert load(written(tmp_path, f'[kafka]\nbootstrap_file = "{tmp_path}/secret"\n')).kafka.bootstrap == "c:3"


def test_a_secret_that_is_not_text_is_named_and_not_shown(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"\xffsecret")
    with pytest.raises(Misconfigured, match=f"^bootstrap_file: {tmp_path}/secret is not UTF-8$"):
        load(written(tmp_path, f'[kafka]\nbootstrap_file = "{tmp_path}/secret"\n'))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[kafka]\nbootstrp = 'a:1'\n", "kafka.bootstrp"),
        ("[kafka]\nreplication = 0\n", "kafka.replication"),
        ("[kafka]\ndelivery_timeout_ms = 999\n", "kafka.delivery_timeout_ms"),
        ("[nonsense]\n", "nonsense: neither a setting nor the name of a connector"),
        ("[nonsense.air]\n", "nonsense: neither"),
        ("[connectors.air]\n", "connectors: neither"),
        ("['../air']\n", r"\.\./air: neither"),
        ("[__main__]\n", "__main__: neither"),
        ("air = 3\n", "air: must be a section"),
        ("[kafka\n", "not TOML"),
        ("[telemetry]\nlisten = '9401'\n", "telemetry.listen"),
        ("[kafka]\nbootstrap_file = '/no/such/file'\n", "bootstrap_file"),
        ("[kafka]\nbootstrap = 'localhost'\n", r"kafka\.bootstrap: not HOST:PORT"),
        ("[kafka]\nbootstrap = 'a:1,,b:2'\n", r"kafka\.bootstrap: not HOST:PORT"),
        ("[kafka]\nbootstrap = ':9092'\n", r"kafka\.bootstrap: an address lacks its host"),
        ("[kafka]\nbootstrap = 'a:1,b:65536'\n", r"kafka\.bootstrap.*65535"),
        ("[kafka]\nbootstrap = '10.0..5:9092'\n", r"kafka\.bootstrap: not the name of a host"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(Misconfigured, match=named):
        load(written(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (f'[kafka]\nsasl_password = "{SASL_PASSWORD}"', r"kafka\.sasl_password"),
        (f'[kafka]\nsasl_password = "{SASL_PASSWORD}', "is not TOML"),
        (f"[kafka]\nsasl_password = {SASL_PASSWORD}", "is not TOML"),
        (f'[kafka]\nssl_key = """{TLS_KEY}\n{TLS_KEY}', "is not TOML"),
        (f'[kafka]\nssl_key = "a"\nssl_key = "{TLS_KEY}"', "is not TOML"),
        (f'[kafka]\nreplication = "{SASL_PASSWORD}"', r"kafka\.replication"),
        (f'[kafka]\nbootstrap = "u:{SASL_PASSWORD}@broker"', r"kafka\.bootstrap"),
        (f'[kafka]\nbootstrap = "u:{SASL_PASSWORD}@broker:9092"', r"kafka\.bootstrap: .*no user and no password"),
        (f'[kafka]\nbootstrap = "SASL://u:{SASL_PASSWORD}@a:1,b:2"', r"kafka\.bootstrap: .*no user and no password"),
        (f'[kafka]\nbootstrap = "a:1,{SASL_PASSWORD}..x:1"', r"kafka\.bootstrap"),
        (f'[kafka]\nbootstrap = "{SASL_PASSWORD}:1,:9"', r"kafka\.bootstrap"),
        (f'[page]\ntiles_datum = "{SASL_PASSWORD}"', r"page\.tiles_datum"),
        (f'[[rules]]\nkind = "{SASL_PASSWORD}"', r"rules\.0"),
        (f'rules = "{SASL_PASSWORD}"', "rules"),
    ],
)
def test_a_mistake_quotes_no_value(tmp_path: Path, text: str, key: str) -> None:
    with pytest.raises(Misconfigured, match=key) as told:
        load(written(tmp_path, text))
    assert not planted_in("".join(traceback.format_exception(told.value)))


@pytest.mark.parametrize("name", ["KAFKA__SASL_PASSWORD", "KAFKA__BOOTSTRAP", "RULES", "PAGE__LISTEN"])
def test_a_mistake_of_the_environment_quotes_no_value(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"GRIDHUB__{name}", SASL_PASSWORD)
    with pytest.raises(Misconfigured) as told:
        load()
    assert not planted_in(str(told.value))


@pytest.mark.parametrize("key", ["replication", "bootstrap", "sasl_password"])
def test_what_a_secret_file_holds_is_quoted_nowhere(tmp_path: Path, key: str) -> None:
    (tmp_path / "secret").write_text(SASL_PASSWORD, encoding="utf-8")
    with pytest.raises(Misconfigured, match=rf"kafka\.{key}") as told:
        load(written(tmp_path, f'[kafka]\n{key}_file = "{tmp_path / "secret"}"'))
    assert not planted_in(str(told.value))


def test_a_mistake_in_a_connectors_section_is_named(tmp_path: Path) -> None:
    settings = load(written(tmp_path, "[air]\nbudget_s = -1\n"))
    with pytest.raises(Misconfigured, match=r"air\.budget_s"):
        section(settings, "air", AirSettings)


def test_a_section_is_any_connectors_whose_folder_is_there(tmp_path: Path) -> None:
    """The hub has no list of them, and imports none to know."""
    folders = sorted(path.parent.name for path in (Path(__file__).parents[2] / "connectors").glob("*/settings.py"))
    path = written(tmp_path, "".join(f"[{name}]\nx = 1\n" for name in folders))
    program = (
        "import sys; from pathlib import Path; from hub.settings import load;"
        f" print(sorted(load(Path({str(path)!r})).connectors), [one for one in sys.modules if one.startswith('connectors.')])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.stdout == f"{folders} []\n", ran.stderr


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="does not exist"):
        load(tmp_path / "none.toml")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=f"{tmp_path} cannot be read: Is a directory"):
        load(tmp_path)


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    # A loop of links: unreadable for root too, who may read whatever has a mode.
    (tmp_path / "hub.toml").symlink_to("hub.toml")
    with pytest.raises(Misconfigured, match=r"hub\.toml cannot be read"):
        load(tmp_path / "hub.toml")


def test_several_brokers_may_be_named(tmp_path: Path) -> None:
    kafka = load(written(tmp_path, "[kafka]\nbootstrap = 'a:1, [::1]:2'\n")).kafka
    assert kafka.bootstrap == "a:1,[::1]:2"
    assert [(broker.host, broker.port) for broker in kafka.brokers] == [("a", 1), ("::1", 2)]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[kafka\n", "不是 TOML"),
        ("[kafka]\nbootstrap_file = '/no/such/file'\n", "bootstrap_file：无法读取 /no/such/file"),
        ("[kafka]\nbootstrap = 'a'\n", r"（或环境变量）：kafka\.bootstrap: 不是 HOST:PORT"),
        ("[kafka]\nreplication = 0\n", r"kafka\.replication: 必须大于 0"),
        ("[telemetry]\nformat = 'xml'\n", r"telemetry\.format: 只能是 'json', 'text' 或 ''"),
        ("[kafka]\nbootstrp = 'a:1'\n", r"kafka\.bootstrp: 没有这个配置项"),
        ("[nonsense]\n", "nonsense：既不是配置项，也不是接入程序的名称"),
    ],
)
def test_a_mistake_is_told_in_the_language(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, sentence: str
) -> None:
    monkeypatch.setattr(lang, "_chosen", "zh")
    with pytest.raises(Misconfigured, match=sentence):
        load(written(tmp_path, text))


def test_a_variable_below_a_value_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRIDHUB__DATA__BELOW", "x")
    with pytest.raises(Misconfigured, match="GRIDHUB__DATA__BELOW: data is not a section"):
        load(written(tmp_path, "data = 'd'\n"))
