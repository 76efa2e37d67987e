"""Own the ledger service: pure rules, the lane, storage, RPCs and background jobs."""

import os

# gRPC reads it when it is imported. Whatever is started here is executed, never only forked, so gRPC need
# not look after forks, nor warn that it can't.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
