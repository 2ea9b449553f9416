// SPDX-License-Identifier: Apache-2.0
//
// A small web server for the demo: blocking, a thread per connection, just enough HTTP/1.1 for one proxy in front of it. Pages at /
// and /picture.svg, a slow answer at /slow, ticks as an event stream at /ticks, the request itself at /headers, a WebSocket echo at
// /ws. Runs in a process of its own, forked by demo.cc; not for the Internet.
#pragma once

#include "common/os/fd.h"

#include <string>

namespace ladle::master::cli {

/// Serves the listening socket until the process is killed. `name` is shown on the pages.
[[noreturn]] void serve_origin(os::Fd listener, const std::string& name);

} // namespace ladle::master::cli
