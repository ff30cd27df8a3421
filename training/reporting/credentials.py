"""Keys and passwords in settings: found by their shape and by what they are called, never shown.

Settings end in files that are shared: `config.yaml`, reports, trackers, the hub. A value is a credential if
it has the form that a service gives its keys, stands in a URL where credentials stand, or has a name that
means one as a whole word. `eos_token`, `max_tokens`, `num_key_value_heads` and `monkey` mean none.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

MASK = "***"

SHAPES: dict[str, tuple[str, str | None]] = {
    "anthropic": (r"sk-ant-[\w-]{6,}", "ANTHROPIC_API_KEY"),
    "openrouter": (r"sk-or-[\w-]{6,}", "OPENROUTER_API_KEY"),
    "openai": (r"sk-[A-Za-z0-9][\w-]{2,}", "OPENAI_API_KEY"),
    "hub": (r"hf_[A-Za-z0-9]{6,}", "HF_TOKEN"),
    "hub organisation": (r"api_org_[A-Za-z0-9]{6,}", "HF_TOKEN"),
    "github": (r"gh[pousr]_[A-Za-z0-9]{6,}", "GITHUB_TOKEN"),
    "github, fine-grained": (r"github_pat_\w{6,}", "GITHUB_TOKEN"),
    "gitlab": (r"glpat-[\w-]{6,}", "GITLAB_TOKEN"),
    "amazon": (r"(?:AKIA|ASIA)[A-Z0-9]{12,}", "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
    "google": (r"AIza[\w-]{20,}", "GOOGLE_API_KEY"),
    "google, oauth": (r"ya29\.[\w.-]{10,}", "GOOGLE_API_KEY"),
    "slack": (r"xox[abeoprs]-[\w-]{6,}", None),
    "groq": (r"gsk_[A-Za-z0-9]{10,}", "GROQ_API_KEY"),
    "xai": (r"xai-[A-Za-z0-9]{10,}", "XAI_API_KEY"),
    "nvidia": (r"nvapi-[\w-]{10,}", "NVIDIA_API_KEY"),
    "replicate": (r"r8_[A-Za-z0-9]{10,}", "REPLICATE_API_TOKEN"),
    "fireworks": (r"fw_[A-Za-z0-9]{10,}", "FIREWORKS_API_KEY"),
    "together": (r"tgp_v1_[\w-]{10,}", "TOGETHER_API_KEY"),
    "weights & biases": (r"wandb_v1_\w{10,}", "WANDB_API_KEY"),
    "pypi": (r"pypi-[\w-]{16,}", None),
    "npm": (r"npm_[A-Za-z0-9]{16,}", None),
    "docker": (r"dckr_pat_[\w-]{10,}", None),
    "signed token": (r"eyJ[\w-]{6,}\.[\w-]{4,}(?:\.[\w-]*)?", None),
    "private key": (r"-----BEGIN [A-Z ]*PRIVATE KEY-----", None),
}
"""Whose key -> its form, and the environment variable that it belongs into."""

_AFTER = r"(?![A-Za-z0-9])"
_SHAPE = {name: re.compile(rf"(?<![A-Za-z0-9_/.-])(?:{form}){_AFTER}") for name, (form, _) in SHAPES.items()}
_SHAPE_IN_PATH = {name: re.compile(rf"(?<=[/.])(?:{form}){_AFTER}") for name, (form, _) in SHAPES.items()}

LONG = 24
"""Characters from which on a part of a path is a key by its form: `models/sk-learn` is none."""

RANDOM_BITS = 3.5
"""Entropy per character of what is made of chance, at least; words and dates have less."""

_SCHEME = re.compile(
    r"(?:Bearer\s+[\w.~+/=-]{4,}|bearer\s+(?=\S*[A-Z0-9])[\w.~+/=-]{4,}|[Bb]asic\s+(?=\S*(?:[a-z][A-Z]|\d|=))[\w+/=]{8,})"
)
"""What stands in a header `Authorization`."""

NAMES = {
    *("authorization", "auth", "bearer", "token", "cookie"),
    *("passwd", "password", "passphrase", "pwd", "secret", "secrets", "credential", "credentials", "apikey"),
}
"""Names that mean a credential when they are all of a name."""

WORDS = NAMES - {"auth", "bearer", "token", "cookie", "secrets"}
"""Words that mean one wherever they stand in a name: `db_password`, `client_secret`."""

PAIRS = {
    *((kind, "key") for kind in ("access", "account", "api", "auth", "encryption", "private", "secret")),
    *((kind, "key") for kind in ("license", "service", "signing", "subscription")),
    *((kind, "token") for kind in ("access", "api", "auth", "bearer", "github", "hf", "hub", "id")),
    *((kind, "token") for kind in ("refresh", "session", "user", "wandb")),
    *(("basic", "auth"), ("http", "auth"), ("session", "cookie")),
}
"""Two words that mean one together: `openai_api_key`, `hf_token`."""

POINTING = {"env", "environment", "file", "header", "length", "name", "path", "type", "var", "variable"}
"""Last words of names that say where a credential is: `api_key_file`."""

WEAK = {"creds", "key", "login", "pass", "token"}
"""Last words of names whose value is one if it is made of chance: `service_token`, never `eos_token`."""

IN_QUERIES = {
    "code",
    "key",
    "sig",
    "signature",
    "token",
    "x-amz-credential",
    "x-amz-signature",
    "x-goog-signature",
}
"""Parameters of a URL that hold one, besides those whose names say so."""

_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^\s'\"<>]+", re.IGNORECASE)
_QUERY = re.compile(r"([?&#])([\w.-]+)=([^&#\s'\"]+)")
_USER = re.compile(r"(://)([^/\s@]+)@")
_VALUE = r"(\"[^\"]*\"|'[^']*'|[^\s,;]+)"
_ASSIGNED = re.compile(rf"(?<![\w/?&.-])(-{{0,2}}[A-Za-z][\w.-]*)(\s*[=:]\s*){_VALUE}")
_OPTION = re.compile(rf"(?<!\S)(--?[A-Za-z][\w.-]*)(\s+)(?!-){_VALUE}")
_GIT = re.compile(r"[0-9a-f]{40}")


class Found(NamedTuple):
    """A credential in the settings."""

    option: str
    """Where: `model_args.headers.authorization`."""

    variable: str | None
    """Environment variable that it belongs into, if its form tells."""


def credentials_in(settings: Mapping[str, Any]) -> list[Found]:
    """Where settings hold keys or passwords.

    Args:
        settings: Option -> value, nested as it may be.
    """
    return list(_credentials_in(settings, ""))


def without_secrets(value: Any) -> Any:
    """A copy in which keys and passwords are `***`. Numbers, flags and what is not there stay."""
    if isinstance(value, Mapping):
        return {
            k: _hidden(v) if means_credential(str(k), v) else without_secrets(v) for k, v in value.items()
        }
    if isinstance(value, list | tuple):
        return [without_secrets(v) for v in value]
    return _masked(value) if isinstance(value, str) else value


def means_credential(name: str, value: Any = None) -> bool:
    """A name such as `api_key`, `Authorization` or `HF_TOKEN`, judged by its words.

    Args:
        name: Of a setting, a header, a variable.
        value: Decides for names that often mean something else, as `key`.
    """
    words = _words(name)
    if not words or words[-1] in POINTING:
        return False
    if words[-1] in WEAK and isinstance(value, str) and _is_random(value, least=16):
        return True
    if len(words) == 1:
        return words[0] in NAMES
    return bool(WORDS & set(words)) or any(pair in PAIRS for pair in pairwise(words))


def _credentials_in(value: Any, at: str) -> Iterator[Found]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            place = f"{at}.{name}" if at else str(name)
            if means_credential(str(name), inner) and any(_texts(inner)):
                yield Found(place, _variable(inner) or _as_variable(str(name)))
            else:
                yield from _credentials_in(inner, place)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _credentials_in(inner, at)
    elif isinstance(value, str) and _masked(value) != value:
        yield Found(at, _variable(value))


def _texts(value: Any) -> Iterator[str]:
    """Texts in a value that may be credentials."""
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)
    elif isinstance(value, str) and _could_be(value):
        yield value


def _could_be(text: str) -> bool:
    """`true`, nothing, or the name of a variable (`$KEY`) is no credential."""
    plain = text.strip().strip("'\"").lower()
    return plain not in ("", "none", "null", "true", "false", MASK) and not re.fullmatch(
        r"\$\{?\w+\}?", plain
    )


def _hidden(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _hidden(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_hidden(v) for v in value]
    return MASK if isinstance(value, str) and _could_be(value) else value


def _masked(text: str) -> str:
    text = _SCHEME.sub(MASK, _URL.sub(lambda m: _url(m[0]), text))
    for form in _SHAPE.values():
        text = form.sub(MASK, text)
    for form in _SHAPE_IN_PATH.values():
        text = form.sub(lambda m: MASK if len(m[0]) >= LONG else m[0], text)
    text = _OPTION.sub(_assigned, _ASSIGNED.sub(_assigned, text))
    return MASK if _is_random(text, least=32) and text != text.lower() else text


def _url(url: str) -> str:
    url = _QUERY.sub(_in_query, _USER.sub(rf"\1{MASK}@", url))
    head, mark, rest = url.partition("://")
    path, query_mark, query = rest.partition("?")
    host, *parts = path.split("/")
    kept = "/".join([host, *(MASK if _is_key(part) else part for part in parts)])
    return f"{head}{mark}{kept}{query_mark}{query}"


def _is_key(part: str) -> bool:
    """A part of a URL's path is a key, not a name or a commit."""
    return any(form.search(part) for form in _SHAPE.values()) or (
        _is_random(part) and not _GIT.fullmatch(part)
    )


def _in_query(found: re.Match[str]) -> str:
    mark, name, value = found.groups()
    secret = name.lower() in IN_QUERIES or means_credential(name) or _is_random(value)
    return f"{mark}{name}={MASK if secret and _could_be(value) else value}"


def _assigned(found: re.Match[str]) -> str:
    """`--token abc`, `HF_TOKEN=abc`, `password: abc` within a text; `token=1` is the name of a folder."""
    name, between, value = found.groups()
    inner = value.strip("'\"")
    folder = name == name.lower() and re.fullmatch(r"\d{1,6}(/.*)?", inner)
    secret = means_credential(name.lstrip("-"), inner) and _could_be(inner) and not folder
    return f"{name}{between}{MASK}" if secret else found[0]


def _is_random(text: str, *, least: int = LONG) -> bool:
    """Long, of letters and digits mixed, and without the repetitions that words have."""
    if len(text) < least or not re.fullmatch(r"[A-Za-z0-9_+=-]+", text):
        return False
    if len(re.findall(r"[A-Za-z](?=\d)|\d(?=[A-Za-z])", text)) < 4:
        return False
    bits = -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values())
    return bits >= RANDOM_BITS


def _variable(value: Any) -> str | None:
    """Where a credential of this form belongs."""
    for text in _texts(value):
        for name, form in (*_SHAPE.items(), *_SHAPE_IN_PATH.items()):
            if form.search(text):
                return SHAPES[name][1]
        for found in _ASSIGNED.finditer(text):
            if means_credential(found[1]) and (variable := _as_variable(found[1])):
                return variable
    return None


def _as_variable(name: str) -> str | None:
    """The name, if it is written as variables of the environment are."""
    return name if re.fullmatch(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+", name) else None


def _words(name: str) -> list[str]:
    """`clientSecret`, `client-secret`, `CLIENT_SECRET` -> client, secret."""
    parts = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return [word.lower() for word in re.split(r"[^A-Za-z0-9]+", parts) if word]
