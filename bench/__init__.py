"""Load and scale, run in one go: `python -m bench` measures, `python -m bench size` fills first."""

import os

# The load generators start processes while gRPC runs, which gRPC would remark upon each time; none
# of those processes goes on to use the parent's channels. Read by gRPC when it is imported.
FORK_SUPPORT = "GRPC_ENABLE_FORK_SUPPORT"
os.environ.setdefault(FORK_SUPPORT, "0")
