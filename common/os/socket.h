// SPDX-License-Identifier: Apache-2.0
//
// Making sockets. Everything is non-blocking and close-on-exec from the first instant.
#pragma once

#include "common/base/error.h"
#include "common/os/fd.h"

#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <utility>

namespace ladle::os {

/// Whether several sockets may be bound to the address (SO_REUSEPORT), each with its own queue.
enum class Sharing : std::uint8_t { alone, group };

/// A bound stream socket that does not listen yet. TCP: SO_REUSEADDR, TCP_NODELAY and SO_KEEPALIVE (accepted sockets inherit the
/// last two), IPv6 without IPv4. Fails with the errno of bind(); `detail` is only strerror's text.
Result<Fd> bind_stream(const sockaddr_storage& address, socklen_t length, Sharing sharing);

/// listen() with a long queue (the kernel cuts it to net.core.somaxconn).
Result<void> start_listening(int fd);

/// Both ends of a channel that keeps message borders.
Result<std::pair<Fd, Fd>> make_channel();

/// "10.0.0.1:80", "[::1]:80", "unix:/path", "unix:" for an unnamed peer.
std::string to_text(const sockaddr_storage& address, socklen_t length);

/// Fills `out` with a Unix socket address. Fails if the path is too long (107 bytes).
Result<socklen_t> unix_address(const std::string& path, sockaddr_storage& out);

} // namespace ladle::os
