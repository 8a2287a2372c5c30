"""`svp` whose Accelerate takes the CPU for an accelerator that FSDP divides weights on.

Accelerate reads `ACCELERATE_USE_FSDP` on accelerators only; all that it does then runs on CPUs too.
"""

from typing import Any

from accelerate.state import AcceleratorState, DistributedType

from svp_diffusers.cli.main import main

plain_init = AcceleratorState.__init__


def init_with_fsdp(self: AcceleratorState, *args: Any, fsdp_plugin: Any = None, **kwargs: Any):
    plain_init(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)  # also of states that exist
    if fsdp_plugin is not None:
        if self.mixed_precision != "no":
            fsdp_plugin.set_mixed_precision(self.mixed_precision)
        self.fsdp_plugin = fsdp_plugin
    if self.__dict__.get("fsdp_plugin") is not None:
        self.distributed_type = DistributedType.FSDP


AcceleratorState.__init__ = init_with_fsdp
main()
