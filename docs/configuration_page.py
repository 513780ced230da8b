"""docs/configuration.md, from the classes of aorch/config/sections.py and the variables of environment.py."""

from aorch import jsonio
from aorch.config import environment, sections

_HEAD = """\
# Configuration

aorch reads `aorch.toml` and environment variables. Options override environment variables, which override the file,
which overrides the defaults.

```console
$ aorch init          # creates an aorch.toml with every setting, commented out
$ aorch config show   # every setting with its value and source
$ aorch config path   # the file in use
$ aorch config edit   # opens the file in your editor, then checks it
```

## Which aorch.toml is used

aorch uses the nearest `aorch.toml`, from the working directory upwards. If there is none, it uses
`~/.config/aorch/aorch.toml`. `--config FILE` or the environment variable `AORCH_CONFIG` selects another file. The file
is optional, because every setting has a default.

The file names programs and classes that run with your permissions, so treat it as you would a Makefile:

- aorch rejects a file that belongs to another user (exit code 2, `config_untrusted`). Files of root
  are accepted.
- `aorch config trust` remembers the path of a file that you trust, for containers and teams.
- A file that you name with `--config` is always accepted.

An unknown key, or a value of the wrong type, is an error that names the file, the key and the reason.

## Keys
"""
_AGENTS = """
### `[credentials.NAME]`

A token for [registered agents](registration.md) or a key that signs their tasks, and the hosts for which it may be used:

```toml
[credentials.internal]
env = "INTERNAL_TOKEN"
hosts = ["agents.example.org"]
```

| key | default | meaning |
|---|---|---|
| `env` | | Name of the environment variable with the token or the key. |
| `hosts` | | Host names or IP addresses that may receive the token; with `:PORT` for one port only. |
| `key_id` | | ID of the key. With it, the variable contains a key that signs tasks and is never sent. |
| `algorithm` | `"hmac-sha256"` | Algorithm of the signatures: `hmac-sha256` or `ed25519`. |

### `[prices."MODEL"]`

What a million tokens of a [model](models.md) cost, in any one currency. [`aorch stats`](stats.md) computes the cost of exchanges
from it.

```toml
[prices."claude-haiku-4-5*"]
input = 1.0
output = 5.0
cached = 0.1
```

| key | default | meaning |
|---|---|---|
| `input` | | Price of a million tokens of prompts. |
| `output` | | Price of a million tokens of answers. |
| `cached` | unknown | Price of a million tokens of prompts that were read from a cache. |

MODEL is the name that the model reports in its answers. A `*` at the end matches any end, so that a price applies to all
versions of a model; the longest name that matches applies.

### `[agents.ID]` and `[pipelines.NAME]`

See [agents](agents.md) and [pipelines](pipelines.md).

## Environment variables

The configuration never contains a secret itself. It names the environment variable that holds it, for example in
`queue.webhook_secret_env`, `llm.key_env`, `token_env` of an agent, or as `$NAME` in the `env` of an agent.
"""


def configuration_page() -> str:
    """Every key of aorch.toml and every environment variable."""
    lines = [_HEAD.rstrip()]
    table = None
    for key in sections.all_keys():
        if key.table != table:
            table = key.table
            title = f"`[{table}]`" if table else "At the top of the file"
            about = f"\n{sections.TABLES[table].__doc__}\n" if table else ""
            lines += [f"\n### {title}\n{about}", "| key | default | meaning |", "|---|---|---|"]
        default = "" if key.default in (None, "", [], {}) else f"`{jsonio.encode(key.default)}`"
        variable = f" Overridden by `{key.variable}`." if key.variable else ""
        lines.append(f"| `{key.name}` | {default} | {key.description}{variable} |")
    lines += [_AGENTS.rstrip(), "", "| variable | meaning |", "|---|---|"]
    lines += [f"| `{name}` | {meaning} |" for name, meaning in environment.DESCRIPTIONS.items()]
    return "\n".join(lines) + "\n"
