"""Chat templates in the shapes that model families use, worded for tests, and a byte-level tokenizer for them."""

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

SPECIAL = [
    "<pad>", "<s>", "</s>", "<cls>", "<sep>", "<|im_start|>", "<|im_end|>", "<|head|>", "<|/head|>", "<|eot|>", "<turn>",
    "</turn>", "[INST]", "[/INST]", "[CALLS]", "[TOOLS]", "[/TOOLS]", "[RESULT]", "[/RESULT]",
]  # fmt: skip

# headers, everything trimmed, calls in place of words, results as JSON, the date asked for
LLAMA = (
    "{{- '<s>' }}{%- if messages[0]['role'] == 'system' %}{%- set system = messages[0]['content']|trim %}"
    "{%- set rest = messages[1:] %}{%- else %}{%- set system = '' %}{%- set rest = messages %}{%- endif %}"
    "{{- '<|head|>system<|/head|>\n\nIt is ' + strftime_now('%d %b %Y') + '.\n' }}"
    "{%- if tools %}{{- 'Functions: ' + tools|tojson + '\n' }}{%- endif %}{{- system + '<|eot|>' }}"
    "{%- for m in rest %}{{- '<|head|>' + m['role'] + '<|/head|>\n\n' }}"
    "{%- if m['tool_calls'] %}{%- for c in m['tool_calls'] %}"
    "{{- '{\"name\": \"' + c.function.name + '\", \"parameters\": ' + c.function.arguments|tojson + '}' }}{%- endfor %}"
    "{%- elif m['role'] == 'tool' %}{{- m['content']|tojson }}{%- else %}{{- m['content']|trim }}{%- endif %}"
    "{{- '<|eot|>' }}{%- endfor %}{%- if add_generation_prompt %}{{- '<|head|>assistant<|/head|>\n\n' }}{%- endif %}"
)

# a default system prompt, words before calls, results within a user's turn, thoughts of earlier turns taken out
QWEN = (
    "{%- if messages[0]['role'] != 'system' %}{{- '<|im_start|>system\nYou help.<|im_end|>\n' }}{%- endif %}"
    "{%- set ns = namespace(last=0) %}{%- for m in messages %}{%- if m['role'] == 'user' %}{%- set ns.last = loop.index0 %}{%- endif %}{%- endfor %}"
    "{%- for m in messages %}"
    "{%- if m['role'] == 'tool' %}"
    "{%- if loop.first or messages[loop.index0 - 1]['role'] != 'tool' %}{{- '<|im_start|>user' }}{%- endif %}"
    "{{- '\n<result>\n' + m['content'] + '\n</result>' }}"
    "{%- if loop.last or messages[loop.index0 + 1]['role'] != 'tool' %}{{- '<|im_end|>\n' }}{%- endif %}"
    "{%- elif m['role'] == 'assistant' %}"
    "{%- set words = m['content'] %}{%- set thought = m['reasoning_content'] or '' %}"
    "{%- if '</think>' in words %}"
    "{%- set thought = words.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}"
    "{%- set words = words.split('</think>')[-1].lstrip('\n') %}{%- endif %}"
    "{{- '<|im_start|>assistant\n' }}"
    "{%- if thought and loop.index0 > ns.last %}{{- '<think>\n' + thought.strip('\n') + '\n</think>\n\n' }}{%- endif %}{{- words }}"
    "{%- for c in m['tool_calls'] or [] %}{%- if loop.index0 > 0 or words %}{{- '\n' }}{%- endif %}"
    "{{- '<call>\n{\"name\": \"' + c.function.name + '\", \"arguments\": ' + c.function.arguments|tojson + '}\n</call>' }}{%- endfor %}"
    "{{- '<|im_end|>\n' }}"
    "{%- else %}{{- '<|im_start|>' + m['role'] + '\n' + m['content'] }}"
    "{%- if loop.first and tools %}{{- '\n# Tools\n' + tools|tojson }}{%- endif %}{{- '<|im_end|>\n' }}{%- endif %}"
    "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)

# no system message, strict turns, the assistant is called otherwise, everything trimmed
GEMMA = (
    "{{- '<s>' }}{%- if messages[0]['role'] == 'system' %}{{- raise_exception('no system messages here') }}{%- endif %}"
    "{%- for m in messages %}{%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{- raise_exception('roles must alternate') }}{%- endif %}"
    "{{- '<turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' + m['content']|trim + '</turn>\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<turn>model\n' }}{%- endif %}"
)

# system message and tools stand at the last turn of the user, calls have no header
MISTRAL = (
    "{%- if messages[0]['role'] == 'system' %}{%- set system = messages[0]['content'] %}{%- set rest = messages[1:] %}"
    "{%- else %}{%- set rest = messages %}{%- endif %}"
    "{%- set ns = namespace(last=-1) %}{%- for m in rest %}{%- if m['role'] == 'user' %}{%- set ns.last = loop.index0 %}{%- endif %}{%- endfor %}"
    "{{- '<s>' }}{%- for m in rest %}"
    "{%- if m['role'] == 'user' %}{%- if loop.index0 == ns.last and tools %}{{- '[TOOLS]' + tools|tojson + '[/TOOLS]' }}{%- endif %}"
    "{{- '[INST]' }}{%- if loop.index0 == ns.last and system is defined %}{{- system + '\n\n' }}{%- endif %}{{- m['content'] + '[/INST]' }}"
    "{%- elif m['tool_calls'] %}{{- '[CALLS][' }}{%- for c in m['tool_calls'] %}{{- c.function|tojson }}{%- endfor %}{{- ']</s>' }}"
    "{%- elif m['role'] == 'assistant' %}{{- ' ' + m['content']|trim + '</s>' }}"
    "{%- elif m['role'] == 'tool' %}{{- '[RESULT]{\"content\": ' + m['content'] + '}[/RESULT]' }}"
    "{%- else %}{{- raise_exception('only user, assistant and tool') }}{%- endif %}{%- endfor %}"
)

CHATML = (
    "{%- for m in messages %}{{- '<|im_start|>' + m['role'] + '\n' + m['content'] }}"
    "{%- for c in m['tool_calls'] or [] %}{{- 'CALL ' + c.function.name + ' ' + c.function.arguments|tojson }}{%- endfor %}"
    "{{- '<|im_end|>\n' }}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)

FAMILIES = {"llama": LLAMA, "qwen": QWEN, "gemma": GEMMA, "mistral": MISTRAL, "chatml": CHATML}


def byte_tokenizer(template: str | None, *, encoder: bool = False) -> PreTrainedTokenizerFast:
    """Every byte is a token, frequent English ones are joined; adds BOS, or CLS and SEP, to plain text."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore
    core.decoder = decoders.ByteLevel()  # pyright: ignore
    core.train_from_iterator(
        ["user assistant system the model hello there, how are you today?\n\nwell and good. "] * 3,
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=SPECIAL,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    around = "<cls> $A <sep>" if encoder else "<s> $A"
    marks = [(t, core.token_to_id(t)) for t in ("<s>", "<cls>", "<sep>")]
    core.post_processor = processors.TemplateProcessing(single=around, special_tokens=marks)  # pyright: ignore
    names = (
        {"cls_token": "<cls>", "sep_token": "<sep>"} if encoder else {"bos_token": "<s>", "eos_token": "</s>"}
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", **names)
    tokenizer.chat_template = template
    return tokenizer
