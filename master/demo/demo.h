// SPDX-License-Identifier: Apache-2.0
//
// `ladle demo`: a proxy with two small origin servers behind it, in the foreground, until Ctrl-C. Everything it needs is in the
// program; its files lie in a temporary folder that goes with it, however it is ended short of SIGKILL: the process that was called
// waits with the signals that end it, the proxy is its child.
#pragma once

#include "master/cli/commands.h"

#include <cstdint>
#include <optional>

namespace ladle::master::cli {

struct DemoOptions {
    std::optional<std::uint16_t> port; ///< on 127.0.0.1; 0 = any free one; left out = 8080, or any free one
};

/// The exit code.
int run_demo(const DemoOptions& demo, CommandOptions options);

} // namespace ladle::master::cli
