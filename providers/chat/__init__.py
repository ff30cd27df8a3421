"""The one renderer of conversations through chat templates, and the one reader of what models write.

`messages`: Inspect's messages as rows for a template. `template`: rows as the text and the tokens of a
prompt. `replies`: what a template puts around words and thoughts of a reply, found out by rendering known
ones. `reading`: a generation as words, thoughts and calls. `completion`: a reply as it is learnt. `spans`:
whose each character is. `token_record`: the tokens of a generation in its log.
"""
