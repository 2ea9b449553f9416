# SPDX-License-Identifier: Apache-2.0
"""What the end-to-end, fault and bench tests stand on: the real binary, raw sockets, real origins."""
