"""Chat templates that show tools and write calls, each in one of the forms that are read back."""

from inspect_ai.tool import ToolInfo, ToolParam, ToolParams

TOOLS = [
    ToolInfo(
        name="book",
        description="Books a seat.",
        parameters=ToolParams(
            properties={"seat": ToolParam(type="string"), "count": ToolParam(type="integer")},
            required=["seat"],
        ),
    )
]

CALLING = {
    "tagged JSON": """{{- '\\n<tool_call>\\n{"name": "' + f.name + '", "arguments": ' + f.arguments | tojson + '}\\n</tool_call>' -}}""",
    "JSON alone": """{{- '{"name": "' + f.name + '", "parameters": ' + f.arguments | tojson + '}' -}}""",
    "parameters in tags": (
        "{{- '<tool_call>\\n<function=' + f.name + '>\\n' -}}{%- for k, v in f.arguments|items -%}"
        "{{- '<parameter=' + k + '>\\n' + (v if v is string else v|tojson) + '\\n</parameter>\\n' -}}{%- endfor -%}"
        "{{- '</function>\\n</tool_call>' -}}"
    ),
    "keys and values": (
        "{{- '<tool_call>' + f.name + '\\n' -}}{%- for k, v in f.arguments|items -%}"
        "{{- '<arg_key>' + k + '</arg_key>\\n<arg_value>' + (v if v is string else v|tojson) + '</arg_value>\\n' -}}{%- endfor -%}"
        "{{- '</tool_call>' -}}"
    ),
}
"""How templates write a call `f`, by the name of the form that reads it."""


def template_of(calling):
    return (
        "{%- if tools -%}{{- 'TOOLS ' + tools | tojson + '\\n' -}}{%- endif -%}"
        "{%- for m in messages -%}{{- '<|im_start|>' + m['role'] + '\\n' + m['content'] -}}"
        "{%- for c in m['tool_calls'] or [] -%}{%- set f = c['function'] -%}" + calling + "{%- endfor -%}"
        "{{- '<|im_end|>\\n' -}}{%- endfor -%}{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
    )
