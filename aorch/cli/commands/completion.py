"""`aorch completion`: print the completion script for a shell."""

from enum import StrEnum
from typing import Annotated

import typer

app = typer.Typer(add_completion=False)

Shell = StrEnum("Shell", ["bash", "zsh", "fish"])

BASH = """\
_aorch_completion() {
    local IFS=$'\\n'
    COMPREPLY=( $( env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD _AORCH_COMPLETE=complete_bash $1 ) )
    [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace
    return 0
}
complete -o default -F _aorch_completion aorch
"""
"""Typer's bash script, except that no space follows `name=`."""


@app.command()
def completion(
    shell: Annotated[Shell, typer.Argument(metavar="SHELL", case_sensitive=False, help="bash, zsh or fish.")],
) -> None:
    """Print the completion script for a shell.

    For bash, add `eval "$(aorch completion bash)"` to ~/.bashrc. For zsh, add `eval "$(aorch completion zsh)"` to ~/.zshrc, after
    compinit. For fish, write the script to ~/.config/fish/completions/aorch.fish.

    \b
    Examples:
      eval "$(aorch completion bash)"
      aorch completion zsh
      aorch completion fish
    """
    from typer.completion import get_completion_script  # type: ignore[attr-defined]  # it imports it

    if shell == Shell.bash:
        script = BASH
    else:
        script = get_completion_script(prog_name="aorch", complete_var="_AORCH_COMPLETE", shell=str(shell)) + "\n"
    typer.echo(script, nl=False)
