#!/usr/bin/env bash
# transformers 5.23.0: a function passed as a variable of a chat template arrives as text.
#
# `apply_chat_template(..., **kwargs)` is documented to pass further arguments to the renderer, and templates of many
# models call `strftime_now(...)`. Giving that name a function of one's own, to fix the day, looks like the way to make
# prompts reproducible. Since templates are given plain data alone, the function arrives as the string "<function>", and
# the template fails with "'str' object is not callable"; the built-in function, which tells today, is shadowed.
# What works: a macro of that name written before the template.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check transformers==5.23.0 tokenizers==0.23.3 jinja2==3.1.6 2>/dev/null
"$work/venv/bin/python" - <<'PY'
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast, __version__

tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE(vocab={"a": 0}, merges=[])))
template = "{{ strftime_now('%Y') }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
talk = [{"role": "user", "content": "!"}]


def render(text, **variables):
    try:
        return tokenizer.apply_chat_template(talk, chat_template=text, tokenize=False, **variables)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


given = render(template, strftime_now=lambda form: "1999")
macro = render("{%- macro strftime_now(form) -%}1999{%- endmacro +%}" + template)
print("transformers", __version__)
print("a function as a variable:", given)
print("a macro before the template:", macro)
assert "object is not callable" in given, given
assert macro == "1999!", macro
PY
