// SPDX-License-Identifier: Apache-2.0
//
// The command line: which commands and options there are. All of main() but the choice of the children's roles.
#pragma once

#include "master/child.h"

namespace ladle::master::cli {

/// Reads the command line and does what it says; the exit code: 0 done, 1 failed, 2 wrong usage.
int run_cli(int argc, char** argv, const Roles& roles);

} // namespace ladle::master::cli
