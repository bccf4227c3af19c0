"""The reference of the command line, from the commands themselves."""

from typing import Any

import typer


def describe_commands() -> str:
    """Markdown of every command: usage, what it does, its arguments and options."""
    from amortppl.cli.commands import app

    group: Any = typer.main.get_command(app)
    context = typer.Context(group, info_name="amortppl")
    return "\n\n".join(_describe(name, group.commands[name], context) for name in group.commands)


def _describe(name: str, command: Any, above: Any) -> str:
    context = typer.Context(command, info_name=name, parent=above)
    arguments = [p.name.upper() for p in command.params if p.param_type_name == "argument"]
    usage = " ".join([context.command_path, *arguments, "[OPTIONS]"])
    parts = [f"## {name}", f"```text\n{usage}\n```", command.help or ""]
    shown = [p for p in command.params if not getattr(p, "hidden", False) and p.name != "help"]
    if shown:
        parts.append(
            "\n".join(["| option | default | meaning |", "|---|---|---|", *map(_row, shown)])
        )
    return "\n\n".join(parts)


def _row(parameter: Any) -> str:
    names = [*parameter.opts, *parameter.secondary_opts]
    option = parameter.param_type_name == "option"
    shown = ", ".join(f"`{n}`" for n in names) if option else f"`{parameter.name.upper()}`"
    given = parameter.default
    default = "required" if parameter.required else _default(given)
    return f"| {shown} | {default} | {parameter.help or ''} |"


def _default(value: Any) -> str:
    absent = value is None or value is False or callable(value) or value == []
    return "" if absent else f"`{value}`"
