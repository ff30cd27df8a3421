"""A program that the processes of one launch run together."""

TOGETHER = """
import json, os, sys
from accelerate import PartialState
from accelerate.utils import gather_object
state = PartialState(cpu=True)
ranks = gather_object([state.process_index])
if state.is_main_process:
    told = {"ranks": ranks, "type": str(state.distributed_type), "arguments": sys.argv[1:]}
    open(os.environ["TOLD"], "w").write(json.dumps(told))
state.destroy_process_group()
"""
"""Writes who took part to the file `$TOLD`."""
