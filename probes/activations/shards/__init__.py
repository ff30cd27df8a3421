"""Shards: activations of some rows in one safetensors file, with a JSON sidecar that says it is complete.

A shard holds `layer_<L>` [tokens, hidden] for each of its layers, and for every token `token_ids`, `message`
and `role`; `offsets` [rows + 1] say where rows begin. Both files are written in a folder for unfinished ones
and renamed, the sidecar last: a shard without a sidecar was never finished, and is not read.

`contents`: what the file must hold. `shard`: reading. `writing_shards`: writing. `locks`: who may do what
beside whom.
"""
